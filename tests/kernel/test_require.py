"""Stage `require`: whatever happens to charon, no packet of the pair goes in the clear."""

import ipaddress
import json

import pytest
from conftest import ADDRESSES, A, B, C, probes, rules

from fleetlab.paths import BUILD
from fleetlab.process import wait_for

FIGURES = BUILD / "require.txt"  # what docs/require.md shows; the last run is at its end


def stop_charon(mesh, host):
    mesh.on(host, "systemctl", "stop", "strongswan-starter")


def start_charon(mesh, host):
    mesh.on(host, "systemctl", "start", "strongswan-starter")


def kill_charon(mesh, host):
    mesh.on(host, "systemctl", "kill", "--signal=KILL", "strongswan-starter")


def restart_charon(mesh, host):
    mesh.on(host, "systemctl", "restart", "strongswan-starter")


def reboot(mesh, host):
    mesh.lab.reboot(host)


def end_sas(mesh, host):
    for family in ("v4", "v6"):
        mesh.on(host, "ipsec", "down", f"cp2001_{family}[*]")


def delete_sas(mesh, host):
    mesh.on(host, "ip", "xfrm", "state", "deleteall", "src", ADDRESSES[A][0], "dst", ADDRESSES[B][0])
    mesh.on(host, "ip", "xfrm", "state", "deleteall", "src", ADDRESSES[A][1], "dst", ADDRESSES[B][1])


def change_an_unrelated_peer(mesh, host):
    mesh.give({"rules": rules(core_to_core="require", edge_to_core="passive")})
    mesh.apply(host)


FAULTS = {
    "first packet, after charon ended the SAs": [(end_sas, A)],
    "charon stopped at the initiator": [(stop_charon, A), (start_charon, A)],
    "charon stopped at the responder": [(stop_charon, B), (start_charon, B)],
    "charon killed at the initiator": [(kill_charon, A), (start_charon, A)],
    "charon killed at the responder": [(kill_charon, B), (start_charon, B)],
    "charon restarted at the responder": [(restart_charon, B)],
    "initiator rebooted": [(reboot, A)],
    "responder rebooted": [(reboot, B)],
    "SAs deleted in the kernel": [(delete_sas, A)],
    "an unrelated peer changed": [(change_an_unrelated_peer, A)],
}


SECOND, TRANSLATED, BOX = "10.64.0.77", "10.64.0.78", "172.17.0.2"  # of A: an address, one that is BOX's, BOX


def add_ways_around(mesh):
    """Give A what no pillar knows: a second address, and a container with one that is translated to it."""
    device = mesh.on(A, "ip", "-o", "route", "get", ADDRESSES[B][0]).split(" dev ")[1].split()[0]
    nat = f"protocol ip u32 match ip dst {TRANSLATED} action nat ingress {TRANSLATED} {BOX}"
    script = f"""
        ip address add {SECOND}/32 dev {device}
        ip address add {TRANSLATED}/32 dev {device}
        ip netns add box
        ip link add docker0 type veth peer name eth0 netns box
        ip link set docker0 up
        ip address add 172.17.0.1/16 dev docker0
        ip netns exec box ip address add {BOX}/16 dev eth0
        ip netns exec box ip link set eth0 up
        ip netns exec box ip route add default via 172.17.0.1
        sysctl -q net.ipv4.ip_forward=1
        tc qdisc add dev {device} ingress
        tc filter add dev {device} parent ffff: {nat}
    """
    mesh.on(A, "sh", "-ec", script)


def pinged(mesh, host, *target):
    """Whether a host gets a reply from an address."""
    return "bytes from" in mesh.on(host, "ping", "-c", "2", "-i", "0.1", "-W", "1", *target, check=False)


def received_in_box(mesh):
    """How many echo requests came to the container."""
    text = mesh.on(A, "ip", "netns", "exec", "box", "cat", "/proc/net/snmp")
    names, values = (line.split() for line in text.splitlines() if line.startswith("Icmp:"))
    return int(dict(zip(names, values, strict=True))["InEchos"])


def test_a_plain_packet_is_not_accepted(required):
    """The peer sends in the clear (its guard and charon are gone): no reply, and the kernel counts it.

    To no address of the host: nor to one that no pillar knows, nor to a container behind it.
    """
    add_ways_around(required)
    required.on(B, "systemctl", "stop", "hostipsec-keeper", "strongswan-starter")
    required.on(B, "ip", "xfrm", "policy", "flush")
    before = required.on(A, "cat", "/proc/net/xfrm_stat")
    for address in ADDRESSES[A]:
        with pytest.raises(Exception, match="100% packet loss"):
            required.on(B, "ping", "-q", "-c", "3", "-i", "0.1", "-W", "1", address)
    assert required.on(A, "cat", "/proc/net/xfrm_stat") != before
    came = received_in_box(required)
    with required.lab.capture() as wire:
        assert not pinged(required, B, SECOND)
        assert not pinged(required, B, TRANSLATED)
        assert not pinged(required, A, "-I", SECOND, ADDRESSES[B][0])
        required.on(
            A, *("ip", "netns", "exec", "box", "ping", "-c", "2", "-W", "1", ADDRESSES[B][0]), check=False
        )
    assert received_in_box(required) == came
    assert {one.source for one in wire.clear()} & {SECOND, TRANSLATED, BOX} == set()
    required.on(B, "systemctl", "restart", "hostipsec-guard")
    required.on(B, "systemctl", "start", "strongswan-starter", "hostipsec-keeper")
    required.wait_up(A, B, 240)  # a ping that meets the guard ends at once
    with required.traffic(B, A) as traffic:
        traffic.wait_flows()


def clear_between(wire):
    """What the line showed in the clear of the two hosts."""
    ends = {address for host in (A, B) for address in ADDRESSES[host]}
    return [one for one in wire.clear() if {one.source, one.destination} <= ends]


def with_host(mesh, host, **said):
    """The hosts of the pillar, with one that is edited or new."""
    hosts = mesh.pillar["ipsec"]["hosts"]
    return {"hosts": {**hosts, host: {**hosts.get(host, {}), **said}}}


def test_a_peer_that_gets_another_name_takes_nothing_down(required):
    """The first step of a roll-out: what is new is passive, and a pair in require was known by its name."""
    required.give(with_host(required, B, name=B))
    with required.lab.capture() as wire, required.traffic(A, B) as traffic:
        traffic.wait_flows()
        required.apply(A, "pillar={'ipsec_rollout': {'stage': 'passive'}}")
        traffic.wait_flows(240)
    assert f"{B}_v4" in required.on(A, "cat", "/etc/ipsec.conf")
    assert clear_between(wire) == []
    required.give({})
    required.apply(A)
    required.wait_up(A, B, 240)


def test_nothing_goes_to_a_peer_in_maintenance(required):
    """The peer was taken out, and its guard with it: plain packets went."""
    required.give(with_host(required, B, maintenance=True))
    required.apply(A)
    with required.lab.capture() as wire:
        replies = [pinged(required, A, address) for address in ADDRESSES[B]]
    assert "cp2001_v4" not in required.on(A, "ipsec", "statusall")
    assert replies == [False, False]
    assert clear_between(wire) == []
    required.give({})
    required.apply(A)
    required.wait_up(A, B, 240)


DAMAGES = {
    "mesh.json": "cp mesh.json /root/; truncate -s 40 mesh.json; rm mesh.copy.json",
    "hold.json": "printf '{' >hold.json",
}
MENDS = {"mesh.json": "cp /root/mesh.json .", "hold.json": "rm hold.json"}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_at_boot_lifts_nothing(required, name):
    """Empty or cut off it was read as none, or as all held: nothing was blocked."""
    guard = required.on(A, "ip", "xfrm", "policy").count("priority 2000073")
    assert guard > 0
    required.on(A, "sh", "-ec", f"cd /var/lib/hostipsec; {DAMAGES[name]}")
    with required.lab.capture() as wire:
        required.lab.reboot(A)
        assert required.on(A, "ip", "xfrm", "policy").count("priority 2000073") == guard
        assert "failed" in required.on(A, "systemctl", "is-failed", "hostipsec-guard", check=False)
        assert name in required.on(A, "journalctl", "-b", "-u", "hostipsec-guard", "--no-pager")
        required.on(A, "sh", "-ec", f"cd /var/lib/hostipsec; {MENDS[name]}")
        required.on(A, "systemctl", "restart", "hostipsec-guard")
        required.wait_up(A, B, 240)
    assert clear_between(wire) == []


def told(mesh, host, peer="cp2001"):
    """What a host says of its connections to a peer: state and severity of each, and its warnings."""
    found = json.loads(mesh.on(host, "ipsec-global", "status", "--json", check=False))
    rows = [row for name, row in found["connections"].items() if name.startswith(peer)]
    return {(row["state"], row["severity"]) for row in rows}, " ".join(row["reason"] for row in rows), found


def test_a_policy_before_ours_is_seen(required):
    """As bypass-lan or a shunt of an operator makes them: all is up, and goes in the clear."""
    wait_for(lambda: told(required, A)[0] == {("established", "ok")}, "all well", 60)
    wide = [ipaddress.ip_network(f"{one}/{bits}", strict=False) for one, bits in zip(ADDRESSES[A], (24, 64))]
    passes = [f"src {left} dst {right} dir out priority 175423" for left, right in zip(wide, ADDRESSES[B])]
    for words in passes:
        required.on(A, "ip", "xfrm", "policy", "add", *words.split())
    states, reasons, _ = told(required, A)
    with required.lab.capture() as wire:
        required.on(A, "ping", "-q", "-c", "3", "-i", "0.1", "-W", "1", ADDRESSES[B][0], check=False)
    for words in passes:
        required.on(A, "ip", "xfrm", "policy", "delete", *words.partition(" priority")[0].split())
    assert states == {("not encrypted", "critical")}
    assert "packets leave in the clear, since a policy comes before charon's" in reasons
    assert probes(wire, A, B) == 3
    assert told(required, A)[0] == {("established", "ok")}


def test_a_missing_guard_and_a_dead_keeper_are_seen(required):
    required.on(A, "systemctl", "stop", "hostipsec-keeper")
    blocks = [
        line.split()
        for line in required.on(A, "ip", "-o", "xfrm", "policy").splitlines()
        if "action block" in line
    ]
    for words in blocks:
        required.on(A, "ip", "xfrm", "policy", "delete", *words[:4], "dir", words[words.index("dir") + 1])
    states, reasons, found = told(required, A)
    required.on(A, "systemctl", "restart", "hostipsec-guard")
    required.on(A, "systemctl", "start", "hostipsec-keeper")
    assert blocks
    assert states == {("established", "warning")}
    assert "no guard (out, in, fwd): without charon its traffic goes in the clear" in reasons
    assert any("hostipsec-keeper.service does not run" in text for text in found["warnings"])
    wait_for(
        lambda: told(required, A)[0] == {("established", "ok")} and not told(required, A)[2]["warnings"],
        "all well",
        60,
    )


def test_stage_start_goes_on_in_the_clear(required):
    """What `start` is for: the same fault on the pair beside it, and traffic flows, for all to read."""
    required.on(C, "systemctl", "stop", "hostipsec-keeper", "strongswan-starter")
    with required.lab.capture() as wire:
        for address in ADDRESSES[C]:
            required.on(A, "ping", "-q", "-c", "3", "-i", "0.1", address)
    required.on(C, "systemctl", "start", "strongswan-starter", "hostipsec-keeper")
    assert probes(wire, A, C) == 12
    required.wait_up(A, C)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_packet_goes_in_the_clear(required, fault):
    source, target = (B, A) if (reboot, A) in FAULTS[fault] else (A, B)  # who reboots sends nothing
    with required.lab.capture() as wire, required.traffic(source, target) as traffic:
        traffic.wait_flows()
        for act, host in FAULTS[fault]:
            act(required, host)
        traffic.wait_flows(240)
    clear = clear_between(wire)
    said = f"{sum(traffic.sent.values())} sent, {traffic.lost} lost, {len(clear)} in the clear"
    with FIGURES.open("a") as figures:
        figures.write(f"{fault}: {said}\n")
    assert clear == []
    assert wire.counts()["esp"] > 0
