"""A host's real certificate, key and CAs at a source, and a real directory for their copies."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import authorities
from hostipsec.certificates import copies, source
from hostipsec.certificates.copies import Destination, Difference
from hostipsec.certificates.source import Inspection, SourcePaths

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
ID = "cp1.eqiad.example"
SUBJECT = f"CN={ID}"
CA = authorities.authority("CN=Fleet CA, O=Example", NOW)
STRANGE_CA = authorities.authority("CN=Strange CA", NOW)
HOST = authorities.host(SUBJECT, NOW, CA)
KEY = HOST.key_pem()
OTHER = authorities.host(SUBJECT, NOW, CA)


class Place:
    """Where a host's files are, and where charon shall have them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "ipsec.d"
        owner = {"uid": os.getuid(), "gid": os.getgid()}
        self.destination = Destination(str(self.root), ID, **owner)
        self.source = self.give()

    def give(self, certificate=HOST.pem, key=KEY, ca=CA.pem, **mode) -> SourcePaths:
        """Put files at the source."""
        self.source = authorities.write(self.path / "source", certificate, key, ca, **mode)
        return self.source

    def give_lists(self, lists: bytes) -> None:
        """Put CRLs at the source."""
        file = self.path / "source/crl.pem"
        file.write_bytes(lists)
        self.source = replace(self.source, crl=str(file))

    def inspect(self) -> Inspection:
        return source.inspect(self.source, SUBJECT, NOW)

    def difference(self, in_use=()) -> Difference:
        """Return what would be copied, as in test mode."""
        return copies.difference(self.inspect(), self.destination, in_use)

    def copy(self, in_use=()) -> Difference:
        """Copy as the state does, and return what was changed."""
        found = self.difference(in_use)
        copies.write(found)
        return found

    @property
    def found(self):
        """All below the destination: path -> (mode, content or link)."""
        entries = sorted(self.root.rglob("*")) if self.root.exists() else []
        return {str(path.relative_to(self.root)): (mode(path), _content(path)) for path in entries}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _content(path: Path):
    if path.is_symlink():
        return str(path.readlink())
    return None if path.is_dir() else path.read_bytes()


def ca_file(ca) -> str:
    return f"cacerts/hostipsec-{ca.certificate.fingerprint(authorities.hashes.SHA256()).hex()[:8]}.pem"


def crl_file(ca) -> str:
    return ca_file(ca).replace("cacerts", "crls")


def cert_file(host=HOST) -> str:
    return f"certs/{ID}-{host.certificate.fingerprint(authorities.hashes.SHA256()).hex()[:12]}.pem"


def key_file(host=HOST) -> str:
    form = authorities.serialization.PublicFormat.SubjectPublicKeyInfo
    public = host.key.public_key().public_bytes(authorities.serialization.Encoding.DER, form)
    return f"private/{ID}-{hashlib.sha256(public).hexdigest()[:12]}.pem"
