"""The status of hosts as tables, worst first: what ``ipsec.status`` is printed with; and lines as they are.

It has to be synced to where it runs: ``salt-run saltutil.sync_all`` on the master for ``salt``,
``saltutil.sync_all`` on the host for ``salt-call``. Where it is not, Salt logs ``Invalid outputter ipsec
specified, fall back to nested`` and prints the same data nested.

    cp1001.eqiad.example: 2 connections: 1 established, 1 down
            CONNECTION  PEER                  FAMILY  STATE        SINCE   IN       OUT       REASON
        !!  cp3001_v4   cp3001.esams.example  v4      down         -       0 B      0 B       charon ...
            cp2001_v4   cp2001.codfw.example  v4      established  3h 12m  1.2 MiB  13 B
"""

import salt.utils.color

HEADINGS = ("", "CONNECTION", "PEER", "FAMILY", "STATE", "SINCE", "IN", "OUT", "REASON")
RANKS = {"critical": 0, "warning": 1, "ok": 2}
SIGNS = {"critical": "!!", "warning": "!", "ok": ""}
COLORS = {"critical": "LIGHT_RED", "warning": "LIGHT_YELLOW", "ok": "GREEN"}
UNITS = (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))
INDENT = "    "


def output(data, **kwargs):
    """Return the text for ``{host: what ipsec.status or ipsec.plan gave}``; anything else is printed nested.

    Of what the runner gives, its lines; of its progress, the message.

    A status that lacks a key, of another version of this package, raises KeyError: Salt then prints
    everything nested.
    """
    if not isinstance(data, dict):
        return __salt__["nested"](data, **kwargs)
    if isinstance(data.get("lines"), list) and "retcode" in data:
        return "\n".join(_plain(line, keep=True) for line in data["lines"])
    if data.get("suffix") == "progress":
        return _plain(data["event"]["message"])
    return "\n".join(
        _host(_plain(host), found) or __salt__["nested"]({host: found}, **kwargs)
        for host, found in sorted(data.items())
    )


def _host(host, found):
    """Return the text of one host; empty for what is no status."""
    if not isinstance(found, dict):
        return ""
    if "error" in found and (found.get("ok") is False or len(found) == 1):
        return _error(host, str(found["error"]).splitlines())
    if isinstance(found.get("lines"), list):
        return "\n".join([f"{host}:", *(INDENT + _plain(line, keep=True) for line in found["lines"])])
    if not isinstance(found.get("connections"), dict) or not isinstance(found.get("summary"), dict):
        return ""
    heading = _colored(found["summary"]["severity"], f"{host}: {_plain(found['summary']['sentence'])}")
    notes = [_colored("warning", INDENT + _plain(text)) for text in found["warnings"]]
    return "\n".join([heading, *notes, *_table([*found["connections"].items(), *found["unmanaged"].items()])])


def _error(host, lines):
    first, rest = "".join(lines[:1]), lines[1:]
    texts = [f"{host}: {_plain(first)}", *(INDENT + _plain(line) for line in rest)]
    return "\n".join(_colored("critical", text) for text in texts)


def _table(connections):
    """Return the lines of a host's table; none for a host without connections."""
    rows = sorted(connections, key=lambda item: (RANKS[item[1]["severity"]], item[0]))
    cells = [HEADINGS, *(_cells(name, row) for name, row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    severities = [row["severity"] for _, row in rows]
    colored = [_colored(severity, INDENT + line) for severity, line in zip(severities, lines[1:])]
    return [*(INDENT + line for line in lines[:1]), *colored]


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


def _colored(severity, text):
    colors = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    return f"{colors[COLORS[severity]]}{text}{colors['ENDC']}"
