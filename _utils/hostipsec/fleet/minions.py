"""The hands of a roll-out: hosts reached through Salt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import answers, outcome
from .asking import Asking, Client, MasterError


class Minions:
    """Hosts of a roll-out; ``mark`` tells it from others, and is kept by each host that it changes.

    See :class:`~hostipsec.fleet.fleetrollout.Hands`.
    """

    def __init__(self, client: Client, mark: str) -> None:
        self._client, self.mark = client, mark

    def ask(
        self, function: str, hosts: Sequence[str], **arguments: object
    ) -> tuple[Mapping[str, Mapping[str, Any]], Sequence[str]]:
        """Ask hosts; return their answers, and sentences about those that gave none."""
        heard = Asking(self._client).ask(hosts, f"ipsec.{function}", arguments)
        if heard.interrupted:
            raise KeyboardInterrupt
        return {host: one.as_dict() for host, one in heard.answers.items()}, outcome.lost(heard)

    def apply(self, hosts: Sequence[str], stage: str) -> Mapping[str, Sequence[str]]:
        """Apply state ``ipsec`` as far as a stage; return by host what is wrong, without the silent."""
        override = {"ipsec_rollout": {"stage": stage, "mark": self.mark}}
        found: dict[str, list[str]] = {}
        try:
            for host, states in self._client.returns(
                hosts, "state.apply", {"mods": "ipsec", "pillar": override}
            ):
                found[host] = answers.wrong_states(states)
                self.say(f"{host}: {'; '.join(found[host]) or 'done'}")
        except MasterError as error:
            return {**{host: [f"not known, the master says: {error}"] for host in hosts}, **found}
        return found

    def say(self, text: str) -> None:
        """Tell the operator how far it has come."""
        self._client.say(text)

    def clock(self) -> float:
        """Return seconds that only grow."""
        return self._client.clock()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._client.sleep(seconds)
