"""One real `weighbridge serve` before one provider that speaks every dialect, for all contract tests of a module."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.app.serving import CLIENT_KEY, serving
from tests.contracts.speakers import DIALECTS, Dialect
from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import until
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.reader import read
from weighbridge.records.exchange import Exchange
from weighbridge.store.layout import Layout

PRICE = '{ input = "1", output = "10", cache_read = "0.1", cache_write = "1.25", reasoning = "20" }'
NANO = {"input": 1000, "output": 10_000, "cache_read": 100, "cache_write": 1250, "reasoning": 20_000}
"""Nano-dollars for one token."""


REASONING_HOSTS = {"deepseek": "deepseek", "moonshot": "moonshotai", "minimax": "minimax"}
"""Hosts of the chat dialect that want their reasoning back on turns with tools; their ids in the price book."""


def contract_config(url: str) -> str:
    """A route `to-DIALECT` for each dialect, all before the provider at `url`."""
    parts = [
        '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n',
        '[capture]\nbodies = true\npurpose = "tests"\napproved_by = "tests"\nredact = []\n',
        '[[key]]\nname = "tests"\nsecret = "env:CONTRACT_KEY"\n'
        '[[key]]\nname = "one"\nsecret = "env:ONE_KEY"\nroutes = ["to-openai"]\n',
    ]
    for dialect in DIALECTS:
        parts.append(
            f'[[endpoint]]\nname = "at-{dialect}"\ndialect = "{dialect}"\nbase_url = "{url}"\n'
            'api_key = "env:UPSTREAM_KEY"\n'
            f'[[arm]]\nname = "{dialect}"\nendpoint = "at-{dialect}"\nmodel = "m-{dialect}"\nprice = {PRICE}\n'
            f'[[route]]\nname = "to-{dialect}"\nincumbent = "{dialect}"\n'
        )
    for name, provider in (*REASONING_HOSTS.items(), ("qwen", "qwen")):
        parts.append(
            f'[[endpoint]]\nname = "at-{name}"\nbase_url = "{url}"\napi_key = "env:UPSTREAM_KEY"\n'
            f'provider = "{provider}"\n'
            f'[[arm]]\nname = "{name}"\nendpoint = "at-{name}"\nmodel = "m-{name}"\nprice = {PRICE}\n'
            f'[[route]]\nname = "to-{name}"\nincumbent = "{name}"\n'
        )
    return "\n".join(parts)


class Stage(NamedTuple):
    provider: FakeProvider
    listen: str
    layout: Layout

    def script(self, dialect: Dialect, script: Script) -> None:
        self.provider.answers[f"m-{dialect}"] = script
        self.provider.bill.clear()
        self.provider.seen.clear()

    def exchange(self, identity: str) -> Exchange:
        """What the log says of it, once it has ended."""
        return self.find(lambda row: row.id == identity)

    def rows(self) -> list[Exchange]:
        return list(read(self.layout))

    def last(self) -> Exchange:
        """The youngest one that has ended."""
        return max(until(self.rows, bool), key=lambda row: row.time_ns)

    def find(self, good: Callable[[Exchange], bool]) -> Exchange:
        def look() -> Exchange | None:
            return next((row for row in read(self.layout) if good(row)), None)

        found = until(look, lambda row: row is not None)
        assert found is not None
        return found

    def body(self, exchange: Exchange, *, response: bool = True) -> bytes:
        reader = BodyReader(self.layout, master_key(self.layout, None))
        found = reader.get(exchange.response if response else exchange.request)
        assert isinstance(found, bytes)
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("stage")
    with FakeProvider() as provider:
        file = folder / "weighbridge.toml"
        file.write_text(contract_config(provider.url))
        secrets = {"CONTRACT_KEY": CLIENT_KEY, "ONE_KEY": "one-route-only", "UPSTREAM_KEY": "upstream-secret"}
        with serving(file, secrets) as serve:
            yield Stage(provider, serve.ready().listen, Layout(folder / "weighbridge-data"))
