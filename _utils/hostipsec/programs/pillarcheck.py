"""The command line of ``python3 -m hostipsec.check``: a pillar checked by its files, without Salt or a host.

For whoever edits the pillar, and for a hook of the repository that it is in. Needs PyYAML and Jinja2.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import jinja2

from ..errors import printable
from ..fleet import checked, foreseen, planwords
from ..fleet.checked import Checked
from ..pillar import fleetfiles, lines, merged
from ..pillar.lines import Source

EPILOG = """\
Files are merged as Salt merges the SLS files of a pillar, in the order of the command line: mappings
recursively, and of all else the last one counts. Jinja is rendered where it asks for nothing of Salt's own
(grains, salt, pillar). A file of another renderer, as #!py, is an error: salt-run ipsec.check looks at what
Salt makes of it.

exit status:
  0  the pillar can be applied; there may be warnings
  2  there are errors, or a file cannot be read
What is wrong with OLD is told, and does not count: an edit may be what mends it.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python3 -m hostipsec.check",
        description="Check a pillar by its files: every error and warning with its line, and which hosts "
        "pair up. Changes nothing, asks no host.",
        epilog=EPILOG,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, width=110),
    )
    found.add_argument("files", nargs="+", metavar="FILE", help="an SLS file of the pillar")
    found.add_argument("--json", action="store_true", help="print errors, warnings and pairs as JSON")
    found.add_argument(
        "--ext-pillar",
        action="store_true",
        help="they are files of this package's ext_pillar: without Jinja, the rules of all count",
    )
    found.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="OLD",
        help="say as well what the edit from this file, or these, means for the fleet",
    )
    return found


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Check the files that the command line names; return the exit status."""
    given = parser().parse_args(argv)
    found = read(given.files, given.ext_pillar)
    old = read(given.against, given.ext_pillar) if given.against else None
    edit = _edit(old, found) if old else _NO_EDIT
    text = "\n".join(map(printable, [*found.lines, *edit.lines]))
    _tell(json.dumps({**found.as_dict(), **edit.data}, indent=2) if given.json else text)
    return found.status


class _Edit(NamedTuple):
    """What an edit means: as text and as plain data."""

    lines: Sequence[str]
    data: Mapping[str, object]


_NO_EDIT = _Edit((), {})


def _edit(old: Checked, new: Checked) -> _Edit:
    if new.fleet is None:
        return _Edit((), {"plan": None})
    if old.fleet is None or old.errors:
        why = f"what it changes is not known, since the old pillar has {old.sentence}"
        return _Edit([f"{why}:", *old.lines[1:]], {"plan": None, "old": old.lines[1:]})
    plan = foreseen.plan(old.fleet, new.fleet)
    said = planwords.lines(plan) if plan.status else ["nothing: to each host both pillars mean the same"]
    told = ["what it changes:", *(f"  {line}" for line in said)]
    return _Edit(told, {"plan": {**plan.as_dict(), "lines": said}})


def read(files: Sequence[str], ours: bool = False) -> Checked:
    """Return what the files say together: as SLS files of the pillar, or of ``ours``, our ext_pillar."""
    if ours:
        return checked.source(
            merged.joined({file: _read(file, lines.read) for file in files}, fleetfiles.merged)
        )
    return checked.source(merged.merge(_read(file, _rendered) for file in files))


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


def _tell(text: str) -> None:
    """Print, whatever the terminal can write, and where nobody reads any more."""
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
