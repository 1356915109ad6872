"""A roll-out over a fleet that exists in memory: the order, what stops it, and what does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

import fleets
from clocks import Clock
from hostipsec.errors import HostIPsecError, Problem
from hostipsec.fleet import batches, fleetplan, fleetrollout, targets
from hostipsec.model import STAGES
from hostipsec.pillar import membership, pillar, topology

ESAMS = ["cp3002.esams.example", "cp3001.esams.example"]
CODFW = ["cp2001.codfw.example"]
EQIAD = ["cp1002.eqiad.example", "cp1001.eqiad.example"]
EVERY = sorted([*ESAMS, *CODFW, *EQIAD])


def fleet(stage="start"):
    data = fleets.example()
    for rule in data["rules"]:
        rule["stage"] = stage
    return pillar.read(data)


@dataclass
class Hosts(Clock):
    """Hosts in memory: each has connections by name; a pair is up when both ends have it, started by one."""

    fleet: object
    has: dict = field(default_factory=dict)  # host -> connections
    broken: set = field(default_factory=set)  # hosts whose state fails
    dead: set = field(default_factory=set)  # hosts that do not answer
    nowhere: set = field(default_factory=set)  # addresses that reach nobody
    held: dict = field(default_factory=dict)  # host -> since when, by whom and why it is held
    absent: dict = field(default_factory=dict)  # host -> addresses that it is given and does not have
    own: dict = field(default_factory=dict)  # host -> what tells its pillar from others
    busy: set = field(default_factory=set)  # hosts that refuse, as something else is under way
    lame: set = field(default_factory=set)  # hosts whose connections do not come up
    unproven: set = field(default_factory=set)  # hosts whose traffic is not encrypted
    proofless: set = field(default_factory=set)  # hosts that prove nothing
    done: list = field(default_factory=list)  # (stage, hosts), in their order
    said: list = field(default_factory=list)
    time: float = 0.0
    digest: str = "one"  # of the pillar
    kept: list = field(default_factory=list)  # (hosts, whether through), in their order
    tells: dict = field(default_factory=dict)  # host -> what it tells of its certificate now
    brings: dict = field(default_factory=dict)  # and once it is changed
    restarts: set = field(default_factory=set)  # hosts whose charon is restarted
    standings: dict = field(default_factory=dict)  # host -> by its own pillar, where that is another
    meanwhile: dict = field(default_factory=dict)  # number of hosts that were changed -> what happens then

    def wanted(self, host, stage):
        member = membership.Membership(
            self.fleet, self.fleet.host(host), topology.connections(self.fleet, host)
        )
        return member.limited(stage, self.has.get(host, ())).connections

    def ask(self, function, hosts, **arguments):
        lost = [f"did not answer: {host}" for host in hosts if host in self.dead]
        answers = {
            host: getattr(self, function)(host, **arguments) for host in hosts if host not in self.dead
        }
        return answers, lost

    def plan(self, host, stage):
        want, there = self.wanted(host, stage), self.has.get(host, ())
        if not want or host in self.standings:
            return fleetplan.answer(self.standings.get(host, fleetplan.OUTSIDE), (), (), {})
        names = {one.name for one in there}
        connections = {"added": [one.name for one in want if one.name not in names]}
        now = {one.name: one._asdict() for one in there}
        changed = {one.name: differs(now[one.name], one._asdict()) for one in want if one.name in names}
        connections["changed"] = {name: options for name, options in changed.items() if options}
        changes = {fleetplan.CONFIGURED: {"connections": connections} if want != there else {}}
        found = fleetplan.answer(fleetplan.MEMBER, want, there, changes)
        if host in self.restarts and want != there:
            changes[fleetplan.CONFIGURED]["charon"] = "restarted (charon.threads)"
        told = self.brings.get(host, self.tells.get(host))
        own = {"absent": self.absent.get(host, []), "pillar": self.own.get(host, "")}
        return {**found, **own, "authentication": told}

    def status(self, host, stage="", configured=False):
        rows = self.has.get(host, ()) if configured else self.wanted(host, stage)
        connections = {one.name: self.row(host, one) for one in rows}
        return {"connections": connections, "authentication": self.tells.get(host)}

    def hold(self, host):
        self.held[host] = "since then by root because T1"

    def row(self, host, one):
        """Return what the host's judge says of a connection that is wanted there."""
        there = {mine.name: mine.stage for mine in self.has.get(host, ())}
        state, severity, reason = ("established", "ok", "")
        if not self.is_up(host, one):
            waits = one.stage == "passive" and one.name in there
            state, severity, reason = ("down", "ok", "passive") if waits else ("down", "critical", "no SA")
        elif one.stage == "require" != there.get(one.name):
            severity, reason = "warning", "no trap"
        if host in self.held:
            state, severity, reason = "held", "warning", self.held[host]
        return {**fleets.row(one), "state": state, "severity": severity, "reason": reason}

    def is_up(self, host, one):
        mine = next((x for x in self.has.get(host, ()) if x.name == one.name), None)
        if mine and not self.fleet.host(one.peer).managed:
            return mine.stage != "passive" and host not in self.held
        theirs = [x for x in self.has.get(one.peer, ()) if (x.peer, x.family) == (host, one.family)]
        if not mine or not theirs or {host, one.peer} & (self.lame | {*self.held}):
            return False
        if (mine.left, mine.right) != (theirs[0].right, theirs[0].left) or {
            mine.left,
            mine.right,
        } & self.nowhere:
            return False
        starter = mine if mine.initiator else theirs[0]
        return starter.stage != "passive"

    def verify(self, host):
        rows = {}
        for one in topology.connections(self.fleet, host):
            rows[one.name] = {
                "peer": one.peer,
                "family": one.family,
                "ok": host not in self.unproven,
                "reason": "clear",
            }
        return {"connections": {} if host in self.proofless else rows}

    def apply(self, hosts, stage, pillars):
        self.done.append((stage, list(hosts)))
        for host in hosts:
            if host in self.dead:
                continue
            if host in self.broken:
                yield host, batches.Done(("ipsec-certs-reused: expired",))
            elif host in self.busy:
                yield host, batches.Done(("state.apply is running",), changed=False)
            else:
                self.has[host] = self.wanted(host, stage)
                yield host, batches.Done()
            self.meanwhile.pop(sum(len(part) for _, part in self.done), lambda: None)()

    def pillar(self):
        return self.digest

    def keep(self, told, through):
        self.kept.append((list(told), through))

    def say(self, text):
        self.said.append(text)


def differs(old, new):
    return {key: {"old": str(old[key]), "new": str(new[key])} for key in new if old[key] != new[key]}


def roll(hosts, size=0, limit="", by="site"):
    rolling = fleetrollout.Rollout(hosts.fleet, EVERY, by, size, 30.0, hosts)
    rolling.run(batches.stages(hosts.fleet, limit))
    return rolling


def settled(stage="start", **more):
    hosts = Hosts(fleet(stage), **more)
    for host in EVERY:
        hosts.has[host] = hosts.wanted(host, STAGES[-1])
    return hosts


def test_a_new_mesh_is_configured_everywhere_before_anything_is_started():
    hosts = Hosts(fleet())
    rolling = roll(hosts)
    assert rolling.stopped == []
    order = [ESAMS[:1], ESAMS[1:], CODFW, EQIAD]
    assert hosts.done[:4] == [("passive", part) for part in order]
    assert {stage for stage, _ in hosts.done[4:]} == {"start"}
    assert list(rolling.lines()) == ["5 hosts changed, every connection as it should be"]


def test_the_end_that_answers_comes_before_the_end_that_starts():
    hosts = Hosts(fleet())
    roll(hosts)
    order = [host for stage, part in hosts.done if stage == "start" for host in part]
    assert order == sorted(order, reverse=True)


def test_a_batch_has_no_more_hosts_than_asked_for():
    hosts = Hosts(fleet())
    roll(hosts, size=1)
    assert all(len(part) == 1 for _, part in hosts.done)


def test_a_fleet_at_rest_is_left_alone():
    hosts = settled()
    assert list(roll(hosts).lines()) == ["nothing to do: every host is as the pillar says"]
    assert hosts.done == []


@pytest.mark.parametrize("standing", [fleetplan.OUTSIDE, fleetplan.LEAVES, fleetplan.RESTS])
def test_a_host_that_its_own_pillar_makes_no_member_stops_it(standing):
    """It was left out without a word: nothing to do, every host is as the pillar says, exit 0."""
    said = "its own pillar does not make it a member, the master's does: see top.sls"
    for hosts in (settled(), Hosts(fleet())):
        hosts.standings = {EQIAD[0]: standing}
        rolling = roll(hosts)
        assert (rolling.stopped, hosts.done) == ([f"{EQIAD[0]}: {said}"], [])
        foreseen = fleetrollout.Rollout(hosts.fleet, EVERY, "site", 0, 30.0, hosts)
        foreseen.foresee(batches.stages(hosts.fleet, ""))
        assert foreseen.stopped == rolling.stopped


def test_hosts_whose_rules_are_off_are_said_to_be_none_that_were_asked():
    """All that the sentence says of every host was asked of those that have peers."""
    data = fleets.example()
    del data["expect"]
    two = {"name": "two", "between": {"id": ESAMS[0]}, "and": {"id": EQIAD[0]}}
    data["rules"] = [two, {**data["rules"][0], "name": "gone", "stage": "off"}]
    found = pillar.read(data)
    off = targets.resting(found)
    assert off and not {*off} & {*targets.paired(found)}
    hosts = Hosts(found)
    rolling = fleetrollout.Rollout(found, targets.paired(found), "site", 0, 30.0, hosts)
    rolling.run(batches.stages(found, ""))
    assert list(rolling.lines())[-1].startswith(f"not asked, as rules are off: {', '.join(off)}")


def test_hosts_are_not_asked_again_where_a_stage_does_all_of_an_edit():
    hosts, asked = settled("require"), []
    hosts.has[CODFW[0]] = tuple(one._replace(leftid="CN=new") for one in hosts.has[CODFW[0]])
    plain = hosts.ask
    hosts.ask = lambda function, *who, **how: (asked.append(function), plain(function, *who, **how))[1]
    assert roll(hosts).stopped == []
    assert hosts.done == [("passive", CODFW)]
    assert asked.count("plan") == 3  # at the start, for the stages that the edit has, and at the end


def test_a_canary_that_fails_stops_it_and_nobody_else_was_touched():
    hosts = Hosts(fleet(), broken={ESAMS[0]})
    rolling = roll(hosts)
    assert hosts.done == [("passive", ESAMS[:1])]
    assert rolling.changed == ESAMS[:1]
    lines = list(rolling.lines())
    assert lines[0] == f"STOPPED; hosts changed so far: {ESAMS[0]}"
    assert f"  {ESAMS[0]}: ipsec-certs-reused: expired" in lines
    assert lines[-2:] == [
        "to go on, when this is mended: salt-run ipsec.rollout",
        "to go back: salt-run ipsec.rollback",
    ]


def test_a_pair_that_does_not_come_up_stops_it():
    hosts = Hosts(fleet(), lame={CODFW[0]})
    rolling = roll(hosts)
    assert hosts.done[-1][0] == "start"
    assert any("cp2001.codfw.example - cp3001.esams.example v4: down" in one for one in rolling.stopped)


ANEW = "to give what is up new SAs, by what is configured now: salt-run ipsec.reauthenticate"


def test_where_sas_are_of_before_an_edit_it_says_what_makes_new_ones():
    """An edit of `type` stops it until then; it said to mend it and go on, and not by which command."""
    hosts = settled("start")
    hosts.has[CODFW[0]] = tuple(one._replace(leftid="CN=new") for one in hosts.has[CODFW[0]])
    plain, why = hosts.row, "in mode TRANSPORT, configured is TUNNEL: reauthenticate it"
    other = {"severity": "warning", "reason": why}
    hosts.row = lambda host, one: {**plain(host, one), **(other if hosts.done else {})}
    rolling = roll(hosts)
    lines = list(rolling.lines())
    assert any(why in one for one in rolling.stopped)
    assert lines[-3:-1] == [ANEW, "to go on, when this is mended: salt-run ipsec.rollout"]
    hosts = Hosts(fleet(), lame={CODFW[0]})
    assert ANEW not in roll(hosts).lines()


def test_what_was_in_trouble_before_is_told_and_stops_nothing():
    hosts = settled(lame={CODFW[0]})
    hosts.has[ESAMS[0]] = ()
    rolling = roll(hosts)
    assert any("in trouble before: cp1001.eqiad.example - cp2001" in one for one in rolling.said)
    assert not any("cp1001.eqiad.example - cp2001" in one for one in rolling.stopped)


def doubled():
    """Return a settled fleet with an edit at one host, of whose connections there are two IKE SAs each."""
    hosts = settled("require")
    hosts.has[CODFW[0]] = tuple(one._replace(leftid="CN=new") for one in hosts.has[CODFW[0]])
    plain = hosts.row

    def row(host, one):
        found = plain(host, one)
        twice = found["state"] == "established" and CODFW[0] in (host, one.peer)
        return {**found, "state": "duplicate", "severity": "warning"} if twice else found

    hosts.row = row
    return hosts


def test_what_was_up_before_with_a_warning_may_stay_so():
    rolling = roll(doubled())
    assert rolling.stopped == []
    assert any(
        "before: cp1001.eqiad.example - cp2001.codfw.example v4: duplicate" in one for one in rolling.said
    )


def test_what_was_up_before_with_a_warning_is_judged_all_the_same():
    hosts = doubled()
    plain = hosts.apply
    hosts.apply = lambda *told: (hosts.lame.add(CODFW[0]), plain(*told))[1]
    assert any("cp1001.eqiad.example - cp2001.codfw.example v4: down" in one for one in roll(hosts).stopped)


def test_what_is_up_and_critical_is_not_required():
    """A connection that is held and still has SAs was up, and no more was asked."""
    hosts = settled("start")
    hosts.fleet = fleet("require")
    assert roll(hosts).stopped == []
    hosts = settled("start")
    hosts.fleet = fleet("require")
    plain = hosts.row
    hosts.row = lambda host, one: {
        **plain(host, one),
        "severity": "critical",
        "reason": "held, yet it has SAs",
    }
    rolling = roll(hosts)
    assert hosts.done == []
    assert all(text.startswith("not up, so not required: ") for text in rolling.stopped)


def test_a_host_that_does_not_answer_stops_it_before_anything_is_done():
    hosts = Hosts(fleet(), dead={CODFW[0]})
    rolling = roll(hosts)
    assert (hosts.done, rolling.stopped) == ([], [f"did not answer: {CODFW[0]}"])


def test_nothing_is_required_before_both_ends_are_up_and_proven():
    hosts = Hosts(fleet("require"))
    assert roll(hosts).stopped == []
    assert list(dict.fromkeys(stage for stage, _ in hosts.done)) == ["passive", "start", "require"]
    hosts = Hosts(fleet("require"), unproven={EQIAD[1]})
    rolling = roll(hosts)
    assert "require" not in {stage for stage, _ in hosts.done}
    assert any(
        text == "not encrypted, so not required: cp1001.eqiad.example: cp2001_v4: clear"
        for text in rolling.stopped
    )


def test_nothing_is_required_of_which_there_is_no_proof():
    hosts = Hosts(fleet("require"), proofless={EQIAD[1]})
    rolling = roll(hosts)
    assert "require" not in {stage for stage, _ in hosts.done}
    assert f"not proven, so not required: {EQIAD[1]} - {CODFW[0]} v4" in rolling.stopped


@pytest.mark.parametrize("limit", ["passive", "start"])
def test_it_goes_no_further_than_asked(limit):
    hosts = Hosts(fleet("require"))
    assert roll(hosts, limit=limit).stopped == []
    assert hosts.done[-1][0] == limit
    assert {one.stage for connections in hosts.has.values() for one in connections} == {limit}


def test_an_order_is_foreseen_without_a_change():
    hosts = Hosts(fleet())
    rolling = fleetrollout.Rollout(hosts.fleet, EVERY, "site", 0, 30.0, hosts)
    rolling.foresee(batches.stages(hosts.fleet))
    assert hosts.done == []
    assert rolling.said == [
        "canary: cp3002.esams.example",
        "esams: cp3001.esams.example",
        "codfw: cp2001.codfw.example",
        "eqiad: cp1002.eqiad.example, cp1001.eqiad.example",
    ]


MOVING = EQIAD


def test_hosts_that_move_to_another_back_end_go_one_by_one():
    """All tunnels of such a host end: of two at once, a pair would lose what the other end brings back."""
    moved = {"ipsec.configured": {"backend": "ipsec.conf -> swanctl", "charon": "restarted (backend)"}}
    plans = {host: {"changes": moved if host in MOVING else {}} for host in EVERY}
    assert batches.moving(plans) == {*MOVING}
    found = batches.ordered(fleet(), EVERY, "rack", 0, batches.moving(plans))
    assert [one.name for one in found] == ["canary", "nowhere", "nowhere", "nowhere"]
    assert [len(one.hosts) for one in found] == [1, 2, 1, 1]
    assert {host for one in found[2:] for host in one.hosts} == {*MOVING}


def test_hosts_without_the_label_make_a_batch_of_their_own():
    found = batches.ordered(fleet(), EVERY, "rack", 2)
    assert [(one.name, len(one.hosts)) for one in found] == [
        ("canary", 1),
        ("nowhere", 1),
        ("nowhere", 2),
        ("nowhere", 1),
    ]


# What the edit changes is judged -------------------------------------------------------------

CANARY, NEW = ESAMS[0], "10.20.0.112"
CLEAR = "5 hosts changed, every connection as it should be"


def moved(address=NEW, **more):
    """Return a settled fleet whose pillar gives a host, the canary, another address."""
    hosts = settled(**more)
    data = fleets.example()
    data["hosts"][CANARY]["ipv4"] = address
    hosts.fleet = pillar.read(data)
    return hosts


def test_a_host_that_moved_to_an_address_that_reaches_nobody_stops_it():
    """It was "in trouble before" by the new pillar, so never judged: exit 0, and every connection well."""
    right = moved()
    assert list(roll(right).lines()) == ["4 hosts changed, every connection as it should be"]
    lost = moved(nowhere={ip_address(NEW)})
    rolling = roll(lost)
    assert rolling.stopped
    assert all(f"{CANARY} v4: down" in text for text in rolling.stopped), rolling.stopped
    assert not any("in trouble before" in text for text in rolling.said)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"connections": {"changed": {"cp2001_v4": {"esp": {"old": None, "new": "aes256gcm16!"}}}}}, True),
        ({"all connections": {"ike": {"old": None, "new": "aes256gcm16-prfsha384-ecp384!"}}}, True),
        ({"connections": {"changed": {"cp2001_v4": {"auto": {"old": "add", "new": "start"}}}}}, False),
        ({"all connections": {"leftgroups": {"old": None, "new": "hostipsec-1"}}}, False),
    ],
)
def test_options_that_sas_have_from_when_they_were_made_are_said_to_be_of_before(changes, told):
    """It said no more than "every connection as it should be", while strict ciphers of before were in use."""
    hosts = moved()
    plain = hosts.plan

    def plan(host, stage):
        found = plain(host, stage)
        for connections in found["changes"].values():
            connections.setdefault("connections", {}).setdefault("changed", {})
            connections["connections"]["changed"] |= changes.get("connections", {}).get("changed", {})
            connections |= {key: one for key, one in changes.items() if key != "connections"}
        return found

    hosts.plan = plan
    lines = list(roll(hosts).lines())
    assert (fleetrollout.LASTING in lines) is told, lines
    assert lines[-1] == "4 hosts changed, every connection as it should be"


def test_an_address_that_the_host_does_not_have_stops_it_before_anything_is_changed():
    hosts = moved(absent={CANARY: [NEW]})
    rolling = roll(hosts)
    assert (hosts.done, hosts.kept, rolling.wrong_pillar) == ([], [], True)
    assert list(rolling.lines())[:2] == [
        "STOPPED; hosts changed so far: none",
        f"  {CANARY}: no interface there has {NEW}; correct ipsec:hosts:{CANARY} in the pillar, or give it "
        "to the host first",
    ]
    hosts.absent = {}
    assert roll(hosts).stopped == []


def test_a_slip_that_ends_a_pair_in_require_stops_it_before_anything_is_changed():
    """As it is where hosts read their parts: of the whole pillar each refuses it itself."""
    hosts = settled("require")
    data = fleets.example()
    data["hosts"][ESAMS[0]]["cluster"] = "txet"
    hosts.fleet = pillar.read({**data, "expect": []})
    rolling = roll(hosts)
    assert (hosts.done, hosts.kept, rolling.wrong_pillar) == ([], [], True)
    wrong = f"{EQIAD[0]}: ipsec:rules: no rule pairs this host with {ESAMS[0]} any more"
    assert any(line.strip().startswith(wrong) for line in rolling.lines()), list(rolling.lines())


def test_an_address_that_a_host_was_given_long_ago_stops_it_where_that_host_is_to_change():
    """Its state refuses, so that the roll-out would stop in its midst; of other hosts their status tells."""
    hosts = moved(absent={EQIAD[0]: ["10.64.0.12"]})
    assert (bool(roll(hosts).stopped), hosts.done) == (True, [])
    assert roll(moved(absent={ESAMS[1]: ["10.20.0.166"]})).stopped == []


def test_what_was_down_and_is_moved_is_judged_all_the_same():
    hosts = moved(lame={CANARY})
    rolling = roll(hosts)
    assert any(text.startswith(f"in trouble before: {EQIAD[1]} - {CANARY}") for text in rolling.said)
    assert rolling.stopped


def test_what_is_in_trouble_as_before_is_told_at_the_end():
    hosts = settled(lame={CODFW[0]})
    hosts.has[ESAMS[1]] = tuple(one._replace(leftid="CN=new") for one in hosts.has[ESAMS[1]])
    plain = hosts.plan

    def plan(host, stage):  # the edit is one of all connections of the host
        found = plain(host, stage)
        for changes in found["changes"].values():
            changes["connections"]["changed"] = {}
        return found

    hosts.plan = plan
    assert list(roll(hosts).lines())[-1] == (
        "1 host changed; 8 of 16 connections as they should be, 8 in trouble as before"
    )


# Others are at it meanwhile ------------------------------------------------------------------


def test_a_pillar_that_is_edited_on_the_way_stops_it():
    """2 of 5 hosts had the one before, and the last sentence was that all is well."""
    hosts = Hosts(fleet())
    hosts.meanwhile = {2: lambda: setattr(hosts, "digest", "another")}
    rolling = roll(hosts)
    assert rolling.changed == ESAMS
    assert rolling.stopped == ["the pillar is another than at the start of this roll-out"]
    hosts = Hosts(fleet())
    hosts.meanwhile = {10: lambda: setattr(hosts, "digest", "another")}  # after the last host
    assert roll(hosts).stopped == rolling.stopped


def test_a_pillar_of_a_host_that_is_edited_on_the_way_stops_it():
    hosts = Hosts(fleet(), own=dict.fromkeys(EVERY, "one"))
    hosts.meanwhile = {2: lambda: hosts.own.update({EQIAD[0]: "another"})}
    stopped = roll(hosts).stopped
    assert stopped == [f"{EQIAD[0]}: its pillar is another than at the start of this roll-out"]
    assert hosts.kept[-1][1] is False


def test_a_pillar_that_cannot_be_read_on_the_way_stops_it():
    hosts = Hosts(fleet())

    def broken():
        raise HostIPsecError("the pillar of cp1: line 3")

    hosts.meanwhile = {1: lambda: setattr(hosts, "pillar", broken)}
    assert roll(hosts).stopped == ["the pillar of cp1: line 3"]


def test_a_rollback_in_the_middle_is_noticed():
    """From another shell: the fleet was split, and both said that all is well."""
    hosts = settled()
    for host in (*CODFW, *EQIAD):
        hosts.has[host] = tuple(one._replace(leftid="CN=old") for one in hosts.has[host])
    before = hosts.has[CODFW[0]]
    hosts.meanwhile = {3: lambda: hosts.has.update({CODFW[0]: before})}
    rolling = roll(hosts)
    assert rolling.stopped == [
        f"{CODFW[0]}: does not run what the pillar says: changed by another hand meanwhile"
    ]
    assert hosts.kept[-1] == ([*CODFW, *EQIAD], False)


def test_a_down_in_the_middle_is_said_in_the_last_sentence():
    hosts = Hosts(fleet())
    hosts.meanwhile = {3: lambda: hosts.hold(CODFW[0])}
    assert list(roll(hosts).lines())[-1] == (
        "5 hosts changed; 8 of 16 connections as they should be, 8 held at cp2001.codfw.example: "
        "since then by root because T1"
    )


def test_what_is_held_is_said_where_there_is_nothing_to_do():
    hosts = settled()
    hosts.hold(CODFW[0])
    assert list(roll(hosts).lines())[-1] == (
        "nothing to do: every host is as the pillar says; 8 of 16 connections as they should be, 8 held at "
        "cp2001.codfw.example: since then by root because T1"
    )


# Who was changed -----------------------------------------------------------------------------


def test_a_host_that_refuses_is_not_among_those_that_were_changed():
    hosts = Hosts(fleet(), busy={CODFW[0]})
    rolling = roll(hosts)
    assert rolling.changed == ESAMS
    lines = list(rolling.lines())
    assert lines[:2] == [
        f"STOPPED; hosts changed so far: {', '.join(ESAMS)}",
        f"  {CODFW[0]}: state.apply is running",
    ]


def test_hosts_of_the_batch_under_way_are_named_as_it_is_interrupted():
    def press():
        raise KeyboardInterrupt

    hosts = Hosts(fleet(), meanwhile={5: press})
    rolling = fleetrollout.Rollout(hosts.fleet, EVERY, "site", 0, 30.0, hosts)
    plain = hosts.apply

    def apply(some, *more):
        for host, done in plain(some, *more):
            yield host, done
            if host == EQIAD[0]:
                raise KeyboardInterrupt

    hosts.apply = apply
    with pytest.raises(KeyboardInterrupt):
        rolling.run(batches.stages(hosts.fleet))
    assert (rolling.changed, rolling.unknown) == ([*ESAMS, *CODFW, EQIAD[0]], [EQIAD[1]])
    rolling.stopped.append("interrupted")
    assert f"told to change, and not known whether they did: {EQIAD[1]}" in list(rolling.lines())
    assert hosts.kept[-1] == ([*ESAMS, *CODFW, *EQIAD], False)


def test_who_is_told_is_noted_before():
    hosts = Hosts(fleet(), dead=set())
    roll(hosts)
    assert hosts.kept[:2] == [(ESAMS[:1], False), (ESAMS, False)]
    assert hosts.kept[-1] == ([*ESAMS, *CODFW, *EQIAD], True)


def test_a_host_that_dies_on_the_way_is_not_known():
    hosts = Hosts(fleet())
    hosts.meanwhile = {2: lambda: hosts.dead.add(CODFW[0])}
    rolling = roll(hosts)
    assert (rolling.changed, rolling.unknown) == (ESAMS, CODFW)
    assert rolling.stopped == [f"{CODFW[0]}: did not answer: what it runs is not known"]


def test_a_host_of_which_no_address_is_known_stops_no_other_and_is_not_forgotten():
    """A minion that writes nonsense into its mine would stop every roll-out."""
    known, bad = fleet(), "cp1002.eqiad.example"
    lost = (Problem(f"ipsec:hosts:{bad}", "the Salt mine: found 0.0.0.0", "one"),)
    hosts = tuple(
        one._replace(ipv4=None, ipv6=None, lost=lost) if one.id == bad else one for one in known.hosts
    )
    there = Hosts(known._replace(hosts=hosts))
    rolling = fleetrollout.Rollout(there.fleet, EVERY, "site", 0, 60.0, there)
    rolling.run(STAGES[1:3])
    assert rolling.stopped == []
    assert sorted({host for _, part in there.done for host in part}) == sorted({*EVERY} - {bad})
    first, *_, last = rolling.lines()
    assert first == f"ipsec:hosts:{bad}: the Salt mine: found 0.0.0.0; allowed: one; left out"
    assert last == f"4 hosts changed, every connection as it should be; left out: {bad}"


# Certificates ----------------------------------------------------------------------------------------


def of_ca(key):
    one = {"key": key, "name": "CN=Puppet CA"}
    return {"chain": [one], "trusts": [one], "fault": ""}


def told_by(*others, ca="2" * 64):
    return {**dict.fromkeys(EVERY, of_ca("1" * 64)), **dict.fromkeys(others, of_ca(ca))}


def test_a_host_that_brings_a_certificate_of_another_ca_stops_it_before_anything_is_changed():
    hosts = moved(tells=told_by(), brings=told_by(CANARY))
    rolling = roll(hosts)
    assert (hosts.done, bool(rolling.stopped)) == ([], True)
    assert any(
        text.startswith(f"{CANARY} would be refused at the next authentication by 3 hosts, ")
        for text in rolling.stopped
    ), rolling.stopped
    foreseen = fleetrollout.Rollout(hosts.fleet, EVERY, "site", 0, 30.0, hosts)
    foreseen.foresee(STAGES[-1:])
    assert foreseen.stopped == rolling.stopped


def test_a_host_that_enters_with_a_certificate_of_another_ca_stops_it():
    hosts = settled(tells=told_by(CANARY))
    del hosts.has[CANARY], hosts.tells[CANARY]
    hosts.brings[CANARY] = of_ca("2" * 64)
    assert (bool(roll(hosts).stopped), hosts.done) == (True, [])


def test_what_would_be_refused_before_is_told_and_stops_nothing_that_leaves_the_pair_what_it_is():
    hosts = moved(tells=told_by(ESAMS[1]))
    rolling = roll(hosts)
    assert rolling.stopped == []
    assert any(f"would refuse {ESAMS[1]} at the next authentication" in text for text in rolling.said)
    assert any("in trouble as before" in text for text in rolling.lines())


@pytest.mark.parametrize("restarted", [CANARY, EQIAD[0]])
def test_a_charon_that_is_restarted_authenticates_anew(restarted):
    hosts = moved(tells=told_by(EQIAD[0]), restarts={restarted})
    assert (bool(roll(hosts).stopped), hosts.done) == (True, [])


def test_a_ca_that_is_changed_at_all_hosts_at_once_is_said():
    hosts = moved(tells=told_by(), brings=told_by(*EVERY))
    data = fleets.example()
    for number, host in enumerate(EVERY):
        data["hosts"][host]["ipv4"] = f"10.99.0.{number + 1}"
    hosts.fleet = pillar.read(data)
    rolling = roll(hosts)
    assert rolling.stopped == []
    (said,) = [text for text in rolling.said if "while one end only is changed" in text]
    assert said.startswith("cannot authenticate anew while one end only is changed: ")


def test_who_does_not_tell_stops_nothing():
    assert roll(moved(tells={CANARY: of_ca("1" * 64)})).stopped == []


GATEWAY = {
    "managed": False,
    "site": "eqiad",
    "cluster": "text",
    "ipv4": "203.0.113.1",
    "subject": "@gw.example",
}


@pytest.mark.parametrize("stage", ["start", "require"])
def test_a_peer_that_salt_does_not_manage_is_passed_over(stage):
    """It is asked nothing and changed by nobody; what its peers say of it counts, and they prove it."""
    data = fleets.example()
    data["hosts"]["agw.partner.example"], data["expect"] = GATEWAY, []
    for rule in data["rules"]:
        rule["stage"] = stage
    hosts = Hosts(pillar.read(data), dead={"agw.partner.example"})
    rolling = roll(hosts)
    assert rolling.stopped == [] and sorted(rolling.changed) == EVERY
    known = {one.peer for host in EVERY for one in hosts.has[host]}
    assert "agw.partner.example" in known
    assert not any("agw" in host for _, told in hosts.done for host in told)


# What is in the clear ----------------------------------------------------------------------------


class Watched(Hosts):
    """Hosts of which each takes what its peers send in the clear, at every moment."""

    def apply(self, hosts, stage, pillars):
        for host, done in super().apply(hosts, stage, pillars):
            every = {(host, one.peer, one.family): one for host in self.has for one in self.has[host]}
            for (sender, taker, family), sent in every.items():
                taken = every[taker, sender, family].taking
                assert {*sent.clear} <= {*taken.clear}
                if sent.only:
                    assert set() < {*taken.only} <= {*sent.only}
            yield host, done


@pytest.mark.parametrize("stage", ["passive", "start", "require"])
@pytest.mark.parametrize("own", [{"clear": ("tcp/22",)}, {"only": ("icmp", "tcp/6379")}])
def test_what_is_in_the_clear_is_taken_by_all_before_any_sends_it(stage, own):
    """In one step the port was dropped between the first host and the last."""
    before = fleet(stage)
    after = before._replace(rules=tuple(rule._replace(**own) for rule in before.rules))
    hosts = Watched(before, settled(stage).has)
    for edited, last in ((after, own), (before, dict.fromkeys(own, ()))):
        hosts.fleet, hosts.done = edited, []
        assert roll(hosts).stopped == []
        stages = [stage_ for stage_, _ in hosts.done]
        assert sorted({*stages}) == ["passive", "start"]
        assert stages == sorted(stages)
        every = [one for some in hosts.has.values() for one in some]
        assert {tuple(getattr(one, key) for key in own) for one in every} == {(*last.values(),)}
        assert {one.taken for one in every} == {None}
