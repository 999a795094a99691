"""An arm that asks an open model first, and a closed one when a cheap check of the answer fails.

To everybody else it is one arm: both attempts carry its name, both are held and posted, its cost is what both cost.
Some requests go straight to the second: long ones, listed slices. An answer that is streamed is not checked: its first
byte is gone before anything could be. Checks are pure and use the standard library only.
"""

from typing import TYPE_CHECKING

import msgspec

from weighbridge.gateway.outgoing import bound_of
from weighbridge.grading.answers import Answer, answer_of
from weighbridge.grading.asked import asked_of, calls_fit
from weighbridge.grading.checks import labels_in, number_of
from weighbridge.grading.shape import fits
from weighbridge.records.table import Escalate

if TYPE_CHECKING:
    from weighbridge.gateway.doors import Door
    from weighbridge.gateway.lane import Lane
    from weighbridge.wire.chat import ChatRequest


class Escalation:
    """What a lane does with its answers, and with requests that it does not even try."""

    __slots__ = ("_terms", "then")

    def __init__(self, terms: Escalate, then: "Lane") -> None:
        self._terms, self.then = terms, then

    def straight(self, request: "ChatRequest", slice_name: str) -> bool:
        """Is this request one for the second model right away?"""
        terms = self._terms
        if terms.above_bytes is not None and len(request.raw.body) > terms.above_bytes:
            return True
        return slice_name in terms.slices or (request.stream and terms.streams == "straight")

    def held(self, first: int | None, door: "Door", request: "ChatRequest") -> int | None:
        """What both calls may cost: there must be room for the second when the first has failed its check."""
        second = bound_of(self.then, door, request.raw.body, request)
        return None if first is None or second is None else first + second

    def why(self, request: "ChatRequest", answer: bytes) -> str | None:
        """What is wrong with an answer, as a word of `on`; `None` where nothing is that this arm looks at."""
        try:
            said = answer_of(answer)
            asked = asked_of(request.raw.body)
        except (ValueError, msgspec.MsgspecError):
            return None  # what cannot be read was not checked, and is the client's
        for word in self._terms.on:
            if self._is_wrong(word, said, asked_json=asked.json, schema=asked.schema) or (
                word == "tools" and not calls_fit(asked, said)
            ):
                return word
        return None

    def _is_wrong(self, word: str, said: Answer, *, asked_json: bool, schema: dict[str, object] | None) -> bool:
        match word:
            case "refusal":
                return said.refusal
            case "truncated":
                return said.cut
            case "empty":
                return not said.text.strip() and not said.tool_calls and not said.refusal
            case "schema":
                return asked_json and not said.tool_calls and not _obeys(said.text, schema)
            case "check":
                return not said.tool_calls and not self._passes(said.text)
            case _:
                return False

    def _passes(self, text: str) -> bool:
        """The score of the arm's own check, which is 1 or 0."""
        match self._terms.check:
            case "number":
                return number_of(text) is not None
            case "label":
                return len(labels_in(text, self._terms.labels)) == 1
            case "json":
                return _obeys(text, None)
            case _:
                return True


def _obeys(text: str, schema: dict[str, object] | None) -> bool:
    try:
        value: object = msgspec.json.decode(text.strip().encode(errors="surrogatepass"))
    except (msgspec.MsgspecError, RecursionError):
        return False
    return isinstance(value, dict) if schema is None else fits(value, schema)
