"""A pillar checked by its files, without a host: what the program and the runner's ``check`` say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from ..model import Fleet
from ..pillar import fleetfiles, lines, merged
from ..pillar.lines import Source
from . import checked, foreseen, hostnames, planwords
from .checked import Checked


class Said(NamedTuple):
    """What is said of files: as text, as plain data, and the exit status."""

    lines: Sequence[str]
    data: Mapping[str, Any]
    status: int


def check(files: Sequence[str], against: Sequence[str] = (), ours: bool = False) -> Said:
    """Return what is said of files, and of the edit ``against`` old ones; ``ours``: of our ext_pillar."""
    found = read(files, ours)
    edit = _edit(read(against, ours), found) if against else _NO_EDIT
    return Said([*found.lines, *edit.lines], {**found.as_dict(), **edit.data}, found.status)


def answer(files: Sequence[str], against: Sequence[str], ours: bool) -> dict[str, Any]:
    """Return the same as a verb of the fleet answers."""
    said = check(files, against, ours)
    return {**said.data, "lines": said.lines, "retcode": said.status}


def compiled(read_fleet: Callable[[], Fleet], opts: Mapping[str, object]) -> dict[str, Any]:
    """Return what is said of the fleet as the master reads it, with lines where our ext_pillar names files.

    ``opts`` is the master's configuration.
    """
    files = fleetfiles.configured(opts.get("ext_pillar"))
    return checked.answer(read_fleet, None if files is None else _joined(files))


class _Edit(NamedTuple):
    """What an edit means: as text and as plain data."""

    lines: Sequence[str]
    data: Mapping[str, object]


_NO_EDIT = _Edit((), {})


def _edit(old: Checked, new: Checked) -> _Edit:
    if new.fleet is None:
        return _Edit((), {"plan": None})
    if old.fleet is None:
        why = f"what it changes is not known, since the old pillar has {old.sentence}"
        return _Edit([f"{why}:", *old.told], {"plan": None, "old": old.told})
    plan = foreseen.plan(old.fleet, new.fleet)
    said = planwords.lines(plan) if plan.status else ["nothing: to each host both pillars mean the same"]
    if looked_up := foreseen.unknown(old.fleet, new.fleet):
        kept = "as staying, and in both families"
        said.append(f"addresses that are looked up count {kept}: {hostnames.ranges(looked_up)}")
    told = ["what it changes:", *(f"  {line}" for line in said)]
    return _Edit(told, {"plan": {**plan.as_dict(), "lines": said}})


def read(files: Sequence[str], ours: bool = False) -> Checked:
    """Return what the files say together: as SLS files of the pillar, or of ``ours``, our ext_pillar."""
    if ours:
        return checked.source(_joined(files))
    return checked.source(merged.merge(_read(file, _rendered) for file in files))


def _joined(files: Sequence[str]) -> Source:
    return merged.joined({file: _read(file, lines.read) for file in files}, fleetfiles.merged)


def _read(file: str, parse: Callable[[str, str], Source]) -> Source:
    try:
        return parse(Path(file).read_text(encoding="utf-8"), file)
    except OSError as error:
        return merged.unread(file, 0, f"cannot be opened: {error.strerror}", "a file")
    except UnicodeError as error:
        return merged.unread(file, 0, f"is no UTF-8: {error}", "a file in UTF-8")


def _rendered(text: str, file: str) -> Source:
    # Salt imports from the root of the pillar: that is where the file is, or where the command is given
    roots = [str(Path(file).resolve().parent), str(Path.cwd())]
    return merged.read(file, text, jinja2.FileSystemLoader(roots))
