"""Make docs/monitoring/dashboard.json, for Grafana 10.1 and later: ``python tests/dashboard.py``.

From top to bottom it answers: is traffic safe, where is it not, since when, is someone on it; then why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, LegendDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FILE = Path(__file__).parents[1] / "docs/monitoring/dashboard.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
AT = '{site=~"$site"}'  # what a host says of itself
OF = '{sites=~"$sites"}'  # what it says of its connections
ABSENT = ("Time", "__name__", "job", "ALERTS", "alertstate")
GREEN, YELLOW, RED = "green", "#e0b400", "red"
WIDTH = 24


def query(expr: str, legend: str = "", *, now: bool = False) -> prometheus.Dataquery:
    """Return a query; ``now`` is of one moment, for tables and single numbers."""
    made = prometheus.Dataquery().expr(expr).legend_format(legend).datasource(SOURCE)
    return made.instant().format(PromQueryFormat.TABLE) if now else made.range()


def steps(*found: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return from which value on which colour is shown."""
    levels = [Threshold(value=value, color=color) for value, color in found]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(levels)


def number(title: str, said: str, expr: str, levels: dashboard.ThresholdsConfig, unit: str = "none") -> Any:
    """Return a single number, coloured by what it means."""
    made = stat.Panel().title(title).description(said).unit(unit).thresholds(levels).datasource(SOURCE)
    made = made.color_mode(BigValueColorMode.BACKGROUND).graph_mode(BigValueGraphMode.NONE)
    made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value("-")
    return made.with_target(query(expr, now=True))


def listed(title: str, said: str, expr: str, nothing: str, unit: str = "none") -> Any:
    """Return a table of what there is now."""
    shown = {"excludeByName": dict.fromkeys(ABSENT, True), "indexByName": {}, "renameByName": {}}
    hidden = DataTransformerConfig("organize", options=shown)
    made = (
        table.Panel()
        .show_header(True)
        .title(title)
        .description(said)
        .unit(unit)
        .no_value(nothing)
        .datasource(SOURCE)
    )
    return made.with_target(query(expr, now=True)).with_transformation(hidden)


def graph(title: str, said: str, unit: str, *lines: tuple[str, str]) -> Any:
    """Return lines over time."""
    made = timeseries.Panel().title(title).description(said).unit(unit).datasource(SOURCE).min(0)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    for expr, name in lines:
        made = made.with_target(query(expr, name))
    return made.legend(legend)


def timeline() -> Any:
    """Return since when less than all is up, by pair of sites."""
    made = (
        statetimeline.Panel()
        .row_height(0.9)
        .title("Up, of what must be up, by sites")
        .unit("percentunit")
        .datasource(SOURCE)
    )
    made = made.description("Tunnels to dead hosts are left out: those are in the table above.")
    made = made.thresholds(steps((None, RED), (0.6, YELLOW), (1, GREEN)))
    return made.with_target(query(f"sites:ipsec_up:ratio{OF}", "{{sites}}"))


BAD = steps((None, GREEN), (1, RED))
ROWS: tuple[tuple[str, int, tuple[Any, ...]], ...] = (
    (
        "Is traffic safe?",
        4,
        (
            number(
                "Connection ends down",
                "Expected, and not up; what is held is not counted.",
                f"count(ipsec:connection_down{OF}) or vector(0)",
                BAD,
            ),
            number(
                "Hosts that are dead",
                "Nobody has a tunnel to them.",
                "count(peer:ipsec_dead) or vector(0)",
                BAD,
            ),
            number(
                "Packets in the clear",
                "A second, between hosts of stages start and require; none where they are not counted.",
                "sum(rate(ipsec_connection_cleartext_packets_total"
                '{sites=~"$sites",stage=~"start|require"}[5m]))',
                steps((None, GREEN), (0.1, RED)),
                "pps",
            ),
            number(
                "Hosts held down",
                "An operator's decision.",
                f"count(ipsec_hold_since_timestamp_seconds{AT} > 0) or vector(0)",
                steps((None, GREEN), (1, YELLOW)),
            ),
            number(
                "Hosts not looked at",
                "Their keeper does not look, or their metrics are old.",
                f"count(ipsec_info{AT} unless on (instance) instance:ipsec_looked) or vector(0)",
                steps((None, GREEN), (1, YELLOW)),
            ),
            number(
                "Oldest look",
                "Of the keeper that looked longest ago.",
                f"max(time() - ipsec_keeper_look_timestamp_seconds{AT})",
                steps((None, GREEN), (60, YELLOW), (300, RED)),
                "s",
            ),
        ),
    ),
    (
        "Where?",
        8,
        (
            listed(
                "Alarms",
                "What fires; docs/runbook has a page for each.",
                'ALERTS{alertname=~"IPsec.*",alertstate="firing"}',
                "none fires",
            ),
            listed(
                "Dead hosts",
                "Share of its connections that is down.",
                "peer:ipsec_dead",
                "none",
                "percentunit",
            ),
            listed(
                "Down by sites",
                "Connection ends, without those of dead hosts.",
                f"count by (sites) (ipsec:connection_down:left{OF})",
                "none",
            ),
        ),
    ),
    ("Since when?", 8, (timeline(),)),
    (
        "What is not steady?",
        8,
        (
            listed(
                "Lost most often, within an hour",
                "From up to not up, counted by the keeper.",
                f"topk(10, increase(ipsec_connection_losses_total{OF}[1h]) > 0)",
                "nothing was lost",
            ),
            listed(
                "Up at one end only",
                "The end that says down.",
                f"ipsec:connection_down{OF} and on (pair, family) ipsec:connection_up",
                "both ends agree",
            ),
        ),
    ),
    (
        "What goes through?",
        8,
        (
            graph(
                "Encrypted, by sites",
                "",
                "Bps",
                (
                    f"sum by (sites, direction) (rate(ipsec_connection_bytes_total{OF}[5m]))",
                    "{{sites}} {{direction}}",
                ),
            ),
            graph(
                "Dropped by the kernel's IPsec",
                "By its name for why; docs/runbook/kernel-errors.md explains them.",
                "pps",
                (f"sum by (error) (rate(ipsec_kernel_errors_total{AT}[5m])) > 0", "{{error}}"),
            ),
        ),
    ),
    (
        "IKE",
        8,
        (
            graph(
                "Requests against responses",
                "IKE_SA_INIT and IKE_AUTH; requests without responses are peers that do not answer.",
                "cps",
                (
                    "sum by (exchange, direction, kind) "
                    '(rate(ipsec_ike_messages_total{site=~"$site",exchange=~"init|auth"}[5m]))',
                    "{{exchange}} {{kind}} {{direction}}",
                ),
            ),
            graph(
                "Rekeyings",
                "",
                "cps",
                (f"sum(rate(ipsec_child_rekeys_total{AT}[5m]))", "CHILD SAs"),
                (f"sum by (role) (rate(ipsec_ike_rekeys_total{AT}[5m]))", "IKE SAs, {{role}}"),
            ),
        ),
    ),
    (
        "charon",
        8,
        (
            graph(
                "Idle threads, least",
                "0 for long: IPsecCharonBusy.",
                "none",
                (f"bottomk(5, ipsec_charon_threads_idle{AT})", "{{instance}}"),
            ),
            graph(
                "Jobs that wait",
                "",
                "none",
                (f"topk(5, sum by (instance) (ipsec_charon_jobs_queued{AT}))", "{{instance}}"),
            ),
            graph(
                "Memory",
                "What grows for days is a leak.",
                "bytes",
                (f"topk(5, ipsec_charon_resident_memory_bytes{AT})", "{{instance}}"),
            ),
        ),
    ),
    (
        "What ends?",
        8,
        (
            graph(
                "Sequence numbers used",
                "Of 32 bits, by the fullest SA of a connection.",
                "percentunit",
                (f"topk(5, ipsec_connection_sequence_used_ratio{OF})", "{{pair}} {{family}}"),
            ),
            listed(
                "Certificates",
                "The first to end.",
                f"bottomk(10, ipsec_certificate_expiry_timestamp_seconds{AT} - time())",
                "not known",
                "s",
            ),
            listed(
                "Versions",
                "Hosts by version of this package and of strongSwan.",
                f"count by (version, strongswan, backend, plane) (ipsec_info{AT})",
                "not known",
            ),
        ),
    ),
)


def variable(name: str, label: str) -> dashboard.QueryVariable:
    """Return a filter by a label; all of it is also what has no such label."""
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    metric = {"site": "ipsec_info", "sites": "ipsec_connection_expected"}[name]
    return made.query(f"label_values({metric}, {name})").include_all(True).all_value(".*").multi(True)


def annotation(name: str, expr: str, color: str) -> dashboard.AnnotationQuery:
    """Return marks on all graphs."""
    return dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expr)


def made() -> dashboard.Dashboard:
    """Return the dashboard."""
    found = (
        dashboard.Dashboard("IPsec mesh").uid("hostipsec").tags(["ipsec"]).time("now-6h", "now").refresh("1m")
    )
    found = found.with_variable(
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    )
    found = found.with_variable(variable("sites", "Between sites")).with_variable(
        variable("site", "Site of hosts")
    )
    found = found.annotation(
        annotation("Held", f"changes(ipsec_hold_since_timestamp_seconds{AT}[2m]) > 0", YELLOW)
    )
    found = found.annotation(
        annotation("Applied", f"changes(ipsec_apply_timestamp_seconds{AT}[2m]) > 0", "blue")
    )
    line = 0
    for title, height, panels in ROWS:
        found = found.with_row(dashboard.Row(title).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=line)))
        wide = WIDTH // len(panels)
        for place, panel in enumerate(panels):
            found = found.with_panel(panel.grid_pos(GridPos(h=height, w=wide, x=place * wide, y=line + 1)))
        line += height + 1
    return found


def text() -> str:
    """Return the dashboard as Grafana imports it."""
    return JSONEncoder(sort_keys=True, indent=1).encode(made().build()) + "\n"


def queries() -> dict[str, str]:
    """Return all that it asks Prometheus for, by where: panels, marks."""
    found = made().build()
    panels = {
        f"{panel.title} {number}": target.expr
        for panel in found.panels or ()
        for number, target in enumerate(getattr(panel, "targets", None) or ())
    }
    return panels | {mark.name: mark.expr for mark in found.annotations.list_val}


if __name__ == "__main__":
    FILE.write_text(text())
