"""The table of metrics and its renderings, from samples made by hand; read back by Prometheus' own parser."""

from __future__ import annotations

import copy
import json
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

import metrics_reference
from hostipsec.errors import HostIPsecError
from hostipsec.faces import exposition, measures, metrics
from hostipsec.health.report import STATES
from hostipsec.health.sample import STALE, Sample, plain
from samples import NOW, connection, sample


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read a text as Prometheus does; each series once."""
    found = [
        (one.name, tuple(sorted(one.labels.items())), one.value)
        for family in text_string_to_metric_families(text)
        for one in family.samples
    ]
    assert max(Counter(found[:2] for found in found).values()) == 1
    return {(name, labels): value for name, labels, value in found}


def text_of(given: Sample, now: float = NOW) -> str:
    """Return the text of a sample as the keeper leaves it in its file."""
    return exposition.prometheus(metrics.families(metrics.seen(json.loads(json.dumps(plain(given))), now)))


def value(text: str, name: str, **labels: str) -> float:
    """Return the one series with these labels, and any others."""
    (found,) = [
        value
        for (one, there), value in read(text).items()
        if one == name and labels.items() <= dict(there).items()
    ]
    return found


# The table -------------------------------------------------------------------------------------


def test_names_types_and_units_are_as_prometheus_wants_them():
    names = [one.name for one in metrics.TABLE]
    assert len(set(names)) == len(names)
    for one in metrics.TABLE:
        assert one.name.startswith("ipsec_")
        assert one.name.endswith("_total") == (one.kind == measures.COUNTER), one.name
        assert one.help.endswith(".")
        assert "\n" not in one.help
        assert not {"instance", "job", "le", "quantile"} & {*one.labels}


def test_the_reference_is_what_the_table_gives():
    assert metrics_reference.FILE.read_text() == metrics_reference.reference()


def test_all_of_it_is_told_and_read_back():
    text = text_of(
        sample(2, connections=(connection(0), connection(1), connection(2, state="not encrypted")))
    )
    families = {one.name: one for one in text_string_to_metric_families(text)}
    for one in metrics.TABLE:
        found = families[one.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (one.kind, one.help)
        assert {label for series in found.samples for label in series.labels} == {*one.labels}
    labels = {
        "peer": "cp0001.codfw.example",
        "family": "v4",
        "stage": "start",
        "sites": "codfw-eqiad",
        "pair": "cp1001-cp0001",
    }
    assert value(text, "ipsec_connection_bytes_total", **labels, direction="out") == 2**40
    assert value(text, "ipsec_connection_established_timestamp_seconds", **labels) == NOW - 600.25
    assert value(text, "ipsec_connection_up", **labels) == 1
    assert value(text, "ipsec_ike_messages_total", exchange="init", direction="out", kind="request") == 7
    assert value(text, "ipsec_source_up", source="keeper") == 1
    assert value(text, "ipsec_info", host="cp1001.eqiad.example", strongswan="5.9.8", plane="kernel") == 1


@pytest.mark.parametrize(("failed", "told"), [("", 1), ("no-such.pem: is not there", 0), (None, None)])
def test_whether_the_last_apply_passed(failed, told):
    """A keeper of the release before does not say: that is no success."""
    found = {name: one for (name, _), one in read(text_of(sample(1, failed=failed))).items()}
    assert found.get("ipsec_apply_success") == told


def test_a_charon_outside_of_its_unit():
    found = [
        {name: one for (name, _), one in read(text_of(sample(1, dead=dead))).items()} for dead in ((), ("x",))
    ]
    assert [one["ipsec_charon_outside_unit"] for one in found] == [0, 1]


def test_140_connections_are_bounded():
    """Each rekeying was a series of its own with exporters that label by the SA."""
    assert len(read(text_of(sample(140)))) < 3000


@pytest.mark.parametrize(
    ("state", "name"),
    [("one-way", "ipsec_connection_one_way"), ("no xfrm", "ipsec_connection_kernel_missing")],
)
def test_why_it_does_not_carry(state, name):
    broken = connection(1, state=state, up=False, duplicates=2, held=True, expected=False)
    text = text_of(sample(0, connections=(connection(0), broken)))
    peer = {"peer": "cp0001.codfw.example"}
    assert value(text, name, **peer) == 1
    assert value(text, name, peer="cp0000.codfw.example") == 0
    found = {
        key: value(text, f"ipsec_connection_{key}", **peer)
        for key in ("up", "expected", "held", "duplicates")
    }
    assert found == {"up": 0, "expected": 0, "held": 1, "duplicates": 2}


def test_what_is_not_known_is_absent_and_zero_is_told():
    bare = connection(
        0,
        **dict.fromkeys(
            ("established", "rekey", "last_in", "last_out", "sequence", "clear_in", "clear_out"), None
        ),
    )
    given = Sample(NOW, "a", connections=(bare,), states={}, unread={"charon": "it hangs"})
    names = {name for name, _ in read(text_of(given))}
    assert not [name for name in names if "timestamp" in name and "connection" in name]
    assert not names & {
        "ipsec_connection_sequence_used_ratio",
        "ipsec_connection_cleartext_packets_total",
        "ipsec_certificate_expiry_timestamp_seconds",
        "ipsec_guard_policies_missing",
        "ipsec_charon_threads",
    }
    assert value(text_of(given), "ipsec_charon_up") == 0
    assert value(text_of(given), "ipsec_hold_since_timestamp_seconds") == 0
    assert value(text_of(given), "ipsec_connection_losses_total") == 0


@pytest.mark.parametrize("part", metrics.SOURCES[1:])
def test_what_could_not_be_read_is_said(part):
    text = text_of(sample(1, unread={part: "it hangs"}))
    found = {source: value(text, "ipsec_source_up", source=source) for source in metrics.SOURCES}
    assert found == {**dict.fromkeys(metrics.SOURCES, 1.0), part: 0.0}


def test_charon_that_does_not_answer():
    text = text_of(sample(1, charon=None, unread={"charon": "it hangs"}))
    assert value(text, "ipsec_charon_up") == 0
    assert value(text, "ipsec_source_up", source="charon") == 0
    assert not [
        name for name, _ in read(text) if name.startswith("ipsec_charon_") and name != "ipsec_charon_up"
    ]


def test_where_nothing_was_looked_at_nothing_is_down():
    """Without a record the keeper looks at nothing: a charon that runs was told as one that is down."""
    blind = Sample(
        NOW, "a", severity="critical", states=dict.fromkeys(STATES, 0), unread={"record": "damaged"}
    )
    text = text_of(blind)
    names = {name for name, _ in read(text)}
    assert not names & {"ipsec_charon_up", "ipsec_connections", "ipsec_hold_since_timestamp_seconds"}
    assert value(text, "ipsec_source_up", source="keeper") == 1
    assert value(text, "ipsec_source_up", source="record") == 0
    assert value(text, "ipsec_severity") == 2


def test_holds_that_cannot_be_read_are_not_none():
    text = text_of(sample(1, holds=(), unread={"hold": "damaged"}))
    assert "ipsec_hold_since" not in text


# A sample that says nothing --------------------------------------------------------------------

OWN = {"ipsec_source_up", "ipsec_run_timestamp_seconds"}
STALE_OWN = {*OWN, "ipsec_keeper_look_timestamp_seconds", "ipsec_info"}


@pytest.mark.parametrize("age", [STALE + 1, 86400, -3600])
def test_one_that_is_too_old_or_of_the_future_tells_of_no_connection(age):
    """A textfile that nobody renewed told for ever that all was up (node_exporter#713)."""
    text = text_of(sample(3), NOW - 3 + age)
    assert {name for name, _ in read(text)} == STALE_OWN
    assert value(text, "ipsec_source_up", site="eqiad", source="keeper") == 0
    assert value(text, "ipsec_keeper_look_timestamp_seconds") == NOW - 3
    assert value(text, "ipsec_info", host="cp1001.eqiad.example", strongswan="") == 1


DAMAGED = {
    "none": None,
    "a list": [],
    "of a later schema": {**plain(sample(2)), "schema": 2},
    "a time that is a text": {**plain(sample(2)), "time": "now"},
    "a time that no calendar has": {**plain(sample(2)), "time": 1e300},
    "an infinite time": {**plain(sample(2)), "time": float("inf")},
    "a time that is no number": {**plain(sample(2)), "time": float("nan")},
    "no time": {**plain(sample(2)), "time": None},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_one_that_cannot_be_read_tells_of_itself_alone(name):
    found = metrics.seen(DAMAGED[name], NOW)
    assert "sample" in found.wrong
    text = exposition.prometheus(metrics.families(found))
    assert {name for name, _ in read(text)} == OWN
    assert value(text, "ipsec_source_up", source="keeper") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"errors": ["x"]},
        {"errors": {"XfrmInError": "many"}},
        {"counters": None},
        {"severity": "unheard of"},
        {"site": 5},
        {"connections": [{**plain(sample(1))["connections"][0], "losses": {}}]},
        {"connections": [{**plain(sample(1))["connections"][0], "peer": None}]},
    ],
)
def test_a_value_that_is_none_is_an_error_in_words(change):
    found = metrics.seen({**plain(sample(1)), **change}, NOW)
    with pytest.raises(HostIPsecError, match="the sample cannot be read"):
        metrics.families(found)


WHOLE = plain(sample(1))
ODD = (None, "x", [], {}, [1], {"x": []}, -1, True, 1e300, float("nan"), 10**400)


@pytest.mark.parametrize("key", sorted(WHOLE))
def test_whatever_stands_in_its_place_is_told_or_an_error_in_words(key):
    inner = [("connections", 0), ("charon",), ("holds", 0)] if key == "connections" else []
    places = [(key,), *((*path, name) for path in inner for name in sorted(dig(WHOLE, path)))]
    for path in places:
        for odd in ODD:
            given = copy.deepcopy(WHOLE)
            dig(given, path[:-1])[path[-1]] = odd
            try:
                found = metrics.families(metrics.seen(given, NOW))
            except HostIPsecError as error:
                assert "cannot be read" in str(error), (path, odd)
            else:
                assert exposition.prometheus(found) + exposition.graphite(found, "a", NOW)


def dig(found, path):
    for step in path:
        found = found[step]
    return found


@pytest.mark.parametrize("number", [0, 5000])
def test_none_and_5000_connections(number):
    text = text_of(sample(number))
    assert text.count("\nipsec_connection_up{") == number
    assert f'\nipsec_connections{{site="eqiad",state="established"}} {number}\n' in text


def test_what_a_label_can_hold_is_escaped():
    odd = 'a"b\\c\nd{e="f"} 1'
    text = text_of(sample(0, connections=(connection(0, sites=odd),), errors={odd: 1}))
    assert value(text, "ipsec_connection_up", sites=odd) == 1
    assert value(text, "ipsec_kernel_errors_total", error=odd) == 1


def test_numbers_that_are_none_are_said_as_prometheus_says_them():
    odd = sample(0, certificate=float("inf"), applied=float("nan"), took=-float("inf"))
    text = text_of(odd)
    assert value(text, "ipsec_certificate_expiry_timestamp_seconds") == float("inf")
    assert "NaN" in text
    told = exposition.graphite(metrics.families(measures.Seen(NOW, odd)), "a", NOW)
    assert not {line.split(" ")[1] for line in told.splitlines()} & {
        "inf",
        "-inf",
        "nan",
        "+Inf",
        "-Inf",
        "NaN",
    }


# Graphite --------------------------------------------------------------------------------------


def test_graphite_has_a_name_for_each_series():
    given = sample(3)
    found = metrics.families(measures.Seen(NOW, given))
    lines = exposition.graphite(found, given.host, NOW + 0.7).splitlines()
    assert "ipsec.cp1001_eqiad_example.connection_up.cp0001_codfw_example.v4 1 1764151201" in lines
    sent = "connection_bytes_total.cp0001_codfw_example.v4.out 1099511627776"
    assert f"ipsec.cp1001_eqiad_example.{sent} 1764151201" in lines
    assert "ipsec.cp1001_eqiad_example.charon_up 1 1764151201" in lines
    names = [line.split(" ")[0] for line in lines]
    assert len(names) == len(set(names)) == sum(len(one.series) for one in found) - 1  # ipsec_info
    assert not [line for line in lines if line.count(" ") != 2]


def test_nothing_in_a_name_of_graphite_s_has_a_meaning_there():
    odd = sample(0, errors={"a.b c\n*{x};y=z/..": 1, "": 2})
    told = exposition.graphite(metrics.families(measures.Seen(NOW, odd)), "h.\n x 1 2", NOW)
    assert "ipsec.h___x_1_2.kernel_errors_total.a_b_c___x__y_z___ 1 1764151200\n" in told
    assert "ipsec.h___x_1_2.kernel_errors_total._ 2 1764151200\n" in told
