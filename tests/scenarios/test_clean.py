"""A way out: state ipsec.clean leaves no trace on a host; and a pillar that vanished takes nothing down."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from conftest import CLEANED

from fleetlab.machine import Machine
from fleetlab.process import wait_for
from footprints import different, footprint

CP3002 = "cp3002.esams.example"
METRICS = {"textfile": "/srv", "http": "127.0.0.1:9815"}


def clean(mesh, *arguments) -> dict:
    """Run the state on the host; what it says."""
    (state,) = mesh.lab.salt(CP3002, "state.apply", "ipsec.clean", *arguments, timeout=300)[CP3002].values()
    return state


SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9815/metrics", timeout=60).read().decode())
"""


def serve(mesh, host) -> None:
    """Have metrics served; what the host's keeper saw is in what its unit tells, both ways."""
    mesh.give({**mesh.pillar, "ipsec": {**mesh.pillar["ipsec"], "metrics": METRICS}}, CP3002)
    states = mesh.apply(CP3002)[CP3002]
    assert states["ipsec-metrics-running"]["result"] is True, states["ipsec-metrics-running"]
    labels = r'peer="[^"]+",family="v[46]",stage="start",sites="[a-z]+-esams",pair="cp[0-9]+-cp3002"'
    up = re.compile(rf"^ipsec_connection_up\{{{labels}\}} 1$", re.MULTILINE)

    def told() -> bool:
        texts = (
            host.run(["cat", "/srv/hostipsec.prom"], check=False).stdout,
            host.run(["python3", "-c", SCRAPE], check=False).stdout,
        )
        return all(len(up.findall(text)) == 6 for text in texts)

    log = ["journalctl", "--no-pager", "-u", "hostipsec-metrics", "-u", "hostipsec-keeper"]
    wait_for(told, lambda: f"six connections up: {host.run(log, check=False).stdout[-3000:]}", 60, 0.5)


def test_clean_leaves_no_trace(mesh):
    """Peers keep their other tunnels; the pillar may be gone; a second run finds nothing."""
    lab, host = mesh.lab, mesh.lab.host(CLEANED)
    serve(mesh, host)
    before = mesh.lab.ids()
    peers = {name: ids for (name, connection), ids in before.items() if name == CP3002}
    assert peers
    mesh.give({})  # it works without
    would = clean(mesh, "test=True")
    assert would["result"] is None
    assert host.run(["pgrep", "-x", "charon"]).stdout
    did = clean(mesh)
    assert did["result"] is True, did
    assert did["changes"] == would["changes"]
    assert {"connection cp1001_v4", "package strongswan-starter", "/etc/ipsec.conf"} <= {*did["changes"]}
    assert "/etc/systemd/system/hostipsec-metrics.service" in did["changes"]
    assert host.run(["pgrep", "-x", "charon|starter"], check=False).stdout == ""
    assert different(mesh.pristine, footprint(host)) == {}
    for test in ([], ["test=True"]):
        again = clean(mesh, *test)
        assert (again["result"], again["changes"]) == (True, {})
    mesh.give(mesh.pillar)
    others = {key: ids for key, ids in mesh.lab.ids().items() if key[0] != CP3002 and "cp3002" not in key[1]}
    assert others == {key: before[key] for key in others}
    states = mesh.apply(CP3002)[CP3002]
    assert all(state["result"] is True for state in states.values()), states
    mesh.lab.wait_one_each()
    assert different(before={}, after=dict.fromkeys(lab.call(CP3002, "ipsec.status")["unmanaged"], "")) == {}


def test_clean_on_a_read_only_etc_ends_the_tunnels_and_says_what_it_could_not(mesh):
    """It said that tunnels do not end, where they had; what was not removed is there for the next try."""
    host = mesh.lab.host(CP3002)
    host.run(["sh", "-ec", "mount --bind /etc /etc; mount -o remount,ro,bind /etc"])
    mesh.changed, mesh.touched = True, CP3002
    try:
        did = clean(mesh)
    finally:
        host.run(["umount", "--lazy", "/etc"])
    said = "6 connections ended; keeper and guard are stopped, and nothing else was removed: "
    assert (did["result"], said in did["comment"]) == (False, True), did
    assert "Read-only file system" in did["comment"]
    assert "Traceback" not in did["comment"]
    assert not any(ids for (name, _), ids in mesh.lab.ids().items() if name == CP3002)
    assert host.run(["test", "-s", "/etc/ipsec.conf"]).returncode == 0
    assert clean(mesh)["result"] is True


OF_OTHERS = {
    "/etc/ipsec.conf": """config setup

conn partner
    keyexchange=ikev2
    left=10.20.0.12
    right=192.0.2.9
    authby=secret
    auto=add
""",
    "/etc/ipsec.secrets": '192.0.2.9 : PSK "by hand"\n',
    f"/etc/ipsec.d/certs/{CP3002}.pem": "a certificate of an operator\n",
    f"/etc/ipsec.d/private/{CP3002}.pem": "its key\n",
    "/etc/sysctl.d/60-ipsec.conf": "net.ipv4.tcp_keepalive_time = 1800\n",
    "/etc/strongswan.d/operator.conf": "charon {\n    retransmit_tries = 4\n}\n",
}
PACKAGES = ("strongswan-starter", "strongswan-charon", "strongswan-libcharon")


def problems(mesh, pillar) -> str:
    """Apply a pillar that stops at its check, with nothing changed on the host; what it says."""
    mesh.give(pillar, CP3002)
    before = footprint(mesh.lab.host(CLEANED))
    states = mesh.apply(CP3002)[CP3002]
    assert [name for name, state in states.items() if state["changes"]] == []
    assert different(before, footprint(mesh.lab.host(CLEANED))) == {}
    return states["ipsec-check-input"]["comment"]


def loaded(host, name) -> bool:
    """Whether charon has a connection."""
    return f" {name}:  " in host.run(["ipsec", "statusall"], check=False).stdout


@contextmanager
def of_its_own(mesh) -> Iterator[Machine]:
    """The host, cleaned, with a strongSwan and files of an operator's, until the end."""
    host = mesh.lab.host(CLEANED)
    mesh.give(mesh.pillar, CP3002)
    assert clean(mesh)["result"] is True
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy"]
    try:
        host.run([*apt, "install", *PACKAGES], timeout=300)
        for path, text in OF_OTHERS.items():
            host.run(["sh", "-ec", 'umask 077; printf %s "$1" >"$0"', path, text])
        yield host
    finally:
        host.run([*apt, "purge", *PACKAGES], check=False, timeout=300)
        host.run(["rm", "-rf", "/etc/ipsec.d", *OF_OTHERS], check=False)


def runs_partner(host) -> None:
    """Have the operator's charon run with the connection of his."""
    host.run(["systemctl", "restart", "strongswan-starter"])
    wait_for(lambda: loaded(host, "partner"), "the connection of others", 60)


def with_existing(mesh, word) -> dict:
    """The pillar with a word on what becomes of what others configured."""
    return {**mesh.pillar, "ipsec": {**mesh.pillar["ipsec"], "existing": word}}


def test_a_strongswan_of_its_own_goes_on_and_is_as_it_was_after_clean(mesh):
    """A second IKE daemon is named. Nothing changes until the pillar says what becomes of what is there."""
    keep = with_existing(mesh, "keep")
    with of_its_own(mesh) as host:
        host.run(["cp", "/usr/lib/ipsec/charon", "/usr/local/sbin/iked"])
        host.run(["systemctl", "stop", "strongswan-starter"])
        host.run(["systemd-run", "--unit=other-ike", "/usr/local/sbin/iked"])
        wait_for(lambda: ":500 " in host.run(["ss", "-lun"]).stdout, "a second daemon", 60)
        assert re.search(
            r"UDP ports 500 and 4500 are held by iked .*other-ike\.service", problems(mesh, keep)
        )
        host.run(["systemctl", "stop", "other-ike"])
        host.run(["rm", "/usr/local/sbin/iked"])
        runs_partner(host)
        before = footprint(host)
        assert "this host has a strongSwan of its own (/etc/ipsec.conf: partner" in problems(
            mesh, mesh.pillar
        )
        mesh.give(keep, CP3002)
        states = mesh.apply(CP3002)[CP3002]
        assert all(state["result"] is True for state in states.values()), states
        mesh.lab.wait_one_each()
        assert loaded(host, "partner")
        assert clean(mesh)["result"] is True
        assert different(before, footprint(host)) == {}
        wait_for(lambda: loaded(host, "partner"), "the connection of others, as before", 60)


def test_clean_on_a_host_that_was_never_a_member_leaves_a_strongswan_of_others_alone(mesh):
    """It deleted ``<id>.pem`` of an operator, and lists that his charon had fetched."""
    with of_its_own(mesh) as host:
        host.run(["sh", "-ec", f"echo x >/etc/ipsec.d/crls/{'a' * 40}.crl"])
        host.run(["rm", "-rf", "/var/lib/hostipsec"])
        runs_partner(host)
        before, pid = footprint(host), host.run(["pgrep", "-x", "charon"]).stdout
        did = clean(mesh)
        assert (did["result"], did["changes"]) == (True, {})
        assert different(before, footprint(host)) == {}
        assert host.run(["pgrep", "-x", "charon"]).stdout == pid


def test_a_strongswan_that_is_replaced_is_brought_back_by_clean_with_a_key_that_was_used_in_place(mesh):
    """The first run deleted both at their source, and ``clean`` brought back what names them."""
    replace = with_existing(mesh, "replace")
    own = {"certificate": "/etc/ipsec.d/certs/{id}.pem", "key": "/etc/ipsec.d/private/{id}.pem"}
    puppet = "/var/lib/puppet/ssl"
    replace["ipsec"]["certificates"] = {"source": "files", **own, "ca": f"{puppet}/certs/ca.pem"}
    with of_its_own(mesh) as host:
        for kept, path in (("certs", own["certificate"]), ("private_keys", own["key"])):
            host.run(["cp", f"{puppet}/{kept}/{CP3002}.pem", path.format(id=CP3002)])
        runs_partner(host)
        before = footprint(host)
        mesh.give(replace, CP3002)
        states = mesh.apply(CP3002)[CP3002]
        assert all(state["result"] is True for state in states.values()), states
        mesh.lab.wait_one_each()
        assert not loaded(host, "partner")
        during = footprint(host)
        for path in own.values():
            one = f"content of {path.format(id=CP3002)}"
            assert during[one] == before[one]
        again = mesh.apply(CP3002)[CP3002]
        assert {name: state["changes"] for name, state in again.items() if state["changes"]} == {}
        assert clean(mesh)["result"] is True
        assert different(before, footprint(host)) == {}
        wait_for(lambda: loaded(host, "partner"), "the connection of others, as before", 60)


def vanished(pillar):
    """What a master may give a host by mistake: by name, a pillar as text."""
    nobody, alone = copy.deepcopy(pillar), copy.deepcopy(pillar)
    del nobody["ipsec"]["hosts"][CP3002], nobody["ipsec"]["expect"]
    alone["ipsec"]["rules"] = alone["ipsec"]["expect"] = []
    return {
        "empty": "{}\n",
        "without hosts": yaml.safe_dump({"ipsec": {"hosts": {}, "rules": []}}),
        "without this host": yaml.safe_dump(nobody),
        "without its peers": yaml.safe_dump(alone),
    }


def test_a_pillar_that_vanished_changes_nothing(mesh):
    """A master that lost its pillar must not take the mesh down: the run refuses, and says so."""
    before = mesh.lab.ids()
    mesh.changed, mesh.touched = True, ""
    for how, text in vanished(mesh.pillar).items():
        mesh.lab.set_pillar(text)
        states = mesh.apply(CP3002)[CP3002]
        assert [name for name, state in states.items() if state["changes"]] == [], how
        check = states["ipsec-check-input"]
        assert check["result"] is False, how
        assert "Traceback" not in check["comment"]
    mesh.lab.set_pillar("ipsec: {% if %}\n")
    assert "Pillar failed to render" in str(mesh.lab.salt(CP3002, "state.apply", "ipsec", timeout=300))
    mesh.give(mesh.pillar, hosts="")
    assert mesh.lab.ids() == before
