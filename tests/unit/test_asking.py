"""Hosts asked in batches: answers, silence, interruptions; what commands come to of it."""

from __future__ import annotations

import pytest

import fleets
from clocks import Clock
from hostipsec.answer import Answer
from hostipsec.errors import HostIPsecError
from hostipsec.fleet import asking, commands, outcome, underway
from hostipsec.fleet.asking import Asking, Heard, MasterError
from hostipsec.fleet.gone import Gone
from hostipsec.fleet.ledger import Ledger
from hostipsec.fleet.marks import Last
from hostipsec.fleet.minions import Minions
from hostipsec.fleet.targets import Meant
from hostipsec.pillar import pillar

HOSTS = ("a", "b", "c", "d")
SILENT = object()


class Client(Clock):
    """Hosts in memory; ``says`` gives by host what it returns, or a function of what it is asked."""

    def __init__(self, **says):
        self.says, self.asked, self.printed, self.end, self.time = says, [], [], None, 0.0
        self.strangers = ()

    def returns(self, hosts, function, arguments):
        self.asked.append((function, [*hosts], dict(arguments)))
        for host in (*hosts, *self.strangers):
            said = self.says.get(host, well)
            value = said(function, arguments) if callable(said) else said
            if isinstance(value, BaseException):
                raise value
            if value is not SILENT:
                yield host, value
        if self.end:
            raise self.end

    def say(self, text):
        if text:
            self.printed.append(text)


def well(function, arguments):
    rows = {
        "x_v4": {"peer": "x", "family": "v4", "state": "established", "up": True, "ok": True, "reason": ""}
    }
    more = {"mark": "m1", "when": "then"}
    rows = rows if not function.endswith("previous") else ["x_v4"]
    said = {"ok": True, "sentence": "well", "connections": rows, "problems": [], "unmanaged": {}, **more}
    return {**said, "summary": {"sentence": "well", "severity": "ok"}, "held": None, "edition": "1"}


def ask(client, line=asking.sentence, batch=0, **arguments):
    return Asking(client).ask(HOSTS, "ipsec.down", arguments, line, batch)


def test_everybody_answers():
    client = Client()
    heard = ask(client)
    assert [*heard.answers] == [*HOSTS]
    assert heard == Heard(heard.answers)
    assert client.printed == [f"{host}: well" for host in HOSTS]
    assert all(isinstance(one, Answer) for one in heard.answers.values())


def test_what_is_printed():
    client = Client(b="some text", c=SILENT)
    ask(client, asking.nothing)
    assert client.printed == []
    ask(client, asking.trouble)
    assert client.printed == ["b: some text"]
    client.printed.clear()
    ask(client)
    assert client.printed == ["a: well", "b: some text", "d: well"]


@pytest.mark.parametrize(
    ("batch", "parts"), [(0, ["abcd"]), (1, [*"abcd"]), (3, ["abc", "d"]), (9, ["abcd"])]
)
def test_batches(batch, parts):
    client = Client()
    ask(client, batch=batch)
    assert [hosts for _, hosts, _ in client.asked] == [[*part] for part in parts]


def test_nobody_is_asked_of_nobody():
    client = Client()
    assert Asking(client).ask([], "ipsec.down") == Heard()
    assert client.asked == []


def test_who_says_nothing_is_silent():
    heard = ask(Client(a=SILENT, c=SILENT), batch=2)
    assert (heard.silent, heard.unanswered, [*heard.answers]) == (("a", "c"), (), ["b", "d"])


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit()])
def test_an_interruption_tells_those_without_an_answer_from_those_that_were_not_asked(end):
    """The first batch has a host that was silent before anybody pressed Ctrl-C."""
    heard = ask(Client(a=SILENT, c=end), batch=2)
    assert (heard.silent, heard.unanswered, heard.unasked) == (("a",), ("c", "d"), ())
    heard = ask(Client(b=end), batch=2)
    assert heard.interrupted
    assert (heard.silent, heard.unanswered, heard.unasked) == ((), ("b",), ("c", "d"))
    assert outcome.status(True, heard.interrupted) == 130


def test_who_was_not_asked_does_not_count_for_one_that_failed():
    """Each minion hears of each job, and Salt passes on what any of them sends for it."""
    client = Client(a={**well("", {}), "ok": False}, b=SILENT)
    client.strangers = ("x", "y")
    for found in (
        commands.command(Asking(client), "down", Meant(HOSTS), {}),
        commands.verify(Asking(client), HOSTS, {}, None),
    ):
        assert (found.ok, [*found.heard.answers]) == (False, ["a", "c", "d"])
        assert found.lines[0].startswith("2 of 4 hosts are as asked")
    assert not [line for line in client.printed if line[0] in "xy"]


def test_who_was_not_told_is_none_that_a_roll_out_changed():
    client = Client()
    client.strangers = ("x",)
    hands = Minions(client, Last("m1"), str, lambda _: None)
    assert {host for host, _ in hands.apply(HOSTS, "start", {})} == {*HOSTS}


def test_what_the_master_says_counts_for_those_that_are_not_heard():
    heard = ask(Client(b=MasterError("timed out")))
    said = "not known, the master says: timed out"
    assert ([*heard.answers], heard.failed) == (["a"], dict.fromkeys("bcd", said))


def older(*unknown):
    """Return a host that does not know some arguments, and says so as before there was a field for it."""

    def says(function, arguments):
        refused = sorted({*unknown} & {*arguments})
        if refused:
            return {"error": f"unknown argument {', '.join(refused)}; nothing was done"}
        return {key: value for key, value in well(function, arguments).items() if key != "edition"}

    return says


def test_older_modules_are_asked_without_what_they_do_not_know():
    client = Client(a=older("asked", "jitter"), b=older("jitter"), c=older("who"))
    heard = Asking(client).ask(HOSTS, "ipsec.up", {"asked": 1, "jitter": 2, "who": "root"})
    assert [(hosts, sorted(told)) for _, hosts, told in client.asked] == [
        ([*HOSTS], ["asked", "jitter", "who"]),
        (["a"], ["who"]),
        (["b"], ["asked", "who"]),
    ]
    assert heard.failed == {"c": "unknown argument who; nothing was done"}
    assert outcome.editions(heard, "1") == {"a": "an older one", "b": "an older one"}
    said = "hostipsec is an older one at a, b, and 1 at this master; run saltutil.sync_all on both"
    assert outcome.mixed(heard, "1") == [said]


def test_a_host_that_never_knows_what_it_is_asked_is_asked_once_more_for_each_argument():
    def never(function, arguments):
        return {"error": "words", "unknown": sorted(arguments)[:1]}

    client = Client(a=never)
    heard = Asking(client).ask(["a"], "ipsec.up", {"asked": 1, "jitter": 2})
    assert len(client.asked) == 3
    assert heard.failed == {"a": "words"}


def test_a_host_that_says_nothing_the_second_time_is_silent():
    client = Client(a=lambda function, told: older("asked")(function, told) if "asked" in told else SILENT)
    assert ask(client, asked=1).silent == ("a",)


def test_answers_of_some_hosts():
    heard = Heard(failed={"a": "x", "b": "y"}, silent=("c", "d"))
    assert heard.of(["b", "d"]) == Heard(failed={"b": "y"}, silent=("d",))


# Commands --------------------------------------------------------------------------------------


def test_a_command_counts_those_that_say_ok():
    client = Client(b={**well("", {}), "ok": False, "problems": ["a disk is full"]}, c=SILENT, d=[])
    found = commands.command(Asking(client), "down", Meant(HOSTS), {}, threshold=3)
    assert found.ok
    assert found.as_dict("1")["lines"] == [
        "1 of 4 hosts are as asked: down, and proven",
        "b: a disk is full",
        "d: answered nonsense: []",
        "did not answer: c",
    ]
    assert not commands.command(Asking(client), "down", Meant(HOSTS), {}, threshold=2).ok


def test_of_a_host_that_is_not_well_it_is_said_why():
    """What a host could not look at was in its warnings alone: of it no more than a number was told."""
    unread, keeper = "ip: status 2", "hostipsec-keeper.service does not run"
    told = Answer(False, "words", problems=(keeper,), own={"warnings": [keeper, unread]})
    heard = Heard({"a": told, "b": Answer(False, "some words"), "c": Answer(True, "words")})
    said = outcome.summed("status", ["a", "b", "c"], heard)
    assert (said.ok, said.lines) == (
        False,
        (
            "1 of 3 hosts are as asked: well, by their own word",
            f"a: {keeper}",
            f"a: {unread}",
            "b: not all is well there, by its own word: some words",
        ),
    )


def test_a_host_that_says_ok_with_something_left_is_not_down():
    left = {"x_v4": {"peer": "x", "family": "v4", "left": "IKE SA 3 is ESTABLISHED"}}
    client = Client(a={**well("", {}), "connections": left})
    found = commands.command(Asking(client), "down", Meant(["a", "b"]), {})
    assert (found.ok, found.lines[0]) == (False, "1 of 2 hosts are as asked: down, and proven")


@pytest.mark.parametrize(
    "more",
    [
        {
            "connections": {
                "x_v4": {"peer": "x", "family": "v4", "ok": False, "reason": "nothing went by an SA"}
            }
        },
        {"problems": ["the kernel cannot be read"]},
    ],
)
def test_a_host_that_says_ok_with_something_that_is_not_has_not_proven_it(more):
    """It counted as "every connection encrypted both ways", with what is not in the lines below."""
    client = Client(a={**well("", {}), **more})
    found = commands.verify(Asking(client), ["a", "b"], {}, None)
    assert (found.ok, found.heard.answers["a"].ok) == (False, False)
    assert found.lines[0] == "1 of 2 hosts are as asked: every connection encrypted both ways"


def test_of_whom_nothing_is_known_is_said_where_all_minions_are_asked():
    """A host with tunnels whose modules are not there was passed over, and the rest was all that there is."""
    client = Client(a="'ipsec.down' is not available.", b={**well("", {}), "unrecorded": True})
    found = commands.command(Asking(client), "down", Meant(HOSTS, why="a bracket is missing"), {})
    assert (found.ok, [*found.heard.answers], dict(found.heard.failed)) == (True, ["c", "d"], {})
    lines = found.as_dict("1")["lines"]
    assert "2 of 2 hosts are as asked: down, and proven" in lines
    assert lines[-1] == "not known, and not counted, as they have older modules or none: a"
    client.says["a"] = "'ipsec.up' is not available."
    again = commands.up(Asking(client), Meant(HOSTS, why="a bracket is missing"), {}, 0, 0, 0, HOSTS)
    assert again.as_dict("1")["lines"][-1] == lines[-1]
    client.says = dict.fromkeys(HOSTS, "'ipsec.down' is not available.")
    with pytest.raises(HostIPsecError, match=r"(?s)none of them tells.*older modules or none: a, b, c, d"):
        commands.command(Asking(client), "down", Meant(HOSTS, why="a bracket is missing"), {})


def test_of_hosts_whose_rules_are_off_those_count_that_have_connections_on_record():
    client = Client(c={**well("", {}), "unrecorded": True}, d={**well("", {}), "ok": False})
    found = commands.command(Asking(client), "down", Meant(["a"], former=["b", "c", "d"]), {"who": "ada"})
    assert [(hosts, told) for _, hosts, told in client.asked] == [
        (["a"], {"who": "ada"}),
        (["b", "c", "d"], {"who": "ada", "known": True}),
    ]
    assert (found.ok, [*found.heard.answers]) == (False, ["a", "b", "d"])
    assert found.lines[0] == "2 of 3 hosts are as asked: down, and proven"


def having(*peers, **more):
    """Return a host that has connections on record with these peers."""

    def answers(function, arguments):
        row = {"family": "v4", "state": "established", "up": True, "ok": True, "reason": ""}
        rows = {f"{peer}_v4": {"peer": peer, **row} for peer in peers}
        unrecorded = {} if peers or not arguments.get("known") else {"unrecorded": True}
        return {**well(function, arguments), "connections": rows, **unrecorded, **more}

    return answers


GONE = Gone(["b", "c", "d"])  # no rule has these three
LEFT = Meant(["a"], gone=GONE)


@pytest.mark.parametrize("verb", ["down", "up"])
def test_who_left_the_pillar_with_its_connections_is_asked_and_counts(verb):
    """Hosts that were in no rule any more were not asked: down, and proven, with their tunnels up."""
    client = Client(a=having("x"), b=having("c"), c=having("b", ok=False), d=having())
    given = {"who": "ada"}
    found = {
        "down": lambda: commands.command(Asking(client), "down", LEFT, given),
        "up": lambda: commands.up(Asking(client), LEFT, given, 0, 0, 0, HOSTS),
    }[verb]()
    assert [(function, hosts, told.get("known")) for function, hosts, told in client.asked[:3]] == [
        (f"ipsec.{verb}", ["a"], None),
        ("ipsec.status", ["b", "c", "d"], True),
        (f"ipsec.{verb}", ["b", "c"], None),
    ]
    assert (found.ok, [*found.heard.answers]) == (False, ["a", "b", "c"])
    assert found.lines[0].startswith("2 of 3 hosts are as asked: ")
    assert not [line for line in client.printed if line.startswith("d")]


def test_of_silent_minions_those_count_with_which_others_have_connections():
    """On a master there is always a minion that is off; it need not be one that left the pillar."""
    client = Client(a=having("b"), b=SILENT, c=SILENT, d=having())
    found = commands.command(Asking(client), "down", LEFT, {})
    assert (found.ok, found.heard.silent, found.lines[0][:7]) == (False, ("b",), "1 of 2 ")
    assert found.as_dict("1")["lines"][-2:] == [
        "did not answer, and not counted, as no rule and no record has them: c",
        "did not answer: b",
    ]
    client = Client(a=having("x"), b=having("c"), c=SILENT, d=SILENT)
    found = commands.command(Asking(client), "down", LEFT, {})
    assert (found.ok, found.heard.silent, found.heard.beside) == (False, ("c",), ("d",))
    client = Client(a=having("x"), b=SILENT, c="'ipsec' __virtual__ returned False: no engine", d=having())
    found = commands.command(Asking(client), "down", LEFT, {})
    assert (found.ok, found.heard.silent, found.heard.beside) == (True, (), ("b",))
    client.says["c"] = "something went wrong"
    assert not commands.command(Asking(client), "down", LEFT, {}).ok


def test_of_nobody_nothing_is_proven():
    """With all rules off, and no connection on record, 0 of 0 hosts were down, and proven."""
    client = Client(b=having(), c=having(), d=SILENT)
    for meant in (Meant([], gone=GONE), Meant([], former=["b"], gone=Gone(["c", "d"]))):
        with pytest.raises(HostIPsecError, match=r"(?s)no host a peer.*none of them tells.*has them: d"):
            commands.command(Asking(client), "down", meant, {})


def test_after_ctrl_c_nobody_who_left_the_pillar_is_asked():
    client = Client(a=KeyboardInterrupt())
    found = commands.command(Asking(client), "down", LEFT, {})
    assert (len(client.asked), found.heard.unanswered, found.heard.unasked) == (1, ("a",), ())
    assert found.lines[0].startswith("0 of 1 host is as asked")


def test_at_a_site_those_are_asked_that_are_there_by_their_records():
    places = {"b": "esams", "c": "eqiad", "d": ""}
    client = Client(a=having("x"), **{host: having("x", site=site) for host, site in places.items()})
    meant = Meant(["a"], gone=GONE._replace(places=["esams"]))
    found = commands.command(Asking(client), "down", meant, {})
    assert [(function, hosts) for function, hosts, _ in client.asked] == [
        ("ipsec.down", ["a"]),
        ("ipsec.status", ["b", "c", "d"]),
        ("ipsec.down", ["b"]),
    ]
    assert (found.ok, [*found.heard.answers]) == (False, ["a", "b"])
    assert found.heard.failed == {"d": commands.PLACELESS}
    assert found.lines[0].startswith("2 of 3 hosts")
    client.says["d"], client.says["c"] = having(), SILENT
    found = commands.command(Asking(client), "down", meant, {})
    assert (found.ok, found.heard.beside) == (True, ("c",))
    client.says["d"] = having("x", site="")
    found = commands.command(Asking(client), "down", Meant(["a"], gone=GONE._replace(places=["no site"])), {})
    assert client.asked[-1][:2] == ("ipsec.down", ["d"])


def test_up_starts_nothing_where_it_is_not_known_at_which_site_that_is():
    client = Client(a=having("x"), b=having("x", site=""), c=SILENT, d=having())
    meant = Meant(["a"], gone=GONE._replace(places=["esams"]))
    found = commands.up(Asking(client), meant, {}, 0, 0, 0, HOSTS)
    assert (found.ok, found.heard.failed, found.heard.beside) == (False, {"b": commands.PLACELESS}, ("c",))
    assert [hosts for function, hosts, _ in client.asked if function == "ipsec.up"] == [["a"], ["a"]]


@pytest.mark.parametrize("verb", ["down", "up"])
def test_who_is_of_another_fleet_is_named_and_left_alone(verb):
    """Two fleets at one master: nobody said that there was a second, nor may a stop of one end the other."""
    client = Client(a=having("x"), b=having("c"), c=having("b"), d=having("x"))
    meant = Meant(["a"], gone=GONE._replace(foreign=lambda hosts: [*({*hosts} & {"b", "c"})], known={"d"}))
    found = {
        "down": lambda: commands.command(Asking(client), "down", meant, {}),
        "up": lambda: commands.up(Asking(client), meant, {}, 0, 0, 0, HOSTS),
    }[verb]()
    assert {host for function, hosts, _ in client.asked if function != "ipsec.status" for host in hosts} == {
        "a",
        "d",
    }
    assert (found.ok, [*found.heard.answers]) == (True, ["a", "d"])
    said = "of another fleet by their pillar, and left alone: b, c; tgt= reaches them"
    assert found.as_dict("1")["lines"][-1] == said
    client.says["c"] = SILENT  # with which the other fleet alone has a connection
    assert commands.command(Asking(client), "down", meant, {}).heard.beside == ("c",)


def test_up_starts_everybody_before_anybody_is_waited_for_and_asks_no_silent_host_twice():
    client = Client(
        b=SILENT, d=lambda function, told: SILENT if told.get("wait", True) else well(function, told)
    )
    found = commands.up(Asking(client), Meant(HOSTS), {"deadline": 5}, 2, 3, 0, HOSTS)
    assert [(hosts, told) for _, hosts, told in client.asked] == [
        (["a", "b", "c"], {"deadline": 5, "wait": False, "jitter": 2}),
        (["d"], {"deadline": 5, "wait": False, "jitter": 2}),
        (["a", "c", "d"], {"deadline": 5}),
    ]
    assert found.heard.silent == ("b", "d")
    assert client.printed == ["a: well", "c: well"]


class Obeying:
    """A host that obeys no command older than the last one; ``last`` is when that was given."""

    def __init__(self, last):
        self.last = last

    def __call__(self, function, told):
        if told.get("asked", self.last) < self.last:
            later = "a later command counts: up by ada"
            return {**well(function, told), "ok": False, "overruled": later, "later": self.last}
        self.last = told.get("asked", self.last)
        return {**well(function, told), "overruled": "", "later": None}


BEHIND = (
    "the clock of this master is behind, or that of another one was ahead: an order that a, d obeyed before "
    "came from a time still to come here; they were asked again, as of after that one"
)


def test_an_order_of_a_master_whose_clock_is_behind_counts_all_the_same():
    """A stop was refused for the `up` of another master before it, whose clock was a minute ahead."""
    client = Client(a=Obeying(1060.0), d=Obeying(1055.0))
    client.time = 1000.5
    found = commands.command(Asking(client), "down", Meant(HOSTS), {"asked": 1000.0})
    assert (found.ok, found.lines) == (True, ("4 of 4 hosts are as asked: down, and proven",))
    assert found.as_dict("1")["lines"][1:] == [BEHIND]
    assert [(hosts, told["asked"] > 1060) for _, hosts, told in client.asked] == [
        ([*HOSTS], False),
        (["a", "d"], True),
    ]
    assert client.printed == [f"{host}: well" for host in "bcad"]
    assert client.says["a"].last == pytest.approx(1060, abs=0.1)  # what is later still goes before it


def test_both_phases_of_an_up_are_the_later_order_then():
    client = Client(a=Obeying(1002.0), d=Obeying(1002.0))
    client.time = 1001.0
    ask = Asking(client)
    found = commands.up(ask, Meant(HOSTS), {"asked": 1000.0}, 0, 2, 0, HOSTS)
    assert (found.ok, found.as_dict("1")["lines"][1:]) == (True, [BEHIND.replace("a, d", "a")])
    assert [hosts for _, hosts, _ in client.asked] == [["a", "b"], ["a"], ["c", "d"], [*HOSTS]]
    assert len({told["asked"] for _, _, told in client.asked[1:]}) == 1


@pytest.mark.parametrize("last", [1000.2, 1000.5])
def test_who_obeyed_a_later_order_is_not_told_again(last):
    """It was given while this one was under way: of two that cross, the later one counts on every host."""
    client = Client(a=Obeying(last))
    client.time = 1000.5
    found = commands.command(Asking(client), "down", Meant(HOSTS), {"asked": 1000.0})
    assert (found.ok, len(client.asked), found.lines[1:]) == (
        False,
        1,
        ("a: a later command counts: up by ada",),
    )


def test_a_host_that_goes_on_refusing_is_told_again_once():
    refusing = {**well("", {}), "ok": False, "overruled": "no", "later": 2e9}
    client = Client(a=refusing, b={**refusing, "later": "soon"})
    found = commands.command(Asking(client), "down", Meant(HOSTS), {"asked": 1000.0})
    assert [hosts for _, hosts, _ in client.asked] == [[*HOSTS], ["a"]]
    assert (found.ok, [*found.heard.failed]) == (False, ["b"])
    for later in (float("nan"), float("inf"), 1e300, 10**400, None):
        client = Client(a={**refusing, "later": later})
        commands.command(Asking(client), "down", Meant(HOSTS), {"asked": 1000.0})
        assert len(client.asked) == 1
    client = Client(a=refusing)  # which has no time, and is refused for another reason
    commands.command(Asking(client), "down", Meant(HOSTS), {})
    assert len(client.asked) == 1


def test_a_host_that_has_nothing_yet_has_not_every_connection_up():
    """Where state.apply was never run it had none on record: every connection up."""
    fleet = pillar.read(fleets.example())
    bare, lonely, late = "cp3001.esams.example", "db1001.eqiad.example", "cp1001.eqiad.example"
    overruled = having(overruled="a later command counts: down by root")
    client = Client(**{bare: having(), lonely: having(), late: overruled, "a": having("x")})
    hosts = [bare, lonely, late, "a"]
    found = commands.up(Asking(client), Meant(hosts, fleet=fleet), {}, 0, 0, 0, HOSTS)
    assert (found.ok, f"{bare}: {outcome.BARE}" in found.lines) == (False, True)
    assert [host for host, one in found.heard.answers.items() if not one.ok] == [bare]
    assert commands.up(Asking(client), Meant(hosts), {}, 0, 0, 0, HOSTS).ok


def test_up_asks_the_other_ends_of_what_did_not_come_up():
    def lame(function, told):
        down = {"family": "v4", "state": "down", "up": False, "reason": "no answer"}
        rows = {f"{peer}_v4": {"peer": peer, **down} for peer in ("b", "far", "no_minion")}
        return {**well(function, told), "ok": False, "connections": rows}

    def held(function, told):
        row = {"peer": "a", "family": "v4", "state": "held", "up": True, "reason": "since then"}
        return {**well(function, told), "connections": {"a_v4": row}}

    client = Client(a=lame, b=held, far=held)
    found = commands.up(Asking(client), Meant(["a", "b"]), {}, 0, 0, 0, ["a", "b", "far"])
    assert client.asked[-1] == ("ipsec.status", ["far"], {})
    assert found.lines[1:] == (
        "a: b_v4: held at b: since then",
        "a: far_v4: held at far: since then",
        "a: no_minion_v4: no answer; no_minion does not answer Salt either",
    )


def test_nobody_goes_back_where_nothing_was_changed(tmp_path):
    client = Client(**{host: {"mark": None, "when": None, "connections": []} for host in HOSTS})
    for named in (True, False):
        with pytest.raises(HostIPsecError, match="nothing to go back from"):
            underway.back(Asking(client), Ledger(tmp_path), HOSTS, named, not named, "", "root")
    assert {function for function, _, _ in client.asked} == {"ipsec.previous"}


@pytest.mark.parametrize("busy", [3, 1000])
def test_a_state_run_of_a_roll_out_that_was_interrupted_is_waited_for(tmp_path, busy):
    """It would change the host after all, once the others are back."""
    client = Client()
    client.says["b"] = lambda function, told: {**well(function, told), "running": client.time < busy}
    client.says["e"] = {"mark": None, "when": None, "connections": [], "running": True}  # not told to change
    ledger = Ledger(tmp_path)
    ledger.keep(Last("m1", HOSTS))
    found = underway.back(Asking(client), ledger, [*HOSTS, "e"], False, True, "", "root")
    gone = client.asked[-1][1]
    if busy == 3:
        assert (gone, found.ok) == ([*HOSTS], True)
    else:
        assert (gone, found.ok, ledger.last().back) == (["a", "c", "d"], False, False)
        assert found.heard.failed["b"].startswith("a state run is under way there")
        assert client.time < 70


def test_a_rollback_asks_those_that_the_roll_out_changed_and_of_those_that_it_told_the_silent(tmp_path):
    """One that was slow was sent a rollback without a mark, and undid whatever its last change was."""
    client = Client(b=SILENT, c={"mark": "m0", "when": "then", "connections": []}, e=SILENT)
    ledger = Ledger(tmp_path)
    ledger.keep(Last("m1", ("a", "b", "d")))
    found = underway.back(Asking(client), ledger, [*HOSTS, "e"], False, True, "", "root")
    assert [hosts for _, hosts, _ in client.asked[1:]] == [["a", "d"], ["b"]]
    assert [told for _, _, told in client.asked[1:]] == 2 * [{"mark": "m1"}]
    assert (found.ok, found.heard.silent, ledger.last().back) == (False, ("b",), False)
    assert underway.would_go_back(Asking(client), ledger, HOSTS, False, "m0").lines == (
        "c: would run 0 connections, as before then",
        "1 host, nothing was changed",
    )
