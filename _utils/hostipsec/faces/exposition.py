"""Metrics as text: as Prometheus reads it (format 0.0.4), and as Graphite does (plaintext).

Written here and not by prometheus_client: programs run with the system's Python, which has none, and it takes
a multiple of the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from ..pillar.metrics import in_graphite
from .measures import Family, Number

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_BESIDE = frozenset(("site", "stage", "sites", "pair"))  # labels that tell no two series of a host apart
_NO_NUMBER = "ipsec_info"  # its value says nothing, and Graphite has no labels


def prometheus(families: Iterable[Family]) -> str:
    """Return what Prometheus and node_exporter read."""
    known: dict[tuple[str, ...], str] = {}  # the labels of a connection are those of a dozen series
    return "".join(line for one in families for line in _lines(one, known))


def _lines(family: Family, known: dict[tuple[str, ...], str]) -> Iterator[str]:
    metric = family.metric
    yield f"# HELP {metric.name} {_help(metric.help)}\n# TYPE {metric.name} {metric.kind}\n"
    for values, value in family.series:
        labels = known.get((*metric.labels, *values))
        if labels is None:
            labels = known[(*metric.labels, *values)] = _labels(metric.labels, values)
        yield f"{metric.name}{labels} {_number(value)}\n"


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _labels(names: Iterable[str], values: Iterable[str]) -> str:
    pairs = (f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values))
    return f"{{{','.join(pairs)}}}"


def _number(value: Number) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(+value)


def graphite(families: Iterable[Family], host: str, now: float) -> str:
    """Return what carbon reads: ``ipsec.HOST.METRIC.LABELS VALUE TIME``.

    Dots and whatever else has a meaning in a name of Graphite are ``_`` in ours: ``ipsec.cp1001_eqiad_example
    .connection_up.cp2001_codfw_example.v4``. Of the labels those are in it that tell series apart, so that a
    connection that changes its stage stays one series.
    """
    first = f"ipsec.{in_graphite(host)}"
    return "".join(
        f"{first}.{_path(one, values)} {_number(value)} {now:.0f}\n"
        for one in families
        if one.metric.name != _NO_NUMBER
        for values, value in one.series
        if math.isfinite(value)
    )


def _path(family: Family, values: Iterable[str]) -> str:
    kept = (value for name, value in zip(family.metric.labels, values) if name not in _BESIDE)
    return ".".join([family.metric.name[len("ipsec_") :], *map(in_graphite, kept)])
