"""Samples of many workers become one page of metrics.

A worker reports `[name, {label: value}, number]`. Counters of a worker that is gone are kept and added, so that none
goes backwards when a worker restarts; gauges are those of the workers that live.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Sample = tuple[str, dict[str, str], float]
Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]

_ADDS_UP = ("_total", "_bucket", "_sum", "_count")

HELP = {
    "weighbridge_build_info": "1, with the version that serves.",
    "weighbridge_workers": "Gateway workers that are serving.",
    "weighbridge_workers_missing": "Gateway workers that are configured and not serving.",
    "weighbridge_worker_restarts": "Gateway workers that ended unasked and were started again.",
    "weighbridge_keeper_up": "1 while the keeper answers.",
    "weighbridge_keeper_restarts": "Times that the keeper ended unasked and was started again.",
    "weighbridge_store_free_bytes": "Bytes that this user may still write where the store is.",
    "weighbridge_alerts": "Alerts raised, by name; `weighbridge alerts` lists them.",
    "weighbridge_alerts_raised": "Alerts that were raised and have not ended, by name.",
    "weighbridge_start_time_seconds": "Unix time at which the supervisor started.",
    "weighbridge_requests": "Client requests that ended, by route, arm, purpose and outcome.",
    "weighbridge_refusals": "Requests answered with an error before anything was sent, by code.",
    "weighbridge_request_duration_seconds": "From the first byte of a request to the last of its answer.",
    "weighbridge_first_byte_seconds": "From the first byte of a request to the first of its answer.",
    "weighbridge_tokens": "Tokens that providers counted, in disjoint classes.",
    "weighbridge_cost_nanousd": "Known cost in nano-dollars (10^-9 USD).",
    "weighbridge_cost_unknown": "Requests whose cost is unknown, by outcome; it is not 0.",
    "weighbridge_open_requests": "Requests being served now.",
    "weighbridge_open_streams": "Event streams being relayed now.",
    "weighbridge_client_connections": "Open client connections.",
    "weighbridge_upstream_connections": "Open connections to endpoints.",
    "weighbridge_upstream_connections_opened": "Connections made to endpoints.",
    "weighbridge_bodies_dropped": "Bodies that were not captured, by reason.",
    "weighbridge_log_state": "Workers whose exchange log is in this state: ok, no_bodies or full.",
    "weighbridge_log_written_bytes": "Bytes written to the exchange log.",
}


class WorkerSamples:
    """The newest samples of each slot, and what its earlier workers have counted."""

    def __init__(self) -> None:
        self._live: dict[int, dict[Series, float]] = {}
        self._gone: dict[Series, float] = {}

    def report(self, slot: int, samples: Iterable[Sample]) -> None:
        self._live[slot] = {(name, tuple(sorted(labels.items()))): value for name, labels, value in samples}

    def ended(self, slot: int) -> None:
        """The worker in this slot is gone: keep what it has counted, forget its gauges."""
        for series, value in self._live.pop(slot, {}).items():
            if series[0].endswith(_ADDS_UP):
                self._gone[series] = self._gone.get(series, 0.0) + value

    def totals(self) -> dict[Series, float]:
        added = dict(self._gone)
        for samples in tuple(self._live.values()):
            for series, value in samples.items():
                added[series] = added.get(series, 0.0) + value
        return added


def families(series: dict[Series, float]) -> "Iterator[Metric]":
    """Group series into Prometheus families; the kind follows from the suffix, as the exposition format wants it."""
    from prometheus_client.core import Metric

    histograms = {name.removesuffix("_bucket") for name, _ in series if name.endswith("_bucket")}
    grouped: dict[tuple[str, str], list[tuple[str, Labels, float]]] = {}
    for (name, labels), value in series.items():
        grouped.setdefault(_family(name, histograms), []).append((name, labels, value))
    for (family, kind), rows in sorted(grouped.items()):
        metric = Metric(family, HELP.get(family, f"Reported by the gateway workers ({kind})."), kind)
        for name, labels, value in sorted(rows, key=_order):
            metric.add_sample(name, dict(labels), value)
        yield metric


def _family(name: str, histograms: set[str]) -> tuple[str, str]:
    for suffix in ("_bucket", "_sum", "_count"):
        if name.removesuffix(suffix) in histograms and name.endswith(suffix):
            return name.removesuffix(suffix), "histogram"
    if name.endswith("_total"):
        return name.removesuffix("_total"), "counter"
    return name, "gauge"


def _order(row: tuple[str, Labels, float]) -> tuple[Labels, str, float]:
    """Buckets of one histogram stand together, in the order of their bounds (`+Inf` last)."""
    name, labels, _ = row
    bounds = [value for label, value in labels if label == "le"]
    return tuple(pair for pair in labels if pair[0] != "le"), name, float(bounds[0]) if bounds else 0.0
