"""A real charon and unusual files: it believes what we take, and would not believe what we refuse."""

from __future__ import annotations

import os
import random
import warnings
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from strongswan import STRONGSWAN_CONF, Host, line, unpacked, wait_for
from vici.exception import CommandException

import authorities
import mutations
from certificate_oddities import Oddities, old_crl
from hostipsec.certificates import copies, names, source, trust, version, x509facts
from hostipsec.certificates.copies import Destination
from hostipsec.certificates.facts import Asked
from hostipsec.charon import credentials
from hostipsec.charon.stroke import StrokeBackend
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.fleet import authentication
from hostipsec.strongswan import identity as identities

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

NOW = datetime.now(timezone.utc)
SUBJECT = "CN=a.example"
IDS = {"east": SUBJECT, "west": "CN=peer.example"}
ADDRESSES = {"east": "10.9.0.1", "west": "10.9.0.2"}
CONN = """
config setup
    strictcrlpolicy={strict}
conn {name}
    left={left}
    right={right}
    leftid="{leftid}"
    rightid="{rightid}"
    leftcert={certificate}
    keyexchange=ikev2
    ike=aes128gcm16-prfsha384-ecp384bp!
    esp=aes128gcm16-ecp384bp-noesn!
    mobike=no
    leftsendcert=always
    auto=add
{more}
"""
MISNAMED = ("a BMPString", "upper case of a UTF8String")
ODDITIES = Oddities(SUBJECT, NOW)
RIGHT, WRONG = ODDITIES.right(), {**ODDITIES.wrong(), **ODDITIES.wrong_before()}


class Pair:
    """A host with unusual files, and a plain one of the same CA."""

    def __init__(self, place: Path) -> None:
        self.place, self.count, self.strict, self.more = place, 0, "no", {}
        self.hosts = {name: Host(name, place / name, over=unpacked()) for name in ADDRESSES}
        line(*self.hosts.values(), *([f"{address}/24"] for address in ADDRESSES.values()))
        for host in self.hosts.values():
            host.start("", "", STRONGSWAN_CONF)

    def give(self, given, judged=True):
        """Copy the files as the state does, or as they are, and have charon take them up."""
        self.count += 1
        where = authorities.write(self.place / "source", given.certificate, given.key, given.ca)
        if given.crl:
            (self.place / "source/crl.pem").write_bytes(given.crl)
            where = replace(where, crl=str(self.place / "source/crl.pem"))
        found = source.inspect(where, SUBJECT, NOW).usable() if judged else None
        for name, host in self.hosts.items():
            for path in (host.root / "etc/ipsec.d").glob("*/*.pem"):
                path.unlink()
            if found:
                copies.write(copies.difference(source.inspect(where, SUBJECT, NOW), self._below(host)))
                certificate = copies.certificate_name("a.example", found.certificate)
                key = f": {found.key.secrets_keyword} {copies.key_name('a.example', found.certificate)}\n"
            else:
                certificate, key = _as_they_are(host, given)
            if name == "west":
                certificate, key = _plain(host, given.peer)
            self._take_up(name, certificate, key)
        return found

    @staticmethod
    def _below(host):
        return Destination(f"{host.root}/etc/ipsec.d", "a.example")

    def have(self, ends, crl=""):
        """Give each end a certificate and CAs of its own, as they are, and a list."""
        self.count += 1
        for name, (issued, cas) in ends.items():
            host = self.hosts[name]
            for path in (host.root / "etc/ipsec.d").glob("*/*.pem"):
                path.unlink()
            host.write("/etc/ipsec.d/certs/a.pem", issued.pem.decode(), 0o644)
            host.write("/etc/ipsec.d/private/a.pem", issued.key_pem().decode())
            for number, ca in enumerate(cas):
                host.write(f"/etc/ipsec.d/cacerts/{number}.pem", ca.pem.decode(), 0o644)
            if crl:
                host.write("/etc/ipsec.d/crls/one.pem", crl)
            self._take_up(name, "a.pem", ": PKCS8 a.pem\n")

    def _take_up(self, name, certificate, key):
        host, peer = self.hosts[name], "west" if name == "east" else "east"
        ends = {"left": ADDRESSES[name], "right": ADDRESSES[peer], "strict": self.strict}
        ends["more"] = "".join(f"    {key}={value}\n" for key, value in self.more.get(name, {}).items())
        ids = {"leftid": IDS[name], "rightid": IDS[peer]}
        connection = f"conn{self.count}"
        host.write("/etc/ipsec.secrets", key)
        host.write("/etc/ipsec.conf", CONN.format(name=connection, certificate=certificate, **ends, **ids))
        stroke, observe = StrokeBackend(host.process), ViciBackend(host.vici).observe
        stroke.reread()
        stroke.update()
        wait_for(lambda: {one.name for one in observe().connections} == {connection}, name)

    def initiate(self, starts="east"):
        """Start the connection; returns whether it came up. A lost packet is sent again after 60 s."""
        backend = ViciBackend(self.hosts[starts].vici)
        backend.terminate([sa.uniqueid for sa in backend.observe().ike_sas], force=True)
        wait_for(lambda: not backend.observe().ike_sas, "end of all SAs")
        try:
            with self.hosts[starts].vici(105) as session:
                session.request("initiate", {"child": f"conn{self.count}", "timeout": "90000"})
        except CommandException:
            return False
        return True

    def stop(self):
        for host in self.hosts.values():
            host.stop()


def _plain(host, peer):
    """Give a host the certificate of the peer, and no other of its own."""
    for path in (host.root / "etc/ipsec.d").glob("[cp]*/a*.pem"):
        path.unlink()
    host.write("/etc/ipsec.d/certs/b.pem", peer.pem.decode(), 0o644)
    host.write("/etc/ipsec.d/private/b.pem", peer.key_pem().decode())
    return "b.pem", ": ECDSA b.pem\n"


def _as_they_are(host, given):
    end = "-----END CERTIFICATE-----\n"
    first, _, rest = given.certificate.decode().partition(end)
    host.write("/etc/ipsec.d/certs/a.pem", first + end, 0o644)
    host.write("/etc/ipsec.d/private/a.pem", given.key.decode())
    host.write("/etc/ipsec.d/cacerts/ca.pem", given.ca.decode(), 0o644)
    host.write("/etc/ipsec.d/cacerts/sub.pem", rest or given.ca.decode(), 0o644)
    return "a.pem", ": ECDSA a.pem\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    found = Pair(tmp_path_factory.mktemp("pair"))
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(autouse=True)
def before(monkeypatch):
    monkeypatch.setattr(version, "has_rfc_constraints", lambda: False)


@pytest.mark.parametrize("what", RIGHT)
def test_what_is_taken_charon_believes(pair, what):
    found = pair.give(RIGHT[what])
    assert pair.initiate()
    loaded = StrokeBackend(pair.hosts["east"].process).credentials()
    assert credentials.lacking(found.expected, loaded, in_use=True) == ()
    assert credentials.unserved(found.expected, loaded) == ()


def test_the_lists_that_are_taken_are_those_that_charon_loads(pair, tmp_path):
    east, taken, has = pair.hosts["east"], {}, {}
    for what, (given, _) in ODDITIES.lists().items():
        where = authorities.write(tmp_path, given.certificate, given.key, given.ca)
        where = replace(where, crl=str(tmp_path / "crl.pem"))
        (tmp_path / "crl.pem").write_bytes(given.crl)
        taken[what] = len(source.inspect(where, SUBJECT, NOW).usable().crls)
        east.write("/etc/ipsec.d/crls/one.pem", given.crl.decode())
        StrokeBackend(east.process).reread()
        one = x509facts.crl_listed(x509.load_pem_x509_crl(given.crl))
        has[what] = len(StrokeBackend(east.process).credentials().crls & {one})
    (east.root / "etc/ipsec.d/crls/one.pem").unlink()
    assert taken.pop("signed by another") == 0  # charon takes it, and finds nobody who signed it
    assert taken == {what: has[what] for what in taken}


def test_nothing_else_is_wrong_with_what_is_refused(pair):
    plain = RIGHT["a PrintableString"]
    pair.give(plain, judged=False)
    assert pair.initiate()


@pytest.mark.parametrize("revoked", [False, True])
def test_a_list_over_sha_1_counts(tmp_path, revoked):
    """It was left out, "signed by no CA", and nobody was revoked."""
    given, ca = RIGHT["a list over SHA-1"], ODDITIES.ca
    entries = [given.peer.certificate] if revoked else []
    made = old_crl(authorities.crl(ca, NOW, *entries), ca.key)
    pair = Pair(tmp_path)  # its own: charon keeps a list
    try:
        pair.strict = "yes"
        pair.give(replace(given, crl=made))
        assert pair.initiate() == (not revoked)
    finally:
        pair.stop()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused_charon_would_not_believe(pair, what):
    pair.give(WRONG[what], judged=False)
    assert not pair.initiate()
    (loaded,) = ViciBackend(pair.hosts["east"].vici).observe().connections
    assert names.prints_otherwise(SUBJECT, loaded.local_id) == (what in MISNAMED)


# Could they authenticate anew? ---------------------------------------------------------------

LONG, DAY = timedelta(days=365), timedelta(days=1)


def _ends(what):
    """Return certificate and CAs of both ends; no CA is one of another case."""
    one, other = (authorities.authority(f"CN={name} CA, O={what}", NOW) for name in ("One", "Other"))
    sub = authorities.authority(f"CN=Sub CA, O={what}", NOW, issuer=one)
    renewed = authorities.authority(f"CN=One CA, O={what}", NOW, key=one.key, until=2 * LONG)
    old = authorities.authority(f"CN=One CA, O={what}", NOW, key=one.key, since=-LONG, until=-DAY)
    east, west = (authorities.host(name, NOW, one) for name in IDS.values())
    elsewhere, below = (authorities.host(SUBJECT, NOW, ca) for ca in (other, sub))
    expired = authorities.host(SUBJECT, NOW, one, since=-LONG, until=-DAY)
    early = authorities.host(SUBJECT, NOW, one, since=DAY)
    plain = (west, [one])
    return {
        "one CA": ((east, [one]), plain),
        "a CA of its own": ((elsewhere, [other]), plain),
        "a CA of its own and the other one": ((elsewhere, [other, one]), plain),
        "both CAs at both": ((elsewhere, [other, one]), (west, [one, other])),
        "the other's CA is not taken": ((east, [other]), plain),
        "a CA between at one end": ((below, [one, sub]), plain),
        "a CA that was renewed at one end": ((east, [renewed]), plain),
        "a CA that has expired at one end": ((east, [old]), plain),
        "expired": ((expired, [one]), plain),
        "not valid yet": ((early, [one]), plain),
    }[what]


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("one CA", authentication.YES),
        ("a CA of its own", authentication.NO),
        ("a CA of its own and the other one", authentication.NO),
        ("both CAs at both", authentication.YES),
        ("the other's CA is not taken", authentication.NO),
        ("a CA between at one end", authentication.YES),
        ("a CA that was renewed at one end", authentication.YES),
        ("a CA that has expired at one end", authentication.NO),
        ("expired", authentication.NO),
        ("not valid yet", authentication.NO),
    ],
)
def test_whether_two_ends_could_authenticate_anew_is_what_their_charons_do(pair, what, word):
    ends = dict(zip(ADDRESSES, _ends(what)))
    told = {
        name: trust.told(issued.certificate, [ca.certificate for ca in cas], "", NOW)
        for name, (issued, cas) in ends.items()
    }
    known = authentication.of({name: {"authentication": one} for name, one in told.items()})
    assert authentication.pair("east", "west", known)[0] == word
    pair.have(ends)
    assert pair.initiate() == (word == authentication.YES)


# What peers demand ---------------------------------------------------------------------------

POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)])
POLICIES = {"none": (), "one": ((POLICY, False),)}


def _demanding(what):
    """Return a host's certificate with its CAs, by its kind of key, that of its CA, and who has a policy."""
    kind, of_ca, mine, theirs = what.split()
    digest = authorities.hashes.SHA384() if of_ca.endswith("-384") else None
    said = POLICIES[theirs]
    ca = authorities.authority(f"CN=CA of {what}", NOW, of_ca.partition("-")[0], extensions=said)
    return authorities.host(SUBJECT, NOW, ca, kind, extensions=POLICIES[mine], digest=digest), ca


DEMANDS = [
    ("RSA RSA none none", {"rightauth": "rsa-2048"}, "up"),
    ("RSA RSA none none", {"rightauth": "rsa-2049"}, "error"),
    ("RSA RSA none none", {"rightauth": "rsa"}, "up"),
    ("RSA RSA none none", {"rightauth": "ecdsa"}, "up"),
    ("RSA RSA none none", {"rightauth": "rsa-2048-sha256"}, "up"),
    ("RSA RSA none none", {"rightauth": "rsa-sha384"}, "error"),
    ("RSA RSA none none", {"rightauth": "ike:rsa-sha384"}, "warning"),
    ("RSA RSA none none", {"rightauth": "ike:rsa-sha384", "leftauth": "ike:rsa-sha384"}, "up"),
    ("RSA RSA none none", {"rightauth": "ike:rsa/pss-sha256"}, "error"),
    ("RSA RSA none none", {"leftauth": "ecdsa-sha384"}, "error"),
    ("RSA RSA none none", {"leftauth": "ecdsa-384"}, "up"),
    ("RSA RSA-384 none none", {"rightauth": "rsa-sha384"}, "warning"),
    ("ECDSA ECDSA none none", {"rightauth": "ecdsa-384"}, "up"),
    ("ECDSA ECDSA none none", {"rightauth": "ecdsa-521"}, "error"),
    ("ECDSA ECDSA none none", {"rightauth": "ecdsa-384-sha384"}, "error"),
    ("ECDSA ECDSA-384 none none", {"rightauth": "ecdsa-384-sha384"}, "up"),
    ("ECDSA ECDSA none none", {"rightauth": "ecdsa-384-sha256"}, "error"),
    ("ECDSA ECDSA none none", {"rightauth": "ecdsa-sha256", "leftauth": "ecdsa-sha256"}, "up"),
    ("ECDSA ECDSA none none", {"rightauth": "rsa-2048"}, "error"),
    ("ECDSA RSA none none", {"rightauth": "ecdsa-384"}, "error"),  # its CA has another kind of key
    ("ECDSA RSA none none", {"rightauth": "ecdsa-384-rsa-2048"}, "up"),
    ("ECDSA RSA none none", {"rightauth": "pubkey-sha256-sha384"}, "up"),
    ("Ed25519 ECDSA none none", {"rightauth": "ecdsa-384"}, "up"),
    ("Ed25519 ECDSA none none", {"rightauth": "ecdsa-256-sha256"}, "error"),
    ("Ed25519 ECDSA none none", {"rightauth": "pubkey-sha256-identity"}, "up"),
    ("ECDSA ECDSA one one", {"rightcertpolicy": "1.2.3.4"}, "up"),
    ("ECDSA ECDSA one none", {"rightcertpolicy": "1.2.3.4"}, "error"),
    ("ECDSA ECDSA none one", {"rightcertpolicy": "1.2.3.4"}, "error"),
    ("ECDSA ECDSA one one", {"rightcertpolicy": "1.2.3.4, 1.2.3.5"}, "error"),
]


@pytest.mark.parametrize(("what", "options", "word"), DEMANDS)
def test_what_peers_demand_of_a_host_is_what_their_charons_do(
    pair, monkeypatch, tmp_path, what, options, word
):
    """Who starts does not know yet which hashes the other takes."""
    issued, ca = _demanding(what)
    where = authorities.write(tmp_path, issued.pem, issued.key_pem(), ca.pem)
    found = source.inspect(replace(where, asked=Asked(**options)), SUBJECT, NOW)
    mine = {key: value for key, value in options.items() if key == "leftauth"}
    theirs = {key: value for key, value in options.items() if key != "leftauth"}
    monkeypatch.setattr(pair, "more", {"east": mine, "west": theirs})
    west = authorities.host(IDS["west"], NOW, ca)
    ups = []
    for starts in ADDRESSES:
        pair.have({"east": (issued, [ca]), "west": (west, [ca])})
        ups.append(pair.initiate(starts))
    said = "error" if found.errors else "warning" if found.warnings else "up"
    assert (said, ups) == (word, {"up": [True, True], "warning": [False, True]}.get(word, [False, False]))


@pytest.mark.parametrize(
    ("strict", "uri", "listed", "words"),
    [
        ("yes", False, "no", ["error"]),
        ("yes", False, "yes", []),
        ("yes", False, "without a key identifier", ["error", "warning"]),
        ("yes", True, "no", ["warning"]),
        ("yes", True, "yes", []),
        ("ifuri", False, "no", []),
        ("ifuri", True, "no", ["warning"]),
        ("no", True, "no", []),
    ],
)
def test_a_list_that_is_demanded_and_missing_is_told(pair, monkeypatch, tmp_path, strict, uri, listed, words):
    more = ((x509.CRLDistributionPoints([POINT]), False),) if uri else ()
    ca = authorities.authority(f"CN=CA of {strict}, {uri}, {listed}".replace(", ", " "), NOW)
    ends = {name: authorities.host(one, NOW, ca, extensions=more) for name, one in IDS.items()}
    issued, lists = ends["east"], tmp_path / "crl.pem"
    where = authorities.write(tmp_path, issued.pem, issued.key_pem(), ca.pem)
    if listed != "no":
        lists.write_bytes(authorities.crl(ca, NOW, key_id=listed == "yes"))
        where = replace(where, crl=str(lists))
    found = source.inspect(replace(where, asked=Asked(strict=strict)), SUBJECT, NOW)
    monkeypatch.setattr(pair, "strict", strict)
    text = lists.read_text() if lists.exists() else ""
    pair.have({name: (one, [ca]) for name, one in ends.items()}, text)
    assert [one.severity for one in found.findings] == words
    assert pair.initiate() == (not words)


# Names of every kind -------------------------------------------------------------------------

LONG_UNIT = "a-unit-whose-name-is-longer-than-that-of-the-host"  # DER puts it behind in a set
CN, OU = x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATIONAL_UNIT_NAME
TWO = (OU, LONG_UNIT)


def _named(*parts):
    """Return a name of parts that have an attribute, or several."""
    return x509.Name(
        x509.RelativeDistinguishedName(
            x509.NameAttribute(kind, value, _validate=False) for kind, value in several
        )
        for several in parts
    )


@pytest.mark.parametrize(
    ("identity", "named", "right"),
    [
        (f"{SUBJECT}, OU={LONG_UNIT}", _named([(CN, "a.example"), TWO]), True),
        (f"OU={LONG_UNIT}, {SUBJECT}", _named([(CN, "a.example"), TWO]), False),
        (f"{SUBJECT}+OU={LONG_UNIT}", _named([(CN, "a.example"), TWO]), False),
        *(
            (f"{SUBJECT}, {name}=x", _named([(CN, "a.example")], [(x509.ObjectIdentifier(oid), "x")]), right)
            for name, oid, right in (
                ("G", "2.5.4.42", True),
                ("ND", "0.2.262.1.10.7.20", True),
                ("TCGID", "1.3.6.1.4.1.1201.1.1.2.2.75", True),
                ("GN", "2.5.4.42", False),
                ("2.5.4.42", "2.5.4.42", False),
                ("organizationIdentifier", "2.5.4.97", False),
            )
        ),
    ],
)
def test_the_parts_of_names_are_those_that_charon_reads(pair, monkeypatch, identity, named, right):
    monkeypatch.setitem(IDS, "east", identity)
    ca = authorities.authority("CN=CA of names", NOW)
    issued = authorities.host("", NOW, ca, named=named)
    pair.have({"east": (issued, [ca]), "west": (authorities.host(IDS["west"], NOW, ca), [ca])})
    assert pair.initiate() == right
    assert (identities.wrong(identity) is None and _confirmed(issued.certificate, identity)) == right


def _confirmed(certificate, identity):
    return x509facts.certificate_facts(certificate).confirms(names.parse(identity))


# Content of every kind -----------------------------------------------------------------------

USAGE = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
POINT = x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.example/crl")], None, None, None)
EXTENSIONS = (
    (x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.RFC822Name("a@b.example")]), False),
    (USAGE, True),
    (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False),
    (x509.CRLDistributionPoints([POINT]), False),
    (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)]), True),
)
SAMPLE, LISTS, FILES = 300, 60, 10


def test_what_is_taken_of_changed_content_charon_loads(pair, tmp_path):
    """Bytes are changed before the CA signs: what the signature does not give away."""
    ca, chance = ODDITIES.ca, random.Random(1)
    host = authorities.host(SUBJECT, NOW, ca, extensions=EXTENSIONS)
    plain, taken = mutations.der(host.certificate), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while len(taken) < SAMPLE:
            der = mutations.signed(plain, ca.key, chance)
            given = authorities.armour(b"CERTIFICATE", der)
            where = authorities.write(tmp_path, given, host.key_pem(), ca.pem)
            if not source.inspect(where, SUBJECT, NOW).errors:
                taken.append(der)
    with pair.hosts["east"].vici(60) as session:
        for der in taken:
            session.request("load-cert", {"type": "X509", "flag": "NONE", "data": der})


def test_what_is_taken_of_changed_files_charon_loads(pair, tmp_path):
    """Of bundles, keys and certificates as hosts have them, with bytes changed anywhere."""
    chance, given = random.Random(1), [*RIGHT.values()]
    taken = dict.fromkeys(("certificate", "key", "ca"), 0)
    messages = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while min(taken.values()) < FILES:
            part = min(taken, key=taken.get)
            one = chance.choice(given)
            one = replace(one, **{part: mutations.file(getattr(one, part), chance)})
            found = source.inspect(
                authorities.write(tmp_path, one.certificate, one.key, one.ca), SUBJECT, NOW
            )
            if not found.errors:
                taken[part] += 1
                messages += _loads(found.credentials)
    assert len(messages) >= 3 * 3 * FILES
    with pair.hosts["east"].vici(60) as session:
        for command, message in messages:
            session.request(command, message)


def _loads(found):
    """Return what has charon load a host's certificate, its key and its CAs, by vici."""
    one = {"type": "X509", "flag": "NONE", "data": found.certificate_pem}
    cas = [{"type": "X509", "flag": "CA", "data": ca.pem} for ca in found.authorities]
    key = {"type": "any", "data": found.key_pem.reveal()}
    return [("load-cert", one), *(("load-cert", ca) for ca in cas), ("load-key", key)]


def test_what_is_taken_of_changed_lists_charon_loads(pair, tmp_path):
    ca, chance = ODDITIES.ca, random.Random(1)
    host = authorities.host(SUBJECT, NOW, ca)
    point = x509.IssuingDistributionPoint(POINT.full_name, None, False, False, None, False, False)
    made = authorities.crl(ca, NOW, host.certificate, number=300, extensions=((point, True),))
    plain, taken = mutations.der(x509.load_pem_x509_crl(made)), []
    other = authorities.host(SUBJECT, NOW, ca)  # the list revokes the first
    where = authorities.write(tmp_path, other.pem, other.key_pem(), ca.pem)
    where = replace(where, crl=str(tmp_path / "crl.pem"))
    while len(taken) < LISTS:
        (tmp_path / "crl.pem").write_bytes(
            authorities.armour(b"X509 CRL", mutations.signed(plain, ca.key, chance))
        )
        taken += source.inspect(where, SUBJECT, NOW).credentials.crls
    with pair.hosts["east"].vici(60) as session:
        for one in taken:
            der = mutations.der(x509.load_pem_x509_crl(one.pem))
            session.request("load-cert", {"type": "X509_CRL", "flag": "NONE", "data": der})
