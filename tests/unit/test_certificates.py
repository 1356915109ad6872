"""A host's real certificate, key and CAs, copied into a real directory."""

from __future__ import annotations

import copy
import errno
import hashlib
import os
import pickle
import stat
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import authorities
from hostipsec.certificates import certificates
from hostipsec.certificates.certificates import Destination, SourcePaths
from hostipsec.errors import CertificateError
from hostipsec.model import Certificates

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
ID = "cp1.eqiad.example"
SUBJECT = f"CN={ID}"
CA = authorities.authority("CN=Fleet CA, O=Example", NOW)
HOST = authorities.host(SUBJECT, NOW, CA)
KEY = HOST.key_pem()
OTHER = authorities.host(SUBJECT, NOW, CA)
root_only = pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")


class Place:
    """Where a host's files are, and where charon shall have them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "ipsec.d"
        owner = {"uid": os.getuid(), "gid": os.getgid()}
        self.destination = Destination(str(self.root), ID, **owner)
        self.source = self.give()

    def give(self, certificate=HOST.pem, key=KEY, ca=CA.pem, **mode) -> SourcePaths:
        self.source = authorities.write(self.path / "source", certificate, key, ca, **mode)
        return self.source

    def reuse(self, apply=True, now=NOW, subject=SUBJECT, in_use=()):
        return certificates.reuse(self.source, self.destination, subject, now, apply, in_use)

    def revoke(self, lists):
        """Give lists at the source, and copy."""
        file = self.path / "source/crl.pem"
        file.write_bytes(lists)
        self.source = replace(self.source, crl=str(file))
        return self.reuse()

    @property
    def gone(self) -> str:
        return f"removed: no valid CRL of a CA of {self.source.ca}"

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


def cert_file(host=HOST) -> str:
    return f"certs/{ID}-{host.certificate.fingerprint(authorities.hashes.SHA256()).hex()[:12]}.pem"


def key_file(host=HOST) -> str:
    form = authorities.serialization.PublicFormat.SubjectPublicKeyInfo
    public = host.key.public_key().public_bytes(authorities.serialization.Encoding.DER, form)
    return f"private/{ID}-{hashlib.sha256(public).hexdigest()[:12]}.pem"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# Where the files are -------------------------------------------------------------------------


def never(minion_id):
    raise AssertionError("Puppet's directory is not needed")


def settings(*paths):
    return Certificates("files", *paths, subject="CN={id}")


def test_templates_are_filled():
    given = settings("/ssl/{id}.pem", "/ssl/{short}.key", "/ssl/ca.pem")
    assert certificates.source_paths(given, ID, never) == SourcePaths(
        "/ssl/cp1.eqiad.example.pem", "/ssl/cp1.key", "/ssl/ca.pem"
    )


def test_puppets_directory_is_looked_for_where_the_pillar_names_none():
    given = settings("{ssldir}/certs/{id}.pem", "{ssldir}/private_keys/{id}.pem", "{ssldir}/certs/ca.pem")
    asked = []
    paths = certificates.source_paths(given, ID, lambda minion_id: asked.append(minion_id) or "/ssl")
    assert asked == [ID]
    assert paths == SourcePaths(f"/ssl/certs/{ID}.pem", f"/ssl/private_keys/{ID}.pem", "/ssl/certs/ca.pem")


def test_the_first_of_puppets_directories_with_the_certificate():
    second = "/var/lib/puppet/ssl"
    there = {f"{second}/certs/{ID}.pem", f"/etc/puppet/ssl/certs/{ID}.pem"}
    assert certificates.puppet_ssldir(ID, exists=there.__contains__) == second


def test_no_puppet_is_an_error_that_says_where_it_looked():
    with pytest.raises(
        CertificateError, match=rf"no certificate {ID}.pem of the Puppet agent in /etc/puppetlabs/"
    ):
        certificates.puppet_ssldir(ID, exists=lambda path: False)


# Copying -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bits", "keyword"), [("RSA", 2048, "RSA"), ("ECDSA", 384, "ECDSA"), ("Ed25519", 256, "PKCS8")]
)
def test_files_are_copied_for_charon(place, kind, bits, keyword):
    host = authorities.host(SUBJECT, NOW, CA, kind)
    place.give(host.pem, host.key_pem())
    outcome = place.reuse()
    assert (outcome.errors, outcome.warnings) == ((), ())
    assert place.found == {
        "cacerts": (0o755, None),
        "certs": (0o755, None),
        "private": (0o700, None),
        ca_file(CA): (0o644, CA.pem),
        cert_file(host): (0o644, host.pem),
        key_file(host): (0o600, host.key_pem()),
    }
    assert (outcome.key_type, outcome.secrets_keyword, outcome.days_left) == (kind, keyword, 365)
    assert outcome.changes == {
        f"{place.root}/cacerts": "new directory, mode 0755",
        f"{place.root}/certs": "new directory, mode 0755",
        f"{place.root}/private": "new directory, mode 0700",
        f"{place.root}/{ca_file(CA)}": "new: CA CN=Fleet CA, O=Example, valid until 2027-06-01",
        f"{place.root}/{cert_file(host)}": f"new: CN={ID}, valid until 2027-06-01",
        f"{place.root}/{key_file(host)}": f"new: {kind} key of {bits} bits",
    }


def test_test_mode_says_the_same_and_writes_nothing(place):
    would = place.reuse(apply=False)
    assert place.found == {}
    assert would == place.reuse()
    before = place.found
    assert place.reuse(apply=False).changes == place.reuse().changes == {}
    assert place.found == before


def test_a_renewed_certificate_and_the_way_back(place):
    place.reuse()
    before = place.found
    renewed = authorities.host(SUBJECT, NOW, CA, until=700 * DAY)
    place.give(renewed.pem, renewed.key_pem())
    outcome = place.reuse()
    unused = "removed: no configuration uses it"
    assert outcome.changes == {
        f"{place.root}/{cert_file()}": unused,
        f"{place.root}/{key_file()}": unused,
        f"{place.root}/{cert_file(renewed)}": "renewed: valid until 2028-05-01, before until 2027-06-01",
        f"{place.root}/{key_file(renewed)}": "renewed: ECDSA key of 384 bits",
    }
    assert place.found[key_file(renewed)] == (0o600, renewed.key_pem())
    outcome.undo.restore()
    assert place.found == before


def test_what_a_configuration_names_stays_beside_what_is_renewed(place):
    """charon goes on with the certificate that it loaded; the way back has to find it, and its key."""
    place.reuse()
    for since in (1, 2):  # the second time nothing names what the first one wrote
        renewed = authorities.host(SUBJECT, NOW, CA, since=-since * DAY)
        place.give(renewed.pem, renewed.key_pem())
        named = {Path(cert_file()).name, Path(key_file()).name}
        assert place.reuse(in_use=named).errors == ()
        ours = {path for path in place.found if ID in path}
        assert ours == {cert_file(), key_file(), cert_file(renewed), key_file(renewed)}
    pruned = certificates.prune(place.destination, {Path(one(renewed)).name for one in (cert_file, key_file)})
    assert pruned == (f"{place.root}/{cert_file()}", f"{place.root}/{key_file()}")


def test_the_same_key_keeps_its_file(place):
    place.reuse()
    renewed = authorities.host(SUBJECT, NOW, CA, until=700 * DAY, key=HOST.key)
    place.give(renewed.pem, KEY)
    assert set(place.reuse().changes) == {f"{place.root}/{cert_file(one)}" for one in (HOST, renewed)}


def test_files_of_another_host_are_left_alone(place):
    other = place.root / f"private/x{ID}.pem"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of the operator")
    place.reuse()
    assert other.read_bytes() == b"of the operator"


def test_a_mode_that_was_opened_is_closed_again(place):
    """Production wrote the key with mode 0444."""
    place.reuse()
    key = place.root / key_file()
    key.chmod(0o444)
    key.parent.chmod(0o755)
    outcome = place.reuse()
    assert (mode(key), mode(key.parent)) == (0o600, 0o700)
    assert outcome.changes[str(key.parent)] == "mode 0755 -> 0700"
    assert outcome.changes[str(key)].startswith("mode 0444, owner")


def test_a_key_is_0600_from_the_first_moment(place, monkeypatch):
    seen, opened = {}, os.open

    def watch(path, flags, *arguments, **more):
        descriptor = opened(path, flags, *arguments, **more)
        if flags & os.O_CREAT:
            seen[Path(path).parent.name] = (
                stat.S_IMODE(os.fstat(descriptor).st_mode),
                mode(Path(path).parent),
            )
        return descriptor

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "open", watch)
        place.reuse()
    finally:
        os.umask(before)
    assert seen["private"] == (0o600, 0o700)
    assert place.found[key_file()][0] == 0o600


def test_a_link_at_the_destination_becomes_a_copy(place):
    """charon's AppArmor profile does not let it read what a link points to."""
    place.reuse()
    key = place.root / key_file()
    elsewhere = place.path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    key.unlink()
    key.symlink_to(elsewhere)
    outcome = place.reuse()
    assert outcome.changes == {
        str(key): f"new: ECDSA key of 384 bits (a copy in place of the link to {elsewhere})"
    }
    assert place.found[key_file()] == (0o600, KEY)
    assert elsewhere.read_bytes() == b"precious"


def test_a_link_in_place_of_the_private_directory_is_refused(place):
    place.root.mkdir()
    (place.root / "private").symlink_to(place.path)
    before = place.found
    (error,) = place.reuse().errors
    assert error == f"{place.root}/private: is no directory, expected one or nothing; move it away"
    assert place.found == before


# Faults --------------------------------------------------------------------------------------

ROGUE_CA = authorities.authority("CN=Fleet CA, O=Example", NOW)  # the same name, another key
STRANGE_CA = authorities.authority("CN=Strange CA", NOW)
EXPIRED = authorities.host(SUBJECT, NOW, CA, until=-1 * DAY)
FUTURE = authorities.host(SUBJECT, NOW, CA, since=1 * DAY)
NAMESAKE = authorities.host("CN=cp2.eqiad.example", NOW, CA)
RSA_HOST = authorities.host(SUBJECT, NOW, CA, "RSA")

FAULTS = {
    "expired": (
        {"certificate": EXPIRED.pem, "key": EXPIRED.key_pem()},
        f"(CN={ID}) expired on 2026-05-31 12:00 UTC; expected one that is valid on 2026-06-01 12:00 UTC",
    ),
    "not yet valid": (
        {"certificate": FUTURE.pem, "key": FUTURE.key_pem()},
        f"(CN={ID}) is not valid before 2026-06-02 12:00 UTC",
    ),
    "not for this key": ({"key": OTHER.key_pem()}, "host.pem is not for the private key"),
    "another CA": ({"ca": STRANGE_CA.pem}, f"'CN={ID}' was issued by 'CN=Fleet CA, O=Example'"),
    "a CA of the same name": ({"ca": ROGUE_CA.pem}, "that CA's key does not verify its signature"),
    "another subject": (
        {"certificate": NAMESAKE.pem, "key": NAMESAKE.key_pem()},
        f"has the subject 'CN=cp2.eqiad.example'; expected 'CN={ID}', by which peers know this host",
    ),
    "an encrypted key": ({"key": HOST.key_pem(b"secret")}, "host.key is encrypted with a passphrase"),
    "an encrypted key of old": (
        {
            "certificate": RSA_HOST.pem,
            "key": RSA_HOST.key_pem(b"secret", authorities.TRADITIONAL),
        },
        "host.key is encrypted with a passphrase",
    ),
    "no PEM": ({"certificate": b"\x30\x82"}, "host.pem holds no certificate in PEM"),
    "a broken certificate": (
        {"certificate": HOST.pem.replace(b"MII", b"AAA", 1)},
        "host.pem holds a certificate that cannot be parsed",
    ),
    "a broken key": (
        {"key": KEY[:60] + b"\n-----END PRIVATE KEY-----\n"},
        "host.key holds a private key that",
    ),
    "a certificate as key": ({"key": HOST.pem}, "host.key holds no private key in PEM"),
    "an empty key": ({"key": b""}, "host.key holds no private key in PEM"),
    "no CA": ({"ca": HOST.pem}, f"ca.pem holds no CA: CN={ID} lacks the basic constraint CA:TRUE"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_error_and_nothing_is_written(place, fault):
    given, said = FAULTS[fault]
    place.give(**given)
    for apply in (False, True):
        outcome = place.reuse(apply)
        (error,) = outcome.errors
        assert said in error
        assert "; expected " in error
        assert (outcome.changes, place.found) == ({}, {})


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("certificate", "certificate {} is missing; expected the host's certificate in PEM"),
        ("key", "private key {} is missing; expected the host's private key in PEM"),
        ("ca", "CA file {} is missing; expected the CA certificates of the fleet in PEM"),
    ],
)
def test_what_is_missing_is_named(place, missing, said):
    path = getattr(place.source, missing)
    Path(path).unlink()
    (error,) = place.reuse().errors
    assert said.format(path) in error
    assert place.found == {}


def test_a_directory_in_place_of_the_certificate(place):
    Path(place.source.certificate).unlink()
    Path(place.source.certificate).mkdir()
    (error,) = place.reuse().errors
    assert "host.pem cannot be read: Is a directory" in error


def test_a_fault_leaves_the_files_of_before(place):
    place.reuse()
    before = place.found
    place.give(EXPIRED.pem, EXPIRED.key_pem())
    assert place.reuse().errors
    assert place.found == before


def test_a_key_that_others_can_read_is_a_warning(place):
    place.give(key_mode=0o644)
    outcome = place.reuse()
    (warning,) = outcome.warnings
    assert "host.key has mode 0644, open to every user; expected no access for others" in warning
    assert outcome.errors == ()
    assert place.found[key_file()][0] == 0o600


# A full disk ---------------------------------------------------------------------------------


@root_only
def test_a_full_disk_changes_nothing(place):
    """The certificate still fits, the key no longer does."""
    place.root.mkdir()
    options = f"size=32k,mode=0755,uid={os.getuid()},gid={os.getgid()}"
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place.root)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount")
    try:
        place.reuse()
        before = place.found
        free = os.statvfs(place.root)
        (place.root / "filler").write_bytes(b"x" * (free.f_bavail - 1) * free.f_frsize)
        full_place_changes_nothing(place, {**before, "filler": place.found["filler"]})
    finally:
        subprocess.run(["umount", str(place.root)], check=True)


def test_a_disk_that_says_it_is_full_changes_nothing(place, monkeypatch):
    place.reuse()
    written, write = [], os.write

    def fill(descriptor, content):
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", fill)
    full_place_changes_nothing(place, place.found)


def full_place_changes_nothing(place, before):
    renewed = authorities.host(SUBJECT, NOW, CA, "RSA", until=700 * DAY)
    place.give(renewed.pem, renewed.key_pem())
    outcome = place.reuse()
    (error,) = outcome.errors
    assert ".pem: cannot be written: No space left on device; what was there before stays" in error
    assert (outcome.changes, place.found) == ({}, before)


# Secrecy -------------------------------------------------------------------------------------


def shown(value) -> str:
    """Return all that a log, a return or a traceback could show of a value."""
    fields = value._asdict() if isinstance(value, tuple) else vars(value)
    return f"{value!r} {value!s} {fields!r}"


def test_a_key_is_in_no_text(place):
    inspection = certificates.inspect(place.source, SUBJECT, NOW)
    place.reuse()
    renewed = authorities.host(SUBJECT, NOW, CA)
    place.give(renewed.pem, renewed.key_pem())
    outcome = place.reuse()
    text = shown(inspection) + shown(outcome) + shown(outcome.undo) + repr(dict(outcome.changes))
    keys = (KEY + renewed.key_pem()).decode().splitlines()
    assert not [line for line in keys if len(line) > 20 and "-----" not in line and line in text]
    assert "PRIVATE" not in text
    assert inspection.key_pem.reveal() == KEY


def test_a_broken_key_is_not_quoted(place):
    lines = KEY.decode().splitlines()
    place.give(key="\n".join([lines[0], lines[1][:-4], *lines[2:]]).encode())
    (error,) = place.reuse().errors
    assert "cannot be parsed" in error
    assert lines[1][:20] not in error


def test_a_secret_is_neither_pickled_nor_copied():
    secret = certificates.Secret(b"s3cret")
    assert copy.deepcopy(secret) is secret
    assert f"{secret} {secret!r}" == "Secret(hidden) Secret(hidden)"
    with pytest.raises(TypeError, match="not serialized"):
        pickle.dumps(secret)


def test_a_key_in_the_certificates_file_is_not_copied_with_it(place):
    """The copy of the certificate can be read by every user."""
    both = KEY + HOST.pem
    place.give(both, both)
    assert place.reuse().errors == ()
    assert place.found[cert_file()] == (0o644, HOST.pem)
    assert place.found[key_file()][1].startswith(KEY)


def test_parameters_before_a_key_are_left_out(place):
    """strongSwan reads the first block of a file and no other."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"
    key = HOST.key_pem(form=authorities.TRADITIONAL)
    place.give(key=parameters + key)
    assert place.reuse().errors == ()
    assert place.found[key_file()] == (0o600, key)


# CAs -----------------------------------------------------------------------------------------


def cas_of(place):
    return {path: content for path, (_, content) in place.found.items() if path.startswith("cacerts/")}


def test_a_bundle_becomes_one_file_a_ca(place):
    """strongSwan reads the first certificate of a file and no other."""
    place.give(ca=STRANGE_CA.pem + CA.pem + STRANGE_CA.pem)
    assert (place.reuse().errors, place.reuse().warnings) == ((), ())
    assert cas_of(place) == {ca_file(CA): CA.pem, ca_file(STRANGE_CA): STRANGE_CA.pem}


def test_a_ca_that_left_the_bundle_is_removed_and_no_other(place):
    place.give(ca=CA.pem + STRANGE_CA.pem)
    place.reuse()
    (place.root / "cacerts" / "site.pem").write_bytes(b"of the operator")
    place.give()
    outcome = place.reuse()
    gone = f"{place.root}/{ca_file(STRANGE_CA)}"
    assert outcome.changes == {gone: f"removed: no valid CA of {place.source.ca}"}
    assert cas_of(place) == {ca_file(CA): CA.pem, "cacerts/site.pem": b"of the operator"}


def test_an_expired_ca_beside_its_successor_is_left_out(place):
    old = authorities.authority("CN=Fleet CA, O=Example", NOW, until=-1 * DAY, key=CA.key)
    place.give(ca=old.pem + CA.pem)
    outcome = place.reuse()
    (warning,) = outcome.warnings
    assert "expired on 2026-05-31 12:00 UTC and is left out" in warning
    assert cas_of(place) == {ca_file(CA): CA.pem}


@pytest.mark.parametrize("after_the_certificate", [True, False])
def test_an_intermediate_is_installed(place, after_the_certificate):
    middle = authorities.authority("CN=Hosts CA", NOW, issuer=CA)
    host = authorities.host(SUBJECT, NOW, middle)
    if after_the_certificate:
        place.give(host.pem + middle.pem, host.key_pem(), CA.pem)
    else:
        place.give(host.pem, host.key_pem(), CA.pem + middle.pem)
    assert place.reuse().errors == ()
    assert cas_of(place) == {ca_file(CA): CA.pem, ca_file(middle): middle.pem}


def test_signatures_of_every_kind_are_verified(place):
    for kind in authorities.KEYS:
        ca = authorities.authority(f"CN={kind} CA", NOW, kind)
        host = authorities.host(SUBJECT, NOW, ca)
        place.give(host.pem, host.key_pem(), ca.pem)
        assert place.reuse().errors == ()


# CRLs ----------------------------------------------------------------------------------------


def crl_file(ca) -> str:
    return ca_file(ca).replace("cacerts", "crls")


def test_lists_of_our_cas_are_copied_the_newest_of_each(place):
    old = authorities.crl(CA, NOW - DAY)
    new = authorities.crl(CA, NOW, OTHER.certificate)
    outcome = place.revoke(new + old + authorities.crl(STRANGE_CA, NOW))
    assert outcome.errors == ()
    (warning,) = outcome.warnings
    assert "is signed by no CA of" in warning
    assert place.found[crl_file(CA)] == (0o644, new)
    assert [path for path in place.found if path.startswith("crls/")] == [crl_file(CA)]
    place.give()
    assert place.reuse().changes == {f"{place.root}/{crl_file(CA)}": place.gone}


def test_a_revoked_certificate_is_not_copied(place):
    (error,) = place.revoke(authorities.crl(CA, NOW, HOST.certificate)).errors
    assert "is revoked by the list of CN=Fleet CA, O=Example" in error
    assert place.found == {}


def test_a_list_that_is_overdue_is_a_warning(place):
    (warning,) = place.revoke(authorities.crl(CA, NOW - 30 * DAY)).warnings
    assert "was to be renewed by 2026-05-09" in warning
    assert "with strictcrlpolicy=yes every peer is refused" in warning


@pytest.mark.parametrize(("required", "warnings"), [(True, 1), (False, 0)])
def test_a_list_that_is_missing(place, required, warnings):
    """Puppet's may be missing; one that the pillar names may not."""
    place.source = replace(place.source, crl=f"{place.path}/none.pem", crl_required=required)
    outcome = place.reuse()
    assert (outcome.errors, len(outcome.warnings)) == ((), warnings)


def test_a_list_that_charon_does_not_find_is_a_warning(place):
    """charon looks for lists by key identifier; without one, it took the list for missing."""
    (warning,) = place.revoke(authorities.crl(CA, NOW, key_id=False)).warnings
    assert "do not carry the same key identifier" in warning
