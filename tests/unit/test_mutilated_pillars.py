"""Mutilated pillars: a sentence with key, value and what is allowed, or a right value; never a traceback.

What is accepted reads back from its files as it is, and charon loads it
(``functional/test_pillars_charon``, ``functional/test_catalog_starter``).
"""

from __future__ import annotations

import copy

import pytest

from hostipsec.errors import HostIPsecError, PillarError
from hostipsec.model import Fleet
from hostipsec.pillar import digest, pillar, topology
from hostipsec.strongswan import parse, render, sections
from hostipsec.strongswan.sections import Secret
from mutilated import MADE, RICH, WAYS, mutilated

EACH = 460  # of each way: 5,000 in all


def accepted(data: object) -> Fleet | None:
    """Return the fleet; None where the pillar is refused with sentences that can be written anywhere."""
    try:
        digest.of(data)
        pillar.unaddressed(data)
        return pillar.read(data)
    except PillarError as error:
        assert str(error).encode()
        for problem in error.problems:
            assert problem.path.startswith("ipsec"), problem
            assert problem.found
            assert problem.allowed
            assert str(problem).isprintable()
            assert len(str(problem)) < 3000
    except HostIPsecError as error:
        assert str(error).isprintable()
    return None


def written(fleet: Fleet) -> sections.Configuration:
    """Return what a host of the fleet would run."""
    host = next((one.id for one in fleet.hosts if topology.peers(fleet, one)), fleet.hosts[0].id)
    connections = topology.connections(fleet, host)
    return sections.configuration(connections, fleet.settings, "x.pem", Secret("RSA", "x.pem"))


@pytest.mark.parametrize("way", [*WAYS, *MADE])
def test_five_thousand_mutilated_pillars(way):
    good = 0
    for number in range(EACH):
        fleet = accepted(mutilated(way, number))
        if fleet is not None:
            good += 1
            value = written(fleet)
            conf, secrets, strongswan = (
                render.ipsec_conf(value),
                render.ipsec_secrets(value),
                render.strongswan_conf(value),
            )
            assert (conf + secrets + strongswan).encode()
            assert parse.configuration(conf, secrets, strongswan) == value, number
    assert good < EACH


def test_what_is_whole_is_taken():
    assert accepted(copy.deepcopy(RICH))
