"""What is built once and kept in .build/lab: roots with Salt, and what hosts install, by release."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .paths import BUILD, LAB
from .process import run, run_logged
from .progress import say

SUITE = "bookworm"  # of the machine, of the master, and of hosts of which the fleet file does not say another
SUITES = ("bullseye", SUITE, "trixie")
GONE = "bullseye-security"  # its index offers files that are not there any more
OTHER_SALT = os.environ.get("LAB_SALT", "")  # as pip takes it
SALT = {  # by the release's own Python: Salt 3008's minion does not start with 3.9
    "bullseye": "salt>=3006,<3007",
    SUITE: OTHER_SALT or "salt>=3008,<3009",
    "trixie": "salt>=3008,<3009",
}
VICI = "vici>=5.9,<7"
SALT_HOME = "/opt/saltstack/salt"  # where Salt's own packages put their Python
SALT_PROGRAMS = ("salt", "salt-call", "salt-key", "salt-master", "salt-minion", "salt-run")
INCLUDED = (  # no strongSwan: its installation by the state has to be real
    "apt-utils,ca-certificates,dbus,iproute2,iputils-ping,kmod,less,netcat-openbsd,openssl,procps,python3,"
    "python3-venv,systemd,systemd-sysv,tcpdump,util-linux"
)
OFFERED = (  # with what they depend on
    "strongswan",
    "strongswan-charon",
    "strongswan-starter",
    "strongswan-swanctl",
    "libstrongswan-standard-plugins",
    "libcharon-extra-plugins",
)
OFFERED_TO_SWANCTL = ("charon-systemd", "strongswan-swanctl")  # on 13 it conflicts with strongswan-charon
# The release before, where Debian has two (main and security): an upgrade starts from it
OLDER = (
    "cd /srv/packages && for deb in *strongswan*.deb libcharon*.deb; do name=${deb%%_*}; "
    'for version in $(apt-cache madison $name | cut -d "|" -f 2 | sort -u); do '
    "apt-get download -q -o APT::Sandbox::User=root $name=$version; done; done"
)
IMAGE_FILES = LAB / "image"
UNWANTED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-update-utmp.service",
)

# timelib needs a compiler for each release's Python, and Salt lives without it
SALT_NEEDS = """
from importlib.metadata import requires
print("\\n".join(one for one in requires("salt") if not one.startswith("timelib") and "extra ==" not in one))
"""
INSTALL_SALT = f"""
python3 -m venv {SALT_HOME}
cd {SALT_HOME}/bin
./pip install --quiet --no-deps "$1"
./python -c "$2" >needs
./pip install --quiet --requirement needs
rm needs
"""
# The machine's certificates stand over the root's for as long as the command runs
INSIDE = ("unshare", "--mount", "sh", "-ec", 'mount --bind "$1" "$0$1"; shift; exec chroot "$0" "$@"')
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Root:
    """What hosts of one release of Debian share; it is read only."""

    suite: str

    @property
    def place(self) -> Path:
        """Where all of it is."""
        return BUILD / self.name

    @property
    def name(self) -> str:
        """Its release; and its Salt, where that is another."""
        other = OTHER_SALT if self.suite == SUITE else ""
        return "-".join(filter(None, [self.suite, *re.findall(r"[0-9a-z.]*[0-9a-z]", other)]))

    @property
    def image(self) -> Path:
        """The root of a host, before it writes anything."""
        return self.place / "image"

    @property
    def packages(self) -> Path:
        """A repository of the packages that hosts will install."""
        return self.place / "packages"

    @property
    def wheels(self) -> Path:
        """Python packages that hosts will install."""
        return self.place / "wheels"

    @property
    def key(self) -> Path:
        """The file with the digest of all that went into it."""
        return self.place / "key"

    @property
    def log(self) -> Path:
        """What building it printed."""
        return BUILD / f"{self.name}.log"


MAIN = Root(SUITE)


def ready(suites: Iterable[str] = (SUITE,)) -> None:
    """Build what is missing or was made from other inputs, of these releases and of the master's."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with alone(BUILD / "lock"):
        roots = [Root(suite) for suite in sorted({*suites, SUITE})]
        missing = [root for root in roots if not (root.key.exists() and root.key.read_text() == _key(root))]
        with ThreadPoolExecutor() as pool:
            list(pool.map(_build, missing))


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Have nobody else build meanwhile, who takes the same file."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(root: Root) -> str:
    """Return a digest of all that goes into a root."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(SALT[root.suite].encode())
    for path in sorted(IMAGE_FILES.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(IMAGE_FILES)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _build(root: Root) -> None:
    say(f"building the hosts' root once: Debian {root.suite}, packages, Salt (log: {root.log})")
    root.log.unlink(missing_ok=True)
    shutil.rmtree(root.place, ignore_errors=True)
    root.place.mkdir()
    with ThreadPoolExecutor() as pool:
        for part in [pool.submit(_root, root), pool.submit(_wheels, root)]:
            part.result()
    _salt(root)
    for source in (root.image / "etc/apt/sources.list.d").iterdir():  # hosts have the lab's repository alone
        source.unlink()
    shutil.copytree(IMAGE_FILES, root.image, dirs_exist_ok=True)
    for unit in UNWANTED_UNITS:
        (root.image / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for program in SALT_PROGRAMS:
        (root.image / "usr/local/bin" / program).symlink_to(f"{SALT_HOME}/bin/{program}")
    root.key.write_text(_key(root))


def _root(root: Root) -> None:
    """Make the root, and a repository of the packages that hosts will install."""
    get = (
        'chroot "$1" apt-get install --yes --download-only --no-install-recommends '
        "-o Dir::Cache::archives=/srv/packages"
    )
    wanted = (f"{get} {' '.join(packages)}" for packages in (OFFERED, OFFERED_TO_SWANCTL))
    fetch = f'mkdir -p "$1/srv/packages/partial"; {"; ".join(wanted)}'
    older = f"chroot \"$1\" sh -c '{OLDER}' "
    run_logged(
        [
            *(
                "mmdebstrap",
                "--variant=minbase",
                f"--include={INCLUDED}",
                f"--customize-hook={fetch}",
                f"--customize-hook={older}",
            ),
            *(root.suite, str(root.image), *sources_of(root, root.place)),
        ],
        root.log,
        f"making the Debian {root.suite} root",
    )
    shutil.move(root.image / "srv/packages", root.packages)
    shutil.rmtree(root.packages / "partial", ignore_errors=True)
    index = run(["apt-ftparchive", "packages", "."], cwd=root.packages).stdout
    (root.packages / "Packages").write_text(index)
    say(f"the root and the packages of Debian {root.suite} are there")


def sources_of(root: Root, place: Path) -> list[str]:
    """Return the file of the machine's package sources, as they are for this release; or nothing."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if path.exists() and SUITE in path.read_text():
            made = place / path.name
            made.write_text(sources(path.read_text(), root.suite))
            return [str(made)]
    return []


def sources(text: str, suite: str) -> str:
    """Return package sources, in stanzas or lines, for another release than this machine's."""
    between = "\n\n" if "Suites:" in text else "\n"
    return between.join(part for part in text.replace(SUITE, suite).split(between) if GONE not in part) + "\n"


def _wheels(root: Root) -> None:
    """Fetch vici for the hosts to install themselves, and learn which Salt they get."""
    pip = [sys.executable, "-m", "pip"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(root.wheels), VICI]
    run_logged(wheel, root.log, "fetching vici")
    would = ["--dry-run", "--ignore-installed", "--report", str(_report(root)), SALT[root.suite]]
    run_logged([*pip, "install", "--quiet", *would], root.log, "looking which Salt there is")


def _report(root: Root) -> Path:
    return root.place / "salt.json"


def _version(root: Root) -> str:
    """Return the newest Salt of which all is there that it needs."""
    found = [one["metadata"] for one in json.loads(_report(root).read_text())["install"]]
    return next(one["version"] for one in found if one["name"].lower() == "salt")


def _salt(root: Root) -> None:
    """Install Salt by the release's own Python."""
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    shell = ["sh", "-ec", INSTALL_SALT, "sh", f"salt=={_version(root)}", SALT_NEEDS]
    run_logged(
        [*INSIDE, str(root.image), CERTIFICATES, *shell],
        root.log,
        "installing Salt",
        env={**environment, "PIP_NO_CACHE_DIR": "1"},
    )
    if not (root.image / SALT_HOME.lstrip("/") / "bin/salt-minion").exists():
        raise LabError(f"installing Salt: no salt-minion in the image; log: {root.log}")
    say(f"Salt is installed in the root of Debian {root.suite}")
