"""What charon and stroke open of ours, by the AppArmor profiles that Debian's packages bring."""

from __future__ import annotations

import re

import pytest
from strongswan import unpacked

from hostipsec.paths import Paths

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
CHARON_WRITES = (HERE.charon_pid, HERE.charon_vici, HERE.run / "charon.ctl")
RULE = re.compile(r"^\s+(/\S+)\s+([a-zA-Z]+),", re.MULTILINE)
GLOBS = {"**": ".*", "*": "[^/]*", "{": "(?:", "}": ")", ",": "|"}


def rules(program):
    """Return the rules for files of a profile: pattern, permissions."""
    text = (unpacked() / f"etc/apparmor.d/usr.lib.ipsec.{program}").read_text()
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


def test_what_we_keep_elsewhere_it_may_not_read():
    """Why certificates are copied, and never linked."""
    for path in (HERE.record, "/var/lib/puppet/ssl/private_keys/cp1001.eqiad.example.pem"):
        assert allowed("charon", path) == set()
