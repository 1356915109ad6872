"""A host that has a strongSwan of its own: asked for, kept beside ours, or kept aside; nothing is lost."""

from __future__ import annotations

import os
import re
import socket

import pytest

import fleets
from hostipsec import model
from hostipsec.apply import configuration, existing
from hostipsec.errors import ConfigError, HostIPsecError
from hostipsec.health import judge
from hostipsec.kernel import addresses
from hostipsec.pillar.membership import read
from hostipsec.store import generations, present, record
from hostipsec.strongswan import kept, parse, render, sections
from hostipsec.strongswan.sections import Secret
from hostipsec.system import packages, ports, tools

HOST = "hub.core.example"
VPN = "conn vpn\n    left=10.0.0.1\n    right=10.9.9.9\n    # his\n    leftcert=own.pem\n"
CONF = f"""\
# Debian's
config setup
    uniqueids=no

conn %default
    keyexchange=ikev1
    ikelifetime=60m

{VPN}
ca corp
    cacert=corp.pem
"""
SECRETS = ': RSA own.pem\n%any : PSK "geheim"\n'


def member(choice=""):
    pillar = fleets.star(1)
    if choice:
        pillar["existing"] = choice
    return read(pillar, HOST)


@pytest.fixture
def host(here, monkeypatch):
    monkeypatch.setattr(packages, "strange", frozenset)
    monkeypatch.setattr(ports, "strangers", lambda *_, **__: ())
    (here.ipsec_d).mkdir(parents=True)
    return here


def ours(host, choice="", add="", secrets=""):
    """Bring the host to what it shall run, as the state does, without a charon."""
    there = member(choice)
    others = existing.look(there.connections).names if existing.is_kept(there) else None
    named = ("a.pem", Secret("RSA", "a.pem"))
    bound = {"rightca": "CN=Fleet", "rightca2": "a" * 16}
    want = configuration.wanted(there.connections, there.fleet.settings, *named, kept=others, binding=bound)
    work = configuration.work(want, None)
    with existing.settled(choice, there.connections):
        for path, content in want.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    host.conf.write_text(host.conf.read_text() + add)
    host.secrets.write_text(host.secrets.read_text() + secrets)
    return work


def back(host):
    """What a host has once this package is gone."""
    found = {**generations.originals(), **generations.others()}
    return {str(path.relative_to(host.root)): one and one.content.decode() for path, one in found.items()}


@pytest.mark.parametrize(
    ("charon", "said"),
    [
        ({}, {}),
        ({"interfaces_use": "eth0"}, {"2001:db8::2": "eth1"}),
        ({"interfaces_use": "eth0 , eth1"}, {}),
        ({"interfaces_use": "eth"}, {"10.255.0.2": "eth0 and lo", "2001:db8::2": "eth1"}),
        ({"interfaces_ignore": "eth0"}, {}),  # it is at another one as well
        ({"interfaces_ignore": "eth0,lo"}, {"10.255.0.2": "eth0 and lo"}),
        ({"interfaces_ignore": "eth0,lo", "interfaces_use": "lo,eth1"}, {}),  # charon passes over the other
    ],
)
def test_an_address_at_an_interface_that_charon_is_to_leave_alone_is_told(host, monkeypatch, charon, said):
    """charon drops what comes there: no pair came up, and nothing said why."""
    there = {"10.255.0.2": ("eth0", "lo"), "2001:db8::2": ("eth1",)}
    monkeypatch.setattr(addresses, "interfaces", lambda wanted: {one: there[str(one)] for one in {*wanted}})
    found = existing.obstacles(read({**fleets.star(1), "charon": charon}, HOST))
    key = "interfaces_use" if "interfaces_use" in charon else "interfaces_ignore"
    assert sorted(found) == sorted(
        f"ipsec:charon:{key}: found {charon[key]!r}, and {address} of {HOST} is at {where}: charon drops "
        "what comes there; expected the interface of each address of this host left to charon"
        for address, where in said.items()
    )


def test_where_nobody_can_be_asked_yet_interfaces_are_left_alone(host, monkeypatch):
    monkeypatch.setattr(tools, "lacking", lambda: ("iproute2",))
    monkeypatch.setattr(addresses, "interfaces", lambda _: pytest.fail("was asked"))
    assert existing.obstacles(read({**fleets.star(1), "charon": {"interfaces_use": "eth0"}}, HOST)) == []


@pytest.mark.parametrize("text", [None, "", "# nothing\nconfig setup\n", "include /nowhere/*.conf\n"])
def test_a_host_with_nothing_of_its_own_is_taken(host, text):
    if text is not None:
        host.conf.write_text(text)
        host.secrets.write_text("# none\ninclude /var/lib/strongswan/nowhere.inc\n")
    assert existing.obstacles(member()) == []
    assert not existing.look(member().connections)


@pytest.mark.parametrize(("limit", "said"), [(10, 1), ("0xa", 1), (100, 0), (0, 0)])
def test_a_limit_of_fewer_ike_sas_than_connections_stops_a_run(host, limit, said):
    there = read({**fleets.star(20), "charon": {"ikesa_limit": limit}}, HOST)
    found = existing.obstacles(there)
    assert ["ipsec:charon:ikesa_limit: found 10, and hub.core.example has 40" in one for one in found] == [
        True
    ] * said


def test_a_host_with_connections_of_its_own_stops_and_says_so(host):
    """They were replaced without a word."""
    host.conf.write_text(CONF)
    host.secrets.write_text(SECRETS)
    (said,) = existing.obstacles(member())
    assert said == (
        f"this host has a strongSwan of its own ({host.conf}: ca corp, vpn; {host.secrets}: 2 line(s)); "
        "expected ipsec:existing in the pillar: keep (it goes on beside ours) or replace (it is kept aside, "
        "and ipsec.clean brings it back)"
    )
    assert "geheim" not in said
    with pytest.raises(ConfigError, match="has a strongSwan of its own"):
        existing.refuse(member())
    for choice in ("keep", "replace"):
        existing.refuse(member(choice))


@pytest.mark.parametrize("how", ["conf", "secrets", "included", "strongswan.d"])
def test_wherever_it_is(host, monkeypatch, how):
    if how == "conf":
        host.conf.write_text(VPN)
    elif how == "secrets":
        host.secrets.write_text(SECRETS)
    elif how == "included":
        (host.ipsec_d / "a").mkdir()
        (host.ipsec_d / "a/vpn.conf").write_text(VPN)
        host.conf.write_text("include ipsec.d/a/*.conf\n")
    else:
        (host.strongswan_d / "his.conf").write_text("charon { threads = 64 }\n")
        monkeypatch.setattr(packages, "strange", lambda found: frozenset(found))
    assert len(existing.obstacles(member())) == 1


VPN_LINES = VPN.partition("\n")[2].replace("    # his\n", "")


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('include "{}/a/*.conf"', "include {}/a/*.secrets"),
        ("include {}/a/*.conf  # the sites", "include {}/a/*.secrets # theirs"),
        ('conn "my vpn"\n' + VPN_LINES, ": RSA his.pem"),
        ('conn"my vpn" # of the sites\n' + VPN_LINES, ": RSA his.pem"),
    ],
)
def test_whatever_starter_takes_for_a_connection_is_one(host, line, secret):
    """Such ones were replaced without a word, and left out of what is kept."""
    (host.ipsec_d / "a").mkdir()
    (host.ipsec_d / "a/vpn.conf").write_text('conn "my vpn"\n' + VPN_LINES)
    (host.ipsec_d / "a/his.secrets").write_text(": RSA his.pem\n")
    host.conf.write_text(line.format(host.ipsec_d) + "\n")
    host.secrets.write_text(secret.format(host.ipsec_d) + "\n")
    (said,) = existing.obstacles(member())
    assert "my vpn" in said
    assert f"{host.secrets}: 1 line(s)" in said
    ours(host, "keep")
    assert f'conn "my vpn"\n    also=hostipsec-existing\n{VPN_LINES}' in host.kept_conf.read_text()
    assert host.kept_secrets.read_text() == ": RSA his.pem\n"


def test_what_is_kept_goes_on_as_it_was(host):
    host.conf.write_text(CONF)
    host.secrets.write_text(SECRETS)
    work = ours(host, "keep")
    assert work.difference.removed == ()
    assert host.conf.read_text().startswith(f"{render.HEADER}\n{render.INCLUDE}\n")
    assert render.INCLUDE_SECRETS in host.secrets.read_text()
    text = host.kept_conf.read_text()
    his = kept.sections(text)
    assert [(one.kind, one.name) for one in his] == [
        *(("conn", kept.BASE), ("config", "setup"), ("conn", "vpn"), ("ca", "corp"))
    ]
    assert his[2].lines[0] == f"    also={kept.BASE}"
    assert his[0].lines[-2:] == ("    keyexchange=ikev1", "    ikelifetime=60m")
    assert "    type=" in his[0].lines  # without a value: as if nobody had set it
    assert host.kept_secrets.read_text() == SECRETS
    assert host.kept_secrets.stat().st_mode & 0o777 == 0o600
    assert existing.obstacles(member()) == []  # and a pillar that says nothing later keeps it
    assert ours(host).difference.empty
    assert ours(host, "keep").difference.empty


def test_all_that_ours_says_of_all_connections_is_taken_back():
    options = {*sections.common_options(member().fleet.settings), "rightca", "rightca2"}
    reset = parse.configuration(kept.conf(())).connections[kept.BASE]
    assert options <= {*reset}
    assert {*reset.values()} == {""}


def test_what_is_replaced_comes_back_with_clean(host, monkeypatch):
    his = host.strongswan_d / "his.conf"
    his.write_text("charon { threads = 64 }\n")
    monkeypatch.setattr(packages, "strange", lambda found: frozenset(found))
    host.conf.write_text(CONF)
    host.conf.chmod(0o640)
    host.secrets.write_text(SECRETS)
    generations.keep_before([], [], False)
    assert ours(host, "replace").difference.removed == ("vpn",)
    assert not his.exists()
    assert render.INCLUDE not in host.conf.read_text()
    assert back(host) == {
        "etc/ipsec.conf": CONF,
        "etc/ipsec.secrets": SECRETS,
        "etc/strongswan.d/hostipsec.conf": None,
        "etc/strongswan.d/his.conf": "charon { threads = 64 }\n",
    }
    assert generations.originals()[host.conf].mode == 0o640


@pytest.mark.parametrize("choice", ["keep", "replace"])
def test_what_is_added_by_hand_is_asked_for_too(host, choice):
    """Connections that he added to ours were removed, with an empty name in the plan."""
    ours(host, add=f"\n{VPN}", secrets='\n%any : PSK "geheim"\n')
    (said,) = existing.obstacles(member())
    assert said.startswith(
        f"this host was added to by hand ({host.conf}: vpn; {host.secrets}: 1 line(s)); expected ipsec:exist"
    )
    work = ours(host, choice)
    assert existing.obstacles(member(choice)) == existing.obstacles(member()) == []
    assert ("vpn" in work.difference.removed) == (choice == "replace")
    if choice == "keep":
        assert "conn vpn" in host.kept_conf.read_text()
        assert "geheim" in host.kept_secrets.read_text()
        ours(host, "keep", add="\nconn second\n    right=10.8.8.8\n")
        ours(host, "keep")
        assert {"conn vpn", "conn second"} <= {*host.kept_conf.read_text().splitlines()}
        assert host.kept_conf.read_text().count("conn vpn") == 1
    else:
        assert not host.kept_conf.exists()
    restored = back(host)
    assert "conn vpn" in restored["etc/ipsec.conf"]
    assert "geheim" in restored["etc/ipsec.secrets"]


def test_a_host_of_the_release_before_goes_on_without_a_word(host):
    """Its record is older than the word; without a record nobody can tell, and all counts as ours."""
    (host.strongswan_d / "his.conf").write_text("charon { threads = 64 }\n")
    ours(host)
    assert existing.obstacles(member()) == []
    host.record.unlink()
    assert existing.obstacles(member()) == []
    assert existing.obstacles(member("keep")) == []
    assert not existing.is_kept(member("keep"))


def test_files_of_ours_that_lost_their_first_line_are_ours(host):
    ours(host)
    for path in (host.conf, host.secrets):
        path.write_text(path.read_text().removeprefix(render.HEADER))
    assert existing.obstacles(member()) == []


def test_a_pair_that_leaves_was_not_added_by_hand(host):
    ours(host)
    two = read(fleets.star(2), HOST)
    first = read(fleets.star(1), HOST)
    host.record.write_text(record.render(record.Record(two.connections)))
    host.conf.write_text(host.conf.read_text() + f"\nconn {two.connections[-1].name}\n    auto=add\n")
    assert existing.obstacles(first) == []


def test_a_name_that_is_ours_as_well(host):
    name = member().connections[0].name
    host.conf.write_text(f"conn {name}\n    right=10.9.9.9\n")
    (said,) = existing.obstacles(member("keep"))
    assert said == f"{host.conf} has connections with names that ours have: {name}; rename them"


GATEWAY = {
    "site": "edge",
    "managed": False,
    "ca": "/etc/ssl/partner.pem",
    "subject": "@gw.partner.example",
    "ipv4": "198.51.100.7",
}


def with_a_partner(choice, **gateway):
    pillar = {**fleets.star(1), **({"existing": choice} if choice else {})}
    pillar["hosts"]["gw.partner.example"] = {**GATEWAY, **gateway}
    return read(pillar, HOST)


@pytest.mark.parametrize("when", ["before ours", "by a pillar that says nothing later", "added by hand"])
def test_what_is_kept_must_not_take_whom_a_partner_vouches_for(host, when):
    """charon takes a certificate of any CA that it has for a connection that is bound to none."""
    host.conf.write_text(CONF if when != "added by hand" else "")
    if when != "before ours":
        ours(host, "keep", add=f"\n{VPN}" if when == "added by hand" else "")
    choice = "" if when == "by a pillar that says nothing later" else "keep"
    (said,) = existing.obstacles(with_a_partner(choice))
    assert said.startswith("bound to no CA, of what 'existing: keep' keeps: vpn; ")
    assert "gw.partner.example" in said and "'rightca'" in said
    assert existing.obstacles(member(choice)) == []
    assert existing.obstacles(with_a_partner("replace")) == []
    assert existing.obstacles(with_a_partner(choice, maintenance=True)) == []


def test_the_ca_of_a_partner_comes_once_ours_are_bound(host):
    """It was copied before ipsec.conf was written, and stayed where charon did not take that."""
    assert existing.obstacles(with_a_partner("")) == []
    ours(host)
    assert existing.obstacles(with_a_partner("")) == []
    host.conf.write_text(re.sub("    rightca2?=.*\n", "", host.conf.read_text()))
    (said,) = existing.obstacles(with_a_partner(""))
    assert said == (
        "the connections that are set up here are bound to no CA, and the CA of gw.partner.example could "
        "vouch for each of them until they are; apply the pillar without gw.partner.example first, with one "
        "self-signed CA in the fleet's CA file"
    )
    assert existing.obstacles(with_a_partner("", maintenance=True)) == existing.obstacles(member()) == []


def test_which_connections_of_others_are_bound_to_no_ca():
    text = """\
conn %default
    keyexchange=ikev2
conn base
    rightca="CN=x"
conn a
    right=1.2.3.4
conn b
    also=base
    right=1.2.3.4
conn psk
    authby=secret
conn eap
    rightauth=eap-mschapv2
conn tls
    rightauth=eap-tls
conn shunt
    type=passthrough
conn off
    auto=ignore
conn comment
    rightca=
    right=%any # rightca=CN=y
conn loop
    also=loop
"""
    assert kept.unbound(kept.sections(text)) == ("a", "comment", "loop", "tls")
    assert kept.unbound(kept.sections(text.replace("keyexchange=ikev2", "rightca=CN=z"))) == ("comment",)
    assert kept.unbound(kept.sections(text.replace("keyexchange=ikev2", "authby=psk"))) == ("tls",)


def test_a_change_that_fails_leaves_no_file_of_it(host):
    host.conf.write_text(CONF)
    with pytest.raises(HostIPsecError, match=r"^no$"), existing.settled("keep", member().connections):
        assert host.kept_conf.exists()
        raise HostIPsecError("no")
    assert not host.kept_conf.exists()
    assert host.conf.read_text() == CONF


def test_only_two_words_are_taken():
    with pytest.raises(HostIPsecError) as caught:
        member("keeep")
    assert "ipsec:existing" in str(caught.value)
    assert "keep" in str(caught.value)


def test_what_is_kept_is_no_trouble_of_ours(host):
    """Every status would have called it unmanaged, for good."""
    host.conf.write_text(CONF)
    assert present.kept() == frozenset()
    ours(host, "keep")
    assert present.kept() == {"vpn", kept.BASE}
    sa = model.IkeSA("vpn", 1, "ESTABLISHED", "10.0.0.1", "10.9.9.9")
    seen = model.Charon("5.9.8", "vici", connections=(model.LoadedConnection("vpn"),), ike_sas=(sa,))
    assert [row.name for row in judge.evaluate((), seen).connections] == ["vpn"]
    found = judge.evaluate((), seen, meant=model.Meant(kept=present.kept()))
    assert (found.connections, found.others) == ((), {"vpn": "up"})
    assert found.beside == "1 connection of others beside these: vpn up"


# A second daemon -----------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_who_holds_a_port_is_named(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((address, 0))
        port = bound.getsockname()[1]
        (found,) = ports.strangers({port, 1})
        assert (found.ports, found.pid) == ((port,), os.getpid())
        assert str(found).startswith(f"UDP port {port} is held by python")
        assert f"(process {os.getpid()}" in str(found)
    assert ports.strangers({port}) == ()


def test_our_own_charon_is_none(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ports.service, "pids", lambda *_, **__: (os.getpid(),))
        assert ports.strangers({bound.getsockname()[1]}) == ()
        monkeypatch.setattr(ports, "_same_root", lambda _: False)  # charon of a container on this network
        assert len(ports.strangers({bound.getsockname()[1]})) == 1


def test_a_second_daemon_stops_a_run_before_anything(host, monkeypatch):
    found = ports.Holder((500, 4500), 4711, "charon-systemd", "strongswan.service")
    asked = []
    monkeypatch.setattr(ports, "strangers", lambda numbers, by: asked.append({*numbers}) or (found,))
    (said,) = existing.obstacles(member())
    assert said == (
        "UDP ports 500 and 4500 are held by charon-systemd (process 4711, strongswan.service); a host has "
        "one IKE daemon: stop and disable it, then apply again"
    )
    assert asked == [{500, 4500}]


def test_a_holder_that_nobody_sees_is_said():
    assert str(ports.Holder((4500,))) == "UDP port 4500 is held by a process that is not seen here"


assert model.Settings._field_defaults["existing"] == ""
