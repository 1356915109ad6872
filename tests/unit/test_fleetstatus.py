"""The status of the fleet: what is asked again, who explains what is wrong, and when all is well."""

from __future__ import annotations

from dataclasses import replace

import pytest

import fleets
from clocks import Clock
from hostipsec.fleet import commands, targets
from hostipsec.fleet.asking import Asking
from hostipsec.fleet.fleetstatus import Filter
from hostipsec.fleet.gone import Gone
from hostipsec.pillar import pillar, topology

FLEET = pillar.read(fleets.example())
SPOKE, HUB, CODFW = "cp3001.esams.example", "cp1001.eqiad.example", "cp2001.codfw.example"
DOWN = {"state": "down", "severity": "critical", "reason": "no SA"}
UP = {"state": "established", "severity": "ok", "reason": ""}


class Fleet(Clock):
    """Hosts in memory, with a clock; ``down`` gives by host until when its connections are down."""

    def __init__(self, certificate=None, unmanaged=(), **down):
        self.down, self.certificate, self.unmanaged = down, certificate, unmanaged
        self.time, self.asked = 0.0, 0
        self.silent, self.warnings, self.proves, self.tells = set(), {}, {}, {}
        self.proposals = {}  # host -> of its IKE SAs
        self.left = {}  # host that the pillar does not have -> what it answers
        self.addresses = {}  # host -> whether it says which ones its connections have
        self.stages = {}  # host -> by its own pillar
        self.beside = {}  # host -> what it says beside all that, or in its stead
        self.more = {}  # host -> connections by its own pillar alone

    def returns(self, hosts, function, arguments):
        self.asked += 1
        told = {"ipsec.status": self.status, "ipsec.verify": self.proof}[function]
        yield from ((host, told(host)) for host in hosts if host not in self.silent)

    def proof(self, host):
        rows = {
            one.name: {"peer": one.peer, "family": one.family, "ok": True, "reason": ""}
            for one in topology.connections(FLEET, host)
        }
        return {"ok": True, "sentence": "words", "connections": self.proves.get(host, rows), "problems": []}

    def status(self, host):
        if host in self.left:
            return self.left[host]
        rows = fleets.rows(FLEET, host)
        for row in rows.values():
            ends = {host.partition(".")[0], row["peer"].partition(".")[0]}
            row.update(DOWN if any(self.time < self.down.get(end, 0) for end in ends) else UP)
            row["stage"] = self.stages.get(host, row["stage"])
        for one in topology.connections(FLEET, host) if self.addresses.get(host, True) else ():
            rows[one.name]["ends"] = [str(one.left), str(one.right)]
        rows.update(self.more.get(host, {}))
        for row in rows.values():
            if host in self.proposals:
                row["ike_proposal"] = self.proposals[host]
        return {
            "connections": rows,
            "unmanaged": {name: {} for name in self.unmanaged if host == HUB},
            "summary": {"sentence": "words", "severity": "ok"},
            "certificate": self.certificate if host == SPOKE else None,
            **({"warnings": self.warnings[host]} if host in self.warnings else {}),
            "edition": "1",
            **({"authentication": self.tells[host]} if host in self.tells else {}),
            **self.beside.get(host, {}),
        }

    def say(self, text):
        pass


def status(hosts, patience=0.0, **chosen):
    return commands.status(Asking(hosts), FLEET, Filter(**chosen), patience)


@pytest.mark.parametrize("who", [(SPOKE,), tuple(host.id for host in FLEET.hosts)])
def test_a_pillar_that_hosts_have_yet_to_get_is_no_fleet_at_rest(who):
    """The pillar was edited to `require` and not applied: all was well, and at stage require."""
    hosts = Fleet()
    hosts.stages = dict.fromkeys(who, "passive")
    found = status(hosts)
    rows = [row for row in found.shown.rows if {row.one, row.other} & {*who}]
    assert rows and {row.severity for row in rows} == {"warning"}
    assert all(
        f"{SPOKE} goes by stage passive, the pillar says start" in row.reason for row in rows if SPOKE in row
    )
    assert not found.ok(0)
    hosts.stages = dict.fromkeys(who, "")  # of a release before
    assert status(hosts).ok(0)


def moved(host, address):
    """Return the fleet with another IPv4 address of a host."""
    data = fleets.example()
    data["hosts"][host]["ipv4"] = address
    return pillar.read(data)


def test_an_address_that_hosts_have_yet_to_get_is_no_fleet_at_rest():
    """An address was edited in the pillar and not applied: 16 up, exit 0, and all between the two clear."""
    hosts, edited = Fleet(), moved(SPOKE, "10.80.0.99")
    old = next(str(one.ipv4) for one in FLEET.hosts if one.id == SPOKE)
    found = commands.status(Asking(hosts), edited, Filter(), 0)
    rows = [row for row in found.shown.rows if SPOKE in (row.one, row.other)]
    said = f"{HUB} has {SPOKE} at {old}, the pillar says 10.80.0.99: "
    assert {row.severity for row in rows if row.family == "v4"} == {"warning"}
    assert {row.severity for row in found.shown.rows if row.family == "v6"} == {"ok"}
    assert [row.reason.count(said) for row in rows if HUB in (row.one, row.other)] == [1, 0]
    assert f"{SPOKE} has itself at {old}, the pillar says 10.80.0.99: its pillar is old" in rows[0].reason
    assert found.as_dict(0, "1")["retcode"] == 1
    hosts.addresses = {SPOKE: False, HUB: False, CODFW: False, "cp1002.eqiad.example": False}
    rows = commands.status(Asking(hosts), edited, Filter(host=SPOKE), 0).shown.rows
    assert not [row for row in rows if f"{HUB} has" in row.reason]  # of a release before


def test_an_sa_of_before_an_edit_is_told_from_one_that_no_pillar_gives():
    found = status(Fleet(unmanaged=["cp3001_v4", "old_v4"]))
    assert found.as_dict(0, "1")["stray"] == [
        f"{HUB}: cp3001_v4 has an SA between other addresses than the pillar says",
        f"{HUB}: old_v4 is not in the pillar",
    ]


def test_all_is_well():
    found = status(Fleet())
    assert (found.ok(0), found.bad, found.as_dict(0, "1")["retcode"]) == (True, frozenset(), 0)
    assert found.lines("1")[0] == "16 connections of 8 pairs: 16 up"


def test_it_is_said_which_connections_have_post_quantum_keys():
    quantum, classic = "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384/KE1_ML_KEM_768", "AES_CBC_128/ECP_384"
    fleet = Fleet()
    fleet.proposals = dict.fromkeys((SPOKE, HUB), classic)
    assert not [line for line in status(fleet).lines("1") if "post-quantum" in line]
    fleet.proposals = {SPOKE: quantum}
    found = status(fleet, host=SPOKE)
    rows = found.as_dict(0, "1")["connections"]
    assert {row["post_quantum"] for row in rows} == {True}
    assert f"post-quantum keys: {len(rows)} of {len(rows)} connections" in found.lines("1")
    fleet.proposals = {SPOKE: quantum, CODFW: classic}  # one end that has another SA counts
    found = status(fleet)
    (said,) = [line for line in found.lines("1") if "post-quantum" in line]
    assert said.startswith("post-quantum keys: 4 of 12 connections; without: ")
    assert f"{CODFW} - {SPOKE} v4" in said
    assert {row["post_quantum"] for row in found.as_dict(0, "1")["connections"]} == {True, False, None}


@pytest.mark.parametrize(
    ("patience", "asked", "well"), [(0, 1, False), (1.5, 3, False), (2, 3, True), (60, 3, True)]
)
def test_it_is_asked_again_until_all_is_well_or_the_time_is_over(patience, asked, well):
    hosts = Fleet(cp3001=1.6)
    found = status(hosts, patience)
    assert (hosts.asked, found.ok(0)) == (asked, well)


def test_a_threshold_of_hosts_that_explain_what_is_wrong():
    found = status(Fleet(cp3001=9, cp2001=9))
    assert found.bad == {SPOKE, CODFW}
    assert [found.ok(threshold) for threshold in (0, 1, 2)] == [False, False, True]


def test_who_says_nothing_is_bad_where_the_whole_was_asked_for():
    hosts = Fleet()
    hosts.silent = {"db1001.eqiad.example"}  # which has no peers
    assert status(hosts).bad == hosts.silent
    assert status(hosts, site="esams").bad == set()


@pytest.mark.parametrize("state", ["down", "held", "up"])
def test_of_a_host_that_says_nothing_it_is_not_known_that_nothing_is_in_a_state(state):
    """With state=down a host whose connections may all be down was no trouble, exit 0."""
    hosts = Fleet()
    hosts.silent = {SPOKE}
    for chosen in ({}, {"site": "esams"}, {"host": SPOKE}):
        found = status(hosts, state=state, **chosen)
        assert (found.bad, found.as_dict(0, "1")["retcode"]) == ({SPOKE}, 1)
    assert status(hosts, state=state, within=["eqiad", "codfw"]).bad == set()


def test_what_no_pillar_gives_is_not_well_and_no_host_explains_it():
    found = status(Fleet(unmanaged=["old_v4"]))
    assert (found.ok(0), found.well, found.bad) == (False, False, frozenset())
    assert f"{HUB}: old_v4 is not in the pillar" in found.lines("1")


GONE, BESIDE = "cp9001.esams.example", "cp9002.esams.example"


def test_who_left_the_pillar_with_connections_is_no_fleet_at_rest():
    """Two that left it went on with their tunnel, and all was well."""
    rows = {"b_v4": {"peer": BESIDE, "family": "v4", **UP}, "x_v4": {"peer": "x", "family": "v4", **DOWN}}
    hosts, words = Fleet(), {"summary": {"sentence": "words"}}
    hosts.left = {GONE: {"connections": rows, "unmanaged": {"c_v4": {}}, **words, "warnings": [UNREAD]}}
    hosts.silent = {BESIDE}
    accepted = Gone([GONE, BESIDE])
    for found in (
        commands.status(Asking(hosts), FLEET, Filter(), 0, accepted),
        commands.whole(Asking(hosts), FLEET, accepted),
    ):
        said = found.as_dict(0, "1")
        assert (said["retcode"], said["silent"], len(found.heard.answers)) == (1, [BESIDE], len(FLEET.hosts))
        assert said["warnings"] == {GONE: [UNREAD]}
        assert said["stray"] == [
            f"{GONE} is not in the pillar, and has 3 connections (b_v4, c_v4, x_v4), of which 1 up: "
            "state.apply ipsec.clean there ends them"
        ]
    hosts.left = {GONE: {**hosts.left[GONE], "connections": {}, "unrecorded": True}}
    found = commands.status(Asking(hosts), FLEET, Filter(), 0, accepted)
    assert (found.ok(0), found.heard.beside) == (True, (BESIDE,))
    before = hosts.asked
    assert commands.status(Asking(hosts), FLEET, Filter(site="esams"), 0, accepted).ok(0)
    assert hosts.asked == before + 1


def test_what_does_not_fit_a_screen_is_in_json_as_it_says():
    """Neither what is stray nor what is wrong with addresses was there."""
    found = status(Fleet(unmanaged=[f"old{number}_v4" for number in range(40)]))
    wrong = tuple(f"db{number} has no address" for number in range(40))
    told = replace(found, unusable=wrong).as_dict(0, "1")
    assert told["unusable"] == [*wrong]
    assert "and 10 lines more; all of them: --out=json" in told["lines"]
    assert len(told["stray"]) == 40
    assert len(told["connections"]) == 16


def test_a_host_whose_certificate_is_over_is_one_of_those_that_a_threshold_allows():
    hosts = Fleet(certificate={"days_left": -3, "severity": "critical", "sentence": "expired 3 days ago"})
    assert [status(hosts).ok(threshold) for threshold in (0, 1)] == [False, True]
    hosts.down = {"cp2001": 9}
    found = status(hosts)
    assert (found.bad, found.ok(1), found.ok(2)) == (frozenset({CODFW}), False, True)


def test_a_certificate_about_to_expire_is_trouble_that_waiting_does_not_mend():
    hosts = Fleet(certificate={"days_left": 3, "severity": "warning", "sentence": "expires in 3 days"})
    found = status(hosts, 60)
    assert (hosts.asked, found.well, found.ok(0), found.ok(1)) == (1, True, False, True)
    assert found.as_dict(0, "1")["certificates"] == {SPOKE: 3}
    assert found.lines("1")[-2:] == [
        f"certificates: the first expires in 3 days, that of {SPOKE}",
        f"{SPOKE}: expires in 3 days",
    ]


# What hosts warn of ------------------------------------------------------------------------------

UNREAD = "ip -s xfrm state list: status 2, Operation not permitted; needs root and iproute2"


def test_what_a_host_could_not_look_at_is_said_and_nothing_is_well():
    """``salt-run ipsec.status`` passed over it."""
    hosts = Fleet()
    hosts.warnings = {HUB: [UNREAD], SPOKE: [], CODFW: []}
    found = status(hosts)
    told = found.as_dict(0, "1")
    assert (found.well, told["retcode"], told["warnings"]) == (False, 1, {HUB: [UNREAD]})
    assert f"{HUB}: {UNREAD}" in told["lines"]
    assert all(row["ok"] for row in told["connections"])
    assert found.as_dict(1, "1")["retcode"] == 0  # one host explains it


def test_what_a_host_names_as_a_problem_alone_is_said_and_nothing_is_well():
    """Its rows were well, and nobody read the rest: all was up, exit 0."""
    hosts = Fleet()
    hosts.beside = {HUB: {"ok": False, "problems": ["mesh.json: damaged", UNREAD], "warnings": [UNREAD]}}
    found = status(hosts)
    told = found.as_dict(0, "1")
    assert (found.well, found.bad, told["retcode"]) == (False, {HUB}, 1)
    assert told["warnings"] == {HUB: [UNREAD, "mesh.json: damaged"]}
    assert f"{HUB}: mesh.json: damaged" in told["lines"]


def test_a_host_that_is_not_well_by_its_own_word_alone_is_none_that_is_well():
    hosts = Fleet()
    hosts.beside = {HUB: {"ok": False, "sentence": "some words"}}
    told = status(hosts).as_dict(0, "1")
    said = "not all is well there, by its own word: some words"
    assert (told["retcode"], told["warnings"]) == (1, {HUB: [said]})
    hosts.unmanaged = ["old_v4"]  # which says what
    assert status(hosts).as_dict(0, "1")["warnings"] == {}
    down = Fleet(cp3001=9)
    down.beside = {host.id: {"ok": False, "sentence": "some words"} for host in FLEET.hosts}
    told = status(down).as_dict(0, "1")["warnings"]
    assert {SPOKE, HUB, CODFW}.isdisjoint(told) and told


def test_a_certificate_that_a_host_names_as_a_problem_is_said_once():
    hosts = Fleet(certificate={"days_left": 3, "severity": "warning", "sentence": "expires in 3 days"})
    hosts.beside = {SPOKE: {"ok": False, "problems": ["expires in 3 days"]}}
    found = status(hosts)
    assert (found.well, found.warned, found.ok(0)) == (True, {}, False)
    assert found.lines("1").count(f"{SPOKE}: expires in 3 days") == 1


def test_what_a_host_has_by_an_older_pillar_alone_is_no_fleet_at_rest():
    """A pair was taken out of the pillar, and its hosts went on with it by theirs: all was well."""
    hosts = Fleet()
    hosts.more = {HUB: {"old_v4": {"peer": GONE, "family": "v4", "stage": "start", **UP}}}
    hosts.more[HUB]["old_v6"] = {**hosts.more[HUB]["old_v4"], "family": "v6", **DOWN}
    told = status(hosts).as_dict(0, "1")
    why = "is not in the pillar; the host has it by an older one (saltutil.refresh_pillar, state.apply)"
    assert (told["retcode"], told["stray"]) == (1, [f"{HUB}: old_v4 {why}", f"{HUB}: old_v6 {why}"])
    assert status(hosts, host=HUB).ok(0)  # of no pair that was asked for


def test_what_was_not_asked_for_is_not_warned_of():
    hosts = Fleet()
    hosts.warnings = {CODFW: ["hostipsec-keeper.service does not run (failed)"]}
    assert status(hosts, host="cp1002.eqiad.example", state="down").as_dict(0, "1")["warnings"] == {}
    assert status(hosts, host=CODFW).as_dict(0, "1")["retcode"] == 1
    assert status(hosts, patience=3).heard.answers and hosts.time >= 3  # it is asked again


# Whether what is up could authenticate anew --------------------------------------------------------


def of_ca(key, *trusts):
    trusted = [{"key": one, "name": "CN=Puppet CA"} for one in trusts or (key,)]
    return {"chain": [{"key": key, "name": "CN=Puppet CA"}], "trusts": trusted, "fault": ""}


def test_a_host_of_another_ca_is_seen_while_its_sas_go_on():
    """It alone looks at itself, and finds all well: status said that all is up, until the next restart."""
    hosts = Fleet()
    hosts.tells = {**dict.fromkeys(HOSTS, of_ca("1" * 64)), SPOKE: of_ca("2" * 64)}
    found = status(hosts)
    told = found.as_dict(0, "1")
    assert (found.well, told["retcode"], found.bad) == (False, 1, {SPOKE})
    rows = {(row["one"], row["other"]): row for row in told["connections"]}
    row = rows[HUB, SPOKE]
    assert (row["state"], row["severity"], row["ok"], row["anew"]) == ("up", "warning", False, "no")
    assert row["reason"].startswith(
        f"{SPOKE} would refuse {HUB} at the next authentication: its certificate is of CA 'CN=Puppet CA' "
        "(key 11111111), and those that are taken there are 'CN=Puppet CA' (key 22222222); "
        f"{HUB} would refuse {SPOKE} at the next authentication: "
    )
    others = {row["anew"] for ends, row in rows.items() if SPOKE not in ends}
    assert others == {"yes"}
    hosts.tells[SPOKE] = of_ca("1" * 64, "1" * 64, "2" * 64)
    assert status(hosts).as_dict(0, "1")["retcode"] == 0


def test_a_host_of_the_release_before_is_neither_well_nor_wrong():
    hosts = Fleet()
    hosts.tells = {host: of_ca("1" * 64) for host in HOSTS if host != SPOKE}
    told = status(hosts).as_dict(0, "1")
    assert (told["retcode"], {row["severity"] for row in told["connections"]}) == (0, {"ok"})
    assert {row["anew"] for row in told["connections"] if SPOKE in (row["one"], row["other"])} == {
        "not known"
    }
    (line,) = [line for line in told["lines"] if "anew" in line]
    assert line.startswith("not known of ") and line.endswith(f": {SPOKE} do not tell")


@pytest.mark.parametrize("nonsense", [7, {"chain": []}, {"chain": [7], "trusts": [], "fault": ""}])
def test_nonsense_about_certificates_is_nonsense(nonsense):
    hosts = Fleet()
    hosts.tells = {SPOKE: nonsense}
    assert SPOKE in status(hosts).heard.failed


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"only": ("icmp", "tcp/22")}, "only icmp, tcp/22 is encrypted"),
        ({"clear": ("tcp/22",)}, "tcp/22 stays in the clear"),
    ],
)
def test_it_is_said_of_which_pairs_not_all_is_encrypted(own, what):
    rules = tuple(rule._replace(**own) for rule in FLEET.rules[:1])
    fleet = FLEET._replace(rules=(*rules, *FLEET.rules[1:]))
    found = commands.status(Asking(Fleet()), fleet, Filter(), 0.0)
    (said,) = [line for line in found.lines("1") if what in line]
    number = len([rule for rule in topology.pairs(fleet).values() if rule.only or rule.clear])
    assert said == f"rule {rules[0].name!r}: {what}, of {number} pairs"
    assert verified(Fleet(), fleet=fleet)[1][-1] == said
    assert not [line for line in status(Fleet()).lines("1") if line.startswith("rule ")]


# What is proven ----------------------------------------------------------------------------------

HOSTS = targets.paired(FLEET)


def verified(hosts, asked=HOSTS, fleet=FLEET):
    found = commands.verify(Asking(hosts), asked, {}, fleet).as_dict("1")
    return found["retcode"], found["lines"]


def test_every_host_proves_what_the_pillar_gives_it():
    done = "5 of 5 hosts are as asked: every connection encrypted both ways"
    assert verified(Fleet()) == (0, [done])
    assert verified(Fleet(), fleet=None) == (0, [done])


def test_a_host_that_proved_nothing_is_said():
    """With ``connections: {}`` it was every connection encrypted both ways, exit 0."""
    hosts = Fleet()
    hosts.proves = {SPOKE: {}}
    status, lines = verified(hosts)
    assert (status, lines[0]) == (1, "4 of 5 hosts are as asked: every connection encrypted both ways")
    names = ", ".join(sorted(one.name for one in topology.connections(FLEET, SPOKE)))
    assert lines[1:] == [f"{SPOKE}: did not prove {names}"]
    assert verified(hosts, fleet=None)[1][1:] == [f"{SPOKE}: proved nothing"]


def test_a_connection_that_is_passed_over_is_said():
    hosts = Fleet()
    rows = hosts.proof(SPOKE)["connections"]
    (gone, *_) = rows
    hosts.proves = {SPOKE: {name: row for name, row in rows.items() if name != gone}}
    assert verified(hosts)[1][1] == f"{SPOKE}: did not prove {gone}"


def test_an_answer_that_is_not_well_is_no_proof():
    hosts = Fleet()
    rows = hosts.proof(SPOKE)["connections"]
    hosts.proof = lambda host: {
        "ok": host != SPOKE,
        "sentence": "words",
        "connections": rows,
        "problems": ["no capture"],
    }
    assert verified(hosts, [SPOKE])[0] == 1


def test_where_there_is_nothing_to_prove_nothing_is_proven():
    resting = FLEET._replace(hosts=tuple(host._replace(maintenance=True) for host in FLEET.hosts))
    hosts = Fleet()
    hosts.proves = {host: {} for host in HOSTS}
    assert verified(hosts, fleet=resting) == (
        1,
        ["nothing to prove: the pillar gives these hosts no connection in service"],
    )


def test_a_host_in_maintenance_has_nothing_to_prove():
    resting = FLEET._replace(hosts=tuple(host._replace(maintenance=host.id == SPOKE) for host in FLEET.hosts))
    hosts = Fleet()
    hosts.proves = {SPOKE: {}}
    assert verified(hosts, fleet=resting)[0] == 0


def test_the_names_of_a_fleet_are_those_of_its_hosts():
    assert topology.named(FLEET) == {
        host: {one.name for one in topology.connections(FLEET, host)} for host in HOSTS
    }
