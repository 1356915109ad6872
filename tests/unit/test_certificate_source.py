"""A host's real certificate, key and CAs at their source: what is found, refused, hidden."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import authorities
from hostipsec import paths
from hostipsec.certificates import copies, pem, source
from hostipsec.certificates.source import SourcePaths
from hostipsec.errors import CertificateError
from hostipsec.model import Certificates
from places import CA, DAY, HOST, ID, KEY, NOW, OTHER, STRANGE_CA, SUBJECT, Place, cert_file, key_file


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# Where the files are -------------------------------------------------------------------------


def never(minion_id):
    raise AssertionError("Puppet's directory is not needed")


def settings(*paths):
    return Certificates("files", *paths, subject="CN={id}")


def test_templates_are_filled():
    given = settings("/ssl/{id}.pem", "/ssl/{short}.key", "/ssl/ca.pem")
    assert source.locate(given, ID, never) == SourcePaths(
        "/ssl/cp1.eqiad.example.pem", "/ssl/cp1.key", "/ssl/ca.pem"
    )


def test_puppets_directory_is_looked_for_where_the_pillar_names_none():
    given = settings("{ssldir}/certs/{id}.pem", "{ssldir}/private_keys/{id}.pem", "{ssldir}/certs/ca.pem")
    asked = []
    found = source.locate(given, ID, lambda minion_id: asked.append(minion_id) or "/ssl")
    assert asked == [ID]
    assert found == SourcePaths(f"/ssl/certs/{ID}.pem", f"/ssl/private_keys/{ID}.pem", "/ssl/certs/ca.pem")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a root directory without any of Puppet's."""
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path))
    return tmp_path


def test_the_first_of_puppets_directories_with_the_certificate(root):
    for directory in ("var/lib/puppet/ssl", "etc/puppet/ssl"):
        (root / directory / "certs").mkdir(parents=True)
        (root / directory / f"certs/{ID}.pem").write_bytes(HOST.pem)
    assert source.puppet_ssldir(ID) == f"{root}/var/lib/puppet/ssl"


def test_no_puppet_is_an_error_that_says_where_it_looked(root):
    with pytest.raises(
        CertificateError, match=rf"no certificate {ID}.pem of the Puppet agent in {root}/etc/puppetlabs/"
    ):
        source.puppet_ssldir(ID)


# What is found -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bits", "keyword"), [("RSA", 2048, "RSA"), ("ECDSA", 384, "ECDSA"), ("Ed25519", 256, "PKCS8")]
)
def test_what_charon_shall_have_is_found(place, kind, bits, keyword):
    host = authorities.host(SUBJECT, NOW, CA, kind)
    place.give(host.pem, host.key_pem())
    inspection = place.inspect()
    assert inspection.findings == ()
    found = inspection.usable()
    assert (found.key.type, found.key.bits, found.key.secrets_keyword, found.days_left) == (
        kind,
        bits,
        keyword,
        365,
    )
    assert (found.certificate_pem, found.key_pem.reveal()) == (host.pem, host.key_pem())
    assert [(one.subject, one.pem) for one in found.authorities] == [("CN=Fleet CA, O=Example", CA.pem)]


def test_a_certificate_alone_is_read(place):
    found = source.certificate_at(place.source.certificate)
    assert (found.not_after, found.subject) == (NOW + 365 * DAY, (("CN", ID),))
    assert cert_file() == f"certs/{copies.certificate_name(ID, found)}"
    assert source.certificate_at(place.source.key) is None
    assert source.certificate_at(f"{place.path}/none.pem") is None


# Faults --------------------------------------------------------------------------------------

ROGUE_CA = authorities.authority("CN=Fleet CA, O=Example", NOW)  # the same name, another key
EXPIRED = authorities.host(SUBJECT, NOW, CA, until=-1 * DAY)
FUTURE = authorities.host(SUBJECT, NOW, CA, since=1 * DAY)
NAMESAKE = authorities.host("CN=cp2.eqiad.example", NOW, CA)
RSA_HOST = authorities.host(SUBJECT, NOW, CA, "RSA")

FAULTS = {
    "expired": (
        {"certificate": EXPIRED.pem, "key": EXPIRED.key_pem()},
        f"(CN={ID}) expired on 2026-05-31 12:00 UTC; expected one that is valid on 2026-06-01 12:00 UTC",
    ),
    "not yet valid": (
        {"certificate": FUTURE.pem, "key": FUTURE.key_pem()},
        f"(CN={ID}) is not valid before 2026-06-02 12:00 UTC",
    ),
    "not for this key": ({"key": OTHER.key_pem()}, "host.pem is not for the private key"),
    "another CA": ({"ca": STRANGE_CA.pem}, f"'CN={ID}' was issued by 'CN=Fleet CA, O=Example'"),
    "a CA of the same name": ({"ca": ROGUE_CA.pem}, "that CA's key does not verify its signature"),
    "another subject": (
        {"certificate": NAMESAKE.pem, "key": NAMESAKE.key_pem()},
        f"has the subject 'CN=cp2.eqiad.example'; expected 'CN={ID}', by which peers know this host",
    ),
    "an encrypted key": ({"key": HOST.key_pem(b"secret")}, "host.key is encrypted with a passphrase"),
    "an encrypted key of old": (
        {
            "certificate": RSA_HOST.pem,
            "key": RSA_HOST.key_pem(b"secret", authorities.TRADITIONAL),
        },
        "host.key is encrypted with a passphrase",
    ),
    "no PEM": ({"certificate": b"\x30\x82"}, "host.pem holds no certificate in PEM"),
    "a broken certificate": (
        {"certificate": HOST.pem.replace(b"MII", b"AAA", 1)},
        "host.pem holds a certificate that cannot be parsed",
    ),
    "a broken key": (
        {"key": KEY[:60] + b"\n-----END PRIVATE KEY-----\n"},
        "host.key holds a private key that",
    ),
    "a certificate as key": ({"key": HOST.pem}, "host.key holds no private key in PEM"),
    "an empty key": ({"key": b""}, "host.key holds no private key in PEM"),
    "no CA": ({"ca": HOST.pem}, f"ca.pem holds no CA: CN={ID} lacks the basic constraint CA:TRUE"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_error_and_nothing_is_written(place, fault):
    given, said = FAULTS[fault]
    place.give(**given)
    (error,) = place.inspect().errors
    assert said in error
    assert "; expected " in error
    for act in (place.difference, place.copy):
        with pytest.raises(CertificateError) as raised:
            act()
        assert str(raised.value) == error
        assert place.found == {}


def test_all_errors_are_said_at_once(place):
    place.give(EXPIRED.pem, OTHER.key_pem(), STRANGE_CA.pem)
    inspection = place.inspect()
    assert len(inspection.errors) == 3
    with pytest.raises(CertificateError) as raised:
        inspection.usable()
    assert str(raised.value).splitlines() == [*inspection.errors]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("certificate", "certificate {} is missing; expected the host's certificate in PEM"),
        ("key", "private key {} is missing; expected the host's private key in PEM"),
        ("ca", "CA file {} is missing; expected the CA certificates of the fleet in PEM"),
    ],
)
def test_what_is_missing_is_named(place, missing, said):
    path = getattr(place.source, missing)
    Path(path).unlink()
    (error,) = place.inspect().errors
    assert said.format(path) in error
    with pytest.raises(CertificateError):
        place.copy()
    assert place.found == {}


def test_a_directory_in_place_of_the_certificate(place):
    Path(place.source.certificate).unlink()
    Path(place.source.certificate).mkdir()
    (error,) = place.inspect().errors
    assert "host.pem cannot be read: Is a directory" in error


def test_a_fault_leaves_the_files_of_before(place):
    place.copy()
    before = place.found
    place.give(EXPIRED.pem, EXPIRED.key_pem())
    with pytest.raises(CertificateError):
        place.copy()
    assert place.found == before


def test_a_key_that_others_can_read_is_a_warning(place):
    place.give(key_mode=0o644)
    inspection = place.inspect()
    (warning,) = inspection.warnings
    assert "host.key has mode 0644, open to every user; expected no access for others" in warning
    assert inspection.errors == ()
    place.copy()
    assert place.found[key_file()][0] == 0o600


# Secrecy -------------------------------------------------------------------------------------


def shown(value) -> str:
    """Return all that a log, a return or a traceback could show of a value."""
    fields = value._asdict() if isinstance(value, tuple) else vars(value)
    return f"{value!r} {value!s} {fields!r}"


def test_a_key_is_in_no_text(place):
    inspection = place.inspect()
    place.copy()
    renewed = authorities.host(SUBJECT, NOW, CA)
    place.give(renewed.pem, renewed.key_pem())
    difference = place.copy()
    values = (inspection, inspection.credentials, difference, *difference.copies.values())
    text = "".join(shown(value) for value in values) + repr(dict(difference.changes))
    keys = (KEY + renewed.key_pem()).decode().splitlines()
    assert not [line for line in keys if len(line) > 20 and "-----" not in line and line in text]
    assert "PRIVATE" not in text
    assert inspection.usable().key_pem.reveal() == KEY


def test_a_broken_key_is_not_quoted(place):
    lines = KEY.decode().splitlines()
    place.give(key="\n".join([lines[0], lines[1][:-4], *lines[2:]]).encode())
    (error,) = place.inspect().errors
    assert "cannot be parsed" in error
    assert lines[1][:20] not in error


def test_a_secret_is_neither_pickled_nor_copied():
    secret = pem.Secret(b"s3cret")
    assert copy.deepcopy(secret) is secret
    assert f"{secret} {secret!r}" == "Secret(hidden) Secret(hidden)"
    with pytest.raises(TypeError, match="not serialized"):
        pickle.dumps(secret)


def test_a_key_in_the_certificates_file_is_not_copied_with_it(place):
    """The copy of the certificate can be read by every user."""
    both = KEY + HOST.pem
    place.give(both, both)
    place.copy()
    assert place.found[cert_file()] == (0o644, HOST.pem)
    assert place.found[key_file()][1].startswith(KEY)


def test_parameters_before_a_key_are_left_out(place):
    """strongSwan reads the first block of a file and no other."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"
    key = HOST.key_pem(form=authorities.TRADITIONAL)
    place.give(key=parameters + key)
    place.copy()
    assert place.found[key_file()] == (0o600, key)


# Chains and CRLs -----------------------------------------------------------------------------


def test_signatures_of_every_kind_are_verified(place):
    for kind in authorities.KEYS:
        ca = authorities.authority(f"CN={kind} CA", NOW, kind)
        host = authorities.host(SUBJECT, NOW, ca)
        place.give(host.pem, host.key_pem(), ca.pem)
        assert place.inspect().errors == ()


def test_a_revoked_certificate_is_not_copied(place):
    place.give_lists(authorities.crl(CA, NOW, HOST.certificate))
    (error,) = place.inspect().errors
    assert "is revoked by the list of CN=Fleet CA, O=Example" in error
    with pytest.raises(CertificateError):
        place.copy()
    assert place.found == {}


def test_a_list_that_is_overdue_is_a_warning(place):
    place.give_lists(authorities.crl(CA, NOW - 30 * DAY))
    (warning,) = place.inspect().warnings
    assert "was to be renewed by 2026-05-09" in warning
    assert "with strictcrlpolicy=yes every peer is refused" in warning


@pytest.mark.parametrize(("required", "warnings"), [(True, 1), (False, 0)])
def test_a_list_that_is_missing(place, required, warnings):
    """Puppet's may be missing; one that the pillar names may not."""
    place.source = replace(place.source, crl=f"{place.path}/none.pem", crl_required=required)
    inspection = place.inspect()
    assert (inspection.errors, len(inspection.warnings)) == ((), warnings)


def test_a_list_that_charon_does_not_find_is_a_warning(place):
    """charon looks for lists by key identifier; without one, it took the list for missing."""
    place.give_lists(authorities.crl(CA, NOW, key_id=False))
    (warning,) = place.inspect().warnings
    assert "do not carry the same key identifier" in warning
