"""What an attempt whose answer was cut may have cost at most: less than all that was held, where something is known.

Nobody says what a cut stream used, so it is booked at an upper bound, marked as estimated, never below the bill. All
that was held is such a bound, and a wide one: a token for each byte of the prompt, and the whole limit of the answer.
Two things can make it narrower, each on its own:

- *input*, where the stream said its usage before it was cut (messages do, in their first event): these tokens are
  final, unless the provider runs tools of its own, which add to them
- *output*, where the provider stops billing when it is left (`cancel_stops_billing`), and the model shows all that it
  writes (open weights: a closed one may think for thousands of tokens that no stream shows). A token is at least a byte
  of text, and `UNDER_WAY_TOKENS` may have been written that never came here. Not where the client had stalled: the
  provider may have written on into buffers; and not for a stream that fell silent.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from weighbridge.gateway.lane import TEMPLATE_TOKENS
from weighbridge.records.frames import Outcome
from weighbridge.records.usage import MILLION, Price, cost_nanousd
from weighbridge.wire.chat import AnswerFacts
from weighbridge.wire.said import text_bytes

if TYPE_CHECKING:
    from weighbridge.gateway.exchange import Exchange

UNDER_WAY_TOKENS: Final = 512
"""Written between the last byte that came here and the provider's stop: two seconds of a fast host."""


def cut_nanousd(
    exchange: "Exchange", outcome: Outcome, facts: AnswerFacts, body: bytes, held: int | None
) -> int | None:
    """At most so much, nano-dollars; `held` is what was held for this attempt. `None`: it has no price.

    `body`: the bytes of the stream until it was cut, empty where it had not begun.
    """
    lane = exchange.lane
    price = lane.priced(exchange.wall_ns)[0]
    sent = exchange.sent_bytes
    if held is None or price is None or not sent or lane.bound_asked is not None or lane.later is not None:
        return held
    tokens_in = sent + TEMPLATE_TOKENS
    past = price.input_tokens_max is not None and tokens_in > price.input_tokens_max
    dear_in, dear_out = lane.bound_long if past else (lane.bound_input, lane.bound_output)
    given = tokens_in * dear_in // MILLION
    made = held - given - price.per_request_nanousd
    if made < 0:
        return held  # another attempt's hold: nothing can be taken apart
    stated = _input_cost(facts, price)
    if stated is not None:
        given = min(given, stated - price.per_request_nanousd)
    client = exchange.client
    stalled = exchange.stalled or (client is not None and client.paused)
    if outcome != "timeout" and lane.shows_all and not stalled:
        written = _written(exchange, body)
        if written is not None:
            made = min(made, -(-(written + UNDER_WAY_TOKENS) * dear_out // MILLION))
    return min(held, given + made + price.per_request_nanousd + 1)


def _input_cost(facts: AnswerFacts, price: Price) -> int | None:
    """Of what the stream has said to have read; the fee of the request included."""
    usage = facts.usage
    if usage is None or not facts.partial or facts.grows or not usage.input_total or usage.web_searches:
        return None
    return cost_nanousd(msgspec.structs.replace(usage, output=0, reasoning=0, audio_output=0, image_output=0), price)


def _written(exchange: "Exchange", body: bytes) -> int | None:
    """At most so many tokens have come; `None` where not all of the stream is here."""
    if len(body) < exchange.response_bytes or not body:
        return None
    return text_bytes(body)
