"""Promise 2: a hard cap is hard, over all clients, workers and restarts. With real processes on real sockets."""

import asyncio
import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.app.serving import CLIENT_KEY, ask, serving, write_config
from tests.fakes import postgres
from tests.fakes.provider import FakeProvider, Script
from weighbridge.exchanges.reader import read
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.postgres import PostgresSql

CLIENTS = 500
FITS = 37
BODY = json.dumps(
    {"model": "assistant", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 16}, separators=(",", ":")
).encode()


async def _client(host: str, port: int, barrier: asyncio.Barrier, wait: asyncio.Event) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {CLIENT_KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        await barrier.wait()
        writer.write(head.encode() + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        fields = answer.decode("latin-1").lower()
        length = int(fields.partition("content-length: ")[2].partition("\r\n")[0])
        return int(answer.split(b" ")[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()


def at_once(listens: list[str], clients: int = CLIENTS) -> list[tuple[int, dict[str, Any]]]:
    """Requests that leave together, spread over the gateways; (status, body) of each."""

    async def run() -> list[tuple[int, dict[str, Any]]]:
        barrier, wait = asyncio.Barrier(clients), asyncio.Event()
        places = [listen.rpartition(":") for listen in listens]
        tasks = [
            _client(places[number % len(places)][0], int(places[number % len(places)][2]), barrier, wait)
            for number in range(clients)
        ]
        return await asyncio.wait_for(asyncio.gather(*tasks), 120)

    return asyncio.run(run())


def configured(folder: Path, url: str, more: str, *, workers: int = 1, key: str = 'budget = "support"') -> Path:
    file = write_config(folder, url)
    text = file.read_text().replace("[server]\n", f"[server]\nworkers = {workers}\n")
    file.write_text(f"{text}{key}\n{more}")
    return file


def budget(name: str, limit_nanousd: int, **more: object) -> str:
    lines = ["[[budget]]", f'name = "{name}"', f'limit_usd = "{limit_nanousd / 1e9:.9f}"', "hard = true"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> int:
    """What one of these requests is held at, as the gateway itself says in its log."""
    with FakeProvider() as provider:
        file = write_config(tmp_path_factory.mktemp("probe"), provider.url)
        with serving(file) as served:
            assert [200] == [status for status, _ in at_once([served.listen], 1)]
            served.end()
            (exchange,) = read(served.layout)
    assert exchange.held_nanousd is not None
    return exchange.held_nanousd


@pytest.mark.promise(2)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_of_500_at_once_exactly_the_37_that_fit_are_let_in(tmp_path: Path, workers: int, bound: int) -> None:
    limit = FITS * bound + bound - 1
    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(delay_s=4.0)
        budgets = budget("company", 10 * limit) + budget("support", limit, parent="company")
        file = configured(tmp_path, provider.url, budgets, workers=workers)
        with serving(file) as served:
            answers = at_once([served.listen])
            served.end()
        assert {200: FITS, 429: CLIENTS - FITS} == Counter(status for status, _ in answers)
        assert FITS == len(provider.seen)
    refused = next(body["error"] for status, body in answers if status == 429)
    assert "budget_exceeded" == refused["code"]
    assert "budget 'support' does not cover this request" in refused["message"]
    assert "it starts anew at " in refused["message"]
    held = [one.held_nanousd or 0 for one in read(served.layout) if one.outcome == "ok"]
    assert (FITS, True) == (len(held), sum(held) <= limit)


@pytest.mark.promise(2)
def test_two_gateways_on_one_postgresql_share_a_cap_exactly(tmp_path: Path, bound: int) -> None:
    limit = FITS * bound + bound - 1
    with postgres.server() as server, FakeProvider() as provider, ExitStack() as running:
        provider.answers["model-a"] = Script(delay_s=4.0)
        url = postgres.database(server)
        budgets = budget("company", 10 * limit) + budget("support", limit, parent="company")
        gateways = []
        for name in ("one", "two"):
            file = configured(tmp_path / name, provider.url, budgets, workers=2)
            (file.parent / "ledger.url").write_text(url)
            file.write_text(file.read_text() + '[store]\nurl = "file:ledger.url"\n')
            gateways.append(running.enter_context(serving(file)))
        answers = at_once([one.listen for one in gateways])
        for one in gateways:
            assert one.end() == 0
        assert {200: FITS, 429: CLIENTS - FITS} == Counter(status for status, _ in answers)
        assert FITS == len(provider.seen)
        store = LedgerStore(PostgresSql(url, "audit"))
        assert [] == store.leases()
        for window in store.windows():
            assert window.posted_nanousd == window.used_nanousd <= limit
            assert FITS == window.requests
        store.close()


def test_what_one_gateway_holds_idle_can_be_spent_by_the_other(tmp_path: Path, bound: int) -> None:
    """A large cap is leased ahead; the last of it must still be found by whoever needs it."""
    limit = 500 * bound
    with postgres.server() as server, FakeProvider() as provider, ExitStack() as running:
        url = postgres.database(server)
        gateways = []
        for name in ("one", "two"):
            file = configured(tmp_path / name, provider.url, budget("support", limit))
            (file.parent / "ledger.url").write_text(url)
            file.write_text(file.read_text() + '[store]\nurl = "file:ledger.url"\n')
            gateways.append(running.enter_context(serving(file)))
        assert [200] == [status for status, _ in at_once([gateways[0].listen], 1)]  # leases ten holds ahead
        provider.answers["model-a"] = Script(delay_s=4.0)
        answers = at_once([gateways[1].listen], 500)
        assert 499 <= Counter(status for status, _ in answers)[200] <= 500


def test_what_was_held_and_not_used_can_be_spent_by_any_worker(tmp_path: Path, bound: int) -> None:
    """One after the other, so nearly the whole cap is spent before anything is refused, whichever worker is asked."""
    with FakeProvider() as provider:
        file = configured(tmp_path, provider.url, budget("support", 3 * bound), workers=4)
        with serving(file) as served:
            statuses = [at_once([served.listen], 1)[0][0] for _ in range(60)]
            served.end()
        costs = [one.cost_nanousd or 0 for one in read(served.layout) if one.outcome == "ok"]
    assert 200 in statuses
    assert sum(costs) <= 3 * bound
    if 429 in statuses:
        assert 3 * bound - sum(costs) < bound


@pytest.mark.promise(2)
def test_a_cap_holds_over_a_restart(tmp_path: Path, bound: int) -> None:
    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(usage_style="never")  # so that each is charged all that was held
        file = configured(tmp_path, provider.url, budget("support", 2 * bound))
        with serving(file) as served:
            assert [200] == [status for status, _ in at_once([served.listen], 1)]
            served.end()
        with serving(file) as served:
            assert [200, 429] == [at_once([served.listen], 1)[0][0] for _ in range(2)]
    assert 2 == len(provider.seen)


@pytest.mark.promise(3)
def test_a_model_without_a_price_is_refused_under_a_hard_cap(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = configured(tmp_path, provider.url, budget("support", 10**12))
        file.write_text(file.read_text().replace('price = { input = "1", output = "2" }\n', ""))
        with serving(file) as served:
            answer = ask(served.listen)
    error = json.loads(answer.body)["error"]
    assert (403, "budget_cost_unknown") == (answer.status, error["code"])
    assert "no price is known for arm 'incumbent'" in error["message"]
    assert [] == provider.seen
