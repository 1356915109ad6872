"""The words of charon for states and modes; whatever else stands in their place, charon did not say."""

from __future__ import annotations

# ike_sa.c, child_sa.c, ipsec_types.c; the text shows a mode of Mobile IPv6 with _PROXY
IKE_STATES = frozenset(
    ("CREATED", "CONNECTING", "ESTABLISHED", "PASSIVE", "REKEYING", "REKEYED", "DELETING", "DESTROYING")
)
CHILD_STATES = frozenset(
    (
        *("CREATED", "ROUTED", "INSTALLING", "INSTALLED", "UPDATING", "REKEYING", "REKEYED", "RETRYING"),
        *("DELETING", "DELETED", "DESTROYING"),
    )
)
MODES = frozenset(("TRANSPORT", "TUNNEL", "BEET", "PASS", "DROP", "TRANSPORT_PROXY"))
PRIORITIES = ("critical", "high", "medium", "low")  # of jobs


def allocated(sbrk: int, mmap: int, used: int, free: int) -> dict[str, int]:
    """Return the heap by kind; nothing of one over 2 GiB in 5.9.1, whose numbers have 32 bits and a sign."""
    return {"total": sbrk + mmap, "used": used, "free": free} if min(sbrk, mmap, used, free) >= 0 else {}
