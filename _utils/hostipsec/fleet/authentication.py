"""Whether the two ends of a pair could authenticate anew now, from what both tell of their certificates.

Each end alone finds its own files well. An SA goes on with what it was authenticated with; it is the next
authentication that fails: after a restart, a reboot, a change. A host that does not tell, of a release
before or with a certificate that cannot be read, is not known: neither well nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..answer import counted
from .hostnames import few

YES, NO, UNKNOWN = "yes", "no", "not known"
_FEW = 3  # CAs that are named


class Authority(NamedTuple):
    """A CA: the SHA-256 of its public key, and its name."""

    key: str
    name: str

    def __str__(self) -> str:
        return f"'{self.name}' (key {self.key[:8]})"


class Told(NamedTuple):
    """What a host tells of the files that its charon has, or shall have."""

    chain: tuple[Authority, ...] = ()  # the CAs that vouch for its certificate; none where that is not known
    trusts: tuple[Authority, ...] = ()  # the CAs whose certificates it takes
    fault: str = ""  # why nobody takes its certificate now


class Refusal(NamedTuple):
    """A host that another would refuse."""

    host: str
    by: str
    why: str

    @property
    def pair(self) -> str:
        """Return the two ends, the one that starts first."""
        return " ".join(sorted((self.host, self.by)))

    @property
    def what(self) -> str:
        """Return what follows the name of the one that refuses."""
        return f"would refuse {self.host} at the next authentication: {self.why}"


def read(answer: Mapping[str, Any]) -> Optional[Told]:
    """Return what the answer of a host tells, which :mod:`answers` has let through; None for nothing."""
    found = answer.get("authentication")
    if not isinstance(found, dict):
        return None
    chain, trusts = (tuple(map(_authority, found[part])) for part in ("chain", "trusts"))
    return Told(chain, trusts, found["fault"])


def of(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Told]:
    """Return the same by host, of those that tell."""
    found = {host: read(answer) for host, answer in answers.items()}
    return {host: one for host, one in found.items() if one is not None}


def _authority(found: Mapping[str, str]) -> Authority:
    return Authority(found["key"], found["name"])


def pair(one: str, other: str, told: Mapping[str, Told]) -> tuple[str, tuple[Refusal, ...]]:
    """Return :data:`YES`, :data:`NO` or :data:`UNKNOWN`, and who would refuse whom."""
    mine, theirs = told.get(one), told.get(other)
    whys = ((one, other, _why(mine, theirs)), (other, one, _why(theirs, mine)))
    refused = tuple(Refusal(host, by, why) for host, by, why in whys if why)
    if refused:
        return NO, refused
    return (UNKNOWN if any(why is None for *_, why in whys) else YES), ()


def _why(host: Optional[Told], by: Optional[Told]) -> Optional[str]:
    """Say why a host would be refused by another; empty where it would not, None where it is not known."""
    if host is not None and host.fault:
        return host.fault
    if host is None or by is None or not host.chain:
        return None
    trusted = {_same(ca) for ca in by.trusts}
    if any(_same(ca) in trusted for ca in host.chain):
        return ""
    taken = ", ".join(map(str, by.trusts[:_FEW])) or "none"
    more = f" and {len(by.trusts) - _FEW} more" if len(by.trusts) > _FEW else ""
    return f"its certificate is of CA {host.chain[0]}, and those that are taken there are {taken}{more}"


def _same(ca: Authority) -> tuple[str, str]:
    """Return what is the same for one CA: charon does not tell upper and lower case of a name apart."""
    return ca.key, ca.name.casefold()


def refusals(pairs: Iterable[tuple[str, str]], told: Mapping[str, Told]) -> tuple[Refusal, ...]:
    """Return who would refuse whom in some pairs, sorted."""
    return tuple(sorted(refusal for one, other in pairs for refusal in pair(one, other, told)[1]))


def halfway(
    pairs: Iterable[tuple[str, str]], now: Mapping[str, Told], later: Mapping[str, Told]
) -> list[tuple[str, str]]:
    """Return the pairs that are well once both ends are changed, and not while one of them is."""

    def refused(one: Optional[Told], other: Optional[Told]) -> bool:
        return bool(_why(one, other) or _why(other, one))

    return [
        (one, other)
        for one, other in pairs
        if not refused(later.get(one), later.get(other))
        and (refused(later.get(one), now.get(other)) or refused(now.get(one), later.get(other)))
    ]


def lines(found: Sequence[Refusal]) -> list[str]:
    """Return them in words, those of one host together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in found:
        groups.setdefault((one.host, one.why), []).append(one.by)
    single = [one for one in found if len(groups[one.host, one.why]) == 1]
    others: dict[tuple[str, str], list[str]] = {}
    for one in single:
        others.setdefault((one.by, one.why), []).append(one.host)
    said = [
        f"{host} would be refused at the next authentication by {_hosts(by)}: {why}"
        for (host, why), by in groups.items()
        if len(by) > 1
    ]
    said += [
        f"{by} would refuse {_hosts(hosts)} at the next authentication: {why}"
        for (by, why), hosts in others.items()
    ]
    return sorted(said)


def _hosts(hosts: Sequence[str]) -> str:
    number = f"{counted(len(hosts), 'host')}, " if len(hosts) > 1 else ""
    return f"{number}{few(sorted(hosts))}"


def silent(pairs: Iterable[tuple[str, str]], told: Mapping[str, Told]) -> list[str]:
    """Return the hosts of pairs that do not tell enough, so that it is not known."""
    every = {host for one in pairs for host in one}
    return sorted(host for host in every if host not in told or not told[host].chain)
