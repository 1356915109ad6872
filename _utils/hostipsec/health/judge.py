"""The one judge: what shall run, what does, and what is to be said about it.

The check, the metrics, the tables and ``verify`` only present what :func:`evaluate` returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

from .. import owner
from .. import plane as planes
from ..kernel import guardpolicies
from ..model import (
    PASSIVE,
    REQUIRE,
    START,
    Address,
    Charon,
    ChildSA,
    Connection,
    IkeSA,
    Kernel,
    LoadedConnection,
    Meant,
)
from . import carried, winning
from .found import CHILD_UP, IKE_UP, Found, Tables, find, tabled
from .report import ADDRESSLESS, LEAKS, SEVERITY, WAITS, ConnectionHealth, Report, worst

# An SA that has sent this many packets, and got none for so long, is one-way. TCP answers at once;
# a pair that speaks nothing but one-sided UDP looks the same, so one-way is a warning.
ONE_WAY_PACKETS = 5
ONE_WAY_SECONDS = 30

# as charon says
_IKE_COMING = ("CREATED", "CONNECTING", "PASSIVE")
_CHILD_COMING = ("CREATED", "INSTALLING", "RETRYING")
_NOT_HELD: Mapping[str, str] = {}
_ANYTHING = Meant()
_ALL_THERE: Mapping[Address, str] = {}


def evaluate(
    expected: Sequence[Connection],
    charon: Optional[Charon],
    kernel: Optional[Kernel] = None,
    held: Mapping[str, str] = _NOT_HELD,
    maintenance: Sequence[Connection] = (),
    previous: Optional[Charon] = None,
    meant: Meant = _ANYTHING,
    absent: Mapping[Address, str] = _ALL_THERE,
    unrouted: Mapping[str, str] = _NOT_HELD,
) -> Report:
    """Judge a host.

    ``expected``     what :func:`topology.connections` gives for it
    ``charon``       one look, None where none answers
    ``kernel``       one look, taken after charon's; None leaves "no xfrm" out
    ``held``         connections that are held, and why in words: ``{name: "since ... by ... because ..."}``
    ``maintenance``  connections left out of ``expected`` since an end is in maintenance: what is
                     left of them is unmanaged, and no trouble
    ``previous``     an earlier look at the same charon, for a finer judgement of one-way
    ``meant``        what SAs are to be like; without, the mode is that in which charon has loaded them
    ``absent``       local addresses that the host does not have, each with a sentence that says so
    ``unrouted``     connections to whose peer the kernel knows no way, and why: a reason for what is not up
    """
    plane = planes.observed(charon)
    if plane != planes.KERNEL:
        kernel = None
    tables = tabled(charon, kernel, previous, meant)
    tables = tables._replace(absent=absent, unrouted=unrouted, plane=plane)
    judged = (_judged(find(one, tables), tables, held.get(one.name)) for one in expected)
    rows = sorted(judged, key=lambda row: row.name)
    rows.extend(_unmanaged(tables, expected, maintenance))
    return Report(
        connections=tuple(rows),
        answered=charon is not None,
        held="; and ".join(sorted(set(held.values()))) or None,
        version=charon.version if charon else "",
        backend=charon.backend if charon else "",
        plane=plane,
        others=_of_others(tables),
    )


# The verdict on an expected connection -------------------------------------------------------


def _judged(found: Found, tables: Tables, held: Optional[str]) -> ConnectionHealth:
    if tables.charon is None:
        state, reason = "down", "charon does not answer" + _left_in_kernel(found)
    elif found.connection.left in tables.absent:
        state, reason = ADDRESSLESS, _from_nowhere(found, tables.absent[found.connection.left])
    elif found.children:
        state, reason = _carrying(found, tables)
    else:
        state, reason = _not_carrying(found, tables.unrouted.get(found.connection.name, ""))
    severity = SEVERITY[state]
    if held is not None:
        state, severity, reason = _under_hold(found, tables, state, reason, held)
    elif tables.charon is not None:
        severity, reason = _by_stage(found, tables, state, severity, reason)
    waits = held is None and state != ADDRESSLESS and tables.charon is not None and _waits(found)
    cause = WAITS if waits else ""
    return _row(found, state, severity, reason)._replace(held=held is not None, cause=cause)


def _from_nowhere(found: Found, why: str) -> str:
    return f"{why}, which this connection is from{'; its SAs carry nothing' if found.up else ''}"


def _waits(found: Found) -> bool:
    """Whether all is ready here, and it is the peer that has to start it."""
    one = found.connection
    named = any(sa.name != owner.UNNAMED for sa in found.ike_sas)
    ready = found.loaded and not (found.routed or named or found.kernel_sas)
    return ready and one.stage == START and not one.initiator


def _left_in_kernel(found: Found) -> str:
    return f"; the kernel still holds {found.kernel_sas} SA(s) of it" if found.kernel_sas else ""


def _carrying(found: Found, tables: Tables) -> tuple[str, str]:
    """Judge a connection that charon says is up; what stops packets comes first."""
    missing = carried.missing(found) if tables.kernel_read else ""
    if missing:
        return "no xfrm", missing
    clear = carried.in_the_clear(found, tables)
    if clear:
        return LEAKS, clear
    silent = _one_way(found, tables)
    if silent:
        return "one-way", silent
    ikes = [sa for sa in found.up if sa.state == "ESTABLISHED"]
    installed = [child for child in found.children if child.state == "INSTALLED"]
    if len(ikes) > 1 or len(installed) > 1:
        ids = ", ".join(str(sa.uniqueid) for sa in found.up)
        return "duplicate", f"{len(installed)} CHILD SAs in {len(ikes)} IKE SAs ({ids}), one is meant"
    child = found.children[0]
    return (
        "established",
        f"{child.mode}, {child.proposal or child.state}{_by_rule(found.possible or found.connection)}",
    )


def _by_rule(one: Connection) -> str:
    """Say what its rule leaves in the clear."""
    if one.taken:
        return "; not yet in the clear as its rule says"
    if one.only:
        return f"; only {', '.join(one.only)} is encrypted"
    return f"; in the clear by its rule: {', '.join(one.clear)}" if one.clear else ""


def _one_way(found: Found, tables: Tables) -> str:
    """Say that packets go out and none comes in; ``""`` where that is not so, or not known.

    From two looks: over the CHILD SAs that both show with their packets, packets out grew by ONE_WAY_PACKETS
    and packets in not at all; where some came in it is not so. Else from one: so many went out over SAs
    of at least ONE_WAY_SECONDS, and none ever came in.
    """
    shown = [(child, tables.before.get(child.uniqueid)) for child in found.children]
    both = [(now, then) for now, then in shown if then and now.state == then.state == "INSTALLED"]
    if both:
        sent = sum(now.packets_out - then.packets_out for now, then in both)
        got = sum(now.packets_in - then.packets_in for now, then in both)
        if got or sent >= ONE_WAY_PACKETS:
            return "" if got else f"{sent} packets out and none in since the last look"
    sent, got = carried.packets(found)
    age = carried.age(found)
    if not got and sent >= ONE_WAY_PACKETS and age >= ONE_WAY_SECONDS:
        return f"{sent} packets out and none in within {age} s"
    return ""


def _not_carrying(found: Found, unrouted: str) -> tuple[str, str]:
    coming = [sa for sa in found.ike_sas if sa.state in _IKE_COMING and sa.name != owner.UNNAMED]
    going = [sa for sa in found.ike_sas if sa.state not in (*IKE_UP, *_IKE_COMING)]
    if found.up:
        return _childless(found.up[0])
    if coming:
        why = unrouted or "no answer of the peer yet"
        return "connecting", f"IKE SA {coming[0].uniqueid} is {coming[0].state}: {why}"
    if going:
        return "down", f"IKE SA {going[0].uniqueid} is {going[0].state}"
    if not found.loaded:
        return "down", "charon has not loaded this connection" + _left_in_kernel(found)
    if found.routed:
        return "down", "no traffic yet: the trap waits for the first packet"
    starter = "this host starts it" if found.connection.initiator else "the peer starts it"
    way = f"; {unrouted}" if unrouted else ""
    # half of an SA that anybody can send is no reason for a milder verdict
    call = (
        "; somebody calls from its address" if any(sa.name == owner.UNNAMED for sa in found.ike_sas) else ""
    )
    return "down", f"loaded, but no SA; {starter}{way}{call}" + _left_in_kernel(found)


def _childless(sa: IkeSA) -> tuple[str, str]:
    if "CHILD_CREATE" in sa.tasks or any(child.state in _CHILD_COMING for child in sa.children):
        return "connecting", f"IKE SA {sa.uniqueid} is up, its CHILD SA is being negotiated"
    return "no child", f"IKE SA {sa.uniqueid} is {sa.state}, but has no CHILD SA: nothing is encrypted"


def _under_hold(found: Found, tables: Tables, state: str, reason: str, held: str) -> tuple[str, str, str]:
    """A connection that has nothing left is held; one that still has some is the worst of all."""
    coming = any(sa.state in _IKE_COMING and sa.name != owner.UNNAMED for sa in found.ike_sas)
    if found.up or found.kernel_sas or coming:
        return state, "critical", f"held {held}, yet it has SAs: {reason}"
    if tables.charon is None:
        return "held", "critical", f"held {held}, yet it is not known to be down: {reason}"
    left = _policies_left(found)
    if left:
        return state, "critical", f"held {held}, yet the kernel has {left} policies of it"
    if found.loaded:
        return "held", "critical", f"held {held}, yet charon has it loaded: the peer can bring it up"
    if found.routed:
        return "held", "critical", f"held {held}, yet charon has a trap of it: the first packet brings it up"
    return "held", "warning", f"held {held}"


def _policies_left(found: Found) -> int:
    return sum(owner.owns_policy(one, found.ours) and one.protects for one in found.every_policy)


def _by_stage(found: Found, tables: Tables, state: str, severity: str, reason: str) -> tuple[str, str]:
    """Say what a stage makes of a state: passive and idle traps are no trouble, a missing trap is."""
    stage, left = found.connection.stage, found.kernel_sas
    if state == "down" and found.loaded and stage == PASSIVE:
        remains = _remains(found)
        severity, reason = (severity, f"passive{remains}") if remains else ("ok", _PASSIVE)
    if state == "down" and found.routed and stage == REQUIRE:
        wrong = carried.trap(found) if tables.kernel_read else ""
        severity, reason = (severity, f"{wrong}{_left_in_kernel(found)}") if wrong or left else ("ok", reason)
    lacking = [*_lacking(found, tables, stage), *_other_than_meant(found)]
    return (worst(severity, "warning"), "; ".join([reason, *lacking])) if lacking else (severity, reason)


_PASSIVE = "passive: nothing starts it"


def _remains(found: Found) -> str:
    """Say what is there of a connection that nothing is to start, and that has no SA in charon."""
    policies = _policies_left(found)
    if not found.kernel_sas and policies:
        return f", yet the kernel has {policies} policies of it, which drop what is between the two hosts"
    if not found.kernel_sas and found.routed:
        return ", yet charon has a trap, and the first packet starts it"
    return _left_in_kernel(found)


def _lacking(found: Found, tables: Tables, stage: str) -> Iterator[str]:
    """Yield what is to be there beside the SAs, and is not."""
    if found.children and not found.loaded:
        yield "charon has not loaded this connection: once its SAs end, nothing brings it back"
    if stage == REQUIRE and found.loaded and not found.routed:
        yield "no trap: without an SA its traffic goes in the clear"
    if not tables.kernel_read:
        return
    one = found.possible or found.connection
    if any(policy.passes and policy.place != guardpolicies.ESP for policy in found.lacking):
        taken = one.taking
        what = ", ".join(one.clear or taken.clear) or f"all but {', '.join(one.only or taken.only)}"
        yield f"no policy that leaves {what} in the clear"
    if stage == REQUIRE:
        yield from _without_guard(found)


def _without_guard(found: Found) -> Iterator[str]:
    """Yield in what directions the guard does not block what is in the clear, or what alone is encrypted."""
    one = found.possible or found.connection
    only = {"out": one.only, "fwd": one.only, "in": one.taking.only}
    kept = (guardpolicies.ESP, guardpolicies.BAR)
    lacking = {policy.direction for policy in found.lacking if policy.place in kept}
    missing = [way for way, has in found.guards.items() if not (has.blocks or has.before or only[way])]
    missing += [way for way in found.guards if only[way] and way in lacking]
    if missing:
        yield f"no guard ({', '.join(missing)}): without charon its traffic goes in the clear"
    before = [has.before for way, has in found.guards.items() if has.before and not only[way]]
    if before:
        yield (
            f"a policy that passes packets comes before the guard's: {winning.said(before[0])}; "
            "without charon, and from other addresses, they go in the clear"
        )


def _other_than_meant(found: Found) -> Iterator[str]:
    """Yield in what SAs that encrypt are other than configured."""
    if found.children:
        yield from carried.other_than_meant(found)


def _row(found: Found, state: str, severity: str, reason: str) -> ConnectionHealth:
    one = found.connection
    row = ConnectionHealth(one.name, one.peer, one.family, one.stage, state, severity, reason, one.initiator)
    return _measured(row, found.ike_sas, found.children)


def _measured(
    row: ConnectionHealth, ike_sas: Sequence[IkeSA], children: Sequence[ChildSA]
) -> ConnectionHealth:
    """Return the row with the sums over its SAs."""
    times = [*(sa.rekey_time for sa in ike_sas), *(child.rekey_time for child in children)]
    newest = children[-1:]
    return row._replace(
        since=max((sa.established for sa in ike_sas if sa.established is not None), default=None),
        next_rekey=min((time for time in times if time is not None), default=None),
        bytes_in=sum(child.bytes_in for child in children),
        bytes_out=sum(child.bytes_out for child in children),
        packets_in=sum(child.packets_in for child in children),
        packets_out=sum(child.packets_out for child in children),
        ike_ids=tuple(sorted(sa.uniqueid for sa in ike_sas)),
        child_ids=tuple(sorted(child.uniqueid for child in children if child.uniqueid is not None)),
        proposal="".join(child.proposal for child in newest),
        ike_proposal="".join(sa.proposal for sa in ike_sas[-1:]),
        mode="".join(child.mode for child in newest),
        last_in=min((one.use_in for one in children if one.use_in is not None), default=None),
        last_out=min((one.use_out for one in children if one.use_out is not None), default=None),
    )


# What nobody has configured ------------------------------------------------------------------


def _of_others(tables: Tables) -> Mapping[str, str]:
    """Return the connections of others that the pillar keeps and charon has, and whether each is up."""
    if tables.charon is None:
        return {}
    up = {sa.name for sa in tables.charon.ike_sas if sa.state in IKE_UP}
    there = tables.loaded | up
    return {name: "up" if name in up else "not up" for name in tables.meant.kept if name in there}


def _unmanaged(
    tables: Tables, expected: Sequence[Connection], maintenance: Sequence[Connection]
) -> list[ConnectionHealth]:
    """Return a row for each name of which charon has SAs, or a connection, that is not expected."""
    by_right: dict[str, list[Connection]] = {}
    for one in expected:
        by_right.setdefault(str(one.right), []).append(one)
    stray: dict[str, list[IkeSA]] = {}
    for sa in tables.charon.ike_sas if tables.charon else ():
        there = by_right.get(sa.remote_host, ())
        others = sa.name in (owner.UNNAMED, *tables.meant.kept)
        if not others and not any(owner.belongs(sa, one) for one in there):
            stray.setdefault(sa.name, []).append(sa)
    wanted = {one.name: one for one in expected}
    resting = {one.name: one for one in maintenance}
    known = {*wanted, *tables.meant.kept}
    loaded = {
        one.name: one
        for one in (tables.charon.connections if tables.charon else ())
        if one.name not in stray and known.isdisjoint((one.name, *one.children))
    }
    rows = [_stray_row(name, sas, wanted.get(name), resting.get(name)) for name, sas in stray.items()]
    rows += [_loaded_row(one, resting.get(one.name)) for one in loaded.values()]
    return sorted(rows, key=lambda row: row.name)


def _stray_row(
    name: str, sas: Sequence[IkeSA], wanted: Optional[Connection], resting: Optional[Connection]
) -> ConnectionHealth:
    reason = f"{len(sas)} IKE SA(s) of no configured connection"
    if wanted:
        found = sas[0]
        reason = f"goes to {found.remote_host}; {name} is configured to {wanted.right}"
        if found.remote_host == str(wanted.right):
            reason = f"comes from {found.local_host}; {name} is configured from {wanted.left}"
    row = _unmanaged_row(name, sas[0].remote_host, resting, reason)
    return _measured(row, sas, [child for sa in sas for child in sa.children if child.state in CHILD_UP])


def _loaded_row(one: LoadedConnection, resting: Optional[Connection]) -> ConnectionHealth:
    return _unmanaged_row(one.name, ",".join(one.remote_addrs), resting, "loaded, but not configured")


def _unmanaged_row(name: str, remote: str, resting: Optional[Connection], reason: str) -> ConnectionHealth:
    """What is left of a pair in maintenance is no trouble: its other end may be gone at any time."""
    if resting:
        known = (name, resting.peer, resting.family, resting.stage)
        return ConnectionHealth(*known, "unmanaged", "ok", f"in maintenance: {reason}", resting.initiator)
    family = "v6" if ":" in remote else "v4"
    return ConnectionHealth(name, remote, family, "", "unmanaged", "warning", reason)
