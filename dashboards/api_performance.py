"""Dashboard "API Performance": rate, errors and duration of the application, and what it stands on."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, logs, loki, prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import DataSourceRef

METRICS = DataSourceRef(type_val="prometheus", uid="prometheus")
LINES = DataSourceRef(type_val="loki", uid="loki")
REQUESTS = 'http_requests_total{job="nano_api"}'
DURATION = 'http_request_duration_seconds_bucket{job="nano_api"}'
# Width of the page in columns.
PAGE = 24


def figure(title: str, expression: str, unit: str, text: str) -> stat.Panel:
    """Return one large figure."""
    query = prometheus.Dataquery().expr(expression).instant()
    panel = stat.Panel().title(title).description(text).datasource(METRICS).unit(unit).span(6).height(4)
    return panel.with_target(query.ref_id("A"))


def curves(title: str, unit: str, text: str, **queries: str) -> timeseries.Panel:
    """Return curves by legend; exemplars lead to traces."""
    panel = timeseries.Panel().title(title).description(text).datasource(METRICS).unit(unit).span(12).height(8).min(0)
    for number, (legend, expression) in enumerate(queries.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend.replace("__", "{{").replace("_END", "}}"))
        panel = panel.with_target(query.exemplar(True).ref_id(chr(ord("A") + number)))
    return panel


def of_status(pattern: str) -> str:
    """Return the requests whose status matches a pattern."""
    return f'http_requests_total{{job="nano_api",status=~"{pattern}"}}'


def quantile(share: float, by: str = "") -> str:
    """Return a percentile of the duration in seconds."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({DURATION}[$__rate_interval])))"


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    rate = "sum(rate({}[$__rate_interval]))"
    # A platform without errors has none to add up.
    failed = f"({rate.format(of_status('5..'))} or vector(0))"
    refused = f"({rate.format(of_status('4..'))} or vector(0))"
    everything = rate.format(REQUESTS)
    board = dashboard.Dashboard("API Performance").uid("api-performance").tags(["nano.ops"]).readonly()
    board = board.refresh("30s").time("now-1h", "now").timezone("utc")
    panels = [
        figure("Requests a second", everything, "reqps", "All requests that the application answered."),
        figure("5xx share", f"{failed} / {everything}", "percentunit", "Objective: below 0.5 %."),
        figure("p95", quantile(0.95), "s", "Objective: below 1 s."),
        figure("p99", quantile(0.99), "s", "Objective: below 2 s; the page goes out at 3 s."),
        curves(
            "Requests by status",
            "reqps",
            "By class of status.",
            **{"2xx and 3xx": f"{everything} - {failed} - {refused}", "4xx": refused, "5xx": failed},
        ),
        curves(
            "Duration",
            "s",
            "A dot is a request: follow it to its trace.",
            p50=quantile(0.5),
            p95=quantile(0.95),
            p99=quantile(0.99),
        ),
        curves("p95 by route", "s", "Which route is slow.", __route_END=quantile(0.95, "route")),
        curves(
            "Errors by route",
            "reqps",
            "Which route fails.",
            __route_END=f'sum by (route) (rate({REQUESTS[:-1]},status=~"5.."}}[$__rate_interval]))',
        ),
        curves(
            "Sessions of PostgreSQL",
            "short",
            "Of 150; active ones cost.",
            __instance_END="sum by (instance) (pg_stat_activity_count)",
        ),
        curves(
            "Connections at nginx",
            "short",
            "Open ones, and those that wait for an answer.",
            **{
                "open __instance_END": "nginx_connections_active",
                "writing __instance_END": "nginx_connections_writing",
            },
        ),
        curves(
            "Hits of Redis",
            "percentunit",
            "Share of lookups that found something.",
            __instance_END=(
                "rate(redis_keyspace_hits_total[$__rate_interval]) / "
                "(rate(redis_keyspace_hits_total[$__rate_interval]) "
                "+ rate(redis_keyspace_misses_total[$__rate_interval]))"
            ),
        ),
        curves(
            "CPU of the hosts",
            "percentunit",
            "Share that is not idle.",
            __instance_END=('1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))'),
        ),
    ]
    lines = loki.Dataquery().expr('{service_name=~"nano_api|nginx", level="error"}').ref_id("A")
    own = (
        loki.Dataquery()
        .expr(
            'quantile_over_time(0.95, {service_name="nginx"} | json | upstream_ms!="" | label_format '
            "own=`{{ subf .duration_ms .upstream_ms }}` | unwrap own [$__auto]) by (host)"
        )
        .legend_format("{{host}}")
        .ref_id("A")
    )
    for panel in panels:
        board = board.with_panel(panel)
    share = timeseries.Panel().title("nginx's own share, p95").description("Objective: below 50 ms.")
    board = board.with_panel(share.datasource(LINES).unit("ms").span(12).height(8).min(0).with_target(own))
    tail = logs.Panel().title("Errors").description("Each line leads to its trace.").datasource(LINES)
    return board.with_panel(tail.span(PAGE).height(10).with_target(lines))
