"""Totals only grow, and never say more than was carried: whatever rekeys, restarts, is lost or damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sampling import HERE, ONE, connection, look, sa

from hostipsec.errors import HostIPsecError
from hostipsec.health import look as looks
from hostipsec.health import sampling, totals
from hostipsec.health.sampling import Facts
from hostipsec.health.totals import Counted, Series, Totals
from hostipsec.model import Kernel, KernelState

THERE = str(ONE.right)
OTHER = connection(3)


def states(sas):
    """Return the kernel's SAs: SPI -> bytes, packets and failures; those out have an even SPI."""
    return tuple(
        KernelState(
            *((HERE, THERE) if spi % 2 == 0 else (THERE, HERE)),
            *(f"c{spi:07x}", "transport", 1),
            algorithm="gcm",
            bytes=100 * packets,
            packets=packets,
            failures=failures,
        )
        for spi, (packets, failures) in sas.items()
    )


def seen(sas, **more):
    found = look(ONE, **more)
    kernel = None if sas is None else Kernel(states(sas))
    return found._replace(kernel=kernel, charon=found.charon._replace(plugins=()))


class Host:
    """A kernel whose SAs come and go, a keeper that looks, what it wrote and showed, and what was carried."""

    def __init__(self):
        self.sas, self.carried = {}, [0, 0, 0]  # packets in, packets out, failures
        self.totals, self.disk, self.shown = Totals(), None, None

    def do(self, what, spi, packets):
        if what == "traffic" and spi in self.sas:
            there, failures = self.sas[spi]
            self.sas[spi] = (there + packets, failures + packets % 3)
            self.carried[spi % 2 == 0] += packets
            self.carried[2] += packets % 3
        elif what in ("new", "reused"):  # one of that SPI may have been there a moment ago
            self.sas[spi] = (0, 0)
        elif what == "gone":
            self.sas.pop(spi, None)
        elif what == "flushed":
            self.sas.clear()
        elif what == "written":
            self.disk = totals.render(self.totals)
        elif what == "lost":
            self.disk = None
        elif what == "killed":
            self.totals = Totals() if self.disk is None else totals.parse(self.disk)
            self.look(self.sas)
            return
        self.look(None if what == "unread" else self.sas)

    def look(self, sas):
        found = seen(sas)
        report = looks.judged(found)
        self.totals = totals.counted(self.totals, found, report.managed)
        if self.shown:
            self.totals = totals.at_least(self.totals, self.shown)
        before, self.shown = self.shown, sampling.sample(found, report, self.totals, Facts("cp1"))
        if before:
            for old, new in zip(counts(before), counts(self.shown)):
                assert new >= old

    @property
    def told(self):
        (one,) = self.shown.connections
        return [one.received.packets, one.sent.packets, one.failures]


def counts(sample):
    (one,) = sample.connections
    return (*one.received, *one.sent, one.replays, one.failures, one.losses)


EVENTS = ("traffic",) * 4 + ("new", "gone", "reused", "flushed", "unread")
CRASHES = ("written", "lost", "killed")
SEEN = ("traffic", "traffic", "new", "gone", "flushed")
STEPS = st.tuples(st.integers(0, 5), st.integers(0, 1000))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(EVENTS + CRASHES), STEPS), max_size=40))
def test_they_never_fall_and_never_say_more_than_was_carried(events):
    host = Host()
    for what, (spi, packets) in events:
        host.do(what, spi, packets)
        assert all(told <= carried for told, carried in zip(host.told, host.carried))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(SEEN), STEPS), max_size=40))
def test_where_each_step_is_looked_at_they_are_what_was_carried(events):
    host = Host()
    for what, (spi, packets) in events:
        host.do(what, spi, packets)
    assert not events or host.told == host.carried


def counted(found, before=None, epoch="a"):
    return totals.counted(before or Totals(), found, looks.judged(found).managed, epoch)


def values(found, name=ONE.name):
    return found.connections[name].values


def test_two_sas_that_overlap_count_both():
    first = counted(seen({2: (10, 0), 3: (7, 1)}))
    both = counted(seen({2: (11, 0), 3: (7, 1), 4: (5, 0), 5: (1, 0)}), first)
    assert values(both) == (800, 8, 1600, 16, 0, 1)
    assert values(counted(seen({4: (6, 0)}), both)) == (800, 8, 1700, 17, 0, 1)


def test_an_spi_that_is_given_again_counts_whole():
    first = counted(seen({2: (10, 0)}))
    assert values(counted(seen({2: (4, 0)}), first))[3] == 14


def test_what_is_another_s_or_has_no_key_yet_is_not_counted():
    (one,) = states({2: (10, 0)})
    others = [one._replace(mark="mark 0x1/0x1"), one._replace(algorithm=""), one._replace(proto="comp")]
    others += [one._replace(dst="10.0.9.9"), one._replace(reqid=0xD0C4E3)]
    found = seen({})._replace(kernel=Kernel(tuple(others)))
    assert values(counted(found)) == (0, 0, 0, 0, 0, 0)


def test_a_kernel_that_cannot_be_read_for_a_while_changes_nothing():
    first = counted(seen({2: (10, 0)}))
    assert counted(seen(None), first) == first
    assert values(counted(seen({2: (12, 0)}), counted(seen(None), first)))[3] == 12


def own(packets, epoch="a", before=None, number=1, **more):
    child = {"packets_out": packets, "bytes_out": packets * 10, **more}
    return counted(look(ONE, sas=[sa(ONE, number, **child)]), before, epoch)


def test_where_esp_is_charon_s_own_its_numbers_count():
    first = own(5)
    assert values(own(9, before=first))[3] == 9
    assert values(own(9, before=first, number=2))[3] == 14  # another CHILD SA
    assert values(own(9, "b", before=first))[3] == 14  # another charon, whose numbers begin anew
    assert own(5, before=first).sas.keys() == first.sas.keys()


def test_a_charon_that_does_not_answer_for_a_while_counts_nothing_twice():
    """Without it nobody says whose ESP it is."""
    silent = look(ONE)._replace(charon=None)
    assert values(own(9, before=counted(silent, own(5))))[3] == 9


def test_what_stroke_does_not_tell_of_an_sa_counts_nothing_twice():
    untold = own(0, before=own(5), state="REKEYING", spi_in=None, spi_out=None)
    assert values(own(9, before=untold))[3] == 9


@pytest.mark.parametrize(
    ("states", "losses"),
    [
        ([True, False], 1),
        ([False, False], 0),
        ([True, False, False, True, False], 2),
        ([True, None, True], 0),  # charon did not answer
        ([True, None, False], 1),
        ([True, "held"], 0),
    ],
)
def test_losses(states, losses):
    found = Totals()
    for state in states:
        seen = look(ONE, sas=[sa(ONE)] if state is True else [])
        if state is None:
            seen = seen._replace(charon=None)
        rows = looks.judged(seen).managed
        if state == "held":
            rows = [row._replace(held=True) for row in rows]
        found = totals.counted(found, seen, rows)
    assert found.connections[ONE.name].losses == losses


def test_peers_that_are_gone_are_forgotten_but_not_those_at_rest_or_where_it_is_not_known():
    found = counted(look(ONE, OTHER))
    assert [*counted(look(OTHER), found).connections] == [OTHER.name]
    assert {*counted(look(OTHER, resting=(ONE,)), found).connections} == {ONE.name, OTHER.name}
    assert {*counted(look(OTHER, unread={"record": "damaged"}), found).connections} == {ONE.name, OTHER.name}


@pytest.mark.parametrize(
    ("before", "now", "epoch", "total"),
    [
        (5, 7, "", 7),
        (5, 2, "", 7),  # begun anew
        (5, 5, "", 5),
        (5, 7, "b", 12),  # begun anew, and further by now
        (5, 7, "a", 7),
    ],
)
def test_counters_of_charon_and_the_kernel(before, now, epoch, total):
    first = totals.series(Series(), {"x": before}, "a")
    found = totals.series(first, {"x": now}, epoch)
    assert found.totals == {"x": total}
    assert totals.series(found, {}, "c") == found  # not told
    assert totals.series(found, {"y": 1}, epoch or "a").totals["x"] == total


FULL = Totals(
    {"cp2_v4": Counted((1, 2, 3, 4, 5, 6), 7, True)},
    {"10.0.0.2 c0000001": (1, 2, 3, 4, 5, 6)},
    Series({"ike-init-in-req": 3}, {"ike-init-in-req": 1}, "9/77"),
    Series({"XfrmInError": 3}, {"XfrmInError": 1}),
    {"end": 2},
)


def test_what_is_written_is_what_is_read():
    assert totals.parse(totals.render(FULL)) == FULL
    assert totals.parse(totals.render(Totals())) == Totals()


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_is_refused_in_a_sentence(data):
    text = totals.render(FULL)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(['"', "9", "{", "}", "-", "x", "\x00", "\udc80", " ", ""]))
    damaged = text[:at] + other + text[at + data.draw(st.integers(0, 40)) + 1 :]
    try:
        assert totals.parse(damaged) == FULL  # no more than a blank differs
    except HostIPsecError as error:
        assert "totals begin anew" in str(error)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"schema": 2}', "1e999"])
def test_what_is_no_such_file_is_refused_in_a_sentence(text):
    with pytest.raises(HostIPsecError, match="totals begin anew"):
        totals.parse(text)


@pytest.mark.parametrize("value", [-1, True, 1.5, "1", None])
def test_a_value_that_is_no_count_is_refused_even_with_a_sum(value):
    body = json.loads(totals.render(FULL))["totals"]
    body["actions"]["end"] = value
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)
    with pytest.raises(HostIPsecError):
        totals.parse(f'{{"schema": 1, "sum": "{totals._check(text)}", "totals": {text}}}\n')
