"""Files that are unusual: those that charon can use are taken as charon can read them, the others refused."""

from __future__ import annotations

import os
import random
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

import authorities
import mutations
from certificate_oddities import Oddities, damage
from hostipsec import paths
from hostipsec.certificates import copies, pem, source, version, x509facts
from hostipsec.system import processes
from places import CA, HOST, NOW, SUBJECT, Place, cert_file

ODDITIES = Oddities(SUBJECT, NOW)
RIGHT, WRONG, BEFORE = ODDITIES.right(), ODDITIES.wrong(), ODDITIES.wrong_before()
LISTS = ODDITIES.lists()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(version, "has_rfc_constraints", lambda: False)
    return Place(tmp_path)


def give(place, given):
    place.give(given.certificate, given.key, given.ca)
    if given.crl:
        place.give_lists(given.crl)


@pytest.mark.parametrize("what", RIGHT)
def test_what_charon_can_use_is_written_as_it_reads_it(place, what):
    given = RIGHT[what]
    give(place, given)
    inspection = place.inspect()
    assert inspection.errors == ()
    assert [given.warned in one for one in inspection.warnings] == [True] * bool(given.warned)
    place.copy()
    for path, (_, content) in place.found.items():
        if content is not None:
            assert content.startswith(b"-----BEGIN "), path
            assert set(map(len, content.splitlines()[1:-2])) <= {64, 27, 25} or content.count(b"BEGIN") > 1
    assert place.difference().changes == {}  # nor is it ever written again
    found = inspection.usable()
    assert len(found.crls) == bool(given.crl)


@pytest.mark.parametrize("what", LISTS)
def test_a_list_that_charon_cannot_use_is_left_out_with_its_reason(place, what):
    given, said = LISTS[what]
    give(place, given)
    inspection = place.inspect()
    assert len(inspection.usable().crls) == (not said)
    if said:
        assert any(said in one for one in inspection.warnings), inspection.warnings


def test_of_a_full_and_a_delta_list_the_full_one_is_copied(place):
    """The newest was: nobody whom the full one revokes was refused from then on."""
    full = authorities.crl(CA, NOW, number=5)
    since = ((x509.DeltaCRLIndicator(5), True),)
    place.give_lists(full + authorities.crl(CA, NOW, number=6, extensions=since))
    (found,), (said,) = place.inspect().usable().crls, place.inspect().warnings
    assert found.pem == full
    assert "is a delta list, which tells only what changed since another one, and is left out" in said


@pytest.mark.filterwarnings("ignore")
def test_a_negative_number_is_no_traceback(place):
    """The library, which warns of it, does not look for one in a list."""
    plain = mutations.der(HOST.certificate)
    start = plain.index(b"\xa0\x03\x02\x01\x02\x02") + 7
    negative = plain[:start] + b"\x80" + plain[start + 1 :]
    assert x509.load_der_x509_certificate(negative).serial_number < 0
    assert not x509facts._revokes(
        x509.load_pem_x509_crl(authorities.crl(CA, NOW)), x509.load_der_x509_certificate(negative)
    )


@pytest.mark.parametrize("what", [*WRONG, *BEFORE])
def test_what_charon_refuses_is_one_clear_error(place, what):
    given = {**WRONG, **BEFORE}[what]
    give(place, given)
    (error,) = place.inspect().errors
    assert given.said in error
    assert "; expected " in error


def test_who_lets_charon_take_any_critical_extension_may_have_them(place):
    give(place, WRONG["a critical extension"])
    place.source = replace(place.source, enforce_critical=False)
    assert place.inspect().errors == ()


@pytest.mark.parametrize(
    ("charon", "enforced"),
    [({}, True), ({"x509": {}}, True), ({"x509": {"enforce_critical": "no"}}, False), ({"x509": "a"}, True)],
)
def test_the_pillar_says_whether_critical_extensions_count(charon, enforced):
    assert source._enforces_critical(charon) == enforced


@pytest.mark.parametrize("what", BEFORE)
def test_a_later_strongswan_takes_name_constraints_as_the_rfc_has_them(place, what, monkeypatch):
    monkeypatch.setattr(version, "has_rfc_constraints", lambda: True)
    give(place, BEFORE[what])
    assert place.inspect().errors == ()


# What is no file of certificates -------------------------------------------------------------

PARTS = ("certificate", "key", "ca", "crl")


def all_said(place):
    inspection = place.inspect()
    text = "\n".join((*inspection.errors, *inspection.warnings))
    text.encode()  # what Salt sends
    return text


def at(place, part, path):
    place.give_lists(authorities.crl(CA, NOW))
    place.source = replace(place.source, **{part: str(path)})


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "is a device, pipe or socket, not a regular file"),
        (os.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, pipe or socket, not a regular file"),
        (lambda path: path.write_bytes(b""), "holds no "),
        (lambda path: path.touch() or os.truncate(path, 1 << 40), "is larger than "),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_said_at_once(place, part, make, said):
    """A pipe was read for ever, and a device until memory was full."""
    path = place.path / "a: b"
    make(path)
    at(place, part, path)
    text = all_said(place)
    assert f"{path} {said}" in text


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_path_that_no_file_can_have(place, part, name):
    at(place, part, f"{place.path}/{name}")
    assert "no file can have this name" in all_said(place)


@pytest.mark.parametrize("part", PARTS)
def test_a_path_of_any_bytes(place, part):
    path = f"{place.path}/\udc80"
    Path(path).symlink_to(place.source.certificate)
    at(place, part, path)
    assert ("\\udc80" in all_said(place)) == (part in ("key", "crl", "ca"))
    place.inspect()


def test_a_subject_that_no_certificate_can_have(place):
    (error,) = source.inspect(place.source, "CN=\ud800", NOW).errors
    error.encode()
    assert "'CN=\\ud800', by which peers know this host" in error


@pytest.mark.parametrize("part", PARTS)
def test_thousands_of_beginnings_are_read_in_one_pass(place, part):
    """8,000 of them took 14 s: after each, the whole rest was searched for its end."""
    path = place.path / "many.pem"
    labels = (b"CERTIFICATE", b"X509 CRL", b"PRIVATE KEY")
    path.write_bytes(b"".join(b"-----BEGIN %b-----\n" % label for label in labels) * 9000)
    at(place, part, path)
    began = time.process_time()
    assert "many.pem holds no " in all_said(place)
    assert time.process_time() - began < 2


def test_a_file_of_thousands_of_certificates_is_refused(place):
    place.give(ca=CA.pem * 300)
    assert "ca.pem holds 300 certificates, more than 256" in all_said(place)


def test_cas_that_sign_each_other_are_climbed_in_no_time(place):
    """24 of them took 12.7 s; with the end that is no root, seven had no end."""
    keys = [authorities.KEYS["ECDSA"]() for _ in range(7)]
    ends = [authorities.authority(f"CN=ca{number}", NOW, key=key) for number, key in enumerate(keys)]
    crossed = [
        authorities.authority(f"CN=ca{n}", NOW, issuer=issuer, key=key)
        for n, key in enumerate(keys)
        for issuer in ends
        if issuer.key is not key
    ]
    host = authorities.host(SUBJECT, NOW, ends[0])
    place.give(host.pem + b"".join(one.pem for one in crossed), host.key_pem(), CA.pem)
    began = time.process_time()
    assert "is not from the CA in" in all_said(place)
    place.give(host.pem + b"".join(one.pem for one in crossed), host.key_pem(), ends[6].pem)
    assert place.inspect().errors == ()
    assert time.process_time() - began < 4


@pytest.mark.parametrize("number", [8, 9])
def test_cas_of_one_name_are_looked_at_in_no_time(place, monkeypatch, number):
    """256 of them took 42 s; each of 65,000 pairs had strongSwan asked for its release."""
    asked = []
    monkeypatch.setattr(version, "looks_by_key", lambda: asked.append(1) or True)
    named = ((authorities.x509.AuthorityKeyIdentifier(b"another", None, None), False),)
    cas = [authorities.authority("CN=Fleet CA, O=Example", NOW, extensions=named) for _ in range(number)]
    host = authorities.host(SUBJECT, NOW, cas[0], extensions=named)
    place.give(host.pem, host.key_pem(), b"".join(ca.pem for ca in cas))
    said = all_said(place)
    assert ("holds 9 certificates of one name, more than 8" in said) == (number == 9)
    assert len(asked) <= number + 1


# Damage --------------------------------------------------------------------------------------

LIST = authorities.crl(ODDITIES.ca, NOW, HOST.certificate)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_files_end_in_a_sentence_or_a_right_value(place, seed):
    """44,000 mutations ended in five kinds of traceback: in all, 5,000 here."""
    chance, given = random.Random(seed), [*RIGHT.values(), *WRONG.values(), *BEFORE.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's, of what it will refuse one day
        for _ in range(500):
            one, part = chance.choice(given), chance.choice(PARTS)
            files = {"certificate": one.certificate, "key": one.key, "ca": one.ca, "crl": one.crl or LIST}
            files[part] = mutations.file(files[part], chance)
            place.give(files["certificate"], files["key"], files["ca"])
            place.give_lists(files["crl"])
            inspection = place.inspect()
            "\n".join((*inspection.errors, *inspection.warnings)).encode()
            if not inspection.errors:
                copies.difference(inspection, place.destination)


def test_what_is_damaged_is_said_with_the_reason(place):
    place.give(certificate=damage(HOST.pem))
    assert "holds a certificate that cannot be parsed: error parsing asn1 value: ParseError" in all_said(
        place
    )


def test_a_damaged_list_is_a_warning(place):
    place.give_lists(LIST.replace(b"MII", b"AAA", 1).replace(b"\nMI", b"\nAA", 1))
    inspection = place.inspect()
    (warning,) = inspection.warnings
    assert inspection.errors == ()
    assert "holds a list that cannot be parsed: " in warning


HINTS = {
    ValueError("ECDSA keys with explicit parameters are unsupported at this time"): "explicit parameters",
    UnsupportedAlgorithm("Curve 1.3.132.0.16 is not supported"): "on a curve, that is not supported",
    TypeError("s3cret"): "cut off or damaged",
}


@pytest.mark.parametrize("error", HINTS, ids=repr)
def test_why_a_key_cannot_be_read_is_said_in_words_of_ours(place, error, monkeypatch):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(pem.serialization, "load_der_private_key", load)
    text = all_said(place)
    assert "holds a private key that cannot be parsed: " in text
    assert HINTS[error] in text
    assert "s3cret" not in text


STRANGE = {
    bytes.fromhex("06052b81040010"): "on a curve, that is not supported",  # sect283k1
    authorities.spelt_out_curve().replace(b"\x5a\xc6\x35", b"\x5a\xc6\x36"): "explicit parameters",
}


@pytest.mark.parametrize("curve", STRANGE, ids=STRANGE.get)
def test_a_key_on_a_curve_that_the_library_does_not_know(place, curve):
    host = authorities.host(SUBJECT, NOW, CA, key=ec.generate_private_key(ec.SECP256R1()))
    place.give(host.pem, authorities.spelt_out_key(host, curve))
    assert STRANGE[curve] in all_said(place)


CURVES = (ec.SECP224R1, ec.SECP256K1, ec.SECP521R1, ec.BrainpoolP256R1)  # all authenticate with 5.9.8


@pytest.mark.parametrize("curve", CURVES)
def test_a_key_on_an_unusual_curve(place, curve):
    key = ec.generate_private_key(curve())
    host = authorities.host(SUBJECT, NOW, CA, key=key)
    place.give(host.pem, host.key_pem())
    assert place.inspect().errors == ()


def test_a_copy_of_the_release_before_is_written_anew_once(place):
    """It was copied byte by byte, with the text around it; the same certificate, under the same name."""
    text = b"subject=a\n" + HOST.pem
    place.give(text)
    place.copy()
    (place.root / cert_file()).write_bytes(text)
    assert [*place.difference().changes] == [f"{place.root}/{cert_file()}"]
    place.copy(in_use=[Path(cert_file()).name])
    assert place.difference().changes == {}
    assert place.found[cert_file()] == (0o644, HOST.pem)


# By the release of strongSwan ----------------------------------------------------------------

TOLD = "Linux strongSwan U{}/K6.1.0\nUniversity of Applied Sciences Rapperswil, Switzerland\n"


@pytest.mark.parametrize(
    ("installed", "release", "by_rfc", "by_key"),
    [
        ("5.9.1", "", False, False),
        ("5.9.8", "", False, True),
        ("5.9.13", "", False, True),
        ("5.9.14", "", True, True),
        ("6.0.1", "", True, True),
        ("", 'ID=debian\nVERSION_ID="11"\n', False, False),
        ("", 'ID=debian\nVERSION_ID="12"\n', False, True),
        ("", 'ID=debian\nVERSION_ID="13"\n', True, True),
        ("", "ID=other\n", False, False),
        ("", "", False, False),
    ],
)
def test_what_strongswan_makes_of_certificates_differs_with_its_release(
    tmp_path, monkeypatch, installed, release, by_rfc, by_key
):
    monkeypatch.undo()
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(release)
    said = processes.Result(0 if installed else 127, TOLD.format(installed) if installed else "")
    monkeypatch.setattr(version.processes, "run", lambda argv, timeout: said)
    assert (version.has_rfc_constraints(), version.looks_by_key()) == (by_rfc, by_key)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("may", [True, False, None])
def test_a_list_of_a_ca_that_may_not_sign_lists(place, monkeypatch, may, wanted):
    """strongSwan takes no such list from 5.9.11 on, and before it does."""
    monkeypatch.setattr(version, "wants_crl_sign", lambda: wanted)
    usage = authorities.x509.KeyUsage(False, False, False, False, False, True, bool(may), False, False)
    ca = authorities.authority("CN=Fleet CA", NOW, extensions=() if may is None else ((usage, True),))
    host = authorities.host(SUBJECT, NOW, ca)
    place.give(host.pem, host.key_pem(), ca.pem)
    place.give_lists(authorities.crl(ca, NOW))
    found = place.inspect()
    left = may is False and wanted
    assert ["its keyUsage lacks cRLSign) and is left out" in one for one in found.warnings] == [True] * left
    assert len(found.usable().crls) == (not left)


@pytest.mark.parametrize("by_key", [True, False])
def test_a_certificate_that_names_another_key_of_its_ca(place, monkeypatch, by_key):
    monkeypatch.setattr(version, "looks_by_key", lambda: by_key)
    other = authorities.x509.AuthorityKeyIdentifier.from_issuer_public_key(HOST.key.public_key())
    host = authorities.host(SUBJECT, NOW, CA, extensions=((other, False),))
    place.give(host.pem, host.key_pem())
    assert bool(place.inspect().errors) == by_key
