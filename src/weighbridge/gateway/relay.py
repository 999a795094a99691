"""One connection to a provider. It passes the provider's bytes on, one exchange at a time.

`data_received` is the path of every chunk of every stream and stays in one frame. `on_body` is the append of a list, so
that the parser calls no Python for a piece of a body.
"""

import asyncio
import re
from typing import TYPE_CHECKING, cast

import httptools

from weighbridge.gateway.attempts import NOT_OURS_TO_RETRY, REFUSED_US, Failed, again, retry_after_s
from weighbridge.gateway.exchange import Exchange
from weighbridge.gateway.idempotency import Write
from weighbridge.gateway.plan import Failure
from weighbridge.gateway.refusal import STATUS_LINE, Refusal, status_line
from weighbridge.gateway.translated import (
    Follow,
    answer_head,
    broken,
    envelope_of,
    follow_of,
    stream_outcome,
    whole_answer,
)
from weighbridge.records.frames import Outcome
from weighbridge.upstream import Pool
from weighbridge.upstream.ending import ended_on_purpose
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts
from weighbridge.wire.conversation import BadAnswer
from weighbridge.wire.openai import error_event, read_stream
from weighbridge.wire.sse import DONE, EventHold, without_usage

if TYPE_CHECKING:
    from weighbridge.gateway.gateway import Gateway

TAIL_BYTES = 64 << 10
"""What is kept of a stream's end where bodies are not captured: usage, finish reason and errors stand there."""
INTERIM_MAX = 8
"""How many 1xx answers may come before the answer."""
STALE_S_MAX = 1.0
"""A kept connection that breaks later than this after a send broke for another reason than having been idle."""
REDIRECT = (
    "it answered with a redirect (HTTP %d), and prompts go to no other address than the configured one. The operator "
    "must set base_url of this endpoint to the address that answers itself"
)
NOT_LET_IN = (
    "it refused the gateway itself (HTTP %d), not the key of this request. The operator must check api_key of this "
    "endpoint, and what that key may use there"
)

# A literal start lets the search skip from line to line; only the names are compared without case.
_HOP = re.compile(
    rb"\r\n(?i:con(?:nection|tent-length)|t(?:ransfer-encoding|e|railers?)|(?:keep-aliv|upgrad)e|proxy-[^:\r\n]*|alt-svc"
    rb"|set-cookie2?|x-weighbridge-[^:\r\n]*):[^\r\n]*"
)
_EVENT_STREAM = re.compile(rb"\r\n(?i:content-type:[ \t]*text/event-stream)")
_ENCODED = re.compile(rb"\r\n(?i:content-encoding:[ \t]*(?!identity[ \t]*\r\n))")
_FRAMED = re.compile(rb"\r\n(?i:content-length|transfer-encoding):")
_CODING = re.compile(rb"\r\n(?i:transfer-encoding):[ \t]*([^\r\n]*)")


def _nowhere(data: bytes) -> None:
    """Where a stream goes whose client left."""


class Relay(asyncio.Protocol):
    __deletable__ = ["parser", "feed", "on_body"]  # noqa: RUF012 (mypyc reads this list; nothing else does)
    __slots__ = (
        "_parts", "_parts_bytes", "_parts_max", "body", "complete", "ended", "exchange", "feed", "follow", "gateway",
        "head", "head_end", "headed", "hold", "interim", "keep", "lingering", "on_body", "parser", "plain", "pool",
        "racing", "reused", "size", "status", "stream", "strip", "transport", "write",
    )  # fmt: skip

    def __init__(self, gateway: "Gateway", pool: "Pool[Relay]") -> None:
        self.gateway, self.pool = gateway, pool
        self.exchange: Exchange | None = None
        self.follow: Follow | None = None
        """Of a stream that is not passed on byte for byte from chat to chat."""
        self.body: list[bytes] = []
        self.on_body = self.body.append
        self.lingering = self.ended = self.complete = self.headed = self.stream = self.keep = self.reused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpResponseParser(self)
        self.feed = self.parser.feed_data
        self.pool.open += 1
        self.pool.opened += 1

    def send(self, exchange: Exchange, *, reused: bool) -> None:
        self.exchange, self.reused = exchange, reused
        self.head = b""
        self.head_end = self.size = self.interim = 0
        self.headed = self.complete = self.stream = self.racing = False
        self.follow = None
        body = exchange.body
        lane = exchange.lane
        upload = exchange.upload
        if upload is not None:
            head = exchange.head % upload.size
        else:
            head = exchange.head % len(body) if lane.proof is None else lane.proved(lane.proof, exchange.head, body)
        exchange.relay, exchange.sent = self, True
        exchange.sent_ns = self.gateway.mono_ns()
        if len(body) < 65536:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))  # no copy of a large prompt
        if upload is not None:
            upload.send_to(self.transport)

    # --- parser -------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("a second answer to one request")  # ends the parser; `keep` goes with it

    def on_headers_complete(self) -> None:
        self.headed = True
        self.status = self.parser.get_status_code()

    def on_message_complete(self) -> None:
        if self.status < 200:  # 100 and 103 come as messages of their own
            self.headed = False
            self.head = self.head.partition(b"\r\n\r\n")[2]
            self.interim += 1
            if self.interim > INTERIM_MAX:
                raise ValueError("too many interim answers")
        else:
            self.complete = True
            self.keep = self.parser.should_keep_alive()  # true only within this callback
            exchange = self.exchange
            if exchange is not None and exchange.upload is not None and exchange.upload.left:
                self.keep = False  # answered before it had all; the rest goes nowhere

    # --- transport ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:  # noqa: C901 (the path of every chunk: a call costs as much as a branch)
        exchange = self.exchange
        if exchange is None:
            self._unasked(data)
            return
        if not self.headed:
            self.head += data
        try:
            self.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                self.fail("upstream_cut" if self.headed else "upstream_error", "its answer is not valid HTTP")
                return
            self.keep = False  # rubbish after a whole answer: use that, and never this connection again
        exchange.seen_tick = self.gateway.tick
        if not self.stream:
            if not self._started(exchange, data):
                return
            exchange = self.exchange or exchange  # a second attempt has taken the place of the first
        if self.follow is not None:
            self._followed(exchange, self.follow)
            return
        body = self.body
        if body:
            piece = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            self._parts.append(piece)
            self._parts_bytes += len(piece)
            if self._parts_bytes > self._parts_max:
                self._trim(exchange)
            if exchange.first_ns is None:
                exchange.first_ns = self.gateway.mono_ns()
            hold = self.hold
            if hold.open or piece[-2:] != b"\n\n":
                piece = self._whole_events(piece)
            if self.strip and piece.rfind(b'"usage"') >= 0:  # from the end, where it stands
                piece = without_usage(piece)
            if self.complete or piece[-8:] == DONE:
                self._end_stream(exchange, piece)
            elif piece:
                exchange.response_bytes += len(piece)
                if self.plain:
                    self.write(piece)
                else:
                    self.write(b"%x\r\n%b\r\n" % (len(piece), piece))  # framed anew: an error event can always follow
        elif self.complete:
            self._end_stream(exchange, self.hold.flush())

    def _started(self, exchange: Exchange, data: bytes) -> bool:
        """Before a stream: collect. True once the answer is one, with its head on the way to the client."""
        head = self.head
        limits = self.gateway.lanes.limits
        if not self.headed:
            if len(head) > limits.head_bytes_max:
                self.fail("upstream_error", f"the head of its answer is larger than {limits.head_bytes_max} bytes")
            return False
        if not self.head_end:
            self.head_end = end = head.find(b"\r\n\r\n")
            if end > limits.head_bytes_max:
                self.fail("upstream_error", f"the head of its answer is larger than {limits.head_bytes_max} bytes")
                return False
            exchange.upstream_status = self.status
            if self._refused_head(head, end):
                return False
            if exchange.streams and 200 <= self.status < 300 and self.status != 204:  # which has no body to stream
                passing = exchange.door.asked == "other" and not self.complete
                if passing or _EVENT_STREAM.search(head, 0, end + 2):
                    if exchange.race is None:
                        self._begin_stream(exchange)
                        return True
                    self.racing = True
        if self.racing:
            race = exchange.race
            if race is None or race.spoken(self):
                self._begin_stream(exchange if race is None else race.won(self, exchange))
                return True
            return self._bounded(data)
        if self.complete:
            self._whole(exchange)
            return False
        return self._bounded(data)

    def _bounded(self, data: bytes) -> bool:
        """Count what is collected. False, in any case: there is no stream yet."""
        limit = self.gateway.lanes.limits.response_bytes_max
        self.size += len(data)
        if self.size > limit:
            self.fail("upstream_cut", f"its answer is larger than {limit} bytes")
        return False

    def _refused_head(self, head: bytes, end: int) -> bool:
        """Whether it ended with an error of ours: llhttp is lenient with this head, or it is not for clients."""
        status = self.status
        # Most heads have no such line, and looking for the word takes a fifth of what looking for the line takes.
        codings = _CODING.findall(head, 0, end + 2) if b"transfer-" in head.lower() else ()
        if not head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            self.fail("upstream_error", "its answer is not HTTP/1.1")
        elif codings and (len(codings) > 1 or codings[0].rstrip().lower() != b"chunked"):
            self.fail("upstream_error", "the transfer coding of its answer is not exactly 'chunked'")
        elif 300 <= status < 400:
            # A client that followed would send the prompt there itself, past the send gate.
            self.fail("upstream_error", REDIRECT % status, code="upstream_redirect")
        elif status in (401, 403):
            # Passed on, it would read as if the client's key were wrong; and some hosts repeat the key that they got.
            self.fail("upstream_error", NOT_LET_IN % status, code="upstream_auth")
        elif not 200 <= status < 600:
            self.fail("upstream_error", f"the status of its answer is {status}, which HTTP does not have")
        else:
            return False
        return True

    def _client_head(self, exchange: Exchange) -> bytes:
        """The provider's own head lines, those about this connection cut out, ours added."""
        head = self.head
        start = head.index(b"\r\n")
        client = exchange.client
        return b"%b%b\r\n%bx-weighbridge-id: %b\r\nx-weighbridge-attempt: %d\r\n%b" % (
            STATUS_LINE.get(self.status) or status_line(self.status),
            _HOP.sub(b"", head[start : self.head_end]),
            exchange.lane.tag if exchange.tries is None else exchange.tag(),
            exchange.id.encode(),
            exchange.attempt,
            b"connection: close\r\n" if client is not None and client.close_after else b"",
        )

    # --- JSON answers -------------------------------------------------------------------------------------------------

    def _whole(self, exchange: Exchange) -> None:
        body = self.body
        answer = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        exchange.first_ns = self.gateway.mono_ns()
        status = self.status
        if exchange.asked is not None:
            self._whole_translated(exchange, answer)
            return
        good = 200 <= status < 300
        facts = exchange.door.read_answer(answer)
        error = None if good else f"upstream answered {status}"
        if error is not None and exchange.lane.plan is not None and self._again(exchange, facts, error):
            return
        if exchange.race is not None:
            exchange = exchange.race.won(self, exchange)
        head = self._client_head(exchange)
        outcome: Outcome = "ok" if good and facts.error is None else "upstream_error"
        if exchange.lane.escalation is not None and outcome == "ok" and self._escalated(exchange, answer, facts):
            return
        exchange.response_bytes = len(answer)
        cost = exchange.finish(outcome, status, facts, body=answer, error=error)
        known = b"" if cost is None else b"x-weighbridge-cost-nanousd: %d\r\n" % cost
        length = b"" if status == 204 else b"content-length: %d\r\n" % len(answer)
        self._deliver(exchange, b"%b%b%b\r\n%b" % (head, known, length, answer), close=False)
        self._release()

    def _again(self, exchange: Exchange, facts: AnswerFacts, error: str) -> bool:
        """Another attempt in place of this error, where there may be one."""
        status = self.status
        if status != 429 and status < 500:
            return False
        wait_s = retry_after_s(self.head, self.head_end, self.gateway.wall_ns())
        kind: Failure = "limited" if status == 429 else "error"
        if not again(exchange, Failed(kind, "upstream_error", error, wait_s), facts):
            return False
        self.exchange = None
        self._release()
        return True

    def _escalated(self, exchange: Exchange, answer: bytes, facts: AnswerFacts) -> bool:
        """Another model is asked in place of an answer that fails a check of its arm. Where none can be, it stands."""
        escalation, request = exchange.lane.escalation, None if exchange.tries is None else exchange.tries.request
        why = None if escalation is None or request is None else escalation.why(request, answer)
        if why is None or not again(exchange, Failed("escalated", "ok", f"escalated: {why}"), facts):
            return False
        self.exchange = None
        self._release()
        return True

    def _whole_translated(self, exchange: Exchange, answer: bytes) -> None:
        """In the client's dialect, which is also what is captured."""
        asked, client = exchange.asked, exchange.door.dialect
        if asked is None:
            return
        try:
            said = whole_answer(self.status, answer, exchange.lane.dialect, client, asked, envelope_of(exchange))
        except BadAnswer as error:
            self.fail("upstream_error", str(error))
            return
        if said.error is not None and exchange.lane.plan is not None and self._again(exchange, said.facts, said.error):
            return
        if exchange.race is not None:
            exchange = exchange.race.won(self, exchange)
        escalates = exchange.lane.escalation is not None and said.error is None
        if escalates and self._escalated(exchange, said.body, said.facts):
            return
        head = answer_head(exchange, self.head[: self.head_end + 2], said.status, said.kind, said.losses)
        exchange.response_bytes = len(said.body)
        outcome: Outcome = "ok" if said.error is None else "upstream_error"
        cost = exchange.finish(outcome, said.status, said.facts, body=said.body, error=said.error)
        known = b"" if cost is None else b"x-weighbridge-cost-nanousd: %d\r\n" % cost
        length = b"content-length: %d\r\n" % len(said.body)
        self._deliver(exchange, b"%b%b%b\r\n%b" % (head, known, length, said.body), close=False)
        self._release()

    # --- streams ------------------------------------------------------------------------------------------------------

    def _begin_stream(self, exchange: Exchange) -> None:
        self.stream = True
        exchange.sent_bytes, exchange.body = len(exchange.body), b""  # nobody will send it again
        if exchange.tries is not None:
            exchange.tries.request = None
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        client = exchange.client
        limits = self.gateway.lanes.limits
        self.hold = EventHold(limits.stream_buffer_bytes_max // 4)
        self._parts_max = limits.response_bytes_max if exchange.capture else 2 * TAIL_BYTES
        self.strip = exchange.strip and not _ENCODED.search(self.head, 0, self.head_end + 2)
        self.plain = client is not None and client.plain
        self.write: Write = _nowhere if client is None else client.transport.write
        self.follow = follow_of(exchange)
        if exchange.claim is not None:
            self.write = exchange.claim.tee(self.write)
        elif client is None:
            return
        if self.plain and client is not None:
            client.close_after = True
        if exchange.asked is None:
            head = self._client_head(exchange)
        else:
            head = answer_head(exchange, self.head[: self.head_end + 2], self.status, b"text/event-stream", ())
        self.write(head + (b"\r\n" if self.plain else b"transfer-encoding: chunked\r\n\r\n"))
        self.head = self.head[: self.head_end + 4]
        if client is not None and client.paused:
            self.transport.pause_reading()

    def _followed(self, exchange: Exchange, follow: Follow) -> None:
        """Pieces of a stream that something stands in front of. What is captured is what the client gets."""
        body = self.body
        out = b""
        if body:
            piece = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            self.size += len(piece)
            if exchange.first_ns is None:
                exchange.first_ns = self.gateway.mono_ns()
            out = follow.feed(piece)
        ended = self.complete or follow.over
        if self.complete:
            out += follow.end()
        if out and exchange.capture:
            self._parts.append(out)
            self._parts_bytes += len(out)
            if self._parts_bytes > self._parts_max:
                self._trim(exchange)
        limit = self.gateway.lanes.limits.response_bytes_max
        if ended:
            self._end_followed(exchange, follow, out)
        elif exchange.asked is not None and self.size > limit:
            self.fail("upstream_cut", f"its answer is larger than {limit} bytes, and a translated one is kept whole")
        elif out:
            exchange.response_bytes += len(out)
            self.write(out if self.plain else b"%x\r\n%b\r\n" % (len(out), out))

    def _end_followed(self, exchange: Exchange, follow: Follow, last: bytes) -> None:
        facts = follow.facts()
        outcome = stream_outcome(follow, facts)
        exchange.response_bytes += len(last)
        error = "its answer ended before it was whole" if outcome == "upstream_cut" else None
        body = b"".join(self._parts) if exchange.capture else b""
        exchange.finish(outcome, self.status, facts, body=body, error=error)
        self._finish_stream(exchange, last)

    def _whole_events(self, piece: bytes) -> bytes:
        """Events up to the last whole one; all that is left when the answer has ended."""
        passing, whole = self.hold.feed(piece)
        if self.complete:
            whole += self.hold.flush()
        return passing + whole

    def _trim(self, exchange: Exchange) -> None:
        """The capture of a stream has reached its limit: keep its end, which says what it cost."""
        if exchange.capture:
            exchange.capture = False
            self.gateway.bodies_too_large += 1
        if self.follow is not None:
            self._parts.clear()
            return
        self._parts = [b"".join(self._parts)[-TAIL_BYTES:]]
        self._parts_bytes = len(self._parts[0])
        self._parts_max = 2 * TAIL_BYTES

    def _end_stream(self, exchange: Exchange, last: bytes) -> None:
        whole = b"".join(self._parts)
        facts = read_stream(whole[-TAIL_BYTES:])
        exchange.response_bytes += len(last)
        exchange.finish("ok" if facts.error is None else "upstream_error", self.status, facts, body=whole)
        self._finish_stream(exchange, last)

    def _finish_stream(self, exchange: Exchange, last: bytes) -> None:
        if self.plain:
            self._deliver(exchange, last, close=True)
        else:
            self._deliver(exchange, b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n", close=False)
        self._release()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _deliver(self, exchange: Exchange, data: bytes, *, close: bool) -> None:
        exchange.reply = (data, close)
        self.gateway.log.when_durable(exchange.deliver)

    def _release(self) -> None:
        """The answer is whole: keep the connection if it can be used again."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.relay = None
        if self.stream:
            self._parts, self.follow = [], None
        if not self.complete:  # `[DONE]` is there, the end of the HTTP message is on its way
            self.lingering = True
            self.gateway.lingering[self] = self.gateway.tick
            self.transport.resume_reading()
        elif self.keep and not self.transport.is_closing() and not self.gateway.draining:
            if self.stream:
                self.transport.resume_reading()  # a slow reader may have stopped it
            self.pool.put(self, self.gateway.tick)
        else:
            self.transport.close()

    def _unasked(self, data: bytes) -> None:
        """Bytes while no exchange is running: the end of a finished stream, or a reason to close."""
        if not self.lingering:
            self.transport.abort()
            return
        try:
            self.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.abort()
            return
        self.body.clear()
        if self.complete:
            self.lingering = False
            self.gateway.lingering.pop(self, None)
            self._release()

    def fail(self, outcome: Outcome, what: str, *, code: str | None = None) -> None:
        """The provider's answer cannot be had, or not to its end. The client is told, in its dialect."""
        exchange, self.exchange = self.exchange, None
        self.transport.abort()
        if exchange is None:
            return
        exchange.relay = None
        message = f"endpoint {exchange.lane.endpoint!r} failed: {what}"
        if not self.stream:
            if exchange.lane.plan is not None and code not in NOT_OURS_TO_RETRY:
                kind: Failure = "refused_us" if code in REFUSED_US else "ambiguous"
                if again(exchange, Failed(kind, outcome, message)):
                    return
            status = 504 if outcome == "timeout" else 502
            exchange.refuse(Refusal(status=status, code=code or outcome, message=message), outcome)
            return
        facts = self._facts()
        exchange.finish(outcome, self.status, facts, body=b"".join(self._parts), error=message)
        # What is held back of an unfinished event is dropped: only then can an event of ours follow.
        shown = f"{message} (request id {exchange.id})"
        if self.follow is not None:
            event = broken(self.follow, shown, code or outcome)
        else:
            event = error_event(shown, "server_error", code or outcome)
            if self.hold.passing:  # of an oversized event a part went out already
                event = b"\n\n" + event
        if event and not self.plain:
            event = b"%x\r\n%b\r\n" % (len(event), event)
        self._deliver(exchange, event, close=True)

    def read_for_nobody(self) -> None:
        """The client is gone, and the provider bills all of it: read on, for the usage at the end."""
        exchange = self.exchange
        if self.stream and exchange is not None:
            self.write = _nowhere if exchange.claim is None else exchange.claim.tee(_nowhere)
            self.transport.resume_reading()

    def drop(self) -> None:
        """Nobody waits for the answer any more: cancel it."""
        self.exchange = None
        self.transport.abort()

    def _facts(self) -> AnswerFacts:
        if self.follow is not None:
            return self.follow.facts()
        return read_stream(b"".join(self._parts)[-TAIL_BYTES:]) if self.stream else NOTHING_SAID

    def so_far(self) -> tuple[AnswerFacts, bytes]:
        """What a stream has said until now, and its bytes."""
        return self._facts(), b"".join(self._parts) if self.stream else b""

    def abort(self) -> None:
        self.transport.abort()

    def eof_received(self) -> None:
        self.ended = ended_on_purpose(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.open -= 1
        self.pool.forget(self)
        self.gateway.lingering.pop(self, None)
        exchange = self.exchange
        if exchange is not None:
            self._lost(exchange, error)
        self.exchange = None
        del self.parser, self.feed, self.on_body  # they hold each other

    def _lost(self, exchange: Exchange, error: Exception | None) -> None:
        ended = self.ended and error is None and self.headed and not _FRAMED.search(self.head, 0, self.head_end + 2)
        if ended:  # an answer without a length ends with its connection; httptools has no finish()
            self.complete = True
            if self.follow is not None:
                self._followed(exchange, self.follow)
            elif self.stream:
                self._end_stream(exchange, self.hold.flush())
            else:
                self._whole(exchange)
        elif self.reused and not self.head and self.gateway.mono_ns() - exchange.sent_ns < STALE_S_MAX * 1e9:
            self.exchange = None
            exchange.send_again("the kept connection was closed by the provider before it answered")
        elif self.head:
            self.fail("upstream_cut", "the connection broke off within its answer")
        else:
            self.fail("upstream_error", "it closed the connection without an answer")

    def pause_writing(self) -> None:
        """The provider reads slowly. A prompt is in memory already; of what still comes in the client is slowed."""
        exchange = self.exchange
        if exchange is not None and exchange.upload is not None:
            exchange.upload.full()

    def resume_writing(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.upload is not None:
            exchange.upload.ready()
