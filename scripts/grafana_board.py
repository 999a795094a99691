"""Makes deploy/grafana/weighbridge.json, the board of the gateway, from the table of panels below."""

import json
from typing import Final, Literal, NamedTuple

FILE = "deploy/grafana/weighbridge.json"

Kind = Literal["timeseries", "stat", "table"]

_AT: Final = 'instance=~"$instance"'
_USERS: Final = f'{_AT}, purpose="user", route=~"$route"'


class Panel(NamedTuple):
    title: str
    kind: Kind
    unit: str
    width: int
    says: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and its legend."""


def _quantile(of: float, metric: str) -> str:
    return f"histogram_quantile({of}, sum by (le, arm) (rate({metric}_bucket{{{_USERS}}}[$__rate_interval])))"


PANELS: Final[tuple[Panel, ...]] = (
    Panel("Raised now", "table", "short", 12, "Alerts that have not ended. Each has a page in docs/runbooks.",
          ((f"weighbridge_alerts_raised{{{_AT}}} > 0", "{{alert}}"),)),
    Panel("Workers serving", "stat", "short", 4, "Fewer than configured: the alert workers-missing.",
          ((f"sum(weighbridge_workers{{{_AT}}})", ""),)),
    Panel("Keeper", "stat", "bool_yes_no", 4, "0: requests go on, ramps and budgets do not.",
          ((f"min(weighbridge_keeper_up{{{_AT}}})", ""),)),
    Panel("Free for the store", "stat", "bytes", 4, "The least over all gateways.",
          ((f"min(weighbridge_store_free_bytes{{{_AT}}})", ""),)),
    Panel("Requests by arm", "timeseries", "reqps", 12, "Users' requests. A ramp shows as a share that moves.",
          ((f"sum by (route, arm) (rate(weighbridge_requests_total{{{_USERS}}}[$__rate_interval]))",
            "{{route}} {{arm}}"),)),
    Panel("Not answered well", "timeseries", "reqps", 12, "By arm and outcome; client_gone is the client's own doing.",
          ((f"sum by (arm, outcome) (rate(weighbridge_requests_total{{{_USERS}, outcome!=\"ok\"}}[$__rate_interval]))",
            "{{arm}} {{outcome}}"),)),
    Panel("Time to the first byte", "timeseries", "s", 12, "Median and 99 of 100, by arm.",
          ((_quantile(0.5, "weighbridge_first_byte_seconds"), "{{arm}} p50"),
           (_quantile(0.99, "weighbridge_first_byte_seconds"), "{{arm}} p99"))),
    Panel("Time to the last byte", "timeseries", "s", 12, "Median and 99 of 100, by arm.",
          ((_quantile(0.5, "weighbridge_request_duration_seconds"), "{{arm}} p50"),
           (_quantile(0.99, "weighbridge_request_duration_seconds"), "{{arm}} p99"))),
    Panel("Cost per hour", "timeseries", "currencyUSD", 12, "Known costs; unknown ones are in the next panel.",
          ((f"sum by (route, arm) (rate(weighbridge_cost_nanousd_total{{{_AT}, route=~\"$route\"}}[1h])) * 3600 / 1e9",
            "{{route}} {{arm}}"),)),
    Panel("Requests of unknown cost", "timeseries", "short", 12, "Answered, without a price or without a usage.",
          ((f"sum by (route, arm) (increase(weighbridge_cost_unknown_total{{{_USERS}, outcome=\"ok\"}}[1h]))",
            "{{route}} {{arm}}"),)),
    Panel("Tokens", "timeseries", "short", 12, "Per second, in disjoint classes.",
          ((f"sum by (class) (rate(weighbridge_tokens_total{{{_USERS}}}[$__rate_interval]))", "{{class}}"),)),
    Panel("Refused before anything was sent", "timeseries", "reqps", 12, "By code: keys, budgets, limits, a full disk.",
          ((f"sum by (code) (rate(weighbridge_refusals_total{{{_AT}}}[$__rate_interval]))", "{{code}}"),)),
    Panel("Endpoints out of service", "timeseries", "short", 8, "1: the fallbacks answer.",
          ((f"max by (endpoint) (weighbridge_endpoint_out{{{_AT}}})", "{{endpoint}}"),)),
    Panel("Places taken and waiting", "timeseries", "short", 8, "Endpoints with concurrency_max.",
          ((f"sum by (endpoint) (weighbridge_endpoint_open{{{_AT}}})", "{{endpoint}} taken"),
           (f"sum by (endpoint) (weighbridge_endpoint_waiting{{{_AT}}})", "{{endpoint}} waiting"))),
    Panel("Open now", "timeseries", "short", 8, "Requests, event streams and client connections.",
          ((f"sum(weighbridge_open_requests{{{_AT}}})", "requests"),
           (f"sum(weighbridge_open_streams{{{_AT}}})", "streams"),
           (f"sum(weighbridge_client_connections{{{_AT}}})", "connections"))),
    Panel("Written to the log", "timeseries", "Bps", 12, "How fast the store grows, bodies not counted.",
          ((f"sum(rate(weighbridge_log_written_bytes_total{{{_AT}}}[$__rate_interval]))", "log"),)),
    Panel("Bodies not captured", "timeseries", "short", 12, "By reason. Trials lack these.",
          ((f"sum by (why) (increase(weighbridge_bodies_dropped_total{{{_AT}}}[1h]))", "{{why}}"),)),
)  # fmt: skip


def board() -> str:
    """The board as JSON that Grafana 9 and later imports; it asks for a Prometheus data source."""
    panels, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(PANELS, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > 24:
            x, y, row = 0, y + row, 0
        panels.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, row = x + panel.width, max(row, height)
    document = {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}],
        "title": "Weighbridge",
        "uid": "weighbridge",
        "tags": ["weighbridge"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_variable("instance", "weighbridge_build_info"), _variable("route", _ROUTES)]},
        "panels": panels,
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


_SOURCE: Final = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
_ROUTES: Final = "weighbridge_requests_total"


def _variable(label: str, metric: str) -> dict[str, object]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, object]:
    targets = [
        {
            "refId": chr(ord("A") + at),
            "datasource": _SOURCE,
            "expr": query,
            "legendFormat": legend,
            **({"instant": True, "format": "table"} if panel.kind == "table" else {}),
        }
        for at, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "title": panel.title,
        "description": panel.says,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
