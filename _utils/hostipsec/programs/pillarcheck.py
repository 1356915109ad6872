"""The command line of ``python3 -m hostipsec.check``: a pillar checked by its files, without Salt or a host.

For whoever edits the pillar, and for a hook of the repository that it is in. Needs PyYAML and Jinja2.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence
from typing import Optional

from ..errors import printable
from ..fleet import filecheck

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
    said = filecheck.check(given.files, given.against, given.ext_pillar)
    _tell(json.dumps(said.data, indent=2) if given.json else "\n".join(map(printable, said.lines)))
    return said.status


def _tell(text: str) -> None:
    """Print, whatever the terminal can write, and where nobody reads any more."""
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
