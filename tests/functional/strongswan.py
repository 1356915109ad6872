"""Real strongSwan hosts for tests: namespaces of their own over one root, made and ended by the test.

Nothing is installed on the machine: Debian's packages are fetched by apt and unpacked under
``.build/strongswan-root``; a host is a mount, network and process namespace whose root is an overlay
over the machine's own, with that tree in it. ESP is charon's own (kernel-libipsec), so any kernel will do.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hostipsec.charon import vicisession
from hostipsec.system import processes

BUILD = Path(__file__).parents[2] / ".build"
PACKAGES = (
    "libcharon-extra-plugins",
    "libstrongswan",
    "libstrongswan-standard-plugins",
    "strongswan-charon",
    "strongswan-libcharon",
    "strongswan-starter",
    "strongswan-swanctl",
)
STRONGSWAN_CONF = """
charon {
    retransmit_timeout = 60
    plugins {
        kernel-libipsec { load = yes
            allow_peer_ts = yes }
        kernel-netlink { fwmark = !0x42 }
        socket-default { fwmark = 0x42 }
        vici { load = yes }
    }
}
"""
LOADED = re.compile(r"^conn (\S+)\n(?:[ \t]+.*\n)*?[ \t]+auto *= *\"?(?:add|route|start)\b", re.MULTILINE)
INIT = """
set -e
read -r pid rest </proc/self/stat  # of the machine's /proc: the pid that the machine knows
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
[ -z "$3" ] || cp -a "$3/." "$1/upper"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
rm -rf "$1/root/var/run"
ln -s ../run "$1/root/var/run"
exec chroot "$1/root" sh -c 'echo "$0"; exec sleep infinity' "$pid"  # told sooner, its root is the machine's
"""


def run(argv: Sequence[str], timeout: float = 60.0) -> str:
    """Run a program that must succeed; returns what it printed."""
    result = processes.run(argv, timeout)
    assert result.status == 0, f"{' '.join(argv)}: status {result.status}\n{result.text}"
    return result.stdout


def unpacked() -> Path:
    """Return the tree with strongSwan of the machine's release."""
    return tree("strongswan", PACKAGES, without_lib)  # units only in it


def tree(
    name: str,
    packages: Sequence[str],
    then: Callable[[Path], object] = lambda root: None,
    how: Callable[[Sequence[str], Path, Path], None] | None = None,
) -> Path:
    """Return the tree with packages of the machine's release; fetched once, whoever asks at the same time."""
    root = BUILD / f"{name}-root"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f"{name}-root.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".ready").exists():
            debs = BUILD / f"{name}-debs"
            shutil.rmtree(debs, ignore_errors=True)
            (how or fetch)(packages, debs, root)
            then(root)
            (root / ".ready").touch()
    return root


def without_lib(root: Path) -> None:
    """Remove ``/lib``: copied over a host's root it would hide the link to ``/usr/lib``."""
    shutil.rmtree(root / "lib", ignore_errors=True)


def fetch(packages: Sequence[str], debs: Path, root: Path) -> None:
    """Unpack packages of the machine's release below a root."""
    debs.mkdir(parents=True, exist_ok=True)
    get = ["sh", "-c", 'cd "$0" && apt-get download -q "$@"', str(debs), *packages]
    if processes.run(get, 300).status != 0:
        run(["apt-get", "update", "-q"], 300)
        run(get, 300)
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", str(deb), str(root)])


class Host:
    """One host: namespaces, a root, an address at each end of a line; strongSwan on demand."""

    SCRIPT = INIT

    def __init__(self, name: str, place: Path, lower: Path = Path("/"), over: Path | None = None) -> None:
        """Make the host. Its root is ``lower`` with the tree ``over`` copied in; writes go to memory."""
        self.name = name
        place.mkdir(parents=True, exist_ok=True)
        spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self._shell = subprocess.Popen(
            [*spaces, "sh", "-c", self.SCRIPT, "sh", str(place), str(lower), str(over or "")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._shell.stdout is not None
        said = self._shell.stdout.readline()
        assert said.strip().isdigit(), f"no namespaces for {name}"
        self.pid = int(said)
        self._starter: subprocess.Popen[bytes] | None = None
        self.network("link", "set", "lo", "up")

    @property
    def root(self) -> Path:
        """The host's root, from outside; absolute links below it lead astray."""
        return Path(f"/proc/{self.pid}/root")

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return the arguments that run a program on this host."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-r", "-w"]
        return [*enter, "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *argv]

    def run(self, *argv: str, timeout: float = 60.0) -> str:
        """Run a program on this host that must succeed."""
        return run(self.argv(argv), timeout)

    def network(self, *words: str) -> str:
        """Run the machine's ``ip`` in this host's network."""
        return run(["nsenter", "-t", str(self.pid), "-n", "ip", *words])

    def process(self, argv: Sequence[str], timeout: float) -> processes.Result:
        """Run a program on this host: a ``processes.Run`` for the engine."""
        return processes.run(self.argv(argv), timeout)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file of this host."""
        file = self.root / path.lstrip("/")
        file.write_text(text)
        file.chmod(mode)

    def start(self, ipsec_conf: str, secrets: str, strongswan_conf: str = STRONGSWAN_CONF) -> None:
        """Start starter and charon with this configuration; returns when charon has its last connection."""
        self.write("/etc/ipsec.conf", ipsec_conf)
        self.write("/etc/ipsec.secrets", secrets)
        self.write("/etc/strongswan.d/zz-test.conf", strongswan_conf)
        with (self.root / "tmp/starter.log").open("wb") as log:
            self._starter = subprocess.Popen(
                self.argv(["ipsec", "start", "--nofork"]), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        last = LOADED.findall(ipsec_conf)[-1:]  # starter adds them one by one, after charon answers
        wait_for(lambda: self._has(last), f"charon of {self.name} {last}")

    def _has(self, names: Iterable[str]) -> bool:
        said = self.process(["ipsec", "statusall"], 5).stdout
        return "Security Associations" in said and all(f"\n{name:>12}:  " in said for name in names)

    @property
    def log(self) -> str:
        """What starter and charon said so far."""
        return (self.root / "tmp/starter.log").read_text(errors="replace")

    @property
    def vici_socket(self) -> Path:
        """The socket of this host's charon, from outside."""
        return self.root / "run/charon.vici"

    def vici(self, timeout: float) -> Any:
        """Open a vici session with this host's charon: a ``vicisession.Connect``."""
        return vicisession.connect(timeout, str(self.vici_socket))

    def stop(self) -> None:
        """End every process of the host, and with them its namespaces."""
        self._shell.kill()
        self._shell.wait()
        if self._starter:
            self._starter.kill()  # nsenter stops itself where its program is stopped, and then sees no end
            self._starter.wait()


def line(left: Host, right: Host, left_addresses: Iterable[str], right_addresses: Iterable[str]) -> None:
    """Connect two hosts by a line ``eth0`` with these addresses (with prefix lengths)."""
    veth = ["ip", "link", "add", "eth0", "netns", str(left.pid), "type", "veth"]
    run([*veth, "peer", "name", "eth0", "netns", str(right.pid)])
    for host, addresses in ((left, left_addresses), (right, right_addresses)):
        host.network("link", "set", "eth0", "up")
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            host.network("address", "add", address, "dev", "eth0", *nodad)


def wait_for(happened: Callable[[], bool], what: str, timeout: float = 90.0) -> None:
    """Wait until something has happened, as long as a busy machine may need; fail with its name.

    Where charons send again after 60 s, one packet that is lost is no failure.
    """
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end, f"no {what} within {timeout:g} s"
        time.sleep(0.05)


# Recording -----------------------------------------------------------------------------------

QUESTIONS = {
    "conns": ("list-conns", "list-conn", None),
    "sas": ("list-sas", "list-sa", None),
    "policies": ("list-policies", "list-policy", {"trap": "yes"}),
}


def recorded_text(host: Host) -> str:
    """Return ``ipsec statusall`` of a host."""
    return host.process(["ipsec", "statusall"], 60).stdout


def recorded_vici(host: Host) -> dict[str, Any]:
    """Return the answers of a host's charon that ``vicimessage.charon`` takes, ready for JSON."""
    with host.vici(60) as session:
        answers = {"version": session.request("version"), "stats": session.request("stats")}
        for name, (command, event, message) in QUESTIONS.items():
            answers[name] = list(session.streamed_request(command, event, message))
    return _plain(answers)


def _plain(value: Any) -> Any:
    """Turn bytes into text, all the way down."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
