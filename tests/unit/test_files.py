"""Files are replaced whole or not at all: on real disks, a full one among them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from hostipsec.errors import HostIPsecError
from hostipsec.system import files

OWNER = (os.getuid(), os.getgid())
root_only = pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")


@pytest.fixture
def small_disk(tmp_path):
    """Yield a file system of 32 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size=32k,mode=0755,uid={OWNER[0]},gid={OWNER[1]}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_replace_sets_content_and_mode_whatever_the_umask(tmp_path):
    path = tmp_path / "one"
    before = os.umask(0o077)
    try:
        assert files.replace(path, b"text", 0o644, *OWNER)
    finally:
        os.umask(before)
    assert (path.read_bytes(), mode(path)) == (b"text", 0o644)
    assert names(tmp_path) == ["one"]


def test_replace_leaves_alone_what_is_right(tmp_path):
    path = tmp_path / "one"
    files.replace(path, b"text", 0o600, *OWNER)
    inode = path.stat().st_ino
    assert not files.replace(path, b"text", 0o600, *OWNER)
    assert path.stat().st_ino == inode


def test_replace_mends_a_mode_that_is_too_open(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"text")
    path.chmod(0o444)
    assert files.replace(path, b"text", 0o600, *OWNER)
    assert mode(path) == 0o600


def test_the_mode_is_set_before_the_content(tmp_path, monkeypatch):
    seen = []
    write = os.write

    def watch(descriptor, content):
        status = os.fstat(descriptor)
        seen.append((status.st_size, stat.S_IMODE(status.st_mode)))
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", watch)
    files.replace(tmp_path / "key", b"text", 0o640, *OWNER)
    assert seen == [(0, 0o640)]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    path = tmp_path / "link"
    path.symlink_to(elsewhere)
    assert files.replace(path, b"text", 0o600, *OWNER)
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == b"precious"


def test_a_directory_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    for act in (
        lambda path: files.replace(path, b"", 0o600, *OWNER),
        files.remove,
        lambda path: files.swap({str(path): (None, 0)}),
    ):
        with pytest.raises(HostIPsecError, match=r"there: is a directory, expected a regular file"):
            act(tmp_path / "there")
    assert (tmp_path / "there").is_dir()


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(HostIPsecError, match=r"none/one: cannot be written: No such file or directory"):
        files.replace(tmp_path / "none" / "one", b"", 0o600, *OWNER)


def test_what_a_killed_process_left_is_swept(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".one.hostipsec.{gone.pid}").write_bytes(b"half")
    (tmp_path / ".one.hostipsec.1").write_bytes(b"of a living process")
    (tmp_path / ".one.hostipsec.old").write_bytes(b"of the operator")
    files.replace(tmp_path / "one", b"text", 0o600, *OWNER)
    assert names(tmp_path) == [".one.hostipsec.1", ".one.hostipsec.old", "one"]


def test_read_and_remove(tmp_path):
    path = tmp_path / "one"
    assert files.read(path) is None
    assert files.read(path / "below") is None
    assert not files.remove(path)
    path.write_bytes(b"text")
    assert files.read(path) == b"text"
    assert files.remove(path)
    assert not path.exists()
    with pytest.raises(HostIPsecError, match=r"cannot be read: Is a directory"):
        files.read(tmp_path)


def test_ensure_directory(tmp_path):
    path = tmp_path / "a" / "b" / "private"
    assert files.directory_difference(path, 0o700, *OWNER) == "new directory, mode 0700"
    assert files.ensure_directory(path, 0o700, *OWNER)
    assert not files.ensure_directory(path, 0o700, *OWNER)
    assert (mode(path), mode(path.parent)) == (0o700, 0o755)
    path.chmod(0o755)
    assert files.directory_difference(path, 0o700, *OWNER) == "mode 0755 -> 0700"
    assert files.ensure_directory(path, 0o700, *OWNER)
    assert mode(path) == 0o700


def test_ensure_directory_refuses_a_link_and_a_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    for name in ("link", "file"):
        with pytest.raises(HostIPsecError, match=r"is no directory"):
            files.ensure_directory(tmp_path / name, 0o700, *OWNER)


def test_swap_and_restore(tmp_path):
    changed, gone, new, link = (tmp_path / name for name in ("changed", "gone", "new", "link"))
    changed.write_bytes(b"old")
    changed.chmod(0o640)
    gone.write_bytes(b"was here")
    link.symlink_to("changed")
    undo = files.swap(
        {
            str(changed): (b"new", 0o600),
            str(gone): (None, 0),
            str(new): (b"n", 0o644),
            str(link): (b"l", 0o600),
        },
        *OWNER,
    )
    assert names(tmp_path) == ["changed", "link", "new"]
    assert (changed.read_bytes(), mode(changed)) == (b"new", 0o600)
    assert not link.is_symlink()
    for _ in range(2):
        undo.restore()
        assert names(tmp_path) == ["changed", "gone", "link"]
        assert (changed.read_bytes(), mode(changed)) == (b"old", 0o640)
        assert str(link.readlink()) == "changed"
    assert sorted(undo.before) == sorted(map(str, (changed, gone, new, link)))
    assert "old" not in repr(undo)


def test_swap_takes_back_what_it_did_when_a_rename_fails(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"old one")
    two.write_bytes(b"old two")
    rename = Path.replace

    def fail(path, target):
        if str(target) == str(two):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(HostIPsecError, match=r"two: cannot be replaced: Input/output error"):
        files.swap({str(one): (b"new", 0o600), str(two): (b"new", 0o600)}, *OWNER)
    assert (one.read_bytes(), two.read_bytes()) == (b"old one", b"old two")
    assert names(tmp_path) == ["one", "two"]


@root_only
def test_a_full_disk_leaves_the_old_file(small_disk):
    path = small_disk / "one"
    files.replace(path, b"old", 0o600, *OWNER)
    with pytest.raises(
        HostIPsecError, match=r"one: cannot be written: No space left on device; what was there"
    ):
        files.replace(path, b"x" * 100_000, 0o600, *OWNER)
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["one"]


@root_only
def test_a_full_disk_leaves_all_files_of_a_swap(small_disk):
    """The first file fits and the second does not: neither is changed."""
    one, two = small_disk / "one", small_disk / "two"
    files.replace(one, b"old one", 0o600, *OWNER)
    with pytest.raises(HostIPsecError, match=r"two: cannot be written: No space left on device"):
        files.swap({str(one): (b"1" * 8192, 0o600), str(two): (b"2" * 100_000, 0o600)}, *OWNER)
    assert one.read_bytes() == b"old one"
    assert names(small_disk) == ["one"]
