"""May a model be trained on this exchange? Of the answer in it, and of the earlier answers that its request repeats.

A request with earlier turns of a model holds answers that came under terms of their own: those of whoever answered
before in the same conversation. Where the log does not know them (few-shot examples, a conversation that began
elsewhere) nobody can say whose they are, so the row is `unclear`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from weighbridge.config import Loaded
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.provenance import Provenance, provenance
from weighbridge.licenses.rules import rank, strictest
from weighbridge.records.exchange import Exchange

NOT_CLEARANCE = (
    "An export is not legal clearance: it follows recorded facts about terms, not the texts themselves, and says "
    "nothing about personal data, secrets or other people's rights in the prompts. Counsel confirms."
)


class _Source(NamedTuple):
    """Who answered, as the log has it."""

    arm: str
    endpoint: str
    model: str


class _Turn(msgspec.Struct, frozen=True):
    role: str | None = None


class _Request(msgspec.Struct, frozen=True):
    """The lists in which the dialects carry a conversation."""

    messages: tuple[_Turn, ...] = ()
    input: tuple[_Turn, ...] | str = ()
    contents: tuple[_Turn, ...] = ()


class Rights:
    """Judges exchanges, each for the day on which it was made. `earlier` first sees the user's part of the log."""

    def __init__(self, loaded: Loaded, profile: Profile) -> None:
        self._loaded, self._profile = loaded, profile
        self._answered: dict[str, dict[_Source, int]] = {}
        """Conversation -> who answered in it, and when first (nanoseconds)."""
        self._known: dict[tuple[_Source, str], Provenance] = {}

    def earlier(self, log: Iterable[Exchange]) -> None:
        """Note who answered in which conversation."""
        for exchange in log:
            source = _source(exchange)
            if source is not None and exchange.purpose == "user":
                seen = self._answered.setdefault(exchange.conversation, {})
                seen[source] = min(seen.get(source, exchange.time_ns), exchange.time_ns)

    def of(self, exchange: Exchange, request: bytes | None) -> Provenance:
        """`request`: the captured body, `None` where there is none."""
        day = datetime.fromtimestamp(exchange.time_ns // 1_000_000_000, UTC).date().isoformat()
        source = _source(exchange)
        if source is None:
            return _unclear(day, "no model answered this exchange")
        rows = [self._judged(source, day)]
        if request is not None and _repeats_answers(request):
            before = [
                one
                for one, first_ns in self._answered.get(exchange.conversation, {}).items()
                if first_ns < exchange.time_ns
            ]
            rows += [self._judged(one, day) for one in before if one != source]
            if not before:
                rows.append(
                    _unclear(day, "the request holds earlier answers, and the log does not know whose they are")
                )
        return rows[0] if len(rows) == 1 else _together(rows, day)

    def _judged(self, source: _Source, day: str) -> Provenance:
        known = self._known.get((source, day))
        if known is None:
            known = self._known[source, day] = self._judge(source, day)
        return known

    def _judge(self, source: _Source, day: str) -> Provenance:
        config = self._loaded.config
        arm = next((row for row in config.arm if row.name == source.arm), None)
        endpoint = next((row for row in config.endpoint if row.name == source.endpoint), None)
        if arm is None or arm.model != source.model or arm.endpoint != source.endpoint or endpoint is None:
            return _unclear(
                day,
                f"arm {source.arm!r} called {source.model} at {source.endpoint!r} then, and the configuration does not "
                "have it like that any more; its terms are not known",
            )
        return provenance(arm, endpoint.provider, day, self._profile)


def _source(exchange: Exchange) -> _Source | None:
    """Who gave the answer that the client got: the last attempt of the arm that the exchange ended with."""
    for attempt in reversed(exchange.attempts):
        if exchange.arm in (None, attempt.arm) and (attempt.status is None or attempt.status < 400):
            return _Source(attempt.arm, attempt.endpoint, attempt.model)
    return None


def _repeats_answers(request: bytes) -> bool:
    try:
        body = msgspec.json.decode(request, type=_Request)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return True  # nobody can say what it holds
    turns = (*body.messages, *(() if isinstance(body.input, str) else body.input), *body.contents)
    return any(turn.role in ("assistant", "model") for turn in turns)


def _unclear(day: str, why: str) -> Provenance:
    return Provenance(terms=(), training="unclear", reasons=(f"{why}.",), on=day)


def _together(rows: list[Provenance], day: str) -> Provenance:
    ordered = sorted(rows, key=lambda row: -rank(row.training))
    return Provenance(
        terms=tuple(dict.fromkeys(name for row in rows for name in row.terms)),
        training=strictest(row.training for row in rows),
        reasons=tuple(dict.fromkeys(reason for row in ordered for reason in row.reasons)),
        on=day,
    )
