"""Thirty lines of trouble on a terminal of 24: what is the same is told once."""

from __future__ import annotations

from hostipsec.fleet import alike
from hostipsec.fleet.alike import Trouble

SILENT = "no answer from the peer yet ({} tries): off, unreachable, or UDP 500/4500 is filtered"


def test_a_few_are_told_each():
    found = [Trouble("a", "no disk"), Trouble("a", "held", "b_v4", "b")]
    assert alike.lines(found) == ["a: no disk", "a: b_v4: held"]
    assert alike.lines([]) == []


def test_what_is_the_same_is_told_once():
    hosts = [f"cp10{number:02}.eqiad" for number in range(1, 21)]
    found = [
        Trouble(host, SILENT.format(number % 3), f"cp3001_{family}", "cp3001.esams")
        for number, host in enumerate(hosts)
        for family in ("v4", "v6")
    ]
    found += [Trouble(host, "the hold is lost: no space") for host in hosts[:4]]
    found += [Trouble(host, f"no CA here for CN={host}", "cp2_v4", "cp2") for host in hosts[:3]]
    found += [Trouble("db1", "alone", "x_v4", "x")]
    found += [Trouble(f"a{number}", f"IKE SA {number} is CONNECTING", "b_v4", "b") for number in range(2)]
    assert alike.lines(found) == [
        "40 connections: no answer from the peer yet: off, unreachable, or UDP 500/4500 is filtered; at "
        "cp3001.esams",
        "4 hosts: the hold is lost: no space: cp[1001-1004].eqiad",
        "3 connections: no CA here for CN=host; at cp2",
        "2 connections: IKE SA is CONNECTING; at b",
        "db1: x_v4: alone",
        "each by itself: --out=json",
    ]


def test_what_is_never_the_same_fills_no_more_than_a_screen():
    found = [Trouble("a", f"problem {number}") for number in range(40)]
    lines = alike.lines(found)
    assert (len(lines), lines[-1]) == (31, "and 10 lines more; all of them: --out=json")
