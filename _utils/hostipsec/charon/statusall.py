"""The text of ``ipsec statusall`` as a value.

Reads what ``stroke_list.c`` of strongSwan 5.9.1, 5.9.8 and 6.0.1 prints. Against vici, which reads
the same charon, the text says less: times are rounded down to the unit shown ("2 hours"), ``life_time``
and ``install_time`` are not there, packets are shown only with a time of use, and a CHILD SA in any
state but INSTALLED shows neither SPIs nor counters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

from ..errors import CharonError
from ..model import Charon, ChildSA, IkeSA, Load, LoadedConnection
from ..strongswan.durations import spelt
from .states import CHILD_STATES, IKE_STATES, MODES, PRIORITIES, allocated

_SHOWN = 200  # characters of a line that cannot be read
_SPAN = r"([0-9]{1,9} (?:second|minute|hour|day)s?)"
_BANNER = re.compile(r"Status of IKE charon daemon \(\w+Swan (\S+?),? ")
_SECTIONS = (
    "Virtual IP pools",
    "Listening IP addresses:",
    "Connections:",
    "Shunted Connections:",
    "Routed Connections:",
    "Security Associations",
)


class CutOffError(CharonError):
    """The text is charon's, but a part of it is missing, or says what charon does not say."""

    def __init__(self, why: str) -> None:
        super().__init__(f"ipsec statusall printed a status that is not whole: {why}")


def parse(text: str) -> Charon:
    """Return what ``ipsec statusall`` printed, with ``backend`` ``stroke``.

    ``Charon(version="5.9.8", backend="stroke", uptime=180, workers_total=16, plugins=("aesni", ...),
    connections=(LoadedConnection(name="cp1001_v4", ...),), ike_sas=(IkeSA(...),), routed=())``.
    Raises :class:`CharonError` where the text is none of charon's, :class:`CutOffError` where it is not
    whole: what is missing may be what is wrong.
    """
    banner = _BANNER.search(text)
    sections = _sections(text[banner.start() :] if banner else "")
    if banner is None or "Security Associations" not in sections:
        first = text.strip().partition("\n")[0][:_SHOWN] or "nothing"
        raise CharonError(f"ipsec statusall printed no status of charon but {first!r}; is charon running?")
    sas = tuple(_ike_sas(sections["Security Associations"]))
    connecting = _as_many(text, len(sas))
    daemon = _daemon(banner.group(1), sections[""])
    return daemon._replace(
        load=daemon.load._replace(ike_sas=len(sas), half_open=connecting),
        connections=tuple(_connections(sections.get("Connections:", []))),
        routed=tuple(child.name for child in _children(sections.get("Routed Connections:", []))),
        ike_sas=sas,
    )


def _as_many(text: str, found: int) -> int:
    """Compare with the heading, and see that the last line has its end; return how many are half open."""
    heading = re.findall(
        r"^Security Associations \(([0-9]{1,10}) (up|total), ([0-9]{1,10}) connecting\):$", text, re.MULTILINE
    )
    if len(heading) != 1:
        raise CutOffError("it does not say how many SAs there are")
    number, word, connecting = heading[0]
    # up is a difference of two counts, without a sign; the total of strongSwan 6.1 has both in it
    told = int(number) if word == "total" else (int(number) + int(connecting)) % 2**32
    if told != found:
        raise CutOffError(f"it speaks of {told} IKE SAs, and lists {found}")
    if not text.endswith("\n"):
        raise CutOffError("its last line has no end")
    return int(connecting)


def _sections(text: str) -> dict[str, list[str]]:
    """Split the text at its headings; what comes before the first one is under ``""``."""
    found: dict[str, list[str]] = {"": []}
    lines = found[""]
    for line in text.splitlines():
        heading = next((title for title in _SECTIONS if line.startswith(title)), None)
        if heading is None:
            lines.append(line)
        else:
            lines = found.setdefault(heading, [])
    return found


_N = "([0-9]{1,20})"
_JOBS = re.compile(
    rf" idle, {_N}/{_N}/{_N}/{_N} working, job queue: {_N}/{_N}/{_N}/{_N}, scheduled: {_N}$", re.MULTILINE
)
_HEAP = re.compile(rf"^  malloc: sbrk {_N}, mmap {_N}, used {_N}, free {_N}$", re.MULTILINE)


def _daemon(version: str, lines: Iterable[str]) -> Charon:
    text = "\n".join(lines)
    uptime = re.search(rf"^  uptime: {_SPAN}, since ", text, re.MULTILINE)
    workers = re.search(r"^  worker threads: ([0-9]{1,9}) of ([0-9]{1,9}) idle, ", text, re.MULTILINE)
    plugins = re.search(r"^  loaded plugins: (.*)$", text, re.MULTILINE)
    return Charon(
        version=version,
        backend="stroke",
        uptime=spelt(uptime.group(1)) if uptime else None,
        workers_idle=int(workers.group(1)) if workers else None,
        workers_total=int(workers.group(2)) if workers else None,
        plugins=tuple(plugins.group(1).split()) if plugins else (),
        load=_load(text),
    )


def _load(text: str) -> Load:
    """Return what two lines tell of it, each where it is as ever: no verdict rests on it."""
    jobs, heap = _JOBS.search(text), _HEAP.search(text)
    numbers = tuple(map(int, jobs.groups())) if jobs else ()
    return Load(
        busy=dict(zip(PRIORITIES, numbers[:4])),
        queued=dict(zip(PRIORITIES, numbers[4:8])),
        scheduled=numbers[8] if numbers else None,
        heap=allocated(*map(int, heap.groups())) if heap else {},
    )


# Connections ---------------------------------------------------------------------------------

# No name has a blank in it: each expression has one place to match, whatever somebody sends to be printed
_PEER = re.compile(r" *(?P<name>\S+):  (?=\S)")
_AUTH = re.compile(r" *\S+:   (?P<side>local|remote): {1,9}(?:\[(?P<id>.*)\] )?uses ")
_CA = re.compile(r' *\S+:    ca: {1,9}"(?P<name>.*)"')
_CHILD_CONFIG = re.compile(r" *(?P<name>\S+):   child:  ")
_MODE = re.compile("[A-Z_]{1,20}")


def _connections(lines: Iterable[str]) -> Iterator[LoadedConnection]:
    current: Optional[LoadedConnection] = None
    for line in lines:
        peer = _peer(line)
        if peer:
            if current:
                yield current
            current = peer
        elif current:
            current = _with_detail(current, line)
    if current:
        yield current


def _peer(line: str) -> Optional[LoadedConnection]:
    head = _PEER.match(line)
    ends, found, _ = line[head.end() :].partition("  IKEv") if head else ("", "", "")
    local, dots, remote = ends.partition("...")
    if not (head and found and local and dots and remote):
        return None
    return LoadedConnection(name=head["name"], local_addrs=_addresses(local), remote_addrs=_addresses(remote))


def _mode(text: str) -> str:
    """Return the mode of a line of a child's configuration: a word in capitals, before a comma or the end."""
    _, _, right = text.rpartition(" === ")
    *words, last = right.split(" ")[1:] or [""]
    found = (word.partition(",")[0] for word in (*(word for word in words if "," in word), last))
    return next((word for word in found if _MODE.fullmatch(word)), "")


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(address.strip() for address in text.split(","))


def _with_detail(connection: LoadedConnection, line: str) -> LoadedConnection:
    auth = _AUTH.match(line)
    if auth and auth["side"] == "local":
        return connection._replace(local_id=connection.local_id or auth["id"] or "")
    if auth:
        return connection._replace(remote_id=connection.remote_id or auth["id"] or "")
    ca = _CA.match(line)
    if ca:
        return connection._replace(remote_cas=(*connection.remote_cas, ca["name"]))
    child = _CHILD_CONFIG.match(line)
    mode = _mode(line[child.end() :]) if child else ""
    if child and mode:
        names, modes = (*connection.children, child["name"]), (*connection.modes, mode)
        return connection._replace(children=names, modes=modes)
    return connection


# Security associations -----------------------------------------------------------------------

_ENDS = r"(?P<local>[^\s\[\]]+)\[(?P<local_id>.*?)\]\.\.\.(?P<remote>[^\s\[\]]+)\[(?P<remote_id>.*)\]$"
_IKE = re.compile(
    r" *(?P<name>\S+)\[(?P<id>[0-9]{1,10})\]: (?P<state>\w{1,40}(?:\([0-9]{1,10}\))?)"
    rf"(?: (?P<since>{_SPAN[1:-1]}) ago)?, {_ENDS}"
)
_IKE_DETAIL = re.compile(r" *\S+\[(?P<id>[0-9]{1,10})\]: (?P<detail>.*)$")
_SPIS = re.compile(r"IKEv[0-9] SPIs: (?P<i>[0-9a-f]{16})_i(?P<initiator>\*?) (?P<r>[0-9a-f]{16})_r")
_CHILD = re.compile(
    r" *(?P<name>\S+)\{(?P<id>[0-9]{1,10})\}:  (?P<state>\w+), (?P<mode>\w+), "
    r"reqid (?P<reqid>[0-9]{1,10})(?P<rest>.*)$"
)
_CHILD_DETAIL = re.compile(r" *\S+\{(?P<id>[0-9]{1,10})\}: {2,3}(?P<detail>.*)$")
_CHILD_SPIS = re.compile(
    r", (?P<protocol>\w+)(?P<udp> in UDP)? SPIs: (?P<i>[0-9a-f]{8})_i (?P<o>[0-9a-f]{8})_o"
)
_COUNT = "[0-9]{1,20}"
_TRAFFIC = re.compile(
    rf"(?P<proposal>\S+), (?P<bytes_in>{_COUNT}) bytes_i"
    rf"(?: \((?P<packets_in>{_COUNT}) pkts?, (?P<use_in>{_COUNT})s ago\))?"
    rf", (?P<bytes_out>{_COUNT}) bytes_o"
    rf"(?: \((?P<packets_out>{_COUNT}) pkts?, (?P<use_out>{_COUNT})s ago\))?"
    r", rekeying (?P<rekey>.*)$"
)


def _ike_sas(lines: Iterable[str]) -> Iterator[IkeSA]:
    """Yield the IKE SAs; the lines of a CHILD SA follow those of its IKE SA."""
    current: Optional[IkeSA] = None
    beneath: list[str] = []
    for line in lines:
        head = _IKE.match(line)
        if head is None:
            if line.strip() not in ("", "none"):
                _belongs(line, current)
                beneath.append(line)
            continue
        if current:
            yield _with_lines(current, beneath)
        current, beneath = _ike_sa(head), []
    if current:
        yield _with_lines(current, beneath)


def _belongs(line: str, current: Optional[IkeSA]) -> None:
    """See that a line is one of the IKE SA above it, or of a CHILD SA."""
    detail = _IKE_DETAIL.match(line)
    if current is None or not (
        _CHILD_DETAIL.match(line) or (detail and int(detail["id"]) == current.uniqueid)
    ):
        raise CutOffError(f"{line.strip()[:_SHOWN]!r} is of no SA")


def _ike_sa(head: re.Match[str]) -> IkeSA:
    if head["state"] not in IKE_STATES:
        raise CutOffError(f"{head['state']} is no state of an IKE SA")
    return IkeSA(
        name=head["name"],
        uniqueid=int(head["id"]),
        state=head["state"],
        local_host=head["local"],
        remote_host=head["remote"],
        local_id=head["local_id"],
        remote_id=head["remote_id"],
        established=spelt(head["since"]) if head["since"] else None,
    )


def _with_lines(ike_sa: IkeSA, lines: list[str]) -> IkeSA:
    for line in lines:
        detail = None if _CHILD_DETAIL.match(line) else _IKE_DETAIL.match(line)
        if detail:
            ike_sa = _with_ike_detail(ike_sa, detail["detail"])
    if ike_sa.state == "ESTABLISHED" and not ike_sa.proposal:
        raise CutOffError(f"it does not say by which proposal {ike_sa.name}[{ike_sa.uniqueid}] is there")
    beneath = [line for line in lines if _CHILD_DETAIL.match(line)]
    return ike_sa._replace(children=tuple(_children(beneath)))


def _with_ike_detail(ike_sa: IkeSA, detail: str) -> IkeSA:
    spis = _SPIS.match(detail)
    if spis:
        return ike_sa._replace(
            initiator=bool(spis["initiator"]),
            initiator_spi=spis["i"],
            responder_spi=spis["r"],
            rekey_time=_until(rf", rekeying in {_SPAN}", detail),
            reauth_time=_until(rf" reauthentication in {_SPAN}", detail),
        )
    label, _, value = detail.partition(": ")
    if label == "IKE proposal":
        return ike_sa._replace(proposal=value)
    if label in ("Tasks queued", "Tasks active", "Tasks passive"):
        return ike_sa._replace(tasks=(*ike_sa.tasks, *value.split()))
    return ike_sa


def _until(pattern: str, text: str) -> Optional[int]:
    found = re.search(pattern, text)
    return spelt(found.group(1)) if found else None


def _children(lines: Iterable[str]) -> Iterator[ChildSA]:
    current: Optional[ChildSA] = None
    seen: list[str] = []
    for line in lines:
        head, detail = _CHILD.match(line), _CHILD_DETAIL.match(line)
        if head:
            if current:
                yield _whole(current, seen)
            current, seen = _child(head), []
        elif current and detail and int(detail["id"]) == current.uniqueid:
            seen.append(detail["detail"])
            current = _with_child_detail(current, detail["detail"])
        elif line.strip():
            raise CutOffError(f"{line.strip()[:_SHOWN]!r} is of no CHILD SA")
    if current:
        yield _whole(current, seen)


def _whole(child: ChildSA, details: Sequence[str]) -> ChildSA:
    """See that a CHILD SA is told whole: its selectors, and what is told of it where it is INSTALLED."""
    if child.state not in CHILD_STATES or child.mode not in MODES:
        raise CutOffError(f"{child.state}, {child.mode} are no state and mode of a CHILD SA")
    known = all(_TRAFFIC.match(one) or " === " in one for one in details)
    installed = child.spi_in is not None and any(map(_TRAFFIC.match, details))
    if not (known and child.local_ts and child.remote_ts) or (child.state == "INSTALLED" and not installed):
        raise CutOffError(f"not all lines of CHILD SA {child.name}{{{child.uniqueid}}} are there")
    return child


def _child(head: re.Match[str]) -> ChildSA:
    spis = _CHILD_SPIS.match(head["rest"])
    child = ChildSA(
        name=head["name"],
        state=head["state"],
        mode=head["mode"],
        uniqueid=int(head["id"]),
        reqid=int(head["reqid"]),
        life_time=_until(rf", expires in {_SPAN}", head["rest"]),
    )
    if spis is None:
        return child
    return child._replace(
        protocol=spis["protocol"], udp_encap=bool(spis["udp"]), spi_in=spis["i"], spi_out=spis["o"]
    )


def _with_child_detail(child: ChildSA, detail: str) -> ChildSA:
    traffic = _TRAFFIC.match(detail)
    if traffic:
        return child._replace(
            proposal=traffic["proposal"],
            bytes_in=int(traffic["bytes_in"]),
            bytes_out=int(traffic["bytes_out"]),
            packets_in=int(traffic["packets_in"] or 0),
            packets_out=int(traffic["packets_out"] or 0),
            use_in=int(traffic["use_in"]) if traffic["use_in"] else None,
            use_out=int(traffic["use_out"]) if traffic["use_out"] else None,
            rekey_time=_rekey(traffic["rekey"]),
        )
    local, found, remote = detail.partition(" === ")
    if found:
        return child._replace(local_ts=tuple(local.split()), remote_ts=tuple(remote.split()))
    return child


def _rekey(text: str) -> Optional[int]:
    """Read ``in 43 minutes``, ``active`` (its time has come: 0) and ``disabled`` (None)."""
    if text == "active":
        return 0
    return _until(rf"in {_SPAN}", text)
