"""An emergency stop, phase by phase, on a host in memory. Real charons: tests/functional/test_down.py."""

from __future__ import annotations

from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from clocks import Clock
from hostipsec.emergency import stop
from hostipsec.emergency.host import Host
from hostipsec.emergency.phases import OVERTIME
from hostipsec.emergency.stopped import Down, Ended
from hostipsec.errors import CharonError, HostIPsecError
from hostipsec.model import Charon, Connection, IkeSA, Kernel, KernelPolicy, KernelState, LoadedConnection
from hostipsec.owner import SWARM
from hostipsec.store.hold import Hold, Scope

NOW = datetime(2026, 11, 24, 4, 50, 12, tzinfo=timezone.utc)
HOLD = Hold("ada", NOW, "T195365")
LEFT = "10.0.0.1"
DEADLINE = 2.0


def connection(number):
    ends = (ip_address(LEFT), ip_address(f"10.0.0.{number}"))
    return Connection(f"cp{number}_v4", f"cp{number}", "v4", *ends, "", "", True, "start")


CONNECTIONS = tuple(connection(number) for number in (2, 3))
NAMES = [one.name for one in CONNECTIONS]


def sa(number, name=None, remote=None):
    return IkeSA(name or f"cp{number}_v4", number, "ESTABLISHED", LEFT, remote or f"10.0.0.{number}")


def esp(src, dst, reqid=1, spi="c0000001"):
    return KernelState(src, dst, spi, "transport", reqid, algorithm="rfc4106(gcm(aes))")


class Machine(Clock, Host):
    """A host in memory. ``deaf`` are SAs whose peers do not answer, so that only force ends them."""

    def __init__(self, *sas, deaf=(), forces=True, answers=True, kernel=None, disk=True):
        super().__init__()
        self.sas, self.deaf, self.forces, self.answers = list(sas), {*deaf}, forces, answers
        self.state, self.disk, self.time = kernel or Kernel(), disk, 100.0
        self.loaded, self.ignored, self.running = [*NAMES], [], True
        self.events = []

    def now(self):
        return NOW

    def observe(self, timeout):
        if not (self.running and self.answers):
            self.time += timeout if self.running else 0
            raise CharonError("charon does not answer")
        names = tuple(LoadedConnection(name) for name in self.loaded)
        return Charon("6.0.1", "vici", connections=names, ike_sas=tuple(self.sas))

    glance = observe

    def terminate(self, ids, force, timeout):
        if ids:
            self.events.append(("force" if force else "end", *ids))
        if force and not self.forces:
            return dict.fromkeys(ids, "stroke cannot force, and vici is not there")
        gone = {*ids} - (set() if force else self.deaf)
        self.sas = [one for one in self.sas if one.uniqueid not in gone]
        return {}

    def update(self, timeout):
        self.events.append(("update",))
        if not (self.running and self.answers):
            raise CharonError("no starter")
        self.loaded = [name for name in self.loaded if name not in self.ignored]

    def pids(self, *names):
        return (7,) if self.running else ()

    def kill(self, pids, timeout):
        self.events.append(("kill",))
        self.sas, self.running = [], False
        return ()

    def restart(self, timeout):
        self.events.append(("restart",))

    def stop(self, timeout):
        self.events.append(("stop",))

    def kernel(self, timeout):
        return self.state

    def delete(self, batch, timeout):
        self.events.append(("delete", *batch.splitlines()))
        spis = {line.rpartition("spi 0x")[2] for line in batch.splitlines()}
        numbers = {line.rpartition("index ")[2] for line in batch.splitlines()}
        self.state = Kernel(
            tuple(one for one in self.state.states if one.spi not in spis),
            tuple(one for one in self.state.policies if str(one.number) not in numbers),
        )

    def guard(self, connections):
        self.events.append(("guard", *(one.name for one in connections)))

    def take(self, hold, connections, now, command):
        if not self.disk:
            raise HostIPsecError("no space left")
        self.ignored = [one.name for one in connections if hold.scope.has(one)]
        return (hold,)

    def held(self, connections, now):
        return dict.fromkeys(self.ignored, str(HOLD))

    def ignore(self, connections):
        if self.disk is None:
            raise HostIPsecError("no space left here either")
        self.ignored = [one.name for one in connections]

    @property
    def did(self):
        return [event[0] for event in self.events if event[0] not in ("guard", "update")]


def down(machine, hold=HOLD, wait=True):
    found = stop.down(CONNECTIONS, hold.scope if hold else Scope(), hold, DEADLINE, wait, None, machine)
    assert found.seconds <= DEADLINE + OVERTIME
    return found


def hows(found):
    return {one.connection.name: (one.how, one.sas) for one in found.connections}


def test_healthy_peers():
    machine = Machine(sa(2), sa(3))
    found = down(machine)
    assert (found.ok, found.charon, found.problems, found.notes) == (True, "runs", (), ())
    assert hows(found) == {"cp2_v4": ("ended", 1), "cp3_v4": ("ended", 1)}
    assert (machine.did, machine.loaded) == (["end"], [])
    assert found.held.endswith("by ada because T195365")


def test_dead_peers_are_forced_at_the_deadline():
    found = down(Machine(sa(2), sa(3), deaf=[3]))
    assert (found.ok, hows(found)) == (True, {"cp2_v4": ("ended", 1), "cp3_v4": ("forced", 1)})
    assert found.seconds >= DEADLINE


def test_charon_pays_with_its_life_where_nothing_can_force():
    machine = Machine(sa(2), deaf=[2], forces=False)
    found = down(machine)
    assert (found.ok, found.charon, hows(found)["cp2_v4"]) == (True, "killed", ("killed", 1))
    assert machine.did == ["end", "force", "kill", "restart"]
    assert found.notes[0].startswith("charon did not do it within the deadline and was killed")


def test_whoever_forges_a_peer_s_address_has_charon_killed_no_more():
    """Each look found another half-open SA, and a stop of one peer ended all tunnels of the host."""
    machine, scope = Machine(sa(2), sa(3)), Scope(peer="cp2")
    plain, numbers = machine.observe, iter(range(10, 10_000))

    def flooded(timeout):
        machine.sas.append(sa(2, "(unnamed)")._replace(uniqueid=next(numbers), state="CONNECTING"))
        return plain(timeout)

    machine.observe = machine.glance = flooded
    found = down(machine, HOLD._replace(scope=scope))
    assert (found.ok, found.charon, found.left) == (True, "runs", ())
    assert hows(found)["cp2_v4"][0] == "ended"
    assert "kill" not in machine.did and "cp3_v4" in [one.name for one in machine.sas]
    assert found.seconds < DEADLINE


def test_half_an_sa_counts_as_long_as_charon_has_the_connection():
    """The next message of its peer would make it one."""
    machine = Machine(sa(2, "(unnamed)")._replace(state="CONNECTING"), deaf=[2], forces=False)
    machine.update = lambda timeout: None  # the starter is told, and charon has not forgotten yet
    assert down(machine).charon == "killed"


def test_or_where_it_does_not_answer():
    machine = Machine(sa(2), answers=False)
    found = down(machine)
    assert (found.ok, found.charon) == (True, "killed")
    assert machine.did == ["kill", "restart"]


def test_a_part_leaves_the_rest_alone():
    machine = Machine(sa(2), sa(3))
    found = down(machine, HOLD._replace(scope=Scope(peer="cp2")))
    assert hows(found) == {"cp2_v4": ("ended", 1)}
    assert ([one.name for one in machine.sas], machine.loaded) == (["cp3_v4"], ["cp3_v4"])
    assert ("guard", "cp3_v4") in machine.events


@pytest.mark.parametrize(
    "other",
    [
        sa(9, "cp2_v4", "10.0.0.99"),  # left from before an address changed
        sa(9, "vpn", "10.0.0.2"),  # may have been ours under another name
        sa(9, "(unnamed)", "10.0.0.2"),  # the peer is just bringing it up
    ],
)
def test_whatever_may_be_ours_is_ended(other):
    found = down(Machine(sa(2), other))
    assert (found.ok, hows(found)["cp2_v4"]) == (True, ("ended", 2))


def test_what_is_somebody_elses_stays():
    machine = Machine(sa(2), sa(9, "vpn", "10.0.0.99"))
    assert down(machine).ok
    assert [one.name for one in machine.sas] == ["vpn"]


def test_what_a_charon_left_in_the_kernel_is_cleared_and_docker_swarms_is_not():
    ours = (esp(LEFT, "10.0.0.2"), esp("10.0.0.2", LEFT, spi="c0000002"))
    theirs = esp(LEFT, "10.0.0.2", SWARM, "f4faae1b")
    policies = (
        KernelPolicy(f"{LEFT}/32", "10.0.0.2/32", "out", 367231, reqid=1, number=9),
        KernelPolicy(f"{LEFT}/32", "10.0.0.2/32", "out", 0, reqid=SWARM, number=25),
    )
    machine = Machine(kernel=Kernel((*ours, theirs), policies))
    machine.running = False
    found = down(machine)
    assert (found.ok, found.charon) == (True, "not running")
    assert hows(found) == {"cp2_v4": ("cleared", 0), "cp3_v4": ("was down", 0)}
    assert (len(found.cleared.states), len(found.cleared.policies)) == (2, 1)
    assert machine.state == Kernel((theirs,), policies[1:])


def test_what_cannot_be_cleared_is_told():
    machine = Machine(kernel=Kernel((esp(LEFT, "10.0.0.3"),)))
    machine.delete = lambda batch, timeout: None
    found = down(machine)
    assert not found.ok
    assert [(one.connection.name, one.left) for one in found.left] == [
        ("cp3_v4", "1 SA and 0 policies in the kernel")
    ]


def test_a_kernel_that_cannot_be_read_proves_nothing():
    machine = Machine(sa(2))

    def refuse(timeout):
        raise HostIPsecError("no ip here")

    machine.kernel = refuse
    found = down(machine)
    assert (found.ok, found.problems) == (False, ("not proven against the kernel: no ip here",))


def test_without_a_hold_what_peers_bring_back_is_not_meant():
    machine = Machine(sa(2), sa(3))
    plain = machine.terminate

    def and_back(ids, force, timeout):
        refused = plain(ids, force, timeout)
        machine.sas.append(sa(2)._replace(uniqueid=10))
        return refused

    machine.terminate = and_back
    found = down(machine, hold=None)
    assert (found.ok, found.held, found.lost_hold) == (True, "", False)
    assert machine.loaded == NAMES
    assert [one.uniqueid for one in machine.sas] == [10]


@pytest.mark.parametrize(("disk", "stopped"), [(False, False), (None, True)])
def test_a_hold_that_cannot_be_written(disk, stopped):
    """Where not even ipsec.conf can be, only a service that does not run keeps peers out."""
    machine = Machine(sa(2), disk=disk)
    found = down(machine)
    assert (found.lost_hold, found.held, hows(found)["cp2_v4"]) == (True, "", ("ended", 1))
    assert found.problems == ("the hold is not kept: no space left",)
    assert ("stop" in machine.did) == stopped
    assert (("update",) in machine.events) != stopped


def test_without_waiting_nothing_is_forced_or_proven():
    machine = Machine(sa(2), deaf=[2])
    found = down(machine, wait=False)
    assert (found.proven, hows(found)) == (False, {"cp2_v4": ("asked", 1), "cp3_v4": ("was down", 0)})
    assert machine.did == ["end"]
    assert found.sentence == "1 IKE SA of 2 connections asked to end; not proven"


@pytest.mark.parametrize(
    ("hows", "said"),
    [
        (("was down",), "1 of 1 connection down in 0.4 s: 1 was down"),
        (("was down", "was down"), "2 of 2 connections down in 0.4 s: 2 were down"),
        (("ended", "was down", "left"), "2 of 3 connections down in 0.4 s: 1 ended, 1 was down"),
        (("left",), "0 of 1 connection down in 0.4 s"),
        ((), "0 of 0 connections down in 0.4 s"),
    ],
)
def test_the_sentence_counts_as_one_says_it(hows, said):
    """It said "2 was down"."""
    rows = [Ended(CONNECTIONS[0], 0, how, "something" if how == "left" else "") for how in hows]
    assert Down(tuple(rows), seconds=0.4).sentence == said


def test_what_is_lifted_meanwhile_stays_up():
    machine = Machine(sa(2), sa(3), deaf=[2, 3])
    plain = machine.sleep

    def lift(seconds):
        plain(seconds)
        machine.ignored = ["cp3_v4"]

    machine.sleep = lift
    found = down(machine)
    assert found.problems == ("lifted meanwhile, and left out: 1 connection",)
    assert hows(found) == {"cp3_v4": ("forced", 1)}
    assert [one.name for one in machine.sas] == ["cp2_v4"]


def test_a_guard_that_fails_is_told():
    machine = Machine(sa(2))

    def refuse(connections):
        raise HostIPsecError("no policies")

    machine.guard = refuse
    found = down(machine)
    assert found.problems == ("what is in the clear may be blocked: no policies",)
    assert hows(found)["cp2_v4"] == ("ended", 1)
