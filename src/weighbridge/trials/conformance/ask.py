"""Asking a host through the gateway: one request at a time, timed, under a trial token."""

import asyncio
import re
import time
from collections.abc import Sequence

import msgspec

from weighbridge.records.trial import TOKEN_HEADER
from weighbridge.records.usage import MILLION, Price, cost_nanousd
from weighbridge.trials.conformance.heard import Asked, Heard, limits_of, read
from weighbridge.trials.conformance.probes import Probe
from weighbridge.upstream import Broken, Client, Reply, Unreachable
from weighbridge.wire.openai import PATH, read_answer, read_stream

TIMEOUT_S = 120.0
TEMPLATE_TOKENS = 256
"""As the gateway holds it: what a chat template adds."""

_SOMETHING = re.compile(rb'"(?:content|reasoning_content|reasoning|arguments|name)":\s*"[^"]')


def bound_nanousd(asked: Sequence[Asked], price: Price | None) -> int | None:
    """The most that these requests can cost, as the gateway holds it: a token is at least a byte. `None`: no price."""
    if price is None:
        return None
    # At any length: a long prompt may cost a dearer rate.
    prices = (price, *(tier.price for tier in price.tiers))
    dear_in = max(
        rate or 0 for one in prices for rate in (one.input, one.cache_write, one.cache_write_1h, one.cache_read)
    )
    dear_out = max(rate or 0 for one in prices for rate in (one.output, one.reasoning))
    return sum(
        -(-((len(each.body) + TEMPLATE_TOKENS) * dear_in + each.max_tokens * dear_out) // MILLION)
        + price.per_request_nanousd
        for each in asked
    )


class Asker:
    """Use as an async context manager. `spent_nanousd`: what is known to be spent; `unpriced`: requests beside it."""

    def __init__(self, base_url: str, token: str, price: Price | None) -> None:
        self._client = Client(base_url, connections_max=4)
        self._headers = [(b"content-type", b"application/json"), (TOKEN_HEADER.encode(), token.encode())]
        self._price = price
        self.spent_nanousd = self.unpriced = 0
        self.heard: list[Heard] = []

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def probe(self, probe: Probe) -> list[Heard]:
        found: list[Heard] = []
        for asked in probe.asked:
            found.append(await self.ask(asked))
            if probe.until_failure and not found[-1].ok:
                break
        return found

    async def ask(self, asked: Asked) -> Heard:
        heard = await self._ask(asked)
        cost = self._cost(heard)
        if cost is None:
            self.unpriced += 1
        else:
            self.spent_nanousd += cost
        heard = msgspec.structs.replace(heard, cost_nanousd=cost)
        self.heard.append(heard)
        return heard

    async def _ask(self, asked: Asked) -> Heard:
        began = time.perf_counter()
        pieces: list[bytes] = []
        first: list[float] = []
        something = asyncio.Event()

        def on_piece(piece: bytes) -> None:
            pieces.append(piece)
            if not first and _SOMETHING.search(piece):
                first.append(time.perf_counter() - began)
                something.set()

        call = asyncio.ensure_future(
            self._client.post(PATH, self._headers, asked.body, TIMEOUT_S, on_piece=on_piece if asked.stream else None)
        )
        try:
            if asked.cancel:
                waiting = asyncio.ensure_future(something.wait())
                await asyncio.wait((call, waiting), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if not call.done():
                    call.cancel()
                    await asyncio.wait((call,))
                    return Heard(
                        asked=asked, status=200, body=b"".join(pieces), problem="left on purpose", first_s=first[0],
                        total_s=time.perf_counter() - began,
                    )  # fmt: skip
            reply = await call
        except Unreachable as error:
            return Heard(asked=asked, status=0, problem=f"the gateway cannot be reached: {error}")
        except Broken as error:
            return Heard(asked=asked, status=0, problem=f"the answer broke off: {error}")
        except TimeoutError:
            return Heard(asked=asked, status=0, problem=f"no answer within {TIMEOUT_S:g} s")
        finally:
            if not call.done():
                call.cancel()
        return self._heard(asked, reply, first[0] if first else None, time.perf_counter() - began)

    @staticmethod
    def _heard(asked: Asked, reply: Reply, first_s: float | None, total_s: float) -> Heard:
        said, problem, code = read(asked, reply.status, reply.body)
        exchange = reply.header(b"x-weighbridge-id")
        cost = reply.header(b"x-weighbridge-cost-nanousd")
        return Heard(
            asked=asked,
            status=reply.status,
            body=reply.body,
            said=said,
            problem=problem,
            code=code,
            exchange=None if exchange is None else exchange.decode(),
            cost_nanousd=int(cost) if cost is not None and cost.isdigit() else None,
            first_s=first_s,
            total_s=total_s,
            limits=limits_of(reply.headers),
        )

    def _cost(self, heard: Heard) -> int | None:
        """As the gateway said; a stream's from its usage; what was left or broke off is not known."""
        if heard.cost_nanousd is not None:
            return heard.cost_nanousd
        if 400 <= heard.status < 500:
            return 0
        if self._price is None or not heard.ok:
            return None
        facts = read_stream(heard.body) if heard.asked.stream else read_answer(heard.body)
        return None if facts.usage is None else cost_nanousd(facts.usage, self._price)
