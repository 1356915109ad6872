"""The lab's certificate authority, and the files that a Puppet agent leaves on a host."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

SSLDIR = "var/lib/puppet/ssl"
DAY = datetime.timedelta(days=1)
KEYS = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ECDSA": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A CA that lives in a directory of the lab."""

    def __init__(self, directory: Path, name: str = "Lab CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate, self._key = directory / "ca.pem", directory / "ca.key"
        if not self._certificate.exists():
            self._create()

    @property
    def certificate(self) -> bytes:
        """The CA's own certificate, in PEM."""
        return self._certificate.read_bytes()

    def _create(self) -> None:
        key = KEYS["RSA"]()
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self._key.touch(0o600)
        self._key.write_bytes(_key_pem(key))
        built = (
            _builder(self.name, self.name, key.public_key(), -1, 3650)
            .add_extension(basic, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        self._certificate.write_bytes(_pem(built.sign(key, hashes.SHA256())))

    def issue(
        self, name: str, kind: str = "RSA", days: int = 365, since: int = -1, key: bytes = b""
    ) -> Issued:
        """Sign a certificate for a host: for a new key of a kind, or for a key in PEM; days from now."""
        own = serialization.load_pem_private_key(key, None) if key else KEYS[kind]()
        signer = serialization.load_pem_private_key(self._key.read_bytes(), None)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self.name, own.public_key(), since, days).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        return Issued(_pem(builder.sign(signer, hashes.SHA256())), _key_pem(own))

    def revoke(self, *certificates: bytes) -> bytes:
        """Sign a list with these certificates, in PEM."""
        signer = serialization.load_pem_private_key(self._key.read_bytes(), None)
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now - DAY)
            .next_update(now + 30 * DAY)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        )
        for pem in certificates:
            serial = x509.load_pem_x509_certificate(pem).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def installed(self, root: Path, name: str) -> bool:
        """Whether a host has its files."""
        return (root / SSLDIR / f"private_keys/{name}.pem").exists()

    def install(self, root: Path, name: str, issued: Issued, cas: Iterable[bytes] = ()) -> None:
        """Write a host's files below its root as the Puppet agent does."""
        ssl = root / SSLDIR
        for directory in ("certs", "private_keys"):
            (ssl / directory).mkdir(parents=True, exist_ok=True)
        (ssl / "private_keys").chmod(0o750)
        (ssl / "certs/ca.pem").write_bytes(b"".join(cas) or self.certificate)
        (ssl / f"certs/{name}.pem").write_bytes(issued.certificate)
        key = ssl / f"private_keys/{name}.pem"
        key.touch(0o600)
        key.write_bytes(issued.key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: object, since: int, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since * DAY)
        .not_valid_after(now + days * DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: object) -> bytes:
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL if isinstance(key, rsa.RSAPrivateKey) else pkcs8
    return key.private_bytes(serialization.Encoding.PEM, form, plain)
