"""The fleet changes under constant traffic on every pair: what is untouched loses nothing and keeps its SAs.

Each scenario is a pillar, what an operator types, and figures by pair that docs/changing-the-fleet.md shows.
"""

import copy
import json

import pytest

from fleetlab.paths import BUILD
from fleetlab.process import wait_for
from hostipsec.pillar import pillar as pillars
from hostipsec.pillar import topology

FIGURES = BUILD / "changes.json"
CORE = {"cp1001.eqiad.example", "cp1002.eqiad.example", "cp2001.codfw.example"}
EDGE = {"cp3001.esams.example", "cp3002.esams.example"}
MOVING, BROKEN = "cp3001.esams.example", "cp3002.esams.example"
MOVED = {"ipv4": "10.20.0.31", "ipv6": "2001:db8:3::31"}
OLD = {"ike": "aes128gcm16-prfsha384-ecp384bp", "esp": "aes128gcm16-ecp384bp-noesn"}
OUTAGE = 1.0  # seconds; on a loaded machine a round trip can take a good part of one
NEW = {"ike": "aes256gcm16-prfsha384-ecp384", "esp": "aes256gcm16-ecp384-noesn"}


def without_edge(pillar):
    """The example without site esams."""
    found = copy.deepcopy(pillar)
    for host in EDGE:
        del found["ipsec"]["hosts"][host]
    found["ipsec"]["rules"] = [rule for rule in found["ipsec"]["rules"] if rule["name"] == "core-to-core"]
    del found["ipsec"]["expect"]
    return found


class Watch:
    """Traffic between all pairs of a pillar, and the SAs before and after."""

    def __init__(self, mesh, pillar):
        self.mesh = mesh
        fleet = pillars.read(pillar["ipsec"])
        self.peers = {
            (host.id, one.name): one.peer
            for host in fleet.hosts
            for one in topology.connections(fleet, host.id)
        }
        self.targets = {}
        for host in fleet.hosts:
            mine = {one.name: str(one.right) for one in topology.connections(fleet, host.id)}
            if mine:
                self.targets[host.id] = mine
        self.traffic, self.before = None, {}

    def __enter__(self):
        self.before = self.mesh.lab.ids()
        self.traffic = self.mesh.lab.traffic(self.targets)
        self.traffic.__enter__()
        return self

    def __exit__(self, *error):
        self.traffic.__exit__(*error)

    def flows(self, hosts, timeout=60):
        """Wait until all targets of these hosts answer."""
        self.traffic.wait_flows(*sorted(hosts), timeout=timeout)

    def between(self, hosts):
        """The figures of pairs with both ends among these hosts."""
        return {
            key: found
            for key, found in self.traffic.figures.items()
            if key[0] in hosts and self.peers[key] in hosts
        }

    def outside(self, hosts):
        """The figures of all other pairs."""
        inside = self.between(hosts)
        return {key: found for key, found in self.traffic.figures.items() if key not in inside}

    def same_sas(self, hosts):
        """Whether the SAs of pairs with both ends among these hosts are those of before."""
        now = self.mesh.lab.ids()
        keys = [key for key in self.before if key[0] in hosts and self.peers[key] in hosts]
        assert keys
        return all(now[key] == self.before[key] for key in keys)


def total(figures):
    """What was lost of all of these, and the longest gap."""
    lost, sent = (sum(getattr(one, name) for one in figures.values()) for name in ("lost", "sent"))
    return {"lost": lost, "sent": sent, "gap_ms": round(max(one.gap for one in figures.values()) * 1000)}


def record(name, **figures):
    """Keep the figures of a scenario for the docs."""
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps({**known, name: figures}, indent=1) + "\n")


def roll(master, *arguments):
    """`salt-run ipsec.rollout`, which has to go through; its lines."""
    status, lines = master.run("rollout", *arguments, timeout=280)
    assert status == 0, lines
    return lines


def refusals(mesh, hosts):
    """How often a host was refused by a peer so far."""
    said = 0
    for host in hosts:
        command = ["sh", "-c", "journalctl -b -u strongswan-starter | grep -c 'received NO_PROPOSAL_CHOSEN'"]
        said += int(mesh.lab.host(host).run(command, check=False).stdout or 0)
    return said


def test_a_site_leaves_and_a_site_comes(mesh, master):
    whole, small = mesh.pillar, without_edge(mesh.pillar)
    with Watch(mesh, whole) as watch:
        mesh.give(small)
        roll(master)
        for host in EDGE:
            mesh.lab.salt(host, "state.apply", "ipsec.clean", timeout=120)
        found = mesh.status()
        assert [found[host]["unmanaged"] for host in sorted(CORE)] == [{}, {}, {}]
    assert {one.lost for one in watch.between(CORE).values()} == {0}
    assert watch.same_sas(CORE)
    record("a site leaves", untouched=total(watch.between(CORE)), touched=total(watch.outside(CORE)))
    before = refusals(mesh, CORE)
    with Watch(mesh, small) as watch:
        mesh.give(whole)
        lines = roll(master)
    assert {one.lost for one in watch.between(CORE).values()} == {0}
    assert watch.same_sas(CORE)
    assert refusals(mesh, CORE) == before, "a pair was started before its other end was configured"
    assert lines[-1] == "5 hosts changed, every connection as it should be"
    mesh.settled()
    record("a site comes", untouched=total(watch.between(CORE)))


def test_a_host_moves_to_other_addresses(mesh, master):
    """What its own pairs lose is counted where the kernel does ESP (tests/rollout).

    As long as it does not have them, as if they were mistyped, nobody is changed.
    """
    host = mesh.lab.host(MOVING)
    pillar = mesh.pillar
    pillar["ipsec"]["hosts"][MOVING].update(MOVED)
    mesh.give(pillar)
    status, lines = master.run("rollout")
    assert (status, lines[0]) == (2, "STOPPED; hosts changed so far: none"), lines
    assert {line.split(" has ")[1].split(";")[0] for line in lines if f"{MOVING}: no interface" in line} == {
        *MOVED.values()
    }
    for family, length in (("ipv4", 24), ("ipv6", 64)):
        address = ["ip", "address", "add", f"{MOVED[family]}/{length}", "dev", "eth0"]
        host.run([*address, *(["nodad"] if family == "ipv6" else [])])
    others = (CORE | EDGE) - {MOVING}
    with Watch(mesh, mesh.pillar) as watch:
        roll(master)
    status = mesh.status(MOVING)[MOVING]
    assert {one["state"] for one in status["connections"].values()} == {"established"}
    assert {one.lost for one in watch.between(others).values()} == {0}
    assert watch.same_sas(others)
    record("a host moves", untouched=total(watch.between(others)))


@pytest.mark.whole
def test_a_host_and_then_all_are_known_by_other_identities(mesh, master):
    """By a name among the alternative names of their certificates: SAs go on, and new ones are made by it."""
    one, every = mesh.pillar, mesh.pillar
    one["ipsec"]["hosts"][MOVING]["subject"] = f"@{MOVING}"
    every["ipsec"]["certificates"]["subject"] = "@{id}"
    with Watch(mesh, mesh.pillar) as watch:
        mesh.give(one)
        roll(master)
        assert watch.same_sas(CORE | EDGE)
        mesh.give(every)
        roll(master)
        assert watch.same_sas(CORE | EDGE)
    assert {found.lost for found in watch.traffic.figures.values()} == {0}
    status, lines = master.run("reauthenticate", timeout=280)
    assert status == 0, lines
    mesh.lab.wait_one_each()
    for host in CORE | EDGE:
        said = mesh.lab.host(host).run(["ipsec", "statusall"]).stdout
        known = [line for line in said.splitlines() if "ESTABLISHED" in line]
        assert len(known) == len(watch.targets[host])
        assert all(f"[{host}]" in line and "[CN=" not in line for line in known), known
    assert master.data("status")[1]["counts"] == {"up": 16}
    record("other identities", every=total(watch.traffic.figures))


def severities(mesh, hosts):
    """How bad hosts are by their own word."""
    found = mesh.status()
    return {found[host]["summary"]["severity"] for host in hosts}


def test_maintenance_takes_a_host_out_quietly_and_back_in(mesh, master):
    """The pillar is edited and rolled out, and no minion was asked to refresh it: each knows it by then."""
    pillar = mesh.pillar
    pillar["ipsec"]["hosts"][BROKEN]["maintenance"] = True
    others = (CORE | EDGE) - {BROKEN}
    with Watch(mesh, mesh.pillar) as watch:
        mesh.give(pillar, refreshed=False)
        roll(master)
        wait_for(lambda: severities(mesh, others) == {"ok"}, "minions that know the pillar", 60)
        status, found = master.data("status")
        assert (status, found["counts"]) == (0, {"up": 10, "maintenance": 6})
        mesh.give(mesh.pillar)
        roll(master)
        mesh.settled()
        watch.flows(CORE)
    assert {one.lost for one in watch.between(others).values()} == {0}
    assert watch.same_sas(others)
    record(
        "maintenance, and back", untouched=total(watch.between(others)), touched=total(watch.outside(others))
    )


def proposals(mesh):
    """The ESP and IKE algorithms in use, over the fleet."""
    rows = [one for status in mesh.status().values() for one in status["connections"].values()]
    return {(one["ike_proposal"].split("/")[0], one["proposal"].split("/")[0]) for one in rows}


def options(pillar, **connection):
    """The pillar with options of all connections."""
    found = copy.deepcopy(pillar)
    found["ipsec"]["connection"] = connection
    return found


@pytest.mark.whole  # rollout tells it in the kernel
def test_ciphers_change_over_the_live_fleet(mesh, master):
    """Both accepted everywhere; the new one preferred, and used; the old one gone.

    The first of the three edits is applied by a plain run: it touches no SA, whatever applies it.
    """
    whole = mesh.pillar
    steps = [
        {key: f"{OLD[key]},{NEW[key]}!" for key in OLD},
        {key: f"{NEW[key]},{OLD[key]}!" for key in OLD},
        {key: f"{NEW[key]}!" for key in OLD},
    ]
    with Watch(mesh, whole) as watch:
        mesh.give(options(whole, **steps[0]))
        applied = mesh.apply()
        assert [
            one["comment"] for found in applied.values() for one in found.values() if not one["result"]
        ] == []
        assert watch.same_sas(CORE | EDGE)
        mesh.give(options(whole, **steps[1]))
        mesh.ciphers = True
        roll(master)
        status, lines = master.run("reauthenticate")
        assert (status, lines[-1]) == (
            *(0, "5 of 5 hosts are as asked: every connection that they start is reauthenticated"),
        ), lines
        assert proposals(mesh) == {("AES_GCM_16_256", "AES_GCM_16_256")}
        mesh.give(options(whole, **steps[2]))
        roll(master)
        assert master.data("status")[1]["counts"] == {"up": 16}
    # with charon's own ESP the end that answers uses a new SA up to a round trip before the other has it
    assert max(one.gap for one in watch.traffic.figures.values()) < OUTAGE
    record("ciphers change", touched=total(watch.traffic.figures))


def test_a_roll_out_stops_at_the_first_host_that_is_not_well(mesh, master):
    """The canary cannot use its certificate: nobody else is touched, and it goes back."""
    source = f"/var/lib/puppet/ssl/certs/{BROKEN}.pem"
    host = mesh.lab.host(BROKEN)
    good = host.read(source)
    before = mesh.lab.ids()
    try:
        host.write(source, b"no certificate\n")
        mesh.give(options(mesh.pillar, margintime="7m"))
        status, lines = master.run("rollout", timeout=280)
        assert status == 1
        assert any(line.startswith("STOPPED; hosts changed so far: ") for line in lines), lines
        assert any(BROKEN in line and source in line for line in lines), lines
    finally:
        host.write(source, good.encode())
    assert mesh.lab.ids() == before
    others = sorted((CORE | EDGE) - {BROKEN})
    margins = {
        mesh.lab.host(name).run(["grep", "-c", "margintime=7m", "/etc/ipsec.conf"], check=False).stdout
        for name in others
    }
    assert margins == {"0\n"}


def test_a_down_in_the_middle_of_a_roll_out_is_said_in_its_last_line(mesh, master):
    """The fleet was held, and it said "every connection as it should be"."""
    mesh.give(options(mesh.pillar, margintime="8m"))
    rolling = master.start("rollout")
    rolling.wait_until_printed(": done")
    status, lines = master.run("down", "reason=T195365")
    assert (status, "5 of 5 hosts are as asked: down, and proven" in lines) == (0, True), lines
    status, lines = rolling.end(280)
    assert status == 0, lines
    told = "5 hosts changed; 0 of 16 connections as they should be, 16 held at cp1001.eqiad.example"
    assert lines[-1].startswith(told), lines
    assert lines[-1].endswith("by root (salt-run) because T195365"), lines


def interrupted(mesh, master, edited):
    """Start two roll-outs at once: one is refused, and the other stops as the pillar is edited on the way."""
    both = [master.start("rollout") for _ in range(2)]
    wait_for(lambda: any("== stage" in one.printed for one in both), "a batch under way", 60)
    mesh.give(edited)
    (stopped, said), (refused, why) = sorted(one.end() for one in both)
    assert (stopped, refused) == (1, 2), (said, why)
    # by the master before the next batch, or by the first host, as soon as its own pillar is the new one
    assert any("the pillar is another than at the start of this roll-out" in line for line in said), said
    assert why[0].startswith("ipsec.rollout by "), why
    assert "changes the fleet at this moment" in why[0]


def test_what_a_roll_out_changed_comes_back(mesh, master):
    """It is stopped and gone on with before: that is one roll-out, and all of it comes back."""
    whole = mesh.pillar
    with Watch(mesh, whole) as watch:
        mesh.give(without_edge(whole))
        interrupted(mesh, master, options(whole, margintime="9m"))
        mesh.give(without_edge(whole))
        assert any("goes on with the roll-out of " in line for line in roll(master))
        other = mesh.lab.salt("cp2001.codfw.example", "ipsec.rollback", "mark=2026-01-01T00:00:00Z")
        assert "nothing was changed" in other["cp2001.codfw.example"]["error"]
        status, lines = master.run("rollback", "dry_run=True")
        assert (status, lines[-1]) == (0, "3 hosts, nothing was changed")
        status, lines = master.run("rollback")
        assert status == 0, lines
        assert lines[-1].startswith("3 of 3 hosts are as asked: they run what they ran before"), lines
        watch.flows(CORE)
        mesh.give(whole)
        status, lines = master.run("plan")
        assert status == 0, lines
        mesh.settled()
    assert {one.lost for one in watch.between(CORE).values()} == {0}
    assert watch.same_sas(CORE)
    record(
        "a site leaves, and back", untouched=total(watch.between(CORE)), touched=total(watch.outside(CORE))
    )
    status, lines = master.run("rollback")
    assert (status, lines) == (
        2,
        ["nothing to go back from; name hosts (tgt) to undo their last state.apply"],
    )
