"""The command line of ``ipsec-global``: a host's connections down, up, or shown, with no Salt around.

What only one of them needs it imports itself: half of the time of an emergency stop is Python's start.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import functools
import io
import json
import os
import pwd
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from .. import arguments, paths
from ..emergency import orders
from ..errors import HostIPsecError, NothingMeantError
from ..store import hold, holdfile, record
from ..store.hold import Hold, Scope

if TYPE_CHECKING:
    from ..emergency import comeback, stopped
    from ..health.report import ConnectionHealth, Report

NO_LOGIN = 4294967295  # the loginuid of what nobody logged in for


class Exit(enum.IntEnum):
    """The exit status, by name."""

    OK = 0  # everything is as asked, and proven
    TROUBLE = 1  # something is left, or did not come up: it is named
    USAGE = 2
    NOT_HELD = 3  # down, but the hold could not be written
    NO_RECORD = 4  # no connections are recorded on this host
    NOT_ROOT = 77


DEADLINES = f"default {paths.DOWN_DEADLINE:g} for down, {paths.UP_DEADLINE:g} for up"
EPILOG = """\
exit status:
  0   everything is as asked, and proven
  1   something is left (down), did not come up (up), or is not well (status); it is named
  2   the command line is wrong
  3   everything is down, but the hold could not be written: it does not outlast a restart
  4   no connections are recorded on this host: state ipsec was never applied here
  77  only root may do this
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="ipsec-global",
        description="Take every IPsec connection of this host down, bring them up, or show them. "
        "Down lasts: neither a reboot nor Salt nor the peers bring a connection back that is held.",
        epilog=EPILOG,
        # with a width, or a terminal's is looked up by a module that loads compressors
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, width=100),
    )
    found.add_argument("action", choices=("up", "down", "status", "hold"), metavar="up|down|status|hold")
    waits = found.add_mutually_exclusive_group()
    waits.add_argument("-b", "--blocking", action="store_true", help="wait for the effect (default for down)")
    waits.add_argument(
        "-n", "--nonblocking", action="store_true", help="do not wait (default for up, status)"
    )
    found.add_argument("-v", "--verbose", action="store_true", help="every connection, not only trouble")
    found.add_argument("--deadline", type=_seconds, metavar="SECONDS", help=DEADLINES)
    holds = found.add_mutually_exclusive_group()
    holds.add_argument("--hold", action="store_true", default=True, help="down lasts until up (default)")
    holds.add_argument("--no-hold", dest="hold", action="store_false", help="peers may bring them back")
    found.add_argument("--reason", default="", metavar="TEXT", help="why; shown by every status")
    found.add_argument("--for", dest="span", metavar="TIME", help="hold no longer than this (30m, 2h, 1d)")
    found.add_argument("--peer", default="*", metavar="GLOB", help="only connections with these peers")
    found.add_argument("--connection", default="*", metavar="GLOB", help="only connections of these names")
    found.add_argument("--json", action="store_true", help="print JSON")
    return found


def _seconds(text: str) -> float:
    try:
        return arguments.deadline(text, 0)
    except HostIPsecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(given: Optional[Sequence[str]] = None) -> int:
    """Do what the command line says."""
    found = parser()
    options = found.parse_args(given)
    try:
        taking = orders.hold(options.reason, who(), _scope(options), options.span, _now())
    except HostIPsecError:
        found.error(
            f"--for: {options.span!r} is no time such as 30m, 2h or 1d that ends before the year 9999"
        )
    if options.action == "hold":
        return _hold()
    if os.geteuid() != 0:
        _complain(f"{options.action}: only root may do this")
        return Exit.NOT_ROOT
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "down": functools.partial(_down, taking),
        "up": _up,
        "status": _status,
    }
    try:
        return actions[options.action](options)
    except NothingMeantError as error:
        _complain(f"{options.action}: {error}")
        return Exit.USAGE
    except HostIPsecError as error:
        _complain(f"{options.action}: {error}")
        return Exit.TROUBLE


def who() -> str:
    """Return the name of the person at the keyboard, also behind sudo and su."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        login = int(Path("/proc/self/loginuid").read_text())
        if login != NO_LOGIN:
            return pwd.getpwuid(login).pw_name
    return os.environ.get("SUDO_USER") or "root"


def _say(lines: Iterable[str]) -> None:
    """Print, whatever the terminal can show, and where nobody reads any more: what was done counts."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        for line in lines:
            print(line)  # noqa: T201  a command line
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = io.StringIO()


def _complain(text: str) -> None:
    print(f"ipsec-global: {text}", file=sys.stderr)  # noqa: T201


def _scope(options: argparse.Namespace) -> Scope:
    return Scope(options.peer, options.connection)


def _now() -> datetime:
    return datetime.now(timezone.utc)


# down ----------------------------------------------------------------------------------------


def _down(taking: Hold, options: argparse.Namespace) -> int:
    from ..emergency import stop

    deadline = options.deadline or paths.DOWN_DEADLINE
    found = stop.down_host(
        taking.scope, taking if options.hold else None, deadline, wait=not options.nonblocking
    )
    if options.json:
        _say([json.dumps(found.answer().as_dict(), indent=2)])
    else:
        _say(_down_lines(found, options.verbose))
    if not found.connections and found.ok:
        return Exit.NO_RECORD
    return Exit.NOT_HELD if found.lost_hold and not found.left else Exit.OK if found.ok else Exit.TROUBLE


def _down_lines(found: stopped.Down, verbose: bool) -> Iterable[str]:
    yield found.sentence
    for one in found.connections:
        if one.left:
            yield f"LEFT  {one.connection.name}: {one.left}"
        elif verbose:
            yield f"      {one.connection.name}: {one.how}"
    yield from (f"NOT AS ASKED: {problem}" for problem in found.problems)
    yield from found.notes
    if found.cleared:
        yield f"only the kernel still had {found.cleared}; deleted"
    if found.held:
        yield f"held {found.held}; ipsec-global up lifts it"


# up ------------------------------------------------------------------------------------------


def _up(options: argparse.Namespace) -> int:
    from ..emergency import comeback

    scope, connections = _scope(options), record.read().connections
    deadline = options.deadline or paths.UP_DEADLINE
    found = comeback.up(connections, scope, who(), deadline, wait=options.blocking)
    if options.json:
        _say([json.dumps(found.answer().as_dict(), indent=2)])
    else:
        _say(_up_lines(found, options.verbose))
    if not connections and found.ok:
        return Exit.NO_RECORD
    return Exit.OK if found.ok else Exit.TROUBLE


def _up_lines(found: comeback.Up, verbose: bool) -> Iterable[str]:
    yield found.sentence
    yield from _rows(found.connections if verbose else found.trouble if found.waited else ())
    yield from (f"NOT AS ASKED: {problem}" for problem in found.problems)
    yield from found.notes
    if found.still_held:
        yield f"held {found.still_held}"


def _rows(rows: Sequence[ConnectionHealth]) -> Iterable[str]:
    width = max((len(row.name) for row in rows), default=0)
    return (f"{row.name:{width}}  {row.state:13}  {row.reason}" for row in rows)


# status --------------------------------------------------------------------------------------


def _status(options: argparse.Namespace) -> int:
    from ..health import look, observation

    seen, scope = observation.watched(observation.observe()), _scope(options)
    if seen.connections:
        orders.something(scope, seen.connections)
    report = look.judged(seen)
    if options.blocking and report.answered and report.trouble:
        seen = observation.watched(observation.observe())
        report = look.judged(seen)
    shown = report.only(scope.peer, scope.connection)
    holds = hold.words(hold.current(seen.holds, seen.time))
    nothing = "" if seen.connections else orders.UNRECORDED
    if options.json:
        _say([json.dumps({**_plain(shown), "held": holds}, indent=2)])
    else:
        _say(_status_lines(shown, nothing, holds, options.verbose))
    return Exit.NO_RECORD if nothing else Exit.OK if shown.ok else Exit.TROUBLE


def _plain(shown: Report) -> dict[str, object]:
    ends = shown.certificate
    return {
        "sentence": shown.sentence,
        "connections": {row.name: row._asdict() for row in shown.managed},
        "unmanaged": {row.name: row._asdict() for row in shown.unmanaged},
        "others": dict(shown.others),
        "certificate": ends and {**ends._asdict(), "not_after": ends.not_after.isoformat()},
        "warnings": list(shown.warnings),
    }


def _status_lines(shown: Report, nothing: str, holds: str, verbose: bool) -> Iterable[str]:
    if holds:
        yield f"held {holds}"
    yield (nothing or shown.sentence) if shown.answered else f"{shown.sentence}; charon does not answer"
    yield from _rows(shown.connections if verbose else shown.trouble)
    yield from filter(None, [shown.beside])
    ends = shown.certificate
    if ends and (verbose or ends.severity != "ok"):
        yield ends.sentence if ends.severity == "ok" else f"{ends.severity.upper()}: {ends.sentence}"
    yield from (f"WARNING: {warning}" for warning in shown.warnings)


def _hold() -> int:
    """Print the hold, for whoever logs in; nothing where there is none."""
    there = holdfile.found()
    said = hold.words(hold.current(there.decisions, _now()))
    _say([f"*** IPsec of this host is held down {said}. Lift it by: ipsec-global up ***"] if said else [])
    _say([f"*** IPsec of this host: {there.wrong} ***"] if there.wrong else [])
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
