"""Rules and dashboard ask for what the table of metrics has: each name, and each label of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

import dashboard
from hostipsec.faces import metrics

MONITORING = Path(__file__).parents[2] / "docs/monitoring"
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "ipsec.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = sorted({rule["expr"] for rule in RULES})
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
LABELS = {metric.name: {*metric.labels, "instance"} for metric in metrics.TABLE}
OWN = {"host"} | {label for labels in LABELS.values() for label in labels} | {"alertstate", "alertname"}


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Return the metrics that an expression asks for, each with the labels that it is chosen by."""
    promql_parser.parse(expression)
    for name, _, chosen in re.findall(
        r"\b((?:ipsec|peer:|pair:|sites:|instance:)[\w:]+)(\{([^}]*)\})?", expression
    ):
        yield name, {*re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', chosen)}


def grouped(expression: str) -> set[str]:
    """Return the labels by which an expression groups and joins."""
    lists = re.findall(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)", expression)
    return {label.strip() for found in lists for label in found.split(",") if label.strip()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_in_the_table(expression: str) -> None:
    for name, labels in selectors(expression):
        assert name in RECORDED or name in LABELS, name
        assert labels <= LABELS.get(name, OWN), (name, labels)
    assert grouped(expression) <= OWN


def test_what_is_recorded_is_used() -> None:
    used: set[Any] = {name for expression in EXPRESSIONS for name, _ in selectors(expression)}
    assert used >= RECORDED


@pytest.mark.parametrize("expression", sorted({*dashboard.queries().values()}))
def test_what_the_dashboard_asks_for_is_in_the_table(expression: str) -> None:
    for name, labels in selectors(expression):
        assert name in RECORDED or name in LABELS, name
        assert labels <= LABELS.get(name, OWN), (name, labels)
    assert grouped(expression) <= OWN


def test_the_dashboard_is_what_its_script_makes() -> None:
    assert dashboard.FILE.read_text() == dashboard.text()
    titles = [panel.title for panel in dashboard.made().build().panels or ()]
    assert len({*titles}) == len(titles)
