"""The fleet's commands as Salt loads them on a master, over hosts that a test makes up."""

from __future__ import annotations

import copy
import inspect
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import salt.cache
import salt.client
import salt.config
import salt.exceptions
import salt.loader
import salt.utils.minions
import yaml

import fleets
from hostipsec.answer import Answer
from hostipsec.edition import EDITION
from hostipsec.fleet import answers
from hostipsec.pillar import parts, pillar, topology
from hostipsec.programs import pillarcheck

ROOT = Path(__file__).parents[2]
FLEET = pillar.read(fleets.example())
HUB, SPOKE = "cp1001.eqiad.example", "cp3001.esams.example"
HOSTS = sorted({host for pair in topology.pairs(FLEET) for host in pair})
EVERYBODY = sorted(host.id for host in FLEET.hosts)  # one has no peers
NONSENSE = [{"connections": []}, {1: 2}, ["a", "list"], None]


class Client:
    """Salt's client: asks hosts that are functions of what they are asked."""

    def __init__(self, hosts):
        self.hosts, self.asked, self.error, self.pressed = hosts, [], None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def cmd_iter_no_block(self, hosts, function, timeout=None, tgt_type="glob", kwarg=None, arg=(), **_):
        assert tgt_type == "list"
        self.asked.append((function, list(hosts), dict(kwarg or {})))
        for host in hosts:
            yield None
            if self.pressed == host:
                raise KeyboardInterrupt
            answer = self.hosts[host](function, dict(kwarg or {}))
            if answer is not SILENT:
                yield {host: {"failed": True} if answer is NO_KEY else {"ret": answer}}
        if self.error:
            raise self.error


SILENT, NO_KEY = object(), object()  # the second as Salt says it of whom it does not know


def rows(host, **more):
    return fleets.rows(FLEET, host, **more)


def well(host):
    """Return a host on which everything is as it should be."""

    def answers(function, arguments):
        verb, sentence = function.partition(".")[2], f"{len(rows(host))} connections"
        plain = {"ok": True, "sentence": sentence, "problems": [], "overruled": "", "edition": EDITION}
        if verb == "status":
            there = rows(host, state="established", severity="ok", reason="")
            certificate = {"days_left": 300, "severity": "ok", "sentence": "expires"}
            return {
                "connections": there,
                "unmanaged": {},
                "summary": {"sentence": sentence, "severity": "ok", "counts": {}},
                "held": None,
                "certificate": certificate,
                "warnings": [],
                "edition": EDITION,
            }
        if verb == "down":
            return {**plain, "connections": rows(host, sas=1, how="ended", left="")}
        if verb == "up":
            return {**plain, "connections": rows(host, state="established", up=True, reason="")}
        if verb == "verify":
            there = rows(host, ok=True, reason="")
            return {"connections": there, "problems": [], "skipped": {}, "summary": sentence}
        if verb == "plan":
            return {
                "standing": "member",
                "connections": {one.name: plan_row(one) for one in topology.connections(FLEET, host)},
                "former": {},
                "configured": 6,
                "changes": {},
                "warnings": [],
            }
        if verb == "previous":
            return {"mark": "2025-11-25T10:00:00Z", "when": "2025-11-25 10:00", "connections": ["a_v4"]}
        return {**plain, "connections": rows(host, reason="")}

    return answers


def plan_row(one):
    return {**one._asdict(), "left": str(one.left), "right": str(one.right)}


class Master:
    """A master's runner, as ``salt-run`` loads it."""

    def __init__(self, place, monkeypatch):
        (place / "pillar").mkdir()
        config = {
            "root_dir": str(place),
            "pillar_roots": {"base": [str(place / "pillar")]},
            "runner_dirs": [str(ROOT / "_runners")],
            "log_level": "critical",
            "gather_job_timeout": 1,
        }
        (place / "master").write_text(json.dumps(config))
        (place / "pillar/top.sls").write_text(json.dumps({"base": {"*": ["ipsec"]}}))
        self.place, self.printed, self.retcode = place, [], None
        self.pillar(fleets.example())
        self.opts = salt.config.master_config(str(place / "master"))
        self.client = Client({host: well(host) for host in EVERYBODY})
        monkeypatch.setattr(salt.client, "get_local_client", lambda *_, **__: self.client)
        monkeypatch.setattr(salt.utils.minions.CkMinions, "check_minions", self.accepted)

    def pillar(self, data):
        (self.place / "pillar/ipsec.sls").write_text(json.dumps({"ipsec": data}))

    def accepted(self, expression, kind="glob", **_):
        if kind == "list":
            names = expression.split(",") if isinstance(expression, str) else expression
            return {"minions": [one for one in names if one in HOSTS], "missing": []}
        found = [host for host in HOSTS if expression == "*" or host.startswith(expression.rstrip("*"))]
        return {"minions": found, "missing": []}

    def fire_event(self, event, tag):
        assert (tag, event["outputter"]) == ("progress", "ipsec")
        self.printed.append(event["message"])

    def run(self, function, *arguments, **named):
        context = {}
        loaded = salt.loader.runner(self.opts, context=context)
        call = loaded[f"ipsec.{function}"]
        call.__globals__.update(__jid_event__=self, __user__="root")
        self.printed, self.client.asked = [], []
        found = call(*arguments, **named)
        self.retcode = context.get("retcode", 0)
        assert found.get("retcode", self.retcode) == self.retcode
        return found


@pytest.fixture
def master(tmp_path, monkeypatch):
    return Master(tmp_path, monkeypatch)


def test_a_fleet_that_is_well(master):
    found = master.run("status")
    assert (master.retcode, found["counts"], found["silent"], found["failed"]) == (0, {"up": 16}, [], {})
    assert "certificates: the first expires in 300 days, that of cp1001.eqiad.example" in found["lines"]
    assert master.printed == [f"{host}: {len(rows(host))} connections" for host in EVERYBODY]


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("down", "5 of 5 hosts are as asked: down, and proven"),
        ("up", "5 of 5 hosts are as asked: every connection up"),
        ("verify", "5 of 5 hosts are as asked: every connection encrypted both ways"),
        ("reauthenticate", "5 of 5 hosts are as asked: every connection that they start is reauthenticated"),
        (
            "rollback",
            "5 of 5 hosts are as asked: they run what they ran before; the pillar still asks for the change",
        ),
    ],
)
def test_commands_that_go_well(master, verb, line):
    found = master.run(verb)
    assert (master.retcode, found["lines"]) == (0, [line])
    assert sorted(found["hosts"]) == HOSTS
    assert (found["silent"], found["failed"], found["editions"]) == ([], {}, {})
    assert (found["unanswered"], found["unasked"]) == ([], [])
    assert master.printed == [f"{host}: {len(rows(host))} connections" for host in HOSTS]


def test_a_host_of_the_pillar_that_the_master_does_not_know_is_silent(master):
    """It had "answered nonsense: None"."""
    master.client.hosts[SPOKE] = lambda *_: NO_KEY
    found = master.run("status")
    assert (master.retcode, found["failed"], found["silent"]) == (1, {}, [SPOKE])


@pytest.mark.parametrize("target", [(), ("*",)])
def test_a_host_that_proved_nothing_is_named(master, target):
    """It was every connection encrypted both ways, exit 0."""
    master.client.hosts[SPOKE] = lambda *_: {
        "connections": {},
        "problems": [],
        "skipped": {},
        "summary": "no peers",
    }
    found = master.run("verify", *target)
    assert master.retcode == 1
    assert found["lines"][0].startswith("4 of 5 hosts are as asked" if not target else "")
    assert any(line.startswith(f"{SPOKE}: did not prove cp1001_v4, ") for line in found["lines"])


def test_what_hosts_warn_of_counts(master):
    """``status`` passed over it: a kernel that cannot be read, a pillar that cannot be used."""
    good = master.client.hosts[SPOKE]
    master.client.hosts[SPOKE] = lambda *told: {**good(*told), "warnings": ["ip: Operation not permitted"]}
    found = master.run("status")
    assert (master.retcode, found["warnings"]) == (1, {SPOKE: ["ip: Operation not permitted"]})
    assert f"{SPOKE}: ip: Operation not permitted" in found["lines"]


def test_what_hosts_are_told(master):
    before = time.time()
    master.run("down", reason="T1", deadline=5)
    ((function, hosts, said),) = master.client.asked
    assert (function, hosts) == ("ipsec.down", HOSTS)
    assert before <= said.pop("asked") <= time.time()
    assert said == {"reason": "T1", "deadline": 5, "hold": True, "who": "root (salt-run)"}
    master.run("up", "cp1*", batch=1, jitter=0)
    few = [host for host in HOSTS if host.startswith("cp1")]
    assert [hosts for _, hosts, _ in master.client.asked] == [[few[0]], [few[1]], few]
    assert [said.get("wait") for _, _, said in master.client.asked] == [False, False, None]


def test_brief(master):
    assert sorted(master.run("down", brief=True)) == ["lines", "outputter", "retcode"]
    assert sorted(master.run("status", brief=True)) == ["lines", "outputter", "retcode"]


def test_dry_runs(master):
    found = master.run("down", dry_run=True)
    assert {function for function, _, _ in master.client.asked} == {"ipsec.status"}
    assert found["lines"][0] == f"{HUB}: 6 of 6 connections would be ended (6 connections)"
    assert found["lines"][-1] == "5 hosts asked, nothing was changed"
    assert master.run("up", dry_run=True)["lines"][0] == f"{HUB}: 0 of 6 connections would be brought up"
    assert master.run("rollback", dry_run=True)["lines"][0] == (
        f"{HUB}: would run 1 connection, as before 2025-11-25 10:00"
    )
    assert master.run("rollout", dry_run=True)["lines"][-1] == "nothing was changed"
    assert (master.retcode, master.printed) == (0, [])


def test_what_is_not_as_asked_is_told_by_host(master):
    def left(function, arguments):
        found = well(SPOKE)(function, arguments)
        found["connections"]["cp1001_v4"]["left"] = "an IKE SA"
        return {**found, "ok": False, "problems": ["the hold is not kept"]}

    master.client.hosts[SPOKE] = left
    found = master.run("down")
    assert (master.retcode, found["lines"]) == (
        1,
        [
            "4 of 5 hosts are as asked: down, and proven",
            f"{SPOKE}: the hold is not kept",
            f"{SPOKE}: cp1001_v4: an IKE SA",
        ],
    )
    assert master.run("down", threshold=1)["retcode"] == 0


def test_what_was_not_reauthenticated_is_named(master):
    """It said "4 of 6 connections reauthenticated", and not which, nor why."""

    def answer(function, arguments):
        there = rows(SPOKE, old=[1], new=[2], reason="")
        there["cp1001_v4"].update(new=[], reason="no new IKE SA within 30 s; see the log")
        return Answer(False, "3 of 4 connections reauthenticated", there).as_dict()

    master.client.hosts[SPOKE] = answer
    found = master.run("reauthenticate")
    assert (master.retcode, found["lines"][1:]) == (
        1,
        [f"{SPOKE}: cp1001_v4: no new IKE SA within 30 s; see the log"],
    )


def test_a_host_that_was_overruled_says_so_alone(master):
    later = "a later command counts: up by root"
    master.client.hosts[SPOKE] = lambda *how: {**well(SPOKE)(*how), "ok": False, "overruled": later}
    assert master.run("down")["lines"][1:] == [f"{SPOKE}: {later}"]


def test_hosts_that_obeyed_what_is_yet_to_come_are_asked_again(master):
    """The clock of this master is a minute behind that of another, whose `up` they obeyed just before."""
    good, obeyed = master.client.hosts[SPOKE], time.time() + 60

    def later(function, arguments):
        refused = arguments["asked"] < obeyed
        said = {"ok": not refused, "overruled": "a later command counts" if refused else ""}
        return {**good(function, arguments), **said, "later": obeyed if refused else None}

    master.client.hosts[SPOKE] = later
    found = master.run("down")
    assert found["lines"][0] == "5 of 5 hosts are as asked: down, and proven"
    assert found["lines"][1].startswith("the clock of this master is behind, or that of another one")
    assert [hosts for _, hosts, _ in master.client.asked] == [HOSTS, [SPOKE]]
    assert master.run("up")["lines"][0] == "5 of 5 hosts are as asked: every connection up"


def test_hosts_that_say_nothing(master):
    master.client.hosts[SPOKE] = lambda *_: SILENT
    found = master.run("down")
    assert (master.retcode, found["silent"]) == (1, [SPOKE])
    assert found["lines"] == ["4 of 5 hosts are as asked: down, and proven", f"did not answer: {SPOKE}"]
    found = master.run("up")
    assert found["silent"] == [SPOKE]
    assert [hosts for _, hosts, _ in master.client.asked][1] == [host for host in HOSTS if host != SPOKE]
    found = master.run("status")
    assert (master.retcode, found["silent"], found["counts"]) == (1, [SPOKE], {"up": 10, "not answering": 6})
    found = master.run("plan")
    assert (master.retcode, found["silent"]) == (1, [SPOKE])
    assert found["lines"][-1] == f"did not answer: {SPOKE}"
    found = master.run("rollout")
    assert (master.retcode, found["stopped"]) == (1, [f"did not answer: {SPOKE}"])


def test_the_reason_takes_into_account_what_the_other_end_says(master):
    def lame(function, arguments):
        found = well(HUB)(function, arguments)
        if function == "ipsec.up" and arguments.get("wait", True):
            row = found["connections"]["cp3001_v4"]
            row.update(up=False, state="connecting", reason="no answer from the peer yet")
            found.update(ok=False)
        return found

    def held(function, arguments):
        found = well(SPOKE)(function, arguments)
        for row in found["connections"].values():
            row.update(state="held", reason="since now")
        return found

    master.client.hosts.update({HUB: lame, SPOKE: held})
    found = master.run("up", "cp1*")
    said = f"{HUB}: cp3001_v4: held at {SPOKE}: since now"
    assert found["lines"] == ["1 of 2 hosts are as asked: every connection up", said]
    assert found["hosts"][HUB]["connections"]["cp3001_v4"]["reason"] == f"held at {SPOKE}: since now"
    assert master.client.asked[-1] == ("ipsec.status", [SPOKE], {})


def test_older_modules_are_told_what_they_know_and_named(master):
    def old(function, arguments):
        unknown = sorted({"asked", "jitter"} & {*arguments})
        if unknown:
            return {"error": f"unknown argument {', '.join(unknown)}; nothing was done"}
        return {key: value for key, value in well(SPOKE)(function, arguments).items() if key != "edition"}

    master.client.hosts[SPOKE] = old
    found = master.run("down")
    assert (master.retcode, found["editions"]) == (0, {SPOKE: "an older one"})
    assert found["lines"][1].startswith(f"hostipsec is an older one at {SPOKE}, and {EDITION} at this master")
    assert [hosts for _, hosts, _ in master.client.asked] == [HOSTS, [SPOKE]]
    assert "asked" not in master.client.asked[1][2]
    assert master.run("up")["lines"][0] == "5 of 5 hosts are as asked: every connection up"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            "'ipsec.{verb}' is not available.",
            "ipsec.{verb}: older modules or none; run saltutil.sync_all there",
        ),
        (
            "Passed invalid arguments to ipsec.{verb}: {verb}() got an unexpected\n\n    Docs",
            "ipsec.{verb}: older modules or none; run saltutil.sync_all there",
        ),
        (
            "'ipsec' __virtual__ returned False: package hostipsec is not on this host",
            "'ipsec' __virtual__ returned False: package hostipsec is not on this host",
        ),
        (
            "The minion function caused an exception: Traceback\n  File\nKeyError: 1",
            "The minion function caused an exception: Traceback File KeyError: 1",
        ),
        ({"error": "2 error(s) in pillar 'ipsec':\n  - one"}, "2 error(s) in pillar 'ipsec':\n  - one"),
        ({"error": "unknown argument foo; nothing was done"}, "unknown argument foo; nothing was done"),
    ],
)
@pytest.mark.parametrize("verb", ["status", "up", "plan"])
def test_what_a_host_says_instead(master, verb, answer, said):
    told = answer.replace("{verb}", verb) if isinstance(answer, str) else answer
    master.client.hosts[SPOKE] = lambda *_: told
    found = master.run(verb)
    said = said.replace("{verb}", verb)
    assert (master.retcode, found["failed"], found["silent"]) == (1, {SPOKE: said}, [])
    assert f"{SPOKE}: {said}" in found["lines"]
    assert (f"{SPOKE}: {said}" in master.printed) == (verb != "plan")


def test_what_the_master_says_counts_for_those_that_are_not_heard(master):
    master.client.hosts[SPOKE] = lambda *_: SILENT
    master.client.error = salt.exceptions.SaltReqTimeoutError("Salt request\ntimed out")
    found = master.run("down")
    said = "not known, the master says: Salt request timed out"
    assert (master.retcode, found["failed"], found["silent"]) == (1, {SPOKE: said}, [])
    assert len(found["hosts"]) == 4


@pytest.mark.parametrize("error", [OSError("No space left on device"), ValueError("zmq")])
def test_whatever_salts_client_raises_is_a_sentence(master, error):
    master.client.hosts[SPOKE] = lambda *_: SILENT
    master.client.error = error
    found = master.run("down")
    said = f"not known, the master says: {type(error).__name__}: {error}"
    assert (master.retcode, found["failed"]) == (1, {SPOKE: said})


def test_a_target_over_which_salt_falls_is_a_sentence(master, monkeypatch):
    def falls(*_):
        raise OSError("Too many open files")

    monkeypatch.setattr("salt.utils.minions.CkMinions.check_minions", falls)
    found = master.run("down", "cp*")
    assert (master.retcode, master.client.asked) == (2, [])
    assert found["error"] == "tgt=cp*, tgt_type=glob: Salt cannot read it: OSError: Too many open files"


def test_ctrl_c(master):
    master.client.pressed = HOSTS[2]
    found = master.run("down", batch=4)
    assert master.retcode == 130
    assert sorted(found["hosts"]) == HOSTS[:2]
    assert (found["unanswered"], found["unasked"], found["silent"]) == (HOSTS[2:4], HOSTS[4:], [])
    assert found["lines"] == [
        "2 of 5 hosts are as asked: down, and proven",
        f"not asked: {HOSTS[4]}",
        "interrupted; asked, without an answer yet, and finishing what they have begun: "
        f"{HOSTS[2]}, {HOSTS[3]}",
    ]
    assert master.run("status")["retcode"] == 130
    found = master.run("up")
    assert (master.retcode, len(master.client.asked)) == (130, 1)
    assert master.run("rollout")["lines"][1:2] == [
        "  interrupted; hosts that were told finish what they have begun"
    ]
    assert master.retcode == 130


def test_a_roll_out_of_a_fleet_at_rest(master):
    found = master.run("rollout")
    assert (master.retcode, found["changed"]) == (0, [])
    assert found["lines"] == ["nothing to do: every host is as the pillar says"]


def test_a_roll_out(master):
    """Every host has to be changed, once; each says what a state run returns."""
    done = set()

    def host(name):
        def answers(function, arguments):
            if function == "state.apply":
                assert set(arguments["pillar"]["ipsec_rollout"]) == {"stage", "mark"}
                done.add(name)
                return {"test_|-a_|-a_|-b": {"__id__": "a", "result": True, "comment": "well"}}
            found = well(name)(function, arguments)
            if function == "ipsec.plan" and name not in done:
                found["changes"] = {
                    "ipsec.configured": {"connections": {"added": sorted(found["connections"])}}
                }
            return found

        return answers

    master.client.hosts.update({name: host(name) for name in HOSTS})
    found = master.run("rollout")
    assert (master.retcode, found["changed"]) == (0, [HOSTS[4], HOSTS[3], HOSTS[2], HOSTS[1], HOSTS[0]])
    assert found["lines"] == ["5 hosts changed, every connection as it should be"]
    assert f"{HOSTS[4]}: done" in master.printed
    done.clear()
    failing = {
        "a": {"__id__": "ipsec-check-input", "result": False, "comment": "expired\nlong ago"},
        "b": {"__id__": "b", "result": False, "comment": "One or more requisite failed: a"},
    }
    plain = master.client.hosts[HOSTS[4]]
    master.client.hosts[HOSTS[4]] = lambda function, how: (
        failing if function == "state.apply" else plain(function, how)
    )
    found = master.run("rollout")
    assert (master.retcode, found["changed"]) == (1, [HOSTS[4]])
    assert found["stopped"] == [f"{HOSTS[4]}: ipsec-check-input: expired long ago"]
    master.client.hosts[HOSTS[4]] = lambda function, how: (
        ["Rendering SLS failed"] if function == "state.apply" else plain(function, how)
    )
    assert master.run("rollout")["stopped"] == [f"{HOSTS[4]}: Rendering SLS failed"]


def test_a_pillar_that_is_wrong_is_told_and_nobody_is_asked(master):
    master.pillar({**fleets.example(), "mtu": 9})
    for verb in ("verify", "plan", "rollout", "reauthenticate"):
        found = master.run(verb)
        assert (master.retcode, master.client.asked) == (2, [])
        assert "ipsec:mtu: found 9; allowed" in found["error"]
        assert found["lines"] == found["error"].splitlines()
    assert master.run("down", "cp*")["retcode"] == 0
    assert master.run("status", site="esams")["retcode"] == 2
    assert master.run("down", site="esams")["retcode"] == 2


def test_check_says_what_the_pillar_is_and_asks_nobody(master):
    found = master.run("check")
    assert (found["retcode"], master.retcode, master.client.asked) == (0, 0, [])
    assert (found["errors"], found["warnings"]) == ([], [])
    assert {(one["one"], one["other"]) for one in found["pairs"]} == {*topology.pairs(FLEET)}
    assert found["lines"][:3] == [
        "6 hosts, 2 rules, 8 pairs, 16 connections",
        "pairs by rule:",
        "  core-to-core (start)       2",
    ]


def test_check_says_each_error_of_the_pillar(master):
    master.pillar({**fleets.example(), "mtu": 9, "vici": "x"})
    found = master.run("check")
    assert (found["retcode"], master.retcode, found["pairs"]) == (2, 2, [])
    assert [one["path"] for one in found["errors"]] == ["ipsec:mtu", "ipsec:vici"]
    assert found["lines"][:2] == [
        "2 errors",
        "error: ipsec:mtu: found 9; allowed: a whole number from 1280 to 65535 (bytes)",
    ]


@pytest.fixture
def edit(tmp_path):
    """Write the example, what an edit makes of it that takes a host out, and one with a word misspelt."""
    text = fleets.EXAMPLE.read_text()
    without = "".join(line for line in text.splitlines(True) if "cp3002" not in line)
    texts = {
        "old": text,
        "new": without.replace("peers: 3", "peers: 2"),
        "bad": text.replace("same: [cluster]", "samme: [cluster]", 1),
    }
    for name, said in texts.items():
        (tmp_path / f"{name}.sls").write_text(said)
    return {name: str(tmp_path / f"{name}.sls") for name in texts}


def program(capsys, *argv):
    """Return what the program prints of files, as text and as data, and its exit status."""
    status = pillarcheck.main(argv)
    text = capsys.readouterr().out.splitlines()
    assert pillarcheck.main([*argv, "--json"]) == status
    return text, json.loads(capsys.readouterr().out), status


@pytest.mark.parametrize(
    ("files", "against"),
    [
        (["old"], []),
        (["bad"], []),
        (["new", "bad"], []),
        (["new"], ["old"]),
        (["old"], ["bad"]),
        (["bad"], ["old"]),
        (["new"], ["new", "gone"]),
        (["gone"], ["old"]),
    ],
)
def test_check_of_files_says_what_the_program_says_and_asks_nobody(master, edit, capsys, files, against):
    """The master's check knew no lines, and not what an edit means."""
    new, old = ([edit.get(one, f"/nowhere/{one}.sls") for one in every] for every in (files, against))
    text, data, status = program(capsys, *new, *(["--against", *old] if old else []))
    found = master.run("check", files=new, **({"against": ",".join(old)} if old else {}))
    assert (found.pop("retcode"), found.pop("lines"), found.pop("outputter")) == (status, text, "ipsec")
    assert (json.loads(json.dumps(found)), master.retcode, master.client.asked) == (data, status, [])


def test_check_of_a_file_has_lines_and_what_the_edit_means(master, edit):
    found = master.run("check", files=edit["bad"])
    place = f"{edit['bad']}:16: error: ipsec:rules:0:samme: unknown key 'samme'"
    assert (master.retcode, found["lines"][0], found["lines"][1][: len(place)]) == (2, "1 error", place)
    found = master.run("check", files=edit["new"], against=edit["old"])
    assert (master.retcode, found["plan"]["leave"]) == (0, ["cp3002.esams.example"])
    assert "what it changes:" in found["lines"]


def test_check_joins_files_of_the_ext_pillar(master, tmp_path):
    """As SLS files the rules of the last one alone would count."""
    hosts, name, rest = fleets.EXAMPLE.read_text().partition("    - name: core-to-core\n")
    rule, expect, more = rest.partition("\n  expect:\n")
    (tmp_path / "a.sls").write_text(hosts + expect + more)
    (tmp_path / "b.sls").write_text(f"ipsec:\n  rules:\n{name}{rule}\n")
    files = [str(tmp_path / "a.sls"), str(tmp_path / "b.sls")]
    found = master.run("check", files=files, ext_pillar=True)
    assert (master.retcode, len(found["pairs"])) == (0, 8)
    assert (master.run("check", files=files)["retcode"], master.retcode) == (2, 2)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"files": []}, "files: found []; allowed: the path of a file at the master, or a list of them"),
        ({"files": ""}, "files: found ''; allowed: "),
        ({"files": ["a\0b"]}, "files: found ['a\\x00b']; allowed: "),
        ({"files": 5}, "files: found 5; allowed: "),
        ({"against": "/a.sls"}, "against, ext_pillar: files= is missing"),
        ({"ext_pillar": True}, "against, ext_pillar: files= is missing"),
    ],
)
def test_files_to_check_that_are_none_are_a_sentence(master, named, words):
    """An empty list of files would be the pillar of the master, and all well."""
    found = master.run("check", **named)
    assert (master.retcode, found["error"][: len(words)], master.client.asked) == (2, words, [])


NOT_RENDERED = "ipsec:\n  hosts:\n    a: {site: x, ipv4: 10.0.0.1\n    b: {}\n"
OUTSIDE = {
    "ok": True,
    "sentence": "nothing",
    "connections": {},
    "problems": [],
    "notes": [],
    "unrecorded": True,
}


def at(host, site):
    """Return a host whose record says at which site it is."""
    return lambda function, arguments: {**well(host)(function, arguments), "site": site}


OUTSIDE = {**OUTSIDE, "unmanaged": {}, "summary": {"sentence": "nothing"}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (NOT_RENDERED, "Rendering SLS 'ipsec' failed: line 4, column 6: did not find expected ',' or '}'"),
        ("ipsec:\n\thosts: 1\n", "failed: line 2, column 1: found character that cannot start any token"),
        ("ipsec:\n  {% if x %}\n", "failed: line 2: Jinja syntax error: Unexpected end of template."),
        ("ipsec:\n  {{ nobody.knows }}\n", "failed: line 2: Jinja variable 'nobody' is undefined"),
        (json.dumps({"ipsec": {**fleets.example(), "mtu": 9}}), "ipsec:mtu: found 9; allowed"),
        (json.dumps({"ipsec": 5}), "ipsec: found 5"),
        ("", "accepted minions has a pillar ipsec"),
    ],
    ids=["bracket", "tab", "jinja", "variable", "value", "number", "nothing"],
)
@pytest.mark.parametrize("verb", ["down", "up", "status"])
def test_a_pillar_that_cannot_be_used_stops_no_emergency(master, capsys, verb, text, place):
    """Nobody was asked, and 30 lines of a traceback said to see the log."""
    (master.place / "pillar/ipsec.sls").write_text(text)
    master.client.hosts[SPOKE] = lambda *_: OUTSIDE
    master.client.hosts[HUB] = lambda function, _: f"'{function}' is not available."
    found = master.run(verb)
    members = [host for host in HOSTS if host not in (HUB, SPOKE)]
    assert sorted(found["hosts"]) == members
    assert master.retcode == 0
    assert found["lines"][0].startswith("the pillar does not say which hosts are meant: ")
    assert any(place in line for line in found["lines"]), found["lines"]
    asked = "so the 5 accepted minions were asked, and count where connections are on record"
    assert asked in found["lines"]
    assert any(line.startswith("3 of 3 hosts are ") for line in found["lines"])
    assert {host for line in master.printed for host in HOSTS if line.startswith(host)} == {*members}
    assert all(said["known"] for function, _, said in master.client.asked[:1])
    assert "Traceback" not in "".join([*found["lines"], *capsys.readouterr()])


@pytest.mark.parametrize("verb", ["down", "up", "status"])
def test_a_site_is_found_by_records_where_the_pillar_does_not_tell(master, verb):
    """It was refused; who is not sure where he is, is left alone, and told."""
    (master.place / "pillar/ipsec.sls").write_text(NOT_RENDERED)
    placed = {HUB: "eqiad", SPOKE: "esams", HOSTS[1]: "esams", HOSTS[2]: ""}
    master.client.hosts.update({host: at(host, site) for host, site in placed.items()})
    master.client.hosts[HOSTS[4]] = lambda function, _: f"'{function}' is not available."
    esams = sorted([SPOKE, HOSTS[1]])
    found = master.run(verb, site="esams")
    assert sorted(found["hosts"]) == esams
    assert {host for _, hosts, _ in master.client.asked[1:] for host in hosts} == {*esams}
    assert f"so hosts were asked where they are: at esams are {', '.join(esams)}" in found["lines"]
    assert (master.retcode, [*found["failed"]]) == (1, [HOSTS[2]])
    assert "does not say at which site" in found["failed"][HOSTS[2]]


def test_a_site_that_no_record_tells_of_stops_nothing(master):
    (master.place / "pillar/ipsec.sls").write_text(NOT_RENDERED)
    master.client.hosts.update({host: at(host, "eqiad") for host in HOSTS})
    master.client.hosts[SPOKE] = lambda *_: SILENT
    for verb in ("down", "up", "status"):
        found = master.run(verb, site="esams")
        assert (master.retcode, {function for function, *_ in master.client.asked}) == (2, {"ipsec.status"})
        assert found["lines"][-3:] == [
            "site: found 'esams'; by their records hosts are at: eqiad",
            f"of {SPOKE} that is not known",
            "nothing was done; a target of hosts needs no pillar",
        ]


def test_where_nobody_has_connections_on_record_that_is_an_error(master):
    (master.place / "pillar/ipsec.sls").write_text(NOT_RENDERED)
    master.client.hosts = dict.fromkeys(HOSTS, lambda *_: OUTSIDE)
    for verb in ("down", "up", "status"):
        found = master.run(verb)
        assert (master.retcode, found["lines"][-1]) == (2, "none of them tells of connections on record")


@pytest.mark.parametrize("verb", ["down", "up", "status"])
def test_who_left_the_pillar_is_asked_and_counts_with_connections_on_record(master, verb):
    """With a pillar that could be read two that had left it were not asked: down, and proven."""
    data = fleets.example()
    del data["hosts"][SPOKE], data["expect"]
    master.pillar(data)
    kept = topology.pairs(pillar.read(data))
    for host in {one for pair in kept for one in pair}:
        master.client.hosts[host] = without(well(host), SPOKE)
    found = master.run(verb)
    asked = [(function, said) for function, hosts, said in master.client.asked if SPOKE in hosts]
    assert (asked[0][0], asked[0][1]["known"]) == ("ipsec.status", True)
    if verb == "status":
        assert (master.retcode, found["stray"]) == (1, [found["stray"][0]])
        assert found["stray"][0].startswith(f"{SPOKE} is not in the pillar, and has 6 connections")
    else:
        assert (master.retcode, sorted(found["hosts"])) == (0, HOSTS)
        assert found["lines"][0].startswith("5 of 5 hosts are as asked: ")
    master.client.hosts[SPOKE] = lambda *_: OUTSIDE
    found = master.run(verb)
    assert (master.retcode, SPOKE in found["lines"][0]) == (0, False)


def test_a_second_fleet_at_one_master_is_told(master):
    """Runners see that of the first minion with a pillar, and said that all is well."""
    whole, fleet = fleets.example(), fleets.example()
    del fleet["hosts"][SPOKE], fleet["expect"]
    for name, data in (("ipsec", fleet), ("other", whole)):
        (master.place / f"pillar/{name}.sls").write_text(json.dumps({"ipsec": data}))
    top = {f"not {SPOKE}": [{"match": "compound"}, "ipsec"], SPOKE: ["other"]}
    (master.place / "pillar/top.sls").write_text(json.dumps({"base": top}))
    for host in HOSTS:
        if host != SPOKE:
            master.client.hosts[host] = without(well(host), SPOKE)
    said = f"of another fleet by their pillar, and left alone: {SPOKE}; tgt= reaches them"
    for verb in ("down", "up", "status"):
        found = master.run(verb)
        assert (master.retcode, found["lines"][-1]) == (0, said), found["lines"]
        told = [function for function, hosts, _ in master.client.asked if SPOKE in hosts]
        assert told == ["ipsec.status"]


def without(answers, gone):
    """Return a host that has no connection with one that is gone."""

    def said(function, arguments):
        found = answers(function, arguments)
        rows = {name: row for name, row in found["connections"].items() if row["peer"] != gone}
        return {**found, "connections": rows}

    return said


def test_who_is_silent_counts_where_the_pillar_cannot_be_used(master):
    (master.place / "pillar/ipsec.sls").write_text(NOT_RENDERED)
    master.client.hosts[SPOKE] = lambda *_: SILENT
    found = master.run("down")
    assert (master.retcode, found["silent"]) == (1, [SPOKE])
    assert "4 of 5 hosts are as asked: down, and proven" in found["lines"]


@pytest.mark.parametrize("verb", ["down", "up"])
def test_a_name_in_a_list_that_nobody_has_is_told(master, verb):
    """It was dropped without a word, and all was as asked."""
    found = master.run(verb, f"{HUB},nobody.example", tgt_type="list")
    assert (master.retcode, [*found["hosts"]]) == (1, [HUB])
    assert found["failed"] == {"nobody.example": "no accepted minion has this name"}
    assert any(line.startswith("1 of 2 hosts are as asked: ") for line in found["lines"])
    assert "nobody.example: no accepted minion has this name" in found["lines"]
    for other in ("verify", "rollout", "reauthenticate", "rollback"):
        found = master.run(other, [HUB, "nobody.example"], tgt_type="list")
        assert (master.retcode, master.client.asked) == (2, [])
        assert "no accepted minion is called nobody.example" in found["error"]


def test_up_says_what_is_up_between_those_that_are_there_then_who_is_away(master):
    """With 3 of 20 hosts off it said that 0 of 20 hosts are as asked."""

    def lacks(host):
        def answers(function, arguments):
            found = well(host)(function, arguments)
            for row in found["connections"].values() if function == "ipsec.up" else ():
                if row["peer"] == SPOKE:
                    row.update(up=False, state="connecting", reason="no answer from the peer yet")
                    found["ok"] = False
            return found

        return answers

    master.client.hosts.update({host: lacks(host) for host in HOSTS})
    master.client.hosts[SPOKE] = lambda *_: SILENT
    found = master.run("up")
    assert found["lines"] == [
        "1 of 5 hosts are as asked: every connection up",
        "between the 4 hosts that answered: 10 of 10 connections up",
        f"away: {SPOKE}; 6 connections of theirs lead there",
        f"did not answer: {SPOKE}",
    ]
    assert master.retcode == 1


@pytest.mark.parametrize("ahead", [3600, 10**15])
def test_a_time_ahead_is_now(master, ahead):
    master.run("down", asked=time.time() + ahead)
    assert master.client.asked[0][2]["asked"] <= time.time()


@pytest.mark.parametrize(
    ("verb", "arguments", "named", "said"),
    [
        ("status", (), {"site": "nowhere"}, "site: found 'nowhere'; allowed: codfw, eqiad, esams"),
        ("status", (), {"host": "a"}, "host: found 'a'; allowed: cp1001.eqiad.example, "),
        ("status", (), {"state": "fine"}, "state: found 'fine'; allowed: up, down, ends disagree"),
        ("status", (), {"within": "esams,x"}, "within: found 'x'; allowed: codfw, eqiad, esams"),
        ("status", (), {"within": 5}, "within: found 5; allowed: a list of names"),
        ("status", (), {"wait": -1}, "wait: found -1; allowed: seconds from 0 to 3600"),
        ("status", (), {"threshold": True}, "threshold: found True; allowed: a whole number of hosts"),
        ("status", (), {"brief": 1}, "brief: found 1; allowed: True, False"),
        ("down", ("nohost*",), {}, "tgt=nohost*: no accepted minion fits; nothing was asked of any host"),
        ("up", (), {"batch": -1}, "batch: found -1; allowed: a whole number of hosts, 0 for all at once"),
        ("down", (), {"deadline": "soon"}, "deadline: found 'soon'; allowed: seconds from 0.1 to 3600"),
        ("reauthenticate", (), {"lead": 700}, "lead: found 700; allowed: seconds from 0 to 600"),
        ("down", (), {"hold": "maybe"}, "hold: found 'maybe'; allowed: True, False"),
        ("down", (), {"asked": "now"}, "asked: found 'now'; allowed: seconds since 1970"),
        ("down", (), {"deadlin": 5}, "unknown argument deadlin; nothing was asked of any host"),
        (
            "down",
            ("cp1*", "cp2*"),
            {},
            "cp2*: which argument is it? one target, then NAME=VALUE; nothing was asked",
        ),
        (
            "down",
            ("cp1*",),
            {"site": "esams"},
            "tgt and site: one of them, not both; nothing was asked of any host",
        ),
        ("down", (), {"site": "nowhere"}, "site: found 'nowhere'; allowed: codfw, eqiad, esams"),
        ("rollout", (), {"stage": "off"}, "stage: found 'off'; allowed: passive, start, require"),
        ("rollout", (), {"by": "rack"}, "by: found 'rack'; allowed: "),
        (
            "rollback",
            (),
            {"mark": "x"},
            "nothing to go back from; name hosts (tgt) to undo their last state.apply",
        ),
    ],
)
def test_bad_input(master, verb, arguments, named, said):
    found = master.run(verb, *arguments, **named)
    assert master.retcode == 2
    assert found["lines"][0].startswith(said)
    assert [function for function, _, _ in master.client.asked if function != "ipsec.previous"] == []


ODD = [True, "[", {"a": 1}]
VERBS = (
    "status",
    "down",
    "up",
    "verify",
    "plan",
    "rollout",
    "reauthenticate",
    "repair",
    "rollback",
    "sites",
    "check",
)


@pytest.mark.parametrize("verb", VERBS)
def test_whatever_an_argument_is_there_is_no_traceback(master, verb):
    """Each argument with odd values, one it does not know, and too many of them."""
    taken = inspect.signature(salt.loader.runner(master.opts)[f"ipsec.{verb}"]).parameters.values()
    names = [one.name for one in taken if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    for name in names:
        for odd in ODD:
            found = master.run(verb, **{name: odd})
            assert "Traceback" not in str(found), (name, odd)
            json.dumps(found)
    for more, named in ((("cp*", "glob", 5, "more", 7), {}), ((), {"nobody": 1})):
        found = master.run(verb, *more, **named)
        assert (master.retcode, master.client.asked) == (2, []), (more, named)
        assert found["error"], (more, named)


def test_sites(master):
    found = master.run("sites")
    assert [one["name"] for one in found["sites"]] == ["codfw", "eqiad", "esams"]
    assert sorted(host for one in found["sites"] for host in one["hosts"]) == HOSTS
    assert [one["name"] for one in master.run("sites", only="esams,codfw")["sites"]] == ["esams", "codfw"]
    found = master.run("sites", only="nowhere")
    assert (found["sites"], found["error"]) == ([], "only: found 'nowhere'; allowed: codfw, eqiad, esams")
    assert (master.retcode, found["lines"]) == (2, [found["error"]])


def test_a_site_is_a_target(master):
    master.run("down", site="esams,codfw")
    assert master.client.asked[0][1] == [host for host in HOSTS if not host.startswith("cp1")]


def test_rollback_of_what_the_last_roll_out_changed(master):
    for host, mark in ((HUB, None), (SPOKE, "2025-11-20T10:00:00Z"), (HOSTS[1], "")):
        master.client.hosts[host] = lambda function, how, host=host, mark=mark: (
            {"mark": mark, "when": "then", "connections": []}
            if function == "ipsec.previous"
            else well(host)(function, how)
        )
    master.run("rollback")
    assert master.client.asked[1][:2] == ("ipsec.rollback", [HOSTS[2], HOSTS[4]])
    master.run("rollback", mark="2025-11-20T10:00:00Z")
    assert master.client.asked[1][1] == [SPOKE]
    master.run("rollback", "cp1*")
    assert master.client.asked[1][1] == [HOSTS[1]]


class Changing:
    """A host that has to be changed until a state run has done it, and can go back."""

    def __init__(self, master, name):
        self.master, self.name, self.told = master, name, []
        self.mark, self.before, self.away, self.refuses = None, None, False, False
        self.then = lambda: None  # what happens once it is changed

    def __call__(self, function, arguments):
        if self.away:
            return SILENT
        if function == "state.apply":
            return self.apply(arguments["pillar"]["ipsec_rollout"]["mark"])
        if function == "ipsec.previous":
            return {"mark": self.mark, "when": "2026-11-24 20:00 UTC", "connections": [], "edition": EDITION}
        if function == "ipsec.rollback":
            return self.rollback(arguments)
        found = well(self.name)(function, arguments)
        if function == "ipsec.plan" and self.mark is None:
            found["changes"] = {"ipsec.configured": {"connections": {"added": sorted(found["connections"])}}}
        return found

    def apply(self, mark):
        if self.refuses:
            return ['The function "state.apply" is running as PID 7']
        self.mark = mark
        self.told.append(mark)
        self.then()
        return {"a": {"__id__": "a", "result": True, "comment": "well", "changes": {"a": "b"}}}

    def rollback(self, arguments):
        assert set(arguments) == {"mark"}
        if arguments["mark"] != self.mark:
            return {"error": "the last change here is of another"}
        self.mark = None
        return {"ok": True, "sentence": "as before", "connections": {}, "problems": []}


@pytest.fixture
def changing(master):
    """Hosts that a roll-out changes, from the last to the first."""
    master.client.hosts.update({name: Changing(master, name) for name in HOSTS})
    return [master.client.hosts[name] for name in reversed(HOSTS)]


def test_one_roll_out_at_a_time(master, changing):
    """Two at once were stopped by Salt's own lock only; the second, and a rollback, are refused."""
    inside = {}

    def meanwhile():
        changing[0].then = lambda: None
        again = Master.run(copy.copy(master), "rollout")
        back = Master.run(copy.copy(master), "rollback")
        inside.update(
            rollout=again, rollback=back, dry=Master.run(copy.copy(master), "rollout", dry_run=True)
        )

    changing[0].then = meanwhile
    found = master.run("rollout")
    assert (found["retcode"], len(found["changed"])) == (0, 5)
    for verb in ("rollout", "rollback"):
        assert inside[verb]["retcode"] == 2
        assert inside[verb]["error"].startswith("ipsec.rollout by root (salt-run), process ")
    assert inside["dry"]["lines"][-1] == "nothing was changed"


def test_a_pillar_that_is_edited_on_the_way_stops_a_roll_out(master, changing):
    edited = copy.deepcopy(fleets.example())
    edited["connection"] = {"margintime": "9m"}
    changing[1].then = lambda: master.pillar(edited)
    found = master.run("rollout")
    assert (found["retcode"], found["changed"]) == (1, [HOSTS[4], HOSTS[3]])
    assert found["stopped"] == ["the pillar is another than at the start of this roll-out"]


def test_a_pillar_of_a_host_that_is_another_is_told_to_it(master, changing):
    plain = master.client.hosts[HOSTS[4]]
    seen = []

    def host(function, arguments):
        if function == "state.apply":
            seen.append(arguments["pillar"]["ipsec_rollout"].get("pillars"))
        found = plain(function, arguments)
        return {**found, "pillar": "one"} if function == "ipsec.plan" else found

    master.client.hosts[HOSTS[4]] = host
    assert master.run("rollout")["retcode"] == 0
    assert seen == [{HOSTS[4]: "one"}]


def test_a_roll_out_is_taken_back_once(master, changing):
    """A second `rollback` undid the roll-out before; a host that was off had the one before undone."""
    assert master.run("rollout")["retcode"] == 0
    changing[3].mark = "2025-11-20T10:00:00Z"  # as if only an earlier one had changed it
    changing[0].away = True
    found = master.run("rollback")
    assert (found["retcode"], sorted(found["hosts"]), found["silent"]) == (
        1,
        sorted(host.name for host in (changing[1], changing[2], changing[4])),
        [HOSTS[4]],
    )
    changing[0].away = False
    found = master.run("rollback")
    assert (found["retcode"], sorted(found["hosts"])) == (0, [HOSTS[4]])
    found = master.run("rollback")
    assert (found["retcode"], found["error"].startswith("nothing to go back from; ")) == (2, True)
    assert changing[3].mark == "2025-11-20T10:00:00Z"


def test_a_roll_out_that_was_stopped_is_gone_on_with_and_taken_back_as_one(master, changing):
    """The second run had a mark of its own: half of the fleet went back."""
    changing[2].refuses = True
    found = master.run("rollout")
    assert (found["retcode"], found["changed"]) == (1, [HOSTS[4], HOSTS[3]])
    assert found["stopped"] == [f'{changing[2].name}: The function "state.apply" is running as PID 7']
    changing[2].refuses = False
    again = master.run("rollout")
    assert (again["retcode"], again["mark"]) == (0, found["mark"])
    assert again["lines"][0] == (
        f"goes on with the roll-out of {found['mark']}, which was stopped: rollback takes back both"
    )
    back = master.run("rollback")
    assert (back["retcode"], sorted(back["hosts"])) == (0, HOSTS)
    for host in changing:
        host.mark = None
    assert master.run("rollout")["mark"] > found["mark"]


def test_a_roll_out_that_stops_takes_itself_back_and_no_other(master, changing):
    """As a step of an orchestration: one that stopped before it changed anything took back the one before."""
    assert master.run("rollout", back=True)["retcode"] == 0
    first = {host.mark for host in changing}
    broken = {**fleets.example(), "mtu": 9}
    master.pillar(broken)
    assert master.run("rollout", back=True)["retcode"] == 2
    master.pillar(fleets.example())
    changing[0].away = True
    found = master.run("rollout", back=True)
    assert (found["retcode"], found["lines"][-1]) == (1, "nothing was changed, so nothing is taken back")
    assert {host.mark for host in changing} == first
    changing[0].away = False
    for host in changing:
        host.mark = None
    changing[2].refuses = True
    found = master.run("rollout", back=True)
    assert (found["retcode"], found["changed"]) == (1, [HOSTS[4], HOSTS[3]])
    assert found["lines"][-1].startswith("2 of 2 hosts are as asked: they run what they ran before")
    assert {host.mark for host in changing} == {None}
    assert master.run("rollback")["retcode"] == 2


def test_ctrl_c_in_the_middle_of_a_batch(master, changing):
    """Hosts of the batch under way were missing among those that a roll-out changed."""
    master.client.pressed = HOSTS[0]  # the last of the last batch, with cp1002 done
    plain = master.client.cmd_iter_no_block

    def press(hosts, function, **more):
        master.client.pressed = HOSTS[0] if function == "state.apply" else None
        return plain(hosts, function, **more)

    master.client.cmd_iter_no_block = press
    found = master.run("rollout")
    assert (found["retcode"], found["changed"], found["unknown"]) == (130, HOSTS[:0:-1], [HOSTS[0]])
    assert found["lines"][1] == f"told to change, and not known whether they did: {HOSTS[0]}"


def test_a_host_of_the_release_before_is_told_no_mark(master):
    """Its `ipsec.rollback` takes none; it has just said of which its last change is."""
    told = []

    def old(function, arguments):
        if function == "ipsec.rollback":
            told.append(arguments)
        return well(SPOKE)(function, arguments)

    master.client.hosts[SPOKE] = old
    assert master.run("rollback")["retcode"] == 0
    assert told == [{}]


def test_a_certificate_about_to_expire(master):
    def soon(function, arguments):
        found = well(SPOKE)(function, arguments)
        found["certificate"] = {"days_left": 5, "severity": "warning", "sentence": "expires in 5 days"}
        return found

    master.client.hosts[SPOKE] = soon
    found = master.run("status")
    assert (master.retcode, found["certificates"][SPOKE]) == (1, 5)
    assert found["lines"][-2:] == [
        f"certificates: the first expires in 5 days, that of {SPOKE}",
        f"{SPOKE}: expires in 5 days",
    ]


def test_unmanaged_connections_are_stray(master):
    def stray(function, arguments):
        return {**well(SPOKE)(function, arguments), "unmanaged": {"old_v4": {}}}

    master.client.hosts[SPOKE] = stray
    found = master.run("status")
    assert master.retcode == 1
    assert f"{SPOKE}: old_v4 is not in the pillar" in found["lines"]


def test_the_pillar_is_the_first_that_has_it(master):
    data = copy.deepcopy(fleets.example())
    data["hosts"][SPOKE]["maintenance"] = True
    master.pillar(data)
    found = master.run("status")
    assert found["counts"] == {"up": 10, "maintenance": 6}
    assert SPOKE not in master.client.asked[0][1]
    assert SPOKE in master.run("down")["hosts"]


def nonsense(lines):
    """Return the lines that say so; a list of sentences is told as these."""
    return [line for line in lines if line.startswith((f"{SPOKE}: answered nonsense: ", f"{SPOKE}: a list"))]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
@pytest.mark.parametrize("verb", ["status", "down", "plan"])
def test_nonsense_is_named_and_everybody_else_counts(master, verb, answer):
    """`{"connections": []}` of one minion ended `salt-run ipsec.status` and `down` with a KeyError."""
    master.client.hosts[SPOKE] = lambda *_: answer
    found = master.run(verb)
    assert (master.retcode, [*found["failed"]], found["silent"]) == (1, [SPOKE], [])
    assert len(nonsense(found["lines"])) == 1
    if verb == "status":
        assert found["counts"] == {"up": 10, "not answering": 6}
    elif verb != "plan":
        assert found["lines"][0].startswith("4 of 5 hosts are as asked: ")
        assert sorted(found["hosts"]) == [host for host in HOSTS if host != SPOKE]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_nonsense_stops_a_roll_out_before_anything_is_done(master, answer):
    master.client.hosts[SPOKE] = lambda *_: answer
    found = master.run("rollout")
    assert (master.retcode, found["changed"]) == (1, [])
    assert nonsense(found["stopped"]) == found["stopped"] != []
    assert {function for function, _, _ in master.client.asked} == {"ipsec.plan"}


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_a_state_run_that_returns_nonsense_stops_a_roll_out(master, answer):
    """An empty dictionary counted as a state run without a fault."""

    def changing(function, arguments):
        found = well(HOSTS[4])(function, arguments)
        if function == "ipsec.plan":
            added = sorted(found["connections"])
            found["changes"] = {"ipsec.configured": {"connections": {"added": added}}}
        return answer if function == "state.apply" else found

    master.client.hosts[HOSTS[4]] = changing
    found = master.run("rollout")
    refused = answer == ["a", "list"]  # as Salt says what it could not render, and that another is running
    assert (master.retcode, found["changed"]) == (1, [] if refused else [HOSTS[4]])
    if refused:
        assert found["stopped"] == [f"{HOSTS[4]}: a", f"{HOSTS[4]}: list"]
    else:
        assert [one.startswith(f"{HOSTS[4]}: answered nonsense: ") for one in found["stopped"]] == [True]


def test_no_site_at_all_is_an_error(master):
    """An empty list of sites took no host down and said that 0 of 0 are as asked, with exit status 0."""
    found = master.run("down", site=[])
    assert (master.retcode, master.client.asked) == (2, [])
    assert found["error"] == "site: found []; allowed: codfw, eqiad, esams"


@pytest.mark.parametrize("verb", ["status", "plan", "previous"])
def test_what_the_module_of_a_host_answers_has_the_shape_that_is_read(minion, verb):
    """Both are of this release: what the one writes the other must read."""
    found = answers.read(f"ipsec.{verb}", minion.call(f"ipsec.{verb}"))
    assert isinstance(found, Answer), found


def mined(master, host, told):
    """Have the pillar ask the mine for a host, and the mine say something."""
    data = {**copy.deepcopy(fleets.example()), "addresses": "mine"}
    addresses = {family: data["hosts"][host].pop(family) for family in ("ipv4", "ipv6")}
    master.pillar(data)
    cache, said = salt.cache.Cache(master.opts), told(addresses)
    for bank, key in (("mine", host), (f"minions/{host}", "mine")):  # of Salt 3008, and of those before
        cache.store(bank, key, said)


def test_check_takes_addresses_from_the_mine(master):
    mined(master, SPOKE, lambda of: {"network.ip_addrs": [of["ipv4"]]})
    found = master.run("check")
    assert found["errors"] == []
    assert {tuple(one["families"]) for one in found["pairs"] if one["other"] == SPOKE} == {("v4",)}


def test_addresses_from_the_mine(master):
    """Hosts without an address in the pillar: the master's mine is asked once, for both families."""
    mined(master, SPOKE, lambda of: {f"network.ip_addrs{end}": [of[f"ipv{end or 4}"]] for end in ("", "6")})
    found = master.run("status")
    assert (master.retcode, found["counts"]) == (0, {"up": 16})


@pytest.mark.parametrize("said", ['2001:db8::66%x"\nconn y', "0.0.0.0", 5, None])
def test_a_mine_that_says_no_address_of_a_host_is_told_of_that_host_and_stops_no_other(master, said):
    """One host's mine made the pillar of the fleet wrong, and 5 a traceback."""
    mined(master, SPOKE, lambda of: {"network.ip_addrs": [of["ipv4"]], "network.ip_addrs6": [said]})
    found = master.run("status")
    assert (master.retcode, found["counts"]) == (1, {"up": 16})
    (line,) = [
        line for line in found["lines"] if line.startswith(f"ipsec:hosts:{SPOKE}: the Salt mine: found")
    ]
    assert line.isprintable()
    master.client.asked.clear()
    assert len(master.run("down", reason="T1")["hosts"]) == len(HOSTS)
    assert master.retcode == 0


# The page --------------------------------------------------------------------------------------


def test_a_report_is_a_file_whatever_it_tells(master, tmp_path):
    path = tmp_path / "ipsec.html"
    found = master.run("report", path=str(path))
    assert (master.retcode, found["path"], found["error"]) == (0, str(path), "")
    assert found["sentence"] == "16 of 16 connections up; 6 of 6 hosts answered"
    assert master.printed == []
    master.client.hosts[HUB] = lambda *_: SILENT
    master.client.hosts[SPOKE] = lambda *_: NONSENSE[0]
    found = master.run("report", path=str(path))
    assert (master.retcode, found["sentence"].rpartition("; ")[2]) == (0, "4 of 6 hosts answered")
    assert found["sentence"] in path.read_text()
    assert Path(master.run("report")["path"]) == Path(master.opts["cachedir"]) / "hostipsec/report.html"


def test_a_report_that_cannot_be_keeps_the_one_before(master, tmp_path):
    path = tmp_path / "ipsec.html"
    master.run("report", path=str(path))
    before = path.read_bytes()
    for named, said in (
        ({"path": "ipsec.html"}, "path: found 'ipsec.html'; allowed: the absolute path of a file"),
        ({"path": str(tmp_path / "none/a.html")}, "there is no directory"),
        ({"path": str(path), "interval": "soon"}, "interval: found 'soon'"),
        ({"path": str(path), "site": "eqiad"}, "site"),
    ):
        found = master.run("report", **named)
        assert master.retcode == 2
        assert said in found["error"]
        assert master.client.asked == []
    master.client.pressed = SPOKE
    assert master.run("report", path=str(path))["retcode"] == 2
    master.pillar({"hosts": 5})
    assert master.run("report", path=str(path))["retcode"] == 2
    assert path.read_bytes() == before


def test_repair_says_what_it_would_do_and_does_it_when_told(master, monkeypatch):
    monkeypatch.setattr("hostipsec.fleet.repairs.APART", 0.0)
    assert (master.run("repair")["broken"], master.retcode) == ([], 0)
    good, name, mended = master.client.hosts[SPOKE], "cp1001_v4", []

    def broken(function, told):
        found = good(function, told)
        if function == "ipsec.status" and not mended:
            found["connections"][name].update(state="down", severity="critical", reason="no SA")
        return found

    def begins(function, told):
        if function == "ipsec_host.restart":
            mended.append(told)
            row = {"peer": SPOKE, "family": "v4", "ok": True, "reason": "", "ended": [7], "up": True}
            return {"ok": True, "sentence": "1 IKE SA ended", "connections": {told["connection"]: row}}
        found = well(HUB)(function, told)
        found["connections"]["cp3001_v4"]["ike_ids"] = [7]
        return found

    master.client.hosts.update({SPOKE: broken, HUB: begins})
    found = master.run("repair")
    assert (master.retcode, mended) == (3, [])
    assert found["lines"][1].endswith(f"; would end IKE SA 7 at {HUB}, start cp3001_v4 at {HUB}")
    found = master.run("repair", budget=0, dry_run=False)
    assert (master.retcode, mended) == (1, [])
    found = master.run("repair", host=SPOKE, dry_run=False, deadline=5)
    assert (master.retcode, mended) == (0, [{"connection": "cp3001_v4", "ids": [7], "deadline": 5}])
    assert found["lines"] == ["1 of 1 connection begun anew and up at both ends", f"{HUB} - {SPOKE} v4: up"]


def by_ext_pillar(master, data):
    """Take the fleet's pillar out of the plain one, to files of the master that its ext_pillar names."""
    (master.place / "pillar/top.sls").write_text("{}")
    fleet = master.place / "fleet.sls"
    fleet.write_text(data if isinstance(data, str) else json.dumps({"ipsec": data}))
    master.opts["ext_pillar"] = [{"cmd_yaml": "echo"}, {"ipsec": str(fleet)}]
    master.opts["pillar_dirs"] = [str(ROOT / "_pillar")]


@pytest.mark.parametrize("verb", ["status", "plan", "down", "verify"])
def test_the_fleet_of_an_ext_pillar_is_read_from_its_files(master, verb):
    plain = master.run(verb, timeout=1)
    by_ext_pillar(master, fleets.example())
    assert master.run(verb, timeout=1) == plain


@pytest.mark.parametrize(
    ("old", "new", "retcode", "line"),
    [
        ("mtu: 1450", "mtu: 0x5AA", 0, "warning: ipsec:mtu: found 0x5AA, of which YAML makes another number"),
        ("mtu: 1450", "mtu: 9", 2, "error: ipsec:mtu: found 9"),
        ("mtu: 1450", "mtu: [", 2, "error: ipsec: "),
    ],
)
def test_check_of_the_files_of_an_ext_pillar_has_their_lines(master, old, new, retcode, line):
    """It said neither which line, nor that YAML made another number of what was written."""
    text = yaml.safe_dump({"ipsec": {**fleets.example(), "mtu": 1450}}, sort_keys=False)
    by_ext_pillar(master, text.replace(old, new))
    found = master.run("check")
    assert (master.retcode, master.client.asked) == (retcode, [])
    (told,) = [one for one in found["lines"] if line in one]
    number = text[: text.index(old)].count("\n") + 1
    assert told.startswith(f"{master.place}/") and f".sls:{number + (new == 'mtu: [')}: " in told
    assert len(found["errors"]) == (retcode == 2) and not any("files=FILE" in one for one in found["lines"])
    assert len(found["pairs"]) == (0 if retcode else 8)


def test_files_of_an_ext_pillar_that_are_wrong_are_told_and_stop_no_emergency(master):
    by_ext_pillar(master, "ipsec: {hosts: [")
    found = master.run("plan")
    assert found["retcode"] == 2
    assert "fleet.sls: line 2, column 1: did not find expected node content" in found["error"]
    assert master.client.asked == []
    master.run("down", timeout=1)
    assert {host for _, hosts, _ in master.client.asked for host in hosts} == {*HOSTS}


def test_a_part_is_not_taken_for_the_fleet(master):
    """As on a master whose hosts have their pillar from another one."""
    data = fleets.example()
    master.pillar(parts.Whole(data, pillar.read(data)).part(HUB))
    found = master.run("plan")
    assert "does not name the files of the fleet" in "\n".join(found["lines"])
    assert found["retcode"] == 2


# Progress ------------------------------------------------------------------------------------------

PIPED = """
import sys
import salt.runner
import test_runner

class Patch:
    setattr = staticmethod(setattr)

def waiting(host):
    def answers(*asked):
        sys.stdin.readline()  # told by who reads the line of the host before
        return test_runner.well(host)(*asked)
    return answers

place = test_runner.Path(sys.argv[1])
(place / "var/cache/salt/master/proc").mkdir(parents=True)
master = test_runner.Master(place, Patch())
master.client.hosts[test_runner.HOSTS[-1]] = waiting(test_runner.HOSTS[-1])
master.opts["outputter_dirs"] = [str(test_runner.ROOT / "_output")]
salt.runner.RunnerClient(master.opts).cmd("ipsec.verify", print_event=True)
"""


def test_each_line_of_progress_reaches_who_reads_by_a_pipe_at_once(tmp_path):
    """Of `salt-run ipsec.rollout | tee log` nothing was to be seen before its end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", PIPED, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(argv, **pipes) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        first = [process.stdout.readline() for _ in HOSTS[:-1]]  # while the last one is waited for
        process.stdin.write("\n")
        process.stdin.close()
        rest = process.stdout.read()
        watchdog.cancel()
    assert [line.partition(":")[0] for line in first] == HOSTS[:-1]
    assert rest.startswith(f"{HOSTS[-1]}: ")
