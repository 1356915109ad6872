"""Where 32-bit sequence numbers can run out before a rekeying, it is said at which rate, and what to set."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.pillar import pillar
from hostipsec.strongswan import defaults, options, sections, sequence


def warning(**chosen):
    return sequence.warning({**defaults.CONNECTION, **chosen})


ESN = "aes128gcm16-ecp384bp-esn!"
CURE = {"lifepackets": sequence.LIFEPACKETS, "marginpackets": sequence.MARGINPACKETS}


def test_our_own_lifetimes_are_no_worry():
    assert warning() == ""


@pytest.mark.parametrize(
    ("lifetime", "margintime", "rate"),
    [
        ("8h", "13m", "153,282"),
        ("24h", "13m", "50,163"),
        ("28800", "1h", "170,435"),
        ("90m", "13m", "929,646"),
    ],
)
def test_a_longer_lifetime_is_told_with_the_rate_and_the_cure(lifetime, margintime, rate):
    said = warning(lifetime=lifetime, margintime=margintime)
    assert said.startswith(
        f"ipsec:connection:lifetime: found {lifetime}, and 'esp' takes 32-bit sequence numbers"
    )
    assert f"from {rate} packets a second on" in said
    assert "set lifepackets: 3435973836 and marginpackets: 429496729, or a lifetime of 1h" in said


@pytest.mark.parametrize(
    ("esp", "told"),
    [
        ("aes128gcm16-ecp384bp-noesn!", True),
        ("aes128gcm16-ecp384bp!", True),
        ("aes128gcm16-ecp384bp-esn-noesn!", True),
        (f"{ESN[:-1]},aes256gcm16-ecp384bp!", True),
        (ESN[:-1], True),  # charon adds its own proposals
        (ESN, False),
        (f"{ESN[:-1]},aes256gcm16-esn!", False),
    ],
)
def test_only_sas_that_can_come_to_have_32_bits_count(esp, told):
    assert bool(warning(lifetime="8h", esp=esp)) is told


@pytest.mark.parametrize(
    ("packets", "told"),
    [
        (CURE, False),
        ({"lifepackets": "4000000000", "marginpackets": "100000000"}, False),
        ({"lifepackets": "5000000000", "marginpackets": "900000000"}, False),  # it is rekeyed in time
        ({"lifepackets": "5000000000", "marginpackets": "100000000"}, True),
        ({"lifepackets": "0"}, True),  # no limit
    ],
)
def test_a_rekeying_by_packets_comes_in_time_or_not(packets, told):
    assert bool(warning(lifetime="8h", **packets)) is told


def test_the_cure_is_one_that_the_pillar_takes():
    data = fleets.example()
    found = pillar.read({**data, "connection": {"lifetime": "8h", "ikelifetime": "12h", **CURE}})
    assert options.check_times(sections.common_options(found.settings), "") == []
    assert sequence.warning(sections.common_options(found.settings)) == ""
