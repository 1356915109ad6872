"""Identities: of all hosts by a template, of one by its own word, confirmed by the certificate."""

from __future__ import annotations

from dataclasses import replace

import pytest

import fleets
from certificate_facts import GOOD, codes, only
from hostipsec.certificates import names
from hostipsec.certificates.constraints import GeneralName
from hostipsec.errors import PillarError
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import rdn, sections

CP, HUB = "cp3001.esams.example", "cp1001.eqiad.example"


def given(template: str | None = None, **subjects: str):
    data = fleets.example()
    data["certificates"] = {"source": "puppet", **({"subject": template} if template else {})}
    for host, subject in subjects.items():
        data["hosts"][{"cp": CP, "hub": HUB}[host]]["subject"] = subject
    return pillar.read(data)


def ends(fleet, one: str, other: str) -> list[tuple[str, str]]:
    found = [connection for connection in topology.connections(fleet, one) if connection.peer == other]
    return [(connection.leftid, connection.rightid) for connection in found]


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("O=Other, CN=old-name", "O=Other, CN=old-name"),
        ("/O=Other, Inc/CN=old-name", "/O=Other, Inc/CN=old-name"),
        ("O=A+B, CN=old+name", "O=A+B, CN=old+name"),
        ("G=Ada, TCGID=t, ND=n, CN=old-name", "G=Ada, TCGID=t, ND=n, CN=old-name"),
        ("@web.example.org", "@web.example.org"),
        ("ip:198.51.100.7", "198.51.100.7"),
        ("ip:2001:DB8:0::7", "2001:db8::7"),
    ],
)
def test_a_subject_at_a_host_counts_before_the_template_at_both_ends(subject, written):
    fleet = given(cp=subject)
    assert set(ends(fleet, CP, HUB)) == {(written, f"CN={HUB}")}
    assert set(ends(fleet, HUB, CP)) == {(f"CN={HUB}", written)}


@pytest.mark.parametrize(
    ("template", "mine"),
    [("@{id}", f"@{CP}"), ("@{short}.example.net", "@cp3001.example.net"), ("ip:{ipv4}", None)],
)
def test_all_hosts_may_be_known_by_names_or_addresses(template, mine):
    fleet = given(template)
    host = fleet.host(CP)
    (found, *same) = {left for left, _ in ends(fleet, CP, HUB)}
    assert not same and found == (mine or str(host.ipv4))


WRONG = [
    ("cp", "old-name", "ipsec:hosts:cp3001.esams.example:subject", ["'old-name'", "'@host.example'"]),
    ("cp", "@*.example", "ipsec:hosts:cp3001.esams.example:subject", ["fits whatever"]),
    ("cp", "CN=*", "ipsec:hosts:cp3001.esams.example:subject", ["fits whatever"]),
    ("cp", "@", "ipsec:hosts:cp3001.esams.example:subject", ["'@'"]),
    ("cp", "@#6162", "ipsec:hosts:cp3001.esams.example:subject", ["'@#6162'"]),
    ("cp", "@@a.example", "ipsec:hosts:cp3001.esams.example:subject", ["'@@a.example'"]),
    ("cp", "@a=b", "ipsec:hosts:cp3001.esams.example:subject", ["'@a=b'"]),
    ("cp", "192.0.2.1", "ipsec:hosts:cp3001.esams.example:subject", ["'192.0.2.1'", "'ip:192.0.2.1'"]),
    ("cp", "ip:192.0.2", "ipsec:hosts:cp3001.esams.example:subject", ["'ip:192.0.2'"]),
    ("cp", "ip:0.0.0.0", "ipsec:hosts:cp3001.esams.example:subject", ["'ip:0.0.0.0'", "reserved"]),
    ("cp", "ip:::", "ipsec:hosts:cp3001.esams.example:subject", ["'ip:::'", "reserved"]),
    ("cp", "ip:0::0", "ipsec:hosts:cp3001.esams.example:subject", ["'ip:0::0'", "reserved"]),
    ("cp", "ip:127.0.0.1", "ipsec:hosts:cp3001.esams.example:subject", ["loopback"]),
    ("cp", "ip:CN=x", "ipsec:hosts:cp3001.esams.example:subject", ["'ip:CN=x'"]),
    ("cp", "CN={id}", "ipsec:hosts:cp3001.esams.example:subject", ["{id}"]),
    ("cp", 'CN="x"', "ipsec:hosts:cp3001.esams.example:subject", ["without quotes"]),
    ("cp", 7, "ipsec:hosts:cp3001.esams.example:subject", ["found 7"]),
    ("cp", "X=a", "ipsec:hosts:cp3001.esams.example:subject", ["'X=a' is no attribute"]),
    ("cp", "CN=a, GN=b", "ipsec:hosts:cp3001.esams.example:subject", ["'GN=b' is no attribute", "'G=b'"]),
    ("cp", "CN=a, 2.5.4.42=b", "ipsec:hosts:cp3001.esams.example:subject", ["'2.5.4.42=b'", "'G=b'"]),
    (
        "cp",
        "CN=a, organizationIdentifier=b",
        "ipsec:hosts:cp3001.esams.example:subject",
        ["'organizationIdentifier=b' is no attribute"],
    ),
    (
        "cp",
        "O=x, CN=a + OU=b",
        "ipsec:hosts:cp3001.esams.example:subject",
        ["'CN=a + OU=b' is one part with one value to strongSwan: write 'CN=a, OU=b'"],
    ),
    (
        "cp",
        "/O=x/CN=a+ou=b",
        "ipsec:hosts:cp3001.esams.example:subject",
        ["'CN=a+ou=b' is one part with one value to strongSwan: write 'CN=a/ou=b'"],
    ),
    ("cp", f"CN={'x' * 448}", "ipsec:hosts:cp3001.esams.example:subject", ["of more than 450 bytes"]),
    ("cp", f"CN={'ü' * 224}", "ipsec:hosts:cp3001.esams.example:subject", ["of more than 450 bytes"]),
    ("cp", ", ".join(["OU=a"] * 21), "ipsec:hosts:cp3001.esams.example:subject", ["of more than 20 parts"]),
    ("cp", f"CN={HUB}", "ipsec:hosts:cp3001.esams.example:subject", [HUB, "of its own"]),
    ("cp", f"/CN={HUB}", "ipsec:hosts:cp3001.esams.example:subject", [HUB, "of its own"]),
    ("cp", f"cn = {HUB.upper()}", "ipsec:hosts:cp3001.esams.example:subject", [HUB.upper(), "of its own"]),
]


@pytest.mark.parametrize(("host", "subject", "path", "words"), WRONG)
def test_what_is_no_identity_or_another_hosts_is_refused(host, subject, path, words):
    with pytest.raises(PillarError) as caught:
        given(**{host: subject})
    (problem,) = caught.value.problems
    assert problem.path == path
    assert all(word in f"{problem.found}; {problem.allowed}" for word in words), problem


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("O=a, CN=b", "/o = A/CN=b", True),
        ("O=a,CN=b", "O=a, CN=b", True),
        ("E=a@b.example, CN=c", "emailAddress=a@b.example, CN=c", True),
        ("/UN=a", "unstructuredName=a", True),
        ("SN=1, CN=a", "serialNumber=1, CN=a", False),
        ("CN=b, O=a", "O=a, CN=b", False),
        ("/O=a/CN=c", "O=a/CN=c", False),
    ],
)
def test_one_name_in_two_spellings_is_one_identity(one, other, same):
    """It passed for two: each of the hosts could have stood for the other."""
    assert (rdn.plain(one) == rdn.plain(other)) is same
    read = ([(kind, value.casefold()) for kind, value in names.parse(text)] for text in (one, other))
    assert (next(read) == next(read)) is same


@pytest.mark.parametrize("subject", [f"CN={'x' * 447}", ", ".join(["OU=a"] * 20), "/OU=a" * 20])
def test_the_longest_name_is_taken(subject):
    given(cp=subject)


def test_names_that_differ_in_case_alone_are_one():
    with pytest.raises(PillarError, match="gives '@CP' to"):
        given(cp="@CP", hub="@cp")


@pytest.mark.parametrize("template", ["@{id}.*", "CN={id}, O=*"])
def test_a_template_with_a_pattern_in_it_is_refused(template):
    with pytest.raises(PillarError, match="fits whatever stands there"):
        given(template)


def test_hosts_without_the_address_that_is_to_be_their_identity_are_named():
    data = fleets.example()
    data["certificates"] = {"source": "puppet", "subject": "ip:{ipv6}"}
    del data["hosts"]["cp2001.codfw.example"]["ipv6"]
    with pytest.raises(PillarError) as caught:
        pillar.read(data)
    (problem,) = caught.value.problems
    assert "gives 'ip:' to cp2001.codfw.example" in problem.found


def test_strongswan_gets_what_it_reads_as_such():
    fleet = given("@{id}", cp="ip:198.51.100.7")
    connection = topology.connections(fleet, CP)[0]
    options = sections.options(connection, "host.pem", "add")
    assert (options["leftid"], options["rightid"]) == ("198.51.100.7", f"@{HUB}")


# The certificate -----------------------------------------------------------------------------

BESIDE = (GeneralName("dns", "cp1.example"), GeneralName("ip", "2001:db8::1"))
ACME = replace(GOOD.certificate, subject=(), alternatives=BESIDE)


@pytest.mark.parametrize("identity", ["@cp1.example", "@CP1.example", "2001:db8::1"])
def test_a_certificate_without_a_subject_confirms_what_stands_beside_it(identity):
    assert codes(replace(GOOD, certificate=ACME), identity) == []


def test_a_certificate_that_does_not_have_the_name_is_an_error_that_says_which_it_has():
    said = only(replace(GOOD, certificate=ACME), "@cp2.example")
    assert "has the names cp1.example, 2001:db8::1" in said
    assert "'@cp2.example' among its alternative names" in said
    assert "has no alternative name" in only(GOOD, "@cp1.example")
    assert codes(replace(GOOD, certificate=ACME), "192.0.2.1") == [("error", "wrong-subject")]


@pytest.mark.parametrize("kind", ["email", "other", "ip"])
def test_a_name_of_another_kind_confirms_nothing(kind):
    certificate = replace(ACME, alternatives=(GeneralName(kind, "cp1.example"),))
    assert codes(replace(GOOD, certificate=certificate), "@cp1.example") == [("error", "wrong-subject")]


def test_a_name_in_the_certificate_that_stands_for_many_confirms_none_of_them():
    certificate = replace(ACME, alternatives=(GeneralName("dns", "*.example"),))
    assert codes(replace(GOOD, certificate=certificate), "@cp1.example") == [("error", "wrong-subject")]


def test_charon_prints_names_without_what_says_that_they_are_some():
    assert not names.prints_otherwise("@cp1.example", "cp1.example")
    assert not names.prints_otherwise("192.0.2.1", "192.0.2.1")
    assert names.prints_otherwise("@cp1.example", "CN=cp1.example")
    assert names.prints_otherwise("@cp1.example", "")
