"""Echo requests and captures on real interfaces: only what is ours, only what leaves, and what it is."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import closing
from ipaddress import ip_address

import pytest
from spaces import hosts, network_of
from strongswan import line, wait_for

from hostipsec.errors import HostIPsecError
from hostipsec.model import Connection
from hostipsec.proof import packets, probe

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces and raw sockets")

EAST = {"v4": ip_address("10.9.0.1"), "v6": ip_address("fd09::1")}
WEST = {"v4": ip_address("10.9.0.2"), "v6": ip_address("fd09::2")}
PAIR = tuple(
    Connection(f"west_{one}", "west", one, EAST[one], WEST[one], "", "", True, "start") for one in EAST
)
FOUR, SIX = PAIR
GONE = FOUR._replace(name="gone_v4", right=ip_address("10.9.0.9"))


@pytest.fixture(scope="module")
def east_and_west():
    with hosts("east", "west") as both:
        line(*both, *([f"{end['v4']}/24", f"{end['v6']}/64"] for end in (EAST, WEST)))
        yield both


@pytest.fixture
def east(east_and_west):
    with network_of(east_and_west[0]):
        yield east_and_west[0]


@pytest.fixture
def west(east_and_west):
    return east_and_west[1]


def rounds(prober, captures, count, timeout=5.0):
    probe.send(prober, captures, lambda sent: sent >= count, 0.001)
    probe.collect(prober, captures, timeout)


def test_each_family_gets_its_replies(east):
    with closing(probe.Prober(PAIR)) as prober:
        rounds(prober, (), 4)
        for one in PAIR:
            found = prober.replies(one.right)
            assert (found.sent, found.received, found.lost, found.error) == (4, 4, 0, "")
            assert all(0 < time < 5 for time in found.times)


def test_who_is_not_there_is_waited_for_no_longer_than_asked(east):
    with closing(probe.Prober((FOUR, GONE))) as prober:
        rounds(prober, (), 2, timeout=0.3)
        assert (prober.replies(FOUR.right).received, prober.replies(GONE.right).received) == (2, 0)
        assert prober.waiting


def test_what_cannot_be_sent_says_why(east):
    nowhere = FOUR._replace(right=ip_address("192.0.2.1"))
    with closing(probe.Prober((nowhere,))) as prober:
        rounds(prober, (), 1)
        found = prober.replies(nowhere.right)
        assert (found.sent, found.error) == (0, "Network is unreachable")


def test_two_at_the_same_time_do_not_take_each_others_replies(east):
    with closing(probe.Prober((FOUR,))) as one, closing(probe.Prober((FOUR,))) as other:
        other._identifier = one._identifier  # the worst case: the token tells them apart
        for prober in (one, other):
            prober.send()
        for prober in (one, other):
            probe.collect(prober, (), 5)
            assert prober.replies(FOUR.right).received == 1


def test_counting_anew_forgets_what_is_under_way(east):
    with closing(probe.Prober((FOUR,))) as prober:
        prober.send()
        prober.restart()
        rounds(prober, (), 1)
        assert (prober.replies(FOUR.right).sent, prober.replies(FOUR.right).received) == (1, 1)


def test_an_address_of_somebody_else(east):
    with pytest.raises(HostIPsecError, match=r"10\.9\.0\.77 is no address of this host"):
        probe.Prober((FOUR._replace(left=ip_address("10.9.0.77")),))


def test_an_address_of_somebody_else_stops_no_other(east):
    """One that an interface lost: nothing was proven of the host's other connections."""
    away = FOUR._replace(left=ip_address("10.9.0.77"), right=ip_address("10.9.0.78"))
    with closing(probe.Prober((away, FOUR))) as prober:
        rounds(prober, (), 1)
        assert prober.replies(FOUR.right).received == 1
        lost = prober.replies(away.right)
        assert (lost.sent, lost.error.partition(":")[0]) == (0, "10.9.0.77 is no address of this host")
        prober.restart()
        rounds(prober, (), 1)
        assert prober.replies(away.right).error == lost.error


def test_more_peers_than_a_capture_may_have_instructions_for(east):
    """64 peers of IPv6 fit; a filter has 4,096 instructions."""
    many = [ip_address(f"fd09::{number:x}") for number in range(2, 66)]
    with closing(probe.Capture("eth0", many, b"")) as capture:
        assert capture.captured(WEST["v6"]).clear == 0


def test_no_such_interface(east):
    with pytest.raises(HostIPsecError, match="no capture on eth9: No such device"):
        probe.Capture("eth9", [FOUR.right], b"")


# What a capture sees -------------------------------------------------------------------------


def test_our_requests_in_the_clear(east):
    with closing(probe.Prober(PAIR)) as prober, closing(capture_of(prober)) as capture:
        rounds(prober, (capture,), 3)
        for one in PAIR:
            found = capture.captured(one.right)
            assert (found.interface, found.clear, found.probes, found.dropped) == ("eth0", 3, 3, 0)
            assert found.esp == {}


def capture_of(prober):
    return probe.Capture("eth0", [one.right for one in PAIR], prober.mark)


def test_what_comes_in_is_not_counted_and_answers_are_no_probes(east, west):
    """West sends three requests: they come in; three answers leave."""
    with closing(probe.Prober((FOUR,))) as prober, closing(capture_of(prober)) as capture:
        with network_of(west):
            back = FOUR._replace(left=WEST["v4"], right=EAST["v4"])
            with closing(probe.Prober((back,))) as other:
                rounds(other, (), 3)
                assert other.replies(EAST["v4"]).received == 3
        capture.receive()
        found = capture.captured(FOUR.right)
        assert (found.clear, found.probes) == (3, 0)


def test_others_than_the_peers_are_not_counted(east):
    others = [GONE.right, SIX.right]
    with closing(probe.Prober((FOUR,))) as prober, closing(probe.Capture("eth0", others, b"")) as capture:
        rounds(prober, (capture,), 2)
        assert [capture.captured(one).clear for one in others] == [0, 0]


SPI = bytes.fromhex("c0ffee01")
ECHO = packets.echo_request(4, 7, 1, b"x" * 16)


def udp(source, destination, payload):
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


@pytest.mark.parametrize(
    ("protocol", "body", "esp", "clear"),
    [
        (50, SPI + b"\0" * 40, {"c0ffee01": 1}, 0),
        (17, udp(4500, 4500, SPI + b"\0" * 40), {"c0ffee01": 1}, 0),
        (17, udp(4500, 4500, b"\0" * 40), {}, 0),  # IKE
        (17, udp(4500, 4500, b"\xff"), {}, 0),  # a NAT is kept awake
        (17, udp(500, 500, b"x" * 40), {}, 0),
        (17, udp(1000, 53, b"x" * 40), {}, 1),
        (6, b"\0" * 40, {}, 1),
        (51, b"\0" * 40, {}, 1),  # AH authenticates, and encrypts nothing
    ],
)
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_what_left(east, family, protocol, body, esp, clear):
    kind = socket.AF_INET if family == "v4" else socket.AF_INET6
    with closing(probe.Capture("eth0", [WEST[family]], b"x")) as capture:
        with socket.socket(kind, socket.SOCK_RAW, protocol) as sock:
            sock.sendto(body, (str(WEST[family]), 0))
        seen = lambda: (capture.receive(), capture.captured(WEST[family]))[1]  # noqa: E731
        if esp or clear:
            wait_for(lambda: seen().esp or seen().clear, "packet")
        found = seen()
        assert (found.esp, found.clear, found.probes) == (esp, clear, 0)


def test_a_large_packet_in_the_clear_is_seen_once_for_its_first_fragment(east):
    """A later fragment does not say what it is of."""
    with closing(probe.Prober((FOUR,), payload=4000)) as prober, closing(capture_of(prober)) as capture:
        rounds(prober, (capture,), 1)
        assert prober.replies(FOUR.right).received == 1
        found = capture.captured(FOUR.right)
        assert (found.clear, found.probes) == (1, 1)
