"""Ten thousand mutilated answers of a host: a sentence or an answer, never a traceback; all others count."""

from __future__ import annotations

import copy
import json
import random
import time

import pytest
import test_answers as known

from hostipsec.answer import Answer
from hostipsec.errors import HostIPsecError
from hostipsec.fleet import answers, commands, fleetrollout, underway
from hostipsec.fleet.asking import Asking
from hostipsec.fleet.ledger import Ledger
from hostipsec.fleet.marks import Last
from hostipsec.fleet.minions import Minions
from hostipsec.fleet.tamed import CHARACTERS, TEXT, THINGS, printable, tamed
from hostipsec.fleet.targets import Meant

ESCAPES = "\x1b[2J\x1b[1;1Hall is well\x9b0m\r\b\u202e\u2028\ud800\x00"
FAKED = "down\ncp3001.esams.example: every connection up"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE = (
    *(None, True, False, 0, -1, 10**400, float("nan"), float("inf"), "", "ok", ESCAPES, FAKED, b"\xff"),
    *("x" * (TEXT + 1), [], {}, [[]], {"": ""}, {1: 2}, {None: None}, {ESCAPES: ESCAPES}, nested(40)),
    *(["x"] * 100, {"old": None, "new": 1}, {"peer": "x", "family": "v9"}, {"error": [1]}, object(), "start"),
    *(
        "9" * 5000,
        "cp99999999999999999999.x",
        "cp007.x",
        "\u0661.x",
        {"x": "new"},
        {"x": {"old": "", "new": []}},
    ),
)
VERBS = [name for name in known.RECORDED if "refused" not in name]


def today(name):
    """Return a recorded answer with the keys of today beside, and what was asked."""
    function, value = known.recorded(name)
    if isinstance(value, dict):
        value = {"ok": True, "sentence": "well", "problems": [], "notes": ["a"], "overruled": "", **value}
    return function, value


def mutilated(chance):
    """Return what was asked and an answer that was a good one, mutilated one way or another."""
    function, value = today(chance.choice(VERBS))
    way = chance.choice((flipped, cut, repeated, *[replaced] * 5))
    return function, way(value, chance)


def flipped(value, chance):
    text = bytearray(json.dumps(value).encode())
    for _ in range(chance.randint(1, 4)):
        text[chance.randrange(len(text))] ^= 1 << chance.randrange(8)
    return loaded(text.decode("utf-8", "replace"))


def cut(value, chance):
    text = json.dumps(value)
    return loaded(text[: chance.randrange(len(text))])


def repeated(value, chance):
    text = json.dumps(value)
    start, end = sorted(chance.choices(range(len(text)), k=2))
    return loaded(text[:end] + text[start:end] * chance.randint(1, 3) + text[end:])


def loaded(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def replaced(value, chance):
    for _ in range(chance.randint(1, 3)):
        paths = list(known.places(value))
        if not paths:
            return value
        *above, last = chance.choice(paths)
        inner = value
        for key in above:
            inner = inner[key]
        way = chance.randrange(5)
        if way == 0:
            del inner[last]
        elif way == 1 and isinstance(inner, dict):
            inner[chance.choice(("x", ESCAPES, FAKED, "peer", "", "cp1_v4"))] = inner.pop(last)
        else:
            inner[last] = copy.deepcopy(chance.choice(HOSTILE))
    return value


def texts(value):
    """Yield all texts inside a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from texts(key)
            yield from texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts(one)


def harmless(value):
    """Whether nothing in it paints on a terminal, or passes for a line of another host."""
    lines = [text.split("\n") for text in texts(value)]
    return all(part.isprintable() for one in lines for part in one) and all(
        part.startswith("  ") for one in lines for part in one[1:]
    )


def test_ten_thousand_mutilated_answers():
    chance, begin, named = random.Random(7), time.monotonic(), 0
    for _ in range(10_000):
        function, value = mutilated(chance)
        found = answers.read(function, value)
        named += not isinstance(found, Answer)
        assert harmless(found.as_dict() if isinstance(found, Answer) else found.text), value
        wrong = answers.wrong_states(value)
        assert harmless(wrong)
        assert len(wrong) <= answers.SCREEN + 1
    assert 1_000 < named < 9_900
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("seed", range(8))
def test_whoever_reads_a_mutilated_answer_goes_on_with_the_others(seed):
    chance = random.Random(seed)
    for _ in range(1250):
        function, value = mutilated(chance)
        heard = known.read_by_all(function, value)
        assert known.WELL in heard.answers
        assert {*heard.answers, *heard.failed} == {known.HOST, known.WELL}


class Hands(Minions):
    """Hosts of which one answers anything, for a roll-out."""

    def clock(self):
        return float("inf")


def test_a_roll_out_is_stopped_by_what_one_host_answers_and_by_no_traceback():
    chance = random.Random(3)
    for _ in range(1000):
        function, value = mutilated(chance)
        client = known.Client(value, copy.deepcopy(known.RECORDED[function.partition(".")[2]]))
        rolling = fleetrollout.Rollout(
            known.FLEET,
            [known.HOST, known.WELL],
            "site",
            0,
            0.0,
            Hands(client, Last("m"), str, lambda _: None),
        )
        rolling.run(("passive", "start", "require"))
        assert harmless([*rolling.lines(), *client.printed])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"connections": "x" * (CHARACTERS + 1)}, f"more than {CHARACTERS} characters"),
        ("x" * 50_000_000, f"more than {CHARACTERS} characters"),
        ([0] * (THINGS + 1), f"more than {THINGS} values"),
        (nested(100_000), "values inside values"),
        ({"ok": 10**5000}, "a number out of bounds"),
        ({"days_left": float("nan")}, "a number out of bounds"),
    ],
)
def test_what_is_more_than_a_host_has_to_say_is_nonsense_at_once(value, said):
    begin = time.monotonic()
    assert answers.read("ipsec.status", value).text == f"answered nonsense: {said}"
    assert answers.wrong_states(value) == [f"answered nonsense: {said}"]
    assert time.monotonic() - begin < 30


def test_no_host_writes_on_the_terminal_or_in_another_s_name():
    client = known.Client(
        {"ok": True, "sentence": ESCAPES + FAKED, "connections": {}, "problems": [FAKED]}, {}
    )
    found = commands.command(Asking(client), "down", Meant([known.HOST]), {}).as_dict("0")
    assert harmless([*client.printed, *found["lines"]])
    assert not [line for text in client.printed for line in text.split("\n") if line.startswith("cp3001")]


def test_good_texts_stay_as_they_are():
    value = {"a": ["täglich: 1 → 2", "two\n  - lines", 1, 0.5, None, True], 1: "x"}
    assert tamed(value) == value
    assert printable("a\tb") == "a b"
    assert printable("x" * (TEXT + 5)) == "x" * TEXT + "..."


def test_an_error_that_is_no_text_is_nonsense(tmp_path):
    assert answers.read("ipsec.up", {"error": {"a": "\x1b"}}).text.startswith("answered nonsense: {'a'")
    with pytest.raises(HostIPsecError):
        underway.back(
            Asking(known.Client({"error": 5}, {})), Ledger(tmp_path), [known.HOST], False, True, "", "root"
        )
