"""Roll-outs told apart by their marks: which was the last, whether the next goes on with it, who goes back.

A mark is the time at which the roll-out began, at the master, in UTC: ``2026-11-24T22:28:03Z``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, Optional

from ..answer import Answer
from ..errors import HostIPsecError
from ..store.hold import AHEAD
from .asking import Heard

_FORM = "%Y-%m-%dT%H:%M:%SZ"
_MINUTE = len("2026-11-24T22:28")
RUNNING = "a state run is under way there, so it is not taken back; say it again once that is through"
NOTHING = "nothing to go back from; name hosts (tgt) to undo their last state.apply"


class Last(NamedTuple):
    """The last roll-out, as this master knows it."""

    mark: str
    told: tuple[str, ...] = ()  # hosts that were told to change, whether they did or not
    through: bool = False  # whether it went through
    back: bool = False  # whether all of it was taken back

    @property
    def open(self) -> bool:
        """Whether the next roll-out may be the rest of it."""
        return not self.through and not self.back


def fresh(now: datetime, last: Optional[Last]) -> str:
    """Return a new mark, later than the last whatever became of the clock."""
    mark = now.strftime(_FORM)
    if last is None or mark > last.mark:
        return mark
    try:
        return (datetime.strptime(last.mark, _FORM) + timedelta(seconds=1)).strftime(_FORM)
    except ValueError:  # written by another hand
        return mark


def since(last: Last, previous: Mapping[str, Answer]) -> tuple[str, ...]:
    """Return the hosts that somebody changed since the last roll-out began, other than by it."""
    return tuple(sorted(host for host, one in previous.items() if _later(one, last.mark)))


def _later(previous: Answer, mark: str) -> bool:
    """Whether the last change of a host is another than the roll-out's, and later."""
    own, when = previous.own["mark"], str(previous.own["when"] or "").replace(" ", "T")
    return own not in (None, mark) and max(str(own)[:_MINUTE], when[:_MINUTE]) > mark[:_MINUTE]


# The way back ----------------------------------------------------------------------------------


class Way(NamedTuple):
    """Who goes back."""

    hosts: Mapping[str, Collection[str]]  # by the mark of the change that is undone; empty for none
    slow: tuple[str, ...] = ()  # told by the roll-out, and said nothing now: they get its mark as well
    left: Mapping[str, str] = {}  # by host, why what the roll-out changed is not taken back there
    whole: Optional[Last] = None  # the roll-out, where all of it is meant

    @property
    def every(self) -> tuple[str, ...]:
        """Return all hosts that are told to go back."""
        return tuple(sorted({*self.slow, *(host for hosts in self.hosts.values() for host in hosts)}))


def by_name(previous: Heard) -> Way:
    """Return the way back of hosts that were named: each undoes its last change, whatever made it."""
    hosts: dict[str, list[str]] = {}
    left = {}
    for host, one in sorted(previous.answers.items()):
        if one.own.get("running"):
            left[host] = RUNNING
        elif one.own["mark"] is not None:
            hosts.setdefault(str(one.own["mark"]), []).append(host)
    if not hosts and not left:
        raise HostIPsecError(NOTHING)
    return Way(hosts, left=left)


def whole(previous: Heard, last: Optional[Last], mark: str, now: datetime) -> Way:
    """Return the way back of a roll-out: the last one, or the one with this mark.

    ``previous``  what all accepted minions answered to ``ipsec.previous``
    ``last``      the last roll-out as this master knows it, None where it knows none
    ``now``       what a host says that lies ahead of it is no mark that a master can have given

    Raises HostIPsecError where there is nothing to go back from, or it is not known which was the last.
    """
    meant = _meant(previous, last, mark, now)
    slow = tuple(host for host in (*previous.silent, *sorted(previous.failed)) if host in meant.told)
    own, left = [], {}
    for host, one in sorted(previous.answers.items()):
        if one.own.get("running") and (host in meant.told or one.own["mark"] == meant.mark):
            left[host] = RUNNING
        elif one.own["mark"] == meant.mark:
            own.append(host)
        elif host in meant.told and _later(one, meant.mark):
            left[host] = f"its last change, of {one.own['when']}, is another's since: it is not taken back"
    if not (own or slow or left):
        raise HostIPsecError(NOTHING)
    return Way({meant.mark: own} if own else {}, slow, left, meant)


def _meant(previous: Heard, last: Optional[Last], mark: str, now: datetime) -> Last:
    """Return the roll-out that is to be taken back."""
    if mark:
        return last if last and last.mark == mark else Last(mark, previous.silent)
    there = {str(one.own["mark"]) for one in previous.answers.values() if _given(one.own["mark"], now)}
    if last is None:
        return _unknown(previous, max(there, default=""))
    if last.back:
        raise HostIPsecError(NOTHING)
    if later := sorted(one for one in there if one > last.mark):
        raise HostIPsecError(
            f"the last roll-out of this master is {last.mark}, and hosts were changed by {', '.join(later)}, "
            "of another master: say mark=, or name hosts (tgt); nothing was changed"
        )
    return last


def _given(mark: object, now: datetime) -> bool:
    """Say whether some master can have given a mark by now."""
    try:
        begun = datetime.strptime(str(mark or ""), _FORM).replace(tzinfo=now.tzinfo)
    except ValueError:
        return False
    return begun <= now + timedelta(seconds=AHEAD)


def _unknown(previous: Heard, latest: str) -> Last:
    """Return the last roll-out by what all hosts say, as one of a release before was not noted here."""
    lost = [*previous.silent, *sorted(previous.failed)]
    if lost:
        raise HostIPsecError(
            f"this master knows of no roll-out, and {', '.join(lost)} may have been changed by the last: "
            f"say mark= ({latest or 'of none'} is the latest of those that answered), or name hosts (tgt); "
            "nothing was changed"
        )
    if not latest:
        raise HostIPsecError(NOTHING)
    return Last(latest)
