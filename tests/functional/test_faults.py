"""One table of faults of a host with a real charon; every face says of each what the judge said.

Faces: ipsec-global, the plugin, the keeper's sample, metrics, the beacon. What only a kernel can lose or
refuse is in `test_faces` (played) and in the lab.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from downs import EAST, Peers, name
from strongswan import wait_for

import authorities
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.errors import CharonError
from hostipsec.faces import metrics
from hostipsec.health.report import CARRYING, SEVERITIES
from hostipsec.health.sample import parse
from hostipsec.store import hold, record
from hostipsec.store.hold import Hold, Scope
from hostipsec.store.record import Record

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

ROOT = Path(__file__).parents[2]
SCRIPT = (Path(__file__).parent / "within/faces.py").read_text()
RECORD, HOLD, CONF = "/var/lib/hostipsec/mesh.json", "/var/lib/hostipsec/hold.json", "/etc/ipsec.conf"
OK, WARNING, CRITICAL, UNKNOWN = range(4)
WELL = ("established", "ok")
LONG = ("charon_hangs",)  # each look waits for it; the plugin in Icinga tells it in less


@dataclass
class Shown:
    """What the faces are to show."""

    rows: dict[str, tuple[str, str]] = field(default_factory=dict)  # of connections that are not WELL
    severity: str = "ok"  # of the host
    status: int = OK  # of the plugin
    said: str = ""  # by all of them, somewhere
    tags: frozenset[str] = frozenset()  # of the beacon's events
    unread: frozenset[str] = frozenset()  # what the sample says could not be read
    known: bool = True  # whether there is a record to know connections by
    strays: int = 0  # SAs or connections that are not configured


def shown(rows=None, severity="ok", status=OK, said="", tags=(), unread=(), known=True, strays=0):
    return Shown(rows or {}, severity, status, said, frozenset(tags), frozenset(unread), known, strays)


class Faulty:
    """Three peers, all up; one fault at a time is made, and undone."""

    def __init__(self, peers: Peers, place: Path) -> None:
        self.peers, self.east, self.place = peers, peers.east, place

    # what the faces show

    def faces(self) -> dict:
        done = self.east.process(["/usr/bin/python3", "-B", "-c", SCRIPT], 180)
        assert done.status == 0, done.text
        return json.loads(done.stdout)

    def events(self, samples: list[str]) -> list[dict]:
        """Return what a beacon without a memory tells of samples, one after another."""
        found = importlib.util.spec_from_file_location("beacon_of_faults", ROOT / "_beacons/ipsec.py")
        beacon = importlib.util.module_from_spec(found)
        found.loader.exec_module(beacon)
        memory = self.place / "told"
        memory.mkdir(exist_ok=True)
        for old in memory.iterdir():
            old.unlink()
        beacon.__opts__ = {"cachedir": str(memory)}
        told = []
        for number, text in enumerate(samples):
            path = self.place / f"state-{number}.json"
            path.write_text(text)
            told += beacon.beacon([{"sample": str(path)}])
        return told

    # what is done to the host

    def put(self, path: str, text: str, mode: int = 0o600) -> None:
        self.east.write(path, text, mode)

    def read(self, path: str) -> str:
        return (self.east.root / path.lstrip("/")).read_text()

    @contextlib.contextmanager
    def changed(self, path: str, text: str) -> Iterator[None]:
        """Have a file say something else."""
        there = (self.east.root / path.lstrip("/")).exists()
        before = self.read(path) if there else ""
        self.put(path, text)
        yield
        if there:
            self.put(path, before)
        else:
            self.east.run("rm", path)

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        wait_for(happened, what, 60)

    def end(self, *numbers: int) -> None:
        """End what is up of connections, by charon."""
        names = {name(number) for number in numbers}
        ids = [sa.uniqueid for sa in self.peers.look.ike_sas if sa.name in names]
        ViciBackend(self.east.vici).terminate(ids, force=True)
        self.wait(lambda: not names & {sa.name for sa in self.peers.look.ike_sas}, f"end of {names}")

    def mend(self) -> None:
        """Make all as it was: three connections that are loaded, and up once each."""
        self.east.run("rm", "-f", HOLD, "/var/lib/hostipsec/mesh.copy.json", "/run/hostipsec/state.json")
        self.put(RECORD, record.render(Record(self.peers.connections)), 0o644)
        self.put(CONF, self.peers.conf("start"))
        self.east.run("ipsec", "update")
        self.wait(self._whole, "host that is whole")

    def _whole(self) -> bool:
        try:
            return self._nearer()
        except CharonError:  # it was stopped, and has its queue to go through
            return False

    def _nearer(self) -> bool:
        look = self.peers.look
        wanted = {one.name for one in self.peers.connections}
        if {one.name for one in look.connections} != wanted:
            return False
        well = {sa.name for sa in look.ike_sas if sa.state == "ESTABLISHED" and len(sa.children) == 1}
        once = {one for one in well if sum(sa.name == one for sa in look.ike_sas) == 1}
        charon = ViciBackend(self.east.vici)
        charon.terminate([sa.uniqueid for sa in look.ike_sas if sa.name not in once], force=True)
        charon.initiate(sorted(wanted - once), timeout=60)
        return once == wanted

    def configure(self, text: str, loaded: int) -> None:
        """Have charon load an ipsec.conf, and wait until it has so many connections."""
        self.put(CONF, text)
        self.east.run("ipsec", "update")
        self.wait(lambda: len(self.peers.look.connections) == loaded, f"{loaded} connections loaded")

    def recorded(self, **changes) -> str:
        return record.render(Record(self.peers.connections)._replace(**changes))


FAULTS: dict[str, tuple[Callable, Shown]] = {}


def fault(**expected):
    """Enter a fault in the table; ``expected`` as :func:`shown`."""

    def entered(make):
        FAULTS[make.__name__] = contextlib.contextmanager(make), shown(**expected)
        return make

    return entered


@fault()
def nothing(host):
    yield


@fault(
    rows={name(1): ("held", "warning")},
    severity="warning",
    status=WARNING,
    said="because T1",
    tags=["hold/set"],
)
def one_is_held(host):
    assert host.peers.ipsec_global("down", "--peer", "cp0001*", "--reason", "T1").status == 0
    yield


@fault(
    rows={name(n): ("held", "warning") for n in range(3)},
    severity="warning",
    status=WARNING,
    said="because T2",
    tags=["hold/set"],
)
def everything_is_held(host):
    assert host.peers.ipsec_global("down", "--reason", "T2").status == 0
    yield


@fault(
    rows={name(1): ("established", "critical")},
    severity="critical",
    status=CRITICAL,
    said="yet it has SAs",
    tags=["hold/set"],
)
def held_and_yet_up(host):
    one = Hold("ada", datetime.now(timezone.utc), "T3", scope=Scope("cp0001*"))
    with host.changed(HOLD, hold.render([one])):
        yield


@fault(
    severity="critical",
    status=CRITICAL,
    said="hold.json cannot be read",
    tags=["look/partial"],
    unread=["hold"],
)
def the_hold_is_damaged(host):
    with host.changed(HOLD, "{"):
        yield


@fault(
    rows={name(2): ("down", "critical")},
    severity="critical",
    status=CRITICAL,
    said="loaded, but no SA; this host starts it",
    tags=["connection/down"],
)
def one_is_down(host):
    host.end(2)
    yield


@fault(
    rows={name(n): ("down", "critical") for n in range(3)},
    severity="critical",
    status=CRITICAL,
    said="loaded, but no SA",
    tags=["connection/down"],
)
def all_are_down(host):
    host.end(0, 1, 2)
    yield


@fault(
    rows={name(2): ("connecting", "warning")},
    severity="warning",
    status=WARNING,
    said="no answer of the peer yet",
    tags=["connection/down"],
)
def a_peer_is_silent(host):
    host.peers.addresses("del", [2])
    host.end(2)
    ViciBackend(host.east.vici).initiate([name(2)], timeout=60)
    host.wait(lambda: any(sa.state == "CONNECTING" for sa in host.peers.look.ike_sas), "an attempt")
    yield
    host.peers.addresses("add", [2])
    host.peers.up([2])


@fault(
    rows={name(2): ("no child", "critical")},
    severity="critical",
    status=CRITICAL,
    said="has no CHILD SA: nothing is encrypted",
    tags=["connection/down"],
)
def an_ike_sa_without_a_child(host):
    host.east.run("ipsec", "down", f"{name(2)}{{*}}")
    host.wait(lambda: name(2) not in host.peers.established, "end of the CHILD SA")
    yield


@fault(
    rows={name(1): ("duplicate", "warning")},
    severity="warning",
    status=WARNING,
    said="one is meant",
)
def a_duplicate(host):
    host.peers.initiate_from_peers([1])

    def both() -> bool:
        return len([sa for sa in host.peers.look.ike_sas if sa.name == name(1) and sa.children]) == 2

    host.wait(both, "a second IKE SA")
    yield
    host.end(1)
    host.peers.up([1])


@fault(
    rows={name(2): ("established", "warning")},
    severity="warning",
    status=WARNING,
    said="charon has not loaded this connection: once its SAs end, nothing brings it back",
)
def one_is_not_loaded(host):
    whole = host.read(CONF)
    host.configure(whole.partition(f"\nconn {name(2)}")[0] + "\n", 2)
    yield


@fault(
    rows={name(2): ("down", "critical")},
    severity="critical",
    status=CRITICAL,
    said="charon has not loaded this connection",
    tags=["connection/down"],
)
def one_is_neither_loaded_nor_up(host):
    whole = host.read(CONF)
    host.configure(whole.partition(f"\nconn {name(2)}")[0] + "\n", 2)
    host.end(2)
    yield


@fault(severity="warning", status=WARNING, said="stranger", strays=1)
def a_connection_of_nobody(host):
    whole = host.read(CONF)
    host.configure(
        whole + f"\nconn stranger\n    left={EAST}\n    right=10.9.9.9\n    authby=psk\n    auto=add\n", 4
    )
    yield


@fault(
    rows={name(2): ("no address", "critical")},
    severity="critical",
    status=CRITICAL,
    said="10.9.77.1",
    strays=1,
    tags=["connection/down"],
)
def an_address_that_is_not_here(host):
    moved = [*host.peers.connections]
    moved[2] = moved[2]._replace(left=type(moved[2].left)("10.9.77.1"))
    with host.changed(RECORD, host.recorded(connections=tuple(moved))):
        yield


@fault(strays=1)
def one_in_maintenance(host):
    *rest, last = host.peers.connections
    with host.changed(RECORD, host.recorded(connections=tuple(rest), resting=(last,))):
        yield


@fault(rows={name(2): ("down", "ok")})
def one_is_passive(host):
    *rest, last = host.peers.connections
    host.end(2)
    with host.changed(RECORD, host.recorded(connections=(*rest, last._replace(stage="passive")))):
        yield


@fault(
    rows={name(2): ("established", "warning")},
    severity="warning",
    status=WARNING,
    said="no trap: without an SA its traffic goes in the clear",
    tags=["guard/missing"],
)
def one_requires_and_has_no_trap(host):
    *rest, last = host.peers.connections
    with host.changed(RECORD, host.recorded(connections=(*rest, last._replace(stage="require")))):
        yield


@fault(
    severity="critical",
    status=CRITICAL,
    said="charon does not answer",
    rows={name(n): ("down", "critical") for n in range(3)},
    tags=["charon/down"],
    unread=["charon"],
)
def charon_hangs(host):
    host.peers.signal("STOP")
    yield
    host.peers.signal("CONT")


@fault(
    severity="warning",
    status=UNKNOWN,
    said="mesh.json cannot be read",
    tags=["look/partial"],
    unread=["record"],
)
def the_record_is_damaged(host):
    """Its copy counts meanwhile."""
    whole = host.read(RECORD)
    with host.changed("/var/lib/hostipsec/mesh.copy.json", whole), host.changed(RECORD, whole[:40]):
        yield


@fault(
    severity="critical",
    status=UNKNOWN,
    said="mesh.json cannot be read",
    unread=["record"],
    tags=["look/partial"],
    known=False,
)
def nothing_tells_of_connections(host):
    with host.changed(RECORD, host.read(RECORD)[:40]), host.changed(CONF, ""):
        yield


def certificate(host, days: float):
    """Have the host run with a certificate that ends in some days."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=CA of the tests", now)
    issued = authorities.host("CN=east", now, ca, until=timedelta(days=days))
    (host.east.root / "etc/ipsec.d/certs").mkdir(parents=True, exist_ok=True)
    (host.east.root / "etc/ipsec.d/certs/east.pem").write_bytes(issued.pem)


@fault(
    severity="warning", status=WARNING, said="certificate expires in 9 days", tags=["certificate/expiring"]
)
def the_certificate_ends_soon(host):
    certificate(host, 9.5)
    with host.changed(CONF, host.read(CONF) + "\nconn %default\n    leftcert=east.pem\n"):
        yield


@fault(severity="critical", status=CRITICAL, said="certificate expired on ", tags=["certificate/expiring"])
def the_certificate_has_expired(host):
    certificate(host, -0.1)
    with host.changed(CONF, host.read(CONF) + "\nconn %default\n    leftcert=east.pem\n"):
        yield


@fault(severity="warning", status=UNKNOWN, said="is not there", tags=["look/partial"], unread=["certificate"])
def the_certificate_is_gone(host):
    with host.changed(CONF, host.read(CONF) + "\nconn %default\n    leftcert=gone.pem\n"):
        yield


@fault(
    severity="critical",
    status=CRITICAL,
    said="charon does not answer",
    rows={name(n): ("down", "critical") for n in range(3)},
    tags=["charon/down"],
    unread=["charon"],
)
def charon_is_dead(host):
    """The last of the table: nothing brings it back here."""
    host.peers.signal("KILL", "starter")
    host.peers.signal("KILL")
    yield


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    peers = Peers(place, 3, stage="start")
    try:
        peers.start()
        (peers.east.root / "run/hostipsec").mkdir(mode=0o700, exist_ok=True)
        peers.east.write(CONF, peers.conf("start"))  # as states write it where there is no systemd
        peers.east.run("ipsec", "update")
        wait_for(lambda: len(peers.established) == 3, "three connections")
        yield Faulty(peers, place)
    finally:
        peers.stop()


def told(text: str) -> dict:
    """Return the verdicts of a face that prints JSON: {name: (state, severity)}, or an error."""
    rows = json.loads(text).get("connections", {}) if text else {}
    return {one: (row["state"], row["severity"]) for one, row in rows.items()}


@pytest.mark.parametrize(
    "case", [pytest.param(one, marks=pytest.mark.whole if one in LONG else ()) for one in FAULTS]
)
def test_every_face_says_what_the_judge_said(host, case):
    make, expected = FAULTS[case]
    host.mend()
    with make(host):
        found = host.faces()
    configured = {one.name: WELL for one in host.peers.connections} if expected.known else {}
    if case == "one_in_maintenance":
        del configured[name(2)]
    verdict = {**configured, **expected.rows}
    assert (told(found["command"][1]), told(found["plugin"][1])) == (verdict, verdict)
    assert found["command"][0] == found["eyes"][0] == (expected.status != OK or expected.severity != "ok")
    assert found["plugin"][0] == found["line"][0] == expected.status, found["line"]
    assert expected.said in found["line"][1]
    assert expected.said in found["eyes"][1]
    for text in found["samples"]:
        check_sample(text, verdict, expected, found)
    events = host.events(found["samples"])
    assert {one["tag"] for one in events} == expected.tags, events


def check_sample(text: str, verdict: dict, expected: Shown, found: dict) -> None:
    """Look at a sample of the keeper, and at the metrics of it."""
    sample = parse(json.loads(text))
    assert {one.name: (one.state, one.severity) for one in sample.connections} == verdict
    assert (sample.severity, {*sample.unread}) == (expected.severity, {*expected.unread})
    told = metrics.families(metrics.seen(json.loads(text), time.time()))
    series = {one.metric.name: dict(one.series) for one in told}
    ups = {labels[0]: value for labels, value in series.get("ipsec_connection_up", {}).items()}
    assert ups == {one.peer: one.state in CARRYING for one in sample.connections}
    held = {labels[0]: value for labels, value in series.get("ipsec_connection_held", {}).items()}
    assert held == {one.peer: "held" in one.reason for one in sample.connections}
    assert series["ipsec_severity"] == {(sample.site,): SEVERITIES.index(expected.severity)}
    sources = {labels[1]: value for labels, value in series["ipsec_source_up"].items()}
    if not expected.known:  # nothing was looked at: it is absent, and not down
        assert sources == {"keeper": True, **dict.fromkeys(expected.unread, False)}
        assert not {"ipsec_connections", "ipsec_charon_up"} & {*series}
        return
    assert {source for source, up in sources.items() if not up} == {*expected.unread}
    counts = {labels[1]: value for labels, value in series["ipsec_connections"].items()}
    assert counts.pop("unmanaged") == expected.strays
    assert counts == {state: sum(one.state == state for one in sample.connections) for state in counts}
    assert (series["ipsec_charon_up"] == {(sample.site,): True}) == ("charon" not in expected.unread)
