"""What a host of the master's release needs to become one of the next: packages, fetched once and kept."""

import shutil
from pathlib import Path

from . import cache
from .paths import BUILD, REPO
from .process import run, run_logged
from .progress import say

NEXT = "trixie"
PACKAGES = BUILD / "upgrade"
LOG = BUILD / "upgrade.log"
ON_HOST = Path("/srv/ipsec") / PACKAGES.relative_to(REPO)  # hosts see the repository, and what is built in it
# In a root that is thrown away, with strongSwan of this release: apt knows best what the next one replaces
FETCH = """
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mkdir -p "$1/root/srv/lab/packages" "$1/root/srv/upgrade"
mount --bind "$3" "$1/root/srv/lab/packages"
mount --bind "$4" "$1/root/srv/upgrade"
printf '#!/bin/sh\\nexit 101\\n' >"$1/root/usr/sbin/policy-rc.d"
chmod 755 "$1/root/usr/sbin/policy-rc.d"
cp "$5" "$1/root/srv/"
cp /etc/resolv.conf "$1/root/etc/"
echo "hosts: files dns" >"$1/root/etc/nsswitch.conf" # a host of the lab has no name server
export DEBIAN_FRONTEND=noninteractive
chroot "$1/root" sh -ec "
    apt-get update
    apt-get install --yes --no-install-recommends $6
    rm /etc/apt/sources.list
    mv /srv/${5##*/} /etc/apt/sources.list.d/
    apt-get update -o APT::Update::Error-Mode=any
    apt-get full-upgrade --yes --download-only -o Dir::Cache::archives=/srv/upgrade
    apt-get install --yes --download-only -o Dir::Cache::archives=/srv/upgrade $7"
"""
BECOME = """
ln -sfn /usr/bin/python3.11 /opt/saltstack/salt/bin/python3  # as in Salt's own packages it does not change
echo 'deb [trusted=yes] file:%s ./' >/etc/apt/sources.list
apt-get -qq update
apt-get -qq full-upgrade --yes -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold
"""


def argv() -> list[str]:
    """Return what makes a host one of the next release; the packages are fetched where that was not done."""
    return ["env", "DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1", "sh", "-ec", BECOME % _ready()]


def _ready() -> Path:
    cache.ready()
    with cache.alone(BUILD / "upgrade.lock"):
        if not (PACKAGES / "Packages").exists():
            _fetch()
    return ON_HOST


def _fetch() -> None:
    say(f"fetching what makes a host of {cache.SUITE} one of {NEXT} (log: {LOG})")
    shutil.rmtree(PACKAGES, ignore_errors=True)
    place, root = BUILD / "upgrade.root", cache.MAIN
    place.mkdir(exist_ok=True)
    (PACKAGES / "partial").mkdir(parents=True)
    sources = cache.sources_of(cache.Root(NEXT), BUILD)
    argv = ["unshare", "--mount", "sh", "-ec", FETCH, "sh"]
    given = [place, root.image, root.packages, PACKAGES, *sources]
    run_logged(
        [*argv, *map(str, given), " ".join(cache.OFFERED[1:]), " ".join(cache.OFFERED_TO_SWANCTL)],
        LOG,
        f"fetching {NEXT}",
    )
    shutil.rmtree(PACKAGES / "partial")
    (PACKAGES / "Packages").write_text(run(["apt-ftparchive", "packages", "."], cwd=PACKAGES).stdout)
