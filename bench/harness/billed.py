"""A provider as a process that can be killed: what it charged is in a file before the first byte of an answer.

    python -m bench.harness.billed PORT FILE

A row of the file is one charge: whose request it was (the `user` of whichever dialect) and how many tokens of each
class. `SCRIPTS` says how each model behaves.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes.provider import Charge, FakeProvider, Script, Tokens

NANO = {"input": 1000, "output": 10_000, "cache_read": 100, "cache_write": 1250, "reasoning": 20_000}
"""Nano-dollars for one token of each class: the price that the gateway is told."""

SCRIPTS: dict[str, Script] = {
    "plain": Script(text="Rain in Bonn, sun in Rome. " * 8, cache_read=40, cache_write=8),
    "slow": Script(text="word " * 60, chunk_delay_s=0.02, cache_read=12),
    "tools": Script(
        tool_calls=(("weather", '{"city": "Bonn"}'), ("weather", '{"city": "Rome"}')), text_with_calls=True
    ),
    "thinking": Script(text="Rain.", reasoning="Two cities to look at, one after the other.", reasoned=30),
    "length": Script(text="and so on " * 20, finish="length"),
    "busy": Script(status=429, headers=(("retry-after", "1"),)),
    "failing": Script(status=503),
    "breaking": Script(text="word " * 60, cut_after=900),
    "erring": Script(error_event={"type": "overloaded_error", "code": "server_error", "message": "too busy to go on"}),
}


class Billed(msgspec.Struct, frozen=True):
    user: str
    tokens: dict[str, int]

    @property
    def nanousd(self) -> int:
        return sum(NANO[name] * count for name, count in self.tokens.items())


class Billing(FakeProvider):
    """Charges are written down at once, unbuffered: a killed process has written all that it has charged."""

    def __init__(self, port: int, file: Path) -> None:
        super().__init__(port=port)
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for place in ("openai", "anthropic", "openai-responses"):
            self.answers |= {f"{name}-{place}": script for name, script in SCRIPTS.items()}

    def _charge(self, request: dict[str, Any], tokens: Tokens, *, stream: bool) -> Charge:
        user = request.get("user") or (request.get("metadata") or {}).get("user_id") or ""
        os.write(self._file, msgspec.json.encode(Billed(user, tokens._asdict())) + b"\n")
        charge = super()._charge(request, tokens, stream=stream)
        self.bill.clear()  # hours of them would be this process's own leak
        self.seen.clear()
        return charge


def bill(file: Path) -> list[Billed]:
    decode = msgspec.json.Decoder(Billed).decode
    return [decode(line) for line in file.read_bytes().splitlines()]


def main() -> None:
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    with Billing(port, file) as provider:
        print(provider.port, flush=True)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        stop.wait()


if __name__ == "__main__":
    main()
