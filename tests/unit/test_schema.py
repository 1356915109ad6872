"""The table of the pillar's keys: docs/pillar.md and docs/ipsec.schema.json are of it, and say what holds."""

from __future__ import annotations

import copy
import json
import re
import textwrap
from collections.abc import Mapping

import jsonschema
import pytest
import yaml

import fleets
import pillar_reference
from hostipsec.errors import HostIPsecError, PillarError
from hostipsec.pillar import membership, pillar, schema, topology
from hostipsec.strongswan import kinds, options, sections
from hostipsec.strongswan.kinds import is_huge, word
from mutilated import RICH, WAYS, mutilated

WRITTEN = json.loads(pillar_reference.SCHEMA.read_text())
VALIDATOR = jsonschema.Draft7Validator(WRITTEN)
CP = "cp3001.esams.example"
FILES = {
    "source": "files",
    **{name: f"/etc/ssl/{name}.pem" for name in ("certificate", "key", "ca")},
}


def is_valid(data: object) -> bool:
    """Whether the JSON Schema takes what stands below ``ipsec``."""
    return VALIDATOR.is_valid({"ipsec": plain(data)})


def plain(data: object, depth: int = 30) -> object:
    """Return a pillar as JSON has it: all keys are texts; what is deeper than anything of ours is nothing."""
    if isinstance(data, Mapping):
        return {word(key): plain(value, depth - 1) for key, value in data.items()} if depth else None
    if isinstance(data, (list, tuple)):
        return [plain(value, depth - 1) for value in data] if depth else None
    return 2**300 if is_huge(data) else data  # a number that Python does not print


def reads(data: object) -> bool:
    """Whether the reader takes it."""
    try:
        pillar.unaddressed(data)
        pillar.read(data)
    except HostIPsecError:
        return False
    return True


# The documents -------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_those_of_the_engine():
    written = pillar_reference.FILE.read_text()
    assert pillar_reference.reference() == written, "run: .build/venv/bin/python tests/pillar_reference.py"
    assert pillar_reference.charon() == pillar_reference.CHARON.read_text()
    marked = {found[2] for found in pillar_reference.MARKED.finditer(written)}
    assert marked == {key.above or "ipsec" for key in schema.KEYS}


def test_the_json_schema_is_that_of_the_engine():
    assert pillar_reference.json_schema() == WRITTEN, "run: .build/venv/bin/python tests/pillar_reference.py"
    jsonschema.Draft7Validator.check_schema(WRITTEN)


def test_each_key_stands_once():
    paths = [key.path for key in schema.KEYS]
    assert len(paths) == len({*paths})


def examples() -> list[dict]:
    """Return the examples of the page; of two that give a key twice, as either or, both."""
    written = pillar_reference.FILE.read_text()
    found = []
    for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", written, re.MULTILINE):
        text = textwrap.dedent(block)
        for one in re.split(r"^(?=certificates:)", text, flags=re.MULTILINE):
            if re.match(r"#.*\s*\Z|salt|PYTHON|[0-9]+ error", one) is None and one.strip():
                found.append(yaml.safe_load(one))
    return found


def applied(example: dict) -> dict:
    """Return the example fleet with a part of a pillar over it, and what hosts that needs."""
    top = {*schema.below()}
    said = example if {*example} <= top else {"hosts": example}
    data = copy.deepcopy(fleets.example())
    data["hosts"]["db1001.eqiad.example"].pop("alone")
    for number, rule in enumerate(said.get("rules", ())):
        for side, site in (("between", "esams"), ("and", "eqiad")):
            labels = {key: value for key, value in rule[side].items() if key != "id" and "not" not in value}
            host = {"ipv4": f"10.9.{len(side)}.{number + 1}", "site": site, "cluster": "text"}
            first = {key: value[0] if isinstance(value, list) else value for key, value in labels.items()}
            data["hosts"][f"{side}{number}.example"] = {**host, **first}
    data.pop("expect")
    if "rules" in said and "hosts" in said:
        return {**data, **said}
    return {**data, **said, "hosts": {**data["hosts"], **said.get("hosts", {})}}


@pytest.mark.parametrize("example", examples(), ids=lambda one: next(iter(one)))
def test_each_example_of_the_page_can_be_applied(example):
    data = applied(example)
    assert pillar.read(copy.deepcopy(data))
    assert is_valid(data)


def test_what_fleets_say_has_a_place_in_the_page():
    written = pillar_reference.FILE.read_text()
    headings = {line[3:].lower().replace(" ", "-") for line in written.split("\n") if line.startswith("## ")}
    assert {*re.findall(r"\]\(#([\w-]+)\)", written)} <= headings


# Defaults ------------------------------------------------------------------------------------

# what a default in words comes to, written out at the host CP, whose keys the table has for all
IN_WORDS = {
    "none": "[]",
    "nothing": "[]",
    "all": "[]",
    "nowhere": "{}",
    "the id, short": "cp3001",
    "`CN={id}`": "'CN={id}'",
}
DERIVED = {  # by what stands elsewhere
    "hosts:*:subject": f"'CN={CP}'",
    "hosts:*:backend": "ipsec.conf",
}
# where there is no value that says it: a file of others, and a directory that is looked for
BY_ITSELF = {"hosts:*:ca", "certificates:ssldir", "certificates:crl"}
STRONGSWAN = ("connection", "setup")  # what those have is options, see below
DEFAULTS = {
    key.path: DERIVED.get(key.path) or IN_WORDS.get(key.default, key.default)
    for key in schema.KEYS
    if key.default not in ("", schema.INHERITED) and key.path not in BY_ITSELF and key.above not in STRONGSWAN
}


@pytest.mark.parametrize(("path", "default"), DEFAULTS.items(), ids=[*DEFAULTS])
def test_a_default_of_the_table_is_what_a_pillar_without_the_key_has(path, default):
    data = {**copy.deepcopy(fleets.example()), "expect": []}
    del data["hosts"]["db1001.eqiad.example"]  # which is marked to have no peers
    above, _, name = path.rpartition(":")
    below(data, above).pop(name, None)
    without = pillar.read(data)
    below(data, above)[name] = yaml.safe_load(default)
    assert meant(pillar.read(data)) == meant(without)


OPTIONS = [key for key in schema.KEYS if key.above in STRONGSWAN and key.default]


@pytest.mark.parametrize("key", OPTIONS, ids=lambda key: key.path)
def test_a_default_of_an_option_is_what_hosts_run_without_it(key):
    text, own = re.fullmatch(r"`(.*?)`( \(strongSwan's\))?", key.default).groups()
    value = yaml.safe_load(text) if text.startswith("{") else text
    said = pillar.read({**fleets.example(), key.above: {key.name: value}}).settings
    unsaid = pillar.read(fleets.example()).settings
    told, untold = ({**sections.common_options(one), **sections.setup(one)} for one in (said, unsaid))
    without = untold.get(key.name) if own is None else text
    assert options.canonical(key.name, told[key.name]) == options.canonical(key.name, without)
    assert (key.name in untold) == (own is None)


def test_defaults_of_strongswan_conf_are_said():
    said = pillar_reference.CHARON.read_text()
    assert "| `retransmit_tries` | a whole number from 1 to 100 | `15` |\n" in said
    assert "| by the number of peers |\n" in next(
        one for one in said.split("| `") if one.startswith("threads`")
    )


def meant(fleet):
    """Return what a pillar gives each host, and what it says of all."""
    of_hosts = [(host.called, host.maintenance, host.alone, host.managed) for host in fleet.hosts]
    given = [topology.connections(fleet, host.id) for host in fleet.hosts]
    backends = [membership.of(fleet, host.id).backend for host in fleet.hosts]
    return fleet.rules, fleet.settings, fleet.labels, of_hosts, given, backends


# The reader ----------------------------------------------------------------------------------


@pytest.mark.parametrize("above", ["", "hosts:*", "rules:*", "expect:*", "metrics", "connection", "setup"])
def test_the_reader_knows_each_key_of_the_table_and_no_other(above):
    data = copy.deepcopy(fleets.example())
    place = below(data, above)
    for name in schema.below(above):
        place.setdefault(name, None)
    place["no-such-key"] = {"a": 1}
    unknown = {one.path.rpartition(":")[2] for one in problems(data) if one.found.startswith("unknown key")}
    assert unknown & {*schema.below(above)} == set()
    assert unknown == {"no-such-key"} or above == "hosts:*"


def below(data: dict, above: str):
    """Return the mapping of a pillar in which keys stand."""
    for step in filter(None, above.split(":")):
        data = (data[CP] if isinstance(data, dict) else data[0]) if step == "*" else data.setdefault(step, {})
    return data


def problems(data: object) -> tuple:
    """Return what the reader says of a pillar that is wrong."""
    with pytest.raises(PillarError) as raised:
        pillar.read(data)
    return raised.value.problems


UNMANAGED = {"managed": False, "subject": "@gw.example"}
BESIDE = {
    "hosts:*:nat": {"local_ipv4": "10.0.0.7"},
    "hosts:*:managed": UNMANAGED,
    "hosts:*:ca": UNMANAGED,
    "connection:lifebytes": {"marginbytes": 10**9},
    "connection:lifepackets": {"marginpackets": 429496729},
}


def with_value(key: schema.Key, value: object) -> dict:
    """Return the example with a value at a key, and with it what the key needs."""
    data = copy.deepcopy(fleets.example())
    data.pop("expect")
    if key.above == "certificates":
        data["certificates"] = copy.deepcopy(FILES) if key.of != schema.PUPPET else {"source": "puppet"}
    if key.above == "expect:*":
        of_host = {"host": CP, **({} if key.name != "host" else {"peers": 3})}
        data["expect"] = [{"rule": "edge-to-core", "pairs": 6} if key.name in ("rule", "pairs") else of_host]
    if key.name == "alone":
        data["hosts"][CP].pop("cluster")
    if key.name == "addresses" and key.above:
        data["hosts"][CP].pop("ipv4")
        data["hosts"][CP].pop("ipv6")
    below(data, key.above).update(BESIDE.get(key.path, {}), **{key.name: value})
    return data


@pytest.mark.parametrize("key", [key for key in schema.KEYS if key.example], ids=lambda key: key.path)
def test_each_example_is_taken(key):
    data = with_value(key, yaml.safe_load(key.example))
    assert is_valid(data)
    found = pillar.unaddressed(data)
    assert found == ({CP: ("mine", "dns")} if key.path == "hosts:*:addresses" else {})
    if key.path != "hosts:*:addresses":
        assert pillar.read(data)


# JSON Schema ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [RICH, fleets.example(), fleets.production_2018(), fleets.star(3)])
def test_a_pillar_that_reads_well_is_valid(data):
    assert reads(copy.deepcopy(data))
    assert is_valid(data)


@pytest.mark.parametrize("way", [*WAYS, "chosen"])
def test_what_the_schema_refuses_the_reader_refuses_too(way):
    for number in range(60):
        data = mutilated(way, number)
        assert is_valid(data) or not reads(data), (number, data)


JUNK = (None, True, False, 0, 7, 1.5, "", "x", "/x", "7", [], ["x"], [7], {}, {"x": 1}, {"not": "x"})


@pytest.mark.parametrize("key", schema.KEYS, ids=lambda key: key.path)
def test_what_the_schema_refuses_at_a_key_the_reader_refuses_there_too(key):
    taken = [value for value in JUNK if reads(with_value(key, value))]
    assert [value for value in taken if not is_valid(with_value(key, value))] == []


KINDS = {
    **{f"charon:{name}": kind for name, kind in options.settings().items()},
    **{f"connection:{name}": options.shareable(name) for name in schema.below("connection")},
    **{f"setup:{name}": kind for name, kind in options.SETUP.items()},
}
EDGES = (-2, -1, 1, 2, 5, 64, 499, 500, 501, 4096, 4097, 65535, 65536, 86400, 86401, 2**31, 2**63)
TEXTS = (
    "aes256gcm16-prfsha384-ecp384!",
    "aes256gcm16-ecp384!",
    "ecdsa-384-sha384",
    "1.2.3.4",
    "101110",
    "50%",
    "CN=Fleet CA",
)
NUMBERS = (0.05, 0.1, 1.0, 1.3, 10.5, "1.20", "0x10", "007", "0" * 30, "1h", "13m")
WRITTEN_SO = (*EDGES, *map(str, EDGES), *TEXTS, *NUMBERS)


@pytest.mark.parametrize("name", KINDS)
def test_what_an_option_takes_its_json_schema_takes_too(name):
    """Its words, those of others, numbers at the ends of ranges, and what YAML makes of all of them."""
    words = re.findall(r"[^\s,;()]+", KINDS[name].allowed)
    read = [yaml.safe_load(word) for word in words if re.fullmatch(r"[\w.%-]+", word) and word[0] not in "%-"]
    values = [*JUNK, *WRITTEN_SO, *words, *read]
    taken = [value for value in values if kinds.checked(KINDS[name], value, name)[0] is not None]
    assert taken
    written = jsonschema.Draft7Validator(KINDS[name].json)
    assert [value for value in taken if not written.is_valid(value)] == []


def test_the_schema_refuses_much_of_what_is_mutilated():
    refused = sum(not is_valid(mutilated(way, number)) for way in WAYS for number in range(20))
    assert refused > len(WAYS) * 20 / 4


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostz", {}),
        ("hosts/cp3001.esams.example/ipv4", 17),
        ("hosts/cp3001.esams.example/maintenance", "yes"),
        ("rules/0/btween", {"site": "esams"}),
        ("rules/0/stage", "on"),
        ("rules/0/between", {}),
        ("connection/keyingretries", "1"),
        ("connection/left", "10.0.0.1"),
        ("charon/retransmit_tires", 3),
        ("charon/retransmit_tries", 0),
        ("charon/plugins", {"stroke": {"max_concurrent": 65}}),
        ("connection/type", "pass"),
        ("connection/lifetime", 5),
        ("connection/dpddelay", "30 s"),
        ("connection/replay_window", 0),
        ("rules/0/compress", "perhaps"),
        ("rules/0/lifetime", 5),
        ("setup/uniqueids", "maybe"),
        ("setup/charondebug", {"ike": 9}),
        ("mtu", 100),
        ("existing", "both"),
        ("metrics/clear_text", "yes"),
        ("certificates/sourze", "files"),
    ],
)
def test_an_editor_shows_what_is_misspelt_or_out_of_range(path, value):
    data = copy.deepcopy(fleets.example())
    *above, last = path.split("/")
    place = data
    for step in above:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    place[last] = value
    assert not is_valid(data)
    assert not reads(data)


def test_options_that_the_schema_leaves_out_are_those_that_the_reader_refuses():
    known = {*schema.below("connection")}
    assert known <= {*options.CONNECTION}
    for name in {*options.CONNECTION} - known:
        data = {**fleets.example(), "connection": {name: "1"}}
        assert any(one.path == f"ipsec:connection:{name}" for one in problems(data)), name
