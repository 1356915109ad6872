"""What ``ip xfrm`` and ``/proc/net/xfrm_stat`` show, as values (iproute2 5.10 to 6.15)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Optional

from ..errors import HostIPsecError
from ..model import Kernel, KernelPolicy, KernelState

_ALGORITHM = re.compile(r"^\t(?:aead|enc|auth|auth-trunc) (\S+)", re.MULTILINE)
_CURRENT = re.compile(r"lifetime current:\s+(\d{1,20})\(bytes\), (\d{1,20})\(packets\)")
_STATS = re.compile(r"\s+replay-window (\d{1,20}) replay (\d{1,20}) failed (\d{1,20})")
_OUT = re.compile(r" oseq 0x([0-9a-f]{1,8})\b")
_ESN = re.compile(r"^\t(?:replay-window .*?)?flag .*\besn\b", re.MULTILINE)
_ADDED = re.compile(r"^\t  add (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) use ", re.MULTILINE)
_IDENTITY = re.compile(r"^\tproto (\S+) spi 0x([0-9a-f]{8})\S* reqid (\d{1,10})\S* mode (\S+)", re.MULTILINE)
_HEAD = re.compile(r"src (\S+) dst (\S+)((?: .*?)??)(?: uid \d+)? *$", re.MULTILINE)
_ICMP_TYPE = re.compile(r"proto \S+ type (\d{1,3})\b")
_DIRECTION = re.compile(
    r"^\tdir (in|out|fwd)(?: action (\S+))?.*? priority (\d{1,10})(?= share | ptype | flag | *$)",
    re.MULTILINE,
)
_SOCKET = re.compile(r"^\tsocket (?:in|out|fwd) ", re.MULTILINE)
_TEMPLATE = re.compile(
    r"^\ttmpl src (\S+) dst (\S+)\s+proto (\S+) (?:spi \S+ )?reqid (\d{1,10})\S* mode (\S+)", re.MULTILINE
)
_TEMPLATES = re.compile(r"^\ttmpl ", re.MULTILINE)
_INDEX = re.compile(r"^\tdir .*? index (\d{1,10}) ", re.MULTILINE)
_LEVEL = re.compile(r"^\t\tlevel (\S+)", re.MULTILINE)
_LIMITED = re.compile(r"\b(mark 0x[0-9a-f]+/0x0*[1-9a-f][0-9a-f]*|if_id 0x[0-9a-f]+)\b")
_MARKED = re.compile(
    r"(?<=[\t ])(mark 0x[0-9a-f]+/0x0*[1-9a-f][0-9a-f]*|output-mark 0x[0-9a-f/x]+|if_id 0x[0-9a-f]+)"
)
_STRAY = re.compile(r"\n(?!src |\t|\n|\Z)")  # a line of an entry that is not indented
_LIFETIME = (
    r"limit: soft \S+\((?:bytes|packets)\), hard \S+\((?:bytes|packets)\)"
    r"|expire (?:add|use): soft \d+\(sec\), hard \d+\(sec\)"
    r"|\d+\(bytes\), \d+\(packets\)|add [-0-9: ]+ use [-0-9: ]+"
)
_STRANGE = re.compile(rf"\n\t  (?!(?:{_LIFETIME}) *(?:\n|\Z))")  # where only lifetimes stand
_ACTIONS, _LEVELS = ("allow", "block"), ("required", "use")


class UnreadableError(HostIPsecError):
    """What ``ip xfrm`` printed is not what it prints."""


def kernel(states: str, policies: str, errors: str) -> Kernel:
    """Return one look at the kernel, from the three texts. Raises UnreadableError."""
    return Kernel(parse_states(states), parse_policies(policies), parse_errors(errors))


def _blocks(text: str, what: str) -> Iterator[str]:
    """Yield the entries: each begins at the margin with ``src``, all else is indented.

    A text without entries, such as a complaint of ``ip``, has none. Raises UnreadableError.
    """
    head, *blocks = re.split(r"^(?=src )", text, flags=re.MULTILINE)
    for block in [*([head] if head.count("\n\t") else []), *blocks]:
        if not block.startswith("src ") or _STRAY.search(block):
            raise _unreadable(what, block)
        yield block


@lru_cache(maxsize=4096)
def _is_selector(text: str) -> bool:
    """Say whether a text is an address, or a network."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _unreadable(what: str, block: str) -> UnreadableError:
    shown = " ".join(block.split())
    return UnreadableError(f"ip xfrm {what} printed what cannot be read: {shown[:80]!r}")


def parse_states(text: str) -> tuple[KernelState, ...]:
    """Read ``ip -s xfrm state list nokeys``; ``-s`` may be missing, then bytes and packets are 0.

    ``(KernelState(src="10.0.0.1", dst="10.0.0.2", spi="c1a2b3c4", mode="transport", reqid=1,
    bytes=84, packets=1, algorithm="rfc4106(gcm(aes))"), ...)``. Raises UnreadableError.
    """
    return tuple(_state(block) for block in _blocks(text, "state"))


def _state(block: str) -> KernelState:
    head, identity, current = _HEAD.match(block), _IDENTITY.search(block), _CURRENT.search(block)
    if head is None or identity is None or not all(map(_is_selector, head.groups()[:2])):
        raise _unreadable("state", block)
    replays, failures = _refused(block)
    return KernelState(
        src=head.group(1),
        dst=head.group(2),
        proto=identity.group(1),
        spi=identity.group(2),
        reqid=int(identity.group(3)),
        mode=identity.group(4),
        bytes=int(current.group(1)) if current else 0,
        packets=int(current.group(2)) if current else 0,
        algorithm="/".join(_ALGORITHM.findall(block)),
        mark=" ".join(_MARKED.findall(block)),
        replays=replays,
        failures=failures,
        sequence=_sequence(block),
    )


def _refused(block: str) -> tuple[int, int]:
    """Return how many packets an SA refused: by their numbers, and by their integrity check."""
    stats = _STATS.match(block.partition("\n\tstats:")[2])
    passed, twice, failed = map(int, stats.groups()) if stats else (0, 0, 0)
    return passed + twice, failed


def _sequence(block: str) -> Optional[int]:
    """Return the number of the last packet out; None with ESN, and where it is not told."""
    out = _OUT.search(block, block.find("\n\tanti-replay "))
    return None if out is None or ("esn" in block and _ESN.search(block)) else int(out[1], 16)


def added(text: str) -> Mapping[tuple[str, str], str]:
    """Return when SAs were made, by destination and SPI, of what :func:`parse_states` reads: local time.

    ``{("10.0.0.2", "c1a2b3c4"): "2026-11-24 04:13:50", ...}``
    """
    found = (
        (_HEAD.match(block), _IDENTITY.search(block), _ADDED.search(block))
        for block in _blocks(text, "state")
    )
    return {(head[2], identity[2]): time[1] for head, identity, time in found if head and identity and time}


def parse_policies(text: str) -> tuple[KernelPolicy, ...]:
    """Read ``ip -s xfrm policy``; policies of sockets (charon's own, for IKE) are left out.

    ``(KernelPolicy(src="10.0.0.1/32", dst="10.0.0.2/32", direction="out", priority=367231,
    mode="transport", reqid=1, template_src="10.0.0.1", template_dst="10.0.0.2", number=1417), ...)``. Raises
    UnreadableError: a policy that cannot be read may be the one that lets packets pass.
    """
    return tuple(_policy(block) for block in _blocks(text, "policy") if not _SOCKET.search(block))


def _policy(block: str) -> KernelPolicy:
    head, direction, index = _HEAD.match(block), _DIRECTION.search(block), _INDEX.search(block)
    templates, levels, limits = (found.findall(block) for found in (_TEMPLATE, _LEVEL, _LIMITED))
    if head is None or direction is None or not _whole(head, direction, templates, levels, block):
        raise _unreadable("policy", block)
    template = templates[-1] if templates else ("", "", "", "0", "")
    narrow = head.group(3).strip()
    icmp = _ICMP_TYPE.match(narrow)
    return KernelPolicy(
        src=head.group(1),
        dst=head.group(2),
        direction=direction.group(1),
        action=direction.group(2) or "allow",
        priority=int(direction.group(3)),
        mode=template[4],
        reqid=int(template[3]),
        level=_level(templates, levels),
        template_src=template[0],
        template_dst=template[1],
        number=int(index.group(1)) if index else 0,
        icmp_type=icmp.group(1) if icmp else "",
        narrow=" ".join([*narrow.split(), *limits]),
        mark=" ".join(limits),
        proto=" ".join(one[2] for one in templates) or "esp",
    )


def _level(templates: Sequence[Sequence[str]], levels: Sequence[str]) -> str:
    """Return the level of ESP: compression is optional. Without ``-s`` ``required`` is not printed."""
    if len(levels) == len(templates):
        levels = [level for one, level in zip(templates, levels) if one[2] == "esp"]
    return next((level for level in levels if level != "required"), "required")


def _whole(
    head: re.Match[str],
    direction: re.Match[str],
    templates: Sequence[object],
    levels: Sequence[str],
    block: str,
) -> bool:
    """Say whether the words of a policy are words of ``ip``."""
    return (
        all(map(_is_selector, head.groups()[:2]))
        and direction.group(2) in (None, *_ACTIONS)
        and block.count(" priority ") == 1  # of one policy, not of two without an end between them
        and not _STRANGE.search(block)
        and len(templates) == len(_TEMPLATES.findall(block))
        and {*levels} <= {*_LEVELS}
    )


def parse_errors(text: str) -> Mapping[str, int]:
    """Read ``/proc/net/xfrm_stat``: ``{"XfrmInError": 0, ...}``."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
