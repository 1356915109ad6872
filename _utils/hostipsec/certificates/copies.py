"""The copies of a host's certificate, key, CAs and CRLs, where charon reads them.

charon's AppArmor profile lets it read below /etc/ipsec.d only, so files are copied and never linked.
Of each PEM file strongSwan reads the first block and no more (pem_builder.c, ``pem_to_bin``): a bundle of
CAs becomes one file a CA.

One difference for test mode and for real: ``difference`` says what ``write`` then does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ..errors import HostIPsecError
from ..system import backend, files
from . import names, pem, source
from .facts import Authority, CertificateFacts
from .pem import Secret
from .source import Credentials, Inspection, RevocationList

# Names ---------------------------------------------------------------------------------------


def certificate_name(host_id: str, certificate: CertificateFacts) -> str:
    """Return the name of a certificate's file below certs.

    It differs with the content: charon keeps the certificate that it loaded with a connection, and the
    starter loads a connection anew only where ipsec.conf differs.
    """
    return f"{host_id}-{certificate.fingerprint[:12]}.pem"


def key_name(host_id: str, certificate: CertificateFacts) -> str:
    """Return the name of the file below private of the key that a certificate is for; one a key."""
    return f"{host_id}-{certificate.key_fingerprint[:12]}.pem"


def _shared_name(ca_fingerprint: str) -> str:
    """Return the name of the file of a CA, or of its CRL: a new list takes the place of the one before."""
    return f"hostipsec-{ca_fingerprint[:8]}.pem"


@dataclass(frozen=True)
class Destination:
    """Where charon reads a host's files, below ``/etc/ipsec.d`` or ``/etc/swanctl``, and who owns them."""

    root: str
    host_id: str
    uid: int = 0
    gid: int = 0
    sources: tuple[str, ...] = ()  # where copies are made from: never removed nor written, however named

    @property
    def certs(self) -> str:
        """Return the directory of certificates."""
        return str(backend.places(self.root).certs)

    @property
    def private(self) -> str:
        """Return the directory of keys."""
        return str(backend.places(self.root).private)

    @property
    def cacerts(self) -> str:
        """Return the directory of CAs."""
        return str(backend.places(self.root).cacerts)

    @property
    def crls(self) -> str:
        """Return the directory of revocation lists."""
        return str(backend.places(self.root).crls)

    def own(self, directory: str) -> tuple[str, ...]:
        """Return the paths of our copies of this host's certificates, or keys, the newest last.

        A name without a fingerprint, which early releases gave, an operator may have given as well.
        """
        pattern = re.compile(rf"{re.escape(self.host_id)}-[0-9a-f]{{12}}\.pem\Z")
        found = [Path(directory, name) for name in _names(directory) if pattern.match(name)]
        paths = [path for path in found if not self.is_source(str(path))]
        return tuple(str(path) for path in sorted(paths, key=lambda path: (path.lstat().st_mtime_ns, path)))

    def shared(self, directory: str) -> tuple[str, ...]:
        """Return the paths of CAs, or CRLs, in a directory that are copies of ours."""
        paths = (f"{directory}/{name}" for name in _names(directory) if pem.is_shared(name))
        return tuple(path for path in paths if not self.is_source(path))

    def is_source(self, path: str) -> bool:
        """Say whether a path leads to a file at the source, by whatever name, link or spelling."""
        there = _identity(path)
        return there is not None and there in map(_identity, self.sources)


def _identity(path: str) -> Optional[tuple[int, int]]:
    try:
        found = os.stat(path)  # noqa: PTH116 - Path.stat raises for some
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory)) if Path(directory).is_dir() else []  # noqa: PTH208
    except OSError as error:
        raise HostIPsecError(f"{directory}: cannot be read: {error.strerror}") from None


# Differences ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Copy:
    """A file to write (or to remove: no content), and how its change is told."""

    content: Optional[Secret]
    mode: int
    new: str
    renewed: str


@dataclass(frozen=True)
class _Directory:
    """A directory to make, or to give its mode and owner, and how that is told."""

    mode: int
    change: str


@dataclass(frozen=True)
class Difference:
    """What has to change at the destination. Shows no key."""

    changes: Mapping[str, str]  # path -> words
    destination: Destination
    copies: Mapping[str, _Copy] = field(repr=False)
    directories: Mapping[str, _Directory] = field(repr=False)


def difference(inspection: Inspection, destination: Destination, in_use: Collection[str] = ()) -> Difference:
    """Return what has to change so that charon reads what was inspected. Changes nothing.

    A renewed certificate goes beside the one before, which stays while a configuration names it: ``in_use``
    are names of files. Raises CertificateError for files that must not be used, HostIPsecError for what
    cannot be looked at.
    """
    credentials = inspection.usable()
    wanted = {
        path: copy
        for path, copy in _wanted(credentials, destination).items()
        if Path(path).is_symlink() or not destination.is_source(path)  # a link is replaced, not followed
    }
    needed = {*(Path(path).name for path in wanted), *in_use}
    copies = {
        **wanted,
        **_surplus(destination, wanted, credentials.ca_path),
        **_unused(destination, needed),
    }
    said = {path: _change(path, copy, destination) for path, copy in copies.items()}
    changed = {path: copy for path, copy in copies.items() if said[path]}
    directories = _directories(destination, copies)
    changes = {path: said[path] for path in changed}
    changes.update({path: directory.change for path, directory in directories.items()})
    return Difference(dict(sorted(changes.items())), destination, changed, directories)


def write(found: Difference) -> files.Undo:
    """Do what a difference says: all files or none (a directory that had to be made stays).

    Returns the way back. charon has to reread secrets and CAs afterwards. Raises HostIPsecError.
    """
    owner = (found.destination.uid, found.destination.gid)
    for path, directory in found.directories.items():
        files.ensure_directory(path, directory.mode, *owner)
    return files.swap({path: _content(copy) for path, copy in found.copies.items()}, *owner)


def prune(destination: Destination, in_use: Collection[str]) -> tuple[str, ...]:
    """Remove certificates and keys of this host that no configuration names; returns their paths."""
    unused = _unused(destination, in_use)
    for path in unused:
        files.remove(path)
    return tuple(unused)


def _content(copy: _Copy) -> files.Change:
    return copy.content.reveal() if copy.content else None, copy.mode


# What shall be there -------------------------------------------------------------------------


def _wanted(credentials: Credentials, destination: Destination) -> dict[str, _Copy]:
    """Return the copies by path."""
    return {
        **_certificate(credentials, destination),
        **_key(credentials, destination),
        **dict(_crl(crl, destination) for crl in credentials.crls),
        **dict(_authority(ca, destination) for ca in credentials.every_authority),
    }


def _certificate(credentials: Credentials, destination: Destination) -> dict[str, _Copy]:
    certificate = credentials.certificate
    path = f"{destination.certs}/{certificate_name(destination.host_id, certificate)}"
    before = [one for one in destination.own(destination.certs) if one != path]
    until = f"valid until {certificate.not_after:%Y-%m-%d}"
    first = f"new: {names.render(certificate.subject)}, {until}"
    new = f"renewed: {until}{_formerly(before[-1])}" if before else first
    return {path: _Copy(Secret(credentials.certificate_pem), 0o644, new, f"rewritten: {until}")}


def _key(credentials: Credentials, destination: Destination) -> dict[str, _Copy]:
    key = credentials.key
    path = f"{destination.private}/{key_name(destination.host_id, credentials.certificate)}"
    before = [one for one in destination.own(destination.private) if one != path]
    described = f"{key.type} key of {key.bits} bits"
    new = f"{'renewed' if before else 'new'}: {described}"
    return {path: _Copy(credentials.key_pem, 0o600, new, f"rewritten: {described}")}


def _crl(crl: RevocationList, destination: Destination) -> tuple[str, _Copy]:
    due = f", next one by {crl.next_update:%Y-%m-%d %H:%M} UTC" if crl.next_update else ""
    text = f"CRL of {crl.issuer}{due}"
    copy = _Copy(Secret(crl.pem), 0o644, f"new: {text}", f"renewed: {text}")
    return f"{destination.crls}/{_shared_name(crl.signer)}", copy


def _authority(ca: Authority, destination: Destination) -> tuple[str, _Copy]:
    text = f"CA {ca.subject}, valid until {ca.not_after:%Y-%m-%d}"
    copy = _Copy(Secret(ca.pem), 0o644, f"new: {text}", f"rewritten: {text}")
    return f"{destination.cacerts}/{_shared_name(ca.fingerprint)}", copy


def _formerly(path: str) -> str:
    """Say until when a certificate was valid; empty for what is none."""
    before = source.certificate_at(path)
    return f", before until {before.not_after:%Y-%m-%d}" if before else ""


# What shall go -------------------------------------------------------------------------------


def _surplus(destination: Destination, wanted: Collection[str], ca_path: str) -> dict[str, _Copy]:
    """Return the CAs and CRLs of ours that are no longer wanted, to be removed."""
    found = {}
    for directory, what in ((destination.cacerts, "CA"), (destination.crls, "CRL of a CA")):
        gone = _removed(f"removed: no valid {what} of {ca_path}")
        found.update({path: gone for path in destination.shared(directory) if path not in wanted})
    return found


def _unused(destination: Destination, in_use: Collection[str]) -> dict[str, _Copy]:
    """Return the certificates and keys of this host that nothing names, to be removed."""
    paths = (*destination.own(destination.certs), *destination.own(destination.private))
    gone = _removed("removed: no configuration uses it")
    return {path: gone for path in paths if Path(path).name not in in_use}


def _removed(text: str) -> _Copy:
    return _Copy(None, 0, text, text)


# What differs --------------------------------------------------------------------------------


def _change(path: str, copy: _Copy, destination: Destination) -> str:
    """Say what writing a copy changes; empty for nothing."""
    before = files.look(path)
    if before is None or copy.content is None:
        return copy.new
    content = copy.content.reveal()
    if before.is_file(content, copy.mode, destination.uid, destination.gid):
        return ""
    if before.link is not None:
        return f"{copy.new} (a copy in place of the link to {before.link})"
    if before.content != content:
        return copy.renewed
    found = f"mode {before.mode:04o}, owner {before.uid}:{before.gid}"
    return f"{found} -> mode {copy.mode:04o}, owner {destination.uid}:{destination.gid}"


def _directories(destination: Destination, copies: Iterable[str]) -> dict[str, _Directory]:
    """Return by path the directories that are missing, and that of keys if its mode or owner is wrong."""
    parents = {str(Path(copy).parent) for copy in copies} - {destination.private}
    modes = {path: 0o755 for path in sorted(parents) if not Path(path).is_dir()}
    modes[destination.private] = 0o700
    owner = (destination.uid, destination.gid)
    changes = {path: files.directory_difference(path, mode, *owner) for path, mode in modes.items()}
    return {path: _Directory(modes[path], change) for path, change in changes.items() if change}
