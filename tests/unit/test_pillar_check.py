"""``python3 -m hostipsec.check``: each error and warning of pillar files with its line, and the pairs."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jinja2
import jsonschema
import pytest
import yaml
from test_pillar import CASES, mutate

import fleets
import mutations
from hostipsec.fleet import checked, filecheck
from hostipsec.pillar import lines, merged, topology
from hostipsec.pillar import pillar as reader
from hostipsec.programs import pillarcheck
from mutilated import WAYS, mutilated

ROOT = Path(__file__).parents[2]
FILE = "pillar/ipsec.sls"


def of(text: str, file: str = FILE) -> checked.Checked:
    """Check one file."""
    return checked.source(merged.merge([merged.read(file, text)]))


def dumped(data: object) -> str:
    """Return a pillar as a file of many lines, one a key."""
    return yaml.safe_dump({"ipsec": data}, sort_keys=False)


def without(text: str, *words: str) -> str:
    """Return the example with each word put for the one before it."""
    for old, new in zip(words[::2], words[1::2]):
        assert old in text
        text = text.replace(old, new, 1)
    return text


def told(found: checked.Checked) -> list[str]:
    """Return the lines of errors and warnings."""
    return [line for line in found.lines if ": error: " in line or ": warning: " in line]


# Lines ---------------------------------------------------------------------------------------


# a date is none in a file: to Salt's YAML it is a text; and no file has half a character
FILED = [
    (path, value) for path, value, *_ in CASES if not isinstance(value, datetime.date) and value != "x\ud800"
]


@pytest.mark.parametrize(("path", "value"), FILED)
def test_each_error_has_the_line_of_its_key(path, value):
    text = dumped(mutate(path, value))
    found = of(text)
    assert found.errors
    for one in found.errors:
        line = text.split("\n")[one.place.line - 1]
        *above, last = one.problem.path.split(":")
        assert one.place.file == FILE
        assert one.place.line > 0
        keys = (last.lower() if "key True" in one.problem.found else last, *above)
        assert any(f"{key}:" in line for key in keys) or last.isdigit(), one


def test_the_line_is_that_of_the_key_itself():
    text = fleets.EXAMPLE.read_text()
    bad = without(text, "ipv4: 10.64.0.12", "ipv4: 10.64.0.11", "same: [cluster]", "samme: [cluster]")
    numbers = {word: number for number, line in enumerate(bad.split("\n"), 1) for word in line.split()}
    found = {one.problem.path: one.place.line for one in of(bad).errors}
    assert found == {
        "ipsec:hosts:cp1002.eqiad.example:ipv4": numbers["cp1002.eqiad.example:"],
        "ipsec:rules:0:samme": numbers["samme:"],
    }


def test_what_is_missing_is_told_at_what_it_is_missing_from():
    found = of("ipsec:\n  hosts:\n    a: {ipv4: 192.0.2.1}\n    b: {ipv4: 192.0.2.2}\n")
    assert [(one.problem.path, one.place.line) for one in found.errors] == [("ipsec:rules", 1)]


def test_a_host_that_stands_twice_is_told_with_both_lines():
    text = fleets.EXAMPLE.read_text()
    line = next(one for one in text.split("\n") if "cp1001.eqiad" in one)
    found = of(text.replace("  rules:", f"{line.replace('.11', '.99')}\n  rules:", 1))
    (error,) = found.errors
    assert str(error.problem).startswith(
        f"ipsec:hosts:cp1001.eqiad.example: found it in line 5, and again in line {error.place.line}"
    )
    assert found.status == checked.WRONG


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "x: {b: {c: 1, c: 1}}", "- {a: 1}\n- {b: 1, b: 1}"])
def test_keys_that_stand_twice_are_found_wherever_they_are(text):
    assert len(lines.read(text, FILE).errors) == 1


def test_a_key_over_one_that_was_merged_in_does_not_stand_twice():
    text = "x: &x {site: a, b: 1}\ny: {<<: *x, b: 2}\nz: {<<: *x}\n"
    found = lines.read(text, FILE)
    assert found.errors == ()
    assert found.data == {"x": {"site": "a", "b": 1}, "y": {"site": "a", "b": 2}, "z": {"site": "a", "b": 1}}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("ipsec:\n\thosts: {}\n", 2, "a tab"),
        ("ipsec: [1,\n2}\n", 2, "did not find"),
        ("ipsec: a: b\n", 1, "not allowed in this context"),
        ("ipsec: 1\n---\nipsec: 2\n", 2, "single document"),
        ("ipsec:\n  hosts: !py x\n", 2, "!py"),
        ("ipsec: \x01\n", 0, "x0001"),
        ("- ipsec\n", 1, "no mapping"),
        ("ipsec: " + "[" * 3000, None, ""),
    ],
)
def test_yaml_that_cannot_be_read_is_a_sentence(text, line, words):
    found = of(text)
    assert found.status == checked.WRONG
    assert found.fleet is None
    assert words in str(found.errors[0].problem)
    assert line is None or found.errors[0].place.line == line
    assert "\n" not in str(found.errors[0].problem)


@pytest.mark.parametrize("text", ["", "other: 1\n", "# nothing\n"])
def test_a_file_without_the_key_is_an_error(text):
    assert [str(one.problem) for one in of(text).errors] == [
        "ipsec: no file has this key; allowed: the fleet below it"
    ]


def test_a_list_that_has_itself_ends():
    found = lines.read("ipsec: &a [*a]\n", FILE)
    assert found.errors == ()


def test_scalars_are_what_salt_reads():
    found = lines.read("a: 2020-01-01\nb: 010\nc: 0\nd: 0x10\ne: 00\n", FILE)
    assert found.data == {"a": "2020-01-01", "b": 10, "c": 0, "d": 16, "e": 0}


@pytest.mark.parametrize("number", ["01", "0x10", "1_000", "1:20", "000000", "+5", "0b1"])
def test_a_number_that_yaml_makes_another_of_is_a_warning_with_its_line(number):
    text = without(fleets.EXAMPLE.read_text(), "  rules:", "  labels: [rack]\n  rules:")
    text = without(text, "ipv4: 10.64.0.12", f"rack: {number}, ipv4: 10.64.0.12")
    found = of(text)
    assert found.errors == ()
    (line,) = told(found)
    path = "ipsec:hosts:cp1002.eqiad.example:rack"
    assert line.startswith(f"{FILE}:6: warning: {path}: found {number}, of which YAML makes another number")
    assert "in quotes" in line


def test_a_number_of_a_rule_is_told_with_the_rule_s():
    text = without(
        fleets.EXAMPLE.read_text(), "- name: core-to-core", "- mtu: 01400\n      name: core-to-core"
    )
    (found,) = [one for one in of(text).warnings if "01400" in str(one.problem)]
    assert found.problem.path == "ipsec:rules:1:mtu"


@pytest.mark.parametrize("number", ["0", "7", "-1", "10", '"01"', "'0x10'", "08", "0x1g", "B3"])
def test_a_number_that_stays_what_it_is_is_none(number):
    text = without(fleets.EXAMPLE.read_text(), "  rules:", "  labels: [rack]\n  rules:")
    assert told(of(without(text, "ipv4: 10.64.0.12", f"rack: {number}, ipv4: 10.64.0.12"))) == []
    assert told(of(f"other: {{a: 010}}\n{text}")) == []


# A pillar that is read by half ------------------------------------------------------------------

NOT_KNOWN = "which hosts pair up, and what an edit changes, is said of a pillar without errors"


def test_the_pairs_of_a_pillar_that_is_read_by_half_are_not_told():
    """They were those without what stood there first, and a program took them for the fleet's."""
    text = fleets.EXAMPLE.read_text()
    found = of(text.replace("  rules:", "  mtu: 1400\n  mtu: 1450\n  rules:", 1))
    assert [str(one.problem).partition(":")[0] for one in found.errors] == ["ipsec"]
    assert (found.as_dict()["pairs"], found.fleet) == ([], None)
    assert found.lines[0] == "1 error" and found.lines[2:] == [NOT_KNOWN]


def test_what_an_edit_with_errors_changes_is_not_told(tmp_path):
    good, bad = tmp_path / "good.sls", tmp_path / "bad.sls"
    good.write_text(fleets.EXAMPLE.read_text())
    bad.write_text(good.read_text().replace("  rules:", "  mtu: 1400\n  mtu: 1450\n  rules:", 1))
    said = filecheck.check([str(bad)], [str(good)])
    assert (said.status, said.data["plan"], said.data["pairs"], said.lines[-1]) == (2, None, [], NOT_KNOWN)


def test_what_is_missing_with_a_file_that_cannot_be_read_is_no_fault_of_the_others():
    """Expectations of hosts in a file with a slip of YAML's were errors beside that slip."""
    example = fleets.example()
    hosts = example.pop("hosts")
    others, broken = merged.read("a.sls", dumped(example)), merged.read("b.sls", "ipsec:\n\thosts: {}\n")
    found = checked.source(merged.merge([others, broken]))
    assert [(one.place.file, "a tab" in str(one.problem)) for one in found.errors] == [("b.sls", True)]
    assert checked.source(merged.merge([others, merged.read("b.sls", dumped({"hosts": hosts}))])).errors == ()


# Jinja ---------------------------------------------------------------------------------------

GENERATED = """\
{% set sites = {
    'eqiad': 1,
    'esams': 3} %}
ipsec:
  hosts:
{%- for site, net in sites.items() %}
  {%- for number in range(1, 3) %}
    cp{{ net }}00{{ number }}.{{ site }}.example:
      site: {{ site }}   {# where it is,
                            in a word #}
      ipv4: {{ '10.0.0.1' if number == BAD else '10.%d.0.%d' | format(net, number) }}
  {%- endfor %}
{%- endfor %}
  rules:
    - {name: all, between: {site: eqiad}, and: {site: esams}}
"""


def test_jinja_is_rendered():
    found = of(GENERATED.replace("BAD", "0"))
    assert told(found) == []
    assert [pair[:3] for pair in found.pairs] == [
        (f"cp100{one}.eqiad.example", f"cp300{other}.esams.example", "all")
        for one in (1, 2)
        for other in (1, 2)
    ]


def test_an_error_in_what_jinja_made_has_the_line_of_the_file():
    found = of(GENERATED.replace("BAD", "2"))
    assert [(one.problem.path, one.place.line) for one in found.errors] == [
        ("ipsec:hosts:cp3002.esams.example:ipv4", 11)
    ]


def test_where_numbers_would_change_what_is_rendered_only_the_rendered_lines_are_known():
    text = "{% set x %}a{% endset %}ipsec: {{ x | length }}\n"
    assert lines.read(*_rendered(text)).data == {"ipsec": 1}
    assert of(text).errors[0].place.line == 1


def _rendered(text):
    from hostipsec.pillar import rendered

    found = rendered.render(text, None)
    assert found.origin == ()
    return found.text, FILE


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("ipsec:\n  a: {{ grains.id }}\n", 2, "'grains' is undefined"),
        ("ipsec:\n\n  a: {{ salt['mine.get']('*') }}\n", 3, "'salt' is undefined"),
        ("{% if x\n", 1, "Jinja: "),
        ("a: 1\nb: {{ 1 / 0 }}\n", 2, "division by zero"),
        ("{% import 'gone.jinja' as x %}\n", 1, "Jinja: "),
        ("a: 1\n{% import_yaml 'hosts.yaml' as hosts %}\n", 2, "unknown tag 'import_yaml'"),
        ("a: 1\nb: {{ 'x' | yaml_dquote }}\n", 2, "yaml_dquote"),
        ("a: {{ ().__class__.__base__ }}\n", 1, "Jinja: "),
        ("#!py\ndef run():\n    return {}\n", 1, "'#!py', which only Salt has"),
        ("#!jinja|gpg|yaml\na: 1\n", 1, "which only Salt has"),
    ],
)
def test_what_only_salt_can_render_is_an_error_that_says_who_looks(text, line, words):
    found = of(text)
    assert found.status == checked.WRONG
    assert words in str(found.errors[0].problem)
    assert found.errors[0].place == lines.Place(FILE, line)
    assert "salt-run ipsec.check looks at what Salt makes of it" in str(found.errors[0].problem)


def test_a_file_imports_others_beside_it(tmp_path):
    (tmp_path / "sites.jinja").write_text("{% set site = 'esams' %}")
    text = "{% from 'sites.jinja' import site %}\nsite: {{ site }}\n"
    found = merged.read(FILE, text, jinja2.FileSystemLoader([str(tmp_path)]))
    assert found.data == {"site": "esams"}


def test_lines_are_those_of_the_file_where_it_includes_another(tmp_path):
    (tmp_path / "part.sls").write_text("\n\n\n    a: {ipv4: 192.0.2.1}\n")
    text = "ipsec:\n  hosts:\n{% include 'part.sls' %}\n    b: {ipv4: 192.0.2.2}\n"
    found = merged.read(FILE, text, jinja2.FileSystemLoader([str(tmp_path)]))
    assert found.places["ipsec:hosts:a"].line == 3
    assert found.places["ipsec:hosts:b"].line == 4


def test_yaml_alone_has_no_jinja():
    assert merged.read(FILE, "#!yaml\na: '{{ x }}'\n").data == {"a": "{{ x }}"}


# Several files -------------------------------------------------------------------------------


def test_files_are_merged_as_salt_merges_them():
    example = fleets.example()
    hosts = example.pop("hosts")
    halves = [dict(sorted(hosts.items())[:3]), dict(sorted(hosts.items())[3:])]
    files = [example, *({"hosts": half} for half in halves)]
    found = checked.source(
        merged.merge(merged.read(f"{number}.sls", dumped(one)) for number, one in enumerate(files))
    )
    assert told(found) == []
    assert len(found.pairs) == len(topology.pairs(reader.read(fleets.example())))


def test_what_a_later_file_takes_away_is_a_warning_with_both_places():
    one, other = dumped(fleets.example()), "ipsec:\n  hosts:\n    cp1001.eqiad.example: {ipv4: 10.64.0.99}\n"
    found = checked.source(merged.merge([merged.read("a.sls", one), merged.read("b.sls", other)]))
    assert found.errors == ()
    assert told(found) == [
        "b.sls:3: warning: ipsec:hosts:cp1001.eqiad.example:ipv4: found it at a.sls:6 as well, which does not"
        " count; allowed: each key in one file"
    ]


def test_rules_in_two_files_are_a_warning_since_a_list_is_not_merged():
    rule = {"name": "x", "between": {"site": "eqiad"}, "and": {"site": "esams"}}
    other = dumped({"rules": [rule]})
    found = checked.source(
        merged.merge([merged.read("a.sls", dumped(fleets.example())), merged.read("b.sls", other)])
    )
    assert [found.warnings[0].place.file, found.warnings[0].problem.path] == ["b.sls", "ipsec:rules"]


def test_what_other_keys_say_twice_is_no_business_of_ours():
    sources = [merged.read("a.sls", "ntp: [1]\nipsecs: 1\n"), merged.read("b.sls", "ntp: [2]\nipsecs: 2\n")]
    assert merged.merge(sources).warnings == ()


def test_an_include_is_told():
    found = of(f"include: [ipsec.hosts]\n{fleets.EXAMPLE.read_text()}")
    assert [str(one.problem) for one in found.warnings] == [
        "include: is not followed here; allowed: each file of it on the command line"
    ]


def test_files_of_our_ext_pillar_are_joined_as_that_does(tmp_path):
    """Rules of all files count there, one after the other; each keeps its file and line."""
    data = fleets.example()
    first, second = data.pop("rules")
    files = {"a.sls": {**data, "rules": [first]}, "b.sls": {"rules": [second]}}
    for name, one in files.items():
        (tmp_path / name).write_text(dumped(one))
    found = filecheck.read([str(tmp_path / name) for name in files], ours=True)
    assert told(found) == []
    assert len(found.pairs) == len(topology.pairs(reader.read(fleets.example())))
    (tmp_path / "b.sls").write_text(dumped({"rules": [{**second, "stage": "on"}], "mtu": 9}))
    found = filecheck.read([str(tmp_path / name) for name in files], ours=True)
    assert [(one.problem.path, Path(one.place.file).name) for one in found.errors] == [
        ("ipsec:mtu", "b.sls"),
        ("ipsec:rules:1:stage", "b.sls"),
    ]
    text = (tmp_path / "b.sls").read_text().split("\n")
    assert ["stage" in text[one.place.line - 1] for one in found.errors] == [False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ipsec:\n  hosts: {cp1001.eqiad.example: {}}\n", "cp1001.eqiad.example: found in"),
        ("other: 1\n", "alone, a mapping"),
        ("ipsec: {{ x }}\n", "unhashable"),
        ("ipsec: {a: 1, a: 2}\n", "again in line"),
    ],
)
def test_a_file_that_our_ext_pillar_would_not_take_is_an_error(text, words, tmp_path):
    (tmp_path / "a.sls").write_text(dumped(fleets.example()))
    (tmp_path / "b.sls").write_text(text)
    found = filecheck.read([str(tmp_path / "a.sls"), str(tmp_path / "b.sls")], ours=True)
    assert found.status == checked.WRONG
    assert Path(found.errors[0].place.file).name == "b.sls"
    assert words in str(found.errors[0].problem)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("  hosts:\n    a.example: {ipv4: 192.0.2.1}\n    true: {ipv4: 192.0.2.2}\n", 4, "the key True"),
        ("  hosts:\n    7: {ipv4: 192.0.2.1}\n    '7': {ipv4: 192.0.2.2}\n", 4, "the key 7 both"),
        ("  hosts:\n    a.example:\n      ipv4: 192.0.2.1\n      on: x\n", 5, "the key True"),
        ("  hosts:\n    a.example:\n      ipv4: 192.0.2.1\n      site: {not: eqiad}\n", 5, "found a mapping"),
        ("  hosts:\n    a.example:\n      ipv4: 192.0.2.1\n      site: [eqiad, on]\n", 5, "found True"),
        ("  hosts: {}\n  1.10: x\n", 3, "the key 1.1"),
    ],
)
def test_what_yaml_made_of_a_key_is_told_once_and_in_its_line(text, line, said):
    """The line was that of the key above; and the key was told as one that nobody knows, to be declared."""
    found = [one for one in of(f"ipsec:\n{text}").errors if one.place.line > 2]
    assert [(one.place.line, said in one.problem.found) for one in found] == [(line, True)]


# What a fleet can still get wrong ------------------------------------------------------------


def test_a_rule_behind_one_of_an_earlier_stage_is_a_warning():
    data = fleets.example()
    later = {"name": "all", "between": {"cluster": "text"}, "and": {"cluster": "text"}, "stage": "require"}
    found = of(dumped({**data, "rules": [*data["rules"], later], "expect": []}))
    assert [one.problem.path for one in found.warnings] == ["ipsec:rules:2"] * 2
    said = [str(one.problem).partition("decide for ")[2] for one in found.warnings]
    assert [one.partition(", since")[0] for one in said] == ["6 pairs", "2 pairs"]
    assert "cp1001.eqiad.example with cp3001.esams.example, cp1001" in said[0]


def test_addresses_that_are_looked_up_are_a_warning_and_their_families_not_known():
    data = {**fleets.example(), "addresses": "mine"}
    data["hosts"]["cp3001.esams.example"] = {"site": "esams", "cluster": "text"}
    found = of(dumped(data))
    assert found.errors == ()
    assert [one.problem.path for one in found.warnings] == ["ipsec:hosts:cp3001.esams.example"]
    assert {pair.families for pair in found.pairs if "cp3001.esams.example" in pair[:2]} == {()}


def test_sequence_numbers_that_run_out_are_a_warning():
    found = of(dumped({**fleets.example(), "connection": {"lifetime": "8h", "ikelifetime": "8h"}}))
    assert [one.problem.path for one in found.warnings] == ["ipsec:connection:lifetime"]


def test_sequence_numbers_of_a_rule_that_run_out_are_a_warning():
    data = fleets.example()
    data["rules"][1].update(lifetime="8h", ikelifetime="8h")
    assert [one.problem.path for one in of(dumped(data)).warnings] == ["ipsec:rules:1:lifetime"]


def test_a_pair_begins_with_the_end_that_starts_it():
    data = fleets.example()
    data["hosts"]["a.example"] = {
        "managed": False,
        "ipv4": "198.51.100.1",
        "subject": "@a",
        "site": "esams",
        "cluster": "text",
    }
    assert {one.other for one in of(dumped({**data, "expect": []})).pairs if "a.example" in one[:2]} == {
        "a.example"
    }


def test_pairs_are_those_of_the_fleet():
    found, fleet = of(fleets.EXAMPLE.read_text()), reader.read(fleets.example())
    assert {(one.one, one.other): one.rule for one in found.pairs} == {
        pair: rule.name for pair, rule in topology.pairs(fleet).items()
    }
    for host in fleet.hosts:
        mine = {(one.peer, one.family) for one in topology.connections(fleet, host.id)}
        assert mine == {
            (other, family)
            for pair in found.pairs
            if host.id in (pair.one, pair.other)
            for other in {pair.one, pair.other} - {host.id}
            for family in pair.families
        }


@pytest.mark.parametrize("seed", range(80))
def test_whatever_a_file_holds_there_is_no_traceback(seed):
    chance = random.Random(seed)
    whole = fleets.EXAMPLE.read_text() if seed % 2 else GENERATED.replace("BAD", "0")
    found = of(mutations.changed(whole.encode(), chance).decode("latin-1"))
    assert found.lines
    assert json.dumps(found.as_dict())
    assert (found.fleet is None) == bool(found.errors)


@pytest.mark.parametrize("way", WAYS)
def test_whatever_a_pillar_is_there_is_no_traceback(way):
    texts = []
    for number in range(8):
        with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):  # what YAML cannot write
            texts.append(dumped(mutilated(way, number)))
    assert texts
    for found in map(of, texts):
        assert (found.fleet is None) == bool(found.errors)


def test_every_pillar_of_the_tests_that_reads_well_is_taken_by_the_json_schema():
    schema = json.loads((ROOT / "docs/ipsec.schema.json").read_text())
    files = [*ROOT.glob("pillar/*.sls"), *ROOT.glob("tests/**/*.sls")]
    assert fleets.EXAMPLE in files
    for file in files:
        source = merged.read(str(file), file.read_text())
        if checked.source(merged.merge([source])).fleet is not None:
            jsonschema.validate(json.loads(json.dumps(source.data)), schema)


# The program ---------------------------------------------------------------------------------


def run(*argv: str) -> subprocess.CompletedProcess:
    """Run the program as a hook does: with PyYAML and Jinja2, and without Salt."""
    return subprocess.run(
        [sys.executable, "-m", "hostipsec.check", *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT / "_utils"), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        check=False,
    )


def test_the_program_tells_the_example():
    done = run("pillar/ipsec.sls")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "6 hosts, 2 rules, 8 pairs, 16 connections\n"
        "pairs by rule:\n"
        "  core-to-core (start)       2\n"
        "  edge-to-core (start)       6\n"
        "pairs by sites:\n"
        "  codfw - eqiad       2\n"
        "  codfw - esams       2\n"
        "  eqiad - esams       4\n"
    )


def test_the_program_refuses_what_is_wrong(tmp_path):
    bad = tmp_path / "ipsec.sls"
    slip = "same: [clutser]"  # codespell:ignore
    bad.write_text(without(fleets.EXAMPLE.read_text(), "same: [cluster]", slip))
    done = run(str(bad))
    assert (done.returncode, done.stderr) == (2, "")
    first, second, *_ = done.stdout.split("\n")
    assert first == "1 error"
    assert second.startswith(f"{bad}:16: error: ipsec:rules:0:same: ")


@pytest.mark.parametrize(("edit", "number"), [({}, 0), ({"mtu": 1}, 1), ({"rules": []}, 1)])
def test_what_the_master_says_is_followed_by_who_knows_the_lines(edit, number):
    """Salt has no lines of what it has rendered: whoever looks for them was told nothing."""
    said = checked.answer(lambda: reader.read({**fleets.example(), **edit}))["lines"]
    assert sum("salt-run ipsec.check files=FILE,... [against=OLD,...]" in line for line in said) == number


def test_the_program_gives_json(capsys):
    assert pillarcheck.main(["--json", str(fleets.EXAMPLE)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {*found} == {"errors", "warnings", "pairs"}
    assert found["pairs"][0] == {
        "one": "cp1001.eqiad.example",
        "other": "cp2001.codfw.example",
        "rule": "core-to-core",
        "families": ["v4", "v6"],
    }


def test_errors_in_json_have_path_found_allowed_file_and_line(tmp_path, capsys):
    bad = tmp_path / "ipsec.sls"
    bad.write_text(without(fleets.EXAMPLE.read_text(), "name: edge-to-core", "naam: edge-to-core"))
    assert pillarcheck.main(["--json", str(bad)]) == 2
    (*_, error) = json.loads(capsys.readouterr().out)["errors"]
    assert {*error} == {"path", "found", "allowed", "file", "line"}
    assert error["line"] == 13


@pytest.mark.parametrize("name", ["gone.sls", "."])
def test_a_file_that_cannot_be_opened_is_a_sentence(name, tmp_path, capsys):
    assert pillarcheck.main([str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (3, "")
    assert f"{tmp_path / name}: error: ipsec: cannot be opened: " in out


def test_a_file_of_another_encoding_is_a_sentence(tmp_path, capsys):
    (tmp_path / "x.sls").write_bytes(b"ipsec: \xff\n")
    assert pillarcheck.main([str(tmp_path / "x.sls")]) == 2
    assert "is no UTF-8" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["jinja2", "yaml"])
def test_a_python_without_what_it_needs_is_a_sentence(tmp_path, module):
    """A hook on a host without Jinja2 showed a traceback."""
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module}', name='{module}')\n")
    places = f"{tmp_path}:{ROOT / '_utils'}"
    done = subprocess.run(
        [sys.executable, "-m", "hostipsec.check", "pillar/ipsec.sls"],
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hostipsec.check needs PyYAML and Jinja2: ")
    assert done.stderr.endswith(f"no {module}\n")


def test_nothing_of_salt_is_needed():
    code = "import sys; import hostipsec.check; sys.exit('salt' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "_utils")}, check=False
    )
    assert done.returncode == 0


def test_5000_hosts_are_read_in_seconds():
    """The alarm of a mistake that makes it quadratic; on a quiet machine it takes about three seconds."""
    text, begin = dumped({**fleets.star(4999)}), time.process_time()
    found = of(text)
    assert len(found.pairs) == 4999
    assert time.process_time() - begin < 20
