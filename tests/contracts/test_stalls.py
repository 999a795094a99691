"""The rest of the table of endings: a provider that goes silent, in every pair of dialects. The clock jumps."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.endings import PLAIN, STALL
from tests.contracts.speakers import DIALECTS, ERRORS, Dialect, speaker
from tests.fakes.provider import FakeProvider
from tests.gateway.running import KEY, PRICE, Running, endpoint, table, until
from weighbridge.gateway.meter import Sample
from weighbridge.records.frames import Posted
from weighbridge.records.table import Arm, Endpoint, Limits, Route

TICKS_A_SECOND = 4


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeProvider, Running]]:
    folder: Path = tmp_path_factory.mktemp("silent")
    with FakeProvider() as provider:
        endpoints = [
            Endpoint(
                name=name, dialect=name, base_url=provider.url, api_key="env:X", loopback=True, address_is_own=True
            )
            for name in DIALECTS
        ]
        made = table(
            provider.url,
            endpoints=[*endpoints, endpoint(provider.url)],  # the table of tests has two arms at the last one
            arms=[Arm(name=f"at-{name}", endpoint=name, model=f"m-{name}", price=PRICE) for name in DIALECTS],
            routes=[Route(name=f"to-{name}", incumbent=f"at-{name}") for name in DIALECTS],
        )
        with Running(folder, made) as gateway:
            yield provider, gateway


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_a_provider_that_goes_silent_is_an_error_and_is_booked_at_its_bound(
    silent: tuple[FakeProvider, Running], client: Dialect, upstream: Dialect, stream: bool
) -> None:
    provider, gateway = silent
    provider.answers[f"m-{upstream}"] = replace(PLAIN, text="word " * 50, hang=not stream, hang_after=900)
    seen, ended = len(provider.seen), len(gateway.finished(0))
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(
            speaker(client, f"127.0.0.1:{gateway.port}", KEY).ask, f"to-{upstream}", stream=stream, tools=False
        )
        provider.wait_for(seen + 1)
        if stream:
            open_now: Sample = ("weighbridge_open_streams", {}, 1)
            until(lambda: gateway.on_loop(gateway.gateway.samples), lambda rows: open_now in rows)
        limits = Limits()
        gateway.sweep(TICKS_A_SECOND * int(limits.stream_idle_s_max if stream else limits.first_byte_s_max) + 2)
        error = asking.exception(20)
    assert isinstance(error, (*ERRORS, RuntimeError, IndexError))
    if not stream:
        told: Any = error
        assert (504, "upstream_timeout") == (told.status_code, told.response.headers["x-weighbridge-error"])
    finished = gateway.finished(ended + 1)[-1]
    [posted] = [row for row in gateway.of(finished.id) if isinstance(row, Posted)]
    held = next(row for row in gateway.held() if row.id == finished.id)
    assert (STALL.outcome, STALL.booked) == (finished.outcome, "bound")
    assert posted.estimated
    assert 0 < (posted.cost_nanousd or 0) <= (held.held_nanousd or 0)
