"""A fleet, minute by minute, as Prometheus has it: the sample of each host as series for promtool.

Two hosts at each of three sites, each with a tunnel on both families to every host of the other sites.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Optional

import yaml

from hostipsec.faces import exposition, metrics
from hostipsec.health.report import CARRYING
from hostipsec.health.sample import Process, Sample, Sampled, Traffic, plain

SITES = ("eqiad", "codfw", "esams")
HOSTS = tuple(f"cp{number}00{host}.{name}" for number, name in enumerate(SITES, 1) for host in (1, 2))
FAULT = 10  # the minute in which a fault begins
YEAR = 365 * 86400.0
LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
INSTANCE = 'instance="%s:9100"'
CHARON = Process("5.9.8", "vici", "kernel", 0.0, 1 << 24, 16, 11, {"critical": 4}, {"high": 0}, 60, 12, 0)


class Told(NamedTuple):
    """What a host tells in a minute: its last sample, and when its metrics were written."""

    sample: Optional[Sample]
    written: float


World = dict[str, Optional[Told]]  # None: not scraped
Fault = Callable[[World, float], None]


def site(host: str) -> str:
    """Return the site of a host."""
    return host.partition(".")[2]


def short(host: str) -> str:
    """Return the name of a host without its site."""
    return host.partition(".")[0]


def well(now: float) -> World:
    """Return the fleet as it should be."""
    return {host: _well(host, now) for host in HOSTS}


@cache
def _well(host: str, now: float) -> Told:
    return Told(_sample(host, now), now)


def _sample(host: str, now: float) -> Sample:
    ends = [
        _end(host, peer, family, now) for peer in HOSTS if site(peer) != site(host) for family in ("v4", "v6")
    ]
    errors = dict.fromkeys(("XfrmInNoStates", "XfrmInStateSeqError", "XfrmOutStateSeqError"), 0)
    return Sample(
        now,
        host,
        site(host),
        connections=tuple(ends),
        charon=CHARON,
        errors={**errors, "XfrmOutPolBlock": 0, "XfrmInStateProtoError": 0},
        certificate=YEAR,
        loaded=True,
        guard_missing=0,
        applied=0.0,
    )


def _end(host: str, peer: str, family: str, now: float) -> Sampled:
    return Sampled(
        *(f"{short(peer)}_{family}", peer, family, "start"),
        "-".join(sorted((site(host), site(peer)))),
        "-".join(sorted((short(host), short(peer)))),
        *("established", "ok", "", True, True, False),
        established=0.0,
        rekey=now + 1800,
        sequence=0.0,
        received=Traffic(int(now) * 10_000, int(now) * 100),
        sent=Traffic(int(now) * 10_000, int(now) * 100),
        clear_in=0,
        clear_out=0,
    )


# Faults ---------------------------------------------------------------------------------------


def change(world: World, host: str, of: Callable[[Sampled], bool] = lambda _: True, **fields: Any) -> None:
    """Change connections of a host."""
    told = world[host]
    assert told is not None
    assert told.sample is not None
    ends = tuple(end._replace(**fields) if of(end) else end for end in told.sample.connections)
    world[host] = told._replace(sample=told.sample._replace(connections=ends))


def state(world: World, host: str, name: str, of: Callable[[Sampled], bool] = lambda _: True) -> None:
    """Put connections of a host into a state."""
    held = name == "held"
    fields: dict[str, Any] = {"expected": False} if held else {}
    change(world, host, of, state=name, up=name in CARRYING, held=held, **fields)


def own(world: World, host: str, **fields: Any) -> None:
    """Change what a host says of itself."""
    told = world[host]
    assert told is not None
    assert told.sample is not None
    world[host] = told._replace(sample=told.sample._replace(**fields))


def between(*pair: str) -> Callable[[Sampled], bool]:
    """Return what says of a connection whether it is between two sites or two hosts."""
    return lambda end: "-".join(sorted(pair)) in (end.sites, end.pair)


def to(peer: str) -> Callable[[Sampled], bool]:
    """Return what says of a connection whether it leads to this peer."""
    return lambda end: end.peer == peer


def cut(world: World, of: Callable[[Sampled], bool]) -> None:
    """Have connections down at both ends."""
    for host in world:
        if world[host]:
            state(world, host, "down", of)


def dead(world: World, *hosts: str) -> None:
    """Have hosts dead: nobody reaches them, and they tell nothing."""
    for host in hosts:
        cut(world, to(host))
        world[host] = None


def charon_dead(world: World, host: str) -> None:
    """Have charon dead on a host, which tells so."""
    cut(world, lambda end: short(host) in end.pair)
    own(world, host, charon=None, unread={"charon": "charon did not answer within 5 s"})


def frozen(world: World, host: str) -> None:
    """Have the keeper of a host dead: its last sample is that before the first one without it."""
    told = world[host]
    assert told is not None
    assert told.sample is not None
    world[host] = told._replace(sample=told.sample._replace(time=told.written - 61))


def sampleless(world: World, host: str) -> None:
    """Have a host without a sample."""
    told = world[host]
    assert told is not None
    world[host] = told._replace(sample=None)


def silent(world: World, *hosts: str) -> None:
    """Have hosts whose metrics are not scraped."""
    world.update(dict.fromkeys(hosts))


def unwritten(world: World, host: str) -> None:
    """Have a host with a textfile of before the fault."""
    world[host] = well(FAULT * 60.0)[host]


# Series ---------------------------------------------------------------------------------------


def series(fault: Fault, minutes: int) -> list[dict[str, str]]:
    """Return what Prometheus scrapes each minute, as input of promtool's tests."""
    found: dict[str, list[str]] = defaultdict(lambda: ["_"] * (minutes + 1))
    for minute in range(minutes + 1):
        world = well(minute * 60.0)
        if minute >= FAULT:
            fault(world, minute * 60.0)
        for name, value in _scraped(world):
            found[name][minute] = value
    return [{"series": name, "values": _values(values)} for name, values in sorted(found.items())]


def _scraped(world: World) -> Iterator[tuple[str, str]]:
    for host, told in world.items():
        for name, labels, value in _lines(host, told) if told else ():
            yield f"{name}{{{labels}{labels and ','}{INSTANCE % host}}}", value


def _lines(host: str, told: Told) -> list[tuple[str, str, str]]:
    return _lines_of_well(host, told.written) if told is _well(host, told.written) else _found(told)


@cache
def _lines_of_well(host: str, now: float) -> list[tuple[str, str, str]]:
    return _found(_well(host, now))


def _found(told: Told) -> list[tuple[str, str, str]]:
    return LINE.findall(rendered(*told))


def _values(values: list[str]) -> str:
    """Return them in promtool's notation; what is no longer scraped is stale at once."""
    runs = [(value, len([*run])) for value, run in groupby(values)]
    ends = [f"stale{f' _x{times - 1}' if times > 1 else ''}" for _, times in runs]
    said = [f"{value}x{times - 1}" if value != "_" else end for (value, times), end in zip(runs, ends)]
    return " ".join([f"_x{runs[0][1]}", *said[1:]] if runs[0][0] == "_" else said)


def rendered(sample: Optional[Sample], now: float) -> str:
    """Return the metrics of a sample, as a host gives them."""
    found = json.loads(json.dumps(plain(sample))) if sample else None
    return exposition.prometheus(metrics.families(metrics.seen(found, now)))


def selector(labels: Mapping[str, str]) -> str:
    """Return labels as Prometheus writes them."""
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def names(rules: Path) -> set[str]:
    """Return the names of the alarms in a file of rules."""
    return {rule["alert"] for rule in alerts(rules)}


def alerts(rules: Path) -> list[dict[str, Any]]:
    """Return the alarms in a file of rules."""
    groups = yaml.safe_load(rules.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]
