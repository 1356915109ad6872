"""The configuration of before: what is kept of it, and what a host runs to be as before."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import fleets
from hostipsec.apply import configuration, rollback
from hostipsec.apply.configuration import CONF, MESH, SECRETS, STRONGSWAN
from hostipsec.errors import HostIPsecError
from hostipsec.pillar.membership import read
from hostipsec.store import mesh
from hostipsec.strongswan import difference
from hostipsec.system import files

HUB = "hub.core.example"
NOW = datetime(2026, 11, 24, 20, 0, tzinfo=timezone.utc)


def wanted(peers, **more):
    member = read({**fleets.star(peers), **more}, HUB)
    return configuration.wanted(member.connections, member.fleet.settings, "hub.pem", ("RSA", "hub.pem"))


@pytest.fixture
def disk(monkeypatch):
    """The files that the engine reads and writes, in memory."""
    there: dict[str, bytes] = {}

    def swap(changes):
        for path, (content, _) in changes.items():
            there.pop(path, None)
            there.update({} if content is None else {path: content})

    monkeypatch.setattr(files, "read", lambda path: there.get(str(path)))
    monkeypatch.setattr(files, "ensure_directory", lambda path, mode: True)
    monkeypatch.setattr(files, "swap", swap)
    return there


def run(disk, want):
    disk.update(want.files)


def texts(contents):
    parts = {"conf": CONF, "secrets": SECRETS, "strongswan": STRONGSWAN, "mesh": MESH}
    return {part: contents[path].decode() for part, path in parts.items()}


def test_going_back_means_the_files_of_before(disk):
    before, after = (
        wanted(3, connection={"margintime": "5m"}, mtu=1400),
        wanted(5, setup={"charondebug": {"ike": 2}}),
    )
    run(disk, before)
    rollback.keep(rollback.look(after), "", NOW)
    run(disk, after)
    back = rollback.wanted(rollback.read())
    assert back.files == before.files
    assert back.names == before.names
    assert (rollback.read().mark, rollback.read().when) == ("", "2026-11-24 20:00 UTC")
    assert rollback.read().mtu == 1400


def test_a_host_that_was_no_member_has_no_connections_before(disk):
    want = wanted(2)
    disk[CONF] = b"# as the package brings it\n"
    rollback.keep(rollback.look(want), "", NOW)
    back = rollback.wanted(rollback.read())
    assert back.connections == ()
    assert difference.names(back.files[CONF].decode()) == frozenset()
    assert mesh.parse(back.files[MESH].decode()) == ()
    assert difference.between(texts(want.files), texts(back.files)).removed == tuple(sorted(want.names))


def test_the_steps_of_one_change_go_back_to_before_the_first(disk):
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(disk, one)
    for want in (two, three):
        rollback.keep(rollback.look(want), "2026-11-24T20:00:00Z", NOW)
        run(disk, want)
    assert rollback.wanted(rollback.read()).files == one.files
    rollback.keep(rollback.look(two), "2026-11-24T21:00:00Z", NOW)
    assert rollback.wanted(rollback.read()).files == three.files


def test_changes_without_a_mark_go_back_one_by_one(disk):
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(disk, one)
    for want in (two, three):
        rollback.keep(rollback.look(want), "", NOW)
        run(disk, want)
    assert rollback.wanted(rollback.read()).files == two.files


def test_what_is_held_stays_out_of_charon(disk):
    before = wanted(2)
    run(disk, before)
    rollback.keep(rollback.look(wanted(3)), "", NOW)
    back = rollback.wanted(rollback.read(), ["edge0001_v4"])
    assert back.names == before.names - {"edge0001_v4"}
    assert back.files[CONF].decode().count("auto=ignore") == 1


def test_a_change_of_peers_alone_restarts_nothing_on_the_way_back(disk):
    before, after = wanted(40), wanted(3)
    run(disk, before)
    rollback.keep(rollback.look(after), "", NOW)
    back = rollback.wanted(rollback.read())
    assert (
        difference.between(texts(after.files), texts(back.files)).restart_reasons(back.settings.charon) == ()
    )


def test_a_setting_that_charon_reads_at_its_start_is_told(disk):
    before, after = wanted(2, charon={"plugins": {"stroke": {"timeout": 9000}}}), wanted(2)
    run(disk, before)
    rollback.keep(rollback.look(after), "", NOW)
    back = rollback.wanted(rollback.read())
    found = difference.between(texts(after.files), texts(back.files)).restart_reasons(back.settings.charon)
    assert found == ("charon.plugins.stroke.timeout: unset -> 9000",)


def test_nothing_is_kept_after_going_back(disk):
    run(disk, wanted(1))
    rollback.keep(rollback.look(wanted(2)), "", NOW)
    assert configuration.previous_path(CONF) in disk
    rollback.forget()
    assert rollback.read() is None
    assert not any("/previous/" in path for path in disk)


def test_a_damaged_record_is_a_sentence(disk):
    disk[str(rollback.FILE)] = b"{"
    with pytest.raises(HostIPsecError, match=r"change.json cannot be read .*; correct the pillar"):
        rollback.read()
