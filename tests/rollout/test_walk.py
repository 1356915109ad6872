"""New hosts go up to `require`; then ciphers, an address, certificates and a site change; then down again.

`--whole` walks all of it; else the steps that need the kernel, from hosts in `start`.
A and B require IPsec of each other: whatever happens, nothing of theirs goes in the clear. C goes on with
`start`. Each step is what docs/changing-the-fleet.md tells to type.
"""

import pytest
from conftest import INTERVAL, MOVED, A, B, C

from fleetlab.authority import SSLDIR, Authority

ALL = (A, B, C)
GAP = round(2 / INTERVAL)  # probes to an address in a row without an answer: nothing flows any more
LEAD = 40  # seconds: Salt takes its time in User Mode Linux
OLD = {"ike": "aes128gcm16-prfsha384-ecp384bp", "esp": "aes128gcm16-ecp384bp-noesn"}
NEW = {"ike": "aes256gcm16-prfsha384-ecp384", "esp": "aes256gcm16-ecp384-noesn"}


def rules(fleet, core):
    """The rules, with a stage of the pair of A and B."""
    edge, ours = fleet.pillar["ipsec"]["rules"]
    return [{**edge, "stage": "start"}, {**ours, "stage": core}]


def test_hosts_go_up_to_require_as_far_as_it_is_proven(fleet):
    with fleet.step(f"{fleet.walk.begin}, up to require") as step:
        fleet.edit(rules=rules(fleet, "require"))
        lines = fleet.run("rollout")
        step.traffic.wait_flows()
    stages = [line.split()[2].rstrip(",") for line in lines if line.startswith("== stage ")]
    assert tuple(stages) == fleet.walk.stages
    assert lines[-1] == f"{fleet.walk.changed} hosts changed, every connection as it should be"
    assert max(one.lost for one in step.traffic.figures.values()) < GAP
    fleet.lab.wait_one_each()
    with fleet.step("required") as step:
        step.traffic.wait_flows()
    for one, other in ((A, B), (A, C), (B, C)):
        assert (step.seen(one, other, "clear"), step.lost(one, other)) == (0, 0)
        assert step.seen(one, other, "esp") > 0


@pytest.mark.whole  # over a live fleet without require: scenarios; by a real kernel: functional
def test_ciphers_change(fleet):
    """The edit that matters of the three: the new one preferred, and used, the old one accepted."""
    with fleet.step("ciphers change") as step:
        fleet.edit(connection={key: f"{NEW[key]},{OLD[key]}!" for key in OLD})
        fleet.run("rollout")
        assert all(step.same_sas(*pair) for pair in ((A, B), (A, C), (B, C)))
        fleet.run("reauthenticate", f"lead={LEAD}")
        fleet.lab.wait_one_each()
    used = {
        one["proposal"] for found in fleet.lab.statuses().values() for one in found["connections"].values()
    }
    assert {one.split("/")[0] for one in used} == {"AES_GCM_16_256"}
    assert step.seen(A, B, "clear") == 0
    assert [step.lost(*pair) for pair in ((A, B), (A, C), (B, C))] == [0, 0, 0]


@pytest.mark.whole
def test_a_host_moves(fleet):
    """C has both addresses, and its programs use the new ones; nobody else notices."""
    for family, length in (("ipv4", 24), ("ipv6", 64)):
        address = ["ip", "address", "add", f"{MOVED[family]}/{length}", "dev", "eth0"]
        fleet.lab.host(C).run([*address, *(["nodad"] if family == "ipv6" else [])])
    fleet.moved = {C: list(MOVED.values())}
    hosts = {**fleet.pillar["ipsec"]["hosts"]}
    hosts[C] = {**hosts[C], **MOVED}
    with fleet.step("a host moves") as step:
        fleet.edit(hosts=hosts)
        fleet.run("rollout")
        fleet.lab.wait_one_each()
        step.traffic.wait_flows()
    assert (step.lost(A, B), step.seen(A, B, "clear"), step.same_sas(A, B)) == (0, 0, True)
    assert max(one.lost for one in step.traffic.figures.values()) < GAP
    packets = fleet.lab.statuses()[C]["connections"].values()
    assert min(one["packets_in"] for one in packets) > 0


@pytest.mark.whole
def test_every_certificate_is_renewed_by_a_new_ca(fleet):
    lab, new = fleet.lab, Authority(fleet.lab.place / "new-ca", "New CA")
    with fleet.step("certificates renewed") as step:
        for name in ALL:
            issued = new.issue(name, "ECDSA")
            lab.host(name).write(f"/{SSLDIR}/certs/ca.pem", lab.ca.certificate + new.certificate)
            lab.host(name).write(f"/{SSLDIR}/certs/{name}.pem", issued.certificate)
            lab.host(name).write(f"/{SSLDIR}/private_keys/{name}.pem", issued.key, 0o600)
        for states in lab.salt("*", "state.apply", "ipsec", timeout=300).values():
            assert all(state["result"] is True for state in states.values()), states
        fleet.run("reauthenticate", f"lead={LEAD}")
        lab.wait_one_each()
    assert 'issuer:   "CN=New CA"' in lab.host(A).run(["ipsec", "listcerts"]).stdout
    assert step.seen(A, B, "clear") == 0
    assert max(one.lost for one in step.traffic.figures.values()) < GAP


@pytest.mark.whole
def test_a_site_leaves_and_comes_back_by_rollback(fleet):
    whole = {key: fleet.pillar["ipsec"][key] for key in ("hosts", "rules", "expect")}
    hosts = {name: one for name, one in whole["hosts"].items() if name != C}
    with fleet.step("a site leaves, and comes back by rollback") as step:
        fleet.edit(hosts=hosts, rules=[rules(fleet, "require")[1]], expect=[])
        fleet.run("rollout")
        assert {*fleet.lab.statuses()[A]["connections"]} == {"cp2001_v4", "cp2001_v6"}
        fleet.run("rollback")
        fleet.lab.wait_one_each()
        step.traffic.wait_flows()
    fleet.edit(**whole)
    assert (step.lost(A, B), step.seen(A, B, "clear"), step.same_sas(A, B)) == (0, 0, True)


@pytest.mark.whole
def test_a_peer_that_gets_another_name_stays_in_require(fleet):
    """The pillar gives it one of its own; a host of the same short name joins, which pairs with nobody."""
    joins = {"cp2001.esams.example": {"site": "nowhere", "ipv4": "10.20.0.99"}}
    renamed = {B: {**fleet.pillar["ipsec"]["hosts"][B], "name": B}}
    with fleet.step("a peer gets another name") as step:
        fleet.edit(hosts={**fleet.pillar["ipsec"]["hosts"], **joins, **renamed})
        lines = fleet.run("rollout")
        step.traffic.wait_flows()
    assert lines[-1] == "2 hosts changed, every connection as it should be"
    assert {f"{B}_v4", f"{B}_v6"} < {*fleet.lab.statuses()[A]["connections"]}
    assert step.seen(A, B, "clear") == 0


@pytest.mark.whole
def test_down_again_from_require(fleet):
    with fleet.step("require to start") as step:
        fleet.edit(rules=rules(fleet, "start"))
        fleet.run("rollout")
    assert (step.lost(A, B), step.seen(A, B, "clear"), step.same_sas(A, B)) == (0, 0, True)
    policies = fleet.lab.host(A).run(["ip", "xfrm", "policy"]).stdout
    assert "action block" not in policies
