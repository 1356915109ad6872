"""What alone is encrypted of a pair, and how what is in the clear changes while both ends go on."""

from __future__ import annotations

import itertools
import json
from ipaddress import ip_address

import pytest
from test_encrypted import MEANT
from test_judge import KERNEL, SA, WEST_V4, charon, row
from test_terms import connection, manual, pair, wrong

from hostipsec import owner
from hostipsec.fleet import planwords
from hostipsec.health.judge import evaluate
from hostipsec.kernel import guard, guardpolicies, xfrm
from hostipsec.kernel.guardpolicies import BAR, ESP, GROUPS, REST
from hostipsec.model import KernelPolicy
from hostipsec.pillar import doubts, pillar, topology
from hostipsec.proof import packets, probe
from hostipsec.store import record
from hostipsec.strongswan import sections, swanctl

ONLY = WEST_V4._replace(only=("tcp/6379",))
NEAR, FAR = f"{WEST_V4.left}/32", f"{WEST_V4.right}/32"
REQID = owner.reqid(ONLY.name)
REQUIRED = ONLY._replace(stage="require")


# Read --------------------------------------------------------------------------------------------


def test_it_is_the_same_at_both_ends_and_on_record():
    one = connection(pair(only=["udp/53", "icmp", "tcp/6379", "icmp"]))
    assert one.only == ("icmp", "tcp/6379", "udp/53")
    text = record.render(record.Record((one,)))
    assert record.parse(text).connections == (one,)
    assert "only" not in record.render(record.Record((connection(pair()),)))


@pytest.mark.parametrize("damage", ["icmp", ["gre"], [22], {"only": 1}, 5])
def test_of_a_damaged_record_it_is_not_believed(damage):
    for key in ("only", "taken"):
        entry = {"name": "a_v4", **connection(pair(only="tcp/22")).as_dict(), key: damage}
        with pytest.raises(record.HostIPsecError):
            record.parse(json.dumps({"connections": [entry]}) + "\n")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"only": "tcp/0"}, "'tcp/0'; allowed: a protocol and a port, as tcp/22"),
        ({"only": ["tcp/6379", "tcp/6000-6100"]}, "tcp/6000-6100"),
        ({"only": ["tcp"]}, "or icmp"),
        ({"only": "udp/4500"}, "'udp/4500'; allowed: "),
        ({"only": ["tcp/6379", "udp/500"]}, "no port of IKE"),
        ({"only": [6379]}, "6379"),
        ({"only": {"tcp": 6379}}, "a list"),
        ({"only": "tcp/6379", "clear": "tcp/22"}, "found tcp/6379 beside clear: tcp/22"),
        ({"only": "tcp/6379", "type": "tunnel"}, "beside type: tunnel"),
        ({"only": "tcp/6379", "compress": "yes"}, "beside compress: yes"),
    ],
)
def test_what_is_wrong_is_an_error_at_its_key(own, said):
    found = wrong(pair(**own))
    assert set(found) == {"ipsec:rules:0:only"}
    assert said in str(found["ipsec:rules:0:only"])


def test_it_is_refused_beside_tunnel_mode_of_all_and_where_charon_does_esp():
    assert set(wrong({**pair(only="icmp"), "connection": {"type": "tunnel"}})) == {"ipsec:rules:0:only"}
    own = {"charon": {"plugins": {"kernel-libipsec": {"load": True}}}}
    assert "ipsec:rules:0:only" in wrong({**pair(only="icmp"), **own})


def test_its_sas_have_a_number_that_policies_can_name_and_others_are_as_before():
    assert sections.options(ONLY, "a.pem", "add")["reqid"] == str(REQID)
    assert "reqid" not in sections.options(WEST_V4, "a.pem", "add")
    settings = pillar.read(pair()).settings
    value = sections.configuration([ONLY], settings, "a.pem", sections.Secret("RSA", "a.key"))
    assert f"reqid = {REQID}\n" in swanctl.conf(value)
    back = swanctl.configuration(swanctl.conf(value), swanctl.strongswan_conf(value))
    assert back.connections["west_v4"]["reqid"] == str(REQID)
    names = [f"host{number}_v{family}" for number in range(2000) for family in (4, 6)]
    assert len({owner.reqid(name) for name in names}) == len(names)
    assert all(0x20000000 <= owner.reqid(name) < 0x40000000 for name in names)


def test_the_example_of_the_manual():
    roles = ("redis", "redis", "application")
    hosts = {f"h{n}": {"role": role, "ipv4": f"10.0.0.{n}"} for n, role in enumerate(roles, 1)}
    fleet = pillar.read({"hosts": hosts, **manual(2)})
    found = [(one.peer, one.stage, one.only) for one in topology.connections(fleet, "h1")]
    assert found == [(peer, "require", ("icmp", "tcp/6379")) for peer in ("h2", "h3")]
    (warning,) = doubts.warnings(fleet)
    assert (warning.path, warning.found) == (
        "ipsec:rules:0:only",
        "between hosts of rule 'redis' all but icmp, tcp/6379 goes in the clear",
    )


# In the kernel -----------------------------------------------------------------------------------


def places(one):
    found = {}
    for policy in guard.wanted([one]):
        found.setdefault(policy.place, set()).add(f"{policy.src} {policy.dst} {policy.direction}")
    return found


def test_the_rest_passes_and_that_port_is_by_the_sa_at_any_stage():
    found = places(ONLY)
    assert found == {ESP: {f"{NEAR} {FAR} out"}, REST: {f"0.0.0.0/0 {FAR} out", f"{FAR} 0.0.0.0/0 in"}}
    lines = guard.batch(guard.wanted([ONLY]), ()).splitlines()
    template = f"tmpl proto esp reqid {REQID} mode transport level use"
    update = f"xfrm policy update src {NEAR} dst {FAR} proto 6 dport 6379 dir out action allow"
    assert f"{update} priority 75 {template}" in lines


def test_in_require_that_port_is_blocked_for_all_other_addresses_and_what_is_forwarded():
    every = f"0.0.0.0/0 {FAR} out", f"{FAR} 0.0.0.0/0 in", f"{FAR} 0.0.0.0/0 fwd"
    assert places(REQUIRED)[BAR] == {*every}
    assert places(REQUIRED)[ESP] == {f"{NEAR} {FAR} out", f"{FAR} {NEAR} in"}
    levels = {one.template.rsplit(" ", 1)[1] for one in guard.wanted([REQUIRED]) if one.template}
    assert levels == {"required"}
    assert not [one for one in guard.wanted([REQUIRED]) if one.priority == guard.BLOCK]


def test_what_passes_the_rest_comes_last_and_goes_first():
    policies = guard.wanted([REQUIRED])
    added = guard.batch(policies, ()).splitlines()
    removed = guard.batch((), policies).splitlines()
    assert all("priority 77" in line for line in added[-2:])
    assert [" proto " in line for line in removed[:2]] == [False, False]


def test_the_state_says_with_how_many_peers_nothing_is_in_the_clear():
    both = [REQUIRED, WEST_V4._replace(peer="a", stage="require")]
    said = "nothing in the clear with 1 peer; nothing but tcp/6379 is encrypted where a rule says so"
    assert guardpolicies.said(both, both) == said
    assert guardpolicies.said(both[:1], both[:1]).startswith("nothing in the clear with 0 peers; nothing but")


def test_a_selector_is_the_kernels_for_one_policy_and_blocking_wins():
    barred = WEST_V4._replace(left=ip_address("0.0.0.0"), stage="require")
    both = guard.wanted([REQUIRED, barred])
    assert len({one.selector for one in both}) == len(both)
    assert not [one for one in both if one.place == REST]


def test_a_policy_that_is_replaced_is_not_deleted(monkeypatch):
    ran = []
    monkeypatch.setattr(guard.kernel, "set_policies", lambda lines, timeout: ran.append(lines))
    there = as_listed(guard.wanted([WEST_V4._replace(stage="require")]))
    guard.amend([REQUIRED], there)
    assert f"src 0.0.0.0/0 dst {FAR} dir out action allow priority 77" in ran[0]
    assert not [line for line in "".join(ran[1:]).splitlines() if f"dst {FAR} dir out" in line]


LISTED = """src 10.9.0.1/32 dst 10.9.0.2/32 proto tcp dport 6379 uid 0{0}
\tdir out action allow index 1 priority 75 ptype main share any flag  (0x00000000)
\ttmpl src 0.0.0.0 dst 0.0.0.0
\t\tproto esp spi 0x00000000(0) reqid {1}(0x00000001) mode transport
\t\tlevel use share any{2}
"""


def test_policies_are_found_again_as_ip_lists_them():
    """iproute2 6.1: ``ip -s xfrm policy``."""
    text = LISTED.format(" ", REQID, " ")
    (policy,) = xfrm.parse_policies(text)
    assert guard.present([policy]) < guard.wanted([ONLY])
    assert guard.present([policy._replace(level="required")]) & guard.wanted([ONLY]) == frozenset()


def as_listed(policies):
    """Return policies as the kernel has them."""
    found = []
    for one in sorted(policies):
        words = dict(zip(*[iter(one.template.split())] * 2)) if one.template else {}
        action = "allow" if one.passes else "block"
        narrow = one.ports or (f"proto 58 type {one.kind}" if one.kind else "")
        policy = KernelPolicy(one.src, one.dst, one.direction, one.priority, action, narrow=narrow)
        if words:
            own = {"mode": words["mode"], "reqid": int(words["reqid"]), "level": words["level"]}
            policy = policy._replace(**own, template_src="0.0.0.0", template_dst="0.0.0.0")
        found.append(policy._replace(icmp_type=one.kind))
    return found


@pytest.mark.parametrize("one", [ONLY, REQUIRED, REQUIRED._replace(only=("icmp", "udp/53"))])
def test_all_are_found_again(one):
    there = as_listed(guard.wanted([one]))
    assert guard.difference([one], there) == (frozenset(), frozenset())
    assert guard.difference([], there)[1] == guard.wanted([one])
    other = [policy._replace(priority=policy.priority + 10) for policy in there]
    assert guard.present(other) == frozenset()


def test_neighbours_find_each_other_though_icmp_is_encrypted():
    six = ONLY._replace(left=ip_address("fd09::1"), right=ip_address("fd09::2"), family="v6", only=("icmp",))
    kinds = {one.kind for one in guard.wanted([six]) if one.kind}
    assert kinds == {"135", "136"}
    assert min(one.priority for one in guard.wanted([six]) if not one.kind) > guard.PASS


# Judged ------------------------------------------------------------------------------------------


def judged(one, policies, reqid=REQID):
    children = tuple(child._replace(reqid=reqid) for child in SA.children)
    states = tuple(state._replace(reqid=reqid) for state in KERNEL.states)
    charons = tuple(policy._replace(reqid=reqid) for policy in KERNEL.policies)
    kernel = KERNEL._replace(states=states, policies=(*charons, *as_listed(policies)))
    return row(evaluate((one,), charon(SA._replace(children=children)), kernel, meant=MEANT))


def test_a_pair_is_well_and_says_what_alone_is_encrypted():
    found = judged(ONLY, guard.wanted([ONLY]))
    assert (found.state, found.severity) == ("established", "ok")
    assert found.reason.endswith("; only tcp/6379 is encrypted")


def test_where_no_rule_says_so_it_is_not_encrypted():
    assert judged(WEST_V4, guard.wanted([ONLY])).state == "not encrypted"
    assert judged(ONLY._replace(only=("tcp/22",)), guard.wanted([ONLY])).state == "not encrypted"


@pytest.mark.parametrize("one", [ONLY, REQUIRED])
def test_what_passes_all_is_not_encrypted(one):
    policies = [policy for policy in guard.wanted([one]) if policy.place != ESP]
    found = judged(one, policies)
    assert (found.state, found.severity) == ("not encrypted", "critical")
    assert "no policy has tcp/6379 in ESP" in found.reason


@pytest.mark.parametrize("one", [ONLY, REQUIRED])
def test_while_sas_are_of_before_all_goes_by_them_and_is_taken_as_the_rule_says(one):
    """By policies that name another number that port went in the clear, or nowhere."""
    before = [policy._replace(reqid=1) for policy in KERNEL.policies]
    waiting = guard.difference([one], before)[0]
    assert {(policy.place, policy.direction) for policy in waiting if policy.place in (ESP, REST)} == {
        (REST, "in"),
        *([(ESP, "in")] if one.stage == "require" else []),
    }
    blocked = {policy.direction for policy in waiting if policy.priority == guard.BLOCK}
    assert blocked == ({"out", "fwd"} if one.stage == "require" else set())
    found = judged(one, waiting, reqid=1)
    assert found.state == "established"
    assert "all is encrypted yet, and not only tcp/6379: reauthenticate it" in found.reason
    after = [policy._replace(reqid=REQID) for policy in KERNEL.policies]
    assert guard.difference([one], [*after, *as_listed(waiting)])[0] == guard.wanted([one]) - waiting


def test_an_sa_that_the_policies_do_not_name_is_told():
    found = judged(ONLY, guard.wanted([ONLY]), reqid=1)
    assert (found.state, found.severity) == ("not encrypted", "critical")


def test_where_all_is_encrypted_still_that_is_a_warning():
    found = judged(ONLY, ())
    assert (found.state, found.severity) == ("established", "warning")
    assert "no policy that leaves all but tcp/6379 in the clear" in found.reason


def test_in_require_the_guard_is_missed():
    policies = [policy for policy in guard.wanted([REQUIRED]) if policy.place != BAR]
    assert "no guard (out, in)" in judged(REQUIRED, policies).reason


# Proven ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "body", "may_be"),
    [
        (6, (6379).to_bytes(2, "big") + (51234).to_bytes(2, "big") + bytes(16), False),
        (6, (80).to_bytes(2, "big") + (51234).to_bytes(2, "big") + bytes(16), True),
        (1, bytes([8, 0]) + bytes(16), True),
        (47, bytes(16), True),
    ],
)
def test_a_capture_counts_what_alone_is_to_be_encrypted(protocol, body, may_be):
    head = bytes.fromhex("4500002800010000")
    text = head + bytes([64, protocol, 0, 0]) + ONLY.left.packed + ONLY.right.packed + body
    seen = packets.parse(text)
    capture = probe.Capture.__new__(probe.Capture)
    capture._excepted = {ONLY.right: ONLY}
    assert (seen.kind, capture._may_be(seen)) == ("clear", may_be)


# Changed -----------------------------------------------------------------------------------------


PACKETS = [(6, 22), (6, 6379), (6, 80), (17, 53), (1, None)]
CLEARS = [{}, {"clear": ("tcp/22",)}, {"clear": ("tcp/22", "udp/53")}]
ONLYS = [{"only": ("tcp/6379",)}, {"only": ("icmp", "tcp/6379")}, {"only": ("tcp/22", "tcp/6379")}]
EDITS = list(itertools.permutations([*CLEARS, *ONLYS], 2))


def policy_for(one, way, packet):
    """Return the policy of a kernel with an SA that is met first: charon's are for all packets."""
    mine = (policy for policy in guard.wanted([one]) if policy.direction == way and policy.dst != GROUPS[4])
    there = [policy for policy in mine if fits(policy, packet)]
    return min(there, key=lambda policy: policy.priority, default=None)


def fits(policy, packet):
    protocol, port = packet
    words = policy.ports.split()
    return not words or (words[1] == str(protocol) and (len(words) == 2 or words[3] == str(port)))


def sends(one, packet):
    """Say how a packet leaves: in ESP, in the clear, or not."""
    policy = policy_for(one, "out", packet)
    if policy is None or policy.priority == guard.BLOCK or policy.template:
        return "esp"
    return "clear" if policy.passes else "blocked"


def takes(one, packet, how):
    policy = policy_for(one, "in", packet)
    if policy is None or policy.priority == guard.BLOCK or policy.template:
        return how == "esp"
    return policy.passes


def clear(one, packet):
    """Say whether the pillar leaves a packet in the clear; written apart from what is tested."""
    name = "icmp" if packet[1] is None else f"{ {6: 'tcp', 17: 'udp'}[packet[0]] }/{packet[1]}"
    return name not in one.only if one.only else name in one.clear


@pytest.mark.parametrize("stage", ["start", "require"])
@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_a_roll_out_drops_nothing_and_never_sends_more_in_the_clear_than_pillars_say(edit, stage):
    """In whichever order two ends take the steps, at each moment and for each packet."""
    old, new = (WEST_V4._replace(stage=stage, **own) for own in edit)
    (half,) = topology.limited([new], "passive", [old])
    assert topology.limited([new], "passive", [half]) == (half,)
    assert topology.limited([new], stage, [half]) == (new,)
    steps = [(old, old), (old, half), (half, half), (half, new), (new, new)]
    for (one, other), packet in itertools.product(steps, PACKETS):
        for sender, taker in ((one, other), (other, one)):
            how = sends(sender, packet)
            assert takes(taker, packet, how), (packet, sender, taker)
            assert how == "esp" or clear(old, packet) or clear(new, packet)
            if stage == "require":
                assert not takes(taker, packet, "clear") or clear(old, packet) or clear(new, packet)
    assert [sends(new, packet) == "clear" for packet in PACKETS] == [clear(new, one) for one in PACKETS]


def test_a_connection_on_its_way_is_on_record_and_judged_so():
    clear_ = WEST_V4._replace(clear=("tcp/22",))
    (half,) = topology.limited([clear_], "passive", [WEST_V4])
    assert (half.clear, half.taken) == ((), (("tcp/22",), ()))
    assert record.parse(record.render(record.Record((half,)))).connections == (half,)
    assert "; not yet in the clear as its rule says" in judged(half, guard.wanted([half]), 1).reason
    assert topology.limited([clear_], "passive", []) == (clear_._replace(stage="passive"),)


# Planned -----------------------------------------------------------------------------------------


def said(old, new):
    parts = {
        "added": guard.wanted([new]) - guard.wanted([old]),
        "removed": guard.wanted([old]) - guard.wanted([new]),
    }
    found = {verb: [one.said for one in some] for verb, some in parts.items()}
    return sorted({text for verb, policies in found.items() for text in planwords._said(verb, policies)})


@pytest.mark.parametrize("stage", ["start", "require"])
def test_a_plan_says_what_will_be_in_the_clear(stage):
    plain, only = (one._replace(stage=stage) for one in (WEST_V4, ONLY))
    more = only._replace(only=("icmp", "tcp/6379"))
    assert said(plain, only) == ["all but tcp/6379 will be in the clear"]
    assert said(only, plain) == ["all but tcp/6379 will be in the clear no more"]
    assert said(only, more) == ["icmp will be encrypted"]
    assert said(more, only) == ["icmp will be encrypted no more"]
    assert said(plain, plain._replace(clear=("tcp/22",))) == ["tcp/22 will be in the clear"]
