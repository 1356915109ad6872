"""Stage ``require``: nothing goes or is accepted in the clear between the pair, whatever becomes of charon.

A trap does that only while charon runs, and for one address of this host: it takes its policies along when
it ends. So the kernel gets policies of our own that block, below all of charon's: where charon has a policy,
that one counts; where it has none, the packet is dropped (XfrmOutPolBlock, XfrmInPolBlock). They are by the
peer alone: for every address that this host has or will have, for what it sends, takes and forwards (to a
container, by a translated port). charon's sockets bypass policies.

What a rule leaves in the clear (``clear: [tcp/22]``), of whatever stage, passes by policies above charon's:
between the two addresses, the port of either end, both ways. They are there without charon as well, so that
nobody locks himself out; a policy keeps no account, so what comes *from* such a port passes, too.

Where a rule says what alone is encrypted (``only: [tcp/6379]``), policies above charon's send that by its SA,
and pass the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import paths
from ..model import Connection, KernelPolicy
from . import kernel
from .guardpolicies import BLOCK, PASS, Policy, batch, difference, present, said, wanted

__all__ = ("BLOCK", "PASS", "Policy", "batch", "difference", "present", "said", "wanted")


def changes(free: Sequence[Connection]) -> dict[str, list[str]]:
    """Return the selectors to be ``added`` and ``removed``, as a state reports them."""
    parts = dict(zip(("added", "removed"), difference(free, kernel.policies(paths.IP_DEADLINE))))
    return {key: [one.said for one in sorted(found)] for key, found in parts.items() if found}


def apply(free: Sequence[Connection]) -> int:
    """Make the kernel's policies of the guard what the connections mean; return how many were changed."""
    return amend(free, kernel.policies(paths.IP_DEADLINE))


def add(free: Sequence[Connection]) -> int:
    """Add what is missing, and remove nothing: for who is not sure to know all connections."""
    there = kernel.policies(paths.IP_DEADLINE)
    return _set(difference(free, there)[0], frozenset())


def amend(free: Sequence[Connection], there: Iterable[KernelPolicy]) -> int:
    """Do it from a look at the kernel that was taken already."""
    return _set(*difference(free, there))


def _set(added: frozenset[Policy], removed: frozenset[Policy]) -> int:
    """Remove only once all is there that is to be added; ``ip`` ends at the first line that fails."""
    wrong = []
    for family in (".", ":"):  # what the kernel refuses of one opens nothing of the other
        try:
            _run(batch((one for one in added if family in one.src), ()))
        except kernel.KernelError as error:
            wrong.append(error)
    if wrong:
        raise wrong[0]
    replaced = {one.selector for one in added}  # the kernel keeps one policy a selector
    _run(batch((), (one for one in removed if one.selector not in replaced)))
    return len(added) + len(removed)


def _run(lines: str) -> None:
    if lines:
        kernel.set_policies(lines, paths.IP_DEADLINE)
