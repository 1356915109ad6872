"""A roll-out as values: which hosts come when, and whether what has been done so far is well.

A pair is started by the host whose id sorts first. So hosts go from the last id to the first: the end that
answers is configured before the end that starts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..health.report import SEVERITIES, worst
from ..model import PASSIVE, STAGES, START, Fleet
from ..strongswan import shared
from . import fleetplan
from .hostnames import few
from .joined import Joined

NOWHERE = "nowhere"


@dataclass(frozen=True)
class Batch:
    """Hosts that change together; ``name`` is for people."""

    name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What became of a host that was told to change."""

    wrong: tuple[str, ...] = ()  # sentences
    changed: Optional[bool] = True  # whether something was changed there, or may have been; None: not known


def ordered(
    fleet: Fleet, hosts: Iterable[str], by: str, size: int, alone: Collection[str] = ()
) -> tuple[Batch, ...]:
    """Return one host alone (the canary), then the others by the value of label ``by``, ``size`` at a time.

    With ``size`` 0 a batch has all hosts of its label, but for those that go ``alone``. Hosts that the pillar
    does not have (they leave) come last.
    """
    labels = {host.id: host.label(by, NOWHERE) for host in fleet.hosts}
    groups: dict[str, list[str]] = {}
    for host in sorted(hosts, reverse=True):
        groups.setdefault(labels.get(host, ""), []).append(host)
    leaving = groups.pop("", [])
    found = [
        Batch(name or "leaving", tuple(part))
        for name, members in [*groups.items(), *([("", leaving)] if leaving else [])]
        for part in _parts(members, size, alone)
    ]
    if not found or len(found[0].hosts) == 1:
        return tuple(found)
    first, rest = found[0], found[1:]
    return (Batch("canary", first.hosts[:1]), Batch(first.name, first.hosts[1:]), *rest)


def _parts(hosts: Sequence[str], size: int, alone: Collection[str]) -> list[Sequence[str]]:
    together = [host for host in hosts if host not in alone]
    step = size or len(hosts)
    parts = [together[start : start + step] for start in range(0, len(together), step)]
    return [*parts, *([host] for host in hosts if host in alone)]


def stages(fleet: Fleet, limit: str = "") -> tuple[str, ...]:
    """Return the stages to go through, up to ``limit``: those that pairs of this fleet can reach.

    Two at least, since what is in the clear takes two, see :func:`topology.limited`.
    """
    last = max((STAGES.index(rule.stage) for rule in fleet.rules), default=0)
    last = max(last, STAGES.index(START)) if last else last
    most = min(last, STAGES.index(limit)) if limit else last
    return STAGES[STAGES.index(PASSIVE) : most + 1]


def to_change(answers: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the hosts that would change something; one that leaves is a matter for state ``ipsec.clean``.

    ``answers`` is what :func:`fleetplan.answer` returned, by minion id.
    """
    serving = (host for host, said in answers.items() if said["standing"] in fleetplan.SERVING)
    return frozenset(host for host in serving if answers[host]["changes"])


def moving(answers: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the hosts that move to another back end: all of their tunnels end; ``answers`` as before."""
    return frozenset(
        host for host, said in answers.items() if "backend" in said["changes"].get(fleetplan.CONFIGURED, {})
    )


def fresh(answers: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the connections that an end does not have yet, by :func:`key`; ``answers`` as before."""
    found: set[str] = set()
    for host, said in answers.items():
        added = said["changes"].get(fleetplan.CONFIGURED, {}).get("connections", {}).get("added", ())
        found.update(_key(host, said["connections"][name]) for name in added if name in said["connections"])
    return frozenset(found)


def touched(answers: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the connections that an edit makes others, by :func:`key`: whatever they were before is past.

    Those that are new or have another name, and those of which an option of their own changes. What changes
    for all connections of a host alike, or is another file of a certificate, leaves them what they are.
    """
    found: set[str] = set()
    for host, said in answers.items():
        changes = said["changes"].get(fleetplan.CONFIGURED, {}).get("connections", {})
        changed = [name for name, options in changes.get("changed", {}).items() if {*options} - {"leftcert"}]
        for name in (*changes.get("added", ()), *changed):
            if one := said["connections"].get(name):
                found.add(_key(host, one))
    return frozenset(found)


def anew(answers: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return what an edit has authenticate anew: pairs, as ``one other``, and hosts whose charon starts."""
    pairs = {key.rpartition(" ")[0] for key in fresh(answers) | touched(answers)}
    hosts = {
        host for host, said in answers.items() if "charon" in said["changes"].get(fleetplan.CONFIGURED, {})
    }
    return frozenset(pairs | hosts)


def remade(answers: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an edit changes options that SAs have from when they were made; ``answers`` as before."""
    return any(_lasting(said["changes"].get(fleetplan.CONFIGURED, {})) for said in answers.values())


def _lasting(changes: Mapping[str, Any]) -> bool:
    own = changes.get("connections", {}).get("changed", {}).values()
    every = [*own, changes.get(fleetplan.ALL, {})]
    return any({*shared.OF_A_RULE, "type"} & {*options} for options in every)


def _key(host: str, one: Mapping[str, Any]) -> str:
    first, second = (host, one["peer"]) if one["initiator"] else (one["peer"], host)
    return f"{first} {second} {one['family']}"


def held(rows: Iterable[Joined]) -> str:
    """Say which connections are held down: how many, where, since when, by whom and why; empty for none."""
    down = [row for row in rows if row.state == "held"]
    where: dict[str, set[str]] = {}
    for row in down:
        for who, what in row.said:
            where.setdefault(what, set()).update((row.one, row.other) if who in ("both", "") else (who,))
    said = "; and ".join(f"at {few(sorted(hosts))}: {what}" for what, hosts in sorted(where.items()))
    return f"{len(down)} held {said}" if down else ""


def trouble(
    rows: Sequence[Joined], done: Collection[str], pending: Collection[str], known: Mapping[str, str]
) -> tuple[Joined, ...]:
    """Return the connections that stop a roll-out: not well, with an end that was changed.

    ``done``     hosts that were changed so far
    ``pending``  hosts that this stage has not changed yet: nothing is expected of their pairs before
    ``known``    what was in trouble before, by :func:`known`: only what is worse now counts

    A connection that is held down, by a decision of an operator, stops nothing.
    """
    return tuple(
        row
        for row in rows
        if row.state != "held"
        and (row.one in done or row.other in done)
        and not (row.one in pending or row.other in pending)
        and worst(row.severity, known.get(key(row), "ok")) != known.get(key(row), "ok")
    )


def known(rows: Sequence[Joined]) -> Mapping[str, str]:
    """Return by :func:`key` the worst that stops nothing, of connections that are in trouble already.

    One that is up may stay as it is; of one that is not nothing is expected.
    """
    return {key(row): row.severity if row.up else SEVERITIES[-1] for row in rows}


def key(row: Joined) -> str:
    """Return what tells a connection from others."""
    return f"{row.one} {row.other} {row.family}"
