"""Stage `require`: whatever happens to charon, no packet of the pair goes in the clear."""

import pytest
from conftest import ADDRESSES, A, B, C, probes, rules

from fleetlab.paths import BUILD

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


def test_a_plain_packet_is_not_accepted(required):
    """The peer sends in the clear (its guard and charon are gone): no reply, and the kernel counts it."""
    required.on(B, "systemctl", "stop", "hostipsec-keeper", "strongswan-starter")
    required.on(B, "ip", "xfrm", "policy", "flush")
    before = required.on(A, "cat", "/proc/net/xfrm_stat")
    for address in ADDRESSES[A]:
        with pytest.raises(Exception, match="100% packet loss"):
            required.on(B, "ping", "-q", "-c", "3", "-i", "0.1", "-W", "1", address)
    assert required.on(A, "cat", "/proc/net/xfrm_stat") != before
    required.on(B, "systemctl", "restart", "hostipsec-guard")
    required.on(B, "systemctl", "start", "strongswan-starter", "hostipsec-keeper")
    required.wait_up(A, B, 240)  # a ping that meets the guard ends at once
    with required.traffic(B, A) as traffic:
        traffic.wait_flows()


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
    with required.lab.capture() as wire:
        with required.traffic(source, target) as traffic:
            traffic.wait_flows()
            for act, host in FAULTS[fault]:
                act(required, host)
            traffic.wait_flows(240)
        between = {address for host in (A, B) for address in ADDRESSES[host]}
    clear = [one for one in wire.clear() if {one.source, one.destination} <= between]
    said = f"{sum(traffic.sent.values())} sent, {traffic.lost} lost, {len(clear)} in the clear"
    with FIGURES.open("a") as figures:
        figures.write(f"{fault}: {said}\n")
    assert clear == []
    assert wire.counts()["esp"] > 0
