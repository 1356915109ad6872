"""The end of the certificate in use, read without a library, against what the library reads."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import authorities
from hostipsec.errors import HostIPsecError
from hostipsec.health import expiry
from hostipsec.model import CertificateInUse
from hostipsec.store import certificate
from hostipsec.strongswan import render

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
NAME = "cp1001.eqiad.example-0123456789ab.pem"
CONF = f"{render.HEADER}conn %default\n    leftcert={NAME}\n\nconn cp3001_v4\n    left=10.0.0.1\n"


@pytest.fixture(scope="module")
def ca():
    return authorities.authority("CN=Fleet CA", NOW)


@pytest.mark.parametrize("kind", [*authorities.KEYS])
@pytest.mark.parametrize("days", [-1, 0, 300, 365 * 40])
def test_the_end_is_what_the_library_says(ca, kind, days):
    """From 2050 on a time is written another way."""
    until = timedelta(days=days, seconds=7)
    issued = authorities.host("CN=cp1001.eqiad.example", NOW, ca, kind, until=until)
    assert certificate.end(issued.pem) == NOW + until
    assert certificate.end(b"what stands before\n" + issued.pem + ca.pem) == NOW + until


def test_a_time_of_the_last_century():
    assert certificate._time(0x17, "500101000000Z") == datetime(1950, 1, 1, tzinfo=timezone.utc)
    assert certificate._time(0x17, "491231235959Z").year == 2049


@pytest.mark.parametrize(
    "pem", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_has_no_end(pem):
    assert certificate.end(pem) is None


@given(st.data())
def test_a_damaged_certificate_raises_nothing(data):
    der = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(der[: data.draw(st.integers(0, len(der)))])
    found = certificate.end(pem(cut))
    assert found is None or isinstance(found, datetime)


def pem(der):
    import base64

    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


SAMPLE = authorities.authority("CN=Sample", NOW).certificate.public_bytes(
    authorities.serialization.Encoding.DER
)


def test_the_certificate_that_ipsec_conf_names(here, ca):
    assert certificate.in_use() is None
    here.conf.write_text(CONF)
    with pytest.raises(HostIPsecError, match=f"{NAME}: is named in ipsec.conf, and is not there"):
        certificate.in_use()
    (here.ipsec_d / "certs").mkdir(parents=True)
    (here.ipsec_d / "certs" / NAME).write_bytes(b"nonsense")
    with pytest.raises(HostIPsecError, match=f"{NAME}: holds no certificate that can be read"):
        certificate.in_use()
    (here.ipsec_d / "certs" / NAME).write_bytes(authorities.host("CN=cp1001", NOW, ca).pem)
    assert certificate.in_use() == CertificateInUse(NAME, NOW + timedelta(days=365))


@pytest.mark.parametrize(
    "conf", [CONF[len(render.HEADER) :], render.HEADER, f"{render.HEADER}# leftcert=x.pem\n"]
)
def test_an_ipsec_conf_of_somebody_else_or_without_one(here, conf):
    here.conf.write_text(conf)
    assert certificate.in_use() is None


# Judged --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "severity", "said"),
    [
        (timedelta(30), "ok", "certificate expires in 30 days"),
        (timedelta(29), "warning", "certificate expires in 29 days"),
        (timedelta(), "warning", "certificate expires in 0 days"),
        (timedelta(-1), "critical", "certificate expired on 2026-11-23 12:00 UTC"),
    ],
)
def test_the_end_of_a_certificate_is_judged(left, severity, said):
    found = expiry.judge(CertificateInUse(NAME, NOW + left), 30, NOW)
    assert (found.severity, found.sentence) == (severity, said)


def test_the_operator_chooses_when_to_be_warned():
    assert expiry.judge(CertificateInUse(NAME, NOW + timedelta(29)), 14, NOW).severity == "ok"
