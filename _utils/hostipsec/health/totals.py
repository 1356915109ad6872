"""Totals that only grow: what connections have carried and lost, over rekeyings, restarts and reboots. Pure.

Each SA counts from zero, and so do charon and the kernel once they have started. What is read of each is
kept beside the totals, and a total grows by the difference; a value below the one before is of something new,
which counts whole. What is gone is forgotten: it takes the packets of its last seconds along.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional, Tuple

from .. import owner
from .. import plane as planes
from ..errors import HostIPsecError
from ..kernel.cleartext import IN, OUT
from .look import Look
from .report import CARRYING, ConnectionHealth
from .sample import Sample, Sampled, Traffic

SCHEMA = 1
_NONE: Mapping[str, Any] = MappingProxyType({})
Values = Tuple[int, ...]
COUNTS = ("bytes in", "packets in", "bytes out", "packets out", "replays", "failures")
_ZEROS: Values = (0,) * len(COUNTS)


class Counted(NamedTuple):
    """The totals of one connection, and whether it was up at the last look that could tell."""

    values: Values = _ZEROS  # of COUNTS
    losses: int = 0
    up: bool = False

    @property
    def received(self) -> Traffic:
        """Return what came in."""
        return Traffic(*self.values[:2])

    @property
    def sent(self) -> Traffic:
        """Return what went out."""
        return Traffic(*self.values[2:4])

    @property
    def replays(self) -> int:
        """Return how many packets came twice, or too late."""
        return self.values[4]

    @property
    def failures(self) -> int:
        """Return how many packets did not pass the integrity check."""
        return self.values[5]


class Series(NamedTuple):
    """Counters of one source: their totals, and what was read last."""

    totals: Mapping[str, int] = _NONE
    last: Mapping[str, int] = _NONE
    epoch: str = ""  # of what counts: another one has begun at zero; empty where that is not known


class Totals(NamedTuple):
    """All totals of a host."""

    connections: Mapping[str, Counted] = _NONE
    sas: Mapping[str, Values] = _NONE  # what was read last, by SA
    counters: Series = Series()  # of charon
    errors: Series = Series()  # of the kernel
    actions: Mapping[str, int] = _NONE
    clear: Series = Series()  # packets in the clear, by way and connection


def grown(last: Values, now: Values) -> Values:
    """Return by how much an SA's counters grew; where one is smaller it is another SA, which counts whole."""
    if any(value < before for before, value in zip(last, now)):
        return now
    return tuple(value - before for before, value in zip(last, now))


def series(before: Series, now: Mapping[str, int], epoch: str = "") -> Series:
    """Return counters with what was read of them now; a source that tells none leaves them as they were."""
    if not now:
        return before
    anew = bool(epoch and before.epoch and epoch != before.epoch)
    last = _NONE if anew else before.last
    more = {
        key: value - last.get(key, 0) if value >= last.get(key, 0) else value for key, value in now.items()
    }
    return Series(added(before.totals, more), dict(now), epoch or before.epoch)


def added(totals: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Return totals with more of some keys."""
    return {**totals, **{key: totals.get(key, 0) + value for key, value in more.items()}}


# Taking in a look ----------------------------------------------------------------------------


def counted(totals: Totals, look: Look, rows: Iterable[ConnectionHealth], epoch: str = "") -> Totals:
    """Return the totals with what a look found; ``epoch`` tells one charon from the next.

    What could not be read leaves its totals as they were. Connections that are no longer on record are
    forgotten, where the record could be read; what rests, since an end is in maintenance, is kept.
    """
    known = totals.connections
    found = dict(known) if look.damaged else {}
    found.update({one.name: known.get(one.name, Counted()) for one in look.connections})
    found.update({one.name: known[one.name] for one in look.resting if one.name in known})
    sas = {key: last for key, last in totals.sas.items() if not _told(key, look)}
    for key, name, now in (*_of_kernel(look), *_of_charon(look, epoch)):
        last = totals.sas.get(key, _ZEROS)
        sas[key] = now = last if now is None else now
        found[name] = found[name]._replace(values=_sum(found[name].values, grown(last, now)))
    if look.charon is not None:
        found.update({row.name: _up(found[row.name], row) for row in rows if row.name in found})
    errors = series(totals.errors, look.kernel.errors) if look.kernel else totals.errors
    return totals._replace(connections=found, sas=sas, errors=errors, clear=_clear(totals.clear, look, found))


def _clear(before: Series, look: Look, known: Collection[str]) -> Series:
    """Return what went in the clear; where nobody asks for it any more, it begins anew."""
    if not look.clear_text:
        return Series()
    grown = series(before, of_clear((name, *packets) for name, packets in look.clear.items()))
    kept = {key for name in known for key in of_clear([(name, 0, 0)])}
    totals, last = ({key: one[key] for key in one if key in kept} for one in (grown.totals, grown.last))
    return grown._replace(totals=totals, last=last)


def of_clear(found: Iterable[tuple[str, Optional[int], Optional[int]]]) -> dict[str, int]:
    """Return packets in the clear by way and connection, of what was received and sent with each."""
    return {
        f"{way} {name}": packets
        for name, received, sent in found
        for way, packets in ((IN, received), (OUT, sent))
        if packets is not None
    }


def _sum(one: Values, other: Values) -> Values:
    return tuple(map(sum, zip(one, other)))


def _up(one: Counted, row: ConnectionHealth) -> Counted:
    """Count a loss; what an operator holds is none."""
    up = row.state in CARRYING
    return one._replace(up=up, losses=one.losses + (one.up and not up and not row.held))


_CHARON = "charon "  # begins the key of an SA whose ESP is charon's own


def _told(key: str, look: Look) -> bool:
    """Whether a look says of an SA of before that it is there, or is gone."""
    return look.charon is not None if key.startswith(_CHARON) else look.kernel is not None


def _of_kernel(look: Look) -> Iterator[tuple[str, str, Optional[Values]]]:
    """Yield key, connection and counters of the kernel's SAs; the key is what tells them apart (RFC 4301)."""
    ways: dict[tuple[str, str], tuple[str, bool]] = {}
    for one in look.connections:
        left, right = str(one.left), str(one.right)
        ways.setdefault((left, right), (one.name, True))
        ways.setdefault((right, left), (one.name, False))
    for sa in look.kernel.states if look.kernel else ():
        way = ways.get((sa.src, sa.dst))
        if way and sa.proto == "esp" and not sa.larval and not owner.foreign(sa):
            name, out = way
            carried = (0, 0, sa.bytes, sa.packets) if out else (sa.bytes, sa.packets, 0, 0)
            yield f"{sa.dst} {sa.spi}", name, (*carried, sa.replays, sa.failures)


def _of_charon(look: Look, epoch: str) -> Iterator[tuple[str, str, Optional[Values]]]:
    """Yield the same where ESP is charon's own; None for one whose counters are not told, as over stroke."""
    if look.charon is None or look.plane != planes.CHARON:
        return
    names = {one.name: one for one in look.connections}
    for sa in look.charon.ike_sas:
        for child in sa.children:
            one = names.get(child.name)
            if one and child.uniqueid is not None and owner.belongs(sa, one):
                carried = (child.bytes_in, child.packets_in, child.bytes_out, child.packets_out, 0, 0)
                yield f"{_CHARON}{epoch} {child.uniqueid}", one.name, carried if child.spi_in else None


def at_least(totals: Totals, shown: Sample) -> Totals:
    """Return totals that are nowhere below what a sample showed: those on disk are a little older."""
    known = {one.name: one for one in shown.connections}
    clear = of_clear((one.name, one.clear_in, one.clear_out) for one in shown.connections)
    found = {
        name: _raised(one, known[name]) if name in known else one for name, one in totals.connections.items()
    }
    return totals._replace(
        connections=found,
        counters=totals.counters._replace(totals=_higher(totals.counters.totals, shown.counters)),
        errors=totals.errors._replace(totals=_higher(totals.errors.totals, shown.errors)),
        actions=_higher(totals.actions, shown.actions),
        clear=totals.clear._replace(totals=_higher(totals.clear.totals, clear)),
    )


def _raised(one: Counted, shown: Sampled) -> Counted:
    values = (*shown.received, *shown.sent, shown.replays, shown.failures)
    return one._replace(values=tuple(map(max, one.values, values)), losses=max(one.losses, shown.losses))


def _higher(totals: Mapping[str, int], shown: Mapping[str, int]) -> dict[str, int]:
    return {**shown, **{key: max(value, shown.get(key, 0)) for key, value in totals.items()}}


# On disk -------------------------------------------------------------------------------------


def render(totals: Totals) -> str:
    """Return the text of counters.json, with a sum: totals that are damaged are not believed."""
    told = {
        "connections": dict(totals.connections),
        "sas": dict(totals.sas),
        "counters": {**totals.counters._asdict(), **_plain(totals.counters)},
        "errors": {**totals.errors._asdict(), **_plain(totals.errors)},
        "actions": dict(totals.actions),
        "clear": {**totals.clear._asdict(), **_plain(totals.clear)},
    }
    text = json.dumps(told, separators=(",", ":"), sort_keys=True)
    return f'{{"schema": {SCHEMA}, "sum": "{_check(text)}", "totals": {text}}}\n'


def _plain(one: Series) -> dict[str, object]:
    return {"totals": dict(one.totals), "last": dict(one.last)}


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def parse(text: str) -> Totals:
    """Return what :func:`render` wrote. Raises HostIPsecError where it is damaged, or of a later release."""
    try:
        found = json.loads(text)
        if found["schema"] != SCHEMA or found["sum"] != _check(text.partition(', "totals": ')[2][:-2]):
            raise ValueError("it is not as it was written")
        told = found["totals"]
        return Totals(
            {name: _counted(*one) for name, one in told["connections"].items()},
            {key: _values(one) for key, one in told["sas"].items()},
            _series(told["counters"]),
            _series(told["errors"]),
            _numbers(told["actions"]),
            _series(told["clear"]) if "clear" in told else Series(),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HostIPsecError(f"counters.json cannot be read ({error!r:.200}); totals begin anew") from None


def _counted(values: Sequence[int], losses: int, up: bool) -> Counted:
    return Counted(_values(values), _number(losses), bool(up))


def _series(found: Mapping[str, Any]) -> Series:
    return Series(_numbers(found["totals"]), _numbers(found["last"]), str(found["epoch"]))


def _values(found: Sequence[int]) -> Values:
    if len(found) != len(COUNTS):
        raise ValueError(f"{len(found)} counters, not {len(COUNTS)}")
    return tuple(map(_number, found))


def _numbers(found: Mapping[str, int]) -> dict[str, int]:
    return {key: _number(value) for key, value in found.items()}


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"no count: {value!r:.30}")
    return value
