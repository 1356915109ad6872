"""The hands of a roll-out: hosts reached through Salt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import answers, asking, outcome
from .asking import Asking, Client, MasterError
from .batches import Done
from .marks import Last


class Minions:
    """Hosts of a roll-out; its mark tells it from others, and is kept by each host that it changes.

    ``so_far`` is the roll-out as it is noted, with the hosts that it told before it was stopped, ``pillar``
    returns a digest of the master's pillar, and ``keep`` notes how far it has come. See
    :class:`~hostipsec.fleet.fleetrollout.Hands`.
    """

    def __init__(
        self, client: Client, so_far: Last, pillar: Callable[[], str], keep: Callable[[Last], None]
    ) -> None:
        self._client, self._so_far = client, so_far
        self._pillar, self._keep = pillar, keep

    @property
    def mark(self) -> str:
        """Return what tells the roll-out from others."""
        return self._so_far.mark

    def ask(
        self, function: str, hosts: Sequence[str], **arguments: object
    ) -> tuple[Mapping[str, Mapping[str, Any]], Sequence[str]]:
        """Ask hosts; return their answers, and sentences about those that gave none."""
        heard = Asking(self._client).ask(hosts, f"ipsec.{function}", arguments)
        if heard.interrupted:
            raise KeyboardInterrupt
        return {host: one.as_dict() for host, one in heard.answers.items()}, outcome.lost(heard)

    def apply(
        self, hosts: Sequence[str], stage: str, pillars: Mapping[str, str]
    ) -> Iterator[tuple[str, Done]]:
        """Apply state ``ipsec`` as far as a stage; yield each host as it answers, and what became of it."""
        told = {"stage": stage, "mark": self.mark, **({"pillars": dict(pillars)} if pillars else {})}
        arguments, heard = {"mods": "ipsec", "pillar": {"ipsec_rollout": told}}, set()
        try:
            for host, states in asking.returns(self._client, hosts, "state.apply", arguments):
                heard.add(host)
                done = Done(tuple(answers.wrong_states(states)), answers.changed_states(states))
                yield host, done
                self.say(f"{host}: {'; '.join(done.wrong) or 'done'}")
        except MasterError as error:
            for host in hosts:
                if host not in heard:
                    yield host, Done((f"not known, the master says: {error}",), changed=None)

    def pillar(self) -> str:
        """Return a digest of the pillar as it is now at the master."""
        return self._pillar()

    def keep(self, told: Sequence[str], through: bool) -> None:
        """Note at the master which hosts were told to change so far, and whether it is through."""
        every = dict.fromkeys((*self._so_far.told, *told))
        self._keep(Last(self.mark, tuple(every), through))

    def say(self, text: str) -> None:
        """Tell the operator how far it has come."""
        self._client.say(text)

    def clock(self) -> float:
        """Return seconds that only grow."""
        return self._client.clock()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._client.sleep(seconds)
