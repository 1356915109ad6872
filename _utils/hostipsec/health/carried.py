"""Whether the SAs that charon shows of a connection carry all of its packets, and encrypt them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from .. import owner
from ..affixes import without_suffix
from ..kernel import ciphers, guardpolicies
from ..model import ChildSA, KernelState, Meant
from ..strongswan import strength
from . import selectors, winning
from .found import Found, Tables
from .winning import WAYS

# What the kernel has of them -------------------------------------------------------------------


def missing(found: Found) -> str:
    """Say what the kernel lacks for every CHILD SA; empty where one of them is whole."""
    lacking = ""
    for child in found.children:
        absent = [*_absent_states(found, child), *_absent_policies(found, child)]
        if not absent:
            return ""
        lacking = f"charon says {child.state}, but the kernel has no {', no '.join(absent)}"
    return lacking


def _absent_states(found: Found, child: ChildSA) -> Iterator[str]:
    out, into = found.states
    for way, spi, there in (("in", child.spi_in, into), ("out", child.spi_out, out)):
        if not any(_is_of(one, child, spi) for one in there):
            yield f"SA {spi} {way}" if _told(child) else f"SA of reqid {child.reqid} {way}"


def _told(child: ChildSA) -> bool:
    """Whether an SA is to be found by its SPI: of others than INSTALLED ones not all ways to ask show it."""
    return child.state == "INSTALLED"


def _is_of(state: KernelState, child: ChildSA, spi: Optional[str]) -> bool:
    known = state.spi == spi if _told(child) else state.reqid == child.reqid
    return known and state.proto == child.protocol.lower() == "esp"


def _absent_policies(found: Found, child: ChildSA) -> Iterator[str]:
    mine = winning.of_connection(found.connection, _reqids([child]))
    yield from (f"policy {way}" for way in WAYS[::-1] if winning.missing(found.policies[way], mine))


def _reqids(children: Sequence[ChildSA]) -> frozenset[int]:
    return frozenset(child.reqid for child in children if child.reqid is not None)


def trap(found: Found) -> str:
    """Say why the trap of a connection without SAs catches nothing; empty where it does."""
    mine = winning.of_connection(found.connection, ())
    absent = [f"policy {way}" for way in WAYS if winning.missing(found.policies[way], mine)]
    if absent:
        return f"charon has a trap, but the kernel has no {', no '.join(absent)}: no packet starts it"
    return next(_decided_by_others(found, mine), "")


# Whether they encrypt --------------------------------------------------------------------------


def in_the_clear(found: Found, tables: Tables) -> str:
    """Say what is not encrypted although SAs are there; empty for nothing."""
    bad = next(_bad_ciphers(found, found.meant), "")
    if bad:
        return f"the SA is worth nothing: {bad}"
    passing = _passes_by(found) if tables.kernel_read else ""
    if passing:
        return passing
    uncovered = selectors.uncovered(found.connection, found.children)
    if uncovered or not tables.kernel_read:
        return uncovered
    mine = winning.of_connection(found.connection, _reqids(found.children))
    return next(_decided_by_others(found, mine), "")


def _passes_by(found: Found) -> str:
    """Say why what alone is to be encrypted is not, where policies of ours pass all the rest."""
    one = found.possible or found.connection
    lacking = {(policy.place, policy.direction) for policy in found.lacking}
    # where the rest does not pass, charon's policy is for all packets
    only = {"out": one.only, "in": one.taking.only}
    passing = [way for way in WAYS if only[way] and (guardpolicies.REST, way) not in lacking]
    what, reqid = ", ".join(one.only or one.taking.only), owner.reqid(one.name)
    for way in passing:
        if (guardpolicies.ESP, way) in lacking:
            return f"all passes in the clear ({way}), and no policy has {what} in ESP"
    if "out" in passing and reqid not in _reqids(found.children):
        return f"the SA is not of the reqid {reqid} that {what} is sent by: reauthenticate it"
    return ""


def _bad_ciphers(found: Found, meant: Meant) -> Iterator[str]:
    """Yield what is wrong with the ciphers of any of the SAs: packets may go by each."""
    proposals = [(sa.proposal, "ike") for sa in found.up] + [(one.proposal, "esp") for one in found.children]
    yield from filter(None, (strength.wrong(shown, meant.weak, kind) for shown, kind in proposals))
    for child in found.children:
        for one in (*found.states[0], *found.states[1]):
            if _is_of(one, child, child.spi_in) or _is_of(one, child, child.spi_out):
                yield from filter(None, [ciphers.wrong(one.algorithm, meant.weak)])


def _decided_by_others(found: Found, mine: winning.Mine) -> Iterator[str]:
    told = any(child.local_ts for child in found.children)
    parts = told and not selectors.whole(found.connection, found.children)  # policies are for these, too
    for way in WAYS:
        there = found.policies[way]
        yield from filter(None, [winning.wrong(there, found.connection, mine, way)])
        limits = winning.limits(there, mine)
        if limits and not (parts and limits.startswith("proto ")):
            yield f"charon's policy {way} is for {limits} alone"


# Whether they are as configured ----------------------------------------------------------------


def other_than_meant(found: Found) -> Iterator[str]:
    """Yield in what mode and proposals are other than configured, where that is known."""
    meant = found.meant
    mode = _plain(meant.mode.upper() or found.mode)
    modes = {_plain(child.mode) for child in found.children}
    if mode and modes != {mode}:
        found_in = " and ".join(sorted(modes))
        yield f"in mode {found_in}, configured is {mode}: reauthenticate it (ipsec.reauthenticate)"
    for kind, text, every in (
        ("esp", meant.esp, [child.proposal for child in found.children]),
        ("ike", meant.ike, [sa.proposal for sa in found.up]),
    ):
        other = [shown for shown in every if not strength.configured(shown, text, kind)]
        if other:
            yield f"it has {other[0]}, configured is {kind}={text}: reauthenticate it (ipsec.reauthenticate)"
    if meant.esp and other_number(found):
        what = ", ".join(found.connection.only)
        yield f"all is encrypted yet, and not only {what}: reauthenticate it (ipsec.reauthenticate)"


def other_number(found: Found) -> bool:
    """Whether its SAs are from before its rule said what alone is encrypted."""
    reqids = _reqids(found.children)
    return bool(found.connection.only and reqids) and owner.reqid(found.connection.name) not in reqids


def _plain(mode: str) -> str:
    return without_suffix(mode, "_PROXY")


# What went by them, and since when -------------------------------------------------------------


def packets(found: Found) -> tuple[int, int]:
    """Return how many packets went out by its SAs, and came in; stroke tells it of INSTALLED ones alone.

    Of others the kernel does, by their reqid. Without a time of use charon shows no packets.
    """
    told = [child for child in found.children if _told(child)]
    used = any(child.use_out is not None for child in told)
    sent, got = (sum(one.packets for one in way) for way in _untold(found))
    sent += sum(child.packets_out for child in told) if used else 0
    return sent, got + sum(child.packets_in for child in told)


def _untold(found: Found) -> tuple[Sequence[KernelState], Sequence[KernelState]]:
    """Return the kernel's SAs of those that are not to be found by an SPI, out and in."""
    told = {spi for child in found.children if _told(child) for spi in (child.spi_in, child.spi_out)}
    others = [child for child in found.children if not _told(child)]
    out, into = (
        [one for one in way if one.spi not in told and any(_is_of(one, child, None) for child in others)]
        for way in found.states
    )
    return out, into


def age(found: Found) -> int:
    """Return the seconds for which its youngest SA has been there at most, by the kernel's word.

    stroke does not tell it, so charon is not asked. Where the kernel does not tell it either, none is older
    than its IKE SA.
    """
    told = [child.spi_out for child in found.children if _told(child)]
    ages = [_age_of(found, [one for one in found.states[0] if one.spi == spi]) for spi in told]
    if len(told) < len(found.children):
        ages.append(_age_of(found, _untold(found)[0]))
    return min(ages, default=0)


def _age_of(found: Found, states: Sequence[KernelState]) -> int:
    """Return the age of the youngest; of none, or where the kernel does not tell it, that of the IKE SA."""
    ages = [one.age for one in states if one.age is not None]
    if ages and len(ages) == len(states):
        return min(ages)
    return min((sa.established or 0 for sa in found.up), default=0)
