"""The runbook: each alarm has a page, each page an alarm, and what a page says to type exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import alarms
from hostipsec.programs import ipsec_global

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs/monitoring/ipsec.rules.yml"
PAGES = {
    page.stem: page.read_text() for page in (ROOT / "docs/runbook").glob("*.md") if page.stem != "README"
}
SECTIONS = ("What it means", "How to see it", "What to do", "How to know that it is over")
ALERTS = {alert["alert"]: alert for alert in alarms.alerts(RULES)}
# of /proc/net/xfrm_stat, Linux 6.18
COUNTED = """
AcquireError FwdHdrError InBufferError InError InHdrError InIptfsError InNoPols InNoStates InPolBlock
InPolError InStateDirError InStateExpired InStateInvalid InStateMismatch InStateModeError InStateProtoError
InStateSeqError InTmplMismatch OutBundleCheckError OutBundleGenError OutError OutNoQueueSpace OutNoStates
OutPolBlock OutPolDead OutPolError OutStateDirError OutStateExpired OutStateInvalid OutStateModeError
OutStateProtoError OutStateSeqError
"""


def public(file: str) -> set[str]:
    """Return the public functions of a front end."""
    tree = ast.parse((ROOT / file).read_text())
    found = {node.name.rstrip("_") for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alarm_says_what_and_has_a_page_that_tells_of_it(name):
    alert = ALERTS[name]
    page = re.fullmatch(
        r"https://git\.example/ipsec/docs/runbook/([\w-]+)\.md", alert["annotations"]["runbook_url"]
    )
    assert page is not None
    assert f"`{name}`, {alert['labels']['severity']}" in PAGES[page[1]]
    assert alert["annotations"]["summary"].strip()


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_of_an_alarm_and_tells_all_four_things(name):
    assert re.findall("^## (.*)$", PAGES[name], re.MULTILINE) == [*SECTIONS]
    assert any(f"/{name}.md" in alert["annotations"]["runbook_url"] for alert in ALERTS.values())


@pytest.mark.parametrize("name", PAGES)
def test_what_is_to_be_typed_exists(name):
    told = PAGES[name]
    asked = {*re.findall(r"salt-run ipsec\.(\w+)", told)}
    assert asked <= public("_runners/ipsec.py")
    asked = {*re.findall(r"salt \S+ ipsec\.(\w+)", told)}
    assert asked <= public("_modules/ipsec.py")
    states = {*re.findall(r"state\.apply ipsec\.(\w+)", told)} - {"metrics"}
    assert states <= {file.stem for file in (ROOT / "states/ipsec").glob("*.sls")}
    for said in re.findall(r"ipsec-global ((?:[\w-]+ ?)+)", told):
        words = [
            word for word in said.split() if word.startswith("-") or word in ("up", "down", "status", "hold")
        ]
        values = {"--peer": "cp1", "--reason": "T1", "--for": "2h"}
        argv = [each for word in words for each in (word, *([values[word]] if word in values else []))]
        assert ipsec_global.parser().parse_args(argv).action in said


@pytest.mark.parametrize("name", PAGES)
def test_its_links_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https:)([^)#]+)", PAGES[name]):
        assert (ROOT / "docs/runbook" / target).is_file(), target


def test_the_table_of_pages_names_each_alarm():
    table = (ROOT / "docs/runbook/README.md").read_text()
    for name, alert in ALERTS.items():
        page = alert["annotations"]["runbook_url"].rpartition("/")[2]
        assert (
            f"| [{name}]({page}) | {alert['labels']['severity']} | {alert.get('for', 'at once')} |" in table
        )


def test_every_error_that_kernels_count_is_explained():
    known = {*re.findall(r"Xfrm\w+", PAGES["kernel-errors"])}
    assert {f"Xfrm{name}" for name in COUNTED.split()} <= known
