"""Certificates renewed and revoked at their source, on a fleet under traffic."""

from fleetlab import demo
from fleetlab.authority import SSLDIR, Authority

CP1001, CP3002 = "cp1001.eqiad.example", "cp3002.esams.example"
OUTAGE = 1.0  # seconds; on a loaded machine a round trip can take a good part of one


def give(mesh, name, issued, *cas):
    """Leave a host's certificate, key and CAs where the Puppet agent does."""
    host = mesh.lab.host(name)
    host.write(f"/{SSLDIR}/certs/ca.pem", b"".join(cas))
    host.write(f"/{SSLDIR}/certs/{name}.pem", issued.certificate)
    host.write(f"/{SSLDIR}/private_keys/{name}.pem", issued.key, 0o600)


def members(mesh):
    return sorted(host.name for host in mesh.lab.hosts if "cp" in host.name)


def ways(mesh):
    """From each host to each peer that it starts a connection with."""
    found = mesh.lab.salt(demo.MEMBERS, "ipsec.connections")
    return {
        host: {name: one["right"] for name, one in sorted(mine.items()) if one["initiator"]}
        for host, mine in sorted(found.items())
        if any(one["initiator"] for one in mine.values())
    }


def files(mesh, name):
    command = ["find", "/etc/ipsec.d/certs", "/etc/ipsec.d/private", "-type", "f"]
    return {*mesh.lab.host(name).run(command).stdout.split()}


def test_every_certificate_renewed_by_a_new_ca(mesh, record_property):
    """RSA to ECDSA, both CAs trusted: the run touches no SA; on request all are made anew, without a gap."""
    lab, new = mesh.lab, Authority(mesh.lab.place / "new-ca", "New CA")
    before, old = mesh.lab.ids(), {name: files(mesh, name) for name in members(mesh)}
    for name in members(mesh):
        give(mesh, name, new.issue(name, "ECDSA", days=20), lab.ca.certificate, new.certificate)
    assert all(status["certificate"]["renewed"] for status in mesh.status().values())
    with lab.traffic(ways(mesh)) as during_the_run:
        for states in mesh.apply().values():
            assert all(state["result"] is True for state in states.values()), states
            assert "changed for the next authentication" in states["ipsec-config-connections"]["comment"]
    assert mesh.lab.ids() == before
    assert {found.lost for found in during_the_run.figures.values()} == {0}
    with lab.traffic(ways(mesh)) as traffic:
        found = lab.salt(demo.MEMBERS, "ipsec.reauthenticate", timeout=90)
        assert all(one["ok"] for one in found.values()), found
        lab.wait_one_each()
    record_property("lost", {way: str(found) for way, found in traffic.figures.items() if found.lost})
    # the responder uses its new SA a round trip before the initiator has it: what it sends then is lost
    assert max(found.gap for found in traffic.figures.values()) < OUTAGE, traffic.figures
    after = mesh.lab.ids()
    assert not [key for key in before if before[key] == after[key]]
    for name in members(mesh):
        assert len(files(mesh, name)) == 4  # of before, too, for ipsec.rollback
        assert files(mesh, name) > old[name]
    for host, states in mesh.apply().items():
        assert [name for name, state in states.items() if state["changes"]] == [], host
    assert mesh.lab.ids() == after
    peer = lab.host(CP1001).run(["ipsec", "listcerts"]).stdout
    assert 'issuer:   "CN=New CA"' in peer
    status = lab.call(CP3002, "ipsec.status")
    assert status["certificate"]["severity"] == status["summary"]["severity"] == "warning"
    assert "certificate expires in 19 days" in status["summary"]["sentence"]
    fleet = lab.master.run(["salt-run", "ipsec.status"], check=False)
    assert fleet.returncode == 1
    assert f"{CP3002}: certificate expires in 19 days" in fleet.stdout


def test_a_revoked_host_is_refused(mesh):
    """Its tunnels end at their next authentication, for which nobody has to wait."""
    lab = mesh.lab
    for name in members(mesh):
        give(mesh, name, lab.ca.issue(name), lab.ca.certificate)
    for states in mesh.apply().values():
        assert all(state["result"] is True for state in states.values()), states
    stolen = lab.host(CP3002).read(f"/{SSLDIR}/certs/{CP3002}.pem").encode()
    lab.host(CP1001).write(f"/{SSLDIR}/crl.pem", lab.ca.revoke(stolen))
    states = mesh.apply(CP1001)[CP1001]
    assert any("crls/hostipsec-" in path for path in states["ipsec-certs-reused"]["changes"])
    found = lab.call(CP1001, "ipsec.reauthenticate", "peer=cp3002*", "deadline=8")
    assert {name: one["new"] for name, one in found["connections"].items()} == {
        "cp3002_v4": [],
        "cp3002_v6": [],
    }
    assert "certificate was revoked" in lab.host(CP1001).run(["journalctl", "-b", "--no-pager"]).stdout
    lab.host(CP1001).run(["rm", f"/{SSLDIR}/crl.pem"])
    mesh.apply(CP1001)
    lab.host(CP1001).run(
        ["systemctl", "restart", "strongswan-starter"]
    )  # charon keeps lists that it has read
    mesh.lab.wait_one_each()


def test_a_stranger_with_a_member_s_name_from_another_ca_is_refused(mesh):
    """Every CA that charon has could vouch for any peer: a partner's issued CN=<member>, and it got in."""
    lab, partner = mesh.lab, Authority(mesh.lab.place / "partner-ca", "Partner CA")
    here, file = lab.host(CP1001), "/etc/ipsec.d/cacerts/partner.pem"
    here.write(file, partner.certificate)
    here.run(["ipsec", "rereadcacerts"])
    try:
        states = mesh.apply(CP1001)[CP1001]
        assert all(state["result"] is True for state in states.values()), states
        (said,) = states["ipsec-certs-reused"]["warnings"]
        assert f"{file} is a CA that the pillar does not name, CN=Partner CA; " in said
        give(mesh, CP3002, partner.issue(CP3002), lab.ca.certificate, partner.certificate)
        assert all(state["result"] is True for state in mesh.apply(CP3002)[CP3002].values())
        found = lab.call(CP3002, "ipsec.reauthenticate", "peer=cp1001*", "deadline=8")
        new = {name: one["new"] for name, one in found["connections"].items()}
        assert new == {"cp1001_v4": [], "cp1001_v6": []}
        log = here.run(["journalctl", "-b", "--no-pager", "-u", "strongswan-starter"]).stdout
        assert "not authenticated by CA 'CN=Lab CA'" in log
    finally:
        here.run(["rm", file])
        give(mesh, CP3002, lab.ca.issue(CP3002), lab.ca.certificate)
        mesh.apply(CP3002)
