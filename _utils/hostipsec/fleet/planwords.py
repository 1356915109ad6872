"""A plan of the fleet in words: what is alike is told once, so that an operator sees it at a glance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ..answer import counted
from ..strongswan import childname, difference, exceptions
from . import authentication, outcome
from .asking import Heard
from .fleetplan import (
    ADDED,
    ALL,
    CERTIFICATES,
    CHANGED,
    CONFIGURED,
    ENTERS,
    GONE,
    GUARD,
    LEAVES,
    MEMBER,
    NOTHING,
    PACKAGES,
    REMOVED,
    RENAMED,
    RESTING,
    RESTS,
    ROUTES,
    SERVING,
    SYSCTL,
    Fact,
    FleetPlan,
    Row,
    arrow,
)
from .hostnames import few, ranges

_MOST = 12  # lines of one kind
_KINDS = {"certs": "certificate", "private": "key", "cacerts": "CA"}  # by the directory of a file
_IN_CHARON = ("loaded into charon", "unloaded from charon", "SAs ended")
_SETTINGS = (ALL, "config setup", "strongswan.conf")
# parts of the changes of ipsec.configured that have words of their own; others are told as they are
_TOLD = (*_IN_CHARON, *_SETTINGS, "charon", "configuration", "connections", "modes", "removed lines")
_ROLE = ("auto", "dpdaction", "keyingtries")  # they follow from stage and role: the ends have different ones


def answer(plan: FleetPlan, heard: Heard) -> dict[str, Any]:
    """Return a plan and who was ``heard`` for it as plain values, the text and the exit status with them."""
    return {
        **plan.as_dict(),
        "silent": list(heard.silent),
        "failed": dict(heard.failed),
        "lines": [*lines(plan), *outcome.lost(heard)],
        "retcode": outcome.status(True, heard.interrupted) or plan.status,
    }


def lines(plan: FleetPlan) -> list[str]:
    """Return the text: the sum, then each thing that changes once, then what is wrong."""
    return [_headline(plan), *_changes(plan), *_wrong(plan)]


def _headline(plan: FleetPlan) -> str:
    asked = [host for host, found in plan.answers.items() if found["standing"] in SERVING]
    if plan.status == NOTHING:
        pairs = {key[:2] for key in plan.keys(asked)}
        running = f"{counted(len(plan.keys(asked)), 'connection')} of {counted(len(pairs), 'pair')}"
        return f"nothing to do: {counted(len(asked), 'host')} run what the pillar says, {running}"
    counts = [f"{len(plan.of(change))} {change}" for change in (ADDED, REMOVED, CHANGED)]
    counts += [f"{len(plan.of(RENAMED))} renamed"] if plan.of(RENAMED) else []
    restarts = sum(said != "started" for said in plan.charon.values())
    told = f"{len(plan.hosts_to_change)} of {counted(len(asked), 'host')}"
    return f"{told} to change; connections: {', '.join(counts)}; charon restarted on {restarts or 'none'}"


def _changes(plan: FleetPlan) -> Iterable[str]:
    yield from _hosts(plan)
    yield from _summed(ADDED, plan.of(ADDED))
    yield from _summed(REMOVED, plan.of(REMOVED))
    yield from _gone(plan)
    yield from _summed(RENAMED, plan.of(RENAMED))
    yield from _changed_rows(plan)
    yield from _settings(plan)
    yield from _restarts(plan)
    yield from _kernel(plan)
    yield from _beside(plan)


def _hosts(plan: FleetPlan) -> Iterable[str]:
    if enter := plan.standing(ENTERS):
        verb = "enters" if len(enter) == 1 else "enter"
        yield f"{counted(len(enter), 'host')} {verb}: {ranges(enter)}"
    if leave := plan.standing(LEAVES):
        verb = "leaves" if len(leave) == 1 else "leave"
        has = counted(sum(plan.answers[host]["configured"] for host in leave), "connection")
        what = f"{has} of ours stay there until ipsec.clean is applied"
        yield f"{counted(len(leave), 'host')} {verb}: {ranges(leave)}; {what}"
    resting = [host for host in plan.standing(RESTS) if plan.answers[host]["configured"]]
    if resting and any(row.why == RESTING for row in plan.of(REMOVED)):
        yield f"{counted(len(resting), 'host')} in maintenance, kept as configured: {ranges(resting)}"


def _changed_rows(plan: FleetPlan) -> Iterable[str]:
    groups: dict[frozenset[Fact], list[Row]] = {}
    for row in plan.of(CHANGED):
        groups.setdefault(row.facts, []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), sorted(item[0])))
    yield from _limited([_changed_line(facts, rows) for facts, rows in ordered])


def _settings(plan: FleetPlan) -> Iterable[str]:
    for part in _SETTINGS:
        groups: dict[Fact, list[str]] = {}
        for host, found in plan.parts(part):
            for option, change in childname.untold(found).items():
                later = part == "strongswan.conf" and difference.is_derived(option, plan.chosen)
                fact = ("", "") if later else (option, arrow(change))
                groups.setdefault(fact, []).append(host)
        yield from _limited([_setting(plan, part, *fact, hosts) for fact, hosts in sorted(groups.items())])


def _setting(plan: FleetPlan, part: str, option: str, change: str, hosts: Sequence[str]) -> str:
    where = f"{counted(len({*hosts}), 'host')}: {ranges(hosts)}"
    if not option:
        follows = "sizes that follow from the number of peers change, taken up at charon's next start"
        return f"strongswan.conf: {follows}: {where}"
    if part == ALL:
        number = len(plan.keys(hosts))
        return f"all connections: {option} {change}: {counted(number, 'connection')}, {where}"
    return f"{part}: {option} {change}: {where}"


def _restarts(plan: FleetPlan) -> Iterable[str]:
    groups: dict[str, list[str]] = {}
    for host, said in plan.charon.items():
        if plan.answers[host]["standing"] == MEMBER or said != "started":
            groups.setdefault(said, []).append(host)
    for said, hosts in sorted(groups.items()):
        after = "it does not run now" if said == "started" else "its tunnels end and come back"
        after = difference.MOVES if "backend: " in said else after
        yield f"charon {said} on {counted(len(hosts), 'host')}: {ranges(hosts)}; {after}"


# in policies of the guard: for what stays in the clear, for what alone is encrypted, and for all the rest
_PORT = re.compile(r" proto (\d{1,3}) [sd]port (\d{1,5}) dir (?:in|out)$")
_ESP = re.compile(r" dst (\S+) proto (\d{1,3})(?: [sd]port (\d{1,5}))? dir out in ESP$")
_REST = re.compile(r" dst (\S+) dir out passes$")
_CLEAR = {"added": "will be in the clear", "removed": "will be in the clear no more"}
_ESPED = {"added": "will be encrypted", "removed": "will be encrypted no more"}


def _ports(plan: FleetPlan) -> Iterable[str]:
    """Yield what goes in the clear from now on by rules, and what no more."""
    hosts: dict[str, set[str]] = {}
    for host, found in plan.answers.items():
        for verb, policies in found["changes"].get(GUARD, {}).items():
            for said in _said(verb, [*map(str, policies)]):
                hosts.setdefault(said, set()).add(host)
    for said, some in sorted(hosts.items()):
        yield f"{said} on {counted(len(some), 'host')}: {ranges(sorted(some))}"


def _said(verb: str, policies: Sequence[str]) -> Iterable[str]:
    """Yield what policies of a host that come, or go, mean for packets."""
    for one in filter(None, map(_PORT.search, policies)):
        yield f"{_packets(one[1], one[2])} {_CLEAR.get(verb, verb)}"
    esp: dict[str, set[str]] = {}  # by peer
    for one in filter(None, map(_ESP.search, policies)):
        esp.setdefault(one[1], set()).add(_packets(one[2], one[3]))
    rest = {one[1] for one in map(_REST.search, policies) if one}
    for peer, packets in esp.items():
        if peer in rest:
            yield f"all but {', '.join(sorted(packets))} {_CLEAR.get(verb, verb)}"
        else:
            yield from (f"{one} {_ESPED.get(verb, verb)}" for one in packets)


def _packets(protocol: str, port: Optional[str]) -> str:
    return f"{exceptions.NAMES.get(int(protocol), protocol)}/{port}" if port else exceptions.ICMP


def _kernel(plan: FleetPlan) -> Iterable[str]:
    yield from _ports(plan)
    for state, noun in ((GUARD, "policy of the guard"), (ROUTES, "route with a locked MTU")):
        counts: dict[str, int] = {}
        hosts: dict[str, set[str]] = {}
        for host, found in plan.answers.items():
            for verb, parts in found["changes"].get(state, {}).items():
                for one in parts.values() if isinstance(parts, dict) else parts:
                    said = f"{verb}{_size(one)}"
                    counts[said] = counts.get(said, 0) + 1
                    hosts.setdefault(said, set()).add(host)
        for said, number in sorted(counts.items()):
            where = f"{counted(len(hosts[said]), 'host')}: {ranges(sorted(hosts[said]))}"
            yield f"{counted(number, noun)} {said} on {where}"


_LOCKED = re.compile(r" mtu lock (\d{1,5})\b")  # in a route as a host tells it


def _size(route: object) -> str:
    """Return the MTU of a route, or the one of before and the new one; empty where it is none."""
    texts = [str(one) for one in route.values()] if isinstance(route, dict) else [str(route)]
    sizes = [found[1] for found in map(_LOCKED.search, texts) if found]
    return f" (mtu {' -> '.join(dict.fromkeys(sizes))})" if sizes else ""


def _beside(plan: FleetPlan) -> Iterable[str]:
    """Yield what is neither a connection nor a setting of strongSwan; a new host has all of it new."""
    groups: dict[str, list[str]] = {}
    for host, found in sorted(plan.answers.items()):
        if found["standing"] != ENTERS:
            for said in dict.fromkeys(_sentences(host, found["changes"])):
                groups.setdefault(said, []).append(host)
    yield from _limited(
        [f"{said}: {counted(len(hosts), 'host')}: {ranges(hosts)}" for said, hosts in sorted(groups.items())]
    )


def _wrong(plan: FleetPlan) -> Iterable[str]:
    if plan.expectations:
        number = counted(plan.expectations, "assertion")
        yield f"{number} of `expect` {'holds' if plan.expectations == 1 else 'hold'}"
    groups: dict[str, list[Row]] = {}
    for row in plan.misfits:
        groups.setdefault(row.disagree, []).append(row)
    for said, rows in sorted(groups.items()):
        would = "MAY" if {*plan.missing} & {rows[0].one, rows[0].other} else "WOULD"
        yield f"THE ENDS {would} DISAGREE about {counted(len(rows), 'connection')}: {said}"
    yield from _limited(plan.doubts)
    if plan.unmanaged:
        yield f"not managed by Salt, what is there is not asked and not changed: {ranges(plan.unmanaged)}"
    yield from _limited(plan.objections)
    yield from _limited(authentication.lines(plan.refusals))
    if plan.strangers:
        yield f"their own pillar does not make them members, the master's does: {ranges(plan.strangers)}"
    if plan.foreign:
        yield f"of another fleet by their pillar, and told here as well: {ranges(plan.foreign)}"
    yield from _unable(plan)
    for host, found in sorted(plan.answers.items()):
        yield from _limited([f"{host}: {warning}" for warning in found["warnings"]])


def _unable(plan: FleetPlan) -> Iterable[str]:
    """Yield the proposals of the pillar that hosts go without: an upgrade of strongSwan would bring them."""
    groups: dict[str, list[str]] = {}
    for host, found in sorted(plan.answers.items()):
        for said in found.get("unable", ()):
            groups.setdefault(said, []).append(host)
    for said, hosts in sorted(groups.items()):
        yield f"{counted(len(hosts), 'host')} without {said} until strongSwan there has it: {ranges(hosts)}"


def _pairs(rows: Sequence[Row]) -> str:
    return f"of {counted(len({(row.one, row.other) for row in rows}), 'pair')}"


def _summed(change: str, rows: Sequence[Row]) -> Iterable[str]:
    """Yield how many connections, and that by pair of sites and by rule or reason."""
    if not rows:
        return
    named = "; their SAs end and come back" if change == RENAMED else ""
    yield f"{counted(len(rows), 'connection')} {change} {_pairs(rows)}{named}{_once(rows)}"
    groups: dict[tuple[tuple[str, str], str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.sites, row.why), []).append(row)
    width = max(len(" - ".join(sites)) for sites, _ in groups)
    lines = [
        f"  {' - '.join(sites):{width}}  {len(found):4} {_pairs(found)}  {why}"
        for (sites, why), found in sorted(groups.items())
    ]
    yield from _limited(lines)


def _gone(plan: FleetPlan) -> Iterable[str]:
    hosts = {host for row in plan.of(REMOVED) if row.why == GONE for host in (row.one, row.other)}
    if gone := sorted(hosts - plan.members):
        yield f"  {GONE}: {ranges(gone)}"


def _once(rows: Sequence[Row]) -> str:
    """Say where one end would change and the other need not."""
    number = sum(row.settled for row in rows)
    whole = "all" if number == len(rows) else f"{number}"
    return f"; {whole} of them at one end only, the other is so already" if number else ""


def _changed_line(facts: Iterable[Fact], rows: Sequence[Row]) -> str:
    arrows: dict[str, list[str]] = {}
    for what, change in sorted(facts, key=lambda fact: (fact[0] in _ROLE, fact)):
        arrows.setdefault(what, []).append(change)
    said = "; ".join(f"{what} {', '.join(found)}" for what, found in arrows.items())
    sites = {row.sites for row in rows}
    where = f", {' - '.join(rows[0].sites)}" if len(sites) == 1 else ""
    return f"{counted(len(rows), 'connection')} changed {_pairs(rows)}{where}: {said}{_once(rows)}"


def _sentences(host: str, changes: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Yield what else changes on a host, in words that are the same on hosts where it is the same."""
    for path, said in changes.get(CERTIFICATES, {}).items():
        kind = _KINDS.get(path.rpartition("/")[0].rpartition("/")[2], path)
        yield f"{kind} read anew, {said.replace(host, 'HOST')}"
    configured = changes.get(CONFIGURED, {})
    for part in _IN_CHARON:
        if part in configured:
            yield f"{part}: {few(configured[part])}"
    for part, found in configured.items():
        if part not in _TOLD:
            yield f"{part} {few(found) if isinstance(found, list) else found}"
    if "removed lines" in configured:
        yield f"lines of ipsec.conf that are not ours are removed: {few(configured['removed lines'])}"
    for path, said in configured.get("modes", {}).items():
        yield f"mode of {path} {said}"
    for name, change in changes.get(SYSCTL, {}).items():
        yield f"sysctl {name} {arrow(change)}"
    if PACKAGES in changes:
        yield f"packages installed: {few(sorted(changes[PACKAGES]))}"


def _limited(lines: Sequence[str]) -> Sequence[str]:
    more = len(lines) - _MOST
    return lines if more <= 0 else [*lines[:_MOST], f"  and {more} more like these; --out=json has all"]
