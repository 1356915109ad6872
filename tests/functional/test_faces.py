"""The faces that show a host, side by side: from the same look each tells the same.

charon and the kernel are played; the record, the hold and the certificate are files.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pytest
from minions import HOST, NOW

import authorities
from hostipsec import paths
from hostipsec.charon import charon
from hostipsec.emergency import comeback
from hostipsec.emergency.host import Host
from hostipsec.errors import CharonError, HostIPsecError
from hostipsec.faces import metrics
from hostipsec.health import look as looks
from hostipsec.health import observation, repair
from hostipsec.health.report import CARRYING, SEVERITIES
from hostipsec.health.sample import parse
from hostipsec.kernel import kernel
from hostipsec.kernel.kernel import KernelError
from hostipsec.model import Charon, ChildSA, IkeSA, Kernel, KernelPolicy, KernelState, LoadedConnection
from hostipsec.paths import Paths
from hostipsec.pillar import membership
from hostipsec.programs import check, ipsec_global, keeper
from hostipsec.proof import probe, verification
from hostipsec.proof.verdict import Replies
from hostipsec.store import hold, record, samples
from hostipsec.store.hold import Hold, Scope
from hostipsec.store.record import Record
from hostipsec.strongswan import render
from hostipsec.system import processes
from hostipsec.system.processes import Result

CERTIFICATE = f"{HOST}.pem"
SILENT = "charon cannot be reached: no vici"
UNREAD = "ip -s xfrm state list nokeys: status 1, Operation not permitted; needs root and iproute2"


def raising(error):
    """Return a function that cannot do what it is asked."""

    def observe(*_, **__):
        raise error

    return observe


def shown(state, severity, reason):
    """Return what all faces show of a connection; where it is well one tells details, the others none."""
    return state, severity, "" if severity == "ok" else reason


def verdicts(found):
    """Return {name: (state, severity, reason)}."""
    rows = found["connections"].items()
    return {name: shown(row["state"], row["severity"], row["reason"]) for name, row in rows}


class Faces:
    """A host of the example fleet, all of whose connections are established, and whoever shows it."""

    def __init__(self, minion, data, monkeypatch, capsys):
        self.minion, self.monkeypatch, self.capsys = minion, monkeypatch, capsys
        self.connections = membership.read(data, HOST).connections
        paths.here.record.write_text(record.render(Record(self.connections)))
        self.conf("")
        self.play(charon, "observe", lambda *_, **__: self.charon())
        self.play(kernel, "observe", lambda *_, **__: self.kernel())

    def play(self, module, name, value):
        self.monkeypatch.setattr(module, name, value)

    def conf(self, options):
        paths.here.conf.write_text(f"{render.HEADER}conn %default\n{options}")

    def charon(self):
        sas = []
        for number, one in enumerate(self.connections, 1):
            spis = {"spi_in": f"{number:08x}", "spi_out": f"{number + 100:08x}"}
            child = ChildSA(one.name, "INSTALLED", "TRANSPORT", number, reqid=number, **spis)
            ends = (str(one.left), str(one.right))
            sas.append(IkeSA(one.name, number, "ESTABLISHED", *ends, children=(child,)))
        loaded = tuple(LoadedConnection(one.name) for one in self.connections)
        return Charon("5.9.8", "vici", 99, connections=loaded, ike_sas=tuple(sas))

    def kernel(self):
        states, policies = [], []
        for number, one in enumerate(self.connections, 1):
            left, right = str(one.left), str(one.right)
            for src, dst, spi in ((right, left, number), (left, right, number + 100)):
                states.append(KernelState(src, dst, f"{spi:08x}", "transport", number, algorithm="gcm"))
            policies += [KernelPolicy(left, right, "out", 1, reqid=number)]
            policies += [KernelPolicy(right, left, "in", 1, reqid=number)]
        return Kernel(tuple(states), tuple(policies))

    # what each shows: {name: (state, severity, reason)}

    def module(self):
        found = self.minion.call("ipsec.status")
        return found, verdicts(found)

    def command(self, *arguments):
        """Return exit status, and what is printed: as JSON, and for eyes."""
        self.play(ipsec_global.os, "geteuid", lambda: 0)
        status = ipsec_global.main(["status", "--json", *arguments])
        found = json.loads(self.capsys.readouterr().out)
        assert ipsec_global.main(["status", *arguments]) == status
        return status, found, self.capsys.readouterr().out.splitlines()

    def plugin(self, *arguments):
        """Return exit status, and what the plugin says as JSON; for eyes it says the same."""
        self.play(check, "PAUSE", 0.0)
        status = check.main(["--json", *arguments])
        found = json.loads(self.capsys.readouterr().out)
        assert check.main(arguments) == status
        said, _, data = self.capsys.readouterr().out.rstrip("\n").partition(" | ")
        assert said.startswith(f"IPSEC {found['status']} - ")
        assert "\n" not in data
        return status, found, said

    def verify(self):
        self.play(probe, "Prober", lambda _: Prober())
        for name in ("send", "collect"):
            self.play(probe, name, lambda *_: None)
        found = verification.run(self.connections, verification.Asked())
        return {
            one.tunnel.name: shown(one.tunnel.state, one.tunnel.severity, one.tunnel.reason)
            for one in found.proofs
        }

    def up(self):
        found = comeback.up(self.connections, Scope(), "ada", 0, host=Idle())
        return {row.name: shown(row.state, row.severity, row.reason) for row in found.connections}

    def sample(self):
        """Return the verdict in the sample that the keeper leaves."""
        keeping = keeper.Keeper()
        keeping.parts = keeping.later = {}  # nothing is repaired
        keeping.once()
        rows = samples.read()["connections"]
        return {row["name"]: (row["state"], row["severity"]) for row in rows}

    def metrics(self):
        """Return the verdict by what the metrics of that sample say."""
        told = metrics.families(metrics.seen(samples.read(), time.time()))
        series = {one.metric.name: dict(one.series) for one in told}
        states = [state for labels, n in series["ipsec_connections"].items() for state in [labels[1]] * n]
        ups = series["ipsec_connection_up"]
        assert sum(ups.values()) == sum(state in CARRYING for state in states)
        found = parse(samples.read())
        assert series["ipsec_severity"][(found.site,)] == SEVERITIES.index(found.severity)
        assert sorted(states) == sorted(one.state for one in found.connections)
        return {one.name: (one.state, one.severity) for one in found.connections}

    def all_say(self):
        """Return the verdict that all give."""
        _, verdict = self.module()
        _, found, _ = self.command()
        assert verdicts(found) == verdict
        _, found, _ = self.plugin()
        assert verdicts(found) == verdict
        assert self.verify() == verdict
        assert self.up() == verdict
        assert (
            self.sample()
            == self.metrics()
            == {name: (state, severity) for name, (state, severity, _) in verdict.items()}
        )
        seen = observation.observe()
        free = {row.name for row in repair.verdicts(seen, looks.judged(seen))}
        held = {one.name for one in self.connections} - free
        assert held == {name for name, (_, _, reason) in verdict.items() if "held since" in reason}
        return verdict


class Idle(Host):
    """This host, on which a comeback changes nothing."""

    def lift(self, *_):
        return self.holds()

    def pids(self, *_):
        return (1,)

    def initiate(self, *_):
        return {}

    def update(self, *_):
        pass

    def guard(self, *_):
        pass

    def follow(self, *_):
        pass


class Prober:
    """Sends nothing."""

    mark = b""

    def restart(self):
        pass

    def close(self):
        pass

    def replies(self, _):
        return Replies(0)


@pytest.fixture
def faces(minion, data, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(paths, "here", Paths(tmp_path / "host"))
    for directory in (paths.here.state, paths.here.run, paths.here.ipsec_d / "certs"):
        directory.mkdir(parents=True)
    return Faces(minion, data, monkeypatch, capsys)


def one(verdict):
    """Return the verdict that all connections have."""
    (found,) = set(verdict.values())
    return found


def test_all_is_well(faces):
    assert one(faces.all_say()) == ("established", "ok", "")
    found, _ = faces.module()
    assert (faces.minion.retcode, found["warnings"], found["certificate"]) == (0, [], None)
    status, plain, lines = faces.command()
    assert (status, plain["warnings"], plain["certificate"], len(lines)) == (0, [], None, 1)
    status, _, said = faces.plugin()
    assert (status, said) == (0, "IPSEC OK - 6 connections: 6 established")


def test_a_held_connection(faces):
    """verify said that a tunnel is down where the others said that it is held, by whom and why."""
    when = datetime(2026, 11, 24, 4, 50, tzinfo=timezone.utc)
    paths.here.hold.write_text(hold.render([Hold("ada", when, "T195365")]))
    faces.play(charon, "observe", lambda *_, **__: faces.charon()._replace(ike_sas=(), connections=()))
    faces.play(kernel, "observe", lambda *_, **__: Kernel())
    said = "since 2026-11-24 04:50 UTC by ada because T195365"
    assert one(faces.all_say()) == ("held", "warning", f"held {said}")
    found, _ = faces.module()
    status, plain, lines = faces.command()
    assert (found["held"], plain["held"], lines[0]) == (said, said, f"held {said}")
    assert (faces.minion.retcode, status) == (1, 1)
    status, _, line = faces.plugin()
    assert (status, said in line) == (1, True)


def test_a_hold_that_cannot_be_read(faces):
    """What is up stays so, and no status is well; it was read as "all held", and all was ended."""
    paths.here.hold.write_text("{")
    assert one(faces.all_say()) == ("established", "ok", "")
    found, _ = faces.module()
    assert (found["ok"], found["summary"]["severity"], faces.minion.retcode) == (False, "critical", 1)
    assert found["warnings"][0].startswith("hold.json cannot be read (")
    status, plain, lines = faces.command()
    assert (status, plain["warnings"]) == (1, found["warnings"])
    assert lines[-1] == f"WARNING: {found['warnings'][0]}"
    status, _, line = faces.plugin()
    assert (status, found["warnings"][0] in line) == (2, True)


def test_a_charon_that_does_not_answer(faces):
    faces.play(charon, "observe", raising(CharonError(SILENT)))
    said = "charon does not answer; the kernel still holds 2 SA(s) of it"
    assert one(faces.all_say()) == ("down", "critical", said)
    found, _ = faces.module()
    status, plain, lines = faces.command()
    assert (faces.minion.retcode, status) == (1, 1)
    assert found["warnings"] == plain["warnings"] == [SILENT]
    assert lines[0].endswith("; charon does not answer")
    status, _, line = faces.plugin("-c", "100")
    assert (status, line.partition(";")[0]) == (2, f"IPSEC CRITICAL - charon does not answer ({SILENT})")
    assert lines[-1] == f"WARNING: {SILENT}"


def test_a_kernel_that_cannot_be_read(faces):
    """``ipsec-global`` said nothing of it."""
    faces.play(kernel, "observe", raising(KernelError(UNREAD)))
    found, verdict = faces.module()
    assert one(verdict) == ("established", "ok", "")  # by charon's word; nothing was compared with the kernel
    assert (found["ok"], found["summary"]["severity"]) == (False, "warning")
    status, plain, lines = faces.command()
    assert (faces.minion.retcode, status) == (1, 1)
    assert found["warnings"] == plain["warnings"] == [UNREAD]
    assert lines[-1] == f"WARNING: {UNREAD}"
    status, _, line = faces.plugin()
    assert (status, line.partition(";")[0]) == (3, f"IPSEC UNKNOWN - {UNREAD.partition(';')[0]}")
    with pytest.raises(HostIPsecError, match="Operation not permitted"):  # whose counters would prove it
        faces.verify()


@pytest.mark.parametrize(
    ("left", "severity", "said"),
    [
        (timedelta(days=9, hours=1), "warning", "certificate expires in 9 days"),
        (timedelta(hours=-1), "critical", "certificate expired on "),
        (timedelta(days=99, hours=1), "ok", "certificate expires in 99 days"),
    ],
)
def test_a_certificate_that_is_about_to_expire(faces, ca, left, severity, said):
    """``ipsec-global status`` did not know of certificates."""
    issued = authorities.host(f"CN={HOST}", NOW, ca, until=left + timedelta(minutes=9))
    (paths.here.ipsec_d / "certs" / CERTIFICATE).write_bytes(issued.pem)
    faces.conf(f"    leftcert={CERTIFICATE}\n")
    assert one(faces.all_say()) == ("established", "ok", "")
    found, _ = faces.module()
    status, plain, lines = faces.command()
    assert (faces.minion.retcode, status) == ((0, 0) if severity == "ok" else (1, 1))
    assert found["summary"]["severity"] == found["certificate"]["severity"] == severity
    assert plain["certificate"]["severity"] == severity
    assert plain["certificate"]["not_after"] == found["certificate"]["not_after"]
    assert plain["certificate"]["sentence"] in found["certificate"]["sentence"]
    assert found["certificate"]["sentence"].startswith(said)
    warned = [line for line in lines if line.startswith(f"{severity.upper()}: {said}")]
    assert len(warned) == (severity != "ok")
    status, _, line = faces.plugin()
    assert (status, said in line) == (("ok", "warning", "critical").index(severity), severity != "ok")


def test_the_warning_begins_where_the_pillar_says(faces, ca):
    """``ipsec-global`` warned from 30 days on, whatever the pillar says."""
    issued = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=40))
    (paths.here.ipsec_d / "certs" / CERTIFICATE).write_bytes(issued.pem)
    faces.conf(f"    leftcert={CERTIFICATE}\n")
    assert faces.command()[0] == 0
    paths.here.record.write_text(record.render(record.read()._replace(warn_days=60)))
    status, plain, lines = faces.command()
    assert (status, plain["certificate"]["severity"]) == (1, "warning")
    assert [line for line in lines if line.startswith("WARNING: certificate expires in ")] != []


def test_a_kernel_that_lacks_what_charon_has(faces):
    """``up`` said that a connection is up where the others said that the kernel has lost it."""
    faces.play(kernel, "observe", lambda *_, **__: Kernel())
    assert {found[:2] for found in faces.all_say().values()} == {("no xfrm", "critical")}


def test_a_certificate_that_is_not_there(faces):
    faces.conf(f"    leftcert={CERTIFICATE}\n")
    said = f"{paths.here.ipsec_d}/certs/{CERTIFICATE}: is named in ipsec.conf, and is not there"
    found, _ = faces.module()
    status, plain, _ = faces.command()
    assert found["warnings"] == plain["warnings"] == [said]
    assert (found["certificate"], plain["certificate"]) == (None, None)
    assert (found["summary"]["severity"], faces.minion.retcode, status) == ("warning", 1, 1)
    status, _, line = faces.plugin()
    assert (status, line.partition(";")[0]) == (3, f"IPSEC UNKNOWN - {said}")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Result(0, "active\n"), ""),
        (Result(3, "failed\n"), "hostipsec-keeper.service does not run (failed)"),
        (Result(3, "activating\n"), "hostipsec-keeper.service does not run (activating)"),
        (Result(4, "inactive\n"), "hostipsec-keeper.service does not run (inactive)"),
        (
            Result(127, "", "systemctl: No such file"),
            "hostipsec-keeper.service does not run (systemctl: No such file)",
        ),
    ],
)
def test_a_keeper_that_does_not_run(faces, result, said):
    """Nothing said so."""
    paths.here.systemd.mkdir(parents=True)
    faces.play(processes, "run", lambda argv, timeout: result if argv[0] == "systemctl" else Result(127, ""))
    found, verdict = faces.module()
    assert one(verdict) == ("established", "ok", "")
    status, _, lines = faces.command()
    assert (faces.minion.retcode, status) == ((1, 1) if said else (0, 0))
    assert [text.startswith(said) for text in found["warnings"]] == ([True] if said else [])
    assert found["problems"] == found["warnings"]
    assert any(line.startswith(f"WARNING: {said}") for line in lines) is bool(said)
    assert faces.plugin()[0] == (1 if said else 0)


def test_a_peer_in_maintenance(faces, data):
    """What is left of it was no trouble by the pillar, and trouble for whoever has the record alone."""
    data["hosts"]["cp3001.esams.example"]["maintenance"] = True
    faces.minion.pillar(data)
    there = membership.read(data, HOST)
    paths.here.record.write_text(record.render(Record(there.connections, resting=there.resting)))
    assert record.read().resting == there.resting != ()
    left = {one.name for one in there.resting}
    found, _ = faces.module()
    status, plain, _ = faces.command()
    shown = {name: row["severity"] for name, row in plain["unmanaged"].items()}
    assert shown == dict.fromkeys(left, "ok")
    assert {row["severity"] for row in found["unmanaged"].values()} == {"ok"}
    assert (faces.minion.retcode, status, set(found["unmanaged"])) == (0, 0, left)
    status, _, said = faces.plugin()
    assert (status, said.partition("; 2 connections in maintenance: ")[2]) == (0, ", ".join(sorted(left)))
