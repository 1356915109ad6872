"""Options of strongSwan: what is taken, what is refused with which words, what means the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostipsec import model
from hostipsec.strongswan import catalog, defaults, kinds, options, parse, ranges, render, shared
from hostipsec.strongswan.sections import Configuration, charon_settings, common_options

PATH = "ipsec:connection"


class Masked(dict):
    """A mapping as Salt 3008 gives it: its text is masked, and asking for it is our fault."""

    def __str__(self) -> str:
        raise AssertionError("the text of a container of the pillar was asked for")

    __repr__ = __str__


def said(problems: list) -> str:
    return "\n".join(map(str, problems))


# conn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("mobike", False, "no"),
        ("reauth", True, "yes"),
        ("fragmentation", "force", "force"),
        ("lifetime", 3600, "3600"),
        ("lifetime", "8h", "8h"),
        ("replay_window", 1024, "1024"),
        ("lifebytes", 2**40, str(2**40)),
        ("rekeyfuzz", "50%", "50%"),
        ("keyingtries", "%forever", "%forever"),
        ("keyingtries", 3, "3"),
        ("tfc", "%mtu", "%mtu"),
        ("ikedscp", "101110", "101110"),
        ("leftikeport", 500, "500"),
        ("leftauth", "rsa/pss-3072-sha512", "rsa/pss-3072-sha512"),
        ("rightauth", "ike:ecdsa-384-sha384-ed25519", "ike:ecdsa-384-sha384-ed25519"),
        ("rightcertpolicy", "1.2.3, 2.5.29.32", "1.2.3, 2.5.29.32"),
        ("leftupdown", "ipsec _updown iptables", "ipsec _updown iptables"),
        ("leftfirewall", True, "yes"),
        ("forceencaps", True, "yes"),
        ("closeaction", "clear", "clear"),
        ("authby", "ecdsasig", "ecdsasig"),
        ("aggressive", False, "no"),
        ("rekey", True, "yes"),
        ("dpddelay", "10s", "10s"),
        ("leftauth", "pubkey-sha384", "pubkey-sha384"),
        ("rightca", "CN=CA, O=Example", "CN=CA, O=Example"),
        (
            "ike",
            "aes256gcm16-prfsha384-ecp384 , aes256-sha384-ecp384 !",
            "aes256gcm16-prfsha384-ecp384,aes256-sha384-ecp384!",
        ),
        ("esp", "aes256gcm16-noesn", "aes256gcm16-noesn"),
    ],
)
def test_options_are_taken_as_strongswan_writes_them(key, value, text):
    assert options.check_connection({key: value}, PATH) == ({key: text}, [])


SYNONYMS = [(key, main) for key, main in catalog.SYNONYMS.items() if main not in shared.REFUSED]


@pytest.mark.parametrize(("given_key", "main"), SYNONYMS)
def test_synonyms_get_their_main_name(given_key, main):
    assert options.check_connection({given_key: "20m"}, PATH) == ({main: "20m"}, [])


@pytest.mark.parametrize(("given_key", "main"), SYNONYMS)
def test_a_synonym_beside_its_main_name_is_a_contradiction(given_key, main):
    _, problems = options.check_connection({given_key: "20m", main: "21m"}, PATH)
    assert said(problems) == (
        f"{PATH}:{given_key}: found {given_key!r} and {main!r}, which are one option; allowed: {main!r} only"
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("keyingretries", 3, ["unknown key 'keyingretries'", "did you mean 'keyingtries'?"]),
        ("pfs", True, ["unknown key 'pfs'"]),  # deprecated: starter warns and drops the connection
        ("leftnexthop", "10.0.0.1", ["unknown key 'leftnexthop'"]),
        # of config setup
        ("charondebug", "cfg 2", ["unknown key 'charondebug'; allowed: 'charondebug' of 'setup'"]),
        ("uniqueids", True, ["unknown key 'uniqueids'; allowed: 'uniqueids' of 'setup'"]),
        ("strictcrlpolicy", True, ["unknown key 'strictcrlpolicy'; allowed: 'strictcrlpolicy' of 'setup'"]),
        # as others write them, or in another spelling
        ("pfs_group", "modp2048", ["unknown key 'pfs_group'; allowed: no such key: a key exchange in each"]),
        ("PFS", True, ["unknown key 'PFS'; allowed: no such key: a key exchange in each"]),
        ("auto_start", True, ["unknown key 'auto_start'; allowed: nothing: a rule's 'stage' says when"]),
        ("leftgroup", "a", ["did you mean 'leftgroups'? no such option for all connections: nobody here"]),
        ("rightsubnet_", "a", ["did you mean 'rightsubnet'? no such option for all connections: between"]),
        ("mobike", "maybe", ["found 'maybe'", "no, yes"]),
        ("mobike", "Yes", ["found 'Yes'", "no, yes"]),
        ("type", "transportt", ["found 'transportt'", "transport, tunnel"]),
        ("closeaction", "start", ["found 'start'", "none, clear;"]),
        ("lifetime", "1w", ["found '1w'", "whole number with s, m, h or d"]),
        ("lifetime", 1.5, ["found 1.5", "a time"]),
        ("lifetime", -1, ["found -1", "a time"]),
        ("lifetime", None, ["found nothing", "a time"]),
        ("lifetime", ["1h"], ["found a list", "a time"]),
        ("lifetime", Masked(a=1), ["found a mapping", "a time"]),
        ("replay_window", "many", ["found 'many'", "a whole number from 1 to 4096"]),
        ("replay_window", 2**32, ["found 4294967296", "to 4096"]),
        ("replay_window", "٣", ["found '٣'", "a whole number"]),
        ("lifebytes", "10G", ["found '10G'", "a whole number"]),
        ("rekeyfuzz", 100, ["found 100", "a whole number with %"]),
        ("keyingtries", True, ["found True", "%forever, or a whole number"]),
        ("ikedscp", "46", ["found '46'", "six binary digits"]),
        ("leftikeport", 70000, ["found 70000", "500, 4500"]),
        (
            "leftca",
            1.10,
            ["found 1.1", "the distinguished name of a CA", "in quotes"],
        ),  # YAML has lost a digit
        ("leftca", True, ["found True", "the distinguished name of a CA", "in quotes"]),
        ("rightca", "%same", ["found '%same'", "the distinguished name of a CA"]),
        ("rightca", "Fleet CA", ["found 'Fleet CA'", "the distinguished name of a CA"]),
        ("rightca", "CN=*", ["found 'CN=*'", "without '*'"]),
        ("ike", "aes128gcm17-prfsha384-ecp384bp", ["unknown algorithm 'aes128gcm17'", "'aes128gcm16'"]),
        ("esp", ["aes128gcm16"], ["found a list", "one line of text"]),
        ("auto", "route", ["'auto' is computed for each connection", "stage"]),
        ("left", "10.0.0.1", ["computed", "'ipv4' and 'ipv6' of the host"]),
        ("rightid", "CN=x", ["computed", "'subject' of 'certificates'"]),
        ("dpdaction", "hold", ["computed", "restart at the initiator"]),
        ("ah", "sha256", ["computed", "'esp'"]),  # charon takes it over 'esp', and then encrypts nothing
        ("also", "x", ["computed", "all connections share"]),
    ],
)
def test_a_bad_option_gives_one_error_that_names_it(key, value, words):
    known, problems = options.check_connection({key: value}, PATH)
    assert known == {}
    assert [problem.path for problem in problems] == [f"{PATH}:{key}"]
    assert not [word for word in words if word not in said(problems)], said(problems)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ike", "'ike' of 'connection'"),
        ("keylife", "'keylife' of 'connection'"),
        ("auto", "a rule's 'stage' (off, passive, start, require)"),
        ("leftgroups", "no such option for all connections: nobody here has attribute certificates"),
        ("cachecrl", "'cachecrls' (of cachecrls, charondebug, strictcrlpolicy, uniqueids)"),
        ("nonsense", "cachecrls, charondebug, strictcrlpolicy, uniqueids"),
    ],
)
def test_an_option_of_connections_in_setup_is_told_its_place(key, words):
    known, problems = options.check_setup({key: "x"}, "ipsec:setup")
    assert known == {}
    assert said(problems).startswith(f"ipsec:setup:{key}: unknown key '{key}'; allowed: {words}")


# What all connections cannot share -------------------------------------------------------------


@pytest.mark.parametrize("key", shared.REFUSED)
@pytest.mark.parametrize("value", ["100", 42, "%unique", "10.0.0.0/8", True, None])
def test_what_is_for_one_connection_or_another_kind_of_vpn_is_refused_with_what_does_it_instead(key, value):
    known, problems = options.check_connection({key: value}, PATH)
    assert known == {}
    assert said(problems) == (
        f"{PATH}:{key}: found {kinds.shown(value)}; allowed: no such option for all connections: "
        f"{shared.REFUSED[key]}"
    )


# option, value, words of the sentence
BARRED = [
    *(("type", word, "'off' or 'passive'") for word in ("pass", "passthrough", "drop", "reject")),
    *(("type", word, "transport, tunnel;") for word in ("beet", "transport_proxy")),
    ("installpolicy", False, "nothing is encrypted"),
    *(("authby", word, "pubkey, rsa") for word in ("never", "psk", "secret", "xauthpsk", "xauthrsasig")),
    ("keyexchange", "ikev1", "ikev2; with ike or ikev1 charon answers IKEv1"),
    ("keyexchange", "ike", "ikev2; with ike or ikev1 charon answers IKEv1"),
    ("rekey", False, "see 'lifetime'"),
    ("closeaction", "restart", "would come back"),
    ("closeaction", "hold", "a stage says"),
    *(
        (f"{side}auth", word, "pubkey, rsa or ecdsa")
        for side in ("left", "right")
        for word in (
            "pubkye",
            "psk",
            "eap",
            "xauth",
            "any",
            "pubkey-sha666",
            "pubkey-sha1",
            "ike:rsa-2048-sha256-sha1",
            "rsa-12",
            "pubkey-",
            "ecdsa sha1",
        )
    ),
    *((f"{side}ca", "%any", "one CA") for side in ("left", "right")),
    *((f"{side}allowany", True, "anybody") for side in ("left", "right")),
    ("aggressive", True, "IKEv1"),
    ("modeconfig", "push", "IKEv1"),
    ("mediation", True, "no mediation server"),
    ("inactivity", "5m", "0: an idle pair"),
    ("replay_window", 0, "from 1 to 4096"),
    ("dpddelay", 0, "from 1s to 1d"),
    ("lifetime", 0, "from 10s to 365d"),
    ("lifetime", "999999999d", "from 10s to 365d"),
    ("keylife", "0", "from 10s to 365d"),
    ("ikelifetime", "0s", "worn out"),
    ("lifebytes", 9, "0 (no limit)"),
    ("lifepackets", 9, "0 (no limit)"),
    ("leftsendcert", "never", "no end has certificates"),
    ("leftsendcert", False, "no end has certificates"),
    ("tfc", 999999999, "from 0 to 65535"),
    ("leftupdown", "x", "absolute path"),
    ("rightcertpolicy", "any", "OIDs"),
    ("leftikeport", 0, "500, 4500"),
]


@pytest.mark.parametrize(("key", "value", "words"), BARRED)
def test_a_value_that_switches_off_what_is_promised_is_refused(key, value, words):
    known, problems = options.check_connection({key: value}, PATH)
    assert known == {}
    assert [problem.path for problem in problems] == [f"{PATH}:{key}"]
    assert f"found {value!r}; " in said(problems)
    assert words in said(problems)


@pytest.mark.parametrize(
    ("together", "key"),
    [
        ({"leftikeport": 4500}, "leftikeport"),
        ({"rightikeport": 4500}, "rightikeport"),
        ({"leftsendcert": "ifasked", "rightsendcert": "never"}, "rightsendcert"),
    ],
)
def test_options_that_are_wrong_together(together, key):
    _, problems = options.check_connection(together, PATH)
    assert [problem.path for problem in problems] == [f"{PATH}:{key}"]


def test_options_that_are_right_together():
    for together in ({"leftikeport": 4500, "rightikeport": "4500"}, {"rightsendcert": "never"}):
        assert options.check_connection(together, PATH)[1] == []


def test_what_is_narrower_is_documented_and_every_documented_option_has_its_place():
    assert {*shared.KINDS} <= {*options.CONNECTION}
    assert {*shared.REFUSED} <= {*options.CONNECTION}
    assert not {*shared.REFUSED} & {*shared.KINDS}


def test_a_firewall_and_an_updown_script_exclude_each_other():
    """Starter: cannot have both leftfirewall and leftupdown."""
    _, problems = options.check_connection({"leftfirewall": True, "leftupdown": "/bin/x"}, PATH)
    assert [problem.path for problem in problems] == [f"{PATH}:leftfirewall"]


UNSAFE = [
    "a\ud800b",
    "a\x85b",
    "a\u2028b",
    "a\u202eb",  # what comes after it is shown backwards
    "a\nb",
    "a\rb",
    'a"b',
    "a#b",
    "a{b",
    "a}b",
    "a\\",
    " a",
    "a ",
    "",
    "\ta",
    "a\x00",
    "include /etc/x",
]


@pytest.mark.parametrize("text", UNSAFE)
def test_no_text_can_break_out_of_its_line(text):
    assert not kinds.is_safe(text)
    known, problems = options.check_connection({"leftca": text}, PATH)
    assert (known, len(problems)) == ({}, 1)
    tree, problems = options.check_charon({"plugins": {"resolve": {"file": text}}}, "ipsec:charon")
    assert (tree, len(problems)) == ({"plugins": {"resolve": {}}}, 1)


@given(st.text(max_size=20))
def test_what_is_taken_reads_back_from_ipsec_conf(text):
    known, _ = options.check_connection({"leftca": f"CN={text}"}, PATH)
    settings = model.Settings(model.Certificates("puppet", "", "", "", ""), connection=known)
    value = Configuration(defaults=common_options(settings))
    assert value.defaults == {**defaults.CONNECTION, **known}
    assert parse.configuration(render.ipsec_conf(value)) == value


@given(st.text(max_size=20))
def test_what_is_taken_reads_back_from_strongswan_conf(text):
    chosen, _ = options.check_charon({"plugins": {"resolve": {"file": text}}}, "ipsec:charon")
    settings = model.Settings(model.Certificates("puppet", "", "", "", ""), charon=chosen)
    tree = {"charon": charon_settings(3, settings)}
    assert parse.strongswan_conf(render.strongswan_conf(Configuration(strongswan=tree))) == tree


def test_the_packages_defaults_pass_their_own_checks():
    assert options.check_connection(defaults.CONNECTION, PATH) == (defaults.CONNECTION, [])
    assert options.check_times(defaults.CONNECTION, PATH) == []
    assert options.check_charondebug(defaults.CHARONDEBUG, PATH) == (defaults.CHARONDEBUG, [])
    for peers in (0, 1, 35, 4000):
        assert options.check_charon(defaults.charon(peers), PATH) == (defaults.charon(peers), [])


# lifetimes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"lifetime": "27m"},
        {"margintime": "29m"},
        {"margintime": "55m", "rekeyfuzz": "0%"},
        {"lifetime": "8h", "ikelifetime": "1d", "margintime": "80m"},
        {"rekey": "no", "margintime": "5h"},
        {"lifebytes": "1000", "marginbytes": "499"},
        {"marginbytes": "5"},  # of no lifebytes: without effect
        {"lifepackets": "4000000000", "marginpackets": "100000000"},
        {"lifebytes": "0"},
    ],
)
def test_margins_that_fit(chosen):
    assert options.check_times({**defaults.CONNECTION, **chosen}, PATH) == []


@pytest.mark.parametrize(
    ("chosen", "path", "words"),
    [
        ({"lifetime": "20m"}, "margintime", ["found 13m", "200%", "less than 50% of lifetime, which is 20m"]),
        ({"lifetime": "26m"}, "margintime", ["found 13m", "lifetime, which is 26m"]),
        ({"margintime": "30m"}, "margintime", ["found 30m", "lifetime, which is 1h"]),
        ({"margintime": "5h"}, "margintime", ["found 5h", "lifetime, which is 1h"]),
        ({"lifetime": "8h", "margintime": "90m"}, "margintime", ["found 90m", "ikelifetime, which is 3h"]),
        ({"ikelifetime": "1500"}, "margintime", ["found 13m", "ikelifetime, which is 1500"]),
        ({"rekeyfuzz": "400%"}, "margintime", ["found 13m", "500%", "less than 20% of lifetime"]),
        ({"margintime": "0"}, "margintime", ["found 0", "more than 0"]),
        ({"lifetime": "0"}, "margintime", ["found 13m", "lifetime, which is 0"]),
        ({"lifebytes": "1000"}, "marginbytes", ["found nothing, with lifebytes 1000", "more than 0"]),
        ({"lifebytes": "1000", "marginbytes": "500"}, "marginbytes", ["found 500", "50% of lifebytes"]),
        ({"lifepackets": "9", "marginpackets": "9"}, "marginpackets", ["found 9", "50% of lifepackets"]),
    ],
)
def test_a_margin_must_not_reach_back_to_the_beginning(chosen, path, words):
    """Production feared this: rekeyfuzz doubles the margin, and an SA is rekeyed as soon as it is up."""
    problems = options.check_times({**defaults.CONNECTION, **chosen}, PATH)
    assert [problem.path for problem in problems] == [f"{PATH}:{path}"]
    assert not [word for word in words if word not in said(problems)], said(problems)


# setup and charondebug -----------------------------------------------------------------------------


def test_setup_options_are_taken():
    given_setup = {"cachecrls": True, "strictcrlpolicy": "ifuri", "uniqueids": "never"}
    assert options.check_setup(given_setup, "ipsec:setup") == (
        {"cachecrls": "yes", "strictcrlpolicy": "ifuri", "uniqueids": "never"},
        [],
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("uniqueid", "no", ["unknown key 'uniqueid'", "'uniqueids'"]),
        ("charonstart", "yes", ["unknown key 'charonstart'"]),
        ("strictcrlpolicy", "maybe", ["found 'maybe'", "no, yes, ifuri"]),
        ("cachecrls", Masked(), ["found a mapping", "no, yes"]),
    ],
)
def test_a_bad_setup_option_gives_one_error(key, value, words):
    known, problems = options.check_setup({key: value}, "ipsec:setup")
    assert (known, [problem.path for problem in problems]) == ({}, [f"ipsec:setup:{key}"])
    assert not [word for word in words if word not in said(problems)], said(problems)


def test_levels_by_type_are_taken():
    levels = {"cfg": 2, "dmn": -1, "ike": 4, "esp": 0}
    assert options.check_charondebug(levels, "p") == (levels, [])


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        # charon knows type app only as a logger: on its command line it is fatal
        ({"app": 1}, "p:app", ["unknown type 'app'", "asn, cfg, chd, dmn"]),
        ({"cfgs": 1}, "p:cfgs", ["unknown type 'cfgs'", "'cfg'"]),
        ({"cfg": 5}, "p:cfg", ["found 5", "-1 to 4"]),
        ({"cfg": -2}, "p:cfg", ["found -2", "-1 to 4"]),
        ({"cfg": "2"}, "p:cfg", ["found '2'", "-1 to 4"]),
        ({"cfg": True}, "p:cfg", ["found True", "-1 to 4"]),
        ({"cfg": 2.0}, "p:cfg", ["found 2.0", "-1 to 4"]),
        ({"cfg": None}, "p:cfg", ["found nothing", "-1 to 4"]),
        ({"cfg": Masked(a=1)}, "p:cfg", ["found a mapping", "-1 to 4"]),
        ({1: 1}, "p:1", ["unknown type '1'"]),
        ("cfg 2, dmn 2", "p", ["found 'cfg 2, dmn 2'", "{cfg: 2, dmn: 2}"]),
        (["cfg 2"], "p", ["found a list", "{cfg: 2, dmn: 2}"]),
        (None, "p", ["found nothing", "{cfg: 2, dmn: 2}"]),
    ],
)
def test_a_bad_debug_level_gives_one_error(value, path, words):
    levels, problems = options.check_charondebug(value, "p")
    assert (levels, [problem.path for problem in problems]) == ({}, [path])
    assert not [word for word in words if word not in said(problems)], said(problems)


# strongswan.conf ------------------------------------------------------------------------------------


def test_a_tree_of_settings_is_taken():
    tree = {
        "threads": 32,
        "retransmit_base": 1.2,
        "retransmit_timeout": 2,
        "make_before_break": True,
        "keep_alive": "20s",
        "plugins": {
            "vici": {"load": True, "socket": "unix:///run/charon.vici"},
            "gcm": {"load": 10},
            "kernel-netlink": {"spdh_thresh": {"ipv4": {"lbits": 32}}},
        },
        "filelog": {
            "main": {"path": "/var/log/charon.log", "default": 1, "app": 2, "time_format": "%b %e %T"}
        },
        "syslog": {"daemon": {"cfg": -1}, "identifier": "charon"},
        "processor": {"priority_threads": {"high": 4}},
        "start-scripts": {"routes": "/usr/local/sbin/routes"},
        "user": "root",
    }
    plain, problems = options.check_charon(tree, "ipsec:charon")
    assert problems == []
    assert plain["threads"] == "32"
    assert plain["retransmit_base"] == "1.2"
    assert plain["plugins"]["vici"] == {"load": "yes", "socket": "unix:///run/charon.vici"}
    assert plain["filelog"]["main"]["default"] == "1"


@pytest.mark.parametrize(
    ("tree", "path", "words"),
    [
        # production carried this misspelt key for six years; strongSwan never tells
        ({"retramsmit_tries": 15}, "retramsmit_tries", ["unknown key", "did you mean 'retransmit_tries'?"]),
        ({"plugins": {"vicci": {"load": True}}}, "plugins:vicci", ["unknown key 'vicci'", "'vici'"]),
        ({"plugins": {"vici": {"sokket": "x"}}}, "plugins:vici:sokket", ["unknown key 'sokket'", "socket"]),
        ({"plugins.vici.load": True}, "plugins.vici.load", ["unknown key", "{plugins: {vici: {load: ...}}}"]),
        ({"plugins": {"vici": True}}, "plugins:vici", ["found True", "a mapping of load, socket"]),
        ({"plugins": None}, "plugins", ["found nothing", "a mapping of acert, "]),
        ({"threads": {"number": 3}}, "threads", ["found a mapping", "a whole number"]),
        ({"threads": "many"}, "threads", ["found 'many'", "a whole number"]),
        ({"threads": 1.5}, "threads", ["found 1.5", "a whole number"]),
        ({"threads": True}, "threads", ["found True", "a whole number"]),
        ({"retransmit_base": "fast"}, "retransmit_base", ["found 'fast'", "a number"]),
        ({"retransmit_base": float("nan")}, "retransmit_base", ["found nan", "a number"]),
        ({"make_before_break": 1}, "make_before_break", ["found 1", "yes, no"]),
        ({"keep_alive": "20 s"}, "keep_alive", ["found '20 s'", "a time"]),
        ({"filelog": {"main": {"cfg": 7}}}, "filelog:main:cfg", ["found 7", "-1 to 4"]),
        ({"filelog": {"main": {"cgf": 1}}}, "filelog:main:cgf", ["unknown key 'cgf'", "'cfg'"]),
        *(
            (
                {"filelog": {"main": {"path": path}}},
                "filelog:main:path",
                [f"found '{path}'", "/var/log/charon.log"],
            )
            for path in (
                "/etc/passwd",
                "//etc/passwd",
                "/var/log/../../etc/passwd",
                "charon.log",
                "/var/log/",
                "/run/x",
            )
        ),
        ({"filelog": {"/var/log/x.log": {}}}, "filelog:/var/log/x.log", ["unknown key"]),
        ({"filelog": {"a b": {"path": "/x"}}}, "filelog:a b", ["unknown key 'a b'", "letters"]),
        ({"filelog": {"include": {"path": "/x"}}}, "filelog:include", ["unknown key 'include'", "letters"]),
        ({"filelog": {"*": {"path": "/x"}}}, "filelog:*", ["unknown key '*'", "letters"]),
        ({"plugins": {"vici": {"load": "often"}}}, "plugins:vici:load", ["found 'often'", "priority"]),
        ({"user": ["root"]}, "user", ["found a list", "one line of text"]),
        ({"user": Masked(a=1)}, "user", ["found a mapping", "one line of text"]),
        ({"": 1}, "", ["unknown key ''"]),
    ],
)
def test_a_bad_setting_gives_one_error(tree, path, words):
    _, problems = options.check_charon(tree, "ipsec:charon")
    assert [problem.path for problem in problems] == [f"ipsec:charon:{path}"]
    assert not [word for word in words if word not in said(problems)], said(problems)


# setting, value, words of the sentence
OUT_OF_RANGE = [
    *((("threads",), value, "from 10 to 1024") for value in (-4, 0, 1, 9, 10**6, "0x7fffffff")),
    *((("port",), value, "500;") for value in (0, -1, 501, 65536)),
    (("port_nat_t",), 0, "4500;"),
    *((("max_packet",), value, "from 3000 to 65535") for value in (10, 0, -1, 10**9)),
    *((("retransmit_tries",), value, "from 1 to 100") for value in (-1, 0, 10**6)),
    *((("retransmit_base",), value, "from 1 to 10") for value in (0, 0.5, 1000)),
    *((("retransmit_timeout",), value, "from 0.1 to 60") for value in (0, 0.001, 86400)),
    (("retransmit_jitter",), 101, "from 0 to 100"),
    (("cookie_threshold",), -1, "from 0 to"),
    (("block_threshold",), 1, "0 or a whole number from 2"),
    (("block_threshold",), -1, "0 or a whole number from 2"),
    (("half_open_timeout",), 0, "from 5 to 3600"),
    (("fragment_size",), 10, "from 512"),
    (("ikesa_table_size",), 2**30, "from 1 to 1048576"),
    (("ikesa_table_segments",), -1, "from 1 to 4096"),
    *((("ikesa_limit",), value, "0 or a whole number from 10") for value in (-1, 1)),
    (("init_limit_half_open",), 1, "0 or a whole number from 10"),
    (("replay_window",), 0, "from 1 to 4096"),
    (("receive_delay",), 100000, "from 0 to 1000"),
    (("initiator_only",), True, "one end of each pair only answers"),
    *(
        (("rdn_matching",), value, "would be taken for one that is named")
        for value in ("relaxed", "reordered")
    ),
    (("processor", "priority_threads", "high"), -1, "from 0 to 64"),
    *(
        (("plugins", plugin, "load"), value, "yes, or a priority")
        for plugin in ("stroke", "kernel-netlink", "socket-default", "nonce")
        for value in (False, "no", 0, "00")
    ),
    (("plugins", "load-tester", "load"), True, "tests of strongSwan"),
    (("plugins", "save-keys", "load"), 1, "gives away"),
    (("plugins", "save-keys", "esp"), True, "gives keys away"),
    (("plugins", "whitelist", "enable"), True, "nobody would be let in"),
    (("plugins", "stroke", "ignore_missing_ca_basic_constraint"), True, "any certificate there would be"),
    (("plugins", "vici", "socket"), "tcp://0.0.0.0:4502", "root alone may"),
    (("plugins", "stroke", "socket"), "unix:///tmp/x", "this package ask there"),
    (("plugins", "stroke", "max_concurrent"), 0, "from 1 to 64"),
    (("plugins", "stroke", "secrets_file"), "/tmp/x", "/etc/ipsec.secrets"),
    (("plugins", "kernel-netlink", "spdh_thresh", "ipv4", "lbits"), 33, "from 0 to 32"),
    (("plugins", "kernel-netlink", "fwmark"), "blue", "a mark"),
    *((("plugins", "random", key), "/dev/zero", "keys are made of it") for key in ("random", "urandom")),
    (("plugins", "gcrypt", "quick_random"), True, "keys are made of it"),
    (("plugins", "dnscert", "enable"), True, "and not DNS"),
    (("plugins", "ipseckey", "enable"), True, "and not DNS"),
    (("plugins", "revocation", "enable_crl"), False, "whoever is revoked"),
    (("signature_authentication",), False, "sign by SHA-1"),
    (("reqid_base",), 16384, "a stop knows what charon made"),
    *((("plugins", one, "load"), "no", "whoever is revoked") for one in ("revocation", "constraints")),
]


@pytest.mark.parametrize(("keys", "value", "words"), OUT_OF_RANGE)
def test_a_setting_with_which_charon_serves_nobody_is_refused(keys, value, words):
    tree = value
    for key in reversed(keys):
        tree = {key: tree}
    _, problems = options.check_charon(tree, "ipsec:charon")
    assert [problem.path for problem in problems] == [f"ipsec:charon:{':'.join(keys)}"]
    assert f"found {value!r}; " in said(problems)
    assert words in said(problems)


def test_ranges_are_of_documented_settings():
    documented = {
        *(*catalog.CHARON_BOOL, *catalog.CHARON_INT, *catalog.CHARON_FLOAT, *catalog.CHARON_TEXT),
        *(f"plugins.{plugin}.load" for plugin in catalog.PLUGINS),
    }
    assert {*ranges.KINDS} <= documented


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        ({"retransmit_tries": "1", "retransmit_timeout": "0.1"}, "retransmit_tries"),  # up in 0.2 s
        ({"retransmit_tries": "100", "retransmit_base": "10"}, "retransmit_tries"),  # never
        ({"threads": "10", "processor": {"priority_threads": {"high": "8"}}}, "threads"),
        ({"load_modular": "no", "load": "aes sha1 stroke!"}, "load"),
        ({"load_modular": "no", "load": "stroke kernel-netlink socket-default nonce constraints"}, "load"),
        ({"spi_min": "0xcfffffff"}, "spi_min"),
        ({"spi_max": "0x100"}, "spi_min"),
    ],
)
def test_settings_that_are_wrong_together(chosen, key):
    problems = [*ranges.contradictions(charon_settings_with(chosen), "ipsec:charon")]
    assert [problem.path for problem in problems] == [f"ipsec:charon:{key}"]


def charon_settings_with(chosen: dict) -> dict:
    return charon_settings(0, model.Settings(model.Certificates("puppet", "", "", "", ""), charon=chosen))


def test_settings_that_are_right_together():
    for chosen in (
        {},
        {"retransmit_tries": "100", "retransmit_base": "1.0"},
        {"retransmit_tries": "30", "retransmit_base": "2", "retransmit_limit": "60"},
        {"load": "aes"},
        {"load_modular": "no"},
        {
            "load_modular": "no",
            "load": "aes stroke! kernel-netlink socket-default nonce constraints revocation",
        },
        {"threads": "0x10"},
    ):
        assert [*ranges.contradictions(charon_settings_with(chosen), "p")] == [], chosen


# meaning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("lifetime", "1h", "3600"),
        ("margintime", "13m", "780s"),
        ("replay_window", "0128", "128"),
        ("rekeyfuzz", "0100%", "100%"),
        ("keyingtries", "%forever", "0"),
        ("authby", "rsasig", "pubkey"),
        ("leftsendcert", "yes", "always"),
        ("type", "reject", "drop"),
        ("esp", "aes128gcm", "aes128gcm16"),
        ("charondebug", "cfg 2, dmn 2", "dmn 2,cfg 2"),
    ],
)
def test_values_of_ipsec_conf_that_mean_the_same(key, one, other):
    assert options.canonical(key, one) == options.canonical(key, other)


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("lifetime", "1h", "1m"),
        ("lifetime", "broken", "1h"),
        ("mobike", "yes", "no"),
        ("esp", "aes128gcm16!", "aes128gcm16"),
        ("esp", "aes128gcm16,aes256gcm16", "aes256gcm16,aes128gcm16"),  # the order is a preference
        ("charondebug", "cfg 2", "cfg 1"),
        ("left", "10.0.0.1", "10.0.0.2"),
        ("nobody", "1h", "3600"),
    ],
)
def test_values_of_ipsec_conf_that_differ(key, one, other):
    assert options.canonical(key, one) != options.canonical(key, other)


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        ("charon.keep_alive", "20s", "20", True),
        ("charon.retransmit_timeout", "2.0", "2", True),
        ("charon.threads", "16", "0x10", True),
        ("charon.threads", "16", "17", False),
        ("charon.user", "16", "0x10", False),
        ("charon.filelog.main.cfg", "1", "01", False),
        ("charon.nobody", "1", "1.0", False),
        ("charon", "1", "1.0", False),
    ],
)
def test_meaning_of_values_of_strongswan_conf(name, one, other, same):
    assert (options.canonical_setting(name, one) == options.canonical_setting(name, other)) is same


# any input ------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(sorted({*options.CONNECTION, *catalog.COMPUTED, *options.SETUP, "plugins", "threads"}))


@given(st.dictionaries(KEYS | st.text(max_size=5), JUNK, max_size=4))
def test_any_mapping_gives_texts_and_problems(given_options):
    for check in (options.check_connection, options.check_setup, options.check_charon):
        known, problems = check(given_options, "p")
        assert all(problem.path.startswith("p:") and problem.allowed for problem in problems)
        if check is not options.check_charon:
            assert all(kinds.is_safe(text) for text in known.values())
            assert all(
                options.canonical(key, text) == options.canonical(key, text) for key, text in known.items()
            )
    options.check_times({**defaults.CONNECTION, **options.check_connection(given_options, "p")[0]}, "p")


@pytest.mark.parametrize("settings", [{"qqzz": "1"}, {"plugins": {"qqzz": {"load": "yes"}}}])
def test_what_is_near_none_of_a_hundred_settings_is_told_where_they_are_documented(settings):
    """It was "one of 106, such as accept_private_algs", as if that were meant."""
    (problem,) = options.check_charon(settings, "ipsec:charon")[1]
    assert (problem.found, problem.allowed) == ("unknown key 'qqzz'", "as strongswan.conf(5) documents them")


def test_what_is_near_a_setting_is_told_by_its_name():
    (problem,) = options.check_charon({"treads": "16"}, "ipsec:charon")[1]
    assert problem.allowed == "did you mean 'threads'?"
