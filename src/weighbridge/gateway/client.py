"""The server side of HTTP/1.1, strict about everything that llhttp lets pass.

llhttp refuses most ambiguous messages by itself (its lenient flags stay off). What it lets pass and is refused here:
transfer codings other than `chunked`, trailers, other versions, missing or repeated hosts, repeated headers that decide
something, upgrades, absolute targets, and heads or bodies without an end.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

import httptools
import msgspec

from weighbridge.gateway.admit import (
    API_KEY,
    AUTHORIZATION,
    CONVERSATION,
    IDEMPOTENCY,
    ITEM,
    TAG,
    TRIAL,
    X_API_KEY,
    Caller,
    admit,
    caller_of,
)
from weighbridge.gateway.doors import ANTHROPIC_BETA, ANTHROPIC_VERSION, DOORS, OPENAI_BETA, OTHER, dialect_at
from weighbridge.gateway.exchange import Exchange
from weighbridge.gateway.feedback import PATH as FEEDBACK
from weighbridge.gateway.passed import CONTENT_TYPE, PASSED_METHODS, ROUTE, Passed, admit_passed, passes, passes_on
from weighbridge.gateway.refusal import Refusal, json_reply, refusal_reply
from weighbridge.gateway.seen import SeenHead
from weighbridge.gateway.upload import UPLOAD_FROM_BYTES, Upload
from weighbridge.records.traces import HEADER as TRACEPARENT
from weighbridge.wire.conversation import Dialect

if TYPE_CHECKING:
    from weighbridge.gateway.gateway import Gateway

MODELS, HEALTH, READY = b"/v1/models", b"/healthz", b"/readyz"
METHODS: Final = {
    **dict.fromkeys((*DOORS, FEEDBACK), (b"POST",)), MODELS: (b"GET",),
    HEALTH: (b"GET", b"HEAD"), READY: (b"GET", b"HEAD"),
}  # fmt: skip

LINGER_TICKS = 20
"""After a refusal in the middle of a request: how long its rest is read and thrown away, so that the answer arrives."""

_HOST, _LENGTH, _CODING = b"host", b"content-length", b"transfer-encoding"
_EXPECT, _ENCODING = b"expect", b"content-encoding"
_WANTED = frozenset(
    (
        AUTHORIZATION,
        API_KEY,
        X_API_KEY,
        CONVERSATION,
        IDEMPOTENCY,
        TAG,
        TRACEPARENT,
        TRIAL,
        ITEM,
        ROUTE,
        ANTHROPIC_VERSION,
        ANTHROPIC_BETA,
        OPENAI_BETA,
        _HOST,
        _LENGTH,
        _CODING,
        _EXPECT,
        _ENCODING,
        CONTENT_TYPE,
    )
)
_LISTS = frozenset((TAG, ANTHROPIC_BETA, OPENAI_BETA))
"""Headers that may be there more than once: their values are joined."""
_CHUNKED, _IDENTITY, _CONTINUE = b"chunked", b"identity", b"100-continue"


class Client(asyncio.Protocol):
    __deletable__ = ["_parser", "_feed", "on_body"]  # noqa: RUF012 (mypyc reads this list; nothing else does)
    __slots__ = (
        "_body", "_caller", "_complete", "_feed", "_fresh", "_head_only", "_headed", "_headers", "_parser", "_received",
        "_refusal", "_seen", "_since", "_url", "asking", "close_after", "discarding", "exchange", "gateway", "on_body",
        "paused", "paused_tick", "plain", "transport", "upload",
    )  # fmt: skip

    def __init__(self, gateway: "Gateway") -> None:
        self.gateway = gateway
        self.exchange: Exchange | None = None
        self.close_after = self.discarding = self.paused = self.plain = self.asking = False
        # `asking`: the request was read whole and is no exchange; its answer comes later.
        self.paused_tick = 0
        self.upload: Upload | None = None
        """While a large body comes in that is passed on at once."""
        self._seen: SeenHead | None = None
        """Of the last request on this connection that went through the parser, where it may be known again."""

    # --- transport ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._body: list[bytes] = []
        self.on_body = self._body.append
        self._parser = httptools.HttpRequestParser(self)
        self._feed = self._parser.feed_data
        self._next()
        gateway = self.gateway
        limits = gateway.lanes.limits
        self.transport.set_write_buffer_limits(high=limits.stream_buffer_bytes_max // 4)
        gateway.clients.add(self)
        if len(gateway.clients) > limits.client_connections_max:
            message = f"{limits.client_connections_max} connections are open already"
            self.close_after = True
            self.refuse(Refusal(status=503, code="client_connections_max", message=message, retry_after_s=1))

    def _next(self) -> None:
        """Ready for the next request."""
        self._fresh = self._complete = True
        self._headed = self._head_only = False
        self._refusal: Refusal | None = None
        self._since = self.gateway.tick

    def _begin(self) -> None:
        """The first byte of a request is here."""
        self._fresh = self._complete = False
        self._received = 0
        self._caller: Caller | None = None
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._since = self.gateway.tick
        self._body.clear()

    def data_received(self, data: bytes) -> None:
        whole = self._fresh
        if whole:
            if self._seen is not None:
                if self._known_again(self._seen, data):
                    return
                self._seen = None  # a request that takes the long way leaves nothing of those before it
            self._begin()
        elif self.discarding:
            return
        elif (self.exchange is not None or self.asking) and self.upload is None:
            # Pipelined. The first request is answered, then the connection ends: the client must send again.
            self.close_after = True
            return
        limits = self.gateway.lanes.limits
        rest = data
        if not self._headed and self._received + len(data) > limits.head_bytes_max:
            rest = self._feed_head(data, limits.head_bytes_max - self._received)
        if rest:
            self._take(rest)
        if self.upload is not None:
            self._pass_on(self.upload)
        elif self._refusal is not None and not self.discarding:
            self.refuse(self._refusal)
        elif self._received > limits.body_bytes_max + limits.head_bytes_max and not self._complete:
            # The framing counts too: chunk extensions have no other end.
            self.refuse(_too_large("body", limits.body_bytes_max))
        elif whole and self.exchange is not None and not self.close_after:
            caller = self._caller
            # A token runs out, so it is looked at for each request; an expectation is answered for each.
            if caller is not None and caller.trial is None and _EXPECT not in self._headers:
                self._seen = SeenHead.of(data, caller.door.line, caller, limits.head_bytes_max)

    def _known_again(self, seen: SeenHead, data: bytes) -> bool:
        """Take a whole request with the head of the last one, without the parser. False where it is anything else."""
        caller = seen.caller
        if caller.lanes is not self.gateway.lanes:
            return False
        body = seen.body_of(data)
        if body is None or len(body) > caller.lanes.limits.body_bytes_max:
            return False
        self._fresh = False
        self._headed = True
        self._caller = caller
        self._admit(caller, body)
        return True

    def _feed_head(self, data: bytes, room: int) -> bytes:
        """Feed what may still be head. Returns the rest, which is body; nothing where the request is refused."""
        self._take(data[:room])
        if self._headed or self._complete:
            return data[room:]
        if self._refusal is None:
            limit = self.gateway.lanes.limits.head_bytes_max
            self._refusal = _too_large("head", limit)
        return b""

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close_after = True
            if self.exchange is None and self._refusal is None and not self._complete:
                message = f"the request is not valid HTTP/1.1: {error}"
                self._refusal = Refusal(status=400, code="malformed_http", message=message)

    def connection_lost(self, error: Exception | None) -> None:
        gateway = self.gateway
        gateway.clients.discard(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            if exchange.done:
                exchange.client = None
            else:
                exchange.client_gone()
        del self._parser, self._feed, self.on_body  # they hold each other
        gateway.check_drained()

    def pause_writing(self) -> None:
        """A slow reader stops its own provider, nobody else."""
        self.paused, self.paused_tick = True, self.gateway.tick
        if self.exchange is not None and self.exchange.relay is not None and self.exchange.relay.stream:
            self.exchange.relay.transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        exchange = self.exchange
        if exchange is not None and exchange.relay is not None:
            exchange.seen_tick = self.gateway.tick
            exchange.relay.transport.resume_reading()

    # --- parser -------------------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        if self._complete:
            if self.exchange is not None or self.asking or self.discarding or self._refusal is not None:
                raise ValueError("pipelined")
            self._begin()  # the request before it, in the same read, has its answer already
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            # Trailers come through the same callback: they must never become headers.
            self._bad("trailers are not taken", "trailers")
            return
        name = name.lower()
        if name in _WANTED:
            headers = self._headers
            if name not in headers:
                headers[name] = value
            elif name in _LISTS:
                headers[name] += b"," + value
            else:
                self._bad(f"the header {name.decode()} is there more than once", "repeated_header")

    def _bad(self, message: str, code: str, status: int = 400) -> None:
        self.close_after = True  # whoever sends this may mean two messages where we see one
        if self._refusal is None:
            self._refusal = Refusal(status=status, code=code, message=message)

    def on_headers_complete(self) -> None:
        self._headed = True
        parser, headers = self._parser, self._headers
        self._head_only = parser.get_method() == b"HEAD"
        version = parser.get_http_version()
        if version != "1.1":
            self.plain = version == "1.0"
            if not self.plain:
                self._bad(f"HTTP/{version} is not spoken here, HTTP/1.1 is", "http_version", 505)
        else:
            self.plain = False
        if _HOST not in headers:
            self._bad("the header host is missing", "missing_host")
        if parser.should_upgrade():
            self._bad("this connection cannot be upgraded; send plain HTTP/1.1", "upgrade")
        if _CODING in headers and (self.plain or headers[_CODING].lower() != _CHUNKED):
            self._bad("the transfer coding must be exactly 'chunked', on HTTP/1.1", "transfer_encoding")
        if _ENCODING in headers and headers[_ENCODING].lower() != _IDENTITY:
            self._bad("compressed request bodies are not taken; send the body as it is", "content_encoding", 415)
        if self._refusal is None:
            largest = self.gateway.lanes.limits.body_bytes_max
            length = int(headers.get(_LENGTH, b"0"))
            if length > UPLOAD_FROM_BYTES:
                self._refusal = self._let_in_large(length)
            elif length > largest:
                self._refusal = _too_large("body", largest)
            else:
                self._refusal = self._let_in()
        if _EXPECT in headers and self._refusal is None:
            if headers[_EXPECT].lower() != _CONTINUE:
                self._bad("this expectation cannot be met; only '100-continue' can", "expectation", 417)
            else:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _let_in(self) -> Refusal | None:
        """Path, method and key, before a byte of the body is kept: strangers cannot make us hold anything."""
        path, method = self._url, self._parser.get_method()
        door = DOORS.get(path)
        if door is None:
            path = path.partition(b"?")[0]
            door = DOORS.get(path)
        methods = METHODS.get(path)
        if methods is None and method in PASSED_METHODS and passes(self._url) and path.rstrip(b"/") not in METHODS:
            door = OTHER
        elif methods is None or method not in methods:
            return _no_such(path, method)
        else:
            self._url = path
        if door is not None or path in (MODELS, FEEDBACK):
            caller = caller_of(self.gateway, self._headers, door or OTHER)
            if isinstance(caller, Refusal):
                return caller
            self._caller = caller
        return None

    def _let_in_large(self, length: int) -> Refusal | None:
        """What passes unread is not kept either: it goes on as it comes in."""
        limits, path = self.gateway.lanes.limits, self._url.partition(b"?")[0]
        if path in METHODS:
            return _too_large("body", limits.body_bytes_max) if length > limits.body_bytes_max else self._let_in()
        refusal = self._let_in()
        caller = self._caller
        if refusal is not None or caller is None:
            return refusal
        if length <= limits.body_bytes_max and not passes_on(caller, self._headers.get(ROUTE)):
            return None
        if length > limits.upload_bytes_max:
            return _too_large("body", limits.upload_bytes_max)
        upload = Upload(self.transport, length)
        call = Passed(*self._passed(), b"", upload)
        admitted = admit_passed(self.gateway, self, caller, call)
        if isinstance(admitted, Refusal):
            return admitted
        self.exchange, self.upload = admitted, upload
        if not admitted.done and admitted.opening is None:
            admitted.begin()
        return None

    def _passed(self) -> tuple[bytes, bytes, bytes, bytes | None]:
        headers = self._headers
        return self._parser.get_method(), self._url, headers.get(CONTENT_TYPE, b""), headers.get(ROUTE)

    def _pass_on(self, upload: Upload) -> None:
        """A piece of a large body."""
        pieces = self._body[:]
        self._body.clear()
        if pieces:
            if self.exchange is not None:
                self.exchange.seen_tick = self.gateway.tick
            upload.feed(pieces)
        if not upload.left:
            self.upload = None

    def on_message_complete(self) -> None:
        if self.upload is not None:
            self._complete = True
            if not self._parser.should_keep_alive() or self.gateway.draining:
                self.close_after = True
            return
        self._complete = True
        if not self._parser.should_keep_alive() or self.gateway.draining:
            self.close_after = True
        if self._refusal is not None:
            return  # answered when the parser returns
        caller = self._caller
        if caller is None or self._url == MODELS or self._is_model(caller):
            self._plain_answer(self._url)
            return
        if caller.lanes is not self.gateway.lanes:
            # Another table came while the body was on its way: what it says of this key is what holds.
            self._refusal = self._let_in()
            if self._refusal is not None or self._caller is None:
                return
            caller = self._caller
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if len(body) > caller.lanes.limits.body_bytes_max:
            self._refusal = _too_large("body", caller.lanes.limits.body_bytes_max)
        else:
            self._admit(caller, body)

    def _admit(self, caller: Caller, body: bytes) -> None:
        self._complete = True
        if caller.door is OTHER:
            if self._url == FEEDBACK:
                refusal = self.gateway.feedback.take(self, caller, body)
                if refusal is not None:
                    self.refuse(refusal)
                return
            admitted = admit_passed(self.gateway, self, caller, Passed(*self._passed(), body))
        else:
            admitted = admit(self.gateway, self, caller, body)
        if isinstance(admitted, Refusal):
            self.refuse(admitted)
            return
        self.exchange = admitted
        if not admitted.done and admitted.opening is None:
            admitted.begin()

    # --- answers ------------------------------------------------------------------------------------------------------

    def answered(self, data: bytes, close: bool) -> None:
        """The last bytes of the answer of `exchange`."""
        self.exchange = None
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(data)
        if self.upload is not None:  # answered before it was sent whole
            self.upload = None
            self._linger()
        elif close or self.close_after:
            self._finish()
        else:
            self._next()

    def told(self, reply: bytes) -> None:
        """The answer of a request that was `asking`."""
        self.asking = False
        if not self.transport.is_closing():
            self.transport.write(reply)
            if self.close_after:
                self._finish()
            else:
                self._next()

    def refuse(self, refusal: Refusal) -> None:
        """Answer a request that never became an exchange."""
        if self.transport.is_closing():
            return
        self.gateway.meter.refused(refusal.code)
        whole = self._complete
        if not whole:
            self.close_after = True
        self.transport.write(self.refusal_bytes(refusal, self.gateway.next_id(), self._dialect()))
        if not self.close_after:
            self._next()
        elif whole:
            self._finish()
        else:
            self._linger()

    def _dialect(self) -> Dialect:
        """Whose errors the client expects."""
        if self._fresh:  # nothing of a request was read
            return "openai"
        caller = self._caller
        if caller is not None and caller.door is not OTHER:
            return caller.door.dialect
        return dialect_at(self._url.partition(b"?")[0], ANTHROPIC_VERSION in self._headers)

    def refusal_bytes(self, refusal: Refusal, request_id: str, dialect: Dialect) -> bytes:
        return refusal_reply(refusal, request_id, dialect, keep=not self.close_after, body=not self._head_only)

    def _is_model(self, caller: Caller) -> bool:
        """Whether a route or alias of this key is asked for by its name."""
        if caller.door is not OTHER or self._parser.get_method() != b"GET":
            return False
        return self._url.startswith(MODELS + b"/") and _model_in(self._url) in caller.ways

    def _plain_answer(self, path: bytes) -> None:
        gateway = self.gateway
        status, content = 200, b'{"status":"ok"}'
        if self._caller is not None:
            anthropic = ANTHROPIC_VERSION in self._headers
            content = _models(self._caller, anthropic) if path == MODELS else _model(_model_in(path), anthropic)
        elif path == READY:
            reason = gateway.not_ready()
            if reason is not None:
                status, content = 503, msgspec.json.encode({"status": "not ready", "reason": reason})
            else:
                content = msgspec.json.encode({"status": "ready", "table": gateway.lanes.number})
        keep = not self.close_after
        self.transport.write(json_reply(status, content, keep=keep, body=not self._head_only))
        if self.close_after:
            self._finish()
        else:
            self._next()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._fresh, self.discarding = False, True
        self._since = self.gateway.tick
        self.transport.close()

    def _linger(self) -> None:
        """Closing at once would reset the connection and could destroy the answer before the client has read it."""
        self._fresh, self.discarding = False, True
        self._since = self.gateway.tick
        self._body.clear()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def stalled(self) -> None:
        """It has not read for too long: what it costs us is a buffer, so that ends."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None and not exchange.done:
            exchange.client_gone()
        self.transport.abort()

    def drain(self) -> None:
        self.close_after = True
        if self._fresh:
            self._finish()

    def sweep(self, tick: int, receive: int, keepalive: int, stall: int) -> None:
        if self.exchange is not None or self.asking:
            return
        waited = tick - self._since
        if self.discarding:
            if waited > (stall if self.paused else LINGER_TICKS):
                self.transport.abort()
        elif self.paused:
            if tick - self.paused_tick > stall:
                self.transport.abort()
        elif not self._fresh:
            if waited > receive:
                limit = self.gateway.lanes.limits.request_receive_s_max
                message = f"the request did not arrive within {limit:g} s"
                self.refuse(Refusal(status=408, code="request_timeout", message=message))
        elif waited > keepalive or self.gateway.draining:
            self._finish()


class LocalClient(Client):
    """On the address in the clear that commands of this machine use beside TLS: for trial tokens, not for keys."""

    __slots__ = ()

    def _let_in(self) -> Refusal | None:
        if TRIAL in self._headers:
            return super()._let_in()
        message = "this address is for trials that `weighbridge` runs itself; send requests to the address with TLS"
        return Refusal(status=403, code="tls_required", message=message)


class Nobody(Client):
    """In place of a client: takes everything, wants nothing, and is on no connection."""

    __slots__ = ()

    def __init__(self) -> None:
        self.close_after = self.paused = self.plain = False
        self.upload = None
        self.paused_tick = 0

    def refusal_bytes(self, refusal: Refusal, request_id: str, dialect: Dialect) -> bytes:
        return b""

    def answered(self, data: bytes, close: bool) -> None:
        """The answer has been logged, which is all it was asked for."""


NOBODY = Nobody()


def _too_large(what: str, limit: int) -> Refusal:
    message = f"the {what} of the request is larger than {limit} bytes"
    return Refusal(status=413 if what == "body" else 431, code=f"{what}_too_large", message=message)


def _no_such(path: bytes, method: bytes) -> Refusal:
    if not path.startswith(b"/"):
        return Refusal(status=400, code="request_target", message="the request target must be a path, e.g. /v1/models")
    methods = METHODS.get(path)
    if methods is not None:
        allow = b", ".join(methods).decode()
        message = f"{method.decode()} is not for {path.decode()}; use {allow}"
        return Refusal(status=405, code="method_not_allowed", message=message, allow=allow)
    have = ", ".join(f"{b' or '.join(known).decode()} {name.decode()}" for name, known in METHODS.items())
    shown = path[:100].decode("latin-1")
    return Refusal(status=404, code="unknown_path", message=f"there is no {shown!r} here; there is: {have}")


def _model_in(path: bytes) -> str:
    return unquote(path.removeprefix(MODELS + b"/").partition(b"?")[0].decode("latin-1"))


def _row(model: str, anthropic: bool) -> dict[str, object]:
    if anthropic:
        return {"type": "model", "id": model, "display_name": model, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": model, "object": "model", "created": 0, "owned_by": "weighbridge"}


def _model(model: str, anthropic: bool) -> bytes:
    return msgspec.json.encode(_row(model, anthropic))


def _models(caller: Caller, anthropic: bool) -> bytes:
    """The routes and aliases that this key may use, as models."""
    names = sorted(caller.ways)
    rows = [_row(model, anthropic) for model in names]
    if anthropic:
        first, last = (names[0], names[-1]) if names else (None, None)
        return msgspec.json.encode({"data": rows, "has_more": False, "first_id": first, "last_id": last})
    return msgspec.json.encode({"object": "list", "data": rows})
