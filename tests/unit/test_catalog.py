"""The catalog holds together, and what an operator may need is in it."""

from __future__ import annotations

import pytest

from hostipsec.strongswan import catalog, defaults, difference, options

SETTINGS = (
    *catalog.CHARON_BOOL,
    *catalog.CHARON_FLOAT,
    *catalog.CHARON_INT,
    *catalog.CHARON_LEVEL,
    *catalog.CHARON_TEXT,
    *catalog.CHARON_TIME,
    *(f"plugins.{plugin}.load" for plugin in catalog.PLUGINS),
)


def test_a_setting_has_one_kind():
    twice = {name for name in SETTINGS if SETTINGS.count(name) > 1}
    assert twice == {"plugins.save-keys.load"}  # documented as yes or no; every plugin has it


def test_no_setting_is_a_section_as_well():
    sections = {name.rpartition(".")[0] for name in SETTINGS}
    assert not sections & set(SETTINGS)
    assert options.settings_tree()


@pytest.mark.parametrize(
    "name",
    [
        "retransmit_tries",
        "half_open_timeout",
        "processor.priority_threads.high",
        "plugins.kernel-netlink.xfrm_acq_expires",
        "plugins.vici.socket",
        "filelog.<name>.path",
        "syslog.<facility>.app",
        "start-scripts.<name>",
    ],
)
def test_settings_of_operators_are_there(name):
    assert name in SETTINGS


def test_an_option_of_a_connection_has_one_kind():
    several = (
        *catalog.TEXTS,
        *catalog.ENUMS,
        *catalog.TIMES,
        *catalog.COUNTS,
        *catalog.LONG_COUNTS,
        *catalog.PERCENTS,
        *catalog.PORTS,
        *catalog.PROTOCOL_PORTS,
        *catalog.PROPOSALS,
        *catalog.MARKS,
    )
    assert len(several) == len(set(several))
    assert set(several) | {"keyingtries", "tfc", "ikedscp"} == set(options.CONNECTION)


def test_synonyms_lead_to_options():
    assert {*catalog.SYNONYMS, *catalog.SYNONYMS.values()} <= set(options.CONNECTION)


def test_defaults_are_options_and_settings():
    assert {*defaults.CONNECTION} <= {*options.CONNECTION} - {*catalog.COMPUTED}
    assert {*difference.flat(defaults.charon(5))} <= {*SETTINGS}
    assert {*defaults.CHARONDEBUG} <= {*catalog.CHARONDEBUG}


def test_settings_named_in_differences_exist():
    named = (*difference.LIVE_SETTINGS, *difference.DERIVED_SETTINGS)
    known = [f"charon.{name}" for name in SETTINGS]
    assert [prefix for prefix in named if not any(name.startswith(prefix) for name in known)] == []
