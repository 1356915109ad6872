"""swanctl's file: it says what ipsec.conf would say, and is read back as that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleets
from hostipsec.errors import ConfigError
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import catalog, difference, options, sections, shared, swanctl
from hostipsec.strongswan.sections import Configuration, Secret

KEY = Secret("PKCS8", "cp1001.pem")
BINDING = {"rightca": "CN=Fleet CA", "rightca2": "0123456789abcdef"}
REFUSED = {"leftca", "leftfirewall"}  # with a sentence
# two values of each option that pillars may have; the first is not what ipsec.conf has by default
CHOICES = {
    "compress": ("yes", "no"),
    "dpddelay": ("7s", "30s"),
    "esp": ("aes256gcm16-ecp384!", "aes128gcm16,aes256gcm16", "aes128gcm16-ecp384bp-noesn!"),
    "forceencaps": ("yes", "no"),
    "fragmentation": ("force", "accept", "no", "yes"),
    "ike": ("aes256gcm16-prfsha384-ecp384!", "aes128gcm16-prfsha256-x25519"),
    "ikedscp": ("101110", "000000"),
    "ikelifetime": ("1d", "4h"),
    "keyingtries": ("5", "%forever"),
    "leftauth": ("ecdsa-384-sha384", "pubkey"),
    "leftcertpolicy": ("1.2.3", "1.2.4"),
    "lefthostaccess": ("yes", "no"),
    "leftikeport": ("4500", "500"),
    "leftsendcert": ("ifasked", "always"),
    "leftupdown": ("/usr/local/sbin/tell", "/bin/true"),
    "lifebytes": ("1000000000000", "900000000000"),
    "lifepackets": ("3435973836", "2435973836"),
    "lifetime": ("8h", "2h"),
    "marginbytes": ("1000000", "2000000"),
    "marginpackets": ("429496", "429497"),
    "margintime": ("7s", "20m"),
    "mobike": ("yes", "no"),
    "reauth": ("yes", "no"),
    "rekeyfuzz": ("33%", "0%", "77%"),
    "replay_window": ("1024", "32"),
    "rightauth": ("rsa-4096", "pubkey"),
    "rightcertpolicy": ("1.2.3", "1.2.4"),
    "rightikeport": ("4500", "500"),
    "rightsendcert": ("never", "ifasked"),
    "sha256_96": ("yes", "no"),
    "tfc": ("%mtu", "1400", "0"),
    "type": ("tunnel", "transport"),
}  # fmt: skip
EDITS = [
    (key, one, other)
    for key, several in CHOICES.items()
    for one in several
    for other in several
    if one != other
]
TOGETHER = {"marginbytes": {"lifebytes": "10000000000"}, "marginpackets": {"lifepackets": "10000000"}}


def value(chosen=(), held=(), stage="start", **more):
    data = fleets.example()
    fleet = pillar.read({**data, "rules": [{**rule, "stage": stage} for rule in data["rules"]]})
    told = fleet.settings._replace(connection=dict(chosen), **more)
    connections = topology.connections(fleet, "cp1001.eqiad.example")
    return sections.configuration(connections, told, "cp1001-abc.pem", KEY, held, binding=BINDING)


def written(one: Configuration) -> tuple[str, str]:
    return swanctl.conf(one), swanctl.strongswan_conf(one)


def test_every_option_of_the_pillar_is_written_or_refused():
    ours = {*options.CONNECTION} - {*catalog.COMPUTED} - {*shared.REFUSED} - {*catalog.SYNONYMS}
    assert ours - swanctl.KNOWN == REFUSED
    assert {*CHOICES} == (ours & swanctl.KNOWN) - swanctl.WITHOUT - {
        "closeaction",
        "inactivity",
        "installpolicy",
        "keyexchange",
        "rightca",
    }


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_what_swanctl_cannot_be_told_is_refused_by_name(key):
    with pytest.raises(ConfigError, match=f"nothing for {key} of"):
        swanctl.conf(value({key: "yes"}))


def test_a_ca_by_its_name_alone_is_refused():
    one = value()
    named = one._replace(defaults={**one.defaults, "rightca2": ""})
    with pytest.raises(ConfigError, match="by its file, not by its name 'CN=Fleet CA'"):
        swanctl.conf(named)


def test_a_ca_of_the_pillar_is_not_taken_for_that_of_the_files():
    """The fingerprint of that one stood beside the name, and by swanctl peers were bound to it in silence."""
    own = value({"rightca": "CN=Other"})
    assert own.defaults["rightca"] == "CN=Other"
    assert "rightca2" not in own.defaults
    with pytest.raises(ConfigError, match="not by its name 'CN=Other'"):
        swanctl.conf(own)
    assert value({"rightca": "CN=Fleet CA"}).defaults["rightca2"] == BINDING["rightca2"]


@pytest.mark.parametrize("key", ["leftid", "rightid", "leftupdown"])
def test_what_charon_does_not_take_of_swanctl_is_refused_by_name(key):
    """Charon refused each such connection (`invalid value for: id`), and swanctl's run failed."""
    own = value()
    name = min(own.names)
    odd = own._replace(connections={**own.connections, name: {**own.connections[name], key: "/CN=\xfc"}})
    with pytest.raises(ConfigError, match=rf"cannot have '/CN=\xfc' \({key}\): charon takes ASCII alone"):
        swanctl.conf(odd)
    with pytest.raises(ConfigError, match="charon takes ASCII alone"):
        swanctl.section(odd, name, {})


def test_a_name_with_a_dot_is_refused():
    """swanctl would take the whole file for empty, unload all connections and end with status 0."""
    one = value()
    named = one._replace(connections={"cp3001.esams.example_v4": {}})
    with pytest.raises(ConfigError, match="v4': its parser takes no dot"):
        swanctl.conf(named)


CHOSEN = st.fixed_dictionaries(
    {}, optional={key: st.sampled_from(several) for key, several in CHOICES.items()}
)


@settings(max_examples=60)
@given(
    CHOSEN,
    st.sampled_from(("passive", "start", "require")),
    st.sets(st.sampled_from(("cp3001_v4", "cp2001_v6", "cp3002_v4"))),
    st.fixed_dictionaries({}, optional={key: st.sampled_from(words) for key, words in catalog.SETUP.items()}),
)
def test_what_is_written_reads_back_as_what_was_meant(chosen, stage, held, setup):
    one = value(chosen, held, stage, setup=setup)
    texts = written(one)
    back = swanctl.configuration(*texts)
    assert written(back) == texts
    assert back == swanctl.settled(one)
    assert swanctl.intact(texts[0])
    differs = difference.between(one, back)
    # what ipsec.conf leaves open is said; the CA is known by its file
    assert {key for key, (old, _) in differs.defaults.items() if old is not None} <= {*BINDING, *dead(chosen)}
    assert (differs.changed, differs.added, differs.removed) == ({}, (), ())
    assert {key for key, (old, _) in differs.setup.items() if old is not None} <= {
        "cachecrls",
        "strictcrlpolicy",
        "uniqueids",  # yes is replace
    }
    assert back.secret == KEY


def dead(chosen):
    """Return options without effect: margins of what has no end, a jitter that rounding swallows."""
    margins = {margin for margin, beside in TOGETHER.items() if not {*beside} & {*chosen}}
    return {*margins, "rekeyfuzz"} if chosen.get("margintime") == "7s" else margins


@pytest.mark.parametrize(("key", "one", "other"), EDITS)
def test_an_edit_is_seen_as_that_edit(key, one, other):
    beside = TOGETHER.get(key, {})
    before, after = (swanctl.settled(value({**beside, key: word})) for word in (one, other))
    found = difference.between(before, after)
    follow = {"leftgroups", "marginbytes", "marginpackets", "rekeyfuzz"}
    seen = {*found.defaults} - (follow - {key})
    assert seen == {key}
    assert found == difference.Difference(defaults=found.defaults)


@pytest.mark.parametrize("stage", ["passive", "start", "require"])
def test_a_hold_takes_connections_aside(stage):
    one = value(held=("cp3001_v4",), stage=stage)
    tree = swanctl.parse.strongswan_conf(swanctl.conf(one))
    assert [title.partition(" ")[0] for title in tree[swanctl.ASIDE]] == ["cp3001_v4"]
    assert len(tree[swanctl.LOADED]) == len(one.names) - 1
    back = swanctl.settled(one)
    assert back.connections["cp3001_v4"]["auto"] == sections.HELD
    free = swanctl.settled(value(stage=stage))
    changed = difference.between(free, back).changed
    assert changed == {"cp3001_v4": {"auto": (sections.AUTO[stage], "ignore")}}


def test_a_connection_as_vici_takes_it():
    one = value({"leftcertpolicy": "1.2.3, 1.2.4"}, stage="require")
    files = {"cp1001-abc.pem": b"certificate", "hostipsec-01234567.pem": b"CA"}
    found = swanctl.section(one, "cp3001_v4", files)
    assert found["remote_addrs"] == ["10.20.0.11"]
    assert found["proposals"] == ["aes128gcm16-prfsha384-ecp384bp"]
    assert found["local"] == {
        "auth": "pubkey",
        "cert_policy": ["1.2.3", "1.2.4"],
        "certs": [b"certificate"],
        "id": "CN=cp1001.eqiad.example",
    }
    assert found["remote"]["cacerts"] == [b"CA"]
    assert {*found["children"]} == {"cp3001_v4"}
    assert found["children"]["cp3001_v4"]["start_action"] == "trap"


def test_levels_go_to_the_log_of_charon_systemd():
    one = value(charondebug={"cfg": 2, "ike": 1}, setup={"cachecrls": "yes"})
    text = swanctl.strongswan_conf(one)
    assert "charon-systemd {\n    journal {\n        cfg = 2\n        ike = 1\n    }\n}\n" in text
    assert "    cache_crls = yes\n" in text
    assert swanctl.settled(one).levels == {"cfg": 2, "ike": 1}


@pytest.mark.parametrize("damage", [
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("}", "", 1),
    lambda text: text.replace("mode = transport", "mode = transport\n    mode = pass"),
    lambda text: text.replace("cp3001_v4 :", "cp3001.x_v4 :", 1),
    lambda text: text.replace("version = 2", "version 2"),
    lambda text: f"{text}}}\n",
    lambda text: text.replace("3600s", "an hour"),
])  # fmt: skip
def test_a_damaged_file_is_known_before_swanctl_reads_it(damage):
    """swanctl unloads everything where its parser fails, and ends with status 0."""
    text = swanctl.conf(value())
    assert swanctl.intact(text)
    assert damage(text) != text
    assert not swanctl.intact(damage(text))


def test_a_file_of_another_hand_reads_as_far_as_it_goes():
    text = "connections {\n  a {\n    remote_addrs = 10.0.0.1\n    children {\n a {\n mode = what\n  }\n}\n"
    assert swanctl.configuration(text) == Configuration(
        connections={"a": {"right": "10.0.0.1", "type": "what"}}, ours=False, backend="swanctl"
    )
    nothing = Configuration(ours=False, backend="swanctl")
    assert swanctl.configuration(None) == nothing
    assert swanctl.configuration("connections = 3\nsecrets {\n  private = 1\n}\n") == nothing
