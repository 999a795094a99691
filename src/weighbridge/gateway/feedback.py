"""`POST /v1/feedback`: an application tells how a task went, by the id of one of its exchanges.

    {"id": "0193...-1f", "score": 1, "name": "resolved"}

Only the key that asked may tell: of any other exchange, and of one that never was, the answer is the same 404. The
keeper looks the exchange up; the outcome is a `told` frame in this worker's log, and acknowledged when it is written.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from weighbridge.gateway.idempotency import ClaimDesk, Unanswered
from weighbridge.gateway.refusal import Refusal, json_reply
from weighbridge.gateway.slots import share_of
from weighbridge.records.frames import Told
from weighbridge.records.told import problem_of
from weighbridge.store.control import FindExchanges, FoundExchanges, FoundRow

if TYPE_CHECKING:
    from weighbridge.gateway.admit import Caller
    from weighbridge.gateway.client import Client
    from weighbridge.gateway.gateway import Gateway

PATH: Final = b"/v1/feedback"
BODY_BYTES_MAX: Final = 4096
PER_MINUTE: Final = 600
"""Of one key, over all workers of a host."""
WAITING_MAX: Final = 256
BATCH: Final = 64
KEYS_MAX: Final = 10_000
NAME: Final = "feedback"
"""Of an outcome that says no name."""
_MINUTE_NS: Final = 60_000_000_000


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    id: str
    score: bool | float
    name: str = NAME


class Recorded(msgspec.Struct, frozen=True):
    """The answer."""

    id: str
    name: str
    score: float


class _Waiting(NamedTuple):
    client: "Client"
    key: str
    said: Said


_said = msgspec.json.Decoder(Said)


class FeedbackDesk:
    """Of one worker. One look-up is under way at a time, for everything that came meanwhile."""

    def __init__(self, gateway: "Gateway", desk: ClaimDesk, workers: int, index: int) -> None:
        self._gateway, self._desk = gateway, desk
        self._each_ns = _MINUTE_NS // max(1, share_of(PER_MINUTE, workers, index))
        self._full_at: dict[str, int] = {}
        """Key -> when its bucket is full again."""
        self._waiting: list[_Waiting] = []
        self._running = False
        self.outcomes: dict[str, int] = {}

    def take(self, client: "Client", caller: "Caller", body: bytes) -> Refusal | None:
        """`None` where the client is answered later; until then it is `asking`."""
        refusal = self._refusal(caller, body)
        if isinstance(refusal, Refusal):
            self._count(refusal.code)
            return refusal
        client.asking = True
        self._waiting.append(_Waiting(client, caller.key_name, refusal))
        if not self._running:
            self._running = True
            self._desk.start(self._run())
        return None

    def _refusal(self, caller: "Caller", body: bytes) -> Refusal | Said:
        gateway = self._gateway
        if caller.trial is not None:
            return _bad("feedback is told with a client key, not with a trial's token", "not_for_trials", 403)
        if gateway.log.state == "full":
            return gateway.log_refusal()
        if len(self._waiting) >= WAITING_MAX:
            return Refusal(
                status=429, code="feedback_busy", message=f"{WAITING_MAX} outcomes wait already; send it again",
                retry_after_s=1,
            )  # fmt: skip
        wait_ns = self._take(caller.key_name, gateway.mono_ns())
        if wait_ns:
            return Refusal(
                status=429, code="feedback_rate", retry_after_s=-(-wait_ns // 1_000_000_000),
                message=f"a key may tell {PER_MINUTE} outcomes a minute; many at once: `weighbridge outcomes import`",
            )  # fmt: skip
        if len(body) > BODY_BYTES_MAX:
            return _bad(f"an outcome takes no more than {BODY_BYTES_MAX} bytes", "body_too_large", 413)
        try:
            said = _said.decode(body)
        except (msgspec.MsgspecError, ValueError) as error:
            return _bad(
                f'the body must be like {{"id": "<x-weighbridge-id>", "score": 1, "name": "resolved"}}: {error}',
                "invalid_feedback", 400,
            )  # fmt: skip
        problem = problem_of(said.name, float(said.score))
        return said if problem is None else _bad(problem, "invalid_feedback", 400)

    def _take(self, key: str, now_ns: int) -> int:
        """0, or after how many nanoseconds this key may tell again."""
        if len(self._full_at) >= KEYS_MAX:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now_ns}
        after = max(now_ns, self._full_at.get(key, 0)) + self._each_ns
        if after - now_ns > _MINUTE_NS:
            return after - now_ns - _MINUTE_NS
        self._full_at[key] = after
        return 0

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    found = await self._desk.call(FindExchanges(ids=tuple({one.said.id for one in batch})))
                except Unanswered as error:
                    for one in batch:
                        self._refuse(one, Refusal(
                            status=503, code="feedback_unavailable", message=f"{error}; nothing was recorded",
                            retry_after_s=1,
                        ))  # fmt: skip
                    continue
                rows = {row.id: row for row in found.rows} if isinstance(found, FoundExchanges) else {}
                for one in batch:
                    self._decide(one, rows.get(one.said.id))
        finally:
            self._running = False

    def _decide(self, one: _Waiting, row: FoundRow | None) -> None:
        if row is None or row.key != one.key or row.purpose != "user":
            message = f"this key asked nothing with the id {one.said.id[:64]!r}, or the log does not go back so far"
            self._refuse(one, Refusal(status=404, code="exchange_not_found", message=message))
            return
        gateway, score = self._gateway, float(one.said.score)
        gateway.log.append(Told(
            row.id, gateway.wall_ns(), one.key, row.route, row.conversation, row.slice, row.arm, one.said.name, score,
        ))  # fmt: skip
        content = msgspec.json.encode(Recorded(row.id, one.said.name, score))
        gateway.log.when_durable(lambda: self._answer(one, content))

    def _answer(self, one: _Waiting, content: bytes) -> None:
        self._count("recorded")
        keep = not one.client.close_after
        one.client.told(json_reply(200, content, keep=keep, body=True))

    def _refuse(self, one: _Waiting, refusal: Refusal) -> None:
        self._count(refusal.code)
        one.client.asking = False
        one.client.refuse(refusal)

    def _count(self, answer: str) -> None:
        self.outcomes[answer] = self.outcomes.get(answer, 0) + 1


def _bad(message: str, code: str, status: int) -> Refusal:
    return Refusal(status=status, code=code, message=message)
