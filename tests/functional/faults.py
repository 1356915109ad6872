"""How faults of `shown.TABLE` are made at a host with a real charon."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from downs import EAST, name
from faulty import CONF, HOLD, RECORD

import authorities
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.store import hold
from hostipsec.store.hold import Hold, Scope
from shown import Faults

FAULTS = Faults()


@FAULTS.made()
def nothing(host):
    yield


@FAULTS.made(name(1))
def one_is_held(host):
    assert host.peers.ipsec_global("down", "--peer", "cp0001*", "--reason", "T1").status == 0
    yield


@FAULTS.made(*map(name, range(3)))
def everything_is_held(host):
    assert host.peers.ipsec_global("down", "--reason", "T2").status == 0
    yield


@FAULTS.made(name(1))
def held_and_yet_up(host):
    one = Hold("ada", datetime.now(timezone.utc), "T3", scope=Scope("cp0001*"))
    with host.changed(HOLD, hold.render([one])):
        yield


@FAULTS.made()
def the_hold_is_damaged(host):
    with host.changed(HOLD, "{"):
        yield


@FAULTS.made(name(2))
def one_is_down(host):
    host.end(2)
    yield


@FAULTS.made(*map(name, range(3)))
def all_are_down(host):
    host.end(0, 1, 2)
    yield


@FAULTS.made(name(2))
def a_peer_is_silent(host):
    host.peers.addresses("del", [2])
    host.end(2)
    ViciBackend(host.east.vici).initiate([name(2)], timeout=60)
    host.wait(lambda: any(sa.state == "CONNECTING" for sa in host.peers.look.ike_sas), "an attempt")
    yield
    host.peers.addresses("add", [2])
    host.peers.up([2])


@FAULTS.made(name(2))
def an_ike_sa_without_a_child(host):
    host.east.run("ipsec", "down", f"{name(2)}{{*}}")
    host.wait(lambda: name(2) not in host.peers.established, "end of the CHILD SA")
    yield


@FAULTS.made(name(1))
def a_duplicate(host):
    host.peers.initiate_from_peers([1])

    def both() -> bool:
        return len([sa for sa in host.peers.look.ike_sas if sa.name == name(1) and sa.children]) == 2

    host.wait(both, "a second IKE SA")
    yield
    host.end(1)
    host.peers.up([1])


@FAULTS.made(name(2))
def one_is_not_loaded(host):
    whole = host.read(CONF)
    host.configure(whole.partition(f"\nconn {name(2)}")[0] + "\n", 2)
    yield


@FAULTS.made(name(2))
def one_is_neither_loaded_nor_up(host):
    whole = host.read(CONF)
    host.configure(whole.partition(f"\nconn {name(2)}")[0] + "\n", 2)
    host.end(2)
    yield


@FAULTS.made()
def a_connection_of_nobody(host):
    whole = host.read(CONF)
    host.configure(
        whole + f"\nconn stranger\n    left={EAST}\n    right=10.9.9.9\n    authby=psk\n    auto=add\n", 4
    )
    yield


@FAULTS.made(name(2), said="10.9.77.1", strays=1)
def an_address_that_is_not_here(host):
    moved = [*host.peers.connections]
    moved[2] = moved[2]._replace(left=type(moved[2].left)("10.9.77.1"))
    with host.changed(RECORD, host.recorded(connections=tuple(moved))):
        yield


@FAULTS.made(gone=(name(2),))
def one_in_maintenance(host):
    *rest, last = host.peers.connections
    with host.changed(RECORD, host.recorded(connections=tuple(rest), resting=(last,))):
        yield


@FAULTS.made(name(2))
def one_is_passive(host):
    *rest, last = host.peers.connections
    host.end(2)
    with host.changed(RECORD, host.recorded(connections=(*rest, last._replace(stage="passive")))):
        yield


@FAULTS.made(name(2))
def one_requires_and_has_no_trap(host):
    *rest, last = host.peers.connections
    with host.changed(RECORD, host.recorded(connections=(*rest, last._replace(stage="require")))):
        yield


@FAULTS.made(*map(name, range(3)))
def charon_hangs(host):
    host.peers.signal("STOP")
    yield
    host.peers.signal("CONT")


@FAULTS.made()
def the_record_is_damaged(host):
    """Its copy counts meanwhile."""
    whole = host.read(RECORD)
    with host.changed("/var/lib/hostipsec/mesh.copy.json", whole), host.changed(RECORD, whole[:40]):
        yield


@FAULTS.made()
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


@FAULTS.made(said="certificate expires in 9 days")
def the_certificate_ends_soon(host):
    certificate(host, 9.5)
    with host.changed(CONF, host.read(CONF) + "\nconn %default\n    leftcert=east.pem\n"):
        yield


@FAULTS.made()
def the_certificate_has_expired(host):
    certificate(host, -0.1)
    with host.changed(CONF, host.read(CONF) + "\nconn %default\n    leftcert=east.pem\n"):
        yield


@FAULTS.made()
def the_certificate_is_gone(host):
    with host.changed(CONF, host.read(CONF) + "\nconn %default\n    leftcert=gone.pem\n"):
        yield


@FAULTS.made(*map(name, range(3)))
def charon_is_dead(host):
    """The last of the table: nothing brings it back here."""
    host.peers.signal("KILL", "starter")
    host.peers.signal("KILL")
    yield
