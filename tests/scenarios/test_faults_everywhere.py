"""Of each fault of a real host every face says what the judge said: its keeper runs, and Salt, and systemd.

Faces: ``ipsec-global``, the plugin, the keeper's sample, metrics as Prometheus gets them from the service
and as Graphite does, the beacon, and the page. What a kernel alone can lose is in functional tests.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleetlab.process import wait_for
from hostipsec.faces import page
from hostipsec.health.report import CARRYING, SEVERITIES
from operators import Master
from shown import NOT_WELL, OK, Faults, Shown, rows, told

pytestmark = pytest.mark.whole  # real charons and a real keeper, which takes seconds to look

HOST, HOLDER, FAR, OFF = (
    "cp1001.eqiad.example",
    "cp2001.codfw.example",
    "cp3001.esams.example",
    "cp3002.esams.example",
)
PEERS = ("cp2001", "cp3001", "cp3002")
REPORT = "/srv/report.html"
RECORD, COPY, CONF, HOLD = (
    "/var/lib/hostipsec/mesh.json",
    "/var/lib/hostipsec/mesh.copy.json",
    "/etc/ipsec.conf",
    "/var/lib/hostipsec/hold.json",
)
NUMBERS = re.compile(r" \([0-9]+ tries\)|[0-9]+ s ago")
FACES = r"""
import importlib.util, json, pathlib, subprocess, sys, tempfile, time, urllib.request
sys.path.insert(0, "/usr/local/lib/hostipsec")
from hostipsec.faces import exposition, metrics

SAMPLE = pathlib.Path("/run/hostipsec/state.json")
def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90)
    return done.returncode, done.stdout + ("" if "--json" in argv else done.stderr)
def http():
    try:
        return urllib.request.urlopen("http://127.0.0.1:9815/metrics", timeout=10).read().decode()
    except OSError as error:
        return f"# {error}"
first = SAMPLE.read_text()
found = {
    "command": run("/usr/local/sbin/ipsec-global", "status", "--json"),
    "eyes": run("/usr/local/sbin/ipsec-global", "status"),
    "plugin": run("/usr/local/lib/nagios/plugins/check_ipsec", "--json", "-t", "60"),
    "line": run("/usr/local/lib/nagios/plugins/check_ipsec", "-t", "60"),
}
end = time.monotonic() + float(sys.argv[1])
while SAMPLE.read_text() == first and time.monotonic() < end:
    time.sleep(0.2)
text = SAMPLE.read_text()
time.sleep(1.1)  # the service reads it anew once a second at most
found["http"], found["samples"] = http(), [first, text]
seen = metrics.families(metrics.seen(json.loads(text), time.time()))
found["graphite"] = exposition.graphite(seen, "host", 1.0)
with tempfile.TemporaryDirectory() as place:
    made = importlib.util.spec_from_file_location("beacon", "/var/cache/salt/minion/extmods/beacons/ipsec.py")
    beacon = importlib.util.module_from_spec(made)
    made.loader.exec_module(beacon)
    beacon.__opts__, found["events"] = {"cachedir": place}, []
    for number, one in enumerate(found["samples"]):
        path = pathlib.Path(place, f"{number}.json")
        path.write_text(one)
        found["events"] += beacon.beacon([{"sample": str(path)}])
print(json.dumps(found))
"""


END = """
import sys
sys.path.insert(0, "/usr/local/lib/hostipsec")
from hostipsec.charon.vicisession import ViciBackend
charon = ViciBackend()
charon.terminate([sa.uniqueid for sa in charon.observe().ike_sas if sa.name in sys.argv[1:]], force=True)
"""


FAULTS = Faults()


def both(*peers: str) -> tuple[str, ...]:
    """Return the names of the connections with peers."""
    return tuple(f"{peer}_{family}" for peer in peers for family in ("v4", "v6"))


class Everywhere:
    """The mesh, and one host of it that is looked at by every face."""

    def __init__(self, mesh, master) -> None:
        self.mesh, self.lab, self.master = mesh, mesh.lab, master
        self.host, self.found = self.lab.host(HOST), {}

    def sh(self, script: str, host: str = HOST, check: bool = True) -> str:
        return self.lab.host(host).run(["sh", "-c", script], check=check).stdout

    @contextlib.contextmanager
    def changed(self, path: str, text: str, mode: int = 0o600) -> Iterator[None]:
        before = (
            self.host.read(path) if self.host.run(["test", "-e", path], check=False).returncode == 0 else None
        )
        self.host.write(path, text.encode(), mode)
        yield
        if before is None:
            self.sh(f"rm -f {path}")
        else:
            self.host.write(path, before.encode(), mode)

    def update(self, text: str) -> None:
        self.host.write(CONF, text.encode())
        self.sh("ipsec update")

    def give(self, pillar: dict) -> None:
        self.lab.set_pillar(json.dumps(pillar))
        self.mesh.apply(HOST)

    def pillar(self) -> dict:
        found = self.mesh.pillar
        found["ipsec"]["metrics"] = {"http": "127.0.0.1:9815"}
        return found

    def look(self, expected: Shown) -> None:
        """Take in what every face shows."""
        said = self.host.run(["python3", "-c", FACES, "20" if expected.keeper else "0"], timeout=300).stdout
        self.found = json.loads(said.splitlines()[-1])
        status, lines = self.master.run("report", f"path={REPORT}", "timeout=5")
        assert status == 0, lines
        self.found["page"] = self.lab.master.read(REPORT)

    def whole(self) -> bool:
        """Whether all is well again."""
        return all(
            self.lab.host(host).run(["ipsec-global", "status"], check=False).returncode == 0
            for host in (HOST, HOLDER, FAR, OFF)
        )


@pytest.fixture(scope="module")
def there(everything):
    """Give the host metrics; afterwards it is as it was."""
    found = Everywhere(everything, Master(everything.lab))
    found.give(found.pillar())
    yield found
    everything.lab.set_pillar(everything.fleet.read_text())
    everything.apply(HOST)


@FAULTS.made()
def nothing(there):
    yield


@FAULTS.made(*both("cp2001"))
def one_is_held(there):
    there.sh("ipsec-global down --peer 'cp2001*' --reason T1")
    yield
    there.sh("ipsec-global up", check=False)


@FAULTS.made(*both(*PEERS))
def everything_is_held(there):
    there.sh("ipsec-global down --reason T2")
    yield
    there.sh("ipsec-global up", check=False)


@FAULTS.made()
def the_hold_is_damaged(there):
    with there.changed(HOLD, "{"):
        yield


@FAULTS.made(*both("cp2001"))
def the_other_end_is_held(there):
    there.sh("ipsec-global down --peer 'cp1001*' --reason T3", HOLDER)
    yield
    there.sh("ipsec-global up", HOLDER, check=False)


@FAULTS.made(*both("cp2001"), page=f"{HOLDER} does not answer")
def a_peer_is_off(there):
    there.lab.off(HOLDER)
    end(there, "cp2001")
    yield
    there.lab.on(HOLDER)
    there.lab.wait_minions()


@FAULTS.made(*both("cp3001"))
def the_cable_of_a_peer_is_cut(there):
    there.lab.network.set_link(FAR, "down")
    end(there, "cp3001")
    yield
    there.lab.network.set_link(FAR, "up")


@FAULTS.made(*both(*PEERS))
def its_own_cable_is_cut(there):
    there.lab.network.set_link(HOST, "down")
    end(there, *PEERS)
    yield
    there.lab.network.set_link(HOST, "up")


@FAULTS.made(*both("cp2001"))
def the_charon_of_a_peer_is_stopped(there):
    there.sh("systemctl stop strongswan-starter", HOLDER)
    end(there, "cp2001")
    yield
    there.sh("systemctl start strongswan-starter", HOLDER)


def end(there, *peers: str) -> None:
    """Have what is up with peers ended at this host, rather than wait until it is noticed."""
    there.host.run(["python3", "-c", END, *both(*peers)])


@FAULTS.made(*both(*PEERS))
def strongswan_is_stopped(there):
    there.sh("systemctl stop strongswan-starter")
    yield
    there.sh("systemctl start strongswan-starter")


@FAULTS.made(*both(*PEERS))
def charon_hangs(there):
    there.sh("pkill -STOP -x charon")
    yield
    there.sh("pkill -CONT -x charon")


@FAULTS.made()
def charon_runs_outside_of_its_unit(there):
    there.sh("ipsec restart; sleep 2", check=False)
    yield
    there.sh("ipsec stop; systemctl restart strongswan-starter")


@FAULTS.made()
def vici_is_gone(there):
    """It is asked by stroke, and all that the judge needs is there."""
    there.sh("mv /run/charon.vici /run/charon.away")
    yield
    there.sh("mv /run/charon.away /run/charon.vici")


@FAULTS.made("cp3002_v6")
def one_is_not_loaded(there):
    whole = there.host.read(CONF)
    parts = whole.split("\nconn ")
    there.update("\nconn ".join(part for part in parts if not part.startswith("cp3002_v6")))
    yield
    there.update(whole)


@FAULTS.made()
def a_connection_of_nobody(there):
    whole = there.host.read(CONF)
    there.update(
        f"{whole}\nconn stranger\n    left=10.64.0.11\n    right=10.9.9.9\n    authby=psk\n    auto=add\n"
    )
    yield
    there.update(whole)


@FAULTS.made()
def the_record_is_damaged(there):
    """Its copy counts meanwhile."""
    with there.changed(RECORD, there.host.read(RECORD)[:40], 0o644):
        yield


@FAULTS.made()
def nothing_tells_of_connections(there):
    whole = there.host.read(CONF)
    with there.changed(RECORD, "{", 0o644), there.changed(COPY, "{"):
        there.host.write(CONF, b"")
        yield
        there.host.write(CONF, whole.encode())


@FAULTS.made()
def the_certificate_ends_soon(there):
    pillar = there.pillar()
    pillar["ipsec"]["certificates"]["warn_days"] = 3650
    there.give(pillar)
    yield
    there.give(there.pillar())


@FAULTS.made()
def the_certificate_is_gone(there):
    name = re.search(r"leftcert=(\S+)", there.host.read(CONF))[1].strip('"')
    path = f"/etc/ipsec.d/certs/{name.rpartition('/')[2]}"
    there.sh(f"mv {path} {path}.away")
    yield
    there.sh(f"mv {path}.away {path}")


@FAULTS.made()
def the_keeper_is_stopped(there):
    there.sh("systemctl stop hostipsec-keeper")
    yield
    there.sh("systemctl start hostipsec-keeper")


@FAULTS.made(gone=both("cp2001"))
def a_peer_is_in_maintenance(there):
    pillar = there.pillar()
    pillar["ipsec"]["hosts"][HOLDER]["maintenance"] = True
    there.give(pillar)
    yield
    there.give(there.pillar())


@FAULTS.made(*(f"{peer}_v6" for peer in PEERS), said="2001:db8:1::11")
def an_address_that_is_not_here(there):
    there.sh("ip -6 address del 2001:db8:1::11/64 dev eth0")
    end(there, *PEERS)
    yield
    there.sh("ip -6 address add 2001:db8:1::11/64 dev eth0 nodad")
    there.sh("systemctl restart strongswan-starter")


@FAULTS.made()
def the_minion_is_dead(there):
    """Its tunnels are well, and its peers say so."""
    there.sh("systemctl kill --signal=KILL salt-minion")
    yield
    there.sh("systemctl restart salt-minion")
    there.lab.wait_minions()


@pytest.mark.parametrize("case", FAULTS)
def test_every_face_says_what_the_judge_said(there, case):
    wait_for(there.whole, "a mesh that is whole", 180)
    make, expected = FAULTS[case]
    wrong: list[str] = ["nobody looked"]

    def agree() -> bool:
        there.look(expected)
        wrong[:] = [*differing(there.found, expected)]
        return not wrong

    with make(there), contextlib.suppress(Exception):
        wait_for(agree, "faces that agree", 90)
    assert wrong == []


def differing(found: dict, expected: Shown) -> Iterator[str]:
    """Yield what a face says otherwise than the judge is to say."""
    verdict = expected.verdict(both(*PEERS))
    if NOT_WELL in verdict.values():
        said = told(found["command"][1])
        verdict = {name: said[name] if one == NOT_WELL else one for name, one in verdict.items()}
        if any(verdict[name][0] in CARRYING or verdict[name][1] == "ok" for name in expected.touched):
            yield f"well, or not yet noticed: {verdict}"
        severity = max((one for _, one in verdict.values()), key=SEVERITIES.index)
        expected = replace(expected, severity=severity, status=SEVERITIES.index(severity))
    shown = {
        "command": told(found["command"][1]),
        "plugin": told(found["plugin"][1]),
        **({"sample": of_sample(found["samples"][1])} if expected.keeper else {}),
    }
    yield from (f"{face}: {said}, not {verdict}" for face, said in shown.items() if said != verdict)
    yield from unequal(
        "exit of the command", found["command"][0], int(expected.status != OK or expected.severity != "ok")
    )
    yield from unequal("exit of the plugin", (found["plugin"][0], found["line"][0]), (expected.status,) * 2)
    for face in ("eyes", "line"):
        if expected.said not in found[face][1]:
            yield f"{face} does not say {expected.said!r}: {found[face][1]}"
    yield from unequal(
        "events",
        {one["tag"] for one in found["events"]} if expected.keeper else {*expected.tags},
        {*expected.tags},
    )
    if expected.keeper:
        yield from of_metrics(found, verdict, expected)
    if expected.known:
        yield from of_page(found, verdict, expected)


def unequal(what: str, said: object, expected: object) -> Iterator[str]:
    if said != expected:
        yield f"{what}: {said}, not {expected}"


def of_sample(text: str) -> dict:
    return {row["name"]: (row["state"], row["severity"]) for row in json.loads(text)["connections"]}


def troubles(found: dict) -> set[tuple[str, str]]:
    return {(name, NUMBERS.sub("", row["reason"])) for name, row in found.items() if row["severity"] != "ok"}


def of_metrics(found: dict, verdict: dict, expected: Shown) -> Iterator[str]:
    """Yield what a sample's severity, metrics over HTTP and those of Graphite say otherwise."""
    sample = json.loads(found["samples"][1])
    yield from unequal("severity of the sample", sample["severity"], expected.severity)
    yield from unequal("unread of the sample", {*sample["unread"]} - {"counters"}, {*expected.unread})
    series: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(found["http"]):
        for one in family.samples:
            series.setdefault(one.name, {})[tuple(one.labels[key] for key in sorted(one.labels))] = one.value
    yield from unequal(
        "ipsec_severity", {*series.get("ipsec_severity", {}).values()}, {SEVERITIES.index(expected.severity)}
    )
    up = sum(series.get("ipsec_connection_up", {}).values())
    yield from unequal("ipsec_connection_up", up, sum(state in CARRYING for state, _ in verdict.values()))
    held = sum(series.get("ipsec_connection_held", {}).values())
    yield from unequal("ipsec_connection_held", held, sum(state == "held" for state, _ in verdict.values()))
    counts = {key[-1]: value for key, value in series.get("ipsec_connections", {}).items()}
    if expected.known:
        yield from unequal("unmanaged", counts.pop("unmanaged", None), expected.strays)
        wanted = {state: sum(one == state for one, _ in verdict.values()) for state in counts}
        yield from unequal("ipsec_connections", counts, wanted)
    lines = [line.split() for line in found["graphite"].splitlines()]
    sums = [float(value) for path, value, _ in lines if ".connection_up." in path]
    yield from unequal("Graphite", sum(sums), up)


def of_page(found: dict, verdict: dict, expected: Shown) -> Iterator[str]:
    """Yield what the page says otherwise of this host's ends."""
    shown = json.loads(found["page"].partition(page.DATA)[2].partition("</script>")[0])
    if expected.page not in found["page"]:
        yield f"the page does not say {expected.page!r}"
    words, hosts = shown["words"], [one["id"] for one in shown["hosts"]]
    ends, reasons = {}, {}
    for row in shown["rows"]:
        for place, end in enumerate(row[10:]):
            if hosts[row[place]] == HOST:
                name = f"{hosts[row[1 - place]].partition('.')[0]}_{row[2]}"
                ends[name] = (words[end[0]], SEVERITIES[end[1]])
                reasons[name] = {"severity": SEVERITIES[end[1]], "reason": words[end[2]]}
    ends = {name: said for name, said in ends.items() if name not in expected.gone}
    wanted = dict.fromkeys(verdict, ("does not answer", "warning")) if expected.alone else verdict
    yield from unequal("the page", ends, wanted)
    said = {face: troubles(rows(found[face][1])) for face in ("command", "plugin")}
    if not expected.alone:
        said["page"] = troubles({name: one for name, one in reasons.items() if name not in expected.gone})
    if len({frozenset(one) for one in said.values()}) != 1:
        yield f"reasons differ: {said}"
