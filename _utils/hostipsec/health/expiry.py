"""The end of the certificate that a host runs with, judged."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from ..model import CertificateInUse


class Expiry(NamedTuple):
    """The verdict on the certificate in use."""

    not_after: datetime
    days_left: int
    severity: str  # ok, warning, critical
    sentence: str


def judge(certificate: CertificateInUse, warn_days: int, now: datetime) -> Expiry:
    """Judge it; ``warn_days`` before its end a warning begins."""
    ends = certificate.ends
    days = (ends - now).days
    if ends < now:
        return Expiry(ends, days, "critical", f"certificate expired on {ends:%Y-%m-%d %H:%M} UTC")
    severity = "warning" if ends - now < timedelta(days=warn_days) else "ok"
    return Expiry(ends, days, severity, f"certificate expires in {days} days")
