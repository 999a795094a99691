"""Replays through the gateway: the captured bytes, unchanged, with a signed token that forces the arm."""

import time
from types import TracebackType
from typing import Self

import msgspec

from weighbridge.records.trial import ITEM_HEADER, TOKEN_HEADER, TrialPurpose
from weighbridge.store.control import ControlClient, IssueToken, TokenText
from weighbridge.trials.calls import NOT_CARRIED, BodyGone, Lost, NotSent, Sent
from weighbridge.trials.frame import Item
from weighbridge.trials.log import TrialLog
from weighbridge.trials.machines import Machines, Poster
from weighbridge.trials.money import Purse
from weighbridge.trials.plan import TrialPlan
from weighbridge.upstream import Broken, Reply, Unreachable
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import PATHS

TAG_HEADER = b"x-weighbridge-tag"
ERROR_HEADER = b"x-weighbridge-error"
TOKEN_S = 6 * 3600
TOKEN_RENEW_S = TOKEN_S - 1800


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The way that a trial's requests take to the gateway."""

    base_url: str
    control: ControlClient
    concurrency: int
    timeout_s: float
    machines: Machines
    """From which the requests are sent."""


class GatewaySend:
    """A `calls.Send` over one gateway. Use as an async context manager."""

    def __init__(
        self,
        line: Line,
        log: TrialLog,
        plan: TrialPlan,
        purse: Purse,
        arm: str | None = None,
        purpose: TrialPurpose = "trial",
    ) -> None:
        """arm: the candidate of the plan, or with purpose `judge` one of the route's judges."""
        self._arm, self._purpose = arm or plan.settings.candidate, purpose
        self._line, self._log, self._plan, self._purse = line, log, plan, purse
        self._poster: Poster | None = None
        self._token, self._token_at = b"", 0.0

    async def __aenter__(self) -> Self:
        self._poster = self._line.machines.poster(self._line.base_url, self._line.concurrency + 1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._poster is not None:
            await self._poster.aclose()

    async def __call__(self, item: Item) -> Sent:
        body = self._log.body(item.request)
        if not isinstance(body, bytes):
            raise BodyGone(item.id)
        return await self.ask(item.id, body, item.tags, item.asked)

    async def ask(
        self, key: str, body: bytes, tags: tuple[tuple[str, str], ...] = (), dialect: Dialect = "openai"
    ) -> Sent:
        """One request under the token. `key` is how the log names it: the item, or a judge's question about it."""
        reply = await self._post(key, body, tags, dialect)
        if _text(reply, ERROR_HEADER) == "invalid_trial_token" and self._renew_due(after_s=1.0):
            # It ran out while this replay waited its turn, or the keeper has a new key.
            reply = await self._post(key, body, tags, dialect)
        error = _text(reply, ERROR_HEADER)
        return Sent(
            status=reply.status,
            body=reply.body,
            # What no dialect of the arm has a place for is refused before it is an exchange: the log has no row of it.
            exchange=None if error == NOT_CARRIED else _text(reply, b"x-weighbridge-id"),
            cost_nanousd=_cost(reply),
            retry_after=_text(reply, b"retry-after"),
            error=error,
        )

    async def _post(self, key: str, body: bytes, tags: tuple[tuple[str, str], ...], dialect: Dialect) -> Reply:
        assert self._poster is not None  # noqa: S101 (the context manager made it)
        self._renew_due(after_s=TOKEN_RENEW_S)
        headers = [
            (b"content-type", b"application/json"),
            (TOKEN_HEADER.encode(), self._token),
            (ITEM_HEADER.encode(), key.encode()),
            # Tags choose nothing but the slice that the replay is logged under.
            (TAG_HEADER, ",".join(f"{name}={value}" for name, value in tags).encode("latin-1", "replace")),
        ]
        try:
            return await self._poster.post(PATHS[dialect], headers, body, self._line.timeout_s)
        except Unreachable as error:
            raise NotSent(f"the gateway cannot be reached: {error}") from None
        except Broken as error:
            raise Lost(f"the gateway's answer broke off: {error}") from None

    def _renew_due(self, after_s: float) -> bool:
        """Get a token if the one in hand is older than this. Its budget is what the cap leaves now."""
        if self._token and time.monotonic() - self._token_at < after_s:
            return False
        settings = self._plan.settings
        asked = IssueToken(
            trial=self._plan.trial,
            route=settings.route,
            arm=self._arm,
            purpose=self._purpose,
            budget_nanousd=self._purse.left_nanousd,
            ttl_s=TOKEN_S,
        )
        # A short blocking call on a local socket, every few hours.
        self._token = self._line.control.call(asked, TokenText).text.encode()
        self._token_at = time.monotonic()
        return True


def _text(reply: Reply, name: bytes) -> str | None:
    value = reply.header(name)
    return None if value is None else value.decode("ascii", "replace")


def _cost(reply: Reply) -> int | None:
    """What the gateway says this replay cost; an error status without a cost was not billed."""
    text = _text(reply, b"x-weighbridge-cost-nanousd")
    if text is not None and text.isdigit():
        return int(text)
    return None if reply.status == 200 else 0
