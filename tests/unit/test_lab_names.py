"""Who of a lab was meant by a target, and said nothing."""

import pytest

from fleetlab import names
from fleetlab.errors import LabError

HOSTS = ["cp1001.eqiad.example", "cp2001.codfw.example", "db1001.eqiad.example"]


@pytest.mark.parametrize(
    ("target", "expr", "answered", "silent"),
    [
        ("*cp*", "glob", HOSTS[:2], []),
        ("*cp*", "glob", HOSTS[:1], HOSTS[1:2]),
        ("*", "glob", [], HOSTS),
        ("cp[12]*", "glob", ["db1001.eqiad.example"], HOSTS[:2]),
        (f"{HOSTS[2]},{HOSTS[0]}", "list", HOSTS[:1], HOSTS[2:]),
    ],
)
def test_a_host_that_did_not_answer(target, expr, answered, silent):
    assert names.unanswered(target, expr, HOSTS, answered) == silent


@pytest.mark.parametrize(("target", "expr"), [("nohost*", "glob"), ("*", "list"), ("", "list")])
def test_a_target_of_nobody_is_a_mistake(target, expr):
    with pytest.raises(LabError, match="fits no host of this lab; there are cp1001"):
        names.unanswered(target, expr, HOSTS, HOSTS)
