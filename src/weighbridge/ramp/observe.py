"""What went wrong with a request, as far as the log can tell: by itself, then beside others. Pure but for bodies."""

from collections import deque
from collections.abc import Callable, Collection

import msgspec

from weighbridge.grading.answers import answer_of
from weighbridge.grading.asked import asked_of, calls_fit
from weighbridge.ramp.sightings import Look
from weighbridge.ramp.streams import Sight
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import Asked, BodyRef
from weighbridge.records.ramp import Guardrail

RECENT_MAX = 2000
"""Requests of the incumbent whose percentiles the next stage is counted against."""
RECENT_MIN = 200
"""Fewer say nothing about a 90th percentile."""
TURNS_MAX = 200_000
FAILED = ("upstream_error", "upstream_cut", "timeout")
REFUSED = ("content_filter", "refusal", "safety")

ONE_ARMS_OWN: frozenset[Asked] = frozenset(("openai-embeddings", "anthropic-count-tokens", "other"))
"""What no share moves, or no answer of a model comes of."""

Body = Callable[[BodyRef], BodyState]


def first_arm(exchange: Exchange) -> str | None:
    """The arm that the request was assigned to, whichever answered in the end."""
    return min(exchange.attempts, key=lambda one: one.attempt).arm if exchange.attempts else exchange.arm


def _stood_in_at_once(exchange: Exchange) -> bool:
    """Whether already the first attempt was in another arm's place: its endpoint is out, or cannot be asked this."""
    return bool(exchange.attempts) and min(exchange.attempts, key=lambda one: one.attempt).fallback


def look_at(
    exchange: Exchange, incumbent: str, candidate: str, asked_for: Collection[Guardrail], body: Body | None
) -> Look | None:
    """What one request tells; `None` for what says nothing of an arm (refused by us, the client left, lost). `body`:
    needed for `schema` and `tools` alone.

    Only what both arms can be asked is compared: embeddings and the like are the incumbent's alone, whatever its share,
    and would stand in its figures as empty answers. So is what came to it because the candidate could not be asked.
    """
    if exchange.asked in ONE_ARMS_OWN or _stood_in_at_once(exchange):
        return None
    arm = first_arm(exchange)
    if arm not in (incumbent, candidate) or not exchange.attempts:
        return None
    # Another arm stood in: the one that was asked first could not. A second try of the same arm that went well is
    # no failure: a kept connection that was closed is replaced like that, most often where little is asked.
    failed = exchange.outcome in FAILED or exchange.attempts[-1].arm != arm
    if not failed and exchange.outcome != "ok":
        return None
    mine, conversation = arm == candidate, int(exchange.conversation, 16)
    if failed:
        # A failure has no latency, cost or text to be judged by: it is one event, not eight.
        unknown = tuple(name for name in asked_for if name != "errors")
        return Look(conversation, mine, exchange.slice, True, ("errors",), unknown)
    bad: list[Guardrail] = []
    missing: list[Guardrail] = []
    _finish(exchange, bad, missing)
    if "schema" in asked_for or "tools" in asked_for:
        _obedience(exchange, body, bad, missing)
    return Look(conversation, mine, exchange.slice, False, tuple(bad), tuple(missing), _figures(exchange))


def _figures(exchange: Exchange) -> dict[Guardrail, float | None]:
    found: dict[Guardrail, float | None] = {"latency": exchange.duration_ns, "cost": exchange.cost_nanousd}
    if exchange.stream:
        found["first_byte"] = exchange.first_byte_ns
    usage = exchange.usage
    found["tokens"] = None if usage is None else float(usage.output + usage.reasoning)
    return found


class Observer:
    """Keeps what takes more than one request to tell: turns of conversations, and the incumbent's recent figures."""

    def __init__(self) -> None:
        self._turns: dict[tuple[bool, int], int] = {}
        self._recent: dict[Guardrail, deque[float]] = {}

    def learn(self, look: Look) -> None:
        """One of the incumbent that went well: its figures count among the recent ones."""
        if look.candidate or look.failed:
            return
        for name, value in look.figures.items():
            if value is not None:
                self._recent.setdefault(name, deque(maxlen=RECENT_MAX)).append(value)

    def percentiles(self, names: Collection[Guardrail]) -> dict[str, float]:
        """The incumbent's 90th percentiles of these, as far as there is enough of them."""
        found: dict[str, float] = {
            name: sorted(values)[int(0.9 * len(values))]
            for name, values in self._recent.items()
            if name in names and len(values) >= RECENT_MIN
        }
        if "turns" not in names:
            return found
        turns = sorted(count for (candidate, _), count in self._turns.items() if not candidate)
        if len(turns) >= RECENT_MIN:
            found["turns"] = float(turns[int(0.9 * len(turns))])
        return found

    def sight(self, look: Look, above: dict[str, float], *, turns: bool = True) -> Sight:
        """What guardrails are told, held against the incumbent's percentiles. `turns`: did a user see this answer? A
        copy leads no conversation on."""
        bad, unknown = list(look.bad), list(look.unknown)
        if not look.failed:
            figures = dict(look.figures)
            if turns:
                figures["turns"] = float(self._turns.get((look.candidate, look.conversation), 0))
            for name, value in figures.items():
                limit = above.get(name)
                if value is None or limit is None:
                    unknown.append(name)
                elif value > limit:
                    bad.append(name)
        return Sight(look.conversation, look.candidate, look.slice, tuple(bad), tuple(unknown))

    def turn(self, look: Look) -> None:
        """A user's request: its conversation is a turn longer on that arm."""
        key = (look.candidate, look.conversation)
        before = self._turns.get(key, 0)
        if before or len(self._turns) < TURNS_MAX:
            self._turns[key] = before + 1


def _finish(exchange: Exchange, bad: list[Guardrail], unknown: list[Guardrail]) -> None:
    last = exchange.attempts[-1]
    reason, usage = last.finish_reason, last.usage
    if reason is None:
        unknown.append("refusals")
    elif reason in REFUSED:
        bad.append("refusals")
    if reason == "length":
        bad.append("broken")
    elif usage is None:
        unknown.append("broken")
    elif usage.output == 0 and reason not in ("tool_calls", *REFUSED):
        bad.append("broken")


def _obedience(exchange: Exchange, body: Body | None, bad: list[Guardrail], unknown: list[Guardrail]) -> None:
    """Does the answer obey the request's schema, and are its tool calls offered ones, with readable arguments?"""
    if body is None or exchange.request is None or exchange.response is None:
        unknown += ["schema", "tools"]
        return
    request, response = body(exchange.request), body(exchange.response)
    if not isinstance(request, bytes) or not isinstance(response, bytes):
        unknown += ["schema", "tools"]
        return
    try:
        asked, answer = asked_of(request), answer_of(response)
    except (ValueError, msgspec.MsgspecError):
        unknown += ["schema", "tools"]
        return
    if not calls_fit(asked, answer):
        bad.append("tools")
    if asked.json and not answer.tool_calls and not _obeys(answer.text, asked.schema):
        bad.append("schema")


def _obeys(text: str, schema: dict[str, object] | None) -> bool:
    try:
        value = msgspec.json.decode(text.encode())
    except msgspec.MsgspecError:
        return False
    if schema is None:
        return isinstance(value, dict)
    from weighbridge.grading.graders import validator  # here: the validator's library takes a while to load

    try:
        return bool(validator(schema).is_valid(value))
    except (ValueError, RecursionError):
        return True  # a schema that cannot be used says nothing about the answer
