"""The fleet's pillar as the master has it in files of its own, and the part of each host made from it.

What was read is kept in this process for as long as the files stay as they are, also where they are wrong: a
master makes the pillar of each minion anew, and thousands of them ask. Addresses that are looked up are asked
for again once a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from ..errors import HostIPsecError, PillarError, Problem
from ..strongswan.kinds import shown, word
from . import addressed, parts, pillar

Load = Callable[[str], object]  # YAML to data
Mine = Callable[..., object]  # Salt's ``mine.get``
_LOOKED_UP = 60.0  # seconds for which addresses that were looked up are good
_LISTS = ("rules", "expect")  # keys that several files may have, in their order; ``hosts`` by name
_Stamp = tuple[tuple[int, ...], ...]


class _Kept(NamedTuple):
    stamp: _Stamp
    until: float  # by the clock that only runs on
    found: Union[parts.Whole, HostIPsecError]
    hosts: frozenset[str] = frozenset()  # ids, as far as the files can be read


_kept: dict[tuple[str, ...], _Kept] = {}


def part(
    minion_id: str, files: Sequence[str], load: Load, mine: Mine, masters: Callable[[], Collection[str]]
) -> dict[str, Any]:
    """Return the part of a host, below ``ipsec``; nothing for a host that the fleet does not have.

    Where the fleet's pillar cannot be used, the part says why, and the host changes nothing.

    ``load``     reads YAML as Salt does
    ``mine``     Salt's ``mine.get``, as the master has it
    ``masters``  returns addresses of the master
    """
    kept = _fleet(files, load, mine, masters)
    if isinstance(kept.found, HostIPsecError):
        return parts.refused(kept.found, minion_id, kept.hosts)
    return kept.found.part(minion_id)


def whole(
    files: Sequence[str], load: Load, mine: Mine, masters: Callable[[], Collection[str]]
) -> parts.Whole:
    """Return the fleet of these files. Raises HostIPsecError with every problem found."""
    kept = _fleet(files, load, mine, masters)
    if isinstance(kept.found, HostIPsecError):
        raise kept.found
    return kept.found


def _fleet(files: Sequence[str], load: Load, mine: Mine, masters: Callable[[], Collection[str]]) -> _Kept:
    """Return what these files say, as it is kept in this process."""
    key, now = tuple(files), time.monotonic()
    stamp, kept = tuple(map(_stamp, files)), _kept.get(key)
    if kept is None or kept.stamp != stamp or kept.until < now:
        found, looked_up, hosts = _read(files, load, mine, masters)
        until = now + _LOOKED_UP if looked_up else float("inf")
        kept = _kept[key] = _Kept(stamp, until, found, hosts)
    return kept


def _read(
    files: Sequence[str], load: Load, mine: Mine, masters: Callable[[], Collection[str]]
) -> tuple[Union[parts.Whole, HostIPsecError], bool, frozenset[str]]:
    """Return the fleet or why there is none, whether for a while only, and the ids of its hosts."""
    looked_up, hosts = False, frozenset[str]()
    try:
        data = merged({path: _loaded(path, load) for path in files})
        there = data.get("hosts")
        hosts = frozenset(map(word, there)) if isinstance(there, Mapping) else hosts
        looked_up = bool(pillar.unaddressed(data))
        whole = parts.Whole(data, addressed.fleet(data, mine, masters() if looked_up else ()))
        return whole, looked_up, hosts
    except HostIPsecError as error:
        return error, looked_up, hosts


def _stamp(path: str) -> tuple[int, ...]:
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _loaded(path: str, load: Load) -> Mapping[str, Any]:
    """Return what a file has below ``ipsec``."""
    try:
        data = load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PillarError([Problem(path, f"cannot be read: {error}", "a file of the master")]) from None
    except Exception as error:  # whatever the reader of YAML raises, which is Salt's
        raise PillarError([Problem(path, _why(error), "YAML, without Jinja, and each key once")]) from None
    below = data.get("ipsec") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(below, Mapping) or len(data) > 1:
        keys = ", ".join(sorted(map(word, data))) if isinstance(data, Mapping) else shown(data)
        raise PillarError([Problem(path, f"found {keys or 'nothing'}", "key 'ipsec' alone, a mapping")])
    return below


def _why(error: Exception) -> str:
    """Return what the reader of YAML says, and where."""
    mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or what is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}"


def merged(files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one pillar of several files: hosts together, rules and what is expected in the files' order.

    Raises PillarError where two files say the same host or key: none of them would be the one that counts.
    """
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for path, data in files.items():
        for key, value in data.items():
            if key in _LISTS and isinstance(value, list) and isinstance(found.get(key, []), list):
                found[key] = [*found.get(key, ()), *value]
            elif key == "hosts" and isinstance(value, Mapping) and isinstance(found.get(key, {}), Mapping):
                problems += _once(owners, (f"ipsec:hosts:{word(name)}" for name in value), path)
                found[key] = {**found.get(key, {}), **value}
            else:
                problems += _once(owners, [f"ipsec:{word(key)}"], path)
                found[key] = value
    if problems:
        raise PillarError(problems)
    return found


def _once(owners: dict[str, str], keys: Collection[str] | Any, path: str) -> list[Problem]:
    """Return the keys that another file has, too."""
    return [
        Problem(key, f"found in {other} and in {path}", "one of the two")
        for key in keys
        if (other := owners.setdefault(key, path)) != path
    ]


# Salt's configuration ------------------------------------------------------------------------


def configured(ext_pillar: object) -> Optional[tuple[str, ...]]:
    """Return the files that a master's ``ext_pillar`` names for this package; None where it does not."""
    for entry in ext_pillar if isinstance(ext_pillar, (list, tuple)) else ():
        if isinstance(entry, Mapping) and "ipsec" in entry:
            files = entry["ipsec"]
            return tuple(map(str, files)) if isinstance(files, (list, tuple)) else (str(files),)
    return None
