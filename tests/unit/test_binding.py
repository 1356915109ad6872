"""Peers are bound to the pillar's CA, whatever other CAs charon has; foreign ones are named."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import authorities
import fleets
from hostipsec import paths
from hostipsec.apply import configuration
from hostipsec.certificates import binding, findings, partners, rules, source
from hostipsec.model import Charon, LoadedConnection
from hostipsec.pillar import membership, pillar
from hostipsec.strongswan import sections

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
CA = authorities.authority("CN=Fleet CA, O=Example", NOW)
PARTNER = authorities.authority("CN=Partner CA", NOW)
SUBJECT = "CN=cp1.example"


@pytest.fixture
def found(tmp_path):
    """Return a function that inspects a host whose CA file has these CAs, beside files of cacerts."""

    def inspect(*cas, issuer=CA, **files):
        host = authorities.host(SUBJECT, NOW, issuer)
        where = authorities.write(tmp_path / "x", host.pem, host.key_pem(), b"".join(ca.pem for ca in cas))
        cacerts = tmp_path / "cacerts"
        cacerts.mkdir(exist_ok=True)
        for name, content in files.items():
            (cacerts / name).write_bytes(content)
        inspection = source.inspect(where, SUBJECT, NOW)
        return inspection, binding.judge(inspection.credentials.authorities, cacerts)

    return inspect


def codes(findings):
    return [(finding.severity, finding.code) for finding in findings]


def test_peers_are_bound_to_the_only_ca(found):
    inspection, beside = found(CA)
    assert inspection.usable().binding["rightca"] == "CN=Fleet CA, O=Example"
    assert beside == ()


def test_a_ca_with_an_attribute_that_charon_does_not_read_is_named_by_its_bytes(found):
    """charon took the text for no distinguished name, and found no CA of that name."""
    odd = x509.NameAttribute(x509.ObjectIdentifier("2.5.4.97"), "NTRDE-HRB1")
    ca = authorities.authority("", NOW, named=x509.Name([*CA.certificate.subject, odd]))
    inspection, _ = found(ca, issuer=ca)
    assert inspection.usable().binding["rightca"].startswith("asn1dn:#30")


def test_what_is_between_the_ca_and_the_hosts_changes_nothing(found):
    middle = authorities.authority("CN=Hosts CA", NOW, issuer=CA)
    assert found(middle, CA, issuer=middle)[0].usable().binding["rightca"] == "CN=Fleet CA, O=Example"


def test_any_ca_below_the_root_vouches_for_peers(found):
    """Hosts of one fleet may be of several such CAs, which no host can know: docs/promises.md says so."""
    one, other = (authorities.authority(f"CN={name} CA", NOW, issuer=CA) for name in ("One", "Other"))
    bindings = [found(one, CA, issuer=one), found(other, CA, issuer=other), found(one, other, CA, issuer=one)]
    assert len({tuple(each.usable().binding.items()) for each, _ in bindings}) == 1
    assert bindings[0][0].usable().binding["rightca"] == "CN=Fleet CA, O=Example"


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_foreign_ca_is_a_warning_that_names_it(found, form):
    content = PARTNER.certificate.public_bytes(getattr(serialization.Encoding, form))
    _, beside = found(
        CA, **{"partner.pem": content, "junk": b"x", "empty": b"", "hostipsec-0a1b2c3d.pem": content}
    )
    assert codes(beside) == [(findings.WARNING, "ca-foreign")]
    assert "partner.pem is a CA that the pillar does not name, CN=Partner CA" in str(beside[0])
    assert "peers are bound to 'CN=Fleet CA, O=Example'" in str(beside[0])


def test_the_pillar_s_own_ca_under_another_name_and_certificates_of_hosts_are_no_foreign_cas(found):
    host = authorities.host("CN=other", NOW, CA)
    assert found(CA, **{"puppet.pem": CA.pem, "host.pem": host.pem})[1] == ()


@pytest.mark.parametrize("name", ["CN=Fleet CA, O=Example", "CN=FLEET ca, O=example"])
def test_a_foreign_ca_of_the_same_name_is_an_error(found, name):
    """charon takes the first CA of the name that it finds."""
    _, beside = found(CA, **{"twin.pem": authorities.authority(name, NOW).pem})
    assert codes(beside) == [(findings.ERROR, "ca-alike")]


@pytest.mark.parametrize("name", ["CN=*, O=Example", "CN=*"])
def test_a_ca_whose_name_is_that_of_others_as_well_is_an_error(found, name):
    """Peers were bound to "CN=*, O=Example", which is any CA of that organisation that charon has."""
    every = authorities.authority(name, NOW)
    inspection, _ = found(every, issuer=every)
    assert codes(inspection.findings) == [(findings.ERROR, "ca-pattern")]
    assert partners._misfit([every.certificate], NOW).endswith("takes '*' for whatever stands there")
    starred = authorities.authority("CN=Fleet* CA, O=Example", NOW)
    assert found(starred, issuer=starred)[0].errors == ()  # a part of a value is no pattern of a name


def test_while_there_are_two_cas_nothing_else_may_be_there(found):
    new = authorities.authority("CN=New CA", NOW)
    inspection, beside = found(CA, new)
    assert (inspection.usable().binding, beside) == ({}, ())
    assert codes(inspection.findings) == [(findings.WARNING, "ca-several")]
    assert codes(found(CA, new, **{"partner.pem": PARTNER.pem})[1]) == [(findings.ERROR, "ca-unbound")]


def test_two_certificates_of_one_ca_bind_to_none(found):
    renewed = authorities.authority("CN=Fleet CA, O=Example", NOW, key=CA.key)
    assert found(CA, renewed)[0].usable().binding == {}


def test_a_ca_that_is_renewed_under_its_name_is_another_to_bind_to(found):
    """charon goes on with the CA that it found when a connection was loaded, and refuses every peer."""
    renewed = authorities.authority("CN=Fleet CA, O=Example", NOW, key=CA.key)
    before, after = (found(one)[0].usable().binding for one in (CA, renewed))
    assert before["rightca"] == after["rightca"]
    assert before != after


def test_the_system_s_bundle_is_refused_with_a_sentence(found):
    many = [authorities.authority(f"CN=CA {number}", NOW) for number in range(rules.MOST_CAS)]
    inspection, _ = found(CA, *many)
    (error,) = inspection.errors
    assert f"ca.pem holds {rules.MOST_CAS + 1} certificates: each could vouch for any peer" in error
    assert "the system's bundle" in error
    assert found(CA, *many[1:])[0].errors == ()


def test_a_name_that_charon_would_read_as_another_goes_as_its_bytes(found):
    for text in ("CN=x #1", "CN=a/b,c", "CN=\u00c4"):
        ca = authorities.authority("CN=x", NOW, named=authorities.odd(text))
        name = found(ca, issuer=ca)[0].usable().binding["rightca"]
        assert name == f"asn1dn:#{ca.certificate.subject.public_bytes().hex()}"


def test_a_member_is_inspected_with_what_charon_has_beside(found, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path))
    host = authorities.host("CN=cp1001.eqiad.example", NOW, CA)
    where = authorities.write(tmp_path / "x", host.pem, host.key_pem(), CA.pem)
    cacerts = paths.here.ipsec_d / "cacerts"
    cacerts.mkdir(parents=True)
    (cacerts / "partner.pem").write_bytes(PARTNER.pem)
    monkeypatch.setattr(source, "locate", lambda *_: where)
    member = membership.of(pillar.read(fleets.example()), "cp1001.eqiad.example")
    assert codes(source.inspect_member(member, NOW).findings) == [(findings.WARNING, "ca-foreign")]
    (cacerts / "partner.pem").write_bytes(authorities.authority("CN=Fleet CA, O=Example", NOW).pem)
    assert "cannot tell them apart" in source.inspect_member(member, NOW).errors[0]
    demanding = {**fleets.example(), "connection": {"rightauth": "rsa-4096"}}
    member = membership.of(pillar.read(demanding), "cp1001.eqiad.example")
    assert "ipsec:connection:rightauth: found 'rsa-4096', and" in source.inspect_member(member, NOW).errors[0]


@pytest.mark.parametrize(
    ("there", "existing", "severity"),
    [
        ("hostipsec-0123abcd.pem", {}, "error"),
        ("mine.pem", {}, "warning"),
        ("", {"existing": "keep"}, "warning"),
    ],
)
def test_lists_that_are_demanded_may_come_from_elsewhere(tmp_path, monkeypatch, there, existing, severity):
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path))
    host = authorities.host("CN=cp1001.eqiad.example", NOW, CA)
    where = authorities.write(tmp_path / "x", host.pem, host.key_pem(), CA.pem)
    crls = paths.here.ipsec_d / "crls"
    crls.mkdir(parents=True)
    if there:
        (crls / there).write_bytes(b"")
    monkeypatch.setattr(source, "locate", lambda *_: where)
    data = {**fleets.example(), "setup": {"strictcrlpolicy": True}, **existing}
    member = membership.of(pillar.read(data), "cp1001.eqiad.example")
    assert codes(source.inspect_member(member, NOW).findings) == [(severity, "crl-demanded")]


def test_the_configuration_has_it_unless_the_pillar_says_another():
    fleet = pillar.read(fleets.star(1))

    def rightca(settings, ca):
        secret = sections.Secret("RSA", "x")
        binding = {"rightca": ca} if ca else {}
        return sections.configuration([], settings, "x", secret, binding=binding).defaults.get("rightca")

    assert rightca(fleet.settings, "CN=x") == "CN=x"
    assert rightca(fleet.settings, "") is None
    assert rightca(fleet.settings._replace(connection={"rightca": "CN=y"}), "CN=x") == "CN=y"


def test_a_connection_that_charon_has_for_any_ca_is_not_as_it_should_be():
    """charon leaves a CA that it does not find out of a connection, and no more than logs it."""
    member = membership.of(pillar.read(fleets.star(1)), "hub.core.example")
    secret = sections.Secret("RSA", "x")
    want = configuration.wanted(
        member.connections, member.fleet.settings, "x", secret, binding={"rightca": "CN=x"}
    )
    free = configuration.wanted(member.connections, member.fleet.settings, "x", secret)

    def charon(*cas):
        return Charon(
            "5.9.8",
            "vici",
            connections=tuple(
                LoadedConnection(one.name, (str(one.left),), (str(one.right),), remote_cas=cas)
                for one in member.connections
            ),
        )

    assert configuration.missing(want, charon("CN=x")) == configuration.missing(free, charon()) == ()
    assert configuration.missing(want, charon()) == tuple(sorted(one.name for one in member.connections))
