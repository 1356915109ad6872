"""Whether an SA can use up its sequence numbers before it is rekeyed.

Without ESN it has 2**32 of them, one a packet; the kernel sends nothing more by an SA that has none left
(XfrmOutStateSeqError), and charon is not told. It is rekeyed by time (``lifetime``), or by packets where
``lifepackets`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import durations, proposals

NUMBERS = 2**32
# packets a second that a pair is not expected to reach; 10 Gbit/s of long packets are 810,000
PLENTY = 1_000_000
# four fifths of the numbers; of the margin, which rekeyfuzz doubles, 29 s are left at 14.9 million a second
LIFEPACKETS, MARGINPACKETS = "3435973836", "429496729"


def warning(options: Mapping[str, str], path: str = "ipsec:connection") -> str:
    """Say at which rate sequence numbers run out before a rekeying, and what to set; empty for no worry.

    ``options`` are those of connections, ours with the pillar's over them; ``path`` is where that says so.
    """
    lifetime, margin = (_seconds(options.get(key, known)) for key, known in _TIMES.items())
    rate = NUMBERS // max(1, lifetime - margin)
    if rate >= PLENTY or not _short(options["esp"]) or _by_packets(options):
        return ""
    return (
        f"{path}:lifetime: found {options.get('lifetime', '1h')}, and 'esp' takes 32-bit"
        f" sequence numbers: from {rate:,} packets a second on they run out before the SA is rekeyed, and"
        f" nothing is sent any more; set lifepackets: {LIFEPACKETS} and marginpackets: {MARGINPACKETS},"
        " or a lifetime of 1h"
    )


_TIMES = {"lifetime": "1h", "margintime": "9m"}  # what starter takes where nothing is said


def _seconds(text: str) -> int:
    return durations.parse(text) or 0


def _short(esp: str) -> bool:
    """Whether an SA can come to have 32-bit numbers; charon's own proposals are with them."""
    found = [
        {one.name for one in proposal.of(proposals.SEQUENCE_NUMBERS)} for proposal in proposals.parse(esp)
    ]
    return not esp.strip().endswith("!") or any(not names or _NO_ESN in names for names in found)


_NO_ESN = "NO_EXT_SEQ_NUMBERS"


def _by_packets(options: Mapping[str, str]) -> bool:
    """Whether it is rekeyed by packets before they run out."""
    life, margin = (int(options.get(key, "0")) for key in ("lifepackets", "marginpackets"))
    return 0 < life - margin < NUMBERS
