"""The one shape in which every verb of a host answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .errors import HostIPsecError, PillarError, UnknownArgumentError

_NOUN = re.compile(r"(.+?)( (?:in|of|that|with) .+)?")  # what there is, and which
_NONE: Mapping[str, Any] = MappingProxyType({})


class Answer(NamedTuple):
    """What a host's verbs give: down, up, verify, reauthenticate, rollback, plan, status, check.

    These five keys are always there; each verb has keys of its own beside them. Where a verb could not be
    carried out at all, ``error`` says why as well, in one text, and ``unknown`` names the arguments that this
    version does not know, if it was for them.
    """

    ok: bool  # everything is as asked
    sentence: str  # a summary; nobody has to take it apart: what it says is in the other keys, too
    connections: Mapping[str, Mapping[str, object]] = _NONE  # by name
    problems: Sequence[str] = ()  # what is not as asked, sentences
    notes: Sequence[str] = ()  # what else is worth knowing, sentences
    own: Mapping[str, object] = _NONE  # the verb's further keys

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            **self.own,
            "ok": self.ok,
            "sentence": self.sentence,
            "connections": {name: dict(row) for name, row in self.connections.items()},
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def failed(error: HostIPsecError, own: Mapping[str, object] = _NONE) -> Answer:
    """Return the answer of a verb that could not be carried out; ``own`` are its further keys, empty."""
    problems = [str(one) for one in error.problems] if isinstance(error, PillarError) else [str(error)]
    unknown = {"unknown": list(error.names)} if isinstance(error, UnknownArgumentError) else {}
    return Answer(False, str(error), problems=problems, own={**own, **unknown, "error": str(error)})


def counted(number: int, noun: str = "connection") -> str:
    """Return ``1 peer``, ``2 peers``; ``2 policies of x`` of ``policy of x``, ``2 IKE SAs`` of ``IKE SA``."""
    name, more = _NOUN.fullmatch(noun).groups("")  # type: ignore[union-attr]
    many = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    return f"{number:,} {name if number == 1 else many}{more}"
