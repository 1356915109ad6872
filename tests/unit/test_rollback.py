"""The configuration of before: what is kept of it, and what a host runs to be as before."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import fleets
from hostipsec import paths
from hostipsec.apply import configuration, rollback, transition
from hostipsec.emergency.host import Host
from hostipsec.errors import HostIPsecError
from hostipsec.model import Charon
from hostipsec.pillar.membership import read
from hostipsec.store import generations, holdfile, present
from hostipsec.store.hold import Hold, Scope
from hostipsec.store.record import Record, parse
from hostipsec.strongswan import difference
from hostipsec.strongswan.sections import Secret
from hostipsec.system import files

HUB = "hub.core.example"
NOW = datetime(2026, 11, 24, 20, 0, tzinfo=timezone.utc)


def wanted(peers, **more):
    member = read({**fleets.star(peers), **more}, HUB)
    return configuration.wanted(
        member.connections, member.fleet.settings, "hub.pem", Secret("RSA", "hub.pem")
    )


def run(want):
    files.swap({path: (content, present.modes()[path]) for path, content in want.files.items()})


def test_going_back_means_the_files_of_before(here):
    before, after = (
        wanted(3, connection={"margintime": "5m"}, mtu=1400),
        wanted(5, setup={"charondebug": {"ike": 2}}),
    )
    run(before)
    rollback.keep(after, "", NOW)
    run(after)
    back = rollback.wanted(generations.previous())
    assert back.files == before.files
    assert back.names == before.names
    assert (generations.previous().mark, generations.previous().when) == ("", "2026-11-24 20:00 UTC")
    assert generations.previous().record.mtu == 1400


def test_a_host_that_was_no_member_has_no_connections_before(here):
    want = wanted(2)
    here.conf.write_text("# as the package brings it\n")
    rollback.keep(want, "", NOW)
    back = rollback.wanted(generations.previous())
    assert (back.connections, back.configuration.names) == ((), frozenset())
    assert parse(back.files[here.record].decode()) == back.record == Record()
    found = difference.between(want.configuration, back.configuration)
    assert found.removed == tuple(sorted(want.names))


def test_the_steps_of_one_change_go_back_to_before_the_first(here):
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(one)
    for want in (two, three):
        rollback.keep(want, "2026-11-24T20:00:00Z", NOW)
        run(want)
    assert rollback.wanted(generations.previous()).files == one.files
    rollback.keep(two, "2026-11-24T21:00:00Z", NOW)
    assert rollback.wanted(generations.previous()).files == three.files


def test_changes_without_a_mark_go_back_one_by_one(here):
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(one)
    for want in (two, three):
        rollback.keep(want, "", NOW)
        run(want)
    assert rollback.wanted(generations.previous()).files == two.files


def test_what_is_held_stays_out_of_charon(here):
    before = wanted(2)
    run(before)
    rollback.keep(wanted(3), "", NOW)
    back = rollback.wanted(generations.previous(), ["edge0001_v4"])
    assert back.names == before.names - {"edge0001_v4"}
    assert back.files[here.conf].decode().count("auto=ignore") == 1


def test_a_change_of_peers_alone_restarts_nothing_on_the_way_back(here):
    before, after = wanted(40), wanted(3)
    run(before)
    rollback.keep(after, "", NOW)
    back = rollback.wanted(generations.previous())
    assert difference.between(after.configuration, back.configuration).restart_reasons(back.chosen) == ()


def test_a_setting_that_charon_reads_at_its_start_is_told(here):
    before, after = wanted(2, charon={"plugins": {"stroke": {"timeout": 9000}}}), wanted(2)
    run(before)
    rollback.keep(after, "", NOW)
    back = rollback.wanted(generations.previous())
    found = difference.between(after.configuration, back.configuration).restart_reasons(back.chosen)
    assert found == ("charon.plugins.stroke.timeout: unset -> 9000",)


def fails(want, mark=""):
    """Make a change to what is wanted that does not come about; the files are as they were."""
    with pytest.raises(HostIPsecError), rollback.keeping(want, mark, NOW):
        raise HostIPsecError("/etc/ipsec.conf: cannot be replaced: Read-only file system")


@pytest.mark.parametrize("mark", ["", "2026-11-24T21:00:00Z"])
def test_a_change_that_fails_leaves_what_one_goes_back_to(here, mark):
    """`state.apply` with /etc read-only consumed it: `rollback` then brought nothing back."""
    one, two, three = (wanted(peers) for peers in (1, 2, 3))
    run(one)
    rollback.keep(two, "2026-11-24T20:00:00Z", NOW)
    run(two)
    before = generations.previous()
    fails(three, mark)
    assert generations.previous() == before
    assert rollback.wanted(generations.previous()).files == one.files
    with rollback.keeping(three, mark, NOW):
        run(three)
    assert (generations.previous().mark, rollback.wanted(generations.previous()).files) == (mark, two.files)


def test_a_first_change_that_fails_leaves_nothing_to_go_back_to(here):
    fails(wanted(2))
    assert generations.previous() is None
    assert not [path for path in (here.state / "previous").rglob("*") if path.is_file()]


def test_a_change_whose_end_fails_can_be_undone(here):
    """The files are new, an SA of before did not end: going back is from there."""
    one, two = wanted(1), wanted(2)
    run(one)
    with pytest.raises(HostIPsecError), rollback.keeping(two, "", NOW):
        run(two)
        raise HostIPsecError("charon does not end 1 IKE SA(s)")
    assert rollback.wanted(generations.previous()).files == one.files


@pytest.mark.parametrize("mark", ["", "2026-11-24T21:00:00Z"])
def test_what_is_kept_and_cannot_be_read_is_kept_anew_with_the_next_change(here, mark):
    """It says to apply the pillar, and applying it failed with the same sentence."""
    run(wanted(1))
    here.change.parent.mkdir()
    here.change.write_text("{")
    rollback.keep(wanted(2), mark, NOW)
    assert generations.previous().mark == mark


def test_nothing_is_kept_after_going_back(here):
    run(wanted(1))
    rollback.keep(wanted(2), "", NOW)
    assert here.kept("previous", here.conf).exists()
    generations.forget_previous()
    assert generations.previous() is None
    assert not [path for path in (here.state / "previous").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("kept", "asked", "said"),
    [
        (
            "2026-11-24T20:00:00Z",
            "2026-11-24T21:00:00Z",
            "is of roll-out 2026-11-24T20:00:00Z, not of roll-out",
        ),
        ("", "2026-11-24T21:00:00Z", "is of a plain state.apply, not of roll-out 2026-11-24T21:00:00Z"),
    ],
)
def test_a_change_of_another_is_not_undone(here, kept, asked, said):
    """A minion that was slow was sent a rollback without a mark, and undid a plain `state.apply`."""
    run(wanted(1))
    rollback.keep(wanted(2), kept, NOW)
    with pytest.raises(HostIPsecError, match=said):
        rollback.back(Host(), NOW, asked)
    assert generations.previous().mark == kept


def test_what_is_held_counts_and_is_said(here):
    """`rollback` of a held host said "0 connections": it counted what charon has loaded."""
    before = wanted(2)
    held = {"edge0001_v4": "since 2026-11-24 19:00 UTC by root because T1"}
    back = rollback.Back("2026-11-24 20:00 UTC", before.record.connections, held, changes={"connections": {}})
    assert back.sentence == (
        "as before 2026-11-24 20:00 UTC: 4 connections, 1 of them held since 2026-11-24 19:00 UTC by root "
        "because T1"
    )
    rows = back.answer().connections
    assert {name: row["held"] for name, row in rows.items() if row["held"]} == held
    assert len(rows) == 4


def test_a_damaged_record_is_a_sentence(here):
    here.change.parent.mkdir()
    here.change.write_text("{")
    with pytest.raises(HostIPsecError, match=r"change.json cannot be read .*; correct the pillar"):
        generations.previous()


# What the release before kept ----------------------------------------------------------------


def kept_before(generation, want, **more):
    """Write what a release kept that had a generation ``good`` as well, both with the same layout."""
    for path, content in {**want.files, **more}.items():
        place = paths.here.state / generation / path.relative_to(paths.here.root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def test_what_the_release_before_kept_is_what_one_goes_back_to(here):
    one, two = wanted(1), wanted(2)
    run(two)
    kept_before("previous", one)
    here.change.write_text('{"mark": "", "when": "2026-11-24 20:00 UTC"}')
    found = generations.previous()
    assert (found.when, found.record, found.configuration) == (
        "2026-11-24 20:00 UTC",
        one.record,
        one.configuration,
    )
    assert rollback.wanted(found).files == one.files


def test_lines_of_another_hand_come_back(here):
    want = wanted(1)
    run(want)
    conf = here.conf.read_text() + "\ninclude /etc/ipsec.more.conf\n"
    here.conf.write_text(conf)
    rollback.keep(wanted(2), "", NOW)
    back = rollback.wanted(generations.previous())
    assert back.files[here.conf].decode() == conf
    assert difference.between(want.configuration, back.configuration).empty


def test_what_was_leaving_as_a_change_was_cut_short_does_not_come_back(here):
    """The record names it until its SAs are ended; ipsec.conf had it no more."""
    run(wanted(1))
    here.record.write_bytes(wanted(2).files[here.record])
    rollback.keep(wanted(3), "", NOW)
    assert generations.previous().record == wanted(1).record
    assert rollback.wanted(generations.previous()).files == wanted(1).files


def test_a_file_that_was_missing_before_is_empty_then(here):
    run(wanted(1))
    here.strongswan.unlink()
    rollback.keep(wanted(2), "", NOW)
    back = rollback.wanted(generations.previous())
    assert back.files.keys() == wanted(1).files.keys()
    assert back.configuration.strongswan == {}


def test_the_last_good_files_of_the_release_before_go_and_count_for_nothing(here):
    run(wanted(1))
    kept_before("good", wanted(3))
    work = configuration.work(wanted(1), None)
    assert (work.ours, work.difference.empty, work.new_files) == (wanted(1).names, True, False)
    rollback.keep(wanted(2), "", NOW)
    generations.sweep()
    assert sorted(path.name for path in here.state.iterdir()) == ["mesh.json", "previous"]
    generations.sweep()


def test_files_in_use_are_those_of_now_and_of_before(here):
    assert generations.files_in_use() == frozenset()
    for name in ("one", "two"):
        member = read(fleets.star(1), HUB)
        want = configuration.wanted(
            member.connections, member.fleet.settings, f"{name}.pem", Secret("RSA", f"{name}.key")
        )
        rollback.keep(want, "", NOW)
        run(want)
    assert generations.files_in_use() == {"one.pem", "one.key", "two.pem", "two.key"}
    here.secrets.write_text(': RSA "three.key" # by hand')
    assert generations.files_in_use() == {"one.pem", "one.key", "two.pem", "three.key"}


def test_there_is_no_way_back_to_a_ca_that_is_gone(here, monkeypatch):
    """charon was said not to take connections as they are meant, after a trial of them."""
    bound = {"rightca": "CN=Old", "rightca2": "0123456789abcdef"}
    member = read(fleets.star(2), HUB)
    named = ("hub.pem", Secret("RSA", "hub.pem"))
    before = configuration.wanted(member.connections, member.fleet.settings, *named, binding=bound)
    run(before)
    rollback.keep(wanted(3), "", NOW)
    run(wanted(3))
    monkeypatch.setattr(Host, "observe_if_running", lambda host: None)
    with pytest.raises(
        HostIPsecError, match=r"cacerts/hostipsec-01234567\.pem: is gone, the CA that .* not brought back;"
    ):
        rollback.back(Host(), NOW)
    assert generations.previous() is not None


def test_a_way_back_that_a_hold_overtook_tells_what_it_changed(here, monkeypatch):
    """It told what its second look found, which was nothing."""
    before, after = wanted(2), wanted(3)
    run(before)
    rollback.keep(after, "", NOW)
    run(after)
    charon, done = Charon("5.9.8", "vici", plugins=("aes", "gcm", "openssl", "sha2", "hmac", "kdf")), []

    def down(want, work, host):
        files.swap(transition._contents(want, work))
        holdfile.take(Hold("ada", NOW, "T1", None, Scope()), want.record.connections, NOW)
        files.replace(here.record, want.files[here.record], 0o644)
        done.append(work.as_changes())
        return transition.Outcome(done[0], ("connections updated",), overtaken=True)

    monkeypatch.setattr(transition, "apply", down)
    monkeypatch.setattr(Host, "observe_if_running", lambda host: charon)
    monkeypatch.setattr(rollback.guard, "apply", lambda policies: None)
    monkeypatch.setattr(rollback.routing, "apply", lambda connections, mtu: None)
    back = rollback.back(Host(), NOW)
    assert (back.changes, back.notes) == (done[0], ("connections updated",))
    assert {*back.held} == before.names
    assert len(done) == 1
