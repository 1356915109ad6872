"""``ipsec.status`` from pillar and charon to the operator's eyes, through Salt's own loader and output."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import salt.config
import salt.loader
import salt.minion
import salt.output
import salt.pillar
from salt.exceptions import SaltInvocationError

import fleets
from hostipsec.charon import charon
from hostipsec.errors import CharonError
from hostipsec.fleet import answers
from hostipsec.kernel import kernel
from hostipsec.model import Charon, ChildSA, IkeSA, Kernel, LoadedConnection
from hostipsec.pillar import pillar, topology

ROOT = Path(__file__).parents[2]
HOST = "cp1001.eqiad.example"
GOOD = Charon("5.9.8", "vici", plugins=("kernel-libipsec",))


class Minion:
    """A host's modules as Salt loads them, over a charon that a test makes up."""

    def __init__(self, opts):
        self.opts = opts
        self.data = fleets.example()
        self.looks = []  # what charon shows, one look after the other; the last one stays
        self.retcode = None

    def observe(self):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def status(self, **arguments):
        context = {}
        opts = {**self.opts, "pillar": {"ipsec": self.data}}
        status = salt.loader.minion_mods(opts, context=context)["ipsec.status"]
        found = status(**arguments)
        self.retcode = context.get("retcode", 0)
        return found

    def printed(self, data, **opts):
        return salt.output.out_format(data, "ipsec", {**self.opts, **opts})


@pytest.fixture
def minion(tmp_path, monkeypatch):
    paths = {"root_dir": tmp_path, "cachedir": tmp_path / "cache", "extension_modules": tmp_path / "ext"}
    dirs = {"module_dirs": "_modules", "outputter_dirs": "_output", "utils_dirs": "_utils"}
    found = Minion(
        {
            **salt.config.DEFAULT_MINION_OPTS,
            **{name: str(path) for name, path in paths.items()},
            **{name: [str(ROOT / path)] for name, path in dirs.items()},
            "grains": {"id": HOST},
            "color": False,
        }
    )
    found.looks = [up()]
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(charon, "observe", found.observe)
    monkeypatch.setattr(kernel, "observe", Kernel)
    return found


def up(*without):
    """Return a charon with every connection of the host established, but for these."""
    wanted = topology.connections(pillar.read(fleets.example()), HOST)
    loaded = tuple(
        LoadedConnection(one.name, (str(one.left),), (str(one.right),), children=(one.name,))
        for one in wanted
    )
    sas = tuple(ike_sa(number, one) for number, one in enumerate(wanted, 1) if one.name not in without)
    return GOOD._replace(connections=loaded, ike_sas=sas)


def ike_sa(number, one):
    child = ChildSA(one.name, "INSTALLED", "TUNNEL", number + 10, bytes_in=1234, bytes_out=5, packets_in=2)
    ends = (str(one.left), str(one.right))
    return IkeSA(one.name, number, "ESTABLISHED", *ends, established=11520, rekey_time=300, children=(child,))


# The status ----------------------------------------------------------------------------------


def test_all_is_well(minion):
    found = minion.status()
    assert minion.retcode == 0
    assert found["summary"]["sentence"] == "6 connections: 6 established"
    assert found["summary"]["severity"] == "ok"
    assert found["connections"]["cp3001_v4"] == {
        "peer": "cp3001.esams.example",
        "family": "v4",
        "stage": "start",
        "initiator": True,
        "state": "established",
        "severity": "ok",
        "reason": "",
        "held": False,
        "since": 11520,
        "last_in": None,
        "last_out": None,
        "rekey_in": 300,
        "bytes_in": 1234,
        "bytes_out": 5,
        "packets_in": 2,
        "packets_out": 0,
        "ike_ids": [3],
        "child_ids": [13],
        "mode": "TUNNEL",
        "proposal": "",
        "ike_proposal": "",
        "ends": ["10.64.0.11", "10.20.0.11"],
    }
    assert (found["backend"], found["strongswan"], found["warnings"]) == ("vici", "5.9.8", [])


def test_one_that_is_down(minion):
    minion.looks = [up("cp3001_v6")]
    found = minion.status()
    assert minion.retcode == 1
    assert found["summary"]["sentence"] == "6 connections: 5 established, 1 down"
    down = found["connections"]["cp3001_v6"]
    assert (down["state"], down["reason"]) == ("down", "loaded, but no SA; this host starts it")
    assert (down["since"], down["ike_ids"]) == (None, [])


def test_what_looked_wrong_for_a_moment_is_not_said(minion):
    """Between the look at charon and the one at the kernel a rekeying may fall."""
    minion.looks = [up("cp3001_v6"), up()]
    assert minion.status()["summary"]["severity"] == "ok"
    assert minion.retcode == 0


def test_charon_does_not_answer(minion):
    minion.looks = [CharonError("charon is not running")]
    found = minion.status()
    assert minion.retcode == 1
    assert {row["state"] for row in found["connections"].values()} == {"down"}
    assert {row["reason"] for row in found["connections"].values()} == {"charon does not answer"}
    assert found["summary"]["sentence"] == "charon does not answer; 6 connections: 6 down"
    assert (found["warnings"], found["backend"], found["strongswan"]) == (
        ["charon is not running"],
        None,
        None,
    )


def test_a_kernel_that_cannot_be_read_is_said(minion, monkeypatch):
    def fail():
        raise kernel.KernelError("ip xfrm: status 127")

    monkeypatch.setattr(kernel, "observe", fail)
    found = minion.status()
    assert (minion.retcode, found["warnings"]) == (1, ["ip xfrm: status 127"])
    assert (found["ok"], found["summary"]["severity"]) == (
        False,
        "warning",
    )  # of what there is nothing is wrong


def test_an_invalid_pillar(minion):
    minion.data["mtu"] = 1
    minion.data["hostz"] = {}
    found = minion.status()
    assert minion.retcode == 2
    assert found["error"].startswith("2 error(s) in pillar 'ipsec':\n  - ipsec:hostz")
    assert (found["ok"], len(found["problems"]), found["connections"]) == (False, 2, {})
    assert minion.printed({"a": found}) == minion.printed({"a": {"error": found["error"]}})


def test_a_status_and_the_status_of_an_invalid_pillar_have_the_same_keys(minion):
    """Whoever reads one, an older salt-run ipsec.status say, can read the other."""
    good = minion.status()
    minion.data["mtu"] = 1
    bad = minion.status()
    assert {*bad} == {*good} | {"error"}
    assert {*bad["summary"]} == {*good["summary"]}


def test_a_host_without_peers_says_so(minion):
    minion.opts["grains"] = {"id": "db1001.eqiad.example"}
    minion.looks = [CharonError("charon is not running")]
    found = minion.status()
    assert (minion.retcode, found["connections"], found["warnings"]) == (0, {}, [])
    assert found["summary"]["sentence"] == (
        "db1001.eqiad.example has no peers: no rule pairs it with a host in service"
    )


def test_filters(minion):
    minion.looks = [up("cp2001_v4")]
    assert [*minion.status(peer="cp3*")["connections"]] == [
        "cp3001_v4",
        "cp3001_v6",
        "cp3002_v4",
        "cp3002_v6",
    ]
    assert minion.retcode == 0
    assert [*minion.status(peer="cp2*", connection="*_v4")["connections"]] == ["cp2001_v4"]
    assert minion.retcode == 1
    nothing = minion.status(connection="cp9*")
    assert (minion.retcode, nothing["connections"]) == (2, {})
    assert nothing["error"].startswith("no connection has connection cp9*; nothing was done; there are")


def test_a_trap_that_a_roll_out_has_not_brought_yet_is_not_missing(minion, monkeypatch):
    for rule in minion.data["rules"]:
        rule["stage"] = "require"
    edited = SimpleNamespace(compile_pillar=lambda data=minion.data: {"ipsec": data})
    monkeypatch.setattr(salt.pillar, "get_pillar", lambda *_, **__: edited)
    assert minion.status()["summary"]["severity"] == "warning"
    assert minion.retcode == 1
    minion.data = fleets.example()  # in memory: a roll-out goes by what the master has
    for stage, severity in (("passive", "ok"), ("start", "ok"), ("require", "warning")):
        found = minion.status(stage=stage)
        assert (found["summary"]["severity"], found["unmanaged"]) == (severity, {})
        assert {row["stage"] for row in found["connections"].values()} == {stage}
    assert minion.status(stage="all")["error"] == "stage: found 'all'; allowed: passive, start, require"
    assert minion.retcode == 2


def test_what_is_left_of_a_peer_in_maintenance_is_no_trouble(minion):
    minion.data["hosts"]["cp3001.esams.example"]["maintenance"] = True
    found = minion.status()
    assert minion.retcode == 0
    assert sorted(found["unmanaged"]) == ["cp3001_v4", "cp3001_v6"]
    assert found["unmanaged"]["cp3001_v4"]["peer"] == "cp3001.esams.example"
    assert found["summary"]["sentence"] == "4 connections: 4 established; 2 unmanaged"


def test_what_nobody_configured_is_trouble(minion):
    del minion.data["hosts"]["cp3002.esams.example"]
    del minion.data["expect"]
    found = minion.status()
    assert minion.retcode == 1
    assert sorted(found["unmanaged"]) == ["cp3002_v4", "cp3002_v6"]
    assert found["unmanaged"]["cp3002_v4"]["initiator"] is None


# The table -----------------------------------------------------------------------------------


def test_the_table_has_trouble_first(minion):
    minion.looks = [up("cp3001_v6")]
    found = minion.status(connection="cp3*_v6")
    assert minion.printed({HOST: found}) == (
        "cp1001.eqiad.example: 2 connections: 1 established, 1 down\n"
        "        CONNECTION  PEER                  FAMILY  STATE        SINCE   IN       OUT  REASON\n"
        "    !!  cp3001_v6   cp3001.esams.example  v6      down         -       0 B      0 B  "
        "loaded, but no SA; this host starts it\n"
        "        cp3002_v6   cp3002.esams.example  v6      established  3h 12m  1.2 KiB  5 B"
    )


def test_colors_say_the_same_once_more(minion):
    minion.looks = [up("cp3001_v6")]
    heading, _, down, good = minion.printed(
        {HOST: minion.status(connection="cp3*_v6")}, color=True
    ).splitlines()
    assert heading.startswith("\x1b[0;1;31mcp1001")
    assert down.startswith("\x1b[0;1;31m    !!")
    assert good.startswith("\x1b[0;32m      ")


def test_many_hosts_and_what_else_they_may_say(minion):
    summary = {"sentence": "has no peers", "severity": "ok"}
    lonely = {**minion.status(), "connections": {}, "summary": summary}
    text = minion.printed(
        {
            "b": lonely,
            "a": {"error": "2 error(s) in pillar 'ipsec':\n  - one\n  - two"},
            "c": "Passed invalid arguments",
            "d": {"connections": 5},
        }
    )
    assert text == (
        "a: 2 error(s) in pillar 'ipsec':\n    - one\n    - two\nb: has no peers\n"
        "c:\n    Passed invalid arguments\n"
        "d:\n    ----------\n    connections:\n        5"
    )


@pytest.mark.parametrize(
    "data", [["a", 1], "text", {}, {"a": None}, {"a": {"b": [1]}}, {"a": {"error": 1, "b": 2}}]
)
def test_other_data_is_printed_nested(minion, data):
    assert minion.printed(data) == salt.output.out_format(data, "nested", {**minion.opts})


def test_a_status_of_another_version_is_printed_nested(minion):
    found = minion.status()
    del found["connections"]["cp3001_v4"]["severity"]
    assert minion.printed({HOST: found}) == salt.output.out_format({HOST: found}, "nested", {**minion.opts})


def test_a_master_without_the_outputter_prints_nested(minion, monkeypatch):
    said = []
    monkeypatch.setattr(salt.output.log, "error", lambda text, *arguments: said.append(text % arguments))
    found = {HOST: minion.status()}
    nested = salt.output.out_format(found, "nested", {**minion.opts})
    assert minion.printed(found, outputter_dirs=[]) == nested
    assert said == ["Invalid outputter ipsec specified, fall back to nested"]


def test_a_host_has_no_control_over_the_terminal(minion):
    found = minion.status(connection="cp3001_v4")
    found["connections"]["cp3001_v4"]["reason"] = "\x1b[2Jgone\nnext: line"
    text = minion.printed({"\x1b[2Jhost": found})
    assert "?[2Jgone next: line" in text
    assert "\x1b" not in text


SPANS = {None: "-", 0: "0s", 59: "59s", 60: "1m 0s", 3599: "59m 59s", 86400: "1d 0h", 1_000_000: "11d 13h"}
SIZES = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 * 1024**3: "5.0 GiB", 2**60: "1048576.0 TiB"}


def test_spans_and_sizes(minion):
    found = minion.status(connection="cp3001_v4")
    row = found["connections"]["cp3001_v4"]
    for key, cases in (("since", SPANS), ("bytes_in", SIZES)):
        for value, shown in cases.items():
            found["connections"] = {"cp3001_v4": {**row, key: value}}
            assert f"  {shown}  " in minion.printed({HOST: found})


# Other verbs ---------------------------------------------------------------------------------

PEERS = [f"cp30{number:02}" for number in range(1, 18)]
LONG = "no answer from the peer yet ({} tries): off, unreachable, or UDP 500/4500 is filtered"


def answer(ok, sentence, connections=(), problems=(), notes=(), **own):
    return {
        **own,
        "ok": ok,
        "sentence": sentence,
        "connections": dict(connections),
        "problems": list(problems),
        "notes": list(notes),
    }


def test_every_verb_is_told_by_this_outputter(minion):
    functions = salt.loader.minion_mods({**minion.opts, "pillar": {}})
    functions["ipsec.check"]  # loads the module
    verbs = [name for name in functions if name.startswith("ipsec.")]
    assert len(verbs) >= 15
    assert [name for name in verbs if getattr(functions[name], "__outputter__", "") != "ipsec"] == []


def test_a_verb_that_went_well_is_one_sentence_a_host(minion):
    """``salt HOST ipsec.down`` printed twenty nested lines, six a connection."""
    row = {"peer": "cp3001", "family": "v4", "sas": 1, "how": "ended", "left": ""}
    down = answer(
        True, "1 of 1 connections down in 0.4 s: 1 ended", {"cp3001_v4": row}, held="since", seconds=1
    )
    here = {"peer": "cp3001", "family": "v4", "left": "10.0.0.1", "right": "10.0.0.2"}
    check = answer(True, "1 peer, 1 connection", {"cp3001_v4": here}, notes=["expires soon"])
    assert minion.printed({"b": down, "a": check}).splitlines() == [
        "a: 1 peer, 1 connection",
        "    expires soon",
        "b: 1 of 1 connections down in 0.4 s: 1 ended",
    ]


def test_a_host_is_named_once(minion):
    lonely = answer(False, f"{HOST} has no peers: no rule", problems=[f"{HOST} has no peers: no rule"])
    assert minion.printed({HOST: lonely}) == f"{HOST}: has no peers: no rule"


def test_what_is_not_well_stands_below_and_what_is_the_same_once(minion):
    def row(reason, **more):
        return {"peer": "x", "family": "v4", "up": not reason, "reason": reason, **more}

    rows = {f"{peer}_v4": row(LONG.format(number)) for number, peer in enumerate(PEERS)}
    rows |= {"cp1_v4": row(""), "cp2_v4": row("held")}
    up = answer(False, "1 of 19 connections up in 30.1 s", rows, ["the hold is lost"], ["a note"])
    assert minion.printed({HOST: up}).splitlines() == [
        f"{HOST}: 1 of 19 connections up in 30.1 s",
        "    the hold is lost",
        "    17 connections: no answer from the peer yet: off, unreachable, or UDP 500/4500 is filtered: "
        "cp3001_v4, cp3002_v4, cp3003_v4 and 14 more",
        "    cp2_v4: held",
        "    a note",
    ]
    assert len(minion.printed({HOST: up}, verbose=True).splitlines()) == 21


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (
            answer(False, "a later one counts", {"a": {"left": "1 SA"}}, overruled="x"),
            ["h: a later one counts"],
        ),
        (
            answer(False, "0 of 1 down", {"a_v4": {"how": "left", "left": "1 IKE SA"}}),
            ["h: 0 of 1 down", "    a_v4: 1 IKE SA"],
        ),
        (
            answer(False, "0 of 1 reauthenticated", {"a_v4": {"old": [1], "new": [], "reason": "no key"}}),
            ["h: 0 of 1 reauthenticated", "    a_v4: no key"],
        ),
        (
            answer(False, "2 problems", problems=["one", "two"], notes=["two"]),
            ["h: 2 problems", "    one", "    two"],
        ),
        (
            answer(
                False, "it does not run", problems=["it does not run"], error="it does not run", unknown=["x"]
            ),
            ["h: it does not run"],
        ),
    ],
)
def test_what_verbs_say(minion, found, lines):
    assert minion.printed({"h": found}).splitlines() == lines


def test_at_80_columns_nothing_is_broken_within_a_word(minion, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    minion.looks = [up("cp3001_v6", "cp3002_v6")]
    found = minion.status(connection="cp3*_v6")
    word = "a" * 90
    rows = {f"{peer}_v4": {"up": False, "reason": f"{LONG.format(1)} {word}"} for peer in PEERS}
    lines = minion.printed({HOST: found, "z": answer(False, "0 of 17 up", rows)}).splitlines()
    assert lines == [
        "cp1001.eqiad.example: 2 connections: 2 down",
        "        CONNECTION  PEER                  FAMILY  STATE  SINCE  IN   OUT",
        "    !!  cp3001_v6   cp3001.esams.example  v6      down   -      0 B  0 B",
        "    !!  cp3002_v6   cp3002.esams.example  v6      down   -      0 B  0 B",
        "    2 connections: loaded, but no SA; this host starts it: cp3001_v6, cp3002_v6",
        "z: 0 of 17 up",
        "    17 connections: no answer from the peer yet: off, unreachable, or UDP",
        "        500/4500 is filtered",
        f"        {word}:",
        "        cp3001_v4, cp3002_v4, cp3003_v4 and 14 more",
    ]
    monkeypatch.setenv("COLUMNS", "50")
    assert minion.printed({HOST: found}).splitlines()[1:3] == [
        "        CONNECTION  FAMILY  STATE  SINCE  IN   OUT",
        "    !!  cp3001_v6   v6      down   -      0 B  0 B",
    ]
    data = {"lines": ["1 host", f"  a: {LONG.format(2)}"], "retcode": 1}
    assert minion.printed(data).splitlines() == [
        "1 host",
        "  a: no answer from the peer yet (2 tries): off,",
        "      unreachable, or UDP 500/4500 is filtered",
    ]


# The runner ----------------------------------------------------------------------------------


def test_the_runner_knows_what_hosts_with_older_modules_refuse():
    """Of a function that takes no more than it names it is Salt that refuses, in words of its own."""
    with pytest.raises(SaltInvocationError) as error:
        salt.minion.load_args_and_kwargs(lambda peer=None: peer, [{"__kwarg__": True, "stage": "start"}])
    refused = answers.read("ipsec.status", f"ERROR executing 'ipsec.status': {error.value}")
    assert refused.unknown == {"stage"}
    before = {"error": "unknown argument asked, jitter; nothing was done"}
    assert answers.read("ipsec.up", before).unknown == {"asked", "jitter"}
    for value in ({"connections": {}}, "Minion did not return"):
        assert answers.read("ipsec.status", value).unknown == set()


def test_the_runner_s_lines_are_printed_as_they_are(minion):
    data = {"lines": ["16 connections", "  eqiad - esams     8: 8 up", "\x1b[31mred"], "retcode": 0}
    printed = minion.printed(data).splitlines()
    assert printed[:2] == data["lines"][:2]
    assert "\x1b" not in printed[2]


def between(one, other, *states):
    rows = {"up": "ok", "held": "warning", "down": "critical"}
    return [{"sites": [one, other], "state": state, "severity": rows[state]} for state in states]


MESH = {
    "lines": ["10 connections of 5 pairs", "  codfw - eqiad   2: 2 up"],
    "retcode": 1,
    "connections": [
        *between("codfw", "eqiad", "up", "up"),
        *between("codfw", "esams", "up", "held"),
        *between("eqiad", "esams", "up", "down", "held", "up", "up", "up"),
    ],
}


def test_the_mesh_is_drawn_by_sites(minion):
    assert minion.printed(MESH).splitlines() == [
        MESH["lines"][0],
        "           codfw  eqiad   esams",
        "    codfw         2/2     1/2 !",
        "    eqiad  2/2            4/6 !!",
        "    esams  1/2 !  4/6 !!",
        MESH["lines"][1],
    ]


def test_it_has_colors_on_a_terminal_only_and_in_what_is_no_blank(minion):
    plain, colored = minion.printed(MESH), minion.printed(MESH, color=True)
    assert "\x1b" not in plain
    assert "    codfw         \x1b[0;32m2/2\x1b[0;0m     " in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_it_is_drawn_where_it_fits_and_is_a_picture(minion, monkeypatch):
    def drawn(data):
        return len(minion.printed(data).splitlines()) > len(data["lines"])

    assert not drawn({**MESH, "connections": between("codfw", "eqiad", "up", "down")})
    assert not drawn({**MESH, "connections": [5, {"sites": 5}, {}]})
    assert not drawn({"lines": MESH["lines"], "retcode": 0})
    monkeypatch.setenv("COLUMNS", "30")
    assert not drawn(MESH)
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"site{number}" for number in range(12)]
    many = [
        row for one in names[:8] for other in names[:8] if one < other for row in between(one, other, "up")
    ]
    assert drawn({**MESH, "connections": many})
    assert all(len(line) <= 80 for line in minion.printed({**MESH, "connections": many}).splitlines())
    more = [row for one in names for other in names if one < other for row in between(one, other, "up")]
    assert not drawn({**MESH, "connections": more})


def test_a_name_of_a_site_has_no_power_over_the_terminal(minion):
    evil = between("a\x1b[2J\nb", "c", "up") + between("c", "d", "up")
    assert "\x1b" not in minion.printed({**MESH, "connections": evil})


def test_the_runner_s_progress_is_one_line(minion):
    event = {"message": "cp3001: 6 of 6\nconnections down\x07", "outputter": "ipsec"}
    assert minion.printed({"suffix": "progress", "event": event}).startswith(
        "cp3001: 6 of 6 connections down"
    )


def test_a_host_s_plan_is_its_lines(minion):
    data = {HOST: {"standing": "member", "connections": {}, "lines": ["1 of 1 host", "  eqiad\x1b[2J"]}}
    assert minion.printed(data).splitlines() == [f"{HOST}:", "    1 of 1 host", "      eqiad?[2J"]


# Verbs that answer with data -----------------------------------------------------------------


@pytest.fixture
def told(minion, monkeypatch):
    """Return what an operator reads of a verb at 80 columns, and what it gave."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(verb, **arguments):
        functions = salt.loader.minion_mods({**minion.opts, "pillar": {"ipsec": minion.data}}, context={})
        found = functions[f"ipsec.{verb}"](**arguments)
        return minion.printed({HOST: found}).splitlines(), found

    return run


def test_a_verb_that_answers_with_data_is_lines_that_can_be_read(minion, told, monkeypatch):
    """``salt HOST ipsec.connections`` printed nine nested lines a connection."""
    lines, found = told("connections")
    assert lines[:3] == [
        f"{HOST}: 6 connections",
        "    cp2001_v4: 10.64.0.11 to 10.192.0.11, cp2001.codfw.example, start, started",
        "        here",
    ]
    assert len([line for line in lines if line[4:5] != " "]) == 1 + len(found)
    lines, _ = told("overhead", family="v4")
    assert lines[0] == f"{HOST}: ESP costs"
    assert lines[1].startswith("    v4: packets up to 1466 bytes of 1500 (transport,")
    monkeypatch.setattr(
        "hostipsec.charon.daemon.versions", lambda: {"strongswan": "5.9.8", "backend": "vici"}
    )
    lines, found = told("version")
    assert lines[0].startswith(f"{HOST}: strongSwan 5.9.8, asked by vici; hostipsec {found['package']}")
    lines, _ = told("firewall")
    assert (lines[0], lines[1].strip()[:1]) == (f"{HOST}:", "#")
    assert max(map(len, told("connections")[0] + told("overhead")[0])) <= 80


def test_a_way_back_is_a_sentence(minion):
    back = {
        "mark": "m1",
        "when": "2026-11-27 06:00:00",
        "connections": ["a", "b"],
        "running": False,
        "edition": "x",
    }
    none = {**back, "mark": None, "when": None, "connections": [], "running": True}
    assert minion.printed({"a": back, "b": none, "c": {**back, "mark": ""}}).splitlines() == [
        "a: back to 2 connections, from before roll-out m1 of 2026-11-27 06:00:00",
        "b: nothing to go back to; a state run is under way",
        "c: back to 2 connections, from before a state.apply of the host alone of 2026-11-27 06:00:00",
    ]


def test_routes_are_counted_and_those_that_are_wrong_stand_below(minion):
    good = {
        "peer": "p",
        "address": "10.0.0.2",
        "state": "ok",
        "wanted": "via x",
        "there": "via x",
        "used": True,
    }
    lost = {**good, "state": "missing", "there": ""}
    assert minion.printed({"a": {"c1": good, "c2": lost}, "b": {"c1": good}}).splitlines() == [
        "a: 2 routes: 1 missing, 1 ok",
        "    c2: missing: wanted via x, there is none",
        "b: 1 route: 1 ok",
    ]
