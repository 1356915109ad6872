"""Bad input gets a sentence that names the argument, what was found and what is allowed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostipsec import arguments, paths
from hostipsec.emergency import orders
from hostipsec.errors import HostIPsecError, UnknownArgumentError
from hostipsec.store.hold import NO_REASON, Command, Hold, Scope

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
NO_NUMBERS = ("soon", "", None, [], {}, True, False, "nan", "inf", float("nan"), 10**400)


def refused(call, *given_, **named):
    with pytest.raises(HostIPsecError) as caught:
        call(*given_, **named)
    return str(caught.value)


@pytest.mark.parametrize("value", [0.1, 3600, "10", 5, "0.5"])
def test_a_deadline(value):
    assert arguments.deadline(value, 7) == float(value)


def test_nobody_asks_for_a_deadline():
    assert arguments.deadline(None, paths.DOWN_DEADLINE) == paths.DOWN_DEADLINE


@pytest.mark.parametrize("value", [*(one for one in NO_NUMBERS if one is not None), 0, -1, 3601, "3601"])
def test_a_deadline_that_cannot_be(value):
    said = refused(arguments.deadline, value, 7)
    assert said == f"deadline: found {value!r}; allowed: seconds from 0.1 to 3600"


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_moment_that_cannot_be(value):
    assert refused(arguments.moment, "at", value) == f"at: found {value!r}; allowed: seconds since 1970"


def test_one_of_several_words():
    assert arguments.one_of("stage", "start", ("passive", "start")) == "start"
    for value in ("begin", None, ["start"], 3):
        said = refused(arguments.one_of, "stage", value, ("passive", "start"))
        assert said == f"stage: found {value!r}; allowed: passive, start"


def test_arguments_that_nobody_knows_are_named_as_facts_too():
    arguments.no_more({"__pub_user": "ada"})
    with pytest.raises(UnknownArgumentError) as caught:
        arguments.no_more({"reasn": "x", "jiter": 1, "__pub_jid": "1"})
    assert str(caught.value) == "unknown argument jiter, reasn; nothing was done"
    assert caught.value.names == ("jiter", "reasn")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANYTHING)
def test_whatever_comes_is_a_number_in_bounds_or_a_sentence(value):
    try:
        assert 0 <= arguments.seconds("jitter", value, 0, 600) <= 600
    except HostIPsecError as error:
        assert str(error) == f"jitter: found {value!r}; allowed: seconds from 0 to 600"


# Orders --------------------------------------------------------------------------------------


def test_a_hold():
    meant = orders.scope("cp3*", None)
    assert meant == Scope("cp3*", "*")
    assert orders.hold(" T195365\n now ", "ada", meant, "2h", NOW) == Hold(
        "ada", NOW, "T195365 now", NOW + timedelta(hours=2), meant
    )
    assert orders.hold("", "ada", orders.scope(None, None), None, NOW) == Hold("ada", NOW, NO_REASON)


@pytest.mark.parametrize("expires", ["soon", 0, "0h", -5, "", [], "999999999d"])
def test_a_hold_that_would_end_at_no_time(expires):
    said = refused(orders.hold, "x", "ada", Scope(), expires, NOW)
    assert said == (
        f"expires: found {expires!r}; allowed: a time: whole seconds, or a whole number with s, m, h or d, "
        "more than 0"
    )


def test_a_command_of_the_fleet():
    assert orders.command("down", None, "ada") is None
    assert orders.command("down", "12.5", "ada") == Command("down", 12.5, "ada")
    assert refused(orders.command, "up", "now", "ada") == "asked: found 'now'; allowed: seconds since 1970"
