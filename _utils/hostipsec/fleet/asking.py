"""Hosts asked, and what came of it: answers, what others said instead, silence, an interruption.

How hosts are reached is given (:class:`Client`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, Union

from ..answer import Answer
from ..errors import HostIPsecError
from ..store.hold import JUST, LATEST
from . import answers
from .answers import Instead

Arguments = Mapping[str, object]
Line = Callable[[Union[Answer, Instead]], str]  # what is printed as a host answers; empty for nothing
NEWER = {  # arguments that hosts with older modules refuse, and can do without
    "ipsec.status": frozenset({"stage", "configured", "known"}),
    "ipsec.down": frozenset({"asked", "known"}),
    "ipsec.up": frozenset({"asked", "jitter", "known"}),
}
_NONE: Arguments = MappingProxyType({})


class MasterError(HostIPsecError):
    """What the Salt master says where it should tell what hosts returned."""


class Client(Protocol):
    """What reaches the hosts."""

    def returns(
        self, hosts: Sequence[str], function: str, arguments: Arguments
    ) -> Iterable[tuple[str, object]]:
        """Yield each host and what it returned, as it answers; a :class:`MasterError` ends it.

        Where the operator interrupts it, a KeyboardInterrupt, or Salt's SystemExit, comes between two.
        """

    def say(self, text: str) -> None:
        """Print a line for the operator."""

    def clock(self) -> float:
        """Return seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def wall(self) -> float:
        """Return the seconds since 1970, by the clock of this master."""


@dataclass(frozen=True)
class Heard:
    """What came of asking hosts."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)  # by host, what it said instead
    silent: tuple[str, ...] = ()  # what runs there is not known
    unanswered: tuple[str, ...] = ()  # asked before the interruption, and finishing what they have begun
    unasked: tuple[str, ...] = ()
    interrupted: bool = False
    outdated: frozenset[str] = frozenset()  # who does not have the function at all: of these nothing is known
    beside: tuple[str, ...] = ()  # silent, and no host that is known to have connections: these do not count
    foreign: tuple[str, ...] = ()  # members of another pillar: another fleet's, and left alone
    again: frozenset[str] = frozenset()  # asked again, as they had obeyed what is yet to come by our clock

    def __add__(self, other: Heard) -> Heard:
        """Return what came of asking the one, then the other hosts."""
        return Heard(
            {**self.answers, **other.answers},
            {**self.failed, **other.failed},
            self.silent + other.silent,
            self.unanswered + other.unanswered,
            self.unasked + other.unasked,
            self.interrupted or other.interrupted,
            self.outdated | other.outdated,
            self.beside + other.beside,
            self.foreign + other.foreign,
            self.again | other.again,
        )

    def without(self, hosts: Iterable[str]) -> Heard:
        """Return it without what these hosts said."""
        out = {*hosts}
        answers = {host: one for host, one in self.answers.items() if host not in out}
        failed = {host: text for host, text in self.failed.items() if host not in out}
        return replace(self, answers=answers, failed=failed, outdated=self.outdated - out)

    def of(self, hosts: Iterable[str]) -> Heard:
        """Return it without the silence, and what was said instead, of other hosts than these."""
        chosen = {*hosts}
        failed = {host: text for host, text in self.failed.items() if host in chosen}
        silent = tuple(host for host in self.silent if host in chosen)
        return replace(self, failed=failed, silent=silent, outdated=self.outdated & chosen)


def nothing(said: Union[Answer, Instead]) -> str:
    """Print nothing."""
    return ""


def trouble(said: Union[Answer, Instead]) -> str:
    """Print what hosts say instead of an answer."""
    return said.text if isinstance(said, Instead) else ""


def sentence(said: Union[Answer, Instead]) -> str:
    """Print what every host says."""
    return said.text if isinstance(said, Instead) else said.sentence


def returns(
    client: Client, hosts: Collection[str], function: str, arguments: Arguments
) -> Iterator[tuple[str, object]]:
    """Yield what these hosts returned; Salt passes on what any other minion sends for the job, too."""
    meant = {*hosts}
    return ((host, one) for host, one in client.returns([*hosts], function, arguments) if host in meant)


class Asking:
    """Asks hosts, in batches, each in the words that it knows.

    Where hosts refuse an order for one that is yet to come by the clock of this master, that clock is behind
    (or another one was ahead), and what they obeyed was given before. So they are asked once more, as of
    after that one, and so is whoever is asked from then on.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._after = -math.inf  # when what this run orders is given, at least

    def ask(
        self,
        hosts: Sequence[str],
        function: str,
        arguments: Arguments = _NONE,
        line: Line = nothing,
        batch: int = 0,
    ) -> Heard:
        """Ask hosts, so many at a time, 0 for all at once, and print a line for each that answers."""
        heard = Heard()
        for start in range(0, len(hosts), batch or len(hosts) or 1):
            part = tuple(hosts[start : start + (batch or len(hosts))])
            heard += Heard(unasked=part) if heard.interrupted else self._part(part, function, arguments, line)
        return heard

    def _part(self, hosts: Sequence[str], function: str, arguments: Arguments, line: Line) -> Heard:
        """Ask the hosts of one batch."""
        said: dict[str, Union[Answer, Instead]] = {}
        interrupted, again = False, set[str]()
        try:
            for host, one in self._obeying(hosts, function, arguments, again):
                said[host] = one
                text = line(one)
                self.client.say(f"{host}: {text.removeprefix(f'{host} ')}" if text else "")
        except (KeyboardInterrupt, SystemExit):
            interrupted = True
        except MasterError as error:
            lost = Instead(f"not known, the master says: {error}")
            said = {**dict.fromkeys(hosts, lost), **said}
        left = tuple(host for host in hosts if host not in said)
        instead = {host: one for host, one in said.items() if isinstance(one, Instead)}
        return Heard(
            {host: one for host, one in said.items() if isinstance(one, Answer)},
            {host: one.text for host, one in instead.items()},
            silent=() if interrupted else left,
            unanswered=left if interrupted else (),
            interrupted=interrupted,
            outdated=frozenset(host for host, one in instead.items() if one.outdated),
            again=frozenset(again),
        )

    def _obeying(
        self, hosts: Sequence[str], function: str, arguments: Arguments, again: set[str]
    ) -> Iterator[tuple[str, Union[Answer, Instead]]]:
        """Yield what hosts say; those that refuse what is yet to come are asked ``again``, once."""
        for host, one in self._said(hosts, function, self._stamped(arguments)):
            later = self._later(one) if "asked" in arguments else -math.inf
            if later > -math.inf:
                again.add(host)
                self._after = max(self._after, later + JUST)
            else:
                yield host, one
        if again:
            yield from self._said(sorted(again), function, self._stamped(arguments))

    def _stamped(self, arguments: Arguments) -> Arguments:
        """Return the arguments of an order, with a time that is late enough."""
        asked = arguments.get("asked")
        late = isinstance(asked, float) and asked < self._after
        return {**arguments, "asked": self._after} if late else arguments

    def _later(self, said: Union[Answer, Instead]) -> float:
        """Return when a host obeyed what is yet to come by our clock, and refused us for it."""
        later = said.own.get("later") if isinstance(said, Answer) and said.own.get("overruled") else None
        if isinstance(later, (int, float)) and self.client.wall() < later < LATEST:
            return float(later)
        return -math.inf

    def _said(
        self, hosts: Sequence[str], function: str, arguments: Arguments
    ) -> Iterator[tuple[str, Union[Answer, Instead]]]:
        """Yield what hosts say; those with older modules are asked again, without what these do not know."""
        newer = NEWER.get(function, frozenset()) & {*arguments}
        older: dict[frozenset[str], list[str]] = {}
        for host, value in returns(self.client, hosts, function, arguments):
            one = answers.read(function, value)
            if isinstance(one, Instead) and one.unknown and one.unknown <= newer:
                older.setdefault(one.unknown, []).append(host)
            else:
                yield host, one
        for unknown, some in sorted(older.items(), key=lambda item: sorted(item[0])):
            known = {name: value for name, value in arguments.items() if name not in unknown}
            yield from self._said(sorted(some), function, known)
