"""From a look to a sample: what stands in it is what the judge said of that look, and never better."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostipsec.health import look as looks
from hostipsec.health import sample as sampled
from hostipsec.health import sampling
from hostipsec.health import totals as counting
from hostipsec.health.look import HOLD, Look
from hostipsec.health.report import CARRYING, STATES
from hostipsec.health.sampling import Facts
from hostipsec.health.totals import Counted, Totals
from hostipsec.kernel.cleartext import Packets
from hostipsec.model import Charon, ChildSA, Connection, IkeSA, Kernel, KernelState, LoadedConnection
from hostipsec.store.hold import Hold, Lift, Scope

NOW = datetime(2026, 11, 26, 10, 0, tzinfo=timezone.utc)
HERE = "10.0.0.1"
LIBIPSEC = ("kernel-libipsec",)


def connection(number, stage="start", initiator=True):
    ends = (ip_address(HERE), ip_address(f"10.0.1.{number}"), "CN=me", f"CN=cp{number}")
    return Connection(f"cp{number}_v4", f"cp{number}.codfw.example", "v4", *ends, initiator, stage)


def sa(one, number=1, **more):
    spis = {"spi_in": f"c1{number:06x}", "spi_out": f"c2{number:06x}"}
    told = {"state": "INSTALLED", **spis, "rekey_time": 100, "use_in": 5, "use_out": 3, **more}
    child = ChildSA(one.name, mode="TUNNEL", uniqueid=10 + number, reqid=1, **told)
    ends = (str(one.left), str(one.right))
    return IkeSA(one.name, number, "ESTABLISHED", *ends, established=60, children=(child,))


def look(*connections, sas=(), loaded=None, **more):
    names = [one.name for one in connections] if loaded is None else loaded
    seen = Charon(
        *("5.9.8", "vici", 99, 16, 5, LIBIPSEC),
        connections=tuple(map(LoadedConnection, names)),
        ike_sas=tuple(sas),
        routed=tuple(one.name for one in connections if one.stage == "require"),
    )
    return Look(connections, NOW, **{"charon": seen, "kernel": Kernel(), **more})


def made(found, totals=None, previous=None):
    known = Facts("cp1.eqiad.example")
    return sampling.sample(found, looks.judged(found), totals or Totals(), known, previous)


def one_of(found, **more):
    (one,) = made(found, **more).connections
    return one


ONE = connection(2)


def test_a_connection_that_is_up():
    found = made(look(ONE, sas=[sa(ONE)]), Totals({ONE.name: Counted((1, 2, 3, 4, 5, 6), 7)}))
    (one,) = found.connections
    assert (one.state, one.up, one.expected, one.held) == ("established", True, True, False)
    now = NOW.timestamp()
    assert (one.established, one.rekey, one.last_in, one.last_out) == (now - 60, now + 100, now - 5, now - 3)
    assert (one.received, one.sent, one.replays, one.failures, one.losses) == ((1, 2), (3, 4), 5, 6, 7)
    assert (found.severity, found.sentence) == ("ok", "1 connection: 1 established")
    assert (found.charon.version, found.charon.threads, found.charon.idle) == ("5.9.8", 16, 5)
    assert dict(found.states) == {state: int(state == "established") for state in STATES}
    assert sampled.parse(json.loads(json.dumps(sampled.plain(found)))) == found


@pytest.mark.parametrize(
    ("stage", "sas", "expected"),
    [
        ("start", [], True),
        ("passive", [], False),
        ("require", [], False),  # an idle trap
        ("require", [sa(ONE)], True),
    ],
)
def test_what_must_carry_now(stage, sas, expected):
    found = one_of(look(ONE._replace(stage=stage), sas=sas))
    assert (found.expected, found.up) == (expected, bool(sas))


def test_where_charon_does_not_answer_what_must_carry_is_down():
    found = made(look(ONE, connection(3, "require"), charon=None, unread={"charon": "no answer"}))
    assert [(one.expected, one.up, one.state) for one in found.connections] == [(True, False, "down")] * 2
    assert (found.charon, found.severity, dict(found.unread)) == (None, "critical", {"charon": "no answer"})


def test_what_is_held_is_not_expected_and_says_who():
    hold = Hold("ada", NOW - timedelta(hours=1), "T1\x1b[2J", scope=Scope("cp2.*"))
    over = Hold("bob", NOW - timedelta(hours=2), "T0", NOW - timedelta(minutes=1))
    found = made(look(ONE, connection(3), holds=(over, hold), sas=[sa(connection(3))]))
    assert [(one.expected, one.held) for one in found.connections] == [(False, True), (True, False)]
    since = (NOW - timedelta(hours=1)).timestamp()
    assert found.holds == (("peer cp2.*", "ada", "T1\ufffd[2J", since, None),)
    assert made(look(ONE, holds=(hold, Lift("ada", NOW)))).holds == ()


def test_holds_that_cannot_be_read_are_said_so_and_name_nobody():
    guessed = Hold("somebody", NOW, "hold.json cannot be read", scope=Scope(connection=ONE.name))
    found = made(look(ONE, holds=(guessed,), unread={HOLD: "hold.json cannot be read"}))
    assert (found.holds, found.severity) == ((), "critical")


def test_held_and_yet_up_shows_as_both():
    found = one_of(look(ONE, holds=(Hold("ada", NOW, "T1"),), sas=[sa(ONE)]))
    assert (found.held, found.up, found.expected, found.severity) == (True, True, False, "critical")


@pytest.mark.parametrize("unread", ["kernel", "certificate", "absent", "record"])
def test_what_could_not_be_read_is_no_ok(unread):
    found = made(look(ONE, sas=[sa(ONE)], unread={unread: "cannot be read"}))
    assert (found.severity, dict(found.unread)) == ("warning", {unread: "cannot be read"})


@pytest.mark.parametrize(
    ("site", "sites", "host", "shown"),
    [
        ("eqiad", {ONE.peer: "codfw"}, "cp1.eqiad.example", ("codfw-eqiad", "cp1-cp2")),
        ("a", {ONE.peer: "b"}, "cp9.a.example", ("a-b", "cp2-cp9")),
        ("", {ONE.peer: "codfw"}, "", ("", "cp1-cp2")),
        ("eqiad", {}, "", ("", "cp1-cp2")),
    ],
)
def test_sites_and_pair_are_the_same_at_both_ends(site, sites, host, shown):
    found = one_of(look(ONE, site=site, sites=sites, host=host))
    assert (found.sites, found.pair) == shown


def test_when_a_state_began():
    first = made(look(ONE))
    assert first.connections[0].changed is None
    later = look(ONE)._replace(time=NOW + timedelta(seconds=5))
    assert one_of(later, previous=first).changed is None
    second = made(look(ONE, sas=[sa(ONE)])._replace(time=NOW + timedelta(seconds=9)), previous=first)
    assert second.connections[0].changed == NOW.timestamp() + 9
    third = look(ONE, sas=[sa(ONE)])._replace(time=NOW + timedelta(seconds=12))
    assert one_of(third, previous=second).changed == NOW.timestamp() + 9


@pytest.mark.parametrize(
    ("numbers", "shown"), [([1 << 31], 0.5), ([3, 1 << 30], 0.25), ([None], None), ([], None), ([5], 0.0)]
)
def test_the_share_of_sequence_numbers_is_of_the_fullest_sa_that_charon_sends_by(numbers, shown):
    sas = [sa(ONE, number) for number in range(1, len(numbers) + 1)]
    states = [
        KernelState(
            *(HERE, "10.0.1.2", f"c2{number:06x}", "transport", 1),
            algorithm="gcm",
            sequence=used,
        )
        for number, used in enumerate(numbers, 1)
    ]
    stray = KernelState(HERE, "10.0.1.2", "cfffffff", "transport", 1, algorithm="gcm", sequence=(1 << 32) - 1)
    seen = look(ONE, sas=sas, kernel=Kernel((*states, stray)))
    assert one_of(seen._replace(charon=seen.charon._replace(plugins=()))).sequence == shown


def test_a_host_of_which_it_is_not_known_what_shall_run_says_nothing_of_connections():
    found = sampling.blind({"record": "damaged"}, 5.0, "critical", Totals(actions={"end": 3}), Facts("cp1"))
    assert (found.connections, found.severity, found.charon) == ((), "critical", None)
    assert (found.sentence, dict(found.unread), found.actions["end"]) == ("damaged", {"record": "damaged"}, 3)
    assert set(found.states.values()) == {0}


@pytest.mark.parametrize("count", [0, 5000])
def test_none_and_five_thousand(count):
    every = [
        connection(2)._replace(name=f"h{n}_v4", right=ip_address(f"10.{1 + n // 250}.0.{n % 250}"))
        for n in range(count)
    ]
    found = made(look(*every))
    assert len(found.connections) == count
    assert not any(one.state in CARRYING for one in found.connections)


# In the clear --------------------------------------------------------------------------------


TWO = connection(3)


def clear(found, totals=None, **packets):
    """Return a look that has read packets in the clear, and the totals with it."""
    seen = found._replace(clear_text=True, clear={name: Packets(*pair) for name, pair in packets.items()})
    return seen, counting.counted(totals or Totals(), seen, ())


def shown(found, totals):
    return {one.name: (one.clear_in, one.clear_out) for one in made(found, totals).connections}


def test_packets_in_the_clear_add_up_over_a_table_that_begins_anew():
    here = look(ONE, TWO)
    seen, totals = clear(here, None, **{ONE.name: (5, 7), TWO.name: (0, 0)})
    assert shown(seen, totals) == {ONE.name: (5, 7), TWO.name: (0, 0)}
    seen, totals = clear(here, totals, **{ONE.name: (2, 9), TWO.name: (1, 0)})
    assert shown(seen, totals) == {ONE.name: (7, 9), TWO.name: (1, 0)}


def test_what_was_not_read_at_this_look_is_not_shown_as_it_was_before():
    """An unchanged number would say that nothing goes in the clear."""
    here = look(ONE)
    _, totals = clear(here, None, **{ONE.name: (5, 7)})
    seen, totals = clear(here, totals)
    assert shown(seen, totals) == {ONE.name: (None, None)}
    seen, totals = clear(here, totals, **{ONE.name: (6, 8)})
    assert shown(seen, totals) == {ONE.name: (6, 8)}


def test_without_the_word_nothing_is_shown_and_it_begins_anew():
    _, totals = clear(look(ONE), None, **{ONE.name: (5, 7)})
    totals = counting.counted(totals, look(ONE), ())
    assert shown(look(ONE), totals) == {ONE.name: (None, None)}
    assert totals.clear == counting.Series()


def test_a_peer_that_is_gone_is_forgotten():
    _, totals = clear(look(ONE, TWO), None, **{ONE.name: (5, 7), TWO.name: (1, 1)})
    _, totals = clear(look(ONE), totals, **{ONE.name: (5, 7)})
    assert {*totals.clear.totals} == {*totals.clear.last} == {f"in {ONE.name}", f"out {ONE.name}"}


def test_totals_in_the_clear_are_kept_on_disk_and_never_fall_below_what_was_shown():
    seen, totals = clear(look(ONE), None, **{ONE.name: (5, 7)})
    assert counting.parse(counting.render(totals)) == totals
    told = made(seen, totals)
    assert counting.at_least(Totals({ONE.name: Counted()}), told).clear.totals == totals.clear.totals


def test_totals_of_the_release_before_have_none_in_the_clear():
    text = counting.render(Totals({}, {}))
    told = json.loads(text)["totals"]
    del told["clear"]
    plain = json.dumps(told, separators=(",", ":"), sort_keys=True)
    old = f'{{"schema": 1, "sum": "{counting._check(plain)}", "totals": {plain}}}\n'
    assert counting.parse(old) == Totals({}, {})


PACKETS = st.integers(0, 7)


@settings(max_examples=200)
@given(st.lists(st.tuples(PACKETS, PACKETS, PACKETS, PACKETS, st.booleans()), min_size=1, max_size=3))
def test_where_two_looks_may_differ_from_one_it_is_said(found):
    """The verdict of the pass is taken as it is where they cannot."""
    then = [sa(ONE, n, packets_in=got, packets_out=out) for n, (got, out, *_) in enumerate(found, 1)]
    before = look(ONE, sas=then)
    after = look(
        ONE,
        sas=[
            sa(ONE, n + (20 if other else 0), packets_in=got + more, packets_out=out + sent, install_time=90)
            for n, (got, out, more, sent, other) in enumerate(found, 1)
        ],
    )
    alone, both = looks.judged(after), looks.judged(after, before.charon)
    if not sampling.one_sided(alone, after.charon, before.charon):
        assert [row.state for row in alone.managed] == [row.state for row in both.managed]
