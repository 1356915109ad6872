"""What charon, stroke, charon-systemd and swanctl open of ours, by AppArmor profiles of Debian's packages."""

from __future__ import annotations

import re

import byswanctl
import pytest
import suites
from strongswan import unpacked

from hostipsec.paths import Paths
from hostipsec.system import backend

HERE = Paths()
CHARON_READS = (
    HERE.secrets,
    HERE.kept_secrets,
    HERE.strongswan,
    *(
        HERE.ipsec_d / name / "cp1001.eqiad.example-0123456789ab.pem"
        for name in ("certs", "private", "cacerts", "crls")
    ),
)
SETTINGS = (HERE.strongswan, HERE.strongswan_d / "zz-hostipsec-levels.conf", "/etc/strongswan.conf")
SWANCTL_READS = (
    HERE.swanctl,
    *(place / "cp1001.eqiad.example-0123456789ab.pem" for place in backend.places(HERE.swanctl_d)),
    *SETTINGS,
)
CHARON_WRITES = (HERE.charon_pid, HERE.charon_vici, HERE.run / "charon.ctl")
RULE = re.compile(r"^\s+(/\S+)\s+([a-zA-Z]+),", re.MULTILINE)
GLOBS = {"**": ".*", "*": "[^/]*", "{": "(?:", "}": ")", ",": "|"}


def profile(program):
    """Return the profile of a program."""
    if program in ("charon", "stroke"):
        return (unpacked() / f"etc/apparmor.d/usr.lib.ipsec.{program}").read_text()
    return (byswanctl.unpacked() / f"etc/apparmor.d/usr.sbin.{program}").read_text()


def rules(program):
    """Return the rules for files of a profile: pattern, permissions."""
    text = profile(program)
    assert RULE.search(text), text
    return [(re.compile(pattern(glob)), letters) for glob, letters in RULE.findall(text)]


def pattern(glob):
    """Return AppArmor's pattern of paths as a regular expression."""
    return "".join(GLOBS.get(part, re.escape(part)) for part in re.split(r"(\*\*|[*{},])", glob))


def allowed(program, path):
    return {letter for glob, letters in rules(program) if glob.fullmatch(str(path)) for letter in letters}


@pytest.mark.parametrize("path", CHARON_READS, ids=str)
def test_charon_may_read_it(path):
    assert "r" in allowed("charon", path)


@pytest.mark.parametrize("path", CHARON_WRITES, ids=str)
def test_charon_may_make_it(path):
    assert {"r", "w"} <= allowed("charon", path)


def test_stroke_may_speak_with_charon():
    assert {"r", "w"} <= allowed("stroke", HERE.run / "charon.ctl")


@pytest.mark.parametrize("path", SWANCTL_READS, ids=str)
def test_swanctl_may_read_it(path):
    assert "r" in allowed("swanctl", path)


@pytest.mark.parametrize("path", SETTINGS, ids=str)
def test_charon_systemd_may_read_it(path):
    assert "r" in allowed("charon-systemd", path)


@pytest.mark.parametrize("program", ["charon-systemd", "swanctl"])
def test_they_may_speak_with_each_other(program):
    assert {"r", "w"} <= allowed(program, HERE.charon_vici)


@pytest.mark.parametrize("program", ["charon", "charon-systemd", "swanctl"])
def test_what_we_keep_elsewhere_it_may_not_read(program):
    """Why certificates are copied, and never linked."""
    for path in (HERE.record, "/var/lib/puppet/ssl/private_keys/cp1001.eqiad.example.pem"):
        assert allowed(program, path) == set()


@pytest.mark.whole  # two roots of other releases are fetched
@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_other_releases_have_the_same_profiles(suite):
    for name in ("usr.lib.ipsec.charon", "usr.lib.ipsec.stroke", "usr.sbin.swanctl"):
        here, there = (root / "etc/apparmor.d" / name for root in (unpacked(), suites.fetched(suite)))
        assert there.read_text() == here.read_text()
