"""The table of what the gateway costs: what is promised is looked at, and what was not measured is never held."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.harness.contest import COMPILED, FULL, IDLE, NGINX, Results, chunk_columns, percentiles
from bench.harness.gateway_page import page
from bench.harness.load import Front, Spent, Target, open_loop, running_streams
from bench.harness.peers import PEERS
from bench.harness.processes import NotMeasuredError, free_port
from bench.harness.promised import LARGE, SMALL, Run, expected
from bench.harness.providers import mock_streams

pytestmark = pytest.mark.promise(22)

PEER = PEERS[0].title
LITELLM = PEERS[-1].title


def run(results: Results, *groups: str, compiled: bool = False) -> Run:
    order = [NGINX, FULL, *([FULL + COMPILED] if compiled else []), PEER, LITELLM]
    return Run(results, order, rounds=3, seconds=1.0, groups=groups)


def filled(**rounds: dict[str, list[float]]) -> Results:
    results = Results()
    for column, whos in rounds.items():
        for who, figures in whos.items():
            for figure in figures:
                results.add(who, {"small": SMALL, "large": LARGE, "idle": IDLE}[column], figure)
    return results


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians() -> None:
    results = filled(small={NGINX: [10.0, 20.0, 40.0], FULL: [30.0, 40.0, 40.0]})
    assert [3.0, 2.0, 1.0] == results.ratios(FULL, SMALL)
    assert 2.0 == results.ratio(FULL, SMALL)


def test_a_promise_holds_at_its_limit_is_missed_above_and_is_not_measured_without_a_figure() -> None:
    for figure, holds in ((30.0, True), (30.1, False)):
        lines = expected(run(filled(small={NGINX: [10.0], FULL: [figure]}), "request"))
        found = {line.what: line.holds for line in lines}
        assert holds is found["CPU per 1.4 KB request, saturated"]
        assert found["CPU per 200 KB request, saturated"] is None


def test_beside_peers_the_cheapest_counts_and_litellm_has_to_be_a_hundred_times_dearer() -> None:
    results = filled(small={NGINX: [10.0], FULL: [50.0], PEER: [45.0], LITELLM: [5_000.0]})
    found = {line.what: line for line in expected(run(results, "request"))}
    beside = found["CPU per request, beside the cheapest peer"]
    assert beside.holds is False
    assert pytest.approx(50 / 45) == beside.measured
    assert found["CPU per 1.4 KB request of LiteLLM"].holds
    dearer = filled(small={NGINX: [10.0], FULL: [50.0], LITELLM: [4_999.0]})
    assert [False] == [line.holds for line in expected(run(dearer, "request")) if "of LiteLLM" in line.what]


def test_the_compiled_wheel_has_lines_of_its_own_and_stands_beside_the_peers() -> None:
    results = filled(small={NGINX: [10.0], FULL: [40.0], FULL + COMPILED: [20.0], PEER: [30.0]})
    lines = [line for line in expected(run(results, "request", compiled=True)) if line.measured is not None]
    assert [
        ("CPU per 1.4 KB request, saturated", FULL, False),
        ("CPU per 1.4 KB request, saturated", FULL + COMPILED, True),
        ("CPU per request, beside the cheapest peer", FULL + COMPILED, True),
    ] == [(line.what, line.who, line.holds) for line in lines]


def test_the_page_shows_a_missed_promise_a_spread_and_why_a_peer_has_no_figure() -> None:
    results = filled(small={NGINX: [10.0, 10.0], FULL: [30.0, 50.0]}, idle={NGINX: [15.0], FULL: [39.0]})
    results.lost(LITELLM, SMALL, "it did not start: no such file")
    text = page(run(results, "request", "memory"), "scripts/bench gateway")
    assert f"| CPU per 1.4 KB request, saturated | {FULL} | 4.00 | <= 3 x nginx | **missed** |" in text
    assert f"| {FULL} | 40.0: **4.00** (3.00 - 5.00) | - |" in text
    assert f"| resident, idle | {FULL} | 39.00 | <= 40 MB | holds |" in text
    assert f"- {LITELLM}, {SMALL}: it did not start: no such file" in text
    assert f"| {LITELLM} | - | - |" in text
    assert "## Per chunk" not in text


def test_percentiles_are_milliseconds() -> None:
    assert pytest.approx([50.5, 95.95, 99.99]) == list(percentiles([n / 1000 for n in range(1, 101)]))


# --- the load itself, on the mock provider ----------------------------------------------------------------------------


@contextmanager
def provider() -> Iterator[Target]:
    port = free_port()
    with mock_streams(port) as process:
        yield Target(process.pid, port, Front({}))


def test_streams_are_counted_while_they_run_and_cost_the_provider_cpu() -> None:
    with provider() as target:
        spent = running_streams(target, 8, 10, 1.0, usage=False)
    assert spent.count > 0
    assert spent.us > 0


def test_a_rate_that_is_not_answered_is_no_figure() -> None:
    """The provider of streams answers with a stream that takes two seconds: too late."""
    with provider() as target, pytest.raises(NotMeasuredError, match=r"0 of 5 answers at 50 requests/s"):
        open_loop(target, 50, 0.1)


def test_nothing_that_came_out_has_no_cost() -> None:
    with pytest.raises(NotMeasuredError):
        _ = Spent(0, 1).us


def test_a_proxy_that_closes_streams_is_no_figure() -> None:
    async def closing() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = Target(os.getpid(), port, Front({}))
        with pytest.raises(NotMeasuredError, match="0 of 2 streams began: the proxy closed the connection"):
            await asyncio.to_thread(running_streams, target, 2, 10, 0.1, usage=False)
        server.close()

    asyncio.run(closing())


def test_every_column_of_chunks_has_a_name_of_its_own() -> None:
    names = [column.name for column in chunk_columns()]
    assert len(names) == len(set(names))
