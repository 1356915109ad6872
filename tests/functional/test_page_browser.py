"""The page in a real Chromium: what is shown, chosen, opened; by keyboard, narrow, wide, dark, on paper."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import fleets
import reports
from hostipsec.faces import page, strip
from hostipsec.faces.page import Made
from hostipsec.faces.strip import Strip
from hostipsec.pillar import topology

WIDE, PHONE = 1600, 360
DEAD = "cp3040.esams.wmnet is dead: 34 connections, not counted above"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(**chromium.launching())
        yield started
        started.close()


def page_of(mesh: reports.Mesh, at: float, before: Strip = Strip()) -> str:  # noqa: B008 - a value
    return page.page(mesh.fleet, mesh.found(), Made(at, 300, reports.EDITION), before)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The page of a mesh with one of each trouble, the last of 48 reports."""
    mesh, now = reports.troubled(), time.time()
    well, troubled, before = reports.Mesh().found().shown, mesh.found().shown, Strip()
    for number in range(47, 0, -1):
        before = strip.after(before, now - 300 * number, well if number % 9 else troubled)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of(mesh, now, before))
    return path


class Shown:
    """A page in a window; whatever the console says is an error."""

    def __init__(self, browser: Browser, width: int, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on(
            "request", lambda request: self.said.extend([request.url] * ("file:" not in request.url))
        )

    def open(self, path: Path, address: str = "") -> Page:
        self.page.goto(f"file://{path}#{address}")
        return self.page


@pytest.fixture
def show(browser):
    made = []

    def window(width=WIDE, scheme="light"):
        made.append(Shown(browser, width, scheme))
        return made[-1]

    yield window
    for one in made:
        one.context.close()
        assert one.said == []


def address(page: Page) -> str:
    return page.url.partition("#")[2]


def site_cell(page: Page, sites: str):
    return page.locator(f'table.sites button[data-sites="{sites}"]').first


def test_a_glance(show, file):
    page = show().open(file)
    expect(page.locator("h1")).to_contain_text("cp3040.esams.wmnet is dead (34 connections)")
    expect(page.locator("#trouble details").first).to_contain_text("cp3040.esams.wmnet is dead")
    expect(page.locator("#trouble details")).to_have_count(6)
    expect(site_cell(page, "codfw eqiad")).to_have_text("\u2715374/396")
    expect(site_cell(page, "eqiad esams")).to_have_text("\u2713396/396")
    expect(page.locator("#sites .stripe")).to_have_text(f"\u2715 {DEAD}")
    expect(page.locator("svg.strip").first.locator("rect")).to_have_count(48)
    expect(page.locator("#age")).to_contain_text("ago")
    expect(page.locator("#stale")).to_be_hidden()


def test_from_sites_to_hosts_to_both_ends(show, file):
    page = show().open(file)
    site_cell(page, "eqiad ulsfo").click()
    assert address(page) == "one=eqiad&two=ulsfo"
    cell = page.get_by_role("button", name="cp1050: established; cp4021: no xfrm")
    if not cell.count():
        cell = page.get_by_role("button", name="cp1050: no xfrm; cp4021: established")
    assert "\u2713" in cell.inner_text()
    assert "\u2715" in cell.inner_text()
    cell.click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("its SA is not in the kernel")
    expect(dialog).to_contain_text("3 h 12 min")
    expect(dialog).to_contain_text("in 5 s ago, out 1 min 5 s ago")
    expect(dialog.locator("code").first).to_have_text(
        "salt -L 'cp1050.eqiad.wmnet,cp4021.ulsfo.wmnet' ipsec.status"
    )
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.go_back()
    expect(page.locator("#pairs")).to_have_count(0)


def test_what_is_not_encrypted_is_said_above_the_sites_and_at_both_ends(show, tmp_path):
    """`up` is less than all of a pair's packets there."""
    data = fleets.production_2018()
    data["rules"][0]["only"] = ["tcp/443"]
    mesh = reports.Mesh(data)
    one, other = min(topology.pairs(mesh.fleet))
    mesh.between(one, other, {**reports.UP, "reason": "TRANSPORT; only tcp/443 is encrypted"})
    path = tmp_path / "report.html"
    path.write_text(page_of(mesh, time.time()))
    for width in (WIDE, PHONE):
        page = show(width=width).open(path, f"host={one}")
        expect(page.locator("h1")).to_contain_text("connections up")
        expect(page.locator("#sites .partly")).to_have_text(mesh.found().partly)
    sites = sorted(host.label("site") for host in mesh.fleet.hosts if host.id in (one, other))
    page = show().open(path, f"one={sites[0]}&two={sites[1]}")
    short = [host.partition(".")[0] for host in (one, other)]
    page.locator(f'button[aria-label*="{short[0]}: "][aria-label*="{short[1]}: "]').first.click()
    expect(page.locator("dialog .ends").first).to_contain_text("only tcp/443 is encrypted")


def test_dead_hosts_are_a_stripe_in_the_grid_of_hosts(show, file):
    page = show().open(file, "one=codfw&two=esams")
    expect(page.locator("table.hosts .stripe")).to_contain_text("cp3040.esams.wmnet is dead: 16 connections")
    expect(page.locator("table.hosts thead")).not_to_contain_text("cp3040")


def test_a_site_that_nobody_sees_is_one_stripe(show, tmp_path):
    mesh = reports.Mesh()
    for host in mesh.fleet.hosts:
        if host.label("site") == "ulsfo":
            mesh.kill(host.id)
    path = tmp_path / "report.html"
    path.write_text(page_of(mesh, time.time()))
    for width, stripe in ((WIDE, "#sites .stripe"), (PHONE, "#sites li.dead")):
        page = show(width).open(path)
        expect(page.locator(stripe)).to_have_count(1)
        expect(page.locator(stripe)).to_contain_text(
            "12 hosts of ulsfo do not answer, nor does anybody see them"
        )
        expect(page.locator(stripe)).to_contain_text("or the site: 456 connections, not counted above")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_filters_are_the_address(show, file):
    page = show().open(file)
    page.get_by_label("Host", exact=True).type("cp4021")
    assert address(page) == "host=cp4021"
    expect(page.locator("#found")).to_have_text(
        "34 of 42 up, 2 down, 2 ends disagree, 2 held, 2 one-way of what is chosen"
    )
    page.get_by_label("State").select_option("one-way")
    assert address(page) == "host=cp4021&state=one-way"
    expect(page.locator("#found")).to_have_text("0 of 2 up, 2 one-way of what is chosen")
    expect(page.locator("#trouble details")).to_have_count(1)
    again = show().open(file, "host=cp4021&state=one-way")
    expect(again.get_by_label("Host", exact=True)).to_have_value("cp4021")
    expect(again.locator("#found")).to_have_text("0 of 2 up, 2 one-way of what is chosen")
    page.get_by_role("button", name="All").click()
    assert address(page) == ""
    expect(page.locator("#found")).to_have_text("")


@pytest.mark.parametrize(
    ("kind", "hosts"),
    [
        ("held", ["cp2002.codfw.wmnet"]),
        ("expiring", ["cp4021.ulsfo.wmnet"]),
        ("old", ["cp1071.eqiad.wmnet"]),
        ("silent", ["cp3040.esams.wmnet", "cp5001.eqsin.wmnet"]),
        ("warned", ["cp4021.ulsfo.wmnet"]),
        ("no such kind", None),
    ],
)
def test_hosts_of_a_kind(show, file, kind, hosts):
    page = show().open(file, f"hosts={kind}")
    if hosts is None:
        expect(page.locator("#hostlist tbody tr")).to_have_count(92)
    else:
        expect(page.locator("#hostlist tbody th")).to_have_text(hosts)


def test_by_keyboard_alone(show, file):
    page = show().open(file)
    focus = "document.activeElement.textContent"
    while page.evaluate("!document.activeElement.matches('table.sites button')"):
        page.keyboard.press("Tab")
    assert page.evaluate(focus) == "\u2715374/396"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focus) == "!218/240"
    page.keyboard.press("ArrowDown")  # there is nothing below
    page.keyboard.press("Enter")
    expect(page.locator("#pairs")).to_be_focused()
    while page.evaluate("!document.activeElement.matches('table.hosts button')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("dialog .close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.matches('table.hosts button')")


def test_on_a_phone_there_are_cards_and_nothing_is_wider(show, file):
    page = show(PHONE).open(file, "hosts=warned")
    expect(page.locator("table.sites")).to_have_count(0)
    page.locator('.card[data-sites="codfw ulsfo"]').click()
    expect(page.locator("table.hosts")).to_have_count(0)
    page.locator("#pairs .row").first.click()
    expect(page.locator("dialog")).to_contain_text("held since")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    page.set_viewport_size({"width": WIDE, "height": 1000})
    expect(page.locator("table.sites")).to_have_count(1)


@pytest.mark.parametrize("width", [320, 700, 800, 1200, 1280, WIDE])
def test_no_window_is_too_narrow_for_it(show, file, width):
    page = show(width).open(file, "one=codfw&two=eqiad&hosts=any")
    page.locator("#hostlist summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [PHONE, WIDE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(show, file, width, scheme):
    page = show(width, scheme).open(file, "one=codfw&two=esams&hosts=silent")
    for details in page.locator("details:not([open]) > summary").all()[::-1]:
        details.click()
    for opened in (False, True):
        if opened:
            page.locator(".rows .row").first.click()
        found = Axe().run(page)
        wrong = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]
        assert wrong == []


def test_a_page_that_is_old_says_so_and_is_grey(show, tmp_path):
    path = tmp_path / "old.html"
    path.write_text(page_of(reports.Mesh(), time.time() - 601))
    page = show().open(path)
    expect(page.locator("#stale")).to_contain_text("It says nothing of now.")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"
    path.write_text(page_of(reports.Mesh(), time.time() - 598))
    page.reload()
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#stale")).to_be_visible(timeout=10_000)  # it counts up
    path.write_text(page_of(reports.Mesh(), time.time() + 3600))
    page.reload()
    expect(page.locator("#age")).to_have_text("(this computer's clock is behind the master's)")


def test_what_a_host_says_is_text(show, tmp_path):
    evil = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    mesh = reports.Mesh()
    one, other = reports.BROKEN, next(iter(mesh.peers(reports.BROKEN)))
    mesh.between(one, other, {**reports.DOWN, "reason": evil, "state": evil})
    mesh.own[one] = {"warnings": [evil], "held": evil, "strongswan": evil}
    path = tmp_path / "evil.html"
    path.write_text(page_of(mesh, time.time()))
    page = show().open(path, "hosts=warned&one=<img src=x onerror=alert(1)>&two=x")
    page.locator(".rows .row").first.click()
    expect(page.locator("dialog")).to_contain_text("</script><script>")
    assert page.title().startswith("\u2715 IPsec: ")
    assert page.locator("img").count() == 0


def test_a_fleet_too_large_for_each_connection(show, tmp_path, monkeypatch):
    monkeypatch.setattr("hostipsec.faces.page.EVERY", 1000)
    path = tmp_path / "large.html"
    path.write_text(page_of(reports.troubled(), time.time()))
    page = show().open(path)
    expect(site_cell(page, "codfw esams")).to_have_text("\u2715336/376")
    site_cell(page, "eqiad ulsfo").click()
    expect(page.locator("#pairs")).to_contain_text("too large for every connection")
    expect(page.locator("#pairs .row")).to_have_count(6)


def test_on_paper_all_is_open_and_the_filters_are_gone(show, file):
    page = show().open(file)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("details:not([open])")).to_have_count(0)
    expect(page.locator("#filters")).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("#trouble details[open]")).to_have_count(0)
