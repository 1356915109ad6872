"""What hosts answer: status as tables, worst first, other verbs in a sentence and what is not well below it.

It has to be synced to where it runs: ``salt-run saltutil.sync_all`` on the master for ``salt``,
``saltutil.sync_all`` on the host for ``salt-call``. Where it is not, Salt logs ``Invalid outputter ipsec
specified, fall back to nested`` and prints the same data nested.

    cp1001.eqiad.example: 2 connections: 1 established, 1 down
            CONNECTION  PEER                  FAMILY  STATE        SINCE   IN       OUT       REASON
        !!  cp3001_v4   cp3001.esams.example  v4      down         -       0 B      0 B       charon ...
            cp2001_v4   cp2001.codfw.example  v4      established  3h 12m  1.2 MiB  13 B

    cp1001.eqiad.example: 14 of 31 connections up in 30.1 s
        17 connections: no answer from the peer yet: ...: cp3001_v4, cp3001_v6, cp3002_v4 and 14 more

The mesh is drawn first, sites by sites with the connections that are up, where there are three sites or more
that fit the terminal:

           codfw   eqiad      esams
    codfw          396/396    360/376 !
    eqiad  396/396            412/414 !!

On a terminal nothing is broken within a word, and what fits no line of a table is told below it. All that a
host says is in ``--out=json``; with ``--verbose`` of ``salt`` nothing is told in groups.
"""

import re
import shutil
import textwrap

import salt.utils.color

HEADINGS = ("", "CONNECTION", "PEER", "FAMILY", "STATE", "SINCE", "IN", "OUT", "REASON")
RANKS = {"critical": 0, "warning": 1, "ok": 2}
SIGNS = {"critical": "!!", "warning": "!", "ok": ""}
COLORS = {"critical": "LIGHT_RED", "warning": "LIGHT_YELLOW", "ok": "GREEN"}
UNITS = (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))
INDENT = "    "
SPARE = ("PEER", "FAMILY", "OUT", "IN")  # columns that a narrow terminal goes without, the first one first
COLUMNS = 80  # where there is no terminal
FEWEST = 3  # sites that make a picture
MOST = 3  # names that a group has
NUMBERS = re.compile(r" \([0-9]+ tries\)|(?<=IKE SA) [0-9]+")  # differ where all else is the same


def output(data, **kwargs):
    """Return the text for ``{host: what a verb of module ipsec gave}``; anything else is printed nested.

    Of what the runner gives, its lines; of its progress, the message.

    A status that lacks a key, of another version of this package, raises KeyError: Salt then prints
    everything nested.
    """
    if not isinstance(data, dict):
        return __salt__["nested"](data, **kwargs)
    if isinstance(data.get("lines"), list) and "retcode" in data:
        lines = [_wrapped(_plain(line, keep=True)) for line in data["lines"]]
        return "\n".join([*lines[:1], *_mesh(data.get("connections")), *lines[1:]])
    if data.get("suffix") == "progress":
        return _wrapped(_plain(data["event"]["message"]))
    return "\n".join(
        _host(_plain(host), found) or __salt__["nested"]({host: found}, **kwargs)
        for host, found in sorted(data.items())
    )


def _mesh(connections):
    """Return the lines of the mesh by sites; none where that is no picture, or does not fit."""
    between = _between(connections if isinstance(connections, list) else [])
    sites = sorted({site for pair in between for site in pair})
    if len(sites) < FEWEST:
        return []
    rows = [["", *sites], *([one, *(_cell(between, one, other) for other in sites)] for one in sites)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    if sum(widths) + 2 * len(widths) + len(INDENT) > (_width() or COLUMNS):
        return []
    return [_row(row, widths, sites, between) for row in rows]


def _row(row, widths, sites, between):
    """Return a line of the mesh; only what is no blank has a color."""
    cells = [row[0].ljust(widths[0])]
    for text, width, other in zip(row[1:], widths[1:], sites):
        found = between.get(tuple(sorted((row[0], other))))
        shown = _colored(found["severity"], text) if found and text else text
        cells.append(shown + " " * (width - len(text)))
    return f"{INDENT}{'  '.join(cells)}".rstrip()


def _cell(between, one, other):
    """Return how many connections of two sites are up, with the sign of the worst."""
    found = between.get(tuple(sorted((one, other))))
    return f"{found['up']}/{found['all']} {SIGNS[found['severity']]}".rstrip() if found else ""


def _between(connections):
    """Return by two sites how many connections are up, of how many, and the worst severity."""
    found = {}
    for row in connections:
        if not isinstance(row, dict) or not isinstance(row.get("sites"), list):
            continue
        pair = tuple(sorted(_plain(site) for site in row["sites"]))
        one = found.setdefault(pair, {"up": 0, "all": 0, "severity": "ok"})
        one["all"] += 1
        one["up"] += row["state"] == "up"
        one["severity"] = min(one["severity"], row["severity"], key=RANKS.__getitem__)
    return found


def _host(host, found):
    """Return the text of one host; empty for what is no answer of module ipsec."""
    if not isinstance(found, dict):
        return ""
    if "error" in found and (found.get("ok") is False or len(found) == 1):
        return _error(host, str(found["error"]).splitlines())
    if isinstance(found.get("lines"), list):
        lines = (_wrapped(INDENT + _plain(line, keep=True)) for line in found["lines"])
        return "\n".join([f"{host}:", *lines])
    if not isinstance(found.get("connections"), dict):
        return _data(host, found)
    if (
        isinstance(found.get("ok"), bool)
        and isinstance(found.get("sentence"), str)
        and "unmanaged" not in found
    ):
        return _answer(host, found)
    if not isinstance(found.get("summary"), dict):
        return ""
    heading = _line(found["summary"]["severity"], _headed(host, found["summary"]["sentence"]))
    notes = [_line("warning", INDENT + _plain(text)) for text in found["warnings"]]
    return "\n".join([heading, *notes, *_table([*found["connections"].items(), *found["unmanaged"].items()])])


def _answer(host, found):
    """Return a verb's sentence, and below it what is not as asked."""
    ok = found["ok"]
    told = [] if ok else [*map(str, found["problems"]), *_grouped(_trouble(found))]
    notes = [note for note in map(str, found["notes"]) if note not in told]
    lines = [_line("ok" if ok else "critical", _headed(host, found["sentence"]))]
    lines += [_line("critical", INDENT + _plain(text)) for text in told if text != found["sentence"]]
    return "\n".join([*lines, *(_line("warning", INDENT + _plain(text)) for text in notes)])


def _data(host, found):
    """Return the text of a verb that answers with data; empty for what is of none."""
    rows = [row for row in found.values() if isinstance(row, dict)]
    common = set.intersection(*map(set, rows)) if rows and len(rows) == len(found) else set()
    told = [verb for keys, verb in PLAIN.items() if keys <= {*found}]
    told += [verb for keys, verb in ROWS.items() if keys <= common]
    return told[0](host, found) if told else ""


def _version(host, found):
    daemon = f"strongSwan {found['strongswan']}, asked by {found['backend']}"
    running = daemon if found["strongswan"] else "no charon answers"
    edition = _plain(found["edition"])
    return _line("ok", f"{host}: {_plain(running)}; hostipsec {_plain(found['package'])}, edition {edition}")


def _previous(host, found):
    """Return what ``ipsec.rollback`` would go back to, in a sentence."""
    mark = f"roll-out {found['mark']}" if found["mark"] else "a state.apply of the host alone"
    back = f"back to {_counted(found['connections'], 'connection')}, from before {mark} of {found['when']}"
    there = "nothing to go back to" if found["mark"] is None else back
    running = "; a state run is under way" if found["running"] else ""
    return _line("ok", f"{host}: {_plain(there)}{running}")


def _connections(host, found):
    rows = (
        f"{name}: {row['left']} to {row['right']}, {row['peer']}, {row['stage']}"
        f"{', started here' if row['initiator'] else ''}"
        for name, row in sorted(found.items())
    )
    return _listed(f"{host}: {_counted(found, 'connection')}", rows)


def _overhead(host, found):
    """Return the largest packets, a line each; names stand before their numbers."""
    rows = (
        f"{name}: packets up to {row['packet']} bytes of {row['mtu']} ({row['mode']}"
        f"{' in UDP' if row['udp'] else ''}, {row['esp']}), TCP MSS {row['tcp_mss']}, "
        f"ping -s {row['icmp_payload']}, ESP adds up to {row['overhead_most']}"
        for name, row in sorted(found.items())
    )
    return _listed(f"{host}: ESP costs", rows)


def _routes(host, found):
    """Return how many routes are in which state, and each that is not as it should be."""
    states = [row["state"] for row in found.values()]
    counts = ", ".join(f"{states.count(state)} {_plain(state)}" for state in sorted({*states}))
    bad = {name: row for name, row in sorted(found.items()) if row["state"] not in ("ok", "not wanted")}
    heading = _line("critical" if bad else "ok", f"{host}: {_counted(found, 'route')}: {counts}")
    rows = (
        f"{name}: {row['state']}: wanted {row['wanted'] or 'none'}, there is {row['there'] or 'none'}"
        for name, row in bad.items()
    )
    return "\n".join([heading, *(_line("critical", INDENT + _plain(row)) for row in rows)])


def _listed(heading, rows):
    return "\n".join([_line("ok", heading), *(_wrapped(INDENT + _plain(row)) for row in rows)])


def _counted(several, noun):
    return f"{len(several)} {noun}{'' if len(several) == 1 else 's'}"


# Verbs that answer with data: which keys tell it is theirs, of the answer or of each of its rows
PLAIN = {
    frozenset(("strongswan", "backend", "package", "edition")): _version,
    frozenset(("mark", "when", "running")): _previous,
}
ROWS = {
    frozenset(("peer", "left", "right", "stage", "initiator")): _connections,
    frozenset(("packet", "mtu", "tcp_mss")): _overhead,
    frozenset(("state", "wanted", "there")): _routes,
}


def _headed(host, sentence):
    """Return a sentence after the host's name, which it may begin with itself."""
    said = _plain(sentence)
    return f"{host}: {said[len(host) + 1 :] if said.startswith(host + ' ') else said}"


def _trouble(found):
    """Yield the name of each connection that is not as asked, and why."""
    if found.get("overruled"):
        return
    for name, row in sorted(found["connections"].items()):
        if "right" in row:  # as configured: nobody looked whether it is up
            continue
        good = row.get("up", row.get("ok"))
        why = row.get("left") or ("" if good else row.get("reason"))
        if why:
            yield name, str(why)


def _grouped(trouble):
    """Return a line for each connection, or one for all of which the same is so."""
    groups = {}
    for name, why in trouble:
        groups.setdefault(name if __opts__.get("verbose") else NUMBERS.sub("", why), []).append((name, why))
    for same, rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[1])):
        names = ", ".join(name for name, _ in rows[:MOST])
        more = f" and {len(rows) - MOST} more" if len(rows) > MOST else ""
        one = f"{rows[0][0]}: {rows[0][1]}"
        yield one if len(rows) == 1 else f"{len(rows)} connections: {same}: {names}{more}"


def _error(host, lines):
    first, rest = "".join(lines[:1]), lines[1:]
    texts = [f"{host}: {_plain(first)}", *(INDENT + _plain(line) for line in rest)]
    return "\n".join(_line("critical", text) for text in texts)


def _table(connections):
    """Return the lines of a host's table; none for a host without connections."""
    rows = sorted(connections, key=lambda item: (RANKS[item[1]["severity"]], item[0]))
    if not rows:
        return []
    cells, below = [HEADINGS, *(_cells(name, row) for name, row in rows)], ()
    if _too_wide(cells):
        below = _grouped((name, _plain(row["reason"])) for name, row in rows if row["reason"])
        cells = _without("REASON", cells)
    for spare in SPARE:
        cells = _without(spare, cells) if _too_wide(cells) else cells
    severities = [row["severity"] for _, row in rows]
    heading, *lines = _columns(cells)
    colored = [_colored(severity, line) for severity, line in zip(severities, lines)]
    return [heading, *colored, *(_wrapped(INDENT + text) for text in below)]


def _columns(cells):
    widths = [max(map(len, column)) for column in zip(*cells)]
    return [INDENT + "  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _without(heading, cells):
    place = cells[0].index(heading)
    return [(*line[:place], *line[place + 1 :]) for line in cells]


def _too_wide(cells):
    return 0 < _width() < max(map(len, _columns(cells)))


def _cells(name, row):
    known = (SIGNS[row["severity"]], name, row["peer"], row["family"], row["state"])
    measured = (_span(row["since"]), _size(row["bytes_in"]), _size(row["bytes_out"]))
    return tuple(_plain(cell) for cell in (*known, *measured, row["reason"]))


def _span(seconds):
    """Return ``3h 12m`` for 11520: the two largest units."""
    if seconds is None:
        return "-"
    for unit, length, smaller_unit, smaller in UNITS:
        if seconds >= length:
            return f"{seconds // length}{unit} {seconds % length // smaller}{smaller_unit}"
    return f"{seconds}s"


def _size(count):
    """Return ``1.2 KiB`` for 1234."""
    size, units = float(count), ["TiB", "GiB", "MiB", "KiB", "B"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{count} B" if units[-1] == "B" else f"{size:.1f} {units[-1]}"


def _plain(text, keep=False):
    """Return a host's text on one line, with no control over the terminal; ``keep`` its columns."""
    line = str(text).expandtabs().replace("\n", " ") if keep else " ".join(str(text).split())
    return "".join(one if one.isprintable() else "?" for one in line)


def _width():
    """Return the columns of the terminal; 0 where there is none: whoever reads that, reads lines."""
    return shutil.get_terminal_size((0, 0)).columns


def _wrapped(text):
    """Return a line as lines of the terminal, broken at blanks, the further ones indented."""
    if not 0 < _width() < len(text):
        return text
    further = " " * (len(text) - len(text.lstrip())) + INDENT
    kept = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.wrap(text, _width(), subsequent_indent=further, **kept))


def _line(severity, text):
    return _colored(severity, _wrapped(text))


def _colored(severity, text):
    colors = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    return f"{colors[COLORS[severity]]}{text}{colors['ENDC']}"
