"""The server side of HTTP/1.1, strict about everything that llhttp lets pass.

llhttp refuses most ambiguous messages by itself (its lenient flags stay off). What it lets pass and is refused here:
transfer codings other than `chunked`, trailers, other versions, missing or repeated hosts, repeated headers that decide
something, upgrades, absolute targets, and heads or bodies without an end.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast

import httptools
import msgspec

from weighbridge.gateway.admit import (
    API_KEY,
    AUTHORIZATION,
    CONVERSATION,
    ITEM,
    TAG,
    TRIAL,
    X_API_KEY,
    admit,
    key_of,
    trial_of,
)
from weighbridge.gateway.exchange import Exchange
from weighbridge.gateway.lanes import ClientKey
from weighbridge.gateway.refusal import Refusal, json_reply, refusal_reply
from weighbridge.gateway.trials import TrialPass

if TYPE_CHECKING:
    from weighbridge.gateway.gateway import Gateway

CHAT, MODELS, HEALTH, READY = b"/v1/chat/completions", b"/v1/models", b"/healthz", b"/readyz"
METHODS: Final = {CHAT: (b"POST",), MODELS: (b"GET",), HEALTH: (b"GET", b"HEAD"), READY: (b"GET", b"HEAD")}

LINGER_S_MAX = 5.0
"""After a refusal in the middle of a request: how long its rest is read and thrown away, so that the answer arrives."""
LINGER_TICKS = 20

_HOST, _LENGTH, _CODING = b"host", b"content-length", b"transfer-encoding"
_EXPECT, _ENCODING = b"expect", b"content-encoding"
_WANTED = frozenset(
    (AUTHORIZATION, API_KEY, X_API_KEY, CONVERSATION, TAG, TRIAL, ITEM, _HOST, _LENGTH, _CODING, _EXPECT, _ENCODING)
)


class Client(asyncio.Protocol):
    __slots__ = (
        "_body", "_feed", "_headed", "_headers", "_key", "_ongoing", "_parser", "_received", "_refusal", "_since",
        "_trial", "_url", "close_after", "discarding", "exchange", "gateway", "on_body", "paused", "paused_tick", "plain",
        "transport",
    )  # fmt: skip

    def __init__(self, gateway: "Gateway") -> None:
        self.gateway = gateway
        self.exchange: Exchange | None = None
        self.close_after = self.discarding = self.paused = self.plain = False
        self.paused_tick = 0

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
            self.refuse(Refusal(status=503, code="client_connections_max", message=message, retry_after_s=1))

    def _next(self) -> None:
        """Ready for the next request."""
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._received = 0
        self._headed = self._ongoing = False
        self._refusal: Refusal | None = None
        self._key: ClientKey | None = None
        self._trial: TrialPass | None = None
        self._since = self.gateway.tick
        self._body.clear()

    def data_received(self, data: bytes) -> None:
        if self.discarding:
            return
        if self.exchange is not None:
            # Pipelined. The first request is answered, then the connection ends: the client must send again.
            self.close_after = True
            return
        if self._is_in_head():
            room = self.gateway.lanes.limits.head_bytes_max - self._received
            if len(data) > room:
                self._take(data[:room])
                if self._is_taken():
                    self.close_after = True
                    return
                if self._is_in_head():
                    limit = self.gateway.lanes.limits.head_bytes_max
                    self.refuse(self._too_large(431, "head_too_large", limit, "head"))
                    return
                data = data[room:]
        self._take(data)

    def _is_in_head(self) -> bool:
        return not self._headed

    def _is_taken(self) -> bool:
        """A request came to its end, or was refused."""
        return self.discarding or self.exchange is not None

    def _take(self, data: bytes) -> None:
        if not self._received:
            self._since = self.gateway.tick
        self._received += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._is_taken():
                self.close_after = True  # something came after a whole request: answer that, then close
                return
            if self._refusal is None:
                self.close_after = True
                message = f"the request is not valid HTTP/1.1: {error}"
                self._refusal = Refusal(status=400, code="malformed_http", message=message)
        if not self._is_taken():
            if self._refusal is not None:
                self.refuse(self._refusal)
            elif self._received > self.gateway.lanes.limits.body_bytes_max + self.gateway.lanes.limits.head_bytes_max:
                # The framing counts too: chunk extensions have no other end.
                self.refuse(self._too_large(413, "body_too_large", self.gateway.lanes.limits.body_bytes_max, "body"))

    def _too_large(self, status: int, code: str, limit: int, what: str) -> Refusal:
        return Refusal(status=status, code=code, message=f"the {what} of the request is larger than {limit} bytes")

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

    def on_message_begin(self) -> None:
        if self.exchange is not None or self.discarding:
            raise ValueError("pipelined")
        self._ongoing = True

    def on_url(self, url: bytes) -> None:
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
            elif name == TAG:
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
        version = parser.get_http_version()
        self.plain = version == "1.0"
        if version not in ("1.1", "1.0"):
            self._bad(f"HTTP/{version} is not spoken here, HTTP/1.1 is", "http_version", 505)
        elif _HOST not in headers:
            self._bad("the header host is missing", "missing_host")
        if parser.should_upgrade():
            self._bad("this connection cannot be upgraded; send plain HTTP/1.1", "upgrade")
        coding = headers.get(_CODING)
        if coding is not None and (coding.lower() != b"chunked" or self.plain):
            self._bad("the transfer coding must be exactly 'chunked', on HTTP/1.1", "transfer_encoding")
        if headers.get(_ENCODING, b"identity").lower() != b"identity":
            self._bad("compressed request bodies are not taken; send the body as it is", "content_encoding", 415)
        if int(headers.get(_LENGTH, 0)) > self.gateway.lanes.limits.body_bytes_max and self._refusal is None:
            self._refusal = self._too_large(413, "body_too_large", self.gateway.lanes.limits.body_bytes_max, "body")
        if self._refusal is None:
            self._refusal = self._let_in()
        if self._refusal is None and _EXPECT in headers:
            if headers[_EXPECT].lower() != b"100-continue":
                self._bad("this expectation cannot be met; only '100-continue' can", "expectation", 417)
            else:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _let_in(self) -> Refusal | None:
        """Path, method and key, before a byte of the body is kept: strangers cannot make us hold anything."""
        path, _, _ = self._url.partition(b"?")
        if not path.startswith(b"/"):
            return Refusal(
                status=400, code="request_target", message="the request target must be a path, e.g. /v1/models"
            )
        methods = METHODS.get(path)
        if methods is None:
            shown = path[:100].decode("latin-1")
            have = ", ".join(f"{b' or '.join(known).decode()} {name.decode()}" for name, known in METHODS.items())
            return Refusal(status=404, code="unknown_path", message=f"there is no {shown!r} here; there is: {have}")
        if self._parser.get_method() not in methods:
            allow = b", ".join(methods).decode()
            message = f"{self._parser.get_method().decode()} is not for {path.decode()}; use {allow}"
            return Refusal(status=405, code="method_not_allowed", message=message, allow=allow)
        if path in (CHAT, MODELS):
            token = self._headers.get(TRIAL)
            if token is not None and path == CHAT:
                trial = trial_of(self.gateway, token)
                if isinstance(trial, Refusal):
                    return trial
                self._trial = trial
                self._key = self.gateway.lanes.keys_by_name.get(trial.token.key)
            else:
                key = key_of(self.gateway.lanes, self._headers)
                if isinstance(key, Refusal):
                    return key
                self._key = key
        return None

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive() or self.gateway.draining:
            self.close_after = True
        if self._refusal is not None:
            self._ongoing = False  # answered when the parser returns
            return
        path = self._url.partition(b"?")[0]
        if path != CHAT:
            self._plain_answer(path)
            return
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if len(body) > self.gateway.lanes.limits.body_bytes_max:
            self._refusal = self._too_large(413, "body_too_large", self.gateway.lanes.limits.body_bytes_max, "body")
            self._ongoing = False
            return
        headers, self._headers = self._headers, {}
        admitted = admit(self.gateway, self, headers, self._key, self._trial, body)
        if isinstance(admitted, Refusal):
            self._ongoing = False
            self.refuse(admitted)
            return
        self.exchange = admitted
        if not admitted.done:
            admitted.begin()

    # --- answers ------------------------------------------------------------------------------------------------------

    def answered(self, data: bytes, close: bool) -> None:
        """The last bytes of the answer of `exchange`."""
        self.exchange = None
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(data)
        if close or self.close_after:
            self._finish()
        else:
            self._next()

    def refuse(self, refusal: Refusal) -> None:
        """Answer a request that never became an exchange."""
        if self.transport.is_closing():
            return
        self.gateway.meter.refused(refusal.code)
        whole = not self._ongoing
        if not whole:
            self.close_after = True
        self.transport.write(self.refusal_bytes(refusal, self.gateway.next_id()))
        if not self.close_after:
            self._next()
        elif whole:
            self._finish()
        else:
            self._linger()

    def refusal_bytes(self, refusal: Refusal, request_id: str) -> bytes:
        head_only = self._headed and self._parser.get_method() == b"HEAD"
        return refusal_reply(refusal, request_id, keep=not self.close_after, body=not head_only)

    def _plain_answer(self, path: bytes) -> None:
        gateway = self.gateway
        status, content = 200, b'{"status":"ok"}'
        if path == MODELS and self._key is not None:
            content = _models(self._key)
        elif path == READY:
            reason = gateway.not_ready()
            if reason is not None:
                status, content = 503, msgspec.json.encode({"status": "not ready", "reason": reason})
            else:
                content = msgspec.json.encode({"status": "ready", "table": gateway.lanes.number})
        body = self._parser.get_method() != b"HEAD"
        self.transport.write(json_reply(status, content, keep=not self.close_after, body=body))
        self._ongoing = False
        if self.close_after:
            self._finish()
        else:
            self._next()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self.discarding = True
        self._since = self.gateway.tick
        self.transport.close()

    def _linger(self) -> None:
        """Closing at once would reset the connection and could destroy the answer before the client has read it."""
        self.discarding = True
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
        if self.exchange is None and not self._ongoing:
            self._finish()

    def sweep(self, tick: int, receive: int, keepalive: int, stall: int) -> None:
        if self.exchange is not None:
            return
        waited = tick - self._since
        if self.discarding:
            if waited > (stall if self.paused else LINGER_TICKS):
                self.transport.abort()
        elif self.paused:
            if tick - self.paused_tick > stall:
                self.transport.abort()
        elif self._received or self._ongoing:
            if waited > receive:
                limit = self.gateway.lanes.limits.request_receive_s_max
                message = f"the request did not arrive within {limit:g} s"
                self._ongoing = True
                self.refuse(Refusal(status=408, code="request_timeout", message=message))
        elif waited > keepalive or self.gateway.draining:
            self._finish()


def _models(key: ClientKey) -> bytes:
    """The routes and aliases that this key may use, as models."""
    rows = [{"id": model, "object": "model", "created": 0, "owned_by": "weighbridge"} for model in sorted(key.ways)]
    return msgspec.json.encode({"object": "list", "data": rows})
