"""Arguments of operators, checked: an error names the argument, what was found, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Optional

from .errors import HostIPsecError, NothingMeantError, UnknownArgumentError

_MOST = 6  # names that a sentence has


def wrong(name: str, value: object, allowed: str) -> HostIPsecError:
    """Return the error that an argument is not what is allowed."""
    return HostIPsecError(f"{name}: found {value!r}; allowed: {allowed}")


def seconds(name: str, value: object, least: float = 0, most: float = 3600) -> float:
    """Return a time in seconds, given as a number or as the text of one."""
    found = _number(value)
    if found is None or not least <= found <= most:
        raise wrong(name, value, f"seconds from {least} to {most}")
    return found


def deadline(value: object, default: float) -> float:
    """Return the seconds for an order to be carried out; ``default`` where none are asked for."""
    return default if value is None else seconds("deadline", value, 0.1)


def moment(name: str, value: object) -> float:
    """Return a time of day, in seconds since 1970."""
    found = _number(value)
    if found is None:
        raise wrong(name, value, "seconds since 1970")
    return found


def asked(value: object, now: float) -> float:
    """Return when a command was decided; what lies ahead is a mistake, and hosts of before would heed it."""
    return now if value is None else min(now, moment("asked", value))


def _number(value: object) -> Optional[float]:
    """Return a number, also from text; None for what is none, and for True and False."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def nothing_has(meant: object, peers: Iterable[str], names: Iterable[str]) -> NothingMeantError:
    """Return the error that no connection passes a filter, with what there is."""
    there = f"peers: {_few(peers)}; connections: {_few(names)}"
    return NothingMeantError(f"no connection has {meant}; nothing was done; there are {there}")


def _few(names: Iterable[str]) -> str:
    every = sorted({*names})
    more = f" and {len(every) - _MOST} more" if len(every) > _MOST else ""
    return (", ".join(every[:_MOST]) or "none") + more


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """Return one of the words that are allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise wrong(name, value, ", ".join(allowed))
    return value


def no_more(named: Mapping[str, object], undone: str = "nothing was done") -> None:
    """Refuse what nobody knows; what Salt adds itself begins with two underscores."""
    unknown = [name for name in named if not name.startswith("__")]
    if unknown:
        raise UnknownArgumentError(unknown, undone)


def whole(name: str, value: object, allowed: str = "a whole number of hosts") -> int:
    """Return a number of hosts, 0 and more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise wrong(name, value, allowed)
    return value


def batch(value: object) -> int:
    """Return how many hosts are asked at a time."""
    return whole("batch", value, "a whole number of hosts, 0 for all at once")


def switch(name: str, value: object) -> bool:
    """Return what is on or off."""
    if not isinstance(value, bool):
        raise wrong(name, value, "True, False")
    return value


def listed(name: str, value: object, allowed: Optional[Collection[str]] = None) -> list[str]:
    """Return names, given as one, as a list, or with commas between; None is none."""
    found = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list):
        raise wrong(name, value, "a list of names")
    names = [str(one).strip() for one in found]
    return names if allowed is None else [one_of(name, one, allowed) for one in names]


def files(name: str, value: object) -> list[str]:
    """Return paths, given like names; None is none, and nothing else is."""
    found = listed(name, value)
    if (value is not None and not (found and all(found))) or "\0" in "".join(found):
        raise wrong(name, value, "the path of a file at the master, or a list of them")
    return found


def one_target(more: Collection[object]) -> None:
    """Refuse a second argument without a name: it would be taken for another thing than was meant."""
    if more:
        said = ", ".join(map(str, more))
        raise HostIPsecError(f"{said}: which argument is it? one target, then NAME=VALUE; nothing was asked")
