"""What explains the trouble of a fleet (hosts, sites, one reason of many), and the fleet in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..answer import counted
from ..health.report import SEVERITIES, worst
from . import joined
from .ends import End
from .hostnames import few, ranges
from .joined import Joined, View

# kinds of causes
GONE, DEAD, SILENT, FAILED = "gone", "dead", "silent", "failed"
HOST, SITES, SAME = "host", "sites", "same"
_UNSEEN = "do not answer, nor does anybody see them: a line or the site"
_BRIEF = {  # of one, and of many
    GONE: (_UNSEEN, _UNSEEN),
    DEAD: ("is dead", "are dead"),
    SILENT: ("does not answer", "do not answer"),
    FAILED: ("gave no status", "gave no status"),
    HOST: ("is in trouble", "are in trouble"),
    SITES: ("have nothing up between them", "have nothing up between them"),
}
_MOST = 0.9  # of the connections of a host, or between two sites: more of them in trouble is all of them
_MANY = 3  # more connections than that, or it is theirs
_SEVERAL = 2  # hosts that make a site: of one alone it is the host
_NAMED = 2  # causes of a kind that the sentence names one by one


class Cause(NamedTuple):
    """Connections in trouble that one thing explains."""

    kind: str  # one of the above
    who: str  # a host, hosts of a site, or two sites; empty for what is the same of many (SAME)
    what: str  # what follows that, in words
    severity: str  # the worst
    rows: tuple[Joined, ...]
    lost: tuple[str, ...] = ()  # the hosts that are dead, or cut off

    def __str__(self) -> str:
        """Say it on a line."""
        return f"{self.who} {self.what}" if self.who else self.what

    @property
    def brief(self) -> str:
        """Say who it is and how much that explains."""
        return f"{self.who} {_BRIEF[self.kind][0]} ({counted(len(self.rows))})"


class _Left:
    """The trouble that nothing explains yet, and all that each host and each pair of sites has."""

    def __init__(self, view: View) -> None:
        serving = [row for row in view.rows if row.state != "maintenance"]
        self.of_host = Counter(host for row in serving for host in (row.one, row.other))
        self.of_sites = Counter(row.sites for row in serving)
        self._trouble, self._taken = view.trouble, set[tuple[str, str, str]]()
        self._at: dict[str, list[Joined]] = {}
        for row in self._trouble:
            for host in (row.one, row.other):
                self._at.setdefault(host, []).append(row)

    @property
    def trouble(self) -> list[Joined]:
        """Return what is left."""
        return [row for row in self._trouble if _key(row) not in self._taken]

    def at(self, host: str) -> list[Joined]:
        """Return what is left at a host."""
        return [row for row in self._at.get(host, ()) if _key(row) not in self._taken]

    def take(self, rows: Iterable[Joined]) -> tuple[Joined, ...]:
        """Return these rows; they are explained now."""
        taken = tuple(rows)
        self._taken.update(map(_key, taken))
        return taken


def _key(row: Joined) -> tuple[str, str, str]:
    return row.one, row.other, row.family


def causes(
    view: View,
    silent: Collection[str] = (),
    failed: Mapping[str, str] = MappingProxyType({}),
    sites: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> tuple[Cause, ...]:
    """Return what explains the trouble of a view, the worst and the largest first; each connection is in one.

    ``silent`` are hosts that did not answer, ``failed`` what others said instead of an answer, ``sites`` are
    the hosts of each site that are to serve.
    """
    left = _Left(view)
    found = [
        *_by_site([*_lost(left, silent, failed)], silent, sites),
        *_cut(left),
        *_hosts(left),
        *_same(left),
    ]
    return tuple(sorted(found, key=_rank))


def _rank(one: Cause) -> tuple[int, bool, int, str]:
    return -SEVERITIES.index(one.severity), one.kind == SAME, -len(one.rows), str(one)


def _cause(kind: str, who: str, what: str, rows: tuple[Joined, ...], lost: tuple[str, ...] = ()) -> Cause:
    return Cause(kind, who, what, worst(*(row.severity for row in rows)), rows, lost)


# Hosts that gave no answer ---------------------------------------------------------------------


def _lost(left: _Left, silent: Collection[str], failed: Mapping[str, str]) -> Iterator[Cause]:
    """Yield the hosts without an answer that connections in trouble have."""
    number = {host: len(left.at(host)) for host in {*silent, *failed}}
    for host in sorted(number, key=lambda host: (-number[host], host)):
        rows = left.take(row for row in left.at(host) if any(end.host == host for end in _unanswered(row)))
        if not rows:
            continue
        peers = [end for row in rows for end in row.ends if end.host != host and end.answered]
        if host in failed:
            yield _cause(FAILED, host, f"gave no status: {failed[host]}", rows)
        elif _gone(peers):
            number_of = counted(len(rows))
            what = f"is dead: it does not answer, and none of {number_of} is up"
            yield _cause(DEAD, host, what, rows, (host,))
        else:
            up = sum(end.up for end in peers)
            what = f"does not answer; its peers have {up} of {counted(len(rows))} up"
            yield _cause(SILENT, host, what, rows)


def _by_site(
    found: Sequence[Cause], silent: Collection[str], sites: Mapping[str, Collection[str]]
) -> Iterator[Cause]:
    """Yield the same; where nobody sees any host of a site, that is one cause: no host tells which it is."""
    by_host = {one.who: one for one in found}
    told: set[str] = set()
    for site, hosts in sorted(sites.items()):
        some = [by_host[host] for host in sorted(hosts) if host in by_host]
        unseen = {*hosts} <= {*silent} and all(one.kind == DEAD or _untold(one) for one in some)
        if len(hosts) < _SEVERAL or not unseen or not any(one.kind == DEAD for one in some):
            continue
        rows = tuple(row for one in some for row in one.rows)
        told.update(hosts)
        what = f"{_UNSEEN}; none of {counted(len(rows))} is up"
        yield _cause(GONE, f"{len(hosts)} hosts of {site}", what, rows, tuple(sorted(hosts)))
    yield from (one for one in found if one.who not in told)


def _untold(one: Cause) -> bool:
    """Whether no end of any connection answered: nobody could have seen one that is up."""
    return one.kind == SILENT and not any(end.answered for row in one.rows for end in row.ends)


def _unanswered(row: Joined) -> list[End]:
    return [end for end in row.ends if not end.answered]


def _gone(peers: Sequence[End]) -> bool:
    """Whether all peers that answer have the connection configured, by nobody's decision down, and not up."""
    down = all(end.known and not end.up and not end.held for end in peers)
    return down and any(not end.ok for end in peers)


# Hosts and lines -------------------------------------------------------------------------------


def _not_held(left: _Left) -> list[Joined]:
    return [row for row in left.trouble if row.state not in ("held", "maintenance")]


def _cut(left: _Left) -> Iterator[Cause]:
    """Yield pairs of sites with several hosts at both that have nothing up between them."""
    between: dict[tuple[str, str], list[Joined]] = {}
    for row in _not_held(left):
        if not row.up and row.sites[0] != row.sites[1]:
            between.setdefault(row.sites, []).append(row)
    for sites, rows in sorted(between.items()):
        several = len(joined.culprits(rows)) > 1
        if several and len(rows) > _MANY and len(rows) > _MOST * left.of_sites[sites]:
            among = counted(left.of_sites[sites])
            what = f"have {len(rows)} of {among} between them not up: {_reasons(rows)}"
            yield _cause(SITES, " - ".join(sites), what, left.take(rows))


def _hosts(left: _Left) -> Iterator[Cause]:
    """Yield hosts that answer, and have nearly all of their connections in trouble."""
    for host, rows in joined.culprits(_not_held(left)):
        if len(rows) > _MANY and len(rows) > _MOST * left.of_host[host]:
            what = f"has {len(rows)} of its {counted(left.of_host[host])} in trouble: {_reasons(rows)}"
            yield _cause(HOST, host, what, left.take(rows))


def _reasons(rows: Sequence[Joined]) -> str:
    """Return why, the reason of the most first."""
    reasons = Counter(joined.anybody(row) or row.state for row in rows).most_common()
    more = f", and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
    return f"{reasons[0][0]}{more}"


def _same(left: _Left) -> Iterator[Cause]:
    """Yield what is left, by state and reason."""
    groups: dict[tuple[str, str], list[Joined]] = {}
    for row in left.trouble:
        groups.setdefault((row.state, joined.anybody(row)), []).append(row)
    for (state, why), rows in groups.items():
        if len(rows) == 1:
            yield _cause(SAME, "", str(rows[0]), tuple(rows))
            continue
        because = f": {why}" if why else ""
        hosts = few([host for host, _ in joined.culprits(rows)])
        yield _cause(SAME, "", f"{counted(len(rows))} {state}{because}; at {hosts}", tuple(rows))


# The fleet in a sentence -----------------------------------------------------------------------


def sentence(
    view: View, found: Sequence[Cause], answered: int, asked: int, beside: Sequence[str] = ()
) -> str:
    """Say who is in trouble, what else is up, what is ``beside`` that, and who answered."""
    named = [one for one in found if one.kind != SAME]
    explained = {_key(row) for one in named for row in one.rows}
    rest = [row for row in view.rows if _key(row) not in explained]
    parts = [*_named(named), *_rest(rest, bool(named))]
    return "; ".join([*parts, *beside, f"{answered:,} of {counted(asked, 'host')} answered"])


def _named(causes: Sequence[Cause]) -> Iterator[str]:
    """Say who is in trouble, and how many connections that explains; many of a kind together."""
    for kind, (_, many) in _BRIEF.items():
        some = [one for one in causes if one.kind == kind]
        if len(some) <= _NAMED:
            yield from (one.brief for one in some)
        else:
            yield f"{ranges(one.who for one in some)} {many} ({counted(sum(len(one.rows) for one in some))})"


def _rest(rows: Sequence[Joined], others: bool) -> Iterator[str]:
    """Say what is up of connections, beside others that have been told."""
    if not rows:
        yield "nothing else" if others else "no connections"
        return
    counts = Counter(row.state for row in rows)
    up = counts.pop("up", 0)
    what = "" if others else f" {'connection' if len(rows) == 1 else 'connections'}"
    yield f"{'else ' if others else ''}{up:,} of {len(rows):,}{what} up"
    if counts:
        yield ", ".join(f"{counts[state]:,} {state}" for state in joined.STATES if counts[state])
    if warned := sum(row.state == "up" and not row.ok for row in rows):
        yield f"{warned:,} of those that are up with a warning"
