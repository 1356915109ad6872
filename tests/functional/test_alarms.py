"""The alarms that we ship, by a real promtool: one fault is one alarm, at once and as long as it lasts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from prometheus import promtool, unpacked

import alarms
from alarms import FAULT, HOSTS, between, change, charon_dead, cut, dead, frozen, own, state, to
from hostipsec.health.sample import Decision
from hostipsec.system import processes

PAGE = Path(__file__).parents[2] / "docs/monitoring.md"
RULES = PAGE.parent / "monitoring/ipsec.rules.yml"
AFTER = (1, 4, 7, 9, 13, 18, 24)  # minutes after the fault at which it is asked what fires
LABELS = "alertname, sites, peer, host, instance, error, source"
FIRING = f'group by ({LABELS}) (ALERTS{{alertstate="firing"}})'
A, B, X = "cp1001.eqiad", "cp2001.codfw", "cp3001.esams"
AB, AX, BX = "codfw-eqiad", "eqiad-esams", "codfw-esams"


def after(minutes, *faults):
    """Have faults begin later."""
    return lambda world, now: [each(world, now) for each in faults if now >= (FAULT + minutes) * 60]


def until(minutes, *faults):
    """Have faults end."""
    return lambda world, now: [each(world, now) for each in faults if now < (FAULT + minutes) * 60]


def always(act, *arguments, **fields):
    """Return a fault that is the same each minute."""
    return lambda world, _: act(world, *arguments, **fields)


def one(end):
    """Say whether it is the connection of A and B on v4."""
    return end.pair == "cp1001-cp2001" and end.family == "v4"


def held(host, of=lambda _: True):
    """Have an operator hold a host's connections down: at the other ends they are down."""

    def fault(world, now):
        for end in filter(of, world[host].sample.connections):
            state(world, end.peer, "down", to(host))
        state(world, host, "held", of)
        own(world, host, holds=(Decision("all", "root", "T1", FAULT * 60.0),))

    return fault


def require(world, _):
    for host in filter(world.get, world):
        change(world, host, stage="require")


def no_sites(world, _):
    for host in filter(world.get, world):
        change(world, host, sites="")
        own(world, host, site="")


def growing(field, seconds):
    """Have a number of the connection grow by one each so many seconds."""
    return lambda world, now: change(world, A, one, **{field: int((now - FAULT * 60) / seconds)})


def errors(name, rate):
    """Have the kernel drop packets, so many a second."""

    def fault(world, now):
        own(world, A, errors={**world[A].sample.errors, name: int((now - FAULT * 60) * rate)})

    return fault


def on(host, **labels):
    return {"instance": f"{host}:9100", **labels}


# faults, and the alarms that they give: name, what it is on, minutes after which it fires (and ends)
TABLE = {
    "all is well": ([], []),
    # what is down
    "a dead host": ([always(dead, X)], [("PeerDown", {"peer": X}, 5)]),
    "two dead hosts": (
        [always(dead, A, X)],
        [("PeerDown", {"peer": A}, 5), ("PeerDown", {"peer": X}, 5)],
    ),
    "a host that nobody reaches, and that tells": (
        [always(cut, lambda end: "cp3001" in end.pair)],
        [("PeerDown", {"peer": X}, 5)],
    ),
    "a dead host of a fleet without sites": ([always(dead, X), no_sites], [("PeerDown", {"peer": X}, 5)]),
    "a dead host of stage require": (
        [always(dead, X), require, errors("XfrmOutPolBlock", 50)],
        [("PeerDown", {"peer": X}, 5)],
    ),
    "a cut line": ([always(cut, between("eqiad", "codfw"))], [("SitesDown", {"sites": AB}, 5)]),
    "a cut line of stage require": (
        [always(cut, between("eqiad", "codfw")), require, errors("XfrmOutPolBlock", 50)],
        [("SitesDown", {"sites": AB}, 5)],
    ),
    "a site cut off": (
        [always(cut, lambda end: "esams" in end.sites)],
        [("SitesDown", {"sites": AX}, 5), ("SitesDown", {"sites": BX}, 5)],
    ),
    "a site cut off, and its metrics": (
        [always(dead, *HOSTS[4:])],
        [
            *[("SitesDown", {"sites": sites}, 5) for sites in (AX, BX)],
            *[("MetricsGone", {"host": host}, 10) for host in HOSTS[4:]],
        ],
    ),
    "a cut line, and a host dead beside it": (
        [always(dead, X), always(cut, between("eqiad", "codfw"))],
        [("SitesDown", {"sites": AB}, 5), ("PeerDown", {"peer": X}, 5)],
    ),
    "one family between two sites": (
        [always(cut, lambda end: end.sites == AB and end.family == "v6")],
        [("SitesDown", {"sites": AB}, 5)],
    ),
    "one connection": ([always(cut, one)], [("ConnectionsDown", {"sites": AB}, 15)]),
    "one connection of a fleet without sites": (
        [always(cut, one), no_sites],
        [("ConnectionsDown", {}, 15)],
    ),
    "one connection of stage require": ([always(cut, one), require], [("RequireDown", {"sites": AB}, 2)]),
    "one connection, at one end": (
        [always(state, A, "down", one)],
        [("EndsDisagree", {"sites": AB}, 10)],
    ),
    "a connection that flaps": ([growing("losses", 120)], [("Flapping", {"sites": AB}, 13)]),
    "one way": ([always(state, A, "one-way", one)], [("OneWay", {"sites": AB}, 10)]),
    "duplicates": (
        [always(change, A, one, duplicates=1, state="duplicate")],
        [("Duplicates", {"sites": AB}, 15)],
    ),
    "the kernel lost a host's SAs": (
        [always(state, A, "no xfrm")],
        [("KernelLostSAs", {"sites": AB}, 2), ("KernelLostSAs", {"sites": AX}, 2)],
    ),
    "a host is held": ([held(X)], []),
    "one peer is held": ([held(A, to(B))], []),
    "held, and up all the same": (
        [always(change, A, one, held=True, expected=False)],
        [("HeldYetUp", {"sites": AB}, 1)],
    ),
    "a hold that is forgotten": (
        [always(own, A, holds=(Decision("all", "root", "T1", FAULT * 60.0),))],
        [("HoldLong", on(A), 240)],
    ),
    # charon
    "charon dead": ([always(charon_dead, X)], [("CharonDown", on(X), 2)]),
    "charon dead at all hosts of a site": (
        [always(charon_dead, HOSTS[0]), always(charon_dead, HOSTS[1])],
        [("CharonDown", on(host), 2) for host in HOSTS[:2]],
    ),
    "charon dead, and its host held": ([always(charon_dead, X), held(X)], []),
    "charon dead, and one peer held": (
        [always(charon_dead, A), held(A, to(B))],
        [("CharonDown", on(A), 2)],
    ),
    "charon busy": (
        [always(own, A, charon=alarms.CHARON._replace(idle=0, queued={"high": 30}))],
        [("CharonBusy", on(A), 5)],
    ),
    # who looks
    "metrics gone, host alive": ([always(alarms.silent, X)], [("MetricsGone", {"host": X}, 10)]),
    "a textfile that nobody writes any more": (
        [always(alarms.unwritten, X)],
        [("MetricsGone", {"host": X}, 15)],
    ),
    "metrics gone everywhere": ([always(alarms.silent, *HOSTS)], [("MetricsGone", {}, 10)]),
    "keeper dead": ([always(frozen, X)], [("KeeperDead", on(X, source="keeper"), 3)]),
    "no sample since boot": ([always(alarms.sampleless, X)], [("KeeperDead", on(X, source="keeper"), 2)]),
    "keeper dead, its host then": (
        [until(20, always(frozen, X)), after(20, always(dead, X))],
        [("KeeperDead", on(X, source="keeper"), 3, 20), ("PeerDown", {"peer": X}, 25)],
    ),
    "charon dead, and the keeper then": (
        [always(charon_dead, X), after(10, always(frozen, X))],
        [
            ("CharonDown", on(X), 2, 11),
            ("KeeperDead", on(X, source="keeper"), 13),
            ("PeerDown", {"peer": X}, 16),
        ],
    ),
    "a connection down, and the keepers of both ends then": (
        [always(cut, one), after(20, always(frozen, A), always(frozen, B))],
        [
            ("ConnectionsDown", {"sites": AB}, 15),
            *[("KeeperDead", on(host, source="keeper"), 23) for host in (A, B)],
        ],
    ),
    "a connection down, a keeper dead, and up again": (
        [until(24, always(cut, one)), after(20, always(frozen, A))],
        [("ConnectionsDown", {"sites": AB}, 15, 24), ("KeeperDead", on(A, source="keeper"), 23)],
    ),
    "a record that cannot be read": (
        [always(own, A, connections=(), unread={"record": "damaged"})],
        [("Unread", on(A, source="record"), 5)],
    ),
    # what is not encrypted, or not for long
    "clear text beside a tunnel": ([growing("clear_out", 0.2)], [("ClearText", {"sites": AB}, 11)]),
    "clear text where the tunnel is down": (
        [growing("clear_out", 0.2), always(cut, one)],
        [("ConnectionsDown", {"sites": AB}, 15)],
    ),
    "clear text in stage require": (
        [growing("clear_out", 0.2), require],
        [("ClearText", {"sites": AB}, 11)],
    ),
    "SAs that do not encrypt": (
        [always(state, A, "not encrypted", one)],
        [("NotEncrypted", {"sites": AB}, 2)],
    ),
    "guard missing": ([always(own, A, guard_missing=2)], [("GuardMissing", on(A), 2)]),
    "the guard drops": (
        [errors("XfrmOutPolBlock", 5)],
        [("GuardDrops", on(A, error="XfrmOutPolBlock"), 11)],
    ),
    "certificate, 20 days": (
        [lambda world, now: own(world, A, certificate=now + 20 * 86400)],
        [("CertificateEnds", on(A), 60)],
    ),
    "certificate, a day": (
        [lambda world, now: own(world, A, certificate=now + 86400)],
        [("CertificateEndsNow", on(A), 1)],
    ),
    "certificate, over": ([always(own, A, certificate=600.0)], [("CertificateEndsNow", on(A), 1)]),
    "certificate not loaded": ([always(own, A, loaded=False)], [("CertificateNotLoaded", on(A), 60)]),
    # the kernel
    "sequence numbers nearly used": (
        [always(change, A, one, sequence=0.95)],
        [("SequenceEnd", on(A, sites=AB, peer=B), 1)],
    ),
    "sequence numbers end before the rekeying": (
        [lambda world, now: change(world, A, one, sequence=0.5, sent=alarms.Traffic(0, int(now * 2e6)))],
        [("SequenceEnd", on(A, sites=AB, peer=B), 1)],
    ),
    "sequence numbers are over": (
        [always(change, A, one, sequence=1.0), errors("XfrmOutStateSeqError", 10)],
        [("SequenceOver", on(A, error="XfrmOutStateSeqError"), 1)],
    ),
    "wrong keys": (
        [errors("XfrmInStateProtoError", 1)],
        [("KernelErrors", on(A, error="XfrmInStateProtoError"), 12)],
    ),
    "replays": ([errors("XfrmInStateSeqError", 10)], [("Replay", on(A), 11)]),
    "stray ESP": ([errors("XfrmInNoStates", 10)], [("StrayESP", on(A), 17)]),
}


def together(faults):
    def fault(world, now):
        for each in faults:
            each(world, now)

    return fault


def expected(firing, minute):
    """Return what fires so many minutes after the fault; None so near to a change that either is right."""
    changes = [change for _, _, *changes in firing for change in changes]
    if any(0 <= minute - change < 3 for change in changes):
        return None
    return [
        {"labels": alarms.selector({"alertname": f"IPsec{name}", **labels}), "value": 1}
        for name, labels, since, *ended in firing
        if since <= minute and not any(end <= minute for end in ended)
    ]


@pytest.mark.parametrize("name", TABLE)
def test_one_fault_is_one_alarm(name, tmp_path):
    faults, firing = TABLE[name]
    last = max((change for _, _, *changes in firing for change in changes), default=0) + 3
    times = [*AFTER, last] if last > AFTER[-1] else AFTER
    asked = [
        {"expr": FIRING, "eval_time": f"{FAULT + minute}m", "exp_samples": samples}
        for minute in times
        if (samples := expected(firing, minute)) is not None
    ]
    assert len(asked) > len(times) / 2
    told = alarms.series(together(faults), FAULT + times[-1])
    test = {"interval": "1m", "input_series": told, "promql_expr_test": asked}
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}))
    found = promtool("test", "rules", str(tmp_path / "tests.yml"))
    assert found.status == 0, found.text


def test_what_the_page_has_typed_is_what_prometheus_takes(tmp_path):
    """It said how prometheus.yml looks afterwards, and a newcomer had to find out how that is done."""
    (typed,) = [one for one in PAGE.read_text().split("```") if "promtool check config" in one]
    there = tmp_path / "prometheus"
    shutil.copytree(unpacked() / "etc/prometheus", there)
    script = typed.replace("/etc/prometheus", str(there)).replace(
        "systemctl reload prometheus", "echo reloaded"
    )
    path = f"PATH={unpacked()}/usr/bin:/usr/bin:/bin"
    done = processes.run(["env", "-C", str(RULES.parent), path, "sh", "-e", "-c", script], 60)
    assert (done.status, done.stdout.splitlines()[-1:]) == (0, ["reloaded"]), done.text
    found = yaml.safe_load((there / "prometheus.yml").read_text())
    assert found["rule_files"] == [str(there / "ipsec.rules.yml")]
    assert [one["job_name"] for one in found["scrape_configs"]] == ["prometheus", "node", "ipsec"]
    assert "git.example" not in (there / "ipsec.rules.yml").read_text()


def test_the_rules_are_sound():
    found = promtool("check", "rules", str(RULES))
    assert found.status == 0, found.text


def test_every_alarm_is_in_the_table():
    names = {f"IPsec{name}" for _, firing in TABLE.values() for name, *_ in firing}
    assert alarms.names(RULES) == names
