"""Files that are unusual: those that charon can use are taken as charon can read them, the others refused."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

import authorities
from certificate_oddities import Oddities
from hostipsec.certificates import source, version
from places import CA, NOW, SUBJECT, Place

ODDITIES = Oddities(SUBJECT, NOW)
RIGHT, WRONG, BEFORE = ODDITIES.right(), ODDITIES.wrong(), ODDITIES.wrong_before()


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


@pytest.mark.parametrize("what", [*WRONG, *BEFORE])
def test_what_charon_refuses_is_one_clear_error(place, what):
    given = {**WRONG, **BEFORE}[what]
    give(place, given)
    (error,) = place.inspect().errors
    assert given.said in error
    assert "; expected " in error


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
