"""What is built once and kept in .build/lab: the hosts' root with Salt, packages and wheels for the hosts."""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError
from .paths import BUILD, LAB
from .process import run, run_logged
from .progress import say

SUITE = "bookworm"
SALT = os.environ.get("LAB_SALT", "salt>=3008,<3009")
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

IMAGE = BUILD / "image"
PACKAGES = BUILD / "packages"
WHEELS = BUILD / "wheels"
LOG = BUILD / "image.log"
KEY = BUILD / "image.key"


def ready() -> Path:
    """Build what is missing or was made from other inputs; return the root that all hosts share."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with alone(BUILD / "lock"):
        if not (KEY.exists() and KEY.read_text() == _key()):
            _build()
    return IMAGE


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Have nobody else build meanwhile, who takes the same file."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key() -> str:
    """Return a digest of all that goes into the image."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(SALT.encode())
    for path in sorted(IMAGE_FILES.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(IMAGE_FILES)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _build() -> None:
    say(f"building the hosts' root once: Debian {SUITE}, packages, Salt (log: {LOG})")
    LOG.unlink(missing_ok=True)
    KEY.unlink(missing_ok=True)
    for path in (IMAGE, PACKAGES, WHEELS, BUILD / "salt-wheels"):
        shutil.rmtree(path, ignore_errors=True)
    with ThreadPoolExecutor() as pool:
        for part in [pool.submit(_root), pool.submit(_wheels)]:
            part.result()
    _salt()
    shutil.copytree(IMAGE_FILES, IMAGE, dirs_exist_ok=True)
    for unit in UNWANTED_UNITS:
        (IMAGE / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for program in SALT_PROGRAMS:
        (IMAGE / "usr/local/bin" / program).symlink_to(f"{SALT_HOME}/bin/{program}")
    KEY.write_text(_key())


def _root() -> None:
    """Make the root, and a repository of the packages that hosts will install."""
    sources = next(
        (
            str(path)
            for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
            if path.exists() and SUITE in path.read_text()
        ),
        None,
    )
    fetch = (
        'mkdir -p "$1/srv/packages/partial"; chroot "$1" apt-get install --yes --download-only '
        f"--no-install-recommends -o Dir::Cache::archives=/srv/packages {' '.join(OFFERED)}"
    )
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
            *(SUITE, str(IMAGE), *([sources] if sources else [])),
        ],
        LOG,
        f"making the Debian {SUITE} root",
    )
    shutil.move(IMAGE / "srv/packages", PACKAGES)
    shutil.rmtree(PACKAGES / "partial", ignore_errors=True)
    index = run(["apt-ftparchive", "packages", "."], cwd=PACKAGES).stdout
    (PACKAGES / "Packages").write_text(index)
    say("the root and the packages are there")


def _wheels() -> None:
    """Fetch Salt for the image, and vici for the hosts to install themselves."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet"]
    run_logged([*pip, "--wheel-dir", str(BUILD / "salt-wheels"), SALT], LOG, "fetching Salt")
    run_logged([*pip, "--no-deps", "--wheel-dir", str(WHEELS), VICI], LOG, "fetching vici")
    say("Salt's wheels are there")


def _salt() -> None:
    wheels = IMAGE / "srv/salt-wheels"
    shutil.move(BUILD / "salt-wheels", wheels)
    inside = ["chroot", str(IMAGE)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    run_logged([*inside, "python3", "-m", "venv", SALT_HOME], LOG, "installing Salt", env=environment)
    install = [f"{SALT_HOME}/bin/pip", "install", "--quiet", "--no-index", "--find-links", "/srv/salt-wheels"]
    run_logged([*inside, *install, SALT], LOG, "installing Salt", env=environment)
    if not (IMAGE / SALT_HOME.lstrip("/") / "bin/salt-minion").exists():
        raise LabError(f"installing Salt: no salt-minion in the image; log: {LOG}")
    shutil.rmtree(wheels)
    say("Salt is installed in the root")
