"""One end of a pair goes away and comes back: traffic is encrypted again soon, by exactly one pair of SAs."""

import re
import time

import pytest

from fleetlab.paths import BUILD
from fleetlab.process import wait_for

FIGURES = BUILD / "restarts.txt"  # what docs/states.md shows; the last run is at its end

INITIATOR, RESPONDER = "cp1001.eqiad.example", "cp3001.esams.example"
BACK = 60.0  # seconds; dead-peer detection alone would take over 200
FORGOTTEN = 120.0  # seconds; one end may have forgotten an IKE SA: the other asks after 30, and ends it then
ONE = 60.0  # seconds; both ends may have started: of two IKE SAs one is ended after 10 s, or 15 by the keeper


def restart_service(lab, host):
    lab.host(host).run(["systemctl", "restart", "strongswan-starter"])


def kill_charon(lab, host):
    """charon dies without a word to its peers; starter starts another."""
    lab.host(host).run(["pkill", "-KILL", "-x", "charon"])


def cut_power(lab, host):
    lab.off(host)
    lab.on(host)


def reboot(lab, host):
    lab.reboot(host)


def once(mesh) -> bool:
    """Whether both ends have exactly one pair of SAs for each family."""
    found = mesh.lab.statuses()
    rows = [
        found[host]["connections"].get(f"{peer}_{family}")
        for host, peer in ((INITIATOR, "cp3001"), (RESPONDER, "cp1001"))
        for family in ("v4", "v6")
        if host in found
    ]
    ones = [(row["state"], len(row["ike_ids"]), len(row["child_ids"])) for row in rows if row]
    return ones == [("established", 1, 1)] * 4


def replies(lab, count=1) -> bool:
    """Whether a ping from the initiator comes back, on both families."""
    probe = ["ping", "-q", "-c", str(count), "-W", "1", "-i", "0.2"]
    host = lab.host(INITIATOR)
    return all(
        host.run([*probe, address], check=False).returncode == 0
        for address in ("10.20.0.11", "2001:db8:3::11")
    )


@pytest.mark.parametrize("host", [INITIATOR, RESPONDER], ids=["initiator", "responder"])
@pytest.mark.parametrize("fault", [restart_service, kill_charon, reboot, cut_power])
def test_comes_back(mesh, fault, host):
    lab = mesh.lab
    fault(lab, host)
    start = time.monotonic()
    wait_for(lambda: once(mesh) and replies(lab), f"the pair after {fault.__name__} of {host}", BACK, 1)
    with FIGURES.open("a") as figures:
        figures.write(f"{fault.__name__} {host}: {time.monotonic() - start:.0f} s\n")
    with lab.capture() as wire:
        assert replies(lab, 3)
    assert wire.counts()["clear"] == 0
    assert wire.counts()["esp"] >= 12
    wait_for(lambda: once(mesh), f"exactly one pair of SAs after {fault.__name__} of {host}", ONE, 1)


def test_a_responder_that_is_configured_late_is_met(mesh):
    """The initiator's first attempts get an error from a charon without configuration, and it gives up.

    Nobody started such a tunnel again: it stayed down until somebody looked.
    """
    lab = mesh.lab
    responder = lab.host(RESPONDER)
    responder.run(["systemctl", "stop", "strongswan-starter", "hostipsec-keeper"])
    responder.run(["mv", "/etc/ipsec.conf", "/etc/ipsec.conf.away"])
    responder.write("/etc/ipsec.conf", b"config setup\n")
    responder.run(["systemctl", "start", "strongswan-starter"])
    refused = ["sh", "-c", "journalctl -b -u strongswan-starter | grep -q 'received NO_PROPOSAL_CHOSEN'"]
    initiator = lab.host(INITIATOR)
    wait_for(
        lambda: initiator.run(refused, check=False).returncode == 0, "a refusal at the initiator", BACK, 1
    )
    responder.run(["mv", "/etc/ipsec.conf.away", "/etc/ipsec.conf"])
    responder.run(["ipsec", "update"])
    wait_for(lambda: once(mesh), "the pair after a late configuration", BACK, 1)
    responder.run(["systemctl", "start", "hostipsec-keeper"])


def test_what_is_typed_at_a_shell_is_answered_with_what_to_type(mesh):
    """`ipsec restart` takes charon out of its unit: systemd does not know of it, and starts none at need."""
    host = mesh.lab.host(INITIATOR)

    def said():
        return host.run(["ipsec-global", "status"], check=False).stdout

    host.run(["ipsec", "restart"])
    wait_for(
        lambda: "outside of strongswan-starter, as after 'ipsec restart'; type: " in said(), said, BACK, 1
    )
    host.run(["ipsec", "stop"])
    wait_for(lambda: "strongswan-starter is stopped, as after 'ipsec stop'; type: " in said(), said, BACK, 1)
    host.run(["systemctl", "start", "strongswan-starter"])
    wait_for(lambda: once(mesh), "the pair", BACK, 1)
    assert "type: " not in said()


def connecting(host) -> bool:
    """Whether a host waits for the first answer of the other end."""
    command = ["sh", "-c", "ipsec statusall | grep -q 'cp[13]001_v[46].*CONNECTING'"]
    return host.run(command, check=False).returncode == 0


def test_both_ends_start_at_the_same_moment(mesh):
    """Neither charon sees the other's IKE SA before its own is up, so that both may stay: not here.

    On a busy machine one end may have ended its own without a word: the other kept both for 200 s.
    """
    lab = mesh.lab
    initiator, responder = lab.host(INITIATOR), lab.host(RESPONDER)
    lab.network.set_link(RESPONDER, "down")
    for host in (initiator, responder):
        host.run(["ipsec-global", "down", "--no-hold", "--deadline=1"])
    initiator.run(["systemctl", "restart", "hostipsec-keeper"])  # it starts all that is missing
    for family in ("v4", "v6"):
        responder.run(["ipsec", "stroke", "up-nb", f"cp1001_{family}"])
    for host in (initiator, responder):
        wait_for(lambda host=host: connecting(host), "both ends' start", BACK, 0.2)
    lab.network.set_link(RESPONDER, "up")
    wait_for(lambda: once(mesh) and replies(lab), "the pair", FORGOTTEN, 1)
    lab.wait_one_each(FORGOTTEN)


def keeper_pid(host) -> str:
    """The process of the keeper; 0 where it does not run."""
    return host.run(["systemctl", "show", "-p", "MainPID", "--value", "hostipsec-keeper"]).stdout.strip()


def there(host, path) -> bool:
    """Whether a file is there that is not empty."""
    return host.run(["test", "-s", path], check=False).returncode == 0


def test_a_keeper_that_hangs_is_started_anew(mesh):
    """Nobody saw it: its unit was active, and nothing was brought back."""
    host, drop = mesh.lab.host(RESPONDER), "/run/systemd/system/hostipsec-keeper.service.d"
    soon = f"mkdir -p {drop} && printf '[Service]\\nWatchdogSec=5\\nRestartSec=1\\n' >{drop}/soon.conf"
    beat, unit = "/run/hostipsec-keeper.beat", "hostipsec-keeper"
    again = f"systemctl daemon-reload && systemctl stop {unit} && rm -f {beat} && systemctl start {unit}"
    host.run(["sh", "-c", f"{soon} && {again}"])
    try:
        wait_for(lambda: there(host, beat), "the first look of the keeper", BACK, 1)
        pid = keeper_pid(host)
        status = host.run(["cat", f"/proc/{pid}/status"]).stdout
        assert "CapEff:\t0000000000001000\n" in status, "CAP_NET_ADMIN, and nothing else"
        host.run(["rm", beat])
        host.run(["kill", "-STOP", pid])
        wait_for(lambda: keeper_pid(host) not in ("0", pid), "another keeper", BACK, 1)
        log = host.run(["journalctl", "-b", "--no-pager", "-u", "hostipsec-keeper"]).stdout
        assert "Watchdog timeout" in log
        assert not re.search("not permitted|denied|Read-only", log), "what it does, it may"
        wait_for(lambda: there(host, beat), "a look of the other keeper", BACK, 1)
    finally:
        host.run(["sh", "-c", f"rm -r {drop} && {again}"])
