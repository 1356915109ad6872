"""The status of a host, as ``ipsec.status`` answers: presents what the judge says of one look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from .. import answer, arguments
from ..answer import Answer
from ..certificates import copies, source, trust
from ..edition import EDITION
from ..errors import HostIPsecError
from ..health import look, observation
from ..health.look import Look
from ..health.report import ConnectionHealth, Report
from ..model import STAGES, Connection, Meant
from ..pillar.membership import Membership
from ..store import present, record
from ..store.hold import EVERY, Scope
from ..store.record import Record
from ..strongswan import sections

TROUBLE, UNUSABLE = 1, 2  # exit status: something is not well; the pillar cannot be used


class _Expected(NamedTuple):
    """What should run here: by the pillar, or where that cannot be used, as it was configured last."""

    connections: Sequence[Connection]
    warn_days: int
    meant: Meant
    member: Optional[Membership] = None
    warnings: tuple[str, ...] = ()


def host(
    member: Callable[[], Membership],
    peer: Optional[str] = None,
    connection: Optional[str] = None,
    stage: Optional[str] = None,
) -> tuple[Answer, int]:
    """Look at this host and say what is up; the exit status is that of an answer that is not ``ok``.

    ``member`` reads the pillar; with ``stage``, what should run is what a roll-out up to that brings. Only
    connections whose peer and name match two shell patterns are shown.
    """
    try:
        if stage is not None:
            arguments.one_of("stage", stage, STAGES[1:])
        expected = _expected(member, stage)
    except HostIPsecError as error:
        return answer.failed(error, _nothing_seen(error)), UNUSABLE
    return _seen(expected, peer, connection)


def _seen(expected: _Expected, peer: Optional[str], connection: Optional[str]) -> tuple[Answer, int]:
    """Look, and say what is up of what should run here."""
    seen, report = _look(expected)
    if report.answered and report.trouble:  # charon and the kernel are asked one after the other
        seen, report = _look(expected)
    meant = Scope(*(EVERY if one is None else str(one) for one in (peer, connection)))
    shown = report.only(*meant)
    if report.connections and not shown.connections:
        rows = report.connections
        wrong = arguments.nothing_has(meant, (row.peer for row in rows), (row.name for row in rows))
        return answer.failed(wrong, _nothing_seen(wrong)), UNUSABLE
    return _answer(expected, seen, report, shown), UNUSABLE if expected.warnings else TROUBLE


def as_configured(peer: Optional[str] = None, connection: Optional[str] = None) -> tuple[Answer, int]:
    """:func:`host` by what was configured last, whatever the pillar says."""
    found = _recorded()
    meant = present.meant()._replace(esp="", ike="")  # as a roll-out judges what it leaves behind
    return _seen(_Expected(found.connections, found.warn_days, meant), peer, connection)


def _expected(member: Callable[[], Membership], stage: Optional[str]) -> _Expected:
    """Return what should run here; a pillar that cannot be read hides no tunnel."""
    try:
        found = member()
    except HostIPsecError as error:
        recorded = _recorded()
        if not recorded.connections:
            raise
        said = f"this is what was configured last; the pillar is not usable: {error}"
        return _Expected(recorded.connections, recorded.warn_days, present.meant(), warnings=(said,))
    settings, meant = found.fleet.settings, sections.meant(found.fleet.settings)
    if stage is None:
        return _Expected(found.connections, settings.certificates.warn_days, meant, found)
    limited = found.limited(stage, _recorded().guarded)
    # a roll-out that changes proposals leaves SAs as they are: they go on with those of before
    meant = meant._replace(esp="", ike="")
    return _Expected(limited.connections, settings.certificates.warn_days, meant, found)


def _recorded() -> Record:
    try:
        return record.read()
    except HostIPsecError:
        return Record()


def _look(expected: _Expected) -> tuple[Look, Report]:
    resting = expected.member.resting if expected.member else ()
    seen = observation.observe(
        expected.connections, warn_days=expected.warn_days, resting=resting, meant=expected.meant
    )
    seen = observation.watched(seen).without("record", record.found().wrong)
    return seen, look.judged(seen)


# Presenting ----------------------------------------------------------------------------------


def _answer(expected: _Expected, seen: Look, report: Report, shown: Report) -> Answer:
    lonely = expected.member.lonely if expected.member else ""
    ends = {one.name: [str(one.left), str(one.right)] for one in expected.connections}
    certificate = _certificate(expected.member, seen, report)
    said = [_sentence(lonely, report, shown), certificate["sentence"] if certificate else "", report.beside]
    # of a host at rest nothing has to be seen; whoever holds it counts for peers yet to come
    unread = report.warnings if expected.connections else tuple(filter(None, [report.unsure]))
    sentence = "; ".join(filter(None, said))
    expiring = [certificate["sentence"]] if certificate and certificate["severity"] != "ok" else []
    return Answer(
        ok=not (expected.warnings or seen.dead) and shown.ok,
        sentence=sentence,
        connections={row.name: {**_row(row), "ends": ends[row.name]} for row in shown.managed},
        problems=(*expected.warnings, *seen.dead, *expiring),
        notes=unread,
        own={
            "unmanaged": {row.name: _row(row) for row in shown.unmanaged},
            "others": dict(shown.others),
            "summary": {"sentence": sentence, "severity": shown.severity, "counts": dict(shown.counts)},
            "held": shown.held,
            "certificate": certificate,
            "authentication": trust.in_use(seen.time) if expected.connections else None,
            "warnings": [*expected.warnings, *unread],
            "backend": report.backend or None,
            "strongswan": report.version or None,
            "site": record.found().record.site,
            "edition": EDITION,
        },
    )


def _nothing_seen(error: HostIPsecError) -> Mapping[str, object]:
    """Return the further keys of a status where nothing could be looked at."""
    silent = dict.fromkeys(("held", "certificate", "authentication", "backend", "strongswan"))
    summary = {"sentence": str(error), "severity": "critical", "counts": {}}
    return {
        **silent,
        "unmanaged": {},
        "others": {},
        "summary": summary,
        "warnings": [],
        "site": "",
        "edition": EDITION,
    }


def _certificate(member: Optional[Membership], seen: Look, report: Report) -> Optional[dict[str, Any]]:
    """Return what is to be said of the certificate that charon runs with; a usable pillar says more."""
    if report.certificate is None or seen.certificate is None:
        return None
    renewed = _at_source(member) not in ("", seen.certificate.name)
    waits = "; a renewed one waits for state.apply" if renewed else ""
    return {
        "not_after": report.certificate.not_after.isoformat(),
        "days_left": report.certificate.days_left,
        "severity": report.certificate.severity,
        "sentence": f"{report.certificate.sentence}{waits}",
        "renewed": renewed,
    }


def _at_source(member: Optional[Membership]) -> str:
    """Return the name that the certificate at its source has as a copy; empty where that is not known."""
    if member is None:
        return ""
    try:
        where = source.locate(member.fleet.settings.certificates, member.host.id)
    except HostIPsecError:
        return ""  # said by others
    there = source.certificate_at(where.certificate)
    return copies.certificate_name(member.host.id, there) if there else ""


def _sentence(lonely: str, report: Report, shown: Report) -> str:
    """Sum up for the operator; a filter that leaves nothing is said, or it would look like a host at rest."""
    silent = "charon does not answer" if not lonely and not report.answered else ""
    found = shown.sentence if shown.connections else ""
    if found and shown.held:
        found = f"{found}; held {shown.held}"
    if report.connections and not found:
        found = f"nothing asked for, of {report.sentence}"
    return "; ".join(part for part in (silent, lonely, found) if part)


def _row(row: ConnectionHealth) -> dict[str, object]:
    return {
        "peer": row.peer,
        "family": row.family,
        "stage": row.stage,
        "initiator": row.initiator,
        "state": row.state,
        "severity": row.severity,
        "reason": "" if row.ok and row.state == "established" else row.reason,
        "held": row.held,
        "since": row.since,
        "rekey_in": row.next_rekey,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "packets_in": row.packets_in,
        "packets_out": row.packets_out,
        "ike_ids": list(row.ike_ids),
        "child_ids": list(row.child_ids),
        "mode": row.mode,
        "proposal": row.proposal,
        "ike_proposal": row.ike_proposal,
        "last_in": row.last_in,
        "last_out": row.last_out,
    }
