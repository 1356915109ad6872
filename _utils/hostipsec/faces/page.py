"""The page of the whole mesh: one HTML file that needs nothing else, made of what the judge said.

What hosts say is data in a JSON block, which the script shows as text only; nothing of it is markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from ..answer import Answer, counted
from ..fleet import causes, joined, outcome
from ..fleet.causes import Cause
from ..fleet.ends import End
from ..fleet.fleetstatus import FleetStatus
from ..fleet.joined import Joined
from ..health.report import SEVERITIES
from ..model import Fleet
from . import pagegrids, pagescript, pagestyle, strip
from .strip import Strip

MARK = '<meta name="generator" content="hostipsec report">'  # by which our pages are known
DATA = '<script type="application/json" id="data">'
EVERY = 6000  # connections: of a larger fleet the page has sites, and the connections in trouble
TROUBLE = 1000  # of those, that many
_TEXT = 400  # characters of what a host said; what is more is in ipsec.status
_SIGNS = {"ok": "\N{CHECK MARK}", "warning": "!", "critical": "\N{MULTIPLICATION X}"}
_SCRIPT = f"{pagegrids.SCRIPT}{pagescript.SCRIPT}"


class Made(NamedTuple):
    """When, and by whom, a page is made."""

    time: float  # seconds since 1970
    interval: float  # seconds until the next
    edition: str  # this master's


def page(fleet: Fleet, found: FleetStatus, made: Made, before: Strip) -> str:
    """Return the page; ``before`` is the strip of the page before."""
    explained = _explained(fleet, found)
    sentence = headline(fleet, found)
    content = _Content(fleet, found, made)
    data = {**content.data(explained), "strip": strip.plain(strip.after(before, made.time, found.shown))}
    return _document(sentence, severity(found), made, data, found.lines(made.edition))


def severity(found: FleetStatus) -> str:
    """Return the worst of all that a page tells: of an end that is not well, a host that is silent."""
    return found.shown.severity if found.ok(0) or found.shown.severity == "critical" else "warning"


def _explained(fleet: Fleet, found: FleetStatus) -> Sequence[Cause]:
    sites: dict[str, list[str]] = {}
    for host in fleet.hosts:
        if not host.maintenance:
            sites.setdefault(host.label("site"), []).append(host.id)
    sites.pop("", None)
    return causes.causes(found.shown, found.heard.silent, found.heard.failed, sites)


def headline(fleet: Fleet, found: FleetStatus) -> str:
    """Return the fleet in a sentence."""
    heard = found.heard
    expiring = sum(one["severity"] != "ok" for one in found.certificates.values())
    beside = {
        "connection that no pillar gives": len(found.shown.stray),
        "host with warnings": len(found.warned),
        "certificate that ends soon": expiring,
        "host without a usable address": sum(bool(host.lost) for host in fleet.hosts),
    }
    told = [_counted(number, noun) for noun, number in beside.items() if number]
    asked = len({*heard.answers, *heard.silent, *heard.failed})
    return causes.sentence(found.shown, _explained(fleet, found), len(heard.answers), asked, told)


def _counted(number: int, noun: str) -> str:
    said = counted(number, noun)
    return said.replace("that ends", "that end") if number > 1 else said


# The data --------------------------------------------------------------------------------------


def severity_of(told: object) -> int:
    """Return the place of a severity, of what is none the worst."""
    return SEVERITIES.index(str(told)) if told in SEVERITIES else len(SEVERITIES) - 1


class _Words:
    """Texts, each told once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, text: object) -> int:
        """Return the number of a text."""
        short = str(text)
        short = short if len(short) <= _TEXT else f"{short[:_TEXT]}..."
        return self.numbers.setdefault(short, len(self.numbers))


class _Content:
    """What the script shows, as JSON has it: texts, hosts and sites by their numbers."""

    def __init__(self, fleet: Fleet, found: FleetStatus, made: Made) -> None:
        self._fleet, self._found, self._made, self._words = fleet, found, made, _Words()
        names = {host.id for host in fleet.hosts} | {*found.heard.answers} | {*found.heard.failed}
        self._hosts = {host: number for number, host in enumerate(sorted(names))}
        self._alone = {host.id for host in fleet.hosts if not host.managed}
        self._old = outcome.editions(found.heard, made.edition)
        self._sites = {host.id: self._words.of(joined.place(host)) for host in fleet.hosts}

    def data(self, explained: Sequence[Cause]) -> Mapping[str, Any]:
        """Return all of it but the strip."""
        rows, stray, unusable = self._found.shown.rows, self._found.shown.stray, self._found.unusable
        whole = len(rows) <= EVERY
        shown = rows if whole else [row for cause in explained for row in cause.rows][:TROUBLE]
        places = {id(row): number for number, row in enumerate(shown)}
        found = {
            "made": self._made._asdict(),
            "whole": whole,
            "states": joined.STATES,
            "severities": SEVERITIES,
            "hosts": [self._host(host) for host in self._hosts],
            "sites": [self._between(sites, counts) for sites, counts in self._found.shown.sites.items()],
            "rows": [self._row(row) for row in shown],
            "causes": [self._cause(one, places) for one in explained],
            "partly": [*map(self._words.of, self._found.partly)],
            "notes": [self._words.of(one) for one in (*joined.capped(stray), *joined.capped(unusable))],
        }
        return {**found, "words": [*self._words.numbers]}

    def _between(self, sites: tuple[str, str], counts: Mapping[str, int]) -> list[Any]:
        return [*sites, {str(joined.STATES.index(state)): number for state, number in counts.items()}]

    def _row(self, row: Joined) -> list[Any]:
        words = self._words.of
        return [
            *(self._hosts[row.one], self._hosts[row.other], row.family, words(row.stage)),
            *(joined.STATES.index(row.state), SEVERITIES.index(row.severity), words(row.reason)),
            *(words(row.anew), *map(words, row.sites), *map(self._end, row.ends)),
        ]

    def _end(self, end: End) -> list[Any]:
        state = end.state if end.known else "does not know it" if end.answered else "does not answer"
        known = [self._words.of(state), SEVERITIES.index(end.severity), self._words.of(end.reason)]
        return [*known, end.since, end.last_in, end.last_out]

    def _cause(self, one: Cause, places: Mapping[int, int]) -> list[Any]:
        rows = [places[id(row)] for row in one.rows if id(row) in places]
        lost = [self._hosts[host] for host in one.lost]
        return [one.kind, lost, self._words.of(one), SEVERITIES.index(one.severity), len(one.rows), rows]

    def _host(self, host: str) -> dict[str, Any]:
        answer = self._found.heard.answers.get(host)
        said: dict[str, Any] = {} if answer is None else self._answered(host, answer)
        site = self._sites.get(host, self._words.of(""))
        return {"id": host, "site": site, "lost": self._lost(host), **said}

    def _lost(self, host: str) -> int:
        """Return why there is no answer of a host, in words; none where there is one."""
        heard = self._found.heard
        if host in heard.answers:
            return self._words.of("")
        if host in self._alone:
            return self._words.of("not managed by Salt")
        asked = host in heard.silent or host in heard.failed
        return self._words.of(heard.failed.get(host, "does not answer" if asked else "was not asked"))

    def _answered(self, host: str, answer: Answer) -> dict[str, Any]:
        """Return what the host said beside its connections, without what is empty."""
        words, certificate = self._words.of, self._found.certificates.get(host)
        told = {
            "held": answer.own.get("held") and words(answer.own["held"]),
            "strongswan": answer.own.get("strongswan") and words(answer.own["strongswan"]),
            "edition": words(answer.own.get("edition") or ""),
            "old": host in self._old,
            "warnings": [*map(words, self._found.warned.get(host, ()))],
        }
        if certificate:
            ends = severity_of(certificate["severity"])
            told["certificate"] = [certificate["days_left"], ends, words(certificate["sentence"])]
        return {key: value for key, value in told.items() if value not in (None, False, [])}


# The document ----------------------------------------------------------------------------------


def _document(sentence: str, severity: str, made: Made, data: Mapping[str, Any], lines: Iterable[str]) -> str:
    """Return the page around its data."""
    at = datetime.fromtimestamp(made.time, timezone.utc)
    said = html.escape(sentence)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{MARK}
<meta http-equiv="Content-Security-Policy" content="{_policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_SIGNS[severity]} IPsec: {said}</title>
<style>{pagestyle.STYLE}</style>
</head>
<body class="{severity}">
<header>
<h1><span class="sign" aria-hidden="true">{_SIGNS[severity]}</span> {said}</h1>
<p id="made"><time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at:%Y-%m-%d %H:%M:%S} UTC</time>
<span id="age"></span></p>
<p id="stale" hidden></p>
</header>
<main id="main"><noscript><pre>{html.escape(chr(10).join(lines))}</pre></noscript></main>
<footer id="legend">hostipsec {html.escape(made.edition)}</footer>
{DATA}{_json(data)}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _json(data: Mapping[str, Any]) -> str:
    """Return JSON in which nothing ends the element that it stands in."""
    text = json.dumps(data, separators=(",", ":"))  # ASCII: line ends of Unicode are escaped as well
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy() -> str:
    """Return the policy by which a browser runs our script and no other, and fetches nothing."""
    script, style = _digest(_SCRIPT), _digest(pagestyle.STYLE)
    ours = f"script-src {script}; style-src {style}; img-src data:"
    return f"default-src 'none'; {ours}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def read(text: str) -> Strip:
    """Return the strip of a page of ours. Raises ValueError for one that cannot be read."""
    _, there, rest = text.partition(DATA)
    found = json.loads(rest.partition("</script>")[0]) if there else None
    if not isinstance(found, dict):
        raise ValueError("there is no report in it")
    return strip.parse(found.get("strip"))
