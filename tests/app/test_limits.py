"""Limits over two real workers: what a key may ask per minute, and what an endpoint gets at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.app.serving import ask, serving, write_config
from tests.fakes.provider import FakeProvider, Script


def config(tmp_path: Path, provider: FakeProvider, *, key: str = "", endpoint: str = "") -> Path:
    made = write_config(tmp_path, provider.url)
    text = made.read_text().replace("[server]", "[server]\nworkers = 2")
    text = text.replace('name = "provider"\n', f'name = "provider"\n{endpoint}\n')
    made.write_text(text.replace('name = "app"\n', f'name = "app"\n{key}\n'))
    return made


def statuses(listen: str, count: int) -> Counter[int]:
    with ThreadPoolExecutor(20) as threads:
        return Counter(answer.status for answer in threads.map(lambda _: ask(listen), range(count)))


def test_a_keys_requests_per_minute_hold_over_both_workers(tmp_path: Path) -> None:
    with FakeProvider() as provider, serving(config(tmp_path, provider, key="requests_per_minute = 30")) as served:
        seen = statuses(served.listen, 100)
        # What is refilled while a hundred requests come in is a second's worth or two.
        assert 30 <= seen[200] <= 40
        assert 100 == seen[200] + seen[429]
        assert seen[200] == len(provider.bill)


def test_an_endpoint_gets_no_more_at_once_than_its_limit_from_both_workers(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(delay_s=0.05)
        with serving(config(tmp_path, provider, endpoint="concurrency_max = 3")) as served:
            assert Counter({200: 60}) == statuses(served.listen, 60)
            assert provider.connections <= 3
            assert 0 == served.metric("weighbridge_endpoint_open")
            assert served.metric("weighbridge_queue_waits_total") > 0
