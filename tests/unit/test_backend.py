"""A host that runs by swanctl: the engine finds on its disk by what it runs, and everything else there."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest

import authorities
import fleets
from hostipsec import paths
from hostipsec.apply import configuration, existing, rollback
from hostipsec.certificates.copies import Destination
from hostipsec.charon import charon, process
from hostipsec.emergency import loading, loglevel
from hostipsec.errors import CharonError, HostIPsecError, PillarError
from hostipsec.model import Charon, LoadedConnection
from hostipsec.pillar import pillar
from hostipsec.pillar.membership import read
from hostipsec.store import certificate, generations, hold, holdfile, present, record
from hostipsec.strongswan import autos, difference, parse, swanctl
from hostipsec.strongswan.difference import Difference
from hostipsec.strongswan.sections import Secret
from hostipsec.system import backend, files, packages, platforms, ports, service

HUB = "hub.core.example"
NOW = datetime(2026, 11, 24, 20, 0, tzinfo=timezone.utc)
BACKENDS = ("ipsec.conf", "swanctl")
DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'
DEBIAN_13 = 'ID=debian\nVERSION_ID="13"\n'


def wanted(peers=2, by="swanctl", **more):
    member = read({**fleets.star(peers), **more}, HUB)
    secret = Secret("RSA", "hub.pem")
    return configuration.wanted(member.connections, member.fleet.settings, "hub.pem", secret, backend=by)


def run(want):
    for path in want.files:
        path.parent.mkdir(parents=True, exist_ok=True)
    files.swap({path: (content, present.modes()[path]) for path, content in want.files.items()})
    return want


@pytest.fixture(params=BACKENDS)
def by(request, here):
    """Return a back end, on a host that runs by it."""
    run(wanted(by=request.param))
    return request.param


@pytest.mark.parametrize("by", BACKENDS)
def test_what_is_only_blocked_keeps_bypass_lan_out_as_well(by):
    """A peer in maintenance has no connection here, and nothing goes to it in the clear."""
    data = fleets.star(1)
    data["rules"][0]["stage"] = "require"
    data["hosts"]["edge0001.edge.example"]["maintenance"] = True
    member = read(data, HUB)
    assert member.barred and not member.connections
    named = (member.connections, member.fleet.settings, "hub.pem", Secret("RSA", "hub.pem"))
    value = configuration.wanted(*named, barred=member.barred, backend=by).configuration
    assert difference.flat(value.strongswan)["charon.plugins.bypass-lan.load"] == "no"


# The pillar ----------------------------------------------------------------------------------


def test_what_is_not_said_is_ipsec_conf():
    assert read(fleets.star(1), HUB).backend == "ipsec.conf"


def test_a_host_may_differ_from_the_fleet():
    data = {**fleets.star(2), "backend": "auto"}
    data["hosts"][HUB]["backend"] = "swanctl"
    assert read(data, HUB).backend == "swanctl"
    other = next(name for name in data["hosts"] if name != HUB)
    assert read(data, other).backend == "auto"


@pytest.mark.parametrize("wrong", ["starter", "", None, 5, ["swanctl"]])
def test_another_word_is_refused_with_those_that_there_are(wrong):
    for data in ({**fleets.star(1), "backend": wrong}, fleets.star(1)):
        if "backend" not in data:
            data["hosts"][HUB]["backend"] = wrong
        with pytest.raises(PillarError, match=r"backend: found .*; allowed: ipsec\.conf, swanctl, auto"):
            pillar.read(data)


def test_auto_leaves_what_runs_and_takes_what_a_release_has_where_nothing_is(here):
    here.os_release.parent.mkdir(parents=True, exist_ok=True)
    assert backend.chosen("auto") == "ipsec.conf"
    here.os_release.write_text(DEBIAN_12)
    assert backend.chosen("auto") == "ipsec.conf"
    here.os_release.write_text(DEBIAN_13)
    assert backend.chosen("auto") == "ipsec.conf"  # an init of scripts has none for charon-systemd
    here.systemd.mkdir(parents=True)
    assert backend.chosen("auto") == "swanctl"
    assert [backend.chosen(one) for one in BACKENDS] == [*BACKENDS]
    here.starter.parent.mkdir(parents=True)
    here.starter.write_text("")
    assert backend.chosen("auto") == "ipsec.conf"
    run(wanted())
    here.os_release.write_text(DEBIAN_12)
    assert backend.chosen("auto") == "swanctl"


# The release ---------------------------------------------------------------------------------


@pytest.mark.parametrize("release", [12, 13])
def test_packages_and_unit_are_those_of_the_back_end(release):
    found = platforms.platform("Debian", release, systemd=True, backend="swanctl")
    assert found.service == "strongswan"
    assert "charon-systemd" in found.packages
    assert not {"strongswan-starter", "strongswan-charon"} & {*found.packages}


@pytest.mark.parametrize(
    ("os_", "release", "systemd"), [("Debian", 11, True), ("Ubuntu", 24, True), ("Debian", 12, False)]
)
def test_where_it_was_not_run_it_is_refused(os_, release, systemd):
    with pytest.raises(
        HostIPsecError, match=r"found swanctl on .*; it is for Debian 12, Debian 13, with systemd"
    ):
        platforms.platform(os_, release, systemd, "swanctl")


# What stands on disk -------------------------------------------------------------------------


def test_the_files_tell_by_what_a_host_runs(here, by):
    assert backend.here() == by
    assert present.conf() == (here.swanctl if by == "swanctl" else here.conf)
    want = wanted(by=by)
    assert present.names() == want.names
    assert present.certificate() == "hub.pem"
    assert difference.between(present.value(present.texts()), want.configuration).empty
    assert present.meant().mode == "transport"
    assert generations.files_in_use() == {"hub.pem"}
    assert generations.was_here()


def test_both_mean_the_same():
    one, other = (wanted(by=each).configuration for each in BACKENDS)
    assert other == swanctl.settled(one)


def test_an_ipsec_conf_of_another_is_nothing_to_a_host_that_runs_by_swanctl(here):
    want = run(wanted())
    here.conf.write_text("conn theirs\n    auto=add\n")
    assert here.conf not in present.texts()
    assert configuration.work(want, None).difference.empty


def test_what_is_on_disk_of_the_other_back_end_is_not_compared(here):
    here.conf.write_text("conn theirs\n    auto=add\n")
    found = configuration.work(wanted(), None).difference
    assert found.new
    assert not found.removed


def test_certificates_are_where_the_back_end_has_them(here, by):
    names = {"ipsec.conf": ("certs", "cacerts", "crls"), "swanctl": ("x509", "x509ca", "x509crl")}[by]
    top = backend.top()
    assert top == (here.swanctl_d if by == "swanctl" else here.ipsec_d)
    place = Destination(str(top), HUB)
    assert (place.certs, place.cacerts, place.crls) == tuple(f"{top}/{name}" for name in names)
    assert place.private == f"{top}/private"
    (top / names[0]).mkdir(parents=True)
    ca = authorities.authority("CN=CA", NOW)
    (top / names[0] / "hub.pem").write_bytes(authorities.host("CN=hub", NOW, ca).pem)
    assert certificate.in_use().name == "hub.pem"


def test_without_a_record_the_files_tell_of_the_connections(here, by):
    here.record.unlink()
    found = record.found()
    assert found.guessed
    assert found.record.names == wanted(by=by).names
    assert {one.stage for one in found.record.connections} == {"passive"}


# Holds ---------------------------------------------------------------------------------------


def test_a_hold_keeps_its_connections_out_and_lifting_it_brings_them_back(here, by):
    connections = wanted().record.connections
    before = present.conf().read_bytes()
    held = connections[0].name
    one = hold.Hold("me", NOW, "why", None, hold.Scope(connection=held))
    holdfile.take(one, connections, NOW)
    kept_out = {name for name, one in present.connections().connections.items() if one["auto"] == "ignore"}
    assert held in kept_out
    assert present.names() == {one.name for one in connections}
    holdfile.lift(hold.Lift("me", NOW, one.scope), connections, NOW)
    assert present.conf().read_bytes() == before
    holdfile.ignore(connections)
    assert {one["auto"] for one in present.connections().connections.values()} == {"ignore"}


def test_a_file_of_which_there_is_a_part_stays_and_the_hold_is_kept(here):
    """swanctl loads nothing of it as it is; written anew it would have lost connections."""
    want = run(wanted(3))
    text = here.swanctl.read_text()
    here.swanctl.write_text(text[: len(text) // 2])
    with pytest.raises(HostIPsecError, match="is damaged, and loads nothing"):
        holdfile.ignore(want.record.connections)
    one = hold.Hold("me", NOW, "why", None, hold.Scope())
    holdfile.take(one, want.record.connections, NOW)
    assert {*holdfile.held(want.record.connections, NOW)} == want.names
    assert here.swanctl.read_text() == text[: len(text) // 2]


def test_a_file_that_somebody_edited_is_written_anew_with_all_of_its_connections(here):
    want = run(wanted(3))
    here.swanctl.write_text(here.swanctl.read_text() + "# a remark\nx y z\n")
    holdfile.ignore(want.record.connections)
    assert swanctl.intact(here.swanctl.read_text())
    assert present.names() == want.names
    assert {one["auto"] for one in present.connections().connections.values()} == {"ignore"}


def test_what_a_hold_changes_is_what_the_renderer_writes(here):
    want = run(wanted(3))
    names = sorted(want.names)
    text = autos.changed(here.swanctl.read_text(), {names[0]: "ignore"}, "swanctl")
    member = read(fleets.star(3), HUB)
    named = ("hub.pem", Secret("RSA", "hub.pem"), frozenset(names[:1]))
    held = configuration.wanted(member.connections, member.fleet.settings, *named, backend="swanctl")
    assert text == swanctl.conf(held.configuration)


# Back ----------------------------------------------------------------------------------------


def test_going_back_means_the_files_of_before(here, by):
    before, after = wanted(2, by), wanted(3, by, connection={"margintime": "5m"})
    rollback.keep(after, "", NOW)
    run(after)
    back = rollback.wanted(generations.previous())
    assert back.files == before.files
    assert back.configuration.backend == by


def test_a_host_that_was_no_member_goes_back_to_no_connections(here):
    want = wanted()
    rollback.keep(want, "", NOW)
    back = rollback.wanted(generations.previous())
    assert (back.connections, {*back.files}) == ((), {*want.files})


# Not two daemons -----------------------------------------------------------------------------


@pytest.fixture
def quiet(here, monkeypatch):
    monkeypatch.setattr(packages, "strange", frozenset)
    monkeypatch.setattr(ports, "strangers", lambda *_: ())
    return here


def member(by, **more):
    return read({**fleets.star(2), "backend": by, **more}, HUB)


@pytest.mark.parametrize("runs", BACKENDS)
def test_a_host_that_runs_is_not_moved(quiet, runs):
    """Unless its pillar names the other back end."""
    run(wanted(by=runs))
    for same in (runs, "auto"):
        assert existing.obstacles(member(same)) == []
        assert not present.moves(backend.chosen(same))


@pytest.mark.parametrize(("runs", "asked"), [BACKENDS, BACKENDS[::-1]])
def test_a_host_that_runs_moves(quiet, runs, asked):
    """Between two back ends an edit is what it is in one: nothing else is told as a change."""
    run(wanted(by=runs))
    assert existing.obstacles(member(asked)) == []
    found = configuration.work(wanted(by=asked), None).difference
    assert found == Difference(backend=(runs, asked))
    assert found.as_changes() == {"backend": f"{runs} -> {asked}"}
    assert found.restart_reasons(()) == (f"backend: {runs} -> {asked}",)
    edited = configuration.work(wanted(by=asked, connection={"dpddelay": "7s"}), None).difference
    assert {*edited.defaults} == {"dpddelay"}
    assert not (edited.added or edited.removed or edited.changed)


@pytest.mark.parametrize(("runs", "asked"), [BACKENDS, BACKENDS[::-1]])
def test_what_others_wrote_for_the_one_back_end_does_not_go_along(quiet, runs, asked):
    run(wanted(by=runs))
    theirs = {"swanctl": quiet.swanctl_d / "conf.d/theirs.conf", "ipsec.conf": quiet.conf}[runs]
    there = theirs.read_text() if theirs.exists() else ""
    theirs.write_text(there + {"swanctl": THEIRS, "ipsec.conf": "conn theirs\n    auto=add\n"}[runs])
    assert [
        said
        for said in existing.obstacles(member(asked))
        if f"runs by {runs}, with what others wrote there ({theirs}" in said and "would not go along" in said
    ]
    assert existing.obstacles(member("auto", existing="keep")) == []


def test_neither_charon_is_a_stranger_to_a_host_that_moves(quiet, monkeypatch):
    by = {"swanctl": ("a starter's charon", "x"), "ipsec.conf": ("charon-systemd", "x")}
    monkeypatch.setattr(ports, "strangers", lambda _numbers, runs: by[runs])
    run(wanted(by="ipsec.conf"))
    (said,) = existing.obstacles(member("swanctl"))
    assert said.startswith("x; ")


def test_a_starter_that_is_installed_is_a_second_daemon(quiet):
    quiet.starter.parent.mkdir(parents=True)
    quiet.starter.write_text("")
    (said,) = existing.obstacles(member("swanctl"))
    assert "purge packages strongswan-starter and strongswan-charon" in said
    assert existing.obstacles(member("auto")) == existing.obstacles(member("ipsec.conf")) == []


@pytest.mark.parametrize("name", ["strongswan-starter", "strongswan-charon"])
def test_a_starter_that_the_pillar_asks_for_is_a_second_daemon(quiet, name):
    (said,) = existing.obstacles(member("swanctl", packages=[name]))
    assert said.startswith(f"ipsec:packages: found {name}, and ipsec:backend swanctl; expected neither")
    assert existing.obstacles(member("ipsec.conf", packages=[name])) == []


def test_who_holds_the_ports_is_asked_for_the_back_end_that_is_wanted(here, monkeypatch):
    asked = []
    monkeypatch.setattr(packages, "strange", frozenset)
    monkeypatch.setattr(ports, "strangers", lambda numbers, by: (asked.append(by), ["x holds 500"])[1])
    (said,) = existing.obstacles(member("swanctl"))
    assert said.startswith("x holds 500; a host has one IKE daemon")
    assert asked == ["swanctl"]


def test_without_vici_it_cannot_be_told_anything(quiet):
    (said,) = existing.obstacles(member("swanctl", vici=False))
    assert said.startswith("ipsec:vici: found false")


THEIRS = "connections {\n  theirs {\n  }\n}\n"


@pytest.mark.parametrize("where", ["conf.d/theirs.conf", "swanctl.conf"])
def test_what_others_told_swanctl_is_not_taken_over_unasked(quiet, where):
    quiet.swanctl.parent.mkdir(parents=True)
    (quiet.swanctl_d / where).write_text(THEIRS)
    (said,) = existing.obstacles(member("swanctl"))
    assert where in said
    assert existing.obstacles(member("swanctl", existing="keep")) == []
    (said,) = existing.obstacles(member("swanctl", existing="replace"))
    assert said.endswith("; replace is for backend ipsec.conf")
    assert existing.obstacles(member("ipsec.conf")) == []


def test_what_others_told_swanctl_is_known_as_theirs(quiet):
    run(wanted())
    (quiet.swanctl_d / "swanctl.conf").write_text(THEIRS)
    (quiet.swanctl_d / "conf.d/more.conf").write_text(THEIRS.replace("theirs", "more"))
    assert present.kept() == {"theirs", "more"}
    assert present.meant().mode == "transport"


def test_the_swanctl_conf_of_the_package_is_nothing_of_others(quiet):
    quiet.swanctl_d.mkdir(parents=True)
    (quiet.swanctl_d / "swanctl.conf").write_text("# connections {\n# }\n\ninclude conf.d/*.conf\n")
    assert existing.obstacles(member("swanctl")) == []


# charon-systemd ------------------------------------------------------------------------------


@pytest.fixture
def daemon(here):
    """Return a host that runs by swanctl, whose charon is process 8; a starter of others runs as well."""
    run(wanted())
    for pid, program in ((7, here.starter), (8, here.charon_systemd)):
        place = here.proc / str(pid)
        (place / "ns").mkdir(parents=True)
        (place / "ns/net").symlink_to("net:[1]")
        (place / "exe").symlink_to(program)
        (place / "stat").write_text(f"{pid} ({program.name}) S {' '.join(['1'] * 18)} 700 1\n")
        (place / "status").write_text("Uid:\t0\t0\t0\t0\nVmRSS:\t 12 kB\n")
    (here.proc / "self/ns").mkdir(parents=True)
    (here.proc / "self/ns/net").symlink_to("net:[1]")
    (here.proc / "stat").write_text("btime 1000\n")
    return here


def test_its_process_is_found_without_a_pid_file(daemon):
    assert service.charon_pid() == 8
    assert service.pids(service.CHARON) == service.pids(service.STARTER) == (8,)
    assert service.pids(service.STARTER, by="ipsec.conf") == (7,)
    ticks = os.sysconf("SC_CLK_TCK")
    assert process.look() == process.Process("8/700", float(1000 + 700 // ticks), 12 * 1024)
    assert backend.started() == daemon.charon_vici


def test_its_unit_is_its_own(daemon):
    daemon.systemd.mkdir(parents=True)
    daemon.unit_directories[-1].mkdir(parents=True)
    for name in ("strongswan-starter", "strongswan"):
        (daemon.unit_directories[-1] / f"{name}.service").write_text("")
    assert service.unit() == "strongswan"
    (daemon.proc / "8/cgroup").write_text("0::/system.slice/strongswan.service\n")
    assert service.astray() == ""
    (daemon.proc / "8/cgroup").write_text("0::/user.slice\n")
    assert service.astray().startswith("charon-systemd (process 8) is not in strongswan; end it")
    daemon.swanctl.unlink()
    assert service.unit() == "strongswan-starter"


def test_another_log_level_for_a_while_is_read_from_a_file_that_goes_at_once(daemon, monkeypatch):
    """Also in a log of the pillar's; what is raised already stays so."""
    run(wanted(charon={"filelog": {"main": {"path": "/var/log/charon.log", "default": "1"}}}))
    read = []
    monkeypatch.setattr(loglevel, "_pid", lambda: 8)
    monkeypatch.setattr(charon, "reload_settings", lambda: read.append(files.read(levels())))

    def levels():
        return daemon.strongswan_d / "zz-hostipsec-levels.conf"

    loglevel._raise({"ike": 2}, 5)
    loglevel._raise({"net": 3}, 5)
    assert not levels().exists()
    told = parse.strongswan_conf(read[1].decode())
    raised = {"ike": "2", "net": "3"}
    assert told == {"charon": {"filelog": {"main": raised}}, "charon-systemd": {"journal": raised}}
    loglevel.undo()
    assert read[2] is None  # the usual ones
    assert not daemon.loglevel.exists()


# Loading -------------------------------------------------------------------------------------


class Vici:
    """A charon that has connections, and notes what it is told."""

    def __init__(self, names, refuses=()):
        self.names, self.refuses = {*names}, {*refuses}
        self.loaded, self.unloaded = [], []

    def observe(self, timeout):
        return Charon("5.9.8", "vici", connections=tuple(LoadedConnection(one, (), ()) for one in self.names))

    def load(self, sections, timeout):
        self.loaded += sorted(sections)
        return {name: "invalid value" for name in sections if name in self.refuses}

    def unload(self, names, timeout):
        self.unloaded += names
        return {}


@pytest.fixture
def vici(here, monkeypatch):
    """Return a maker of such a charon, on a host whose file has the connections of two peers."""
    want = run(wanted())
    places = backend.places()
    for directory in (places.certs, places.cacerts):
        directory.mkdir(parents=True)
        (directory / "hub.pem").write_bytes(b"pem")

    def made(*names, **more):
        found = Vici(names, **more)
        monkeypatch.setattr(loading, "ViciBackend", lambda: found)
        return found

    made.names = sorted(want.names)
    return made


def test_only_what_is_missing_or_changed_is_loaded(vici):
    first, *rest = vici.names
    charon = vici(first, "theirs")
    loading.update(5)
    assert (charon.loaded, charon.unloaded) == (rest, [])
    charon = vici(*vici.names)
    loading.update(5)
    assert (charon.loaded, charon.unloaded) == ([], [])
    loading.update(5, changed=[first, "gone_v4"])
    assert (charon.loaded, charon.unloaded) == ([first], [])


def test_what_is_held_or_gone_is_unloaded_and_nothing_of_others(vici):
    connections = record.read().connections
    run(wanted(1))
    paths.here.record.write_text(record.render(record.Record(connections)))
    left = sorted(wanted(1).names)
    charon = vici(*vici.names, "theirs")
    loading.update(5)
    assert (charon.loaded, charon.unloaded) == ([], sorted({*vici.names} - {*left}))
    holdfile.ignore(connections)
    charon = vici(*left, "theirs")
    loading.update(5)
    assert (charon.loaded, charon.unloaded) == ([], left)


def test_what_charon_refuses_is_said(vici):
    first = vici.names[0]
    vici(refuses=[first])
    with pytest.raises(CharonError, match=rf"does not take 1 of our connections: {first}: invalid value"):
        loading.update(5)


def test_a_file_that_is_damaged_is_not_loaded_and_nothing_is_unloaded(vici, here):
    charon = vici(*vici.names)
    text = here.swanctl.read_text()
    for damaged in (text[: text.rindex("}\n")], text.replace("{", "", 1), text + "x y z\n", ""):
        here.swanctl.write_text(damaged)
        with pytest.raises(HostIPsecError, match=r"hostipsec\.conf is damaged or was edited"):
            loading.update(5)
    assert (charon.loaded, charon.unloaded) == ([], [])
    one = hold.Hold("me", NOW, "why", None, hold.Scope(connection=vici.names[0]))
    here.swanctl.write_text(damaged)
    holdfile.take(one, record.read().connections, datetime.now(timezone.utc))
    with pytest.raises(HostIPsecError, match=r"hostipsec\.conf is damaged or was edited"):
        loading.update(5)
    assert (charon.loaded, charon.unloaded) == ([], [vici.names[0]])


def test_a_certificate_that_is_not_there_is_named(vici, here):
    vici()
    (backend.places().certs / "hub.pem").unlink()
    with pytest.raises(HostIPsecError, match=r"x509/hub\.pem: is named in .*, and is not there"):
        loading.update(5)
