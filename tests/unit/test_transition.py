"""A change on its way: what is on record meanwhile, and who finishes a change that was cut short."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import fleets
from hostipsec.apply import configuration, transition, trial
from hostipsec.charon.credentials import Expected, Loaded
from hostipsec.emergency.host import Host
from hostipsec.errors import ConfigError, HostIPsecError
from hostipsec.model import Charon, IkeSA, LoadedConnection
from hostipsec.pillar.membership import read
from hostipsec.store import holdfile, present, record
from hostipsec.store.hold import Hold, Scope
from hostipsec.strongswan.sections import HELD, Secret
from hostipsec.system import files

HUB = "hub.core.example"
PLUGINS = ("aes", "gcm", "openssl", "sha2", "hmac", "kdf")
GONE = {"edge0002_v4", "edge0002_v6"}


EXPECTED = Expected(frozenset({"1/bb"}), (("CN=CA", frozenset({"2/cc"})),))
LOADED = Loaded(frozenset({"1/bb", "7/dd"}), frozenset({"1/bb"}), frozenset({"2/cc", "3/ee"}))


class Killed(BaseException):
    """The process ends."""


class Shelf(Host):
    """A host whose charon takes up what is in ipsec.conf; ``at`` maps a call to what happens at it."""

    loaded = LOADED

    def __init__(self):
        super().__init__()
        self.at, self.recorded, self.charon = {}, {}, Charon("5.9.8", "vici", plugins=PLUGINS)
        self.load()
        self.charon = self.charon._replace(
            ike_sas=tuple(
                IkeSA(one.name, number, "ESTABLISHED", *one.local_addrs, *one.remote_addrs)
                for number, one in enumerate(self.charon.connections)
            )
        )

    def happen(self, name):
        self.recorded[name] = record.read().names
        if name in self.at:
            self.at.pop(name)()

    def load(self):
        found = present.value(present.texts()).connections
        self.charon = self.charon._replace(
            connections=tuple(
                LoadedConnection(name, (one["left"],), (one["right"],))
                for name, one in found.items()
                if one["auto"] != HELD
            )
        )

    def update(self, timeout=0, changed=()):
        self.happen("update")
        self.load()

    def settings(self, charondebug):
        pass

    def reread(self):
        pass

    def observe_if_running(self):
        return self.charon

    def credentials(self, timeout=0):
        return self.loaded

    def terminate(self, ids, force=False, timeout=0):
        self.happen("terminate")
        left = tuple(sa for sa in self.charon.ike_sas if sa.uniqueid not in ids)
        self.charon = self.charon._replace(ike_sas=left)
        return {}


def wanted(peers, expected=None, **connection):
    member = read({**fleets.star(peers), "connection": connection}, HUB)
    return configuration.wanted(
        member.connections, member.fleet.settings, "hub.pem", Secret("RSA", "hub.pem"), expected=expected
    )


@pytest.fixture
def host(here, monkeypatch):
    """Return a host with two peers."""
    monkeypatch.setattr(trial, "conftest", lambda conf: None)
    monkeypatch.setattr(trial, "run", lambda directory, names: trial.Verdict(None, "no trial"))
    monkeypatch.setattr(transition, "LOADED_DEADLINE", 0)
    files.swap({path: (content, present.modes()[path]) for path, content in wanted(2).files.items()})
    return Shelf()


def apply(host, want):
    return transition.apply(want, configuration.work(want, host.observe_if_running()), host)


def test_what_leaves_is_on_record_until_its_sas_are_ended(host):
    assert apply(host, wanted(1)).changes["connections"] == {"removed": sorted(GONE)}
    assert host.recorded["terminate"] == wanted(2).names
    assert record.read() == wanted(1).record
    assert configuration.work(wanted(1), host.observe_if_running()).empty


@pytest.mark.parametrize(("call", "stale"), [("update", True), ("terminate", False)])
def test_a_change_that_was_cut_short_is_finished_by_the_next(host, call, stale):
    """All files were new by then: a connection that charon still had counted as somebody else's."""

    def end():
        raise Killed

    host.at[call] = end
    with pytest.raises(Killed):
        apply(host, wanted(1))
    assert present.names() == wanted(1).names
    assert record.read().names == wanted(2).names  # an emergency stop ends them all
    work = configuration.work(wanted(1), host.observe_if_running())
    assert (work.new_files, work.empty) == (False, False)  # so what is kept to go back to stays
    assert {*work.stale} == (GONE if stale else set())
    assert {*work.outdated} == GONE
    apply(host, wanted(1))
    assert {sa.name for sa in host.charon.ike_sas} == wanted(1).names
    assert record.read() == wanted(1).record
    assert configuration.work(wanted(1), host.observe_if_running()).empty


@pytest.mark.parametrize("known", [True, False])
def test_a_hold_that_is_taken_meanwhile_is_undone_by_nothing(host, known):
    """charon lacked what was held, so the files of before came back, and with them all that was down."""
    want, now = wanted(2, margintime="7m"), datetime.now(timezone.utc)

    def down():
        if known:  # charon has taken all up before
            host.load()
        holdfile.take(Hold("ada", now, "T1", None, Scope()), want.record.connections, now)

    host.at["update"] = down
    found = apply(host, want)
    assert found.overtaken
    assert found.changes == {"all connections": {"margintime": {"old": "13m", "new": "7m"}}}
    there = present.connections()
    assert there.defaults["margintime"] == "7m"
    assert {one["auto"] for one in there.connections.values()} == {HELD}
    assert host.charon.ike_sas and "terminate" not in host.recorded


def test_a_hold_that_is_taken_at_the_end_is_told_as_well(host):
    """The way back did not look, and lost what was wanted by then."""
    want, now = wanted(1), datetime.now(timezone.utc)
    connections = want.record.connections
    host.at["terminate"] = lambda: holdfile.take(Hold("ada", now, "T1", None, Scope()), connections, now)
    found = apply(host, want)
    assert found.overtaken
    assert found.changes["connections"] == {"removed": sorted(GONE)}
    assert found.done[-1] == "2 IKE SA(s) of removed or changed connections ended"
    assert {one["auto"] for one in present.connections().connections.values()} == {HELD}
    assert record.read() == want.record


def test_a_change_that_only_left_its_mark_on_the_record_is_finished(host):
    """It was cut short as the last SA was ended."""
    work = configuration.work(wanted(1), host.observe_if_running())
    apply(host, wanted(1))
    content, _ = transition._contents(wanted(1), work)[present.paths.here.record]
    files.replace(present.paths.here.record, content, 0o644)
    assert configuration.work(wanted(1), host.observe_if_running()).as_changes() == {"mesh.json": "rewritten"}
    apply(host, wanted(1))
    assert configuration.work(wanted(1), host.observe_if_running()).empty


def test_a_record_that_cannot_be_finished_is_a_warning(host, monkeypatch):
    def full(path, content, mode):
        raise HostIPsecError(f"{path}: No space left on device")

    monkeypatch.setattr(transition.files, "replace", full)
    (*_, warning) = apply(host, wanted(1)).warnings
    assert warning.startswith("connections that are gone stay on record: ")
    assert warning.endswith("mesh.json: No space left on device")


def test_the_record_is_as_before_where_charon_does_not_take_the_change(host):
    def refuse():
        raise HostIPsecError("it does not")

    host.at["update"] = refuse
    with pytest.raises(ConfigError, match="it does not; the last good configuration is back"):
        apply(host, wanted(1))
    assert record.read() == wanted(2).record
    assert present.names() == wanted(2).names


def test_a_damaged_record_is_written_anew(here, host):
    here.record.write_text("{")
    work = configuration.work(wanted(2), host.observe_if_running())
    assert work.as_changes() == {"mesh.json": "rewritten"}
    apply(host, wanted(2))
    assert record.read() == wanted(2).record


# What charon has loaded ----------------------------------------------------------------------

LACKING = {
    "certificate": (LOADED._replace(certificates=frozenset()), "this host's certificate"),
    "key": (LOADED._replace(with_key=frozenset()), "the private key of this host's certificate"),
    "CA": (LOADED._replace(authorities=frozenset({"3/ee"})), "the CA CN=CA"),
}


def test_charon_is_asked_whether_it_has_certificate_key_and_cas(host):
    assert apply(host, wanted(1, EXPECTED)).changes


@pytest.mark.parametrize("what", LACKING)
def test_what_charon_has_not_loaded_brings_back_what_ran_before(host, what):
    """Connections alone were looked at: charon drops a certificate that it cannot read, and loads them."""
    host.loaded, said = LACKING[what]
    with pytest.raises(
        ConfigError, match=f"charon does not load {said} from .*; the last good conf"
    ) as raised:
        apply(host, wanted(1, EXPECTED))
    assert len(str(raised.value).splitlines()) == 1
    assert record.read() == wanted(2).record


@pytest.mark.parametrize("what", LACKING)
def test_what_a_charon_on_trial_has_not_loaded_changes_nothing(host, what, monkeypatch):
    loaded, said = LACKING[what]
    connections = wanted(1).connections
    there = tuple(
        LoadedConnection(one.name, (str(one.left),), (str(one.right),), one.leftid) for one in connections
    )
    charon = host.charon._replace(connections=there)
    monkeypatch.setattr(trial, "run", lambda directory, names: trial.Verdict(charon, loaded=loaded))
    with pytest.raises(ConfigError, match=f"a charon on trial does not load {said} from"):
        apply(host, wanted(1, EXPECTED))
    misnamed = tuple(one._replace(local_id="CN=another") for one in there)
    charon = charon._replace(connections=misnamed)
    monkeypatch.setattr(trial, "run", lambda directory, names: trial.Verdict(charon, loaded=LOADED))
    with pytest.raises(
        ConfigError, match=r"takes another identity for this host, .*: 'CN=another' in place of"
    ):
        apply(host, wanted(1, EXPECTED))
    assert "update" not in host.recorded


def test_where_every_connection_is_held_the_certificate_is_not_loaded():
    held = frozenset(wanted(1).names)
    assert configuration.unloaded(wanted(1, EXPECTED), Loaded(authorities=LOADED.authorities))
    member = read(fleets.star(1), HUB)
    secret = Secret("RSA", "hub.pem")
    want = configuration.wanted(
        member.connections, member.fleet.settings, "hub.pem", secret, held, expected=EXPECTED
    )
    assert configuration.unloaded(want, Loaded(authorities=LOADED.authorities)) == ()
