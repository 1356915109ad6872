"""Certificates, keys and files that are right and unusual, and that are wrong: as hosts have them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.name import _ASN1Type

import authorities
from authorities import Issued

DER = authorities.serialization.Encoding.DER
CURVES = (ec.SECP192R1, ec.SECP224R1, ec.SECP256R1, ec.SECP521R1, ec.SECP256K1, ec.BrainpoolP384R1)
POINT = [x509.UniformResourceIdentifier("http://a.example/crl")]
ENCIPHERING = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
SIGNING = x509.KeyUsage(False, True, False, False, False, False, False, False, False)
EXPLICIT = x509.PolicyConstraints(0, None), True
POLICY, ANY_POLICY = (
    (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(one), None)]), False)
    for one in ("1.2.3.4", "2.5.29.32.0")
)
MAPPED = (
    x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.33"), bytes.fromhex("300c300a06032a030406032a0305")
    ),
    False,
)
COMPANY = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x04\x01a")


@dataclass(frozen=True)
class Given:
    """The files of a host, and what we and charon are to make of them: empty, or what is said."""

    certificate: bytes
    key: bytes
    ca: bytes
    said: str = ""  # of our error
    warned: str = ""
    crl: bytes = b""
    peer: Issued | None = None  # another host, plain, of the same CA


def constraints(permitted=(), excluded=(), critical=True):
    """Return name constraints for a certificate; names as ``.example`` or ``10.0.0.0/8``."""
    parts = [
        [x509.IPAddress(ipaddress.ip_network(one)) if "/" in one else x509.DNSName(one) for one in names]
        or None
        for names in (permitted, excluded)
    ]
    return x509.NameConstraints(*parts), critical


def san(*names):
    """Return alternative names for a certificate."""
    return x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False


def old(issued: Issued, signer, used=None) -> Issued:
    """Return a certificate with a signature over SHA-1, or another hash of old."""
    der = authorities.of_old(issued.certificate.public_bytes(DER), signer, used)
    return replace(issued, certificate=x509.load_der_x509_certificate(der))


def old_crl(pem: bytes, signer) -> bytes:
    """Return a list with a signature over SHA-1."""
    der = x509.load_pem_x509_crl(pem).public_bytes(DER)
    return x509.load_der_x509_crl(authorities.of_old(der, signer)).public_bytes(authorities.PEM)


class Oddities:
    """All of them for one host."""

    def __init__(self, subject: str, now: datetime) -> None:
        self.subject, self.now, self.name = subject, now, subject.partition("=")[2]
        self.ca = authorities.authority("CN=Fleet CA, O=Example", now, "RSA")

    def _host(self, ca=None, **other) -> Issued:
        return authorities.host(self.subject, self.now, ca or self.ca, **other)

    def _files(self, host=None, ca=None, after=b"", issuer=None, named=(), **more) -> Given:
        host, ca = host or self._host(ca), ca or self.ca
        peer = authorities.host("CN=peer.example", self.now, issuer or ca, extensions=named)
        return Given(host.pem + after, host.key_pem(), ca.pem, peer=peer, **more)

    def _under(self, *extensions, host=(), sub=None, **more) -> Given:
        """Return a host below a root with these extensions, and a CA between them where ``sub`` has some."""
        root = authorities.authority("CN=Bound CA", self.now, "RSA", extensions=extensions)
        issuer, after = root, b""
        if sub is not None:
            issuer = authorities.authority("CN=Sub CA", self.now, "RSA", issuer=root, extensions=sub)
            after = issuer.pem
        return self._files(self._host(issuer, extensions=host), root, after, issuer, host, **more)

    def _issued_by(self, type_, of_ca=_ASN1Type.UTF8String, case=str, kind="ECDSA", said="") -> Given:
        """Return a host whose certificate spells the name of its CA in another way than the CA does."""
        text = "CN=Spelt CA"
        key = authorities.KEYS[kind]()
        ca = authorities.authority("", self.now, key=key, named=authorities.typed(text, CN=of_ca))
        spelt = authorities.typed(f"CN={case(text[3:])}", CN=type_)
        issuer = authorities.authority("", self.now, key=key, named=spelt)
        return self._files(self._host(issuer), ca, issuer=issuer, said=said)

    # what charon takes

    def right(self) -> dict[str, Given]:
        """Return what can be used, by what is odd about it."""
        host, plain = self._host(), self._files()
        listed = authorities.crl(self.ca, self.now)
        old_ca = old(self.ca, self.ca.key)
        md5_ca = old(self.ca, self.ca.key, hashes.MD5())
        printable = authorities.typed(
            self.subject.upper().replace("CN=", "CN="), CN=_ASN1Type.PrintableString
        )
        damaged = damage(authorities.authority("CN=Damaged CA", self.now).pem)
        text = host.pem.replace(b"\n", b"\r\n")
        company_ca = authorities.authority("CN=Company CA", self.now, extensions=((COMPANY, True),))
        return {
            "a root over SHA-1": replace(plain, ca=old_ca.pem),
            "a root over MD5": replace(plain, ca=md5_ca.pem),
            "a host over SHA-1": self._files(old(host, self.ca.key), warned="is signed with SHA1"),
            "a list over SHA-1": replace(plain, crl=old_crl(listed, self.ca.key)),
            **{what: _each(plain, change) for what, change in LAYOUTS.items()},
            **{f"a list: {what}": replace(plain, crl=change(listed)) for what, change in LAYOUTS.items()},
            "an issuer as another kind of string": self._issued_by(_ASN1Type.PrintableString),
            "an issuer in upper case": self._issued_by(
                _ASN1Type.PrintableString, _ASN1Type.PrintableString, str.upper
            ),
            "an issuer as another kind of string, by RSA": self._issued_by(_ASN1Type.T61String, kind="RSA"),
            "another block first": _each(plain, lambda pem: _PARAMETERS + pem),
            "a block that does not end": _each(
                plain, lambda pem: b"-----BEGIN CERTIFICATE-----\nMII\n" + pem
            ),
            "upper case": self._files(self._host(named=printable)),
            "a PrintableString": self._files(
                self._host(named=authorities.typed(self.subject, CN=_ASN1Type.PrintableString))
            ),
            "a bad certificate in the bundle": replace(
                plain, ca=damaged + self.ca.pem, warned="certificate number 1 of it cannot be parsed: "
            ),
            "a bad intermediate": replace(
                plain, certificate=host.pem + damaged, key=host.key_pem(), warned="certificate number 2 of it"
            ),
            "a CA that charon does not load": replace(
                plain, ca=self.ca.pem + company_ca.pem, warned="1.3.6.1.4.1.99999.1 and is left out"
            ),
            "an extension that is not critical": self._files(self._host(extensions=((COMPANY, False),))),
            "a key that may only sign": self._files(self._host(extensions=((SIGNING, True),))),
            "a permitted name": self._under(constraints([".example"]), host=(san("a.example"),)),
            "a policy that a CA wants, of its own hosts": self._under(EXPLICIT, host=(POLICY,)),
            "a policy that a CA wants, and the one between has": self._under(
                EXPLICIT, sub=(POLICY,), host=(POLICY,)
            ),
            "a policy that a CA wants, and the one between lacks": self._under(
                EXPLICIT, sub=(), host=(POLICY,)
            ),
            "a policy that is mapped": self._under((x509.PolicyConstraints(None, 0), True), sub=(MAPPED,)),
            "any policy, while one may": self._under(
                (x509.InhibitAnyPolicy(2), True), sub=(), host=(ANY_POLICY,)
            ),
            "an inherited constraint": self._under(
                constraints([".example"]), sub=(constraints([".a.example"]),), host=(san("b.a.example"),)
            ),
            "text": replace(plain, certificate=text, key=host.key_pem()),
            **self._signed(),
            **self._keys(),
        }

    def _signed(self) -> dict[str, Given]:
        """Return hosts with other signatures than most."""
        salts = {"": padding.PSS.DIGEST_LENGTH, ", longest salt": padding.PSS.MAX_LENGTH, ", short salt": 20}
        mask = padding.MGF1(hashes.SHA256())
        return {
            **{
                f"a signature by PSS{what}": self._files(self._host(rsa_padding=padding.PSS(mask, salt)))
                for what, salt in salts.items()
            },
            "a signature over SHA-224": self._files(self._host(digest=hashes.SHA224())),
            "a signature over SHA-3": self._files(self._host(digest=hashes.SHA3_256())),
        }

    def _keys(self) -> dict[str, Given]:
        """Return hosts with keys of each kind and form."""
        made = {
            "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "RSA of 1024 bits": rsa.generate_private_key(public_exponent=3, key_size=1024),
            "Ed25519": ed25519.Ed25519PrivateKey.generate(),
            "Ed448": ed448.Ed448PrivateKey.generate(),
            **{curve.name: ec.generate_private_key(curve()) for curve in CURVES},
        }
        hosts = {kind: self._host(key=key) for kind, key in made.items()}
        found = {f"a key: {kind}": self._files(host) for kind, host in hosts.items()}
        old_form = {kind: hosts[kind].key_pem(form=authorities.TRADITIONAL) for kind in ("RSA", "secp256r1")}
        for kind, pem in old_form.items():
            found[f"a key in its old form: {kind}"] = replace(found[f"a key: {kind}"], key=pem)
        short = "a key: RSA of 1024 bits"
        found[short] = replace(found[short], warned="is RSA of 1024 bits")
        rsa_host, pem = found["a key: RSA"], old_form["RSA"]
        named = hosts["secp256r1"]
        explicit = replace(found["a key: secp256r1"], key=authorities.spelt_out_key(named))
        found["a key whose curve is spelt out"] = explicit
        found["a certificate whose curve is spelt out"] = replace(
            explicit, certificate=authorities.spelt_out(named, self.ca.key)
        )
        found["a key in its old form with CRLF"] = replace(rsa_host, key=pem.replace(b"\n", b"\r\n"))
        found["a key before another"] = replace(rsa_host, key=pem + hosts["Ed448"].key_pem())
        found["a key behind its certificate"] = replace(rsa_host, key=rsa_host.certificate + pem)
        return found

    # lists

    def lists(self) -> dict[str, tuple[Given, str]]:
        """Return hosts with a list each, and what is said of one that is left out."""
        left = " and is left out"
        critical = "has a critical extension that strongSwan does not know (1.3.6.1.4.1.99999.1)" + left
        ecdsa = "has a signature by ECDSA over SHA-{}, which strongSwan does not know," + left
        point = x509.IssuingDistributionPoint(POINT, None, False, False, None, False, False)
        alternative = x509.IssuerAlternativeName([x509.DNSName("a.example")])
        parts: dict[str, tuple[dict, str]] = {
            "a number": ({"number": 2**150}, ""),
            "a critical point": ({"extensions": ((point, True),)}, ""),
            "an extension": ({"extensions": ((COMPANY, False),)}, ""),
            "a critical extension": ({"extensions": ((COMPANY, True),)}, critical),
            "a critical alternative name": ({"extensions": ((alternative, True),)}, "(2.5.29.18)" + left),
            "SHA-512": ({"digest": hashes.SHA512()}, ""),
            "ECDSA over SHA-224": ({"digest": hashes.SHA224()}, ecdsa.format("224")),
            "ECDSA over SHA-3": ({"digest": hashes.SHA3_256()}, ecdsa.format("3")),
        }
        found = {what: self._listed(what, **options) for what, (options, _) in parts.items()}
        for what, time in (("1990", datetime(1990, 1, 1)), ("2055", datetime(2055, 1, 1))):
            found[what] = self._listed(what, time.replace(tzinfo=self.now.tzinfo))
        stranger = self._listed("signed by another")
        found["signed by another"] = replace(stranger, crl=authorities.crl(self.ca, self.now))
        said = {what: why for what, (_, why) in parts.items()} | {"signed by another": "is signed by no CA"}
        return {what: (given, said.get(what, "")) for what, given in found.items()}

    def _listed(self, what: str, time: datetime | None = None, **options) -> Given:
        """Return a host of a CA of its own, and its list: of one name charon keeps one."""
        ca = authorities.authority(f"CN=CA of lists: {what}", self.now)
        return replace(self._files(self._host(ca), ca), crl=authorities.crl(ca, time or self.now, **options))

    def wrong(self) -> dict[str, Given]:
        """Return what charon refuses, at the load or at the authentication."""
        bmp = authorities.typed(self.subject, CN=_ASN1Type.BMPString)
        company = "has a critical extension that strongSwan does not know: 1.3.6.1.4.1.99999.1"
        return {
            "a critical extension": self._files(self._host(extensions=((COMPANY, True),)), said=company),
            "an issuer as a BMPString": self._issued_by(
                _ASN1Type.BMPString, said="a name that is encoded otherwise in that CA's own certificate"
            ),
            "any policy": self._under(
                (x509.InhibitAnyPolicy(0), True), host=(ANY_POLICY,), said="inhibitAnyPolicy"
            ),
            "a key that may not sign": self._files(
                self._host(extensions=((ENCIPHERING, True),)), said="may not be used to sign (its keyUsage)"
            ),
            "a critical extension of the CA": self._under((COMPANY, True), said=company),
            "a BMPString": self._files(
                self._host(named=bmp), said="they read the same and are encoded otherwise"
            ),
            "upper case of a UTF8String": self._files(
                self._host(named=authorities.typed(f"CN={self.name.upper()}")),
                said="upper and lower case differ",
            ),
            "a name that is not permitted": self._under(
                constraints([".example"]), host=(san("a.other"),), said="a.other"
            ),
            "a signature by ECDSA over SHA-224": self._by_ec(hashes.SHA224(), "ECDSA over SHA-224"),
            "a signature by ECDSA over SHA-3": self._by_ec(hashes.SHA3_256(), "ECDSA over SHA-3"),
            "an encrypted key": replace(self._encrypted(), said="is encrypted"),
            "a name that is excluded": self._under(
                constraints((), [".example"]), host=(san("a.example"),), said="exclude"
            ),
        }

    def _by_ec(self, digest: hashes.HashAlgorithm, said: str) -> Given:
        ca = authorities.authority("CN=EC CA", self.now)
        said = f"has a signature by {said}, which strongSwan does not know"
        return self._files(self._host(ca, digest=digest), ca, said=said)

    def _encrypted(self) -> Given:
        host = self._host()
        return replace(self._files(host), key=host.key_pem(b"secret"))

    def wrong_before(self) -> dict[str, Given]:
        """Return what strongSwan refused before 5.9.14."""
        return {
            "two permitted subtrees": self._under(
                constraints([".example", ".other"]),
                host=(san("a.example"),),
                said="each permitted one to match",
            ),
            "a CA that lacks the constraint": self._under(
                constraints([".example"]),
                sub=(),
                host=(san("a.example"),),
                said="lacks the constraint .example",
            ),
            "a constraint for addresses": self._under(
                constraints(["10.0.0.0/8"]), said="does not know: 2.5.29.30 (name constraints for addresses)"
            ),
        }


_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"


def damage(pem: bytes) -> bytes:
    """Return a PEM block with a certificate that cannot be parsed."""
    return pem.replace(b"MII", b"AAA", 1)


def _each(given: Given, change) -> Given:
    parts = {name: change(getattr(given, name)) for name in ("certificate", "key", "ca")}
    return replace(given, **parts)


def _on_one_line(pem: bytes) -> bytes:
    first, *lines, last = pem.split(b"\n")[:-1]
    return b"\n".join((first, b"".join(lines), last, b""))


LAYOUTS = {
    "a byte order mark": lambda pem: b"\xef\xbb\xbf" + pem,
    "UTF-16": lambda pem: pem.decode().encode("utf-16"),
    "CRLF": lambda pem: pem.replace(b"\n", b"\r\n"),
    "CR": lambda pem: pem.replace(b"\n", b"\r"),
    "indented": lambda pem: b"".join(b"  " + line + b"\n" for line in pem.splitlines()),
    "one line": lambda pem: b" ".join(pem.split(b"\n")),
    "no line break in base64": _on_one_line,
    "empty lines": lambda pem: pem.replace(b"\n", b"\n\n"),
    "no end of line": lambda pem: pem.rstrip(),
    "text around": lambda pem: b"subject=a\n: b\n" + pem + b"-----\nc: d\n",
}
