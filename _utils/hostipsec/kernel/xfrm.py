"""What ``ip xfrm`` and ``/proc/net/xfrm_stat`` show, as values (iproute2 5.10 to 6.15)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..model import Kernel, KernelPolicy, KernelState

_ALGORITHM = re.compile(r"^\t(?:aead|enc|auth|auth-trunc) (\S+)", re.MULTILINE)
_CURRENT = re.compile(r"lifetime current:\s+(\d+)\(bytes\), (\d+)\(packets\)")
_IDENTITY = re.compile(r"proto (\S+) spi 0x([0-9a-f]{8})\S* reqid (\d+)\S* mode (\S+)")
_HEAD = re.compile(r"src (\S+) dst (\S+)")
_ICMP_TYPE = re.compile(r"src \S+ dst \S+ proto \S+ type (\d+)")
_DIRECTION = re.compile(r"^\tdir (in|out|fwd)(?: action (\S+))?.*? priority (\d+)", re.MULTILINE)
_TEMPLATE = re.compile(
    r"^\ttmpl src (\S+) dst (\S+)\s+proto \S+ (?:spi \S+ )?reqid (\d+)\S* mode (\S+)", re.MULTILINE
)
_INDEX = re.compile(r"^\tdir .*? index (\d+) ", re.MULTILINE)
_LEVEL = re.compile(r"^\t\tlevel (\S+)", re.MULTILINE)


def kernel(states: str, policies: str, errors: str) -> Kernel:
    """Return one look at the kernel, from the three texts."""
    return Kernel(parse_states(states), parse_policies(policies), parse_errors(errors))


def _blocks(text: str) -> Iterator[str]:
    """Yield the entries: each begins at the margin with ``src``, all else is indented."""
    for block in re.split(r"^(?=src )", text, flags=re.MULTILINE):
        if block.startswith("src "):
            yield block


def parse_states(text: str) -> tuple[KernelState, ...]:
    """Read ``ip -s xfrm state list nokeys``; ``-s`` may be missing, then bytes and packets are 0.

    ``(KernelState(src="10.0.0.1", dst="10.0.0.2", spi="c1a2b3c4", mode="transport", reqid=1,
    bytes=84, packets=1, algorithm="rfc4106(gcm(aes))"), ...)``
    """
    return tuple(state for state in map(_state, _blocks(text)) if state is not None)


def _state(block: str) -> KernelState | None:
    head, identity, current = _HEAD.match(block), _IDENTITY.search(block), _CURRENT.search(block)
    if head is None or identity is None:
        return None
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
    )


def parse_policies(text: str) -> tuple[KernelPolicy, ...]:
    """Read ``ip -s xfrm policy``; policies of sockets (charon's own, for IKE) are left out.

    ``(KernelPolicy(src="10.0.0.1/32", dst="10.0.0.2/32", direction="out", priority=367231,
    mode="transport", reqid=1, template_src="10.0.0.1", template_dst="10.0.0.2", number=1417), ...)``
    """
    return tuple(policy for policy in map(_policy, _blocks(text)) if policy is not None)


def _policy(block: str) -> KernelPolicy | None:
    head, direction = _HEAD.match(block), _DIRECTION.search(block)
    if head is None or direction is None:
        return None
    template, level, index = _TEMPLATE.search(block), _LEVEL.search(block), _INDEX.search(block)
    icmp = _ICMP_TYPE.match(block)
    return KernelPolicy(
        src=head.group(1),
        dst=head.group(2),
        direction=direction.group(1),
        action=direction.group(2) or "allow",
        priority=int(direction.group(3)),
        mode=template.group(4) if template else "",
        reqid=int(template.group(3)) if template else 0,
        level=level.group(1) if level else "required",
        template_src=template.group(1) if template else "",
        template_dst=template.group(2) if template else "",
        number=int(index.group(1)) if index else 0,
        icmp_type=icmp.group(1) if icmp else "",
    )


def parse_errors(text: str) -> Mapping[str, int]:
    """Read ``/proc/net/xfrm_stat``: ``{"XfrmInError": 0, ...}``."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
