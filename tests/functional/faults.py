"""A table of faults of a host with a real charon: how each is made, and what every face is to show of it.

What only a kernel can lose or refuse is in `test_faces` (played) and in the lab.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from downs import EAST, name
from faulty import CONF, HOLD, RECORD

import authorities
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.store import hold
from hostipsec.store.hold import Hold, Scope

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WELL = ("established", "ok")
SILENT = {
    "rows": {name(n): ("down", "critical") for n in range(3)},
    "severity": "critical",
    "status": CRITICAL,
    "said": "charon does not answer",
    "tags": ["charon/down"],
    "unread": ["charon"],
}


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


@fault(**SILENT)
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


@fault(**SILENT)
def charon_is_dead(host):
    """The last of the table: nothing brings it back here."""
    host.peers.signal("KILL", "starter")
    host.peers.signal("KILL")
    yield
