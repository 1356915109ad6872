"""``ferm`` of Debian's package, installed nowhere: a program in Perl."""

from __future__ import annotations

from strongswan import tree


def command() -> list[str]:
    """Return what stands before the arguments of ferm."""
    return ["perl", str(tree("ferm", ("ferm",)) / "usr/sbin/ferm")]
