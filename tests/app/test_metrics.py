"""Counters of all workers add up and never go back, whatever happens to a worker."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from weighbridge.app.metrics import Series, WorkerSamples, families

REQUESTS: Series = ("weighbridge_requests_total", (("route", "a"),))
OPEN: Series = ("weighbridge_open_requests", ())


def reported(samples: WorkerSamples, slot: int, requests: float, running: float = 0) -> None:
    samples.report(slot, [(REQUESTS[0], {"route": "a"}, requests), (OPEN[0], {}, running)])


def test_workers_add_up() -> None:
    samples = WorkerSamples()
    reported(samples, 0, 3, 1)
    reported(samples, 1, 4, 2)
    assert samples.totals() == {REQUESTS: 7, OPEN: 3}


def test_a_dead_workers_counters_stay_and_its_gauges_go() -> None:
    samples = WorkerSamples()
    reported(samples, 0, 3, 1)
    samples.ended(0)
    assert samples.totals() == {REQUESTS: 3}
    reported(samples, 0, 2, 5)
    assert samples.totals() == {REQUESTS: 5, OPEN: 5}


def test_a_worker_that_never_reported_can_end() -> None:
    samples = WorkerSamples()
    samples.ended(3)
    assert samples.totals() == {}


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(1, 9)))))
def test_no_counter_ever_goes_back(steps: list[tuple[int, int | None]]) -> None:
    samples, counts, last = WorkerSamples(), dict.fromkeys(range(4), 0), 0.0
    for slot, step in steps:
        if step is None:
            samples.ended(slot)
            counts[slot] = 0
        else:
            counts[slot] += step
            reported(samples, slot, counts[slot])
        now = samples.totals().get(REQUESTS, 0.0)
        assert now >= last
        last = now
    assert last == sum(step for _, step in steps if step is not None)


def test_the_page_is_what_prometheus_reads() -> None:
    series: dict[Series, float] = {
        REQUESTS: 3,
        OPEN: 1,
        ("weighbridge_first_byte_seconds_bucket", (("le", "0.5"), ("route", "a"))): 1,
        ("weighbridge_first_byte_seconds_bucket", (("le", "10.0"), ("route", "a"))): 2,
        ("weighbridge_first_byte_seconds_bucket", (("le", "+Inf"), ("route", "a"))): 2,
        ("weighbridge_first_byte_seconds_count", (("route", "a"),)): 2,
        ("weighbridge_first_byte_seconds_sum", (("route", "a"),)): 1.5,
    }

    class Page(Collector):
        def collect(self):  # type: ignore[no-untyped-def]  # as the library declares it
            return families(series)

    registry = CollectorRegistry()
    registry.register(Page())
    page = generate_latest(registry).decode()
    read = {family.name: family for family in text_string_to_metric_families(page)}
    assert {name: family.type for name, family in read.items()} == {
        "weighbridge_requests": "counter",
        "weighbridge_open_requests": "gauge",
        "weighbridge_first_byte_seconds": "histogram",
    }
    bounds = [s.labels["le"] for s in read["weighbridge_first_byte_seconds"].samples if s.name.endswith("_bucket")]
    assert bounds == ["0.5", "10.0", "+Inf"]
    assert all(family.documentation for family in read.values())
