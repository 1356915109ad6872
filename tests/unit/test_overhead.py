"""What ESP adds, and the largest packet that fits: worked by hand from RFC 4303, and by counting up."""

from __future__ import annotations

import pytest

from hostipsec.errors import HostIPsecError
from hostipsec.kernel import overhead

GCM = "aes128gcm16-ecp384bp-noesn!"
CBC = "aes256-sha256-modp2048!"


def largest(mtu, *encapsulation, **more):
    return overhead.on(overhead.encapsulation(*encapsulation, **more), mtu)


def test_the_defaults_on_ethernet():
    """20 IP + 8 ESP + 8 IV + 16 check value leave 1448, a multiple of 4, of which 2 are the trailer's."""
    found = largest(1500, GCM)
    assert (found.packet, found.wire, found.overhead, found.overhead_most) == (1466, 1500, 34, 37)
    assert (found.icmp_payload, found.udp_payload, found.tcp_mss) == (1438, 1438, 1426)


@pytest.mark.parametrize(
    ("mtu", "encapsulation", "packet", "wire"),
    [
        # 1450 - 52 = 1398, of which 1396 is a multiple of 4; 2 bytes of the link stay free
        (1450, {}, 1414, 1448),
        # 1500 - 40 - 8 - 8 - 16 = 1428
        (1500, {"family": "v6"}, 1466, 1500),
        # the inner header is encrypted as well: 1448 - 2
        (1500, {"mode": "tunnel"}, 1446, 1500),
        # 1500 - 20 - 8 - 8 - 8 - 16 = 1440
        (1500, {"mode": "tunnel", "udp": True}, 1438, 1500),
        (1500, {"udp": True}, 1458, 1500),
        # IPv6 in an IPv4 tunnel, and the other way round
        (1500, {"mode": "tunnel", "inner": "v6"}, 1446, 1500),
        (1500, {"mode": "tunnel", "family": "v6", "inner": "v4"}, 1426, 1500),
    ],
)
def test_modes_and_families_with_gcm(mtu, encapsulation, packet, wire):
    found = largest(mtu, GCM, **encapsulation)
    assert (found.packet, found.wire) == (packet, wire)


def test_blocks_of_sixteen():
    """1500 - 20 - 8 - 16 IV - 16 check value = 1440, a multiple of 16."""
    assert largest(1500, CBC).packet == 1440 - 2 + 20
    # 1499 leaves 1439, so a whole block less
    assert largest(1499, CBC).packet == 1424 - 2 + 20
    assert largest(1500, CBC).overhead_most == 40 + 2 + 15


@pytest.mark.parametrize("esp", [GCM, CBC, "aes128gcm8", "chacha20poly1305", "3des-sha1", "null-sha512"])
@pytest.mark.parametrize("mode", overhead.MODES)
@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("mtu", range(1480, 1501))
def test_the_largest_fits_and_one_more_does_not(esp, mode, udp, mtu):
    link = overhead.encapsulation(esp, mode, "v4", udp)
    most = overhead.on(link, mtu)
    assert link.wire(most.packet) == most.wire <= mtu < link.wire(most.packet + 1)
    sizes = range(most.packet - 64, most.packet + 1)
    assert max(link.wire(size) - size for size in sizes) == most.overhead_most


def test_sequence_numbers_of_64_bits_cost_nothing():
    assert largest(1500, "aes128gcm16-esn") == largest(1500, "aes128gcm16-noesn")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "beet"}, "mode=beet: allowed: transport, tunnel"),
        ({"family": "ipv4"}, "family=ipv4: allowed: v4, v6"),
        ({"inner": "v6"}, "inner=v6: transport mode keeps the packet's own header, that of v4"),
        ({"esp": "aes128"}, "has no integrity algorithm"),
        ({"esp": ""}, "an empty proposal"),
    ],
)
def test_what_is_no_encapsulation(arguments, said):
    with pytest.raises(HostIPsecError, match=said):
        overhead.encapsulation(**{"esp": GCM, **arguments})


@pytest.mark.parametrize(("family", "mtu"), [("v4", 575), ("v6", 1279), ("v4", 65536), ("v4", -1)])
def test_what_is_no_link(family, mtu):
    with pytest.raises(HostIPsecError, match=f"mtu={mtu}: a link with IP{family} has"):
        largest(mtu, GCM, family=family)
