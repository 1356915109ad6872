"""The command line of ``check_ipsec``: a plugin for Icinga, Nagios, NRPE, cron and their like.

It looks for itself, so that neither Salt nor the keeper has to live. Only root may look; whoever else starts
it is sent through sudo, for which state ipsec leaves one line.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from typing import NoReturn, Optional

from .. import arguments, paths
from ..emergency import orders
from ..errors import HostIPsecError
from ..faces import plugin
from ..faces.plugin import Limits, Range, Said
from ..health import look, observation
from ..health.look import Look
from ..health.report import Report
from ..model import STAGES
from ..store import record
from ..store.hold import Scope
from ..system import processes

TIMEOUT = 15.0
PAUSE = 2.0  # seconds before the second look: what is just being replaced is there by then
SUDO = ("sudo", "-n", "--")
NOTHING = Report((), answered=False)  # was looked at
EPILOG = """\
exit status:
  0  OK        every connection that is configured is as it should be
  1  WARNING   one is held, one-way, double or unmanaged; the certificate ends soon; the keeper does not run
  2  CRITICAL  one is down, or not all of it is encrypted; charon does not answer; the certificate has expired
  3  UNKNOWN   it could not be looked at, and nothing that could is critical

RANGE counts connections that are down, whatever else is critical stays so: -c 3 is critical from four on,
-w 0:3 -c 10 warns up to ten. Without ranges one is critical.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what is wrong with that is UNKNOWN as well."""
    found = _Parser(
        prog="check_ipsec",
        description="Check every configured IPsec connection of this host: asked of charon and the kernel, "
        "twice where something is wrong.",
        epilog=EPILOG,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, width=100),
    )
    found.add_argument("-w", "--warning", type=_range, metavar="RANGE", help="how many may be down")
    found.add_argument("-c", "--critical", type=_range, metavar="RANGE", help="how many may be down")
    found.add_argument(
        "-t", "--timeout", type=_seconds, default=TIMEOUT, metavar="SECONDS", help="default: 15"
    )
    found.add_argument(
        "-v", "--verbose", action="count", default=0, help="each connection in trouble; -vv: every one"
    )
    found.add_argument("--json", action="store_true", help="print JSON")
    found.add_argument("--peer", default="*", metavar="GLOB", help="only connections with these peers")
    found.add_argument("--connection", default="*", metavar="GLOB", help="only connections of these names")
    found.add_argument("--stage", choices=STAGES[1:], help="only connections of this stage")
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        said = plugin.unknown(f"{message}; see check_ipsec --help")
        _print(said.lines())
        _end(said.status)


def _range(text: str) -> Range:
    try:
        return plugin.ranged(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        return arguments.seconds("seconds", text, 1, 600)
    except HostIPsecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(given: Optional[Sequence[str]] = None) -> int:
    """Check, print, and return the exit status."""
    end = time.monotonic()
    options = parser().parse_args(given)
    end += options.timeout
    if os.geteuid() != 0:
        return _by_sudo(sys.argv[1:] if given is None else given, options)
    why = f"no verdict within {options.timeout:g} s: charon, the kernel or the disk hangs"
    _when_late(plugin.unknown(why), NOTHING, options)
    signal.setitimer(signal.ITIMER_REAL, options.timeout)
    try:
        found, shown = _checked(options, end)
    except HostIPsecError as error:
        found, shown = plugin.unknown(error), NOTHING
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return _tell(found, shown, options)


def _checked(options: argparse.Namespace, end: float) -> tuple[Said, Report]:
    """Look, and once more where something is not well; by the end of the time the first look counts."""
    found, shown = _judged(options)
    if shown.trouble and time.monotonic() + PAUSE + paths.CALL_DEADLINE < end:
        _when_late(found, shown, options)
        time.sleep(PAUSE)
        found, shown = _judged(options)
    return found, shown


def _judged(options: argparse.Namespace) -> tuple[Said, Report]:
    known = record.found()
    if not known.record.connections and (known.wrong or known.guessed):
        raise HostIPsecError(known.wrong or orders.UNRECORDED)
    seen = observation.watched(observation.by_record(known))
    report = look.judged(seen)
    shown = _shown(seen, report, options)
    return plugin.said(seen, report, shown, Limits(options.warning, options.critical)), shown


def _shown(seen: Look, report: Report, options: argparse.Namespace) -> Report:
    """Return the verdict on what was asked for. Raises NothingMeantError where that is nothing."""
    meant = Scope(options.peer, options.connection)
    if seen.connections:
        orders.something(meant, seen.connections)
    shown = report.only(*meant, stage=options.stage or "*")
    if report.connections and not shown.connections:
        raise HostIPsecError(f"no connection of this host is in stage {options.stage}")
    return shown


def _tell(found: Said, shown: Report, options: argparse.Namespace) -> int:
    if options.json:
        _print([json.dumps(plugin.as_plain(found, shown), indent=2)])
    else:
        rows = ((), found.rows, shown.connections)[min(options.verbose, 2)]
        _print(found.lines(rows))
    return found.status


def _when_late(found: Said, shown: Report, options: argparse.Namespace) -> None:
    """Have this said, and the process end, where the time is over."""
    signal.signal(signal.SIGALRM, lambda *_: _end(_tell(found, shown, options)))


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(status)


def _by_sudo(given: Sequence[str], options: argparse.Namespace) -> int:
    """Do the same as root, whose answer is given on; what is no answer of ours is UNKNOWN."""
    found = processes.run([*SUDO, str(paths.here.check), *given], options.timeout + PAUSE)
    text = found.stdout.rstrip("\n")
    if text.startswith((f"{plugin.PREFIX} ", "{")) and found.status in list(plugin.Status):
        _print([text])
        return found.status
    why = " ".join(found.text.split()) or f"exit status {found.status}"
    said = plugin.unknown(f"only root may look, and sudo does not let {_who()} ({why})")
    return _tell(said, NOTHING, options)


def _who() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _print(lines: Iterable[str]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it cannot show must not change the exit status
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in lines:
        print(line)  # noqa: T201  a command line


if __name__ == "__main__":
    sys.exit(main())
