"""What there is to say of a pillar before any host is asked: errors, warnings, and the pairs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..answer import counted
from ..errors import PillarError, Problem
from ..model import FAMILIES, Fleet, Host
from ..pillar import doubts, lines, pillar, topology, unmanaged
from ..pillar.found import Found
from ..pillar.lines import TOP, Finding, Place, Source
from ..strongswan import sections, sequence

RIGHT, WRONG = 0, 2  # exit status
_NOT_HERE = "its address is looked up where the pillar is applied, not here"
_PILLAR = "'ipv4' or 'ipv6' in the pillar, to have it checked here"
_NOWHERE = Place("")
_NO_SITE = "no site"
_NOT_KNOWN = "which hosts pair up, and what an edit changes, is said of a pillar without errors"


class Pair(NamedTuple):
    """Two hosts that pair up; the first starts their connections."""

    one: str
    other: str
    rule: str
    families: tuple[str, ...]


class Checked(NamedTuple):
    """What a pillar is."""

    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    pairs: tuple[Pair, ...] = ()
    fleet: Optional[Fleet] = None  # None where there are errors

    @property
    def status(self) -> int:
        """Return the exit status: warnings stop nothing."""
        return WRONG if self.errors else RIGHT

    @property
    def sentence(self) -> str:
        """Return it in a sentence."""
        if self.fleet is None or self.errors:
            return counted(len(self.errors), "error")
        number = sum(len(pair.families) for pair in self.pairs)
        parts = ((self.fleet.hosts, "host"), (self.fleet.rules, "rule"), (self.pairs, "pair"))
        told = [*(counted(len(every), noun) for every, noun in parts), counted(number)]
        return ", ".join([*told, *([counted(len(self.warnings), "warning")] if self.warnings else [])])

    @property
    def lines(self) -> list[str]:
        """Return it as text: the sum, what is wrong, what is odd, and the pairs by rule and by sites."""
        return [self.sentence, *self.told, *(self._tables() if self.fleet else [_NOT_KNOWN])]

    @property
    def told(self) -> list[str]:
        """Return as text what is wrong, and what is odd."""
        return [*_findings("error", self.errors), *_findings("warning", self.warnings)]

    def _tables(self) -> Iterator[str]:
        rules = Counter(pair.rule for pair in self.pairs)
        every = self.fleet.rules if self.fleet else ()
        yield from _table("pairs by rule", {f"{one.name} ({one.stage})": rules[one.name] for one in every})
        yield from _table("pairs by sites", self._by_sites())

    def _by_sites(self) -> Mapping[str, int]:
        hosts = self.fleet.hosts if self.fleet else ()
        sites = {host.id: host.label("site", _NO_SITE) for host in hosts}
        return Counter(" - ".join(sorted((sites[pair.one], sites[pair.other]))) for pair in self.pairs)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "errors": [one.as_dict() for one in self.errors],
            "warnings": [one.as_dict() for one in self.warnings],
            "pairs": [{**one._asdict(), "families": list(one.families)} for one in self.pairs],
        }


def _findings(kind: str, every: Sequence[Finding]) -> Iterator[str]:
    return (
        f"{one.place}: {kind}: {one.problem}" if one.place.file else f"{kind}: {one.problem}" for one in every
    )


def _table(heading: str, rows: Mapping[str, int]) -> Iterator[str]:
    if not rows:
        return
    width = max(map(len, rows))
    yield f"{heading}:"
    yield from (f"  {name:{width}}  {number:6}" for name, number in sorted(rows.items()))


def source(found: Source) -> Checked:
    """Check the files of a pillar, as they were merged: each error and warning with its file and line."""
    if found.errors and not isinstance(found.data, Mapping):
        return Checked(found.errors, found.warnings)
    data = found.data if isinstance(found.data, Mapping) else {}
    if TOP not in data:
        missing = Finding(Problem(TOP, "no file has this key", "the fleet below it"), Place(""))
        return Checked(found.errors or (missing,), found.warnings)
    checked = compiled(data[TOP])
    placed = _in_files(checked, found._replace(errors=()))
    if found.errors:  # pairs would be those of the half that was read
        return Checked((*found.errors, *placed.errors), placed.warnings)
    return placed


def compiled(data: object) -> Checked:
    """Check what stands below ``ipsec``; addresses that are to be looked up count as not known."""
    unknown = pillar.unaddressed(data)
    try:
        fleet = pillar.read(data, {host: Found((), ((_NOT_HERE, _PILLAR),)) for host in unknown})
    except PillarError as error:
        return wrong(error)
    return of(fleet)


def of(fleet: Fleet) -> Checked:
    """Return what is to be said of a fleet whose pillar reads well."""
    hosts = {host.id: host for host in fleet.hosts}
    pairs = tuple(
        Pair(*_ordered(hosts[one], hosts[other]), rule.name, _families(hosts[one], hosts[other]))
        for (one, other), rule in topology.pairs(fleet).items()
    )
    return Checked((), tuple(Finding(one, _NOWHERE) for one in warnings(fleet)), pairs, fleet)


def answer(read: Callable[[], Fleet], files: Optional[Source] = None) -> dict[str, Any]:
    """Return what is to be said of the fleet that is read, as a verb of the fleet answers.

    ``files`` is what it is read from, as it stands there, where that is known: it has the lines.
    """
    try:
        found = of(read())
    except PillarError as error:
        found = wrong(error)
    if files:
        found = _in_files(found, files)
    more = [_FILES] if (found.errors or found.warnings) and not files else []
    return {**found.as_dict(), "lines": [*found.lines, *more], "retcode": found.status}


_FILES = "in which lines, and what an edit means: salt-run ipsec.check files=FILE,... [against=OLD,...]"


def _in_files(found: Checked, files: Source) -> Checked:
    """Return what was found with its lines, and what is odd in the text alone."""
    unread = found.errors and files.errors  # they say the same
    errors = files.errors if unread else _placed(found.errors, files.places)
    return found._replace(errors=errors, warnings=(*files.warnings, *_placed(found.warnings, files.places)))


def wrong(error: PillarError) -> Checked:
    """Return what is to be said of a pillar that does not read."""
    return Checked(errors=tuple(Finding(one, _NOWHERE) for one in error.problems))


def _ordered(one: Host, other: Host) -> tuple[str, str]:
    return (one.id, other.id) if unmanaged.starts(one, other) else (other.id, one.id)


def _families(one: Host, other: Host) -> tuple[str, ...]:
    return tuple(family for family in FAMILIES if one.address(family) and other.address(family))


def _placed(every: Sequence[Finding], places: Mapping[str, Place]) -> tuple[Finding, ...]:
    return tuple(lines.placed(one.problem, places) for one in every)


def warnings(fleet: Fleet) -> Iterator[Problem]:
    """Say what deserves a look but stops nothing."""
    yield from doubts.warnings(fleet)
    for host in fleet.hosts:
        yield from host.lost
    yield from _exhausting(fleet)


def _exhausting(fleet: Fleet) -> Iterator[Problem]:
    """Find where sequence numbers can run out before a rekeying."""
    common = sections.common_options(fleet.settings)
    own = [(f"ipsec:rules:{index}", dict(rule.options)) for index, rule in enumerate(fleet.rules)]
    for above, options in [("ipsec:connection", {}), *((path, said) for path, said in own if said)]:
        said = sequence.warning({**common, **options}, above)
        path, _, rest = said.partition(": ")
        found, _, cure = rest.partition("; set ")
        if said:
            yield Problem(path, found, cure)
