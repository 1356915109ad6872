"""What one run reads once."""

from __future__ import annotations

from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

import authorities
import fleets
from hostipsec.apply import hostplan, run
from hostipsec.certificates import source
from hostipsec.errors import HostIPsecError
from hostipsec.kernel import addresses
from hostipsec.pillar import membership, pillar
from hostipsec.system import platforms

HOST = "cp1001.eqiad.example"
NOW = datetime.now(timezone.utc)
DEBIAN = {"os": "Debian", "osmajorrelease": 12, "init": "systemd"}


@pytest.fixture
def read(monkeypatch):
    """Count the readings of the pillar."""
    found, original = [], pillar.read
    monkeypatch.setattr(pillar, "read", lambda *arguments: (found.append(1), original(*arguments))[1])
    return found


def member(context, data, mine=pytest.fail):
    return run.of(context, data, HOST, mine).member


def test_a_run_reads_once(read):
    context = {run.RUN: object()}
    assert member(context, fleets.example()) is member(context, fleets.example())
    assert len(read) == 1


@pytest.mark.parametrize("other", [object(), None])
def test_another_run_reads_anew_even_with_the_context_of_the_one_before(read, other):
    """Salt copies the context of a call into that of the run that it starts."""
    context = {run.RUN: object()}
    member(context, fleets.example())
    copied = {**context, run.RUN: other}
    member(copied, fleets.example())
    assert len(read) == 2


def test_what_is_no_run_keeps_nothing(read):
    context = {}
    member(context, fleets.example())
    member(context, fleets.example())
    assert (context, len(read)) == ({}, 2)


@pytest.mark.parametrize("mtu", [1400, None])
def test_another_pillar_is_read_anew(read, mtu):
    context = {run.RUN: object()}
    member(context, {**fleets.example(), "mtu": 1500})
    assert member(context, {**fleets.example(), "mtu": mtu}).fleet.settings.mtu == mtu
    assert len(read) == 2


def test_what_python_takes_for_equal_is_another_pillar(read):
    context = {run.RUN: object()}
    assert member(context, {**fleets.example(), "vici": True}).fleet.settings.vici is True
    with pytest.raises(HostIPsecError, match="ipsec:vici: found 1; "):
        member(context, {**fleets.example(), "vici": 1})
    assert len(read) == 2


class Stars(dict):
    """A mapping as Salt 3008 has them: its text does not show what it holds."""

    def __repr__(self):
        return "{'hosts': '***'}"


def test_the_text_of_a_masked_pillar_does_not_decide(read):
    context = {run.RUN: object()}
    one = Stars(fleets.example(), mtu=1400)
    assert member(context, one).fleet.settings.mtu == 1400
    assert member(context, Stars(one, mtu=1500)).fleet.settings.mtu == 1500
    assert len(read) == 2


def test_an_error_is_the_same_error_again(read):
    context = {run.RUN: object()}
    for _ in range(3):
        with pytest.raises(HostIPsecError, match="ipsec:mtu: found 9; "):
            member(context, {**fleets.example(), "mtu": 9})
    assert len(read) == 1


# Certificates --------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def reading(place):
    """Return the reading of a host whose certificate is in files."""
    ca = authorities.authority("CN=Fleet CA", NOW)
    issued = authorities.host(f"CN={HOST}", NOW, ca)
    files = authorities.write(place, issued.pem, issued.key_pem(), ca.pem)
    certificates = {"certificate": files.certificate, "key": files.key, "ca": files.ca}
    data = {**fleets.example(), "certificates": {"source": "files", **certificates}}
    return run.Reading(data, HOST, pytest.fail)


def test_the_source_is_inspected_once_and_anew_where_it_changed_on_the_way(reading, place, monkeypatch):
    """A state of somebody else may renew the certificate before ours copies it."""
    found, original = [], source.inspect
    monkeypatch.setattr(source, "inspect", lambda *arguments: (found.append(1), original(*arguments))[1])
    first = reading.inspection
    assert first.errors == ()
    assert reading.inspection is first
    assert len(found) == 1
    (place / "host.key").unlink()
    assert reading.inspection.errors != ()
    assert reading.inspection.errors != ()
    assert len(found) == 2


def test_check(reading):
    found = run.check(reading, DEBIAN)
    assert (found.ok, found.sentence, len(found.connections)) == (True, "3 peers, 6 connections", 6)
    assert found.own["peers"] == ["cp2001.codfw.example", "cp3001.esams.example", "cp3002.esams.example"]


def test_check_of_a_release_that_is_not_known(reading):
    found = run.check(reading, {**DEBIAN, "osmajorrelease": 9})
    assert (found.ok, found.sentence) == (False, "1 problem")
    assert found.problems[0].startswith("Debian 9 is not a release this package knows; ")
    assert run.facts(reading, {**DEBIAN, "osmajorrelease": 9}) == {"member": False}


def test_check_of_a_release_whose_python_is_too_old(reading):
    """ipsec-global, keeper and guard do not start there: the state refuses before it changes anything."""
    said = run.check(reading, {"os": "Ubuntu", "osmajorrelease": 18, "init": "systemd"}).problems[0]
    assert said == (
        "Ubuntu 18 is not a release this package knows; its Python is 3.6, and ipsec-global, keeper and "
        "guard need 3.8; known: Debian 11, Debian 12, Debian 13, Ubuntu 20, Ubuntu 22, Ubuntu 24, Ubuntu 26"
    )


@pytest.mark.parametrize("release", [("Debian", 11), ("Debian", 13), ("Ubuntu", 20), ("Ubuntu", 26)])
def test_the_service_is_the_unit_or_the_init_script(release):
    assert platforms.platform(*release, systemd=True).service == "strongswan-starter"
    assert platforms.platform(*release, systemd=False).service == "ipsec"


def test_check_of_an_address_that_the_host_does_not_have(reading, monkeypatch):
    """A typo, an interface that is gone, 1:1 NAT: state.apply was through, and nothing was ever up."""
    away = {ip_address("10.64.0.11"): "no interface here has 10.64.0.11"}
    monkeypatch.setattr(addresses, "absent", lambda _: away)
    found = run.check(reading, DEBIAN)
    assert (found.ok, found.sentence) == (False, "1 problem")
    assert found.problems == [
        "ipsec:hosts:cp1001.eqiad.example:ipv4: found 10.64.0.11; no interface here has 10.64.0.11; "
        "correct it, or give the address to the host first"
    ]
    assert run.facts(reading, DEBIAN) == {"member": False}


def test_of_a_host_behind_a_nat_the_local_address_is_the_one_that_it_has_to_have(monkeypatch):
    data = fleets.example()
    data["hosts"]["cp1001.eqiad.example"]["local_ipv4"] = "192.0.2.9"
    member = membership.read(data, "cp1001.eqiad.example")
    monkeypatch.setattr(addresses, "absent", lambda wanted: dict.fromkeys({*wanted}, "it has none"))
    found = hostplan.absent(member)
    assert sorted(found) == ["192.0.2.9", "2001:db8:1::11"]
    assert found["192.0.2.9"].startswith(
        "ipsec:hosts:cp1001.eqiad.example:local_ipv4: found 192.0.2.9; it has"
    )


def test_a_sysctl_that_the_kernel_does_not_have_is_an_error_by_name_and_changes_nothing(here):
    for known in ("net/core/xfrm_larval_drop", "net/ipv4/conf/eth0.100/forwarding"):
        (here.sysctls / known).parent.mkdir(parents=True, exist_ok=True)
        (here.sysctls / known).write_text("1\n")
    right = {"net.core.xfrm_larval_drop": 0, "net.ipv4.conf.eth0/100.forwarding": 1}
    data = {**fleets.example(), "sysctl": {**right, "net.bogus.x": 1}}
    said = (
        "ipsec:sysctl:net.bogus.x: found 1, and the kernel of this host has no net.bogus.x; allowed: a name "
        "below /proc/sys/net, whose module is loaded and whose interface is there"
    )
    reading = run.of({}, data, HOST, pytest.fail)
    assert said in run.check(reading, DEBIAN).problems
    assert run.facts(reading, DEBIAN) == {"member": False}
    with pytest.raises(HostIPsecError, match=r"has no net\.bogus\.x"):
        hostplan.look(pillar.read(data), HOST, NOW)
    assert hostplan.unknown_sysctls(pillar.read({**data, "sysctl": right}).settings) == ()
