"""The command line of `lab/lab`."""

import argparse
import os
import sys
import time
from pathlib import Path

from . import cache, names, standing
from .errors import CommandError, LabError
from .lab import Lab, labs, started
from .paths import DEFAULT_FLEET
from .plane import AUTO, PLANES, SAYS


def main() -> int:
    """Do what the command line says; the exit status of `run` is the command's."""
    options = parser().parse_args()
    if os.geteuid():
        print("FAILED: the lab makes namespaces and mounts: it needs root", file=sys.stderr)
        return 1
    try:
        return int(options.do(options) or 0)
    except CommandError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return error.returncode or 1
    except LabError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(prog="lab/lab", description="A fleet of real hosts on this machine.")
    made.add_argument("--name", default=names.DEFAULT, help="of the lab; several can run side by side")
    actions = made.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, do: object, summary: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=summary, description=summary)
        added.set_defaults(do=do)
        return added

    one = action("up", up, "start a fleet, or what is off in it")
    one.add_argument("--fleet", type=Path, default=DEFAULT_FLEET, help="a pillar with ipsec:hosts")
    one.add_argument("--plane", choices=PLANES, default=AUTO, help="who does ESP")
    one.add_argument("--no-master", action="store_true", help="no Salt master: hosts serve themselves")
    one = action("image", image, "build what all labs share; lab/with-esp has no network to do it inside")
    one.add_argument("--debian", action="append", choices=cache.SUITES, default=[], help="beside the usual")
    action("standing", stand, "build the image, and set three hosts up to start a lab from in another kernel")
    one = action("run", run_on, "run a command on a host; its exit status is the command's")
    one.add_argument("host")
    one.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    one = action("copy", copy, "copy a file to a host")
    one.add_argument("file", type=Path)
    one.add_argument("target", metavar="HOST:PATH")
    action("status", status, "say which hosts are up")
    one = action("shell", shell, "a shell on a host")
    one.add_argument("host")
    action("down", down, "end everything of the lab")
    for name, summary in (
        ("off", "cut a host's power"),
        ("on", "boot a host"),
        ("reboot", "reboot a host as systemctl reboot does"),
    ):
        one = action(name, power, summary)
        one.add_argument("host")
        one.add_argument("--after-reboot", action="store_true", help=argparse.SUPPRESS)
        one.set_defaults(power=name)
    one = action("link", link, "pull a host's mesh cable, or plug it in")
    one.add_argument("host")
    one.add_argument("state", choices=("up", "down"))
    one = action(
        "netem", netem, "delay or lose what goes to a host, in the words of tc-netem; without any, stop"
    )
    one.add_argument("host")
    one.add_argument("arguments", nargs=argparse.REMAINDER)
    one = action("capture", capture, "count what crosses the line, by kind, until Ctrl-C")
    one.add_argument("--at", help="a site or a host")
    one.add_argument("--seconds", type=float, help="stop after this time")
    one = action("pillar", pillar, "give the fleet another pillar")
    one.add_argument("file", type=Path)
    return made


def up(options: argparse.Namespace) -> None:
    """Start a lab."""
    Lab(options.name, options.fleet, options.plane, not options.no_master).up()


def image(options: argparse.Namespace) -> None:
    """Build roots of hosts, packages and wheels, where they are missing."""
    cache.ready(options.debian)


def stand(_: argparse.Namespace) -> None:
    """Build the image, and disks of hosts that are set up already, where they are missing."""
    standing.ready()


def run_on(options: argparse.Namespace) -> None:
    """Become the command on the host."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise LabError("which command? lab/lab run HOST -- COMMAND...")
    become(options, command)


def shell(options: argparse.Namespace) -> None:
    """Become a shell on the host."""
    become(options, ["bash", "-l"])


def become(options: argparse.Namespace, command: list[str]) -> None:
    """Replace this process by a command on a host."""
    environment = {"TERM": os.environ.get("TERM", "dumb")}
    argv = started(options.name).host(options.host).argv(command, environment)
    os.execvp(argv[0], argv)


def copy(options: argparse.Namespace) -> None:
    """Copy a file to a host."""
    host, colon, path = options.target.partition(":")
    if not colon or not path.startswith("/"):
        raise LabError(f"{options.target!r}: want HOST:/PATH")
    try:
        content, mode = options.file.read_bytes(), options.file.stat().st_mode & 0o777
    except OSError as error:
        raise LabError(f"{options.file}: {error.strerror}") from error
    started(options.name).host(host).write(path, content, mode)


def status(options: argparse.Namespace) -> int:
    """Print a line a host; status 1 when one is off or the lab is not there."""
    lab = Lab(options.name)
    if not lab.running:
        print(f"lab {options.name} is not running; running: {', '.join(labs()) or 'none'}")
        return 1
    print(f"lab {lab.name}: {SAYS[lab.plane]}; fleet {lab.fleet}")
    off = 0
    for host in lab.planned:
        leader = lab.machines[host.name].leader()
        off += leader is None
        found = " ".join(str(address.ip) for address in host.addresses) or str(host.management.ip)
        print(f"{'off' if leader is None else 'up':4} {host.name:28} {found}")
    return 1 if off else 0


def down(options: argparse.Namespace) -> None:
    """Take a lab down."""
    Lab(options.name).down()


def power(options: argparse.Namespace) -> None:
    """Switch a host."""
    lab = started(options.name)
    if options.after_reboot:
        lab.on(lab.host(options.host).name, wait=False)
    else:
        getattr(lab, options.power)(options.host)


def link(options: argparse.Namespace) -> None:
    """Pull or plug a cable."""
    lab = started(options.name)
    lab.network.set_link(lab.host(options.host).name, options.state)


def netem(options: argparse.Namespace) -> None:
    """Make a line slow or lossy."""
    lab = started(options.name)
    lab.network.set_netem(lab.host(options.host).name, options.arguments)


def capture(options: argparse.Namespace) -> None:
    """Count packets until told to stop."""
    with started(options.name).capture(options.at) as wire:
        print("capturing; Ctrl-C ends it", file=sys.stderr)
        try:
            time.sleep(options.seconds or 1e6)
        except KeyboardInterrupt:
            print()
    for kind, number in wire.counts().items():
        print(f"{number:6} {kind}")
    for packet in wire.clear()[:10]:
        print(f"clear: {packet.source} > {packet.destination}, protocol {packet.protocol}")


def pillar(options: argparse.Namespace) -> None:
    """Give the fleet another pillar."""
    try:
        text = options.file.read_text()
    except OSError as error:
        raise LabError(f"{options.file}: {error.strerror}") from error
    started(options.name).set_pillar(text)
