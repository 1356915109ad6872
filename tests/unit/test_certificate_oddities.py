"""Files that are unusual: those that charon can use are taken as charon can read them, the others refused."""

from __future__ import annotations

import pytest

from certificate_oddities import Oddities
from hostipsec.certificates import version
from places import NOW, SUBJECT, Place

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
