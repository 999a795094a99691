"""What was asked before is not paid again: answers of earlier calls, out of the log, in place of new ones.

An answer is known by what was asked (the item, or a judge's question about it) and who was asked: earlier calls of the
same trial, which an interruption left unwritten, and replays of the same items to the same arm by earlier trials. The
log is the only copy, so erasing a body takes its answer away here, too.
"""

from collections.abc import Awaitable, Callable, Iterable

from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.trials.calls import Sent


class Recall:
    """Answers of earlier calls by key."""

    def __init__(self, body: Callable[[BodyRef], BodyState]) -> None:
        self._body = body
        self._known: dict[tuple[str, str], Exchange] = {}
        self.used: dict[str, Exchange] = {}
        """Exchanges that stood in for a call, by id."""

    def learn(self, exchanges: Iterable[Exchange]) -> None:
        """Later ones stand in for earlier ones."""
        for exchange in exchanges:
            if exchange.outcome == "ok" and exchange.item is not None and exchange.arm is not None:
                self._known[exchange.arm, exchange.item] = exchange

    def __len__(self) -> int:
        return len(self._known)

    def find(self, arm: str, key: str) -> Sent | None:
        """The captured answer; `None` where there is none, or not any more."""
        exchange = self._known.get((arm, key))
        if exchange is None or exchange.response is None:
            return None
        body = self._body(exchange.response)
        if not isinstance(body, bytes):
            return None
        self.used[exchange.id] = exchange
        return Sent(status=200, body=body, exchange=exchange.id, cost_nanousd=0)

    async def ask(self, arm: str, key: str, call: Callable[[], Awaitable[Sent]]) -> Sent:
        """The known answer, else that of the call."""
        return self.find(arm, key) or await call()
