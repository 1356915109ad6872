"""Times as starter reads them (args.c ARG_TIME)."""

from __future__ import annotations

import pytest

from hostipsec.strongswan import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("45", 45), ("45s", 45), ("13m", 780), ("1h", 3600), ("3600", 3600), ("2d", 172800)],
)
def test_a_number_and_a_unit(text, seconds):
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "1w", "1 h", " 1h", "1h\n", "-1", "+1", "1.5h", "1h30m", "0x10", "\u0661h"]
)
def test_what_starter_calls_a_bad_duration_value(text):
    assert durations.parse(text) is None


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("1 second", 1), ("119 seconds", 119), ("2 minutes", 120), ("3 hours", 10800), ("4 days", 345600)],
)
def test_as_charon_spells_them(span, seconds):
    assert durations.spelt(span) == seconds
