"""The configuration of before: what is kept of it, and what a host runs to be as before."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import fleets
from hostipsec import paths
from hostipsec.apply import configuration, rollback
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


def run(want):
    files.swap({path: (content, configuration.modes()[path]) for path, content in want.files.items()})


def texts(contents):
    here = paths.here
    parts = {"conf": here.conf, "secrets": here.secrets, "strongswan": here.strongswan, "mesh": here.record}
    return {part: contents[path].decode() for part, path in parts.items()}


def test_going_back_means_the_files_of_before(here):
    before, after = (
        wanted(3, connection={"margintime": "5m"}, mtu=1400),
        wanted(5, setup={"charondebug": {"ike": 2}}),
    )
    run(before)
    rollback.keep(rollback.look(after), "", NOW)
    run(after)
    back = rollback.wanted(rollback.read())
    assert back.files == before.files
    assert back.names == before.names
    assert (rollback.read().mark, rollback.read().when) == ("", "2026-11-24 20:00 UTC")
    assert rollback.read().mtu == 1400


def test_a_host_that_was_no_member_has_no_connections_before(here):
    want = wanted(2)
    here.conf.write_text("# as the package brings it\n")
    rollback.keep(rollback.look(want), "", NOW)
    back = rollback.wanted(rollback.read())
    assert back.connections == ()
    assert difference.names(back.files[here.conf].decode()) == frozenset()
    assert mesh.parse(back.files[here.record].decode()) == ()
    assert difference.between(texts(want.files), texts(back.files)).removed == tuple(sorted(want.names))


def test_the_steps_of_one_change_go_back_to_before_the_first(here):
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(one)
    for want in (two, three):
        rollback.keep(rollback.look(want), "2026-11-24T20:00:00Z", NOW)
        run(want)
    assert rollback.wanted(rollback.read()).files == one.files
    rollback.keep(rollback.look(two), "2026-11-24T21:00:00Z", NOW)
    assert rollback.wanted(rollback.read()).files == three.files


def test_changes_without_a_mark_go_back_one_by_one(here):
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(one)
    for want in (two, three):
        rollback.keep(rollback.look(want), "", NOW)
        run(want)
    assert rollback.wanted(rollback.read()).files == two.files


def test_what_is_held_stays_out_of_charon(here):
    before = wanted(2)
    run(before)
    rollback.keep(rollback.look(wanted(3)), "", NOW)
    back = rollback.wanted(rollback.read(), ["edge0001_v4"])
    assert back.names == before.names - {"edge0001_v4"}
    assert back.files[here.conf].decode().count("auto=ignore") == 1


def test_a_change_of_peers_alone_restarts_nothing_on_the_way_back(here):
    before, after = wanted(40), wanted(3)
    run(before)
    rollback.keep(rollback.look(after), "", NOW)
    back = rollback.wanted(rollback.read())
    assert (
        difference.between(texts(after.files), texts(back.files)).restart_reasons(back.settings.charon) == ()
    )


def test_a_setting_that_charon_reads_at_its_start_is_told(here):
    before, after = wanted(2, charon={"plugins": {"stroke": {"timeout": 9000}}}), wanted(2)
    run(before)
    rollback.keep(rollback.look(after), "", NOW)
    back = rollback.wanted(rollback.read())
    found = difference.between(texts(after.files), texts(back.files)).restart_reasons(back.settings.charon)
    assert found == ("charon.plugins.stroke.timeout: unset -> 9000",)


def test_nothing_is_kept_after_going_back(here):
    run(wanted(1))
    rollback.keep(rollback.look(wanted(2)), "", NOW)
    assert here.kept("previous", here.conf).exists()
    rollback.forget()
    assert rollback.read() is None
    assert not [path for path in (here.state / "previous").rglob("*") if path.is_file()]


def test_a_damaged_record_is_a_sentence(here):
    here.change.parent.mkdir()
    here.change.write_text("{")
    with pytest.raises(HostIPsecError, match=r"change.json cannot be read .*; correct the pillar"):
        rollback.read()
