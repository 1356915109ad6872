"""A host's real certificate, key and CAs, copied into a real directory."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import authorities
from hostipsec.certificates import copies
from hostipsec.errors import HostIPsecError
from places import (
    CA,
    DAY,
    HOST,
    ID,
    KEY,
    NOW,
    OTHER,
    STRANGE_CA,
    SUBJECT,
    Place,
    ca_file,
    cert_file,
    crl_file,
    key_file,
    mode,
)

root_only = pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# Copying -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bits"), [("RSA", 2048), ("ECDSA", 384), ("Ed25519", 256)])
def test_files_are_copied_for_charon(place, kind, bits):
    host = authorities.host(SUBJECT, NOW, CA, kind)
    place.give(host.pem, host.key_pem())
    assert place.inspect().findings == ()
    difference = place.copy()
    assert place.found == {
        "cacerts": (0o755, None),
        "certs": (0o755, None),
        "private": (0o700, None),
        ca_file(CA): (0o644, CA.pem),
        cert_file(host): (0o644, host.pem),
        key_file(host): (0o600, host.key_pem()),
    }
    assert difference.changes == {
        f"{place.root}/cacerts": "new directory, mode 0755",
        f"{place.root}/certs": "new directory, mode 0755",
        f"{place.root}/private": "new directory, mode 0700",
        f"{place.root}/{ca_file(CA)}": "new: CA CN=Fleet CA, O=Example, valid until 2027-06-01",
        f"{place.root}/{cert_file(host)}": f"new: CN={ID}, valid until 2027-06-01",
        f"{place.root}/{key_file(host)}": f"new: {kind} key of {bits} bits",
    }


def test_test_mode_says_the_same_and_writes_nothing(place):
    would = place.difference()
    assert place.found == {}
    assert would.changes == place.copy().changes
    before = place.found
    assert place.difference().changes == place.copy().changes == {}
    assert place.found == before


def test_what_was_inspected_is_copied_whatever_the_source_is_by_now(place):
    """One inspection serves a whole run: the configuration names the certificate that is copied."""
    inspection = place.inspect()
    place.give(b"", b"", b"")
    copies.write(copies.difference(inspection, place.destination))
    assert (place.found[cert_file()], place.found[key_file()]) == ((0o644, HOST.pem), (0o600, KEY))
    assert place.found[ca_file(CA)] == (0o644, CA.pem)


def test_a_renewed_certificate_and_the_way_back(place):
    place.copy()
    before = place.found
    renewed = authorities.host(SUBJECT, NOW, CA, until=700 * DAY)
    place.give(renewed.pem, renewed.key_pem())
    difference = place.copy()
    unused = "removed: no configuration uses it"
    assert difference.changes == {
        f"{place.root}/{cert_file()}": unused,
        f"{place.root}/{key_file()}": unused,
        f"{place.root}/{cert_file(renewed)}": "renewed: valid until 2028-05-01, before until 2027-06-01",
        f"{place.root}/{key_file(renewed)}": "renewed: ECDSA key of 384 bits",
    }
    assert place.found[key_file(renewed)] == (0o600, renewed.key_pem())
    place.give()
    place.copy()
    assert place.found == before


def test_what_a_configuration_names_stays_beside_what_is_renewed(place):
    """charon goes on with the certificate that it loaded; the way back has to find it, and its key."""
    place.copy()
    for since in (1, 2):  # the second time nothing names what the first one wrote
        renewed = authorities.host(SUBJECT, NOW, CA, since=-since * DAY)
        place.give(renewed.pem, renewed.key_pem())
        named = {Path(cert_file()).name, Path(key_file()).name}
        place.copy(in_use=named)
        ours = {path for path in place.found if ID in path}
        assert ours == {cert_file(), key_file(), cert_file(renewed), key_file(renewed)}
    pruned = copies.prune(place.destination, {Path(one(renewed)).name for one in (cert_file, key_file)})
    assert pruned == (f"{place.root}/{cert_file()}", f"{place.root}/{key_file()}")


def test_the_same_key_keeps_its_file(place):
    place.copy()
    renewed = authorities.host(SUBJECT, NOW, CA, until=700 * DAY, key=HOST.key)
    place.give(renewed.pem, KEY)
    assert set(place.copy().changes) == {f"{place.root}/{cert_file(one)}" for one in (HOST, renewed)}


def test_files_of_another_host_are_left_alone(place):
    other = place.root / f"private/x{ID}.pem"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of the operator")
    place.copy()
    assert other.read_bytes() == b"of the operator"


def test_a_mode_that_was_opened_is_closed_again(place):
    """Production wrote the key with mode 0444."""
    place.copy()
    key = place.root / key_file()
    key.chmod(0o444)
    key.parent.chmod(0o755)
    difference = place.copy()
    assert (mode(key), mode(key.parent)) == (0o600, 0o700)
    assert difference.changes[str(key.parent)] == "mode 0755 -> 0700"
    assert difference.changes[str(key)].startswith("mode 0444, owner")


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
        place.copy()
    finally:
        os.umask(before)
    assert seen["private"] == (0o600, 0o700)
    assert place.found[key_file()][0] == 0o600


def test_a_link_at_the_destination_becomes_a_copy(place):
    """charon's AppArmor profile does not let it read what a link points to."""
    place.copy()
    key = place.root / key_file()
    elsewhere = place.path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    key.unlink()
    key.symlink_to(elsewhere)
    difference = place.copy()
    assert difference.changes == {
        str(key): f"new: ECDSA key of 384 bits (a copy in place of the link to {elsewhere})"
    }
    assert place.found[key_file()] == (0o600, KEY)
    assert elsewhere.read_bytes() == b"precious"


def test_a_link_in_place_of_the_private_directory_is_refused(place):
    place.root.mkdir()
    (place.root / "private").symlink_to(place.path)
    before = place.found
    with pytest.raises(HostIPsecError) as raised:
        place.copy()
    assert str(raised.value) == (
        f"{place.root}/private: is no directory, expected one or nothing; move it away"
    )
    assert place.found == before


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
        place.copy()
        before = place.found
        free = os.statvfs(place.root)
        (place.root / "filler").write_bytes(b"x" * (free.f_bavail - 1) * free.f_frsize)
        full_place_changes_nothing(place, {**before, "filler": place.found["filler"]})
    finally:
        subprocess.run(["umount", str(place.root)], check=True)


def test_a_disk_that_says_it_is_full_changes_nothing(place, monkeypatch):
    place.copy()
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
    with pytest.raises(HostIPsecError) as raised:
        place.copy()
    said = ".pem: cannot be written: No space left on device; what was there before stays"
    assert said in str(raised.value)
    assert place.found == before


# CAs -----------------------------------------------------------------------------------------


def cas_of(place):
    return {path: content for path, (_, content) in place.found.items() if path.startswith("cacerts/")}


def test_a_bundle_becomes_one_file_a_ca(place):
    """strongSwan reads the first certificate of a file and no other."""
    place.give(ca=STRANGE_CA.pem + CA.pem + STRANGE_CA.pem)
    assert [found.code for found in place.inspect().findings] == ["ca-several"]
    place.copy()
    assert cas_of(place) == {ca_file(CA): CA.pem, ca_file(STRANGE_CA): STRANGE_CA.pem}


def test_a_ca_that_left_the_bundle_is_removed_and_no_other(place):
    place.give(ca=CA.pem + STRANGE_CA.pem)
    place.copy()
    (place.root / "cacerts" / "site.pem").write_bytes(b"of the operator")
    place.give()
    difference = place.copy()
    gone = f"{place.root}/{ca_file(STRANGE_CA)}"
    assert difference.changes == {gone: f"removed: no valid CA of {place.source.ca}"}
    assert cas_of(place) == {ca_file(CA): CA.pem, "cacerts/site.pem": b"of the operator"}


def test_an_expired_ca_beside_its_successor_is_left_out(place):
    old = authorities.authority("CN=Fleet CA, O=Example", NOW, until=-1 * DAY, key=CA.key)
    place.give(ca=old.pem + CA.pem)
    (warning,) = place.inspect().warnings
    assert "expired on 2026-05-31 12:00 UTC and is left out" in warning
    place.copy()
    assert cas_of(place) == {ca_file(CA): CA.pem}


@pytest.mark.parametrize("after_the_certificate", [True, False])
def test_an_intermediate_is_installed(place, after_the_certificate):
    middle = authorities.authority("CN=Hosts CA", NOW, issuer=CA)
    host = authorities.host(SUBJECT, NOW, middle)
    if after_the_certificate:
        place.give(host.pem + middle.pem, host.key_pem(), CA.pem)
    else:
        place.give(host.pem, host.key_pem(), CA.pem + middle.pem)
    place.copy()
    assert cas_of(place) == {ca_file(CA): CA.pem, ca_file(middle): middle.pem}


# CRLs ----------------------------------------------------------------------------------------


def test_lists_of_our_cas_are_copied_the_newest_of_each(place):
    old = authorities.crl(CA, NOW - DAY)
    new = authorities.crl(CA, NOW, OTHER.certificate)
    place.give_lists(new + old + authorities.crl(STRANGE_CA, NOW))
    inspection = place.inspect()
    assert inspection.errors == ()
    (warning,) = inspection.warnings
    assert "is signed by no CA of" in warning
    place.copy()
    assert place.found[crl_file(CA)] == (0o644, new)
    assert [path for path in place.found if path.startswith("crls/")] == [crl_file(CA)]
    place.give()
    gone = f"removed: no valid CRL of a CA of {place.source.ca}"
    assert place.copy().changes == {f"{place.root}/{crl_file(CA)}": gone}


# What is at the source, or another's, stays --------------------------------------------------

PLAIN = {"certs": HOST.pem, "private": KEY}


def _own(place, name=f"{ID}.pem"):
    """Put certificate and key where charon reads, as a host with a strongSwan of its own has them."""
    for part, content in PLAIN.items():
        (place.root / part).mkdir(parents=True, exist_ok=True)
        (place.root / part / name).write_bytes(content)
    return place.root / "certs" / name, place.root / "private" / name


def test_a_source_where_charon_reads_stays(place):
    """With `key: /etc/ipsec.d/private/{id}.pem` the first run deleted both at their source."""
    certificate, key = _own(place)
    place.give()
    place.source = replace(place.source, certificate=str(certificate), key=str(key))
    place.copy()
    assert (certificate.read_bytes(), key.read_bytes()) == (HOST.pem, KEY)
    assert place.copy().changes == {}
    copies.prune(place.destination, ())
    assert (certificate.read_bytes(), key.read_bytes()) == (HOST.pem, KEY)


def test_a_key_of_a_strongswan_of_the_operators_stays(place):
    """`leftcert=<fqdn>.pem` of his own connections: it was gone after the first run."""
    certificate, key = _own(place)
    place.copy()
    copies.prune(place.destination, ())
    assert (certificate.read_bytes(), key.read_bytes()) == (HOST.pem, KEY)


@pytest.mark.parametrize("how", ["itself", "a symbolic link", "a hard link", "another spelling"])
def test_a_source_with_a_name_like_ours_stays(place, how):
    certificate, key = _own(place, f"{ID}-0123456789ab.pem")
    named = key
    if how == "a symbolic link":
        named = place.path / "key.pem"
        named.symlink_to(key)
    elif how == "a hard link":
        named = place.path / "key.pem"
        os.link(key, named)
    elif how == "another spelling":
        named = f"{place.root}/certs/..//private/./{key.name}"
    place.give()
    place.source = replace(place.source, key=str(named))
    sources = (str(place.source.certificate), str(named), str(place.source.ca))
    place.destination = replace(place.destination, sources=sources)
    place.copy()
    copies.prune(place.destination, ())
    assert key.read_bytes() == KEY
    assert not certificate.exists()  # a copy of ours that nothing names


def test_a_source_where_its_copy_would_be_is_not_written(place):
    place.copy()
    names = [place.root / one for one in (cert_file(HOST), key_file(HOST))]
    names[0].write_bytes(HOST.pem + b"\n# by hand\n")
    place.source = replace(place.source, certificate=str(names[0]), key=str(names[1]))
    place.destination = replace(place.destination, sources=tuple(map(str, names)))
    assert place.copy(in_use=[one.name for one in names]).changes == {}
    assert names[0].read_bytes().endswith(b"by hand\n")
