"""What vici answers, as a value: the same :class:`~hostipsec.model.Charon` that statusall gives.

Reads the answers of strongSwan 5.9.1, 5.9.8 and 6.0.1 to ``version``, ``stats``, ``list-conns``,
``list-sas`` and ``list-policies`` (trap): mappings with values of bytes. Values of str are taken as well.
"""

from __future__ import annotations

import contextlib
import re
import reprlib
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Callable, Optional

from ..errors import CharonError
from ..model import Charon, ChildSA, IkeSA, Load, LoadedConnection
from ..strongswan import durations
from .states import CHILD_STATES, IKE_STATES, MODES, allocated

Message = typing.Mapping[str, Any]  # values are bytes, lists of bytes, or Messages
_NONE: Message = {}
_NUMBER = re.compile("-?[0-9]{1,20}", re.ASCII)
_SHOWN = 20  # characters of what is no number
# the elements of a message (strongSwan's vici/README.md)
_SECTION, _SECTION_END, _KEY, _LIST, _ITEM, _LIST_END = range(1, 7)


def decoded(payload: bytes) -> Message:
    """Return a message from its bytes: ``{"cp1_v4": {"uniqueid": b"7", "local_addrs": [b"10.0.0.1"]}}``.

    Python's ``vici`` library does the same in more than twice the time, which shows at 100 connections.
    Raises ValueError or IndexError where it is none.
    """
    message, end = _section(payload + bytes([_SECTION_END]), 0)
    if end != len(payload) + 1:
        raise ValueError("a section ends that did not begin")
    return message


def _section(payload: bytes, at: int) -> tuple[Message, int]:
    """Return what stands from there to the end of the section, and where that is."""
    found: dict[str, Any] = {}
    while payload[at] != _SECTION_END:
        kind, begin = payload[at], at + 2
        at = begin + payload[at + 1]
        read = _READ.get(kind)
        if read is None:
            raise ValueError(f"no element of a section: {kind}")
        found[payload[begin:at].decode()], at = read(payload, at)
    return found, at + 1


def _value(payload: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + (payload[at] << 8 | payload[at + 1])
    return payload[at + 2 : end], end


def _items(payload: bytes, at: int) -> tuple[list[bytes], int]:
    found = []
    while payload[at] == _ITEM:
        value, at = _value(payload, at + 1)
        found.append(value)
    if payload[at] != _LIST_END:
        raise ValueError(f"no element of a list: {payload[at]}")
    return found, at + 1


_READ: Mapping[int, Callable[[bytes, int], tuple[Any, int]]] = {
    _SECTION: _section,
    _KEY: _value,
    _LIST: _items,
}


def charon(
    version: Message = _NONE,
    stats: Message = _NONE,
    conns: Iterable[Message] = (),
    sas: Iterable[Message] = (),
    policies: Iterable[Message] = (),
) -> Charon:
    """Return one look at charon, from the five answers, or those of them that were asked for.

    ``conns``, ``sas`` and ``policies`` are the streamed events, each ``{name: section}``. Raises CharonError
    where they are not what charon answers: what is missing may be what is wrong.
    """
    try:
        return _charon(version, stats, conns, sas, policies)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CharonError(f"charon answered over vici what cannot be read ({reprlib.repr(error)})") from None


def _charon(
    version: Message,
    stats: Message,
    conns: Iterable[Message],
    sas: Iterable[Message],
    policies: Iterable[Message],
) -> Charon:
    workers = stats.get("workers", {})
    running = _text(stats.get("uptime", {}), "running")
    return Charon(
        version=_text(version, "version"),
        backend="vici",
        uptime=durations.spelt(running) if running else None,
        workers_total=_number(workers, "total"),
        workers_idle=_number(workers, "idle"),
        plugins=_texts(stats, "plugins"),
        connections=tuple(_connection(name, section) for name, section in _named(conns)),
        ike_sas=tuple(_ike_sa(name, section) for name, section in _named(sas)),
        routed=tuple(
            _text(section, "child") or name.rpartition("/")[2] for name, section in _named(policies)
        ),
        load=_load(stats) if stats else Load(),
    )


def _load(stats: Message) -> Load:
    """Return what is told of the load; nothing where it cannot be read: no verdict rests on it."""
    with contextlib.suppress(ValueError, TypeError, AttributeError, LookupError):
        heap = _numbers(stats.get("mallinfo", _NONE))
        return Load(
            busy=_numbers(stats.get("workers", _NONE).get("active", _NONE)),
            queued=_numbers(stats.get("queues", _NONE)),
            scheduled=_number(stats, "scheduled"),
            ike_sas=_number(stats.get("ikesas", _NONE), "total"),
            half_open=_number(stats.get("ikesas", _NONE), "half-open"),
            heap=allocated(**heap) if heap else {},
        )
    return Load()


def counters(answer: Message) -> dict[str, int]:
    """Return charon's own counters, by its names (``ike-init-in-req``), from its answer to ``get-counters``.

    Raises CharonError where it cannot be read.
    """
    try:
        (found,) = answer["counters"].values()
        return _numbers(found)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CharonError(f"charon answered over vici what cannot be read ({reprlib.repr(error)})") from None


def _numbers(section: Message) -> dict[str, int]:
    found = {_decoded(key): _number(section, key) for key in section}
    return {key: number for key, number in found.items() if number is not None}


def _named(events: Iterable[Message]) -> Iterator[tuple[str, Message]]:
    for event in events:
        for name, section in event.items():
            yield _decoded(name), section


def _decoded(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is no text")
    return value


def _text(section: Message, key: str) -> str:
    return _decoded(section[key]) if key in section else ""


def _texts(section: Message, key: str) -> tuple[str, ...]:
    found = section.get(key, ())
    if not isinstance(found, (list, tuple)):
        raise TypeError(f"{key} is no list: {found!r}")
    return tuple(map(_decoded, found))


def _number(section: Message, key: str) -> Optional[int]:
    if key not in section:
        return None
    text = _decoded(section[key])
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{key} is no number: {text[:_SHOWN]!r}")
    return int(text)


def _word(section: Message, key: str, known: Collection[str]) -> str:
    """Return one of a few words, empty where it is not told. Raises ValueError for another."""
    word = _text(section, key)
    if word and word not in known:
        raise ValueError(f"{key} is {word!r}")
    return word


def _until(section: Message, key: str) -> Optional[int]:
    """Return the seconds until a time; charon counts below zero when it has passed."""
    number = _number(section, key)
    return None if number is None else max(0, number)


def _connection(name: str, section: Message) -> LoadedConnection:
    return LoadedConnection(
        name=name,
        local_addrs=_texts(section, "local_addrs"),
        remote_addrs=_texts(section, "remote_addrs"),
        local_id=_first_id(section, "local-"),
        remote_id=_first_id(section, "remote-"),
        children=tuple(section.get("children", {})),
        modes=tuple(_text(child, "mode") for child in section.get("children", {}).values()),
        remote_cas=tuple(ca for one in _rounds(section, "remote-") for ca in _texts(one, "cacerts")),
    )


def _first_id(section: Message, prefix: str) -> str:
    """Return the identity of the first authentication round that has one."""
    return next((_text(one, "id") for one in _rounds(section, prefix) if "id" in one), "")


def _rounds(section: Message, prefix: str) -> Iterator[Message]:
    """Yield the authentication rounds of an end."""
    return (value for key, value in section.items() if key.startswith(prefix) and isinstance(value, Mapping))


def _ike_sa(name: str, section: Message) -> IkeSA:
    found = _ike_told(name, section)
    if found.state == "ESTABLISHED" and not found.proposal:
        raise ValueError(f"no proposal of {found.name}[{found.uniqueid}] is told")
    return found


def _ike_told(name: str, section: Message) -> IkeSA:
    return IkeSA(
        name=name,
        uniqueid=_number(section, "uniqueid") or 0,
        state=_word(section, "state", IKE_STATES),
        local_host=_text(section, "local-host"),
        remote_host=_text(section, "remote-host"),
        local_id=_text(section, "local-id"),
        remote_id=_text(section, "remote-id"),
        initiator=_text(section, "initiator") == "yes",
        initiator_spi=_text(section, "initiator-spi"),
        responder_spi=_text(section, "responder-spi"),
        proposal=_ike_proposal(section),
        established=_number(section, "established"),
        rekey_time=_until(section, "rekey-time"),
        reauth_time=_until(section, "reauth-time"),
        tasks=tuple(
            task for queue in ("queued", "active", "passive") for task in _texts(section, f"tasks-{queue}")
        ),
        children=tuple(_child(child) for child in section.get("child-sas", {}).values()),
    )


def _child(section: Message) -> ChildSA:
    child = _told(section)
    installed = (
        child.spi_in and child.spi_out and child.reqid is not None and child.local_ts and child.remote_ts
    )
    if child.state == "INSTALLED" and not (installed and child.proposal):
        raise ValueError(f"not all of CHILD SA {child.name}{{{child.uniqueid}}} is told")
    return child


def _told(section: Message) -> ChildSA:
    return ChildSA(
        name=_text(section, "name"),
        state=_word(section, "state", CHILD_STATES),
        mode=_word(section, "mode", MODES),
        uniqueid=_number(section, "uniqueid"),
        reqid=_number(section, "reqid"),
        protocol=_text(section, "protocol") or "ESP",
        udp_encap=_text(section, "encap") == "yes",
        spi_in=_text(section, "spi-in") or None,
        spi_out=_text(section, "spi-out") or None,
        proposal=_child_proposal(section),
        bytes_in=_number(section, "bytes-in") or 0,
        bytes_out=_number(section, "bytes-out") or 0,
        packets_in=_number(section, "packets-in") or 0,
        packets_out=_number(section, "packets-out") or 0,
        use_in=_number(section, "use-in"),
        use_out=_number(section, "use-out"),
        rekey_time=_until(section, "rekey-time"),
        life_time=_until(section, "life-time"),
        install_time=_number(section, "install-time"),
        local_ts=_texts(section, "local-ts"),
        remote_ts=_texts(section, "remote-ts"),
    )


def _sized(section: Message, kind: str) -> str:
    """Return ``AES_GCM_16_128`` from an algorithm and its key size, which few integrity algorithms have."""
    size = _text(section, f"{kind}-keysize")
    return _text(section, f"{kind}-alg") + (f"_{size}" if size else "")


def _ike_proposal(section: Message) -> str:
    """Return the proposal in the order that statusall prints."""
    keys = {n: f"ake{n}" for n in range(1, 8)}  # codespell:ignore
    more = [f"KE{n}_{_text(section, key)}" for n, key in keys.items() if key in section]
    parts = [_sized(section, "encr"), _sized(section, "integ"), _text(section, "prf-alg")]
    return "/".join(part for part in [*parts, _text(section, "dh-group"), *more] if part)


def _child_proposal(section: Message) -> str:
    parts = [_sized(section, "encr"), _sized(section, "integ"), _text(section, "dh-group")]
    return "/".join(part for part in [*parts, "ESN" if "esn" in section else ""] if part)
