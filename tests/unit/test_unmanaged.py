"""Peers that Salt does not manage: known to the members that pair with them, asked by nobody."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

import authorities
from certificate_oddities import COMPANY
from clocks import Clock
from hostipsec.answer import Answer
from hostipsec.certificates import binding, partners, source
from hostipsec.errors import HostIPsecError, PillarError
from hostipsec.fleet import broken, commands, fleetplan, fleetstatus, foreseen, joined, planwords, targets
from hostipsec.fleet.asking import Asking, Heard
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.pillar import membership, pillar, topology
from hostipsec.proof import verification
from hostipsec.strongswan import sections
from hostipsec.strongswan.sections import Secret

ONE, TWO, GW, BOX = "cp1.example", "cp2.example", "agw.partner.example", "zbox.partner.example"
NOW = datetime.now(timezone.utc)


def data(stage="start", **hosts):
    """Return a pillar; both partners sort around the members, and a rule fits the two of them as well."""
    default = {
        ONE: {"site": "here", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"},
        TWO: {"site": "there", "ipv4": "192.0.2.2"},
        GW: {
            "site": "partner",
            "managed": False,
            "ipv4": "198.51.100.7",
            "ipv6": "2001:db8:7::7",
            "subject": "@agw.partner.example",
            "ca": "/etc/ssl/partner.pem",
        },
        BOX: {"site": "box", "managed": False, "ipv4": "198.51.100.8", "subject": "C=DE, O=Box, CN=z"},
    }
    every = {name: host for name, host in {**default, **hosts}.items() if host}
    anybody = {"id": sorted(every)}
    return {
        "hosts": every,
        "rules": [{"name": "all", "between": anybody, "and": anybody, "different": ["site"], "stage": stage}],
    }


FLEET = pillar.read(data())


def test_members_pair_with_them_and_they_not_with_each_other():
    pairs = {*topology.pairs(FLEET)}
    assert pairs == {(ONE, TWO), (GW, ONE), (GW, TWO), (ONE, BOX), (TWO, BOX)}
    names = {one.name for one in topology.connections(FLEET, ONE)}
    assert names == {"cp2_v4", "agw_v4", "agw_v6", "zbox_v4"}


def test_a_member_starts_what_it_has_with_them_whoever_sorts_first():
    known = {one.peer: one for one in topology.connections(FLEET, ONE)}
    assert known[GW].initiator and known[BOX].initiator and known[TWO].initiator
    assert (known[GW].rightid, known[BOX].rightid) == ("@agw.partner.example", "C=DE, O=Box, CN=z")


def test_one_that_is_a_minion_all_the_same_is_told_so():
    with pytest.raises(HostIPsecError, match="managed: false"):
        membership.of(FLEET, GW)


WRONG = [
    ({GW: {"managed": False, "ipv4": "198.51.100.7"}}, "subject", "found none"),
    ({GW: {"managed": False, "subject": "@gw"}}, "", "no address"),
    ({GW: {"managed": "no", "ipv4": "198.51.100.7"}}, "managed", "'no'"),
    ({GW: {"ipv4": "198.51.100.7", "site": "x", "ca": "/x"}}, "ca", "that Salt manages"),
    ({GW: {"managed": False, "ipv4": "198.51.100.7", "subject": "@gw", "ca": "x.pem"}}, "ca", "'x.pem'"),
    (
        {GW: {"managed": False, "ipv4": "198.51.100.7", "local_ipv4": "10.0.0.1", "subject": "@gw"}},
        "local_ipv4",
        "does not manage",
    ),
    ({GW: {"managed": False, "addresses": "mine", "subject": "@gw"}}, "addresses", "does not manage"),
    (
        {GW: {"managed": False, "ipv4": "198.51.100.7", "backend": "swanctl", "subject": "@gw"}},
        "backend",
        "does not manage",
    ),
]


@pytest.mark.parametrize(("hosts", "key", "said"), WRONG)
def test_what_is_missing_or_of_hosts_that_we_configure_is_refused(hosts, key, said):
    with pytest.raises(PillarError) as caught:
        pillar.read(data(**hosts))
    path = f"ipsec:hosts:{GW}:{key}".rstrip(":")
    assert any(one.path == path and said in one.found for one in caught.value.problems), caught.value.problems


# Whom nobody asks ----------------------------------------------------------------------------


def row(state="established", severity="ok", **more):
    return {"state": state, "severity": severity, "reason": "TRANSPORT", "stage": "start", **more}


def answers(**of_one):
    """Return what both members say; ``of_one`` stands for single connections of the first."""
    mine = {name: row(initiator=True) for name in ("cp2_v4", "agw_v4", "agw_v6", "zbox_v4")}
    theirs = {
        **{name: row(initiator=True) for name in ("agw_v4", "zbox_v4")},
        "cp1_v4": row(initiator=False),
    }
    own = {"unmanaged": {}}
    said = {ONE: placed({**mine, **of_one}), TWO: placed(theirs)}
    return {host: Answer(True, "", rows, own=own) for host, rows in said.items()}


def placed(rows):
    """Return rows with the peer and the family that their names say."""
    hosts = {host.id.partition(".")[0]: host.id for host in FLEET.hosts}
    split = {name: name.rpartition("_") for name in rows}
    return {
        name: {"peer": hosts[split[name][0]], "family": split[name][2], **one} for name, one in rows.items()
    }


class Silent(Clock):
    """A master none of whose minions says anything."""

    def __init__(self):
        self.time = 0.0

    def returns(self, *asked):
        return iter(())

    def say(self, text):
        return None


def test_no_command_is_sent_to_them():
    assert targets.paired(FLEET) == targets.serving(FLEET) == targets.managed(FLEET) == [ONE, TWO]
    assert targets.by_site(FLEET) == {"here": [ONE], "there": [TWO]}
    former = {host: {"former": {"x": {"peer": GW}}} for host in (ONE, TWO)}
    assert fleetplan.concerned(FLEET, former) == {ONE, TWO}


def test_they_are_shown_by_the_word_of_one_end_and_never_count_as_silent():
    found = fleetstatus.join(FLEET, Heard(answers()), Filter())
    assert found.ok(0) and found.shown.counts == {"up": 6}
    assert {one.unmanaged for one in found.shown.rows} == {"", GW, BOX}
    said = found.lines("")
    assert "by the word of one end, since Salt does not manage the other: 5" in said
    assert not any("do not tell" in line for line in said if "agw" in line)


@pytest.mark.parametrize(
    ("told", "state", "severity"),
    [
        (row("down", "critical"), "down", "critical"),
        (row("connecting", "warning"), "down", "warning"),
        (row("one-way", "warning"), "one-way", "warning"),
        (row("not encrypted", "critical"), "down", "critical"),
        (row("held", "warning", held=True), "held", "warning"),
        (row("down", "ok", stage="passive"), "down", "ok"),
    ],
)
def test_what_the_one_end_says_is_what_it_is(told, state, severity):
    view = joined.join(FLEET, {host: one.connections for host, one in answers(agw_v4=told).items()})
    (found,) = [one for one in view.rows if (one.one, one.other, one.family) == (ONE, GW, "v4")]
    assert (found.state, found.severity) == (state, severity)
    assert found.said[0][0] == ONE


def test_a_member_that_is_silent_is_silent_with_them_as_well():
    view = joined.join(FLEET, {TWO: answers()[TWO].connections})
    states = {(one.one, one.other): (one.state, one.severity) for one in view.rows if one.unmanaged}
    assert states[ONE, GW] == ("not answering", "critical") and states[TWO, GW] == ("up", "ok")


def test_nothing_is_begun_anew_by_the_word_of_one_end():
    told = answers(agw_v4=row("down", "critical", initiator=True))
    view = joined.join(FLEET, {host: one.connections for host, one in told.items()})
    choice = broken.choose(FLEET, told, view.trouble)
    assert choice.broken == () and [why for _, why in choice.left] == [
        f"{GW} is not managed by Salt: nothing is done by the word of one end"
    ]


def test_a_plan_has_them_and_misses_nobody():
    plans = {}
    for host in (ONE, TWO):
        member = membership.of(FLEET, host)
        added = {"added": [one.name for one in member.connections]}
        changes = {fleetplan.CONFIGURED: {"connections": added}}
        plans[host] = fleetplan.answer("enters", member.connections, (), changes)
    plan = fleetplan.join(FLEET, plans)
    assert len(plan.of("added")) == 6 and plan.misfits == () and plan.missing == () and plan.strangers == ()
    assert {one.why for one in plan.rows} == {"rule all"}
    told = f"not managed by Salt, what is there is not asked and not changed: {GW}, {BOX}"
    assert told in planwords.lines(plan)
    assert plan.as_dict()["unmanaged"] == [GW, BOX]


def test_a_plan_of_members_alone_says_nothing_of_strangers():
    fleet = pillar.read(data(**{GW: None, BOX: None}))
    plan = fleetplan.join(fleet, {})
    assert plan.unmanaged == () and not any("not managed" in line for line in planwords.lines(plan))


START = "at one end alone, since Salt does not manage the other: "


@pytest.mark.parametrize(
    ("hosts", "said"),
    [([ONE, TWO], ["4 pairs"]), ([TWO], ["2 pairs"]), ([ONE], ["2 pairs"])],
)
def test_a_proof_with_them_is_told_to_be_one_of_one_end(hosts, said):
    assert proved(FLEET, hosts) == said
    assert proved(pillar.read(data(**{GW: None, BOX: None})), hosts) == []


@pytest.mark.parametrize(
    ("peer", "said"),
    [(None, ["2 pairs"]), (GW, ["1 pair"]), (TWO, [])],
)
def test_a_proof_of_a_host_is_told_to_be_one_of_one_end(monkeypatch, peer, said):
    """By itself it said nothing of it: both ways, and as if both ends had been asked."""
    monkeypatch.setattr(verification, "run", lambda *_: verification.Result())
    found = verification.of(membership.read(data(), ONE), peer, None, 3, 5, False, False)
    assert list(found.notes) == [START + one for one in said]


def proved(fleet, hosts):
    """Return of how many pairs a proof of these hosts is said to be of one end alone."""
    lines = commands.verify(Asking(Silent()), hosts, {}, fleet).lines
    return [line[len(START) :] for line in lines if line.startswith(START)]


def test_what_an_edit_means_is_foreseen_for_members_alone():
    plan = foreseen.plan(pillar.read(data(**{GW: None})), FLEET)
    assert plan.hosts_to_change == (ONE, TWO) and plan.misfits == () and plan.strangers == ()
    assert {(one.one, one.other, one.ends) for one in plan.of("added")} == {
        (GW, ONE, (ONE,)),
        (GW, TWO, (TWO,)),
    }
    assert topology.connections(FLEET, GW) == topology.barred(pillar.read(data("require")), GW) == ()


# Their CA ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own():
    return authorities.authority("CN=Fleet CA", NOW)


def given(path, *certificates):
    path.write_bytes(b"".join(one.pem for one in certificates))
    return FLEET.host(GW)._replace(ca=str(path))


def test_its_peer_is_bound_to_its_ca_and_all_others_to_that_of_the_fleet(tmp_path, own):
    theirs = authorities.authority("CN=Partner CA", NOW)
    mine, _ = partners.read([given(tmp_path / "own.pem", own)], (), NOW)
    (fleet_ca,) = mine.values()
    peer = given(tmp_path / "p.pem", theirs)
    found, wrong = partners.read([peer, FLEET.host(BOX)], [fleet_ca], NOW)
    assert wrong == () and [*found] == [peer.ca]
    value = sections.configuration(
        topology.connections(FLEET, ONE),
        FLEET.settings,
        "c.pem",
        Secret("RSA", "k.pem"),
        binding=binding.options([fleet_ca]),
        partners={GW: partners.options(found[peer.ca])},
    )
    assert value.defaults["rightca"] == "CN=Fleet CA"
    assert {name: one.get("rightca") for name, one in value.connections.items()} == {
        **dict.fromkeys(("agw_v4", "agw_v6"), "CN=Partner CA"),
        **dict.fromkeys(("cp2_v4", "zbox_v4")),
    }


def test_a_ca_file_that_is_of_no_use_is_an_error(tmp_path, own):
    root = authorities.authority("CN=Partner CA", NOW)
    below = authorities.authority("CN=Below", NOW, issuer=root)
    (fleet_ca,) = partners.read([given(tmp_path / "own.pem", own)], (), NOW)[0].values()
    company = authorities.authority("CN=Partner CA", NOW, extensions=((COMPANY, True),))
    cases = {
        "CN=Partner CA, which has a critical extension that strongSwan does not know: 1.3.6.1.4.1.99999.1": (
            given(tmp_path / "company.pem", company)
        ),
        "is missing": FLEET.host(GW)._replace(ca=str(tmp_path / "none.pem")),
        "holds 2 certificates": given(tmp_path / "two.pem", root, below),
        "CN=Below, which is no self-signed CA": given(tmp_path / "below.pem", below),
        "which is no self-signed": given(tmp_path / "host.pem", authorities.host("CN=h", NOW, root)),
        "is the name of another CA": given(tmp_path / "alike.pem", authorities.authority("CN=fleet ca", NOW)),
    }
    for said, peer in cases.items():
        _, (wrong,) = partners.read([peer], [fleet_ca], NOW)
        assert said in str(wrong) and wrong.severity == "error", wrong


def test_who_lets_charon_take_any_critical_extension_may_have_it_in_the_ca_of_a_partner(tmp_path, own):
    company = authorities.authority("CN=Partner CA", NOW, extensions=((COMPANY, True),))
    peer = given(tmp_path / "company.pem", company)
    (fleet_ca,) = partners.read([given(tmp_path / "own.pem", own)], (), NOW)[0].values()
    assert partners.read([peer], [fleet_ca], NOW, enforce_critical=False)[1] == ()


@pytest.fixture
def inspected(tmp_path, own):
    """Return what a member finds where the file of its partner's CA holds something beside it."""
    mine = authorities.host(f"CN={ONE}", NOW, own)
    where = authorities.write(tmp_path / "own", mine.pem, mine.key_pem(), own.pem)

    def inspect(content):
        (tmp_path / "p.pem").write_bytes(content)
        hosts = tuple(
            host._replace(ca=str(tmp_path / "p.pem")) if host.id == GW else host for host in FLEET.hosts
        )
        member = membership.of(FLEET._replace(hosts=hosts), ONE)
        return source.with_partners(source.inspect(where, member.subject, NOW), member, NOW)

    return inspect


def test_its_revocation_lists_stand_beside_its_ca_and_the_newest_counts(inspected):
    theirs = authorities.authority("CN=Partner CA", NOW)
    old = authorities.crl(theirs, NOW - timedelta(days=1), number=1)
    new = authorities.crl(theirs, NOW, number=2)
    found = inspected(theirs.pem + old + new)
    assert found.findings == ()
    (crl,) = found.usable().crls
    assert (crl.issuer, crl.pem) == ("CN=Partner CA", new)
    assert found.usable().expected.crls == ((crl.issuer, crl.listed),)
    assert inspected(theirs.pem).usable().crls == ()


def test_lists_of_others_and_old_ones_beside_its_ca_are_told(inspected, own):
    """The fleet's CA revokes by its own file, and a partner nobody of the fleet."""
    theirs, other = (authorities.authority(f"CN={one}", NOW) for one in ("Partner CA", "Other CA"))
    for ca in (other, own):
        found = inspected(theirs.pem + authorities.crl(ca, NOW))
        assert found.usable().crls == ()
        assert "is signed by no CA of" in found.warnings[0]
    late = authorities.crl(theirs, NOW - timedelta(days=30))
    assert "was to be renewed by" in inspected(theirs.pem + late).warnings[0]
    broken = b"-----BEGIN X509 CRL-----\nQUJD\n-----END X509 CRL-----\n"
    assert "holds a list that cannot be parsed" in inspected(theirs.pem + broken).warnings[0]


def test_a_fleet_whose_hosts_are_bound_to_no_ca_takes_no_other(tmp_path, own):
    """The CA could vouch for any of them."""
    other = authorities.authority("CN=Old CA", NOW)
    mine, _ = partners.read([given(tmp_path / "a.pem", own), given(tmp_path / "b.pem", other)], (), NOW)
    peer = given(tmp_path / "p.pem", authorities.authority("CN=Partner CA", NOW))
    _, (wrong,) = partners.read([peer], [*mine.values()], NOW)
    assert wrong.code == "partner-unbound"
