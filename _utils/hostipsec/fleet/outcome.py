"""What a command came to, for people: how many hosts are as asked, and what is not, by host."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, cast

from ..answer import Answer, counted
from . import alike, joined
from .alike import Trouble
from .asking import Heard
from .ends import Row, because, well
from .hostnames import few
from .marks import Way

INTERRUPTED = 130  # exit status
BARE = "has no connection on record, and the pillar gives it some: state.apply"
_DONE = {
    "down": "down, and proven",
    "up": "every connection up",
    "start": "told to start",
    "status": "well, by their own word",
    "verify": "every connection encrypted both ways",
    "reauthenticate": "every connection that they start is reauthenticated",
    "rollback": "they run what they ran before; the pillar still asks for the change",
}


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    heard: Heard
    lines: tuple[str, ...]
    ok: bool

    def as_dict(self, edition: str) -> dict[str, Any]:
        """Return it as plain values, the text and the exit status with it; ``edition`` is this master's."""
        heard = self.heard
        return {
            "lines": [*self.lines, *lost(heard), *mixed(heard, edition)],
            "retcode": status(self.ok, heard.interrupted),
            "hosts": {host: one.as_dict() for host, one in heard.answers.items()},
            "failed": dict(heard.failed),
            "silent": list(heard.silent),
            "unanswered": list(heard.unanswered),
            "unasked": list(heard.unasked),
            "editions": editions(heard, edition),
        }


def status(ok: bool, interrupted: bool) -> int:
    """Return the exit status."""
    return INTERRUPTED if interrupted else 0 if ok else 1


# Commands --------------------------------------------------------------------------------------


def summed(
    verb: str, hosts: Sequence[str], heard: Heard, threshold: int = 0, lines: Sequence[str] = ()
) -> Outcome:
    """Return what a command came to, which so many hosts may have failed; ``lines`` come first."""
    good = sum(one.ok for one in heard.answers.values())
    away = {*hosts} - {*heard.answers}
    there = between(heard, away) if verb == "up" and away and heard.answers else []
    told = [
        trouble
        for host, one in sorted(heard.answers.items())
        for trouble in _trouble(host, one, verb, away if there else ())
    ]
    heading = _heading(good, len(hosts), verb)
    return Outcome(heard, (*lines, heading, *there, *alike.lines(told)), len(hosts) - good <= threshold)


def _heading(good: int, number: int, verb: str) -> str:
    return f"{good} of {counted(number, 'host')} {'is' if number == 1 else 'are'} as asked: {_DONE[verb]}"


def proven(hosts: Sequence[str], heard: Heard, expected: Optional[Mapping[str, Collection[str]]]) -> Outcome:
    """Return what a proof came to: what a host has to prove is known here, and not by its answer.

    ``expected`` are the connections of each host by name; None where the pillar cannot be read: then each
    host has to have proven something.
    """
    found = summed("verify", hosts, heard)
    told = {
        host: _unproven(one, None if expected is None else expected.get(host, ()))
        for host, one in heard.answers.items()
    }
    lines = [f"{host}: {text}" for host, text in sorted(told.items()) if text]
    good = sum(one.ok and not told[host] for host, one in heard.answers.items())
    heading = _heading(good, len(hosts), "verify")
    if expected is not None and not any(expected.get(host) for host in hosts):
        heading, good = "nothing to prove: the pillar gives these hosts no connection in service", -1
    return Outcome(heard, (heading, *joined.capped(lines), *found.lines[1:]), good == len(hosts))


def _unproven(answer: Answer, expected: Optional[Collection[str]]) -> str:
    """Say what a host has not proven, though it is to; empty for nothing."""
    if expected is None:
        return "" if answer.connections else "proved nothing"
    missing = sorted({*expected} - {*answer.connections})
    return f"did not prove {', '.join(missing)}" if missing else ""


def between(heard: Heard, away: Collection[str]) -> list[str]:
    """Say what is up between the hosts that are there, then who is away."""
    ends: dict[object, bool] = {}
    missing = 0
    for host, one in heard.answers.items():
        for row in one.connections.values():
            if row["peer"] in away:
                missing += 1
            else:
                pair = frozenset((host, row["peer"])), row["family"]
                ends[pair] = ends.get(pair, True) and bool(row["up"])
    number = counted(len(heard.answers), "host that answered")
    led = f"; {counted(missing)} of theirs lead there" if missing else ""
    return [
        f"between the {number}: {sum(ends.values())} of {counted(len(ends))} up",
        f"away: {few(sorted(away))}{led}",
    ]


def _trouble(host: str, answer: Answer, verb: str, away: Collection[str] = ()) -> Iterable[Trouble]:
    """Yield what is not as asked on a host, but for what only follows from who is ``away``."""
    if answer.own.get("ahead"):
        yield Trouble(host, str(answer.own["ahead"]))
    if answer.own.get("overruled"):
        yield Trouble(host, str(answer.own["overruled"]))
        return
    told = (*beside(answer), *unsaid(answer)) if verb == "status" else answer.problems
    yield from (Trouble(host, str(one)) for one in told)
    if verb == "start":  # nobody waited for what comes up
        return
    for name, row in sorted(answer.connections.items()):
        if row.get("peer") in away:
            continue
        good = row.get("up", row.get("ok", row.get("severity", "ok") == "ok")) and verb != "reauthenticate"
        why = row.get("left") or ("" if good else row.get("reason"))
        if why:
            yield Trouble(host, str(why), name, str(row.get("peer", "")))


def beside(answer: Answer) -> tuple[str, ...]:
    """Return what the status of a host says beside its connections; hosts of releases before say less."""
    warnings = cast("Sequence[object]", answer.own.get("warnings") or ())
    return tuple(dict.fromkeys(map(str, (*warnings, *answer.problems))))


def unsaid(answer: Answer) -> tuple[str, ...]:
    """Say that a host is not well where nothing of its status says in what."""
    told = answer.ok or beside(answer) or not all(map(well, answer.connections.values()))
    return () if told else (f"not all is well there, by its own word: {answer.sentence}",)


def tried(verb: str, heard: Heard, before: Sequence[str] = ()) -> Outcome:
    """Return what ``down`` or ``up`` would do, from the status of hosts; lines ``before`` come first."""
    would = {"down": _would_end, "up": _would_bring_up}[verb]
    lines = [f"{host}: {would(one)}" for host, one in sorted(heard.answers.items())]
    lines.append(f"{counted(len(heard.answers), 'host')} asked, nothing was changed")
    return Outcome(heard, (*before, *lines), not (heard.silent or heard.failed))


def _would_end(answer: Answer) -> str:
    rows = answer.connections.values()
    there = sum(row["state"] not in ("down", "held") for row in rows)
    return f"{there} of {counted(len(rows))} would be ended ({answer.sentence})"


def _would_bring_up(answer: Answer) -> str:
    rows, held = answer.connections.values(), answer.own.get("held")
    missing = sum(row["state"] != "established" for row in rows)
    lifted = f", and lifted: held {held}" if held else ""
    return f"{missing} of {counted(len(rows))} would be brought up{lifted}"


# Rollback --------------------------------------------------------------------------------------


def would_go_back(previous: Heard, way: Way) -> Outcome:
    """Return what a rollback would do; ``previous`` is what hosts answered to ``ipsec.previous``."""
    known = [(host, previous.answers[host]) for host in way.every if host in previous.answers]
    lines = [
        f"{host}: would run {counted(len(one.connections))}, as before {one.own['when']}"
        for host, one in known
    ]
    heard = went_back(previous.of(way.slow), way)
    return Outcome(
        heard, (*lines, f"{counted(len(known), 'host')}, nothing was changed"), not (way.slow or way.left)
    )


def went_back(heard: Heard, way: Way) -> Heard:
    """Return what was heard, with the hosts that do not go back although they should."""
    return replace(heard, failed={**heard.failed, **way.left})


# Both ends -------------------------------------------------------------------------------------


def bare(heard: Heard, hosts: Collection[str]) -> Heard:
    """Return it where these hosts are not as asked: they have nothing, and the pillar gives them some."""
    answers = {
        host: one._replace(ok=False, problems=(*one.problems, BARE)) if host in hosts else one
        for host, one in heard.answers.items()
    }
    return replace(heard, answers=answers)


def lacking(heard: Heard) -> frozenset[str]:
    """Return the peers of connections that did not come up, which were not asked themselves."""
    peers = {
        str(row["peer"])
        for one in heard.answers.values()
        for row in one.connections.values()
        if not row["up"]
    }
    return frozenset(peers - {*heard.answers} - {*heard.silent})


def explained(heard: Heard, ends: Heard) -> Heard:
    """Return it with reasons that take into account what the other ends say, the hosts of `lacking` too."""
    known = {**heard.answers, **ends.answers}
    return replace(heard, answers={host: _explained(host, one, known) for host, one in heard.answers.items()})


def _explained(host: str, answer: Answer, known: Mapping[str, Answer]) -> Answer:
    rows = {
        name: row if row["up"] else {**row, "reason": _because(host, row, known)}
        for name, row in answer.connections.items()
    }
    return answer._replace(connections=rows)


def refused(heard: Heard) -> Heard:
    """Return what hosts reauthenticated, with the reasons of their peers where these refused."""
    said = {
        (str(row["peer"]), by, row["family"]): row["reason"]
        for by, one in heard.answers.items()
        for row in cast("dict[str, Row]", one.own.get("answered") or {}).values()
    }
    return replace(heard, answers={host: _refused(host, one, said) for host, one in heard.answers.items()})


def _refused(host: str, answer: Answer, said: Mapping[tuple[str, str, object], object]) -> Answer:
    def told(row: Row) -> Row:
        why = said.get((host, str(row["peer"]), row["family"])) if row["reason"] else None
        return {**row, "reason": f"{row['peer']} refused it: {why}"} if why else row

    return answer._replace(connections={name: told(row) for name, row in answer.connections.items()})


def _because(host: str, row: Mapping[str, object], known: Mapping[str, Answer]) -> str:
    end = known.get(str(row["peer"]))
    return because(host, row, None if end is None else end.connections)


# Who did not answer ----------------------------------------------------------------------------


def lost(heard: Heard) -> list[str]:
    """Return sentences about hosts that gave no answer."""
    lines = [f"{host}: {text}" for host, text in sorted(heard.failed.items())]
    if untold := sorted(heard.outdated - {*heard.failed}):
        lines.append(f"not known, and not counted, as they have older modules or none: {few(untold)}")
    if heard.again:
        lines.append(
            "the clock of this master is behind, or that of another one was ahead: an order that "
            f"{few(sorted(heard.again))} obeyed before came from a time still to come here; they were asked "
            "again, as of after that one"
        )
    if heard.foreign:
        lines.append(
            f"of another fleet by their pillar, and left alone: {few(heard.foreign)}; tgt= reaches them"
        )
    if heard.beside:
        beside = few(heard.beside)
        lines.append(f"did not answer, and not counted, as no rule and no record has them: {beside}")
    for text, hosts in (("did not answer", heard.silent), ("not asked", heard.unasked)):
        lines += [f"{text}: {', '.join(hosts)}"] if hosts else []
    if heard.interrupted:
        waiting = ", ".join(heard.unanswered) or "none"
        lines.append(
            f"interrupted; asked, without an answer yet, and finishing what they have begun: {waiting}"
        )
    return lines


def editions(heard: Heard, own: str) -> dict[str, str]:
    """Return the edition of hostipsec by host, where it is not this master's ``own``."""
    told = {host: str(one.own.get("edition", own)) for host, one in heard.answers.items()}
    return {host: edition for host, edition in told.items() if edition != own}


def mixed(heard: Heard, own: str) -> list[str]:
    """Return sentences about the other editions."""
    hosts: dict[str, list[str]] = {}
    for host, edition in sorted(editions(heard, own).items()):
        hosts.setdefault(edition, []).append(host)
    return [
        f"hostipsec is {edition} at {few(some)}, and {own} at this master; run saltutil.sync_all on both"
        for edition, some in sorted(hosts.items())
    ]
