"""Any edit of any fleet: what the plan states is exactly what leads from one pillar to the next."""

from __future__ import annotations

import copy
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from test_generated_fleets import (
    HOSTS,
    MANY,
    NAMES,
    RULES,
    SITES,
    STAGES,
    called,
    deciding,
    everywhere,
    fleet_of,
)

from edits import NOTHING, Texts, answer, rendered, value_of
from hostipsec.fleet import fleetplan, planwords
from hostipsec.model import Fleet
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import difference, options, parse, render, sections
from hostipsec.strongswan.sections import Configuration

PILLARS = st.builds(
    fleet_of,
    st.lists(HOSTS, min_size=2, max_size=6, unique_by=lambda host: host[0]),
    st.lists(RULES, max_size=2),
    st.sampled_from(("ipv4", "ipv6")),
)
SETTINGS = (
    {"connection": {"margintime": "5m"}},
    {"connection": {"margintime": "780s"}},  # the default, in other words
    {"connection": {"ike": "aes256gcm16-prfsha384-ecp384!", "dpddelay": "10s"}},
    {"setup": {"uniqueids": "never"}},
    {"setup": {"charondebug": {"ike": 2}}},
    {"charon": {"retransmit_tries": 7}},
    {"charon": {"threads": 40, "plugins": {"vici": {"load": True}}}},
    {"mtu": 1400},
    {"connection": {}, "setup": {}, "charon": {}, "mtu": None},
)


# Edits ---------------------------------------------------------------------------------------------


def add_host(data, number, name, labels, *_):
    site, cluster, rack, _, maintenance = labels
    more = {"rack": rack} if rack else {}
    data["hosts"].setdefault(
        name,
        {
            "site": site,
            "cluster": cluster,
            **more,
            **addresses(9, name, number),
            "maintenance": maintenance,
            **called(name),
        },
    )


def rename_host(data, number, *_):
    """Give a host another name in connections, or the one that it had."""
    name = chosen(data, number)
    host, other = data["hosts"][name], {"name": f"{name}-new"}
    own = called(name) if host.pop("name", None) == other["name"] else other
    host.update(own)


def remove_host(data, number, *_):
    if len(data["hosts"]) > 2:
        del data["hosts"][chosen(data, number)]


def move_host(data, number, name, labels, *_):
    site, cluster, rack, _, _ = labels
    host = data["hosts"][chosen(data, number)]
    host.update({"site": site, "cluster": cluster}, **({"rack": rack} if rack else {}))


def give_address(data, number, *_):
    name = chosen(data, number)
    family = "ipv4" if number % 2 else "ipv6"
    data["hosts"][name][family] = addresses(8, name, number)[family]


def drop_address(data, number, *_):
    """Take an address away that is not the only family which all hosts have."""
    host = data["hosts"][chosen(data, number)]
    family = "ipv4" if number % 2 else "ipv6"
    other = "ipv6" if number % 2 else "ipv4"
    if all(other in one for one in data["hosts"].values()):
        host.pop(family, None)


def toggle_maintenance(data, number, *_):
    host = data["hosts"][chosen(data, number)]
    host["maintenance"] = not host.get("maintenance", False)


def rename_site(data, number, name, labels, *_):
    old, new = SITES[number % len(SITES)], labels[0]
    for host in data["hosts"].values():
        host["site"] = new if host["site"] == old else host["site"]


def add_rule(data, number, name, labels, rule):
    one, other, (same, different, stage, own) = rule
    added = {"name": f"new{number}", "between": one, "and": other, "same": same, "different": different}
    data["rules"].insert(number % 2, {**added, "stage": stage, **own})


def remove_rule(data, number, *_):
    del data["rules"][number % len(data["rules"])]


def change_stage(data, number, *_):
    rule = data["rules"][number % len(data["rules"])]
    rule["stage"] = STAGES[(STAGES.index(rule.get("stage", "start")) + 1 + number % 3) % len(STAGES)]


def change_own(data, number, name, labels, rule):
    data["rules"][number % len(data["rules"])].update(rule[2][3])


def reorder_rules(data, *_):
    data["rules"].reverse()


def change_settings(data, number, *_):
    data.update(copy.deepcopy(SETTINGS[number % len(SETTINGS)]))


def change_nothing(data, *_):
    pass


KINDS = (
    *(
        add_host,
        remove_host,
        move_host,
        give_address,
        drop_address,
        toggle_maintenance,
        rename_site,
        rename_host,
    ),
    *(
        add_rule,
        remove_rule,
        change_stage,
        change_stage,
        change_own,
        reorder_rules,
        change_settings,
        change_settings,
    ),
    change_nothing,
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 60),
        HOSTS,
        RULES,
    ),
    min_size=1,
    max_size=3,
)


def addresses(net: int, name: str, number: int) -> dict:
    """Return addresses that no other host can have."""
    own = NAMES.index(name)
    return {"ipv4": f"10.{net}.{own}.{number}", "ipv6": f"2001:db8:{net}:{own}::{number}"}


def chosen(data: dict, number: int) -> str:
    return sorted(data["hosts"])[number % len(data["hosts"])]


def edited(data: dict, edits: list) -> dict:
    """Return an edited copy that is valid: rules get other names where they clash, those for nobody go."""
    result = copy.deepcopy(data)
    for kind, number, (name, labels), rule in edits:
        kind(result, number + 1, name, labels, rule)
        named = {rule["name"]: rule for rule in result["rules"]}.values()
        result["rules"] = deciding([*named], result["hosts"]) or [
            {"name": "all", "between": everywhere(), "and": everywhere()}
        ]
    return result


def test_every_kind_of_edit_changes_something():
    """Else the properties below would say less than they seem to."""
    one = {"site": "eqiad", "cluster": "text", "ipv4": "10.0.0.1", "ipv6": "2001:db8::1"}
    hosts = {name: {**one, **addresses(0, name, 1)} for name in NAMES[:3]}
    rules = [
        {"name": "one", "between": everywhere(), "and": everywhere(), "same": [], "different": []},
        {"name": "two", "between": {"id": NAMES[0]}, "and": {"id": NAMES[1]}, "same": [], "different": []},
    ]
    rule = ({"id": NAMES[0]}, {"id": NAMES[2]}, ([], [], "passive", {"mtu": 1400}))
    for kind in {*KINDS} - {change_nothing}:
        data = {"hosts": copy.deepcopy(hosts), "rules": copy.deepcopy(rules)}
        found = [
            edited(data, [(kind, number, (NAMES[3], ("codfw", "upload", 1, True, False)), rule)])
            for number in range(4)
        ]
        assert any(one != data for one in found), kind.__name__


# The plan of an edit -------------------------------------------------------------------------------


@MANY
@given(PILLARS, EDITS, EDITS, st.integers(0, 2**8 - 1))
def test_what_the_plan_states_leads_from_one_pillar_to_the_next(base, first, second, mask):
    before = edited(base, first)
    after = edited(before, second)
    old, fleet = rendered(pillar.read(before)), pillar.read(after)
    new = rendered(fleet)
    everyone = sorted({*before["hosts"], *after["hosts"]})
    said = {host: answer(old.get(host, NOTHING), new.get(host), fleet, host) for host in everyone}
    for host, files in new.items():
        check_applied(old.get(host), said[host]["changes"].get(fleetplan.CONFIGURED, {}), files)
    was, is_ = ends(old), ends(new)
    check_both_ends(is_)
    check_initiators(was, is_)
    check_fleet(fleetplan.join(fleet, said), was, is_)
    done = {host for index, host in enumerate(everyone) if mask >> index % 8 & 1 and host in new}
    check_partly_done(fleet, said, {host: new[host] for host in done})


@settings(max_examples=60)
@given(PILLARS, EDITS)
def test_what_is_written_reads_back(base, edits):
    """As the same value, and that to the same bytes; an edit in place is an edit of the value."""
    fleet = pillar.read(edited(base, edits))
    for host, texts in rendered(fleet).items():
        check_read_back(texts, value_of(fleet, host, topology.connections(fleet, host)))


def check_read_back(texts: Texts, value: Configuration) -> None:
    assert texts.configuration == value
    written = (render.ipsec_conf(value), render.ipsec_secrets(value), render.strongswan_conf(value))
    assert written == texts[:3]
    held = {name: {**options, "auto": sections.HELD} for name, options in value.connections.items()}
    edited = parse.with_autos(texts.conf, dict.fromkeys(held, sections.HELD))
    assert edited == render.ipsec_conf(value._replace(connections=held))


def parsed(texts: Texts) -> dict:
    """Return what the files mean: section -> option -> meaning."""
    value = texts.configuration
    assert value.foreign == ()
    sections = {
        name: {option: options.canonical(option, value) for option, value in found.items()}
        for name, found in (
            ("setup", value.setup),
            ("%default", value.defaults),
            *value.connections.items(),
        )
    }
    charon = difference.flat(value.strongswan)
    sections["strongswan.conf"] = {
        name: options.canonical_setting(name, value) for name, value in charon.items()
    }
    return sections


def check_applied(old: Texts | None, stated: dict, new: Texts) -> None:
    """Apply what is stated, and nothing else, to the old files: the new ones come out."""
    goal = parsed(new)
    if old is None:
        names = {*goal} - {"%default", "setup", "strongswan.conf"}
        assert stated["configuration"] == "new"
        assert {*stated["connections"]["added"]} == names
        return
    found, connections = parsed(old), stated.get("connections", {})
    for name in connections.get("removed", ()):
        del found[name]
    for name in connections.get("added", ()):
        assert name not in found
        found[name] = goal[name]
    parts = {
        **connections.get("changed", {}),
        "%default": stated.get("all connections", {}),
        "setup": stated.get("config setup", {}),
        "strongswan.conf": stated.get("strongswan.conf", {}),
    }
    for section, changes in parts.items():
        for option, change in changes.items():
            change_option(section, found[section], option, change)
    assert found == goal


def change_option(section: str, found: dict, option: str, change: dict) -> None:
    meaning = options.canonical_setting if section == "strongswan.conf" else options.canonical
    before = None if change["old"] is None else meaning(option, change["old"])
    assert found.pop(option, None) == before, "the old value is not the one that was there"
    if change["new"] is not None:
        found[option] = meaning(option, change["new"])


Ends = dict[tuple[str, str, str], dict]


def ends(files: dict[str, Texts]) -> Ends:
    """Return the options of each connection by host, peer and family, as the files have them."""
    found = {}
    for host, texts in files.items():
        value = texts.configuration
        for one in texts.record.connections:
            found[host, one.peer, one.family] = {**value.defaults, **value.connections[one.name]}
    return found


def check_both_ends(both: Ends) -> None:
    for (host, peer, family), mine in both.items():
        theirs = both[peer, host, family]
        for left, right in (("left", "right"), ("right", "left"), ("leftid", "rightid")):
            assert mine[left] == theirs[right]
        assert (mine["ike"], mine["esp"]) == (theirs["ike"], theirs["esp"])


def check_initiators(old: Ends, new: Ends) -> None:
    """Whichever of two hosts has the new files already, at most one of them starts the pair."""
    for mine, theirs in itertools.product((old, new), repeat=2):
        for (host, peer, family), here in mine.items():
            there = theirs.get((peer, host, family), {})
            for option, value in (("auto", "start"), ("dpdaction", "restart")):
                assert [here.get(option), there.get(option)] != [value, value], (host, peer, option)


def pairs_of(both: Ends) -> set[tuple[str, str, str]]:
    return {(min(host, peer), max(host, peer), family) for host, peer, family in both}


def check_fleet(plan: fleetplan.FleetPlan, old: Ends, new: Ends) -> None:
    """Each connection of a pair is told once, as what it is."""
    was, is_ = pairs_of(old), pairs_of(new)
    before, after = {host for host, _, _ in old}, {host for host, _, _ in new}
    keys = {change: {(row.one, row.other, row.family) for row in plan.of(change)} for change in CHANGES}
    assert sum(map(len, keys.values())) == len(plan.rows)
    assert keys[fleetplan.ADDED] == is_ - was
    assert keys[fleetplan.REMOVED] == {key for key in was - is_ if {*key[:2]} & after}
    assert keys[fleetplan.RENAMED] | keys[fleetplan.CHANGED] <= was & is_
    assert {*plan.standing(fleetplan.ENTERS)} == after - before
    assert plan.misfits == plan.strangers == ()
    nothing = not plan.hosts_to_change and not plan.standing(fleetplan.LEAVES)
    well = fleetplan.NOTHING if nothing else fleetplan.SOMETHING
    assert plan.status == (fleetplan.FAILED if plan.objections else well)
    assert all("'require'" in one for one in plan.objections)
    lines = planwords.lines(plan)
    assert lines[0].startswith("nothing to do: ") == nothing
    assert not [line for line in lines if "None" in line or "{" in line]


CHANGES = (fleetplan.ADDED, fleetplan.REMOVED, fleetplan.RENAMED, fleetplan.CHANGED)


def check_partly_done(fleet: Fleet, said: dict[str, dict], done: dict[str, Texts]) -> None:
    """Where some hosts have the new files, only the others change, and still nobody would disagree."""
    now = {host: answer(files, files, fleet, host) for host, files in done.items()}
    plan = fleetplan.join(fleet, {**said, **now})
    assert not {*plan.hosts_to_change} & {*done}
    assert plan.misfits == ()
    for row in plan.rows:
        assert row.ends and not {*row.ends} & {*done}
        assert not row.settled or {row.one, row.other} - {*row.ends}
