"""What `make demo` shows: the state applied, the mesh, the wire, and a second run that changes nothing."""

import argparse
import os
import sys
from typing import NoReturn

from . import cache
from .errors import LabError
from .lab import Lab
from .paths import DEFAULT_FLEET, LAB
from .plane import AUTO, KERNEL, PLANES, SAYS, why_not_kernel
from .progress import say

MEMBERS = "*cp*"
OUTSIDER = "db1001"
ESTABLISHED_DEADLINE = 60.0  # seconds
SMALL_FLEET = LAB / "fleets/small.sls"  # User Mode Linux has one processor, and starts processes slowly
INSIDE = "IPSEC_LAB_INSIDE"  # set where the demo runs in User Mode Linux
PROBES = 3  # a peer and family

LOOK_AROUND = """
The lab goes on running. Look around, change something, stop it:

  lab/lab run master -- salt '*cp*' ipsec.status     # what each host sees
  lab/lab run cp1001 -- ipsec statusall              # the same in strongSwan's words
  lab/lab capture --at esams                         # the line: ESP passes, nothing else
  lab/lab shell cp3001                               # a shell on a host
  $EDITOR pillar/ipsec.sls && lab/lab pillar pillar/ipsec.sls
  lab/lab run master -- salt '*cp*' state.apply ipsec test=True
  lab/lab off cp2001; lab/lab on cp2001              # a power cut
  make down                                          # nothing is left behind
"""


LOOK_INSIDE = """
The lab ends with the User Mode Linux that it ran in. To look around in one:

  lab/with-esp bash
  lab/lab up --fleet lab/fleets/small.sls && lab/lab run master -- salt '*' state.apply ipsec
  lab/lab run cp1001 -- ip -s xfrm state
"""


def main(arguments: list[str]) -> int:
    """Show the main job; the exit status is 0 only if all of it holds."""
    parser = argparse.ArgumentParser(prog="lab/demo", description=__doc__)
    parser.add_argument("plane", nargs="?", default=AUTO, choices=PLANES, help="who does ESP")
    plane, inside = parser.parse_args(arguments).plane, INSIDE in os.environ
    try:
        if plane == KERNEL and not inside and why_not_kernel():
            show_inside()
        lab = Lab("demo", SMALL_FLEET, plane) if inside else Lab(fleet=DEFAULT_FLEET, plane=plane)
        lab.up()
        show(lab)
    except LabError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        print("The hosts' logs: lab/lab run HOST -- journalctl -b", file=sys.stderr)
        return 1
    print(LOOK_INSIDE if inside else LOOK_AROUND)
    return 0


def show_inside() -> NoReturn:
    """Become the same demo, with a smaller fleet, in a kernel that has ESP."""
    cache.ready()  # there is no network inside
    say("this kernel has no ESP with AES-GCM: going on in User Mode Linux, with three hosts")
    os.environ[INSIDE] = "1"
    command = [str(LAB / "with-esp"), "--", str(LAB / "demo"), KERNEL]
    os.execv(command[0], command)


def show(lab: Lab) -> None:
    """Apply the state and prove what it did, step by step."""
    title("salt '*cp*' state.apply ipsec")
    for host, states in sorted(applied(lab).items()):
        changed = [state["__id__"] for state in states if state["changes"]]
        print(f"{host}: {len(states)} states, {len(changed)} changed")
    say("waiting until every connection is established at both ends")
    lab.wait_one_each(ESTABLISHED_DEADLINE)

    title("salt '*cp*' ipsec.status")
    print(lab.master.run(["salt", MEMBERS, "ipsec.status"], timeout=60).stdout, end="")

    title(f"On the line between the sites, while every host pings every peer ({SAYS[lab.plane]})")
    prove_encrypted(lab)

    title("The same state again")
    before = lab.ids()
    changed = {host: [s["__id__"] for s in states if s["changes"]] for host, states in applied(lab).items()}
    if any(changed.values()):
        raise LabError(f"a second state.apply changed something: {changed}")
    if lab.ids() != before:
        raise LabError("a second state.apply started tunnels anew")
    print(f"{len(changed)} hosts, 0 changed; {len(before)} IKE SAs have the same ids as before")

    if any(host.short == OUTSIDER for host in lab.hosts):
        title(f"{OUTSIDER}, which is in no rule")
        print(lab.host(OUTSIDER).run(["dpkg-query", "-W", "strongswan*"], check=False).stderr.strip())


def title(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def applied(lab: Lab) -> dict[str, list[dict]]:
    """Apply the state on all members; the states of each host, or `LabError` with what failed."""
    say(f"applying state ipsec on {MEMBERS}")
    return lab.apply(MEMBERS)


def prove_encrypted(lab: Lab) -> None:
    """Ping every peer from every host, and look at the line and at the counters of both ends."""
    connections = lab.salt(MEMBERS, "ipsec.connections", timeout=60)
    before = counters(lab)
    with lab.capture() as wire:
        for host, mine in sorted(connections.items()):
            for one in mine.values():
                lab.host(host).run(["ping", "-q", "-c", str(PROBES), "-i", "0.05", one["right"]], timeout=30)
    seen = wire.counts()
    print(f"{seen['esp']} packets of ESP, {seen['ike']} of IKE, {seen['clear']} in the clear between members")
    if seen["clear"] or not seen["esp"]:
        raise LabError("the probes were not encrypted")
    grown = {
        key: (packets_in - before[key][0], packets_out - before[key][1])
        for key, (packets_in, packets_out) in counters(lab).items()
    }
    idle = sorted(
        key for key, (packets_in, packets_out) in grown.items() if min(packets_in, packets_out) < PROBES
    )
    if idle:
        raise LabError(f"counters of these SAs did not grow: {idle}")
    print(f"the counters of all {len(grown)} SAs grew by {PROBES} packets or more, in and out, at both ends")


def counters(lab: Lab) -> dict[tuple[str, str], tuple[int, int]]:
    """The packets in and out of each connection of each member."""
    return {
        (host, name): (one["packets_in"], one["packets_out"])
        for host, found in lab.statuses().items()
        for name, one in found["connections"].items()
    }
