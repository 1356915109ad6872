"""SAs replaced, and packets that keep to the old one meanwhile: what is done when, to a charon in memory."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from clocks import Clock
from hostipsec.answer import Answer
from hostipsec.charon import reasons
from hostipsec.charon.reasons import Message
from hostipsec.emergency import host as adapter
from hostipsec.emergency import pins, reauthentication
from hostipsec.emergency.pins import LEASE, PATIENCE, UNCHANGED, Pin, Pins, pin
from hostipsec.emergency.reauthentication import DRAIN, TAKEN_UP, UNPINNED
from hostipsec.fleet import outcome
from hostipsec.fleet.asking import Heard
from hostipsec.model import Charon, ChildSA, Connection, IkeSA

NAME = "cp3001_v4"
ADD, DELETE = "xfrm policy update", "xfrm policy delete"


def connection(initiator=True, name=NAME):
    ends = (ip_address("10.0.0.5"), ip_address("10.0.0.9"), "CN=left", "CN=right")
    return Connection(name, "cp3001.esams.example", "v4", *ends, initiator, "start")


def sa(number, packets_in=0, state="INSTALLED", name=NAME):
    child = ChildSA(
        *(name, state, "TRANSPORT", 10 + number, 3), spi_out=f"c000000{number}", packets_in=packets_in
    )
    return IkeSA(name, number, "ESTABLISHED", "10.0.0.5", "10.0.0.9", children=(child,))


def look(*sas, plugins=()):
    return Charon("5.9.8", "vici", ike_sas=sas, plugins=plugins)


class Host(Clock, adapter.Host):
    """A charon whose connection gets a new SA when it is asked, and packets over it some seconds later."""

    def __init__(self, answers=1.0, differs=True):
        self.time, self.answers, self.differs = 0.0, answers, differs
        self.sas, self.events, self.begun = [sa(1, 5)], [], None

    def observe(self):
        if self.begun is not None and self.time >= self.begun + self.answers:
            self.sas = [one if one.uniqueid == 1 else sa(one.uniqueid, 1) for one in self.sas]
        return look(*self.sas)

    def initiate(self, names):
        names = [*names]
        self.events += [(round(self.time, 1), "start", *names)] if names else []
        if names and self.differs:
            self.begin()
        return {}

    def begin(self):
        self.begun = self.time
        self.sas.append(sa(2))

    def reauthenticate(self, ids):
        ids = [*ids]
        if ids:
            self.events.append((round(self.time, 1), "anew", *ids))
            self.begin()
        return {}

    def terminate(self, ids):
        ids = [*ids]
        self.events += [(round(self.time, 1), "end", *ids)] if ids else []
        self.sas = [one for one in self.sas if one.uniqueid not in ids]
        return {}

    def set_policies(self, batch):
        self.events.append((round(self.time, 1), batch))

    def delete(self, batch):
        self.events.append((round(self.time, 1), batch))

    @property
    def what(self):
        return [event[1:] for event in self.events]


# The pin -------------------------------------------------------------------------------------


def test_the_policy_names_the_sa_and_goes_by_itself():
    found = pin(connection(), look(sa(1)))
    assert found.line == (
        "xfrm policy update src 10.0.0.4/30 dst 10.0.0.9 dir out priority 74 limit time-hard 5 "
        "tmpl src 10.0.0.5 dst 10.0.0.9 proto esp spi 0xc0000001 reqid 3 mode transport"
    )
    six = Pin("v6", "2001:db8::5", "2001:db8::9", "c0000001", 3, "transport")
    assert six.selector == "src 2001:db8::4/126 dst 2001:db8::9 dir out"


@pytest.mark.parametrize(
    "found",
    [
        look(),
        look(sa(1), sa(2)),  # which of them the other end has is not known
        look(sa(1, state="REKEYING")),
        look(sa(1), plugins=("kernel-libipsec",)),
        look(sa(1)._replace(children=(ChildSA(NAME, "INSTALLED", "TRANSPORT", 11),))),  # stroke tells no SPI
    ],
)
def test_what_cannot_be_pinned(found):
    assert pin(connection(), found) is None


class Policies:
    """What the kernel was told."""

    def __init__(self):
        self.time, self.told = 0.0, []
        self.pins = Pins(lambda: self.time, self.told.append, self.told.append)

    def watch(self, found, seconds=0.2, elapsed=0.0):
        """Look so much later; whether the pin is still there."""
        self.time += seconds
        self.pins.watch(found, elapsed)
        return bool(self.pins.there)


@pytest.fixture
def policies():
    made = Policies()
    made.pins.take([connection(initiator=False)], look(sa(1)))
    return made


def test_it_is_renewed_long_before_the_kernel_removes_it(policies):
    for _ in range(50):
        assert policies.watch(look(sa(1)))
    renewed = [text for text in policies.told if text.startswith(ADD)]
    assert len(renewed) >= 2 * (10 / LEASE)
    assert policies.told == renewed


def test_it_goes_when_a_packet_came_by_the_new_sa(policies):
    assert policies.watch(look(sa(1), sa(2)))
    assert not policies.watch(look(sa(1), sa(2, packets_in=1)))
    assert policies.told[-1] == "xfrm policy delete src 10.0.0.4/30 dst 10.0.0.9 dir out\n"


def test_it_goes_after_a_while_where_the_pair_says_nothing(policies):
    assert policies.watch(look(sa(1), sa(2)))
    assert policies.watch(look(sa(1), sa(2)), PATIENCE - 0.1)
    assert not policies.watch(look(sa(1), sa(2)), 0.2)


@pytest.mark.parametrize(
    "found", [look(), look(sa(2)), look(sa(1, state="REKEYED"), sa(2)), look(sa(1, state="DELETING"))]
)
def test_it_goes_at_once_where_it_would_stop_packets(policies, found):
    assert not policies.watch(found)


def test_it_goes_where_no_new_sa_comes(policies):
    assert policies.watch(look(sa(1)), elapsed=UNCHANGED - 0.1)
    assert not policies.watch(look(sa(1)), elapsed=UNCHANGED)


# The change ----------------------------------------------------------------------------------


def test_alone_the_old_one_ends_when_the_new_one_is_up():
    host = Host()
    (found,) = reauthentication.run([connection()], host=host)
    assert (found.old, found.new, found.ok) == ((1,), (2,), True)
    assert host.what == [("start", NAME), ("end", 1)]
    assert host.events[1][0] >= DRAIN


def test_at_one_moment_it_ends_when_the_other_end_sends_by_the_new_one():
    host = Host(answers=2.0)
    (found,) = reauthentication.run([connection()], wait=7.0, host=host)
    assert found.ok
    begun, ended = (time for time, *_ in host.events)
    assert 7.0 <= begun < 8.0
    assert 2.0 + DRAIN <= ended - begun < TAKEN_UP


def test_or_after_a_while_where_the_other_end_says_nothing():
    host = Host(answers=60.0)
    (found,) = reauthentication.run([connection()], wait=0.0, host=host)
    assert found.ok
    assert TAKEN_UP + DRAIN <= host.events[-1][0] < TAKEN_UP + DRAIN + 2


def test_the_end_that_answers_pins_and_unpins_and_starts_nothing():
    host = Host()
    plain = host.sleep

    def sleep(seconds):
        plain(seconds)
        if host.time >= 5.0 and host.begun is None:
            host.begin()  # the peer does

    host.sleep = sleep
    assert reauthentication.run([], answered=[connection(initiator=False)], wait=5.0, host=host) == ()
    assert [text.startswith(ADD) for (text,) in host.what] == [True] * (len(host.what) - 1) + [False]
    assert host.what[-1][0].startswith(DELETE)
    assert 6.0 <= host.events[-1][0] < 7.0


def test_the_same_configuration_comes_when_the_other_end_has_unpinned():
    """charon ends the old SA in the moment that the new one is up: a pin would stop packets."""
    host = Host(differs=False)
    (found,) = reauthentication.run([connection()], wait=0.0, host=host)
    assert found.ok
    assert host.what[:2] == [("start", NAME), ("anew", 1)]
    assert host.events[1][0] >= UNPINNED > UNCHANGED


def test_a_pin_is_gone_whatever_happens():
    host = Host()

    def broken(names):
        raise reauthentication.CharonError("gone")

    host.initiate = broken
    with pytest.raises(reauthentication.CharonError):
        reauthentication.run([], answered=[connection(initiator=False)], wait=0.0, host=host)
    assert host.what[-1][0].startswith(DELETE)
    assert pins.LEASE <= TAKEN_UP  # and where nobody could take it away, before the old SA ends


# Why not ---------------------------------------------------------------------------------------------

REFUSES = "received AUTHENTICATION_FAILED notify error"


class Refused(Host):
    """A charon whose peer refuses, or that refuses; it says so some seconds after it was listened to."""

    def __init__(self, *messages):
        super().__init__()
        self.messages = messages

    def follow(self, log, timeout):
        self.events.append((round(self.time, 1), "listen", timeout))
        for message in self.messages:
            log.add(message)

    def begin(self):
        pass


class Kept(Refused):
    """A charon that asks in the IKE SA that it has."""

    def __init__(self, *messages):
        super().__init__(*messages)
        self.differs = False

    def begin(self):
        Host.begin(self)


def test_what_did_not_come_up_says_why():
    """It said "no new IKE SA within 30 s; see the log"."""
    (found,) = reauthentication.run([connection()], host=Refused(Message(NAME, REFUSES)))
    assert (found.ok, found.new, found.old) == (False, (), (1,))
    assert found.reason.startswith("the peer refused to authenticate this host (AUTHENTICATION_FAILED)")
    (found,) = reauthentication.run([connection()], 5.0, host=Refused(Message("other_v4", REFUSES)))
    assert found.reason == "no new IKE SA within 5 s; see the log"


def test_where_child_options_alone_differ_the_new_sa_has_those_of_before_and_that_is_told():
    """It was told as reauthenticated, and went on with the esp, type or compress of before."""
    host = Kept(Message(NAME, "failed to establish CHILD_SA, keeping IKE_SA"))
    (found,) = reauthentication.run([connection()], host=host)
    assert (found.ok, found.old, found.new) == (False, (1,), (2,))
    assert found.reason == reauthentication.AS_BEFORE
    (found,) = reauthentication.run([connection()], host=Kept(Message("other_v4", host.messages[0].text)))
    assert found.ok


class Doubled(Host):
    """One by swanctl: CHILD options alone differ, and a second CHILD SA comes into the IKE SA."""

    def observe(self):
        found = super().observe()
        second = ChildSA(NAME, "INSTALLED", "TRANSPORT", 99, 4, spi_out="c0000099", packets_in=1)
        asked = any(event[1] == "start" for event in self.events)
        sas = [one._replace(children=(*one.children, second)) for one in found.ike_sas]
        return found._replace(ike_sas=tuple(sas)) if asked else found


def test_where_a_second_child_sa_came_beside_the_first_that_is_told():
    """It said "reauthenticated", and status warned of a duplicate for good."""
    (found,) = reauthentication.run([connection()], host=Doubled(differs=False))
    assert (found.new, found.reason) == ((2,), reauthentication.AS_BEFORE)


def test_it_is_listened_before_anything_is_started():
    host = Refused()
    reauthentication.run([connection()], 5.0, host=host)
    assert host.what[0][0] == "listen"
    assert host.what[0][1] >= 5.0 + UNPINNED


def answers(host, wait=0.0):
    found = reauthentication._Run([], 5.0, [connection(initiator=False)], wait, host)
    found.run()
    return [(one.connection.name, one.reason) for one in found.answers]


def test_the_end_that_refuses_tells_why():
    host = Refused(Message(NAME, 'no issuer certificate found for "CN=cp3001"'))
    assert answers(host) == [(NAME, "no CA here for the certificate of CN=cp3001")]


def test_the_end_that_answers_waits_for_every_attempt_and_not_for_ever():
    host = Refused()
    assert answers(host, 7.0) == []
    assert 7.0 + UNPINNED <= host.time < 7.0 + reauthentication.REFUSED + 1


def test_what_came_up_in_the_end_was_not_refused():
    host = Refused(Message(NAME, 'no issuer certificate found for "CN=cp3001"'))
    host.sas.append(sa(2))
    found = reauthentication._Run([], 5.0, [connection(initiator=False)], 0.0, host)
    found.run()
    host.sas.append(sa(3))
    assert found.answers == ()


def test_the_fleet_repeats_the_reason_of_the_end_that_refused():
    row = {"peer": "b", "family": "v4", "old": [1], "new": [], "reason": "the peer refused (X)"}
    well = {**row, "peer": "c", "reason": ""}
    mine = Answer(False, "1 of 2", {"b_v4": row, "c_v4": well})
    theirs = {"a_v4": {"peer": "a", "family": "v4", "old": [1], "new": [], "reason": "no CA here for CN=a"}}
    heard = Heard({"a": mine, "b": Answer(True, "starts no connection", own={"answered": theirs}), "c": mine})
    found = outcome.summed("reauthenticate", ["a"], outcome.refused(heard.of(["a"])))
    assert "a: b_v4: b refused it: no CA here for CN=a" in found.lines
    assert not any("c_v4" in line for line in found.lines)


def test_hosts_of_the_release_before_tell_no_reasons_of_peers():
    row = {
        "peer": "b",
        "family": "v4",
        "old": [1],
        "new": [],
        "reason": "no new IKE SA within 30 s; see the log",
    }
    found = outcome.refused(Heard({"a": Answer(False, "0 of 1", {"b_v4": row}), "b": Answer(True, "")}))
    assert found.answers["a"].connections["b_v4"] == row


def test_a_certificate_that_charon_knew_before_is_not_the_reason():
    """It tries that one too, for the same name, and its key does not fit the signature."""
    said = [
        'no issuer certificate found for "CN=cp3001"',
        '  issuer is "CN=Other CA"',
        "signature validation failed, looking for another key",
    ]
    found = reasons.explain([Message(NAME, text) for text in said])
    assert found == {NAME: "no CA here for the certificate of CN=cp3001"}
    (alone,) = reasons.explain([Message(NAME, said[2])]).values()
    assert alone == "the peer's signature does not fit its certificate"


def test_a_peer_of_another_ca_than_it_is_bound_to():
    text = "constraint check failed: peer not authenticated by CA 'CN=Fleet CA'"
    assert reasons.meaning_of(text) == (
        "the peer's certificate is of another CA than CN=Fleet CA, to which peers are bound"
    )
