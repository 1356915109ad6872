"""``ipsec.configured`` on a host whose peers are not there: what it writes, refuses and takes back."""

from __future__ import annotations

import copy
import json
import os
import re

import pytest
from configuring import ADDRESSES, FILES, SERVICE, A, C, Member, three_hosts
from minions import NOW, tree
from strongswan import wait_for

import authorities
from certificate_oddities import COMPANY as COMPANY_EXTENSION

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")


@pytest.fixture
def data():
    return three_hosts()


@pytest.fixture(scope="module")
def authority():
    return authorities.authority("CN=Fleet CA", NOW)


@pytest.fixture
def lone(tmp_path, authority, data):
    """Return host a, as the package leaves it; its peers do not exist."""
    found = Member(A, tmp_path, authority)
    try:
        found.prepare(data)
        yield found
    finally:
        found.stop()


# The first time ------------------------------------------------------------------------------


def test_the_first_configuration(lone, data):
    did = lone.apply(data)
    assert did["changes"] == {
        "connections": {"added": ["b_v4", "c_v4"]},
        "configuration": "new",
        "charon": "started",
    }
    assert did["comment"] == "charon runs with exactly 2 connections; charon started"
    modes = {name: oct(mode & 0o777) for name, (_, mode, _) in lone.files.items()}
    assert modes["etc/ipsec.secrets"] == "0o600"
    assert lone.minion.call("ipsec.version")["strongswan"]
    record = json.loads((lone.host.root / "var/lib/hostipsec/mesh.json").read_text())
    assert [one["name"] for one in record["connections"]] == ["b_v4", "c_v4"]


OF_OTHERS = """config setup

conn %default
    keyexchange=ikev2
    left=10.0.0.1
    authby=secret

conn partner
    right=192.0.2.9
    auto=add
"""


PACKAGE = """
Package: strongswan-of-tests
Status: install ok installed
Version: 1
Architecture: all
Maintainer: tests
Description: has what was unpacked, not installed
"""


BY_CLEAN = "what this host had of a strongSwan of others is kept aside; ipsec.clean alone brings it back"


def at_partners(host):
    """Give a host a strongSwan of its own, that runs."""
    with (host.host.root / "var/lib/dpkg/status").open("a") as known:
        known.write(PACKAGE)
    host.host.run("ip", "address", "add", f"{ADDRESSES[A]}/32", "dev", "lo")
    settings = host.host.run("find", "/etc/strongswan.d", "-name", "*.conf")
    host.host.write("/var/lib/dpkg/info/strongswan-of-tests.list", settings, 0o644)
    host.host.write("/etc/ipsec.conf", OF_OTHERS, 0o644)
    host.host.write("/etc/ipsec.secrets", '192.0.2.9 : PSK "by hand"\n', 0o600)
    assert host.minion.call("service.start", SERVICE)
    wait_for(lambda: loaded(host) == {"partner"}, "the connection of others")


def loaded(host):
    """Return the names of the connections that charon has."""
    said = host.host.process(["ipsec", "statusall"], 60).stdout.partition("Connections:\n")[2]
    return {
        line.partition(":")[0].strip() for line in said.splitlines() if ":  " in line and "child:" not in line
    }


def test_a_strongswan_of_its_own_stops_the_first_run_until_the_pillar_says_what_becomes_of_it(lone, data):
    at_partners(lone)
    (said,) = [one for one in lone.minion.call("ipsec.check")["problems"] if "of its own" in one]
    assert "(/etc/ipsec.conf: partner; /etc/ipsec.secrets: 1 line(s))" in said
    assert "by hand" not in said
    assert lone.minion.call("ipsec_host.facts") == {"member": False}
    lone.minion.pillar({**data, "existing": "keep"})
    assert lone.minion.call("ipsec.check")["problems"] == []
    assert lone.minion.call("ipsec_host.facts")["member"] is True


@pytest.mark.parametrize(
    ("choice", "fate"),
    [
        ("keep", "goes on beside ours, in files of its own"),
        ("replace", "is kept aside, and its SAs end"),
    ],
)
def test_what_becomes_of_a_strongswan_of_its_own_is_said_before(lone, data, choice, fate):
    """`check` said nothing; `plan`, that it was no longer in the pillar, and that no charon restarts."""
    at_partners(lone)
    lone.minion.pillar({**data, "existing": choice})
    what = "/etc/ipsec.conf: partner; /etc/ipsec.secrets: 1 line(s)"
    sentence = f"what this host has of a strongSwan of others {fate}: {what}"
    check, plan = lone.minion.call("ipsec.check"), lone.minion.call("ipsec.plan")
    for notes in (check["notes"], plan["notes"]):
        assert [one for one in notes if one.startswith(sentence)]
    assert check["ok"] and "charon restarted on 1" in plan["sentence"]
    assert "charon restarted (first configuration) on 1 host" in "\n".join(plan["lines"])
    assert "no longer in the pillar" not in "\n".join(plan["lines"])
    lone.settle({**data, "existing": choice})
    by_hand = "\nconn mine\n    left=10.0.0.1\n    right=192.0.2.10\n    auto=add\n"
    conf = lone.host.root / "etc/ipsec.conf"
    conf.write_text(conf.read_text() + by_hand)
    plan = lone.minion.call("ipsec.plan")
    assert [one for one in plan["notes"] if "of others" in one] == (
        [f"what this host has of a strongSwan of others {fate}: /etc/ipsec.conf: mine"]
        if choice == "replace"
        else []
    )
    assert ("connections of others kept aside: mine" in "\n".join(plan["lines"])) is (choice == "replace")
    notes = lone.minion.call("ipsec.rollback")["notes"]
    assert (BY_CLEAN in notes) is (choice == "replace")


def test_connections_of_others_go_on_beside_ours(lone, data):
    at_partners(lone)
    lone.apply({**data, "existing": "keep"})
    assert loaded(lone) == {"partner", "b_v4", "c_v4"}
    found = lone.host.process(["ipsec", "statusall"], 60).stdout
    assert "partner:   remote: [192.0.2.9] uses pre-shared key authentication" in found
    rows = lone.minion.call("ipsec.status")
    assert (rows["unmanaged"], rows["others"]) == ({}, {"partner": "not up"})
    assert rows["sentence"].endswith("; 1 connection of others beside these: partner not up")
    del data["hosts"][C]
    lone.apply({**data, "existing": "keep"})
    assert loaded(lone) == {"partner", "b_v4"}


def test_what_the_pillar_replaces_is_kept_aside(lone, data):
    at_partners(lone)
    did = lone.apply({**data, "existing": "replace"})
    assert did["changes"]["connections of others"] == "kept aside: partner"
    assert did["changes"]["charon"] == "restarted (first configuration)"
    assert loaded(lone) == {"b_v4", "c_v4"}
    kept = lone.host.root / "var/lib/hostipsec/original/etc"
    assert (kept / "ipsec.conf").read_text() == OF_OTHERS
    assert (kept / "ipsec.secrets").read_text() == '192.0.2.9 : PSK "by hand"\n'


def test_what_somebody_else_wrote_is_kept(lone, data):
    """The files are in a directory that only root can read, once: later files are ours."""
    lone.host.write("/etc/ipsec.conf", "conn by-hand\n    auto=add\n", 0o644)
    lone.host.write("/etc/ipsec.secrets", ': PSK "by hand"\n', 0o600)
    did = lone.apply(data)
    assert did["changes"]["connections"] == {"added": ["b_v4", "c_v4"]}
    assert did["changes"]["connections of others"] == "kept aside: by-hand"
    kept = lone.host.root / "var/lib/hostipsec/original/etc"
    assert (kept / "ipsec.conf").read_text() == "conn by-hand\n    auto=add\n"
    assert (kept / "ipsec.secrets").read_text() == ': PSK "by hand"\n'
    assert (kept / "ipsec.secrets").stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o077 == 0
    del data["hosts"][C]
    lone.apply(data)
    assert (kept / "ipsec.conf").read_text() == "conn by-hand\n    auto=add\n"


def test_a_charon_of_the_package_that_runs_already_is_taken_over(lone, data):
    """Installing the package starts a charon without connections; it may lack plugins that came later."""
    assert lone.minion.call("service.start", SERVICE)
    wait_for(lambda: lone.minion.call("ipsec.version")["strongswan"], "charon")
    assert lone.apply(data)["changes"]["charon"] == "started"


# What goes wrong changes nothing -------------------------------------------------------------


def test_a_configuration_that_charon_cannot_start_with(lone, data):
    """The trial charon finds it out, and nothing is touched.

    For a moment the charon in service used to be looked at instead: any trial of settings passed.
    """
    lone.settle(data)
    pid = lone.pid
    said = lone.fails({**data, "charon": {**data["charon"], "user": "nobody-of-this-name"}})
    assert said.startswith("charon does not start with the new configuration: ")
    assert lone.pid == pid
    assert lone.apply(data)["changes"] == {}


def test_a_proposal_without_its_plugin(lone, data):
    lone.settle(data)
    lone.host.run(
        "rm", "/usr/lib/ipsec/plugins/libstrongswan-gcm.so", "/usr/lib/ipsec/plugins/libstrongswan-openssl.so"
    )
    said = lone.fails({**data, "connection": {**data["connection"], "margintime": "9m"}})
    assert said.startswith("charon cannot do what the pillar proposes: ")


PQ, CLASSIC = "aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "aes128gcm16-prfsha384-ecp384bp"


def test_a_proposal_that_this_charon_cannot_do_is_left_out(lone, data):
    """strongSwan 5.9 drops the whole connection where one proposal has a word that it does not know."""
    both = {**data, "connection": {**data["connection"], "ike": f"{PQ}, {CLASSIC}!"}}
    did = lone.apply(both)
    assert did["comment"].endswith(
        f"; this charon cannot do ike {PQ} (no ML_KEM_768, additional key exchanges)"
    )
    assert f"    ike={CLASSIC}!\n" in (lone.host.root / "etc/ipsec.conf").read_text()
    assert lone.apply(data)["changes"] == {}
    said = lone.fails({**data, "connection": {**data["connection"], "ike": f"{PQ}!"}})
    assert said == (
        f"{A} cannot do what the pillar proposes: ike {PQ}: "
        "ML_KEM_768 needs plugin botan, ml, openssl or wolfssl; additional key exchanges need strongSwan 6"
    )


def test_what_a_charon_lacks_that_started_too_early_is_not_left_out(lone, data):
    """Debian 12 starts charon before it has unpacked all plugins; one that starts now has them."""
    two = {**data, "connection": {**data["connection"], "ike": f"{CLASSIC}, aes128-sha256-modp2048!"}}
    plugins = [f"/usr/lib/ipsec/plugins/libstrongswan-{name}.so" for name in ("openssl", "gcm", "aesni")]
    lone.host.run("mv", *plugins, "/tmp")
    assert lone.minion.call("service.start", SERVICE)
    wait_for(lambda: lone.minion.call("ipsec.version")["strongswan"], "charon")
    lone.host.run("sh", "-c", "mv /tmp/libstrongswan-*.so /usr/lib/ipsec/plugins")
    did = lone.apply(two)
    assert "cannot do" not in did["comment"]
    assert f"    ike={CLASSIC},aes128-sha256-modp2048!\n" in (lone.host.root / "etc/ipsec.conf").read_text()


def test_a_line_that_starter_would_drop_with_a_warning(lone, data):
    """A parser that does not know an option warns, drops the connection and ends with status 0."""
    lone.settle(data)
    starter = "/usr/lib/ipsec/starter"
    lone.host.run("mv", starter, f"{starter}.real")
    script = f"""#!/bin/sh
        [ "$1" = --conftest ] && echo "# bad argument value in conn 'b_v4'"
        exec {starter}.real "$@"
    """
    lone.host.write(starter, script, 0o755)
    said = lone.fails({**data, "connection": {**data["connection"], "margintime": "9m"}})
    assert said == (
        "strongSwan does not take the new ipsec.conf (starter --conftest, status 0): "
        "# bad argument value in conn 'b_v4'"
    )


OTHER_KEY = authorities.authority("CN=other", NOW).key_pem()
COPIES = {
    "the certificate": ("certs", lambda content: b"\xef\xbb\xbf" + content, "load this host's certificate"),
    "the key": ("private", lambda _: OTHER_KEY, "load the private key of this host's"),
    "the CA": ("cacerts", lambda content: b"\xef\xbb\xbf" + content, "as they are meant: b_v4"),
}


@pytest.mark.parametrize("what", COPIES)
def test_what_charon_cannot_load_of_its_certificate_is_found_on_trial(lone, data, what):
    """All connections were there: the host could authenticate to nobody from then on."""
    lone.settle(data)
    directory, change, sentence = COPIES[what]
    (path,) = (lone.host.root / "etc/ipsec.d" / directory).glob("*.pem")
    path.write_bytes(change(path.read_bytes()))
    said = lone.fails({**data, "connection": {**data["connection"], "margintime": "9m"}})
    assert sentence in said


@pytest.mark.parametrize("what", COPIES)
def test_what_charon_cannot_load_of_its_certificate_is_found_in_service(lone, data, what):
    """A host that makes no namespaces has no trial: what ran before comes back."""
    lone.settle(data)
    lone.host.write("/usr/bin/unshare", "#!/bin/sh\nexit 1\n", 0o755)
    directory, change, sentence = COPIES[what]
    (path,) = (lone.host.root / "etc/ipsec.d" / directory).glob("*.pem")
    path.write_bytes(change(path.read_bytes()))
    said = lone.fails({**data, "charon": {**data.get("charon", {}), "threads": 20}})
    assert {"the CA": "it lacks b_v4"}.get(what, sentence) in said
    assert "the last good configuration is back" in said


COMPANY = authorities.authority("CN=Company CA", NOW, extensions=((COMPANY_EXTENSION, True),))


def reuse(member):
    return member.minion.state("ipsec.certificate_reused", "/etc/ipsec.d")


def test_a_ca_that_charon_does_not_load_is_not_copied(lone, data, authority):
    """Where nothing else differed nobody asked charon, and its peers were refused from then on."""
    lone.settle(data)
    bundle = lone.host.root / "etc/pki/ca.pem"
    bundle.write_bytes(authority.pem + COMPANY.pem)
    before = tree(lone.host.root / "etc/ipsec.d")
    taken = {**data, "charon": {**data.get("charon", {}), "x509": {"enforce_critical": "no"}}}
    lone.minion.pillar(taken)  # charon has not read that yet
    found = reuse(lone)
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"] == (
        "charon does not load the CA CN=Company CA from /etc/ipsec.d: see its log; the files are as they were"
    )
    assert [*before] == [*tree(lone.host.root / "etc/ipsec.d")]
    assert "CN=Fleet CA" in lone.host.run("ipsec", "listcacerts")
    bundle.write_bytes(authority.pem)
    lone.settle(taken)
    bundle.write_bytes(authority.pem + COMPANY.pem)
    assert reuse(lone)["result"] is True
    assert "CN=Company CA" in lone.host.run("ipsec", "listcacerts")


def test_charon_is_asked_for_a_list_that_is_copied(lone, data, authority):
    """Of CAs of one name it keeps the list that is numbered higher, also where the CA was made anew."""
    lone.settle(data)
    lone.minion.pillar({**data, "certificates": {**data["certificates"], "crl": "/etc/pki/crl.pem"}})
    anew, pki = authorities.authority("CN=Fleet CA", NOW), lone.host.root / "etc/pki"
    (pki / "ca.pem").write_bytes(authority.pem + anew.pem)  # that is a warning of its own
    for ca, number, warnings in ((authority, 7, []), (authority, 8, []), (anew, 3, ["CN=Fleet CA"])):
        (pki / "crl.pem").write_bytes(authorities.crl(ca, NOW, number=number))
        for changed in (True, False):
            found = reuse(lone)
            assert (found["result"], bool(found["changes"])) == (True, changed)
            told = [one.partition(" that is in ")[0] for one in found["warnings"] if one.startswith("charon")]
            assert told == [f"charon has not the CRL of {one}" for one in warnings]


def test_on_the_way_back_nobody_is_vouched_for_by_the_ca_of_a_partner(lone, data, authority):
    """It stayed: connections of before, where the fleet had two CAs, are bound to none."""
    partner, pki = authorities.authority("CN=Partner CA", NOW), lone.host.root / "etc/pki"
    second = authorities.authority("CN=Second CA", NOW)
    (pki / "ca.pem").write_bytes(authority.pem + second.pem)
    lone.host.run("ip", "address", "add", f"{ADDRESSES[A]}/32", "dev", "lo")
    lone.prepare(data)
    lone.settle(data)
    (pki / "ca.pem").write_bytes(authority.pem)
    (pki / "partner.pem").write_bytes(partner.pem)
    gateway = {"managed": False, "ca": "/etc/pki/partner.pem", "subject": "@gw.partner"}
    hosts = {**data["hosts"], "gw.partner": {**gateway, "site": "two", "ipv4": "10.0.0.9"}}
    (said,) = [one for one in with_pillar(lone, {**data, "hosts": hosts}) if "are bound to no CA" in one]
    assert "the CA of gw.partner could vouch" in said
    lone.prepare({**data, "hosts": hosts})
    lone.settle({**data, "hosts": hosts})
    assert authorities_of(lone) == {"CN=Fleet CA", "CN=Partner CA"}
    back = lone.minion.call("ipsec.rollback")
    assert back["ok"], back
    assert loaded(lone) == {"b_v4", "c_v4"}
    assert authorities_of(lone) == {"CN=Fleet CA"}
    (said,) = [one for one in back["notes"] if "is taken away" in one]
    assert "no connection of before is bound to that CA" in said


def with_pillar(member, data):
    member.minion.pillar(data)
    return member.minion.call("ipsec.check")["problems"]


def authorities_of(member):
    """Return the CAs that charon has."""
    return {*re.findall('subject: +"(.*)"', member.host.run("ipsec", "listcacerts"))}


@pytest.mark.parametrize("directory", ["/etc/strongswan.d", "/var/lib/hostipsec"])
def test_a_full_disk(lone, data, directory):
    lone.settle(data)
    before = lone.files
    small = f"""
        cp -a {directory} /tmp/kept
        mount -t tmpfs -o size=1m,mode=0755 tmpfs {directory}
        cp -a /tmp/kept/. {directory}
        dd if=/dev/zero of={directory}/filler bs=4k 2>/dev/null || true
    """
    lone.host.run("sh", "-c", small)
    changed = copy.deepcopy(data)
    changed["charon"]["retransmit_tries"] = 7
    lone.minion.pillar(changed)
    found = lone.run()
    assert (found["result"], found["changes"]) == (False, {})
    assert "No space left on device" in found["comment"]
    assert len(found["comment"].splitlines()) == 1
    left = lone.host.run("find", directory, "-newer", f"{directory}/filler", "-type", "f").split()
    assert left == []
    lone.host.run("umount", directory)
    assert lone.files == before
    assert lone.apply(data)["changes"] == {}
    assert lone.apply(changed)["changes"]["strongswan.conf"]["charon.retransmit_tries"]["new"] == "7"


def test_a_charon_that_hangs(lone, data):
    lone.settle(data)
    pid = lone.pid.strip()
    lone.host.run("kill", "-STOP", pid)
    try:
        del data["hosts"][C]
        said = lone.fails(data)
    finally:
        lone.host.run("kill", "-CONT", pid)
    assert said.startswith("charon did not answer within 5 s")
    assert lone.apply(data)["changes"]["connections"] == {"removed": ["c_v4"]}


def test_no_certificate_any_more(lone, data):
    lone.settle(data)
    lone.host.run("rm", "/etc/pki/host.key")
    assert "/etc/pki/host.key is missing" in lone.fails(data)


def test_an_invalid_pillar(lone, data):
    lone.settle(data)
    lone.minion.pillar({**data, "mtu": 9})
    before = lone.files
    for test in (True, False):
        found = lone.run(test)
        assert (found["result"], found["changes"]) == (False, {})
        assert "ipsec:mtu" in found["comment"]
    assert lone.files == before


# What runs stays -----------------------------------------------------------------------------


def test_a_run_that_was_killed_between_two_files_is_finished(lone, data):
    """ipsec.conf is new, the other files and charon are as before."""
    fewer = copy.deepcopy(data)
    del fewer["hosts"][C]
    fewer["charon"]["retransmit_tries"] = 7
    lone.settle(fewer)
    new = lone.contents[FILES[0]][0].decode()
    lone.settle(data)
    lone.host.write(FILES[0], new, 0o644)
    did = lone.apply(fewer)
    assert did["changes"]["strongswan.conf"]["charon.retransmit_tries"] == {"old": "15", "new": "7"}
    assert did["changes"]["unloaded from charon"] == ["c_v4"]
    assert {*lone.sas} <= {"b_v4"}


def test_a_run_that_was_killed_when_all_files_were_new_is_finished(lone, data):
    """Only charon and the record tell of what was there before."""
    fewer = copy.deepcopy(data)
    del fewer["hosts"][C]
    lone.settle(fewer)
    new = lone.contents
    lone.settle(data)
    for name in FILES:
        lone.host.write(name, new[name][0].decode(), new[name][1] & 0o777)
    did = lone.apply(fewer)
    assert did["changes"]["unloaded from charon"] == ["c_v4"]
    assert lone.contents == new
    assert {*lone.sas} <= {"b_v4"}


def test_what_an_earlier_release_kept_beside_goes(lone, data):
    """It was never gone back to. What it kept to go back to is where it was."""
    lone.settle(data)
    before = lone.contents
    fewer = copy.deepcopy(data)
    del fewer["hosts"][C]
    lone.apply(fewer)
    state = lone.host.root / "var/lib/hostipsec"
    lone.host.run("cp", "-a", "/var/lib/hostipsec/previous", "/var/lib/hostipsec/good")
    lone.host.run("rm", "/var/lib/hostipsec/good/change.json")
    assert lone.run(test=True)["result"] is True
    assert (state / "good").exists()
    assert lone.apply(fewer)["changes"] == {}
    assert not (state / "good").exists()
    other = lone.minion.call("ipsec.rollback", mark="2026-11-24T20:00:00Z")
    assert other["error"].startswith("the last change here, of "), other
    assert other["error"].endswith("not of roll-out 2026-11-24T20:00:00Z; nothing was changed")
    found = lone.minion.call("ipsec.rollback", mark="")
    assert found["ok"] is True, found
    assert found["changes"]["connections"] == {"added": ["c_v4"]}
    assert lone.contents == before
    assert lone.minion.call("ipsec.rollback")["error"].startswith("nothing to go back to")


def test_modes_are_mended(lone, data):
    lone.settle(data)
    pid = lone.pid
    lone.host.run("chmod", "644", "/etc/ipsec.secrets")
    assert lone.apply(data)["changes"] == {"modes": {"/etc/ipsec.secrets": "0644 -> 0600"}}
    assert lone.pid == pid


def test_a_charon_that_was_stopped_is_started(lone, data):
    lone.settle(data)
    assert lone.minion.call("service.stop", SERVICE)
    assert lone.apply(data)["changes"] == {"charon": "started"}
