"""The command line of `lab/with-esp`."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from . import kernel, provision
from .errors import UmlError
from .machine import Machine, request

CANNOT = 125  # as env and timeout say that they themselves failed
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; options end where the command starts."""
    made = argparse.ArgumentParser(
        prog="with-esp",
        description="Run a command where the kernel has ESP with AES-GCM: as it is where this kernel has, "
        "else in User Mode Linux over the same files, of which only the project's .build is written to.",
    )
    made.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end the command then, with status 124"
    )
    made.add_argument(
        "--memory", type=size, metavar="SIZE", help="of User Mode Linux; such as 2G (default: up to 6G)"
    )
    made.add_argument("--uml", action="store_true", help="use User Mode Linux even if this kernel has ESP")
    made.add_argument(
        "--probe", action="store_true", help="say which way it would go, and why: status 0 here, 1 inside"
    )
    made.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    return made


def size(text: str) -> int:
    """Return the bytes of a size such as 512M or 2G."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "M")
    if not number.isdigit() or unit not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give for example 2G")
    return int(number) * UNITS[unit]


def main() -> int:
    """Run the command given; return its status."""
    options = parser().parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    reason = "asked for with --uml" if options.uml else kernel.why_not()
    if options.probe:
        return probe(reason)
    if not command:
        parser().error("which command?")
    try:
        return native(command, options.timeout) if reason is None else inside(command, options)
    except UmlError as error:
        print(f"with-esp: {error}", file=sys.stderr)
        return CANNOT


def probe(reason: "str | None") -> int:
    """Say which way it would go, and why."""
    if reason is None:
        print("here: this kernel has ESP with AES-GCM, for IPv4 and IPv6")
        return 0
    print(f"User Mode Linux: {reason}")
    return 1


def native(command: list, timeout: "float | None") -> NoReturn:
    """Become the command; under timeout when there is a limit."""
    argv = command if timeout is None else ["timeout", "--kill-after=10", f"{timeout:g}", *command]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"with-esp: {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def inside(command: list, options: argparse.Namespace) -> int:
    """Run the command in User Mode Linux."""
    modules = provision.ready()
    place = provision.memory_place()
    memory = options.memory or default_memory(place)
    wanted = request(command, str(Path.cwd()), os.environ, modules)
    return Machine(memory, place, options.timeout, provision.preload()).run(wanted)


def default_memory(place: Path) -> int:
    """Return the memory that fits this machine now."""
    return provision.default_memory(provision.available_memory(), provision.free(place))
