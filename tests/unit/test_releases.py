"""What is recorded of releases, what the code does there, and what tables tell users: they cannot differ."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from hostipsec.errors import HostIPsecError
from hostipsec.system import platforms

ROOT = Path(__file__).parents[2]
FACTS = yaml.safe_load((Path(__file__).parent / "data/releases.yaml").read_text())
HELD = [one for one in FACTS if one["how"] != "refused"]
REFUSED = [one for one in FACTS if one["how"] == "refused"]
CORE = {"strongswan-charon", "strongswan-starter", "strongswan-swanctl", "libstrongswan-standard-plugins"}


def named(fact):
    return f"{fact['release']} {fact['init']}"


def platform(fact):
    """Return what the code makes of the grains of such a host."""
    os, _, release = fact["release"].partition(" ")
    grains = {"os": os, "osmajorrelease": int(release.split(".")[0])}
    return platforms.of(
        {**grains, "init": {"SysV": "sysvinit", "Upstart": "upstart"}.get(fact["init"], "systemd")}
    )


@pytest.mark.parametrize("fact", HELD, ids=named)
def test_a_release_gets_its_packages_and_its_service(fact):
    found = platform(fact)
    assert found.service == fact["service"]
    assert {*found.packages} == CORE
    assert found.systemd == (fact["init"] == "systemd")  # and so whether the init script is diverted
    assert python(fact["python"]) >= python(platforms.PYTHON)


@pytest.mark.parametrize("fact", REFUSED, ids=named)
def test_a_release_that_is_too_old_is_refused_and_told_why(fact):
    with pytest.raises(
        HostIPsecError, match=re.escape(f"; its Python is {fact['python']}, and ipsec-global,")
    ):
        platform(fact)
    assert python(fact["python"]) < python(platforms.PYTHON)


def python(text):
    return tuple(int(part) for part in text.split("."))


def test_nothing_is_known_that_is_not_recorded():
    known = {f"{os} {number}" for os, numbers in platforms.KNOWN.items() for number in numbers}
    assert known == {one["release"].removesuffix(".04") for one in HELD}
    old = {f"{os} {number}": text for os, one in platforms.TOO_OLD.items() for number, text in one.items()}
    assert old == {one["release"].removesuffix(".04"): one["python"] for one in REFUSED}


def rows(path):
    """Return the rows of the table of releases, by the names of its columns."""
    lines = (ROOT / path).read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| release | strongSwan |"))
    block = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    header, _, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in block]
    return [dict(zip(header, row)) for row in cells]


def meant(row):
    """Return the facts that a row tells of: ``Ubuntu 20.04, 22.04`` of two."""
    os, _, numbers = row["release"].partition(" ")
    several = [f"{os} {number}" for number in re.findall(r"[0-9]+(?:\.04)?", numbers)]
    return [one for one in FACTS if one["release"] in several and one["init"] == row["init"]]


@pytest.mark.parametrize(("path", "facts"), [("docs/releases.md", FACTS), ("README.md", HELD)])
def test_the_table_says_what_is_recorded_and_how_it_was_tested(path, facts):
    told = [(row, fact) for row in rows(path) if row["service"] for fact in meant(row)]
    assert sorted(named(fact) for _, fact in told) == sorted(map(named, facts))
    for row, fact in told:
        assert fact["strongswan"] in row["strongSwan"], row
        assert f"`{fact['service']}`" == row["service"], row
        how = row["how it was tested"]
        assert fact["how"] in how or (fact["how"] == "run" and shown_by(how)), row
        if fact["how"] == "run":
            assert all(found.exists() for found in shown_by(how)), row
        else:
            assert not shown_by(how), row


def test_the_readme_says_what_is_refused():
    (row,) = (one for one in rows("README.md") if not one["service"])
    newest = {os: max(one) for os, one in platforms.TOO_OLD.items()}
    assert row["release"] == f"Debian {newest['Debian']}, Ubuntu {newest['Ubuntu']}.04 and older"
    assert row["how it was tested"].endswith(f"our programs need Python {platforms.PYTHON}")


def shown_by(text):
    """Return the tests that a cell names, as ``functional/test_sysv``; every layer has all of them."""
    found = [ROOT / f"tests/{name}.py" for name in re.findall(r"`(\w+/test_\w+)`", text)]
    return found or ([ROOT / "tests/run"] if "every layer of `make test`" in text else [])
