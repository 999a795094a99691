"""Mock providers of benchmarks, cheap enough to stay out of the figures, and nginx as the proxy to compare with.

python -m bench.harness.providers PORT [CERTIFICATE KEY]     the provider of streams, on its own
"""

import asyncio
import json
import re
import ssl
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

import uvloop

from bench.harness.processes import raise_file_limit, running

JSON_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1732000000,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The ticket is about a late parcel. " * 3},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 320, "completion_tokens": 24, "total_tokens": 344},
    },
    separators=(",", ":"),
)
CHUNKS_OF = tuple(
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1732000000,"model":"mock",'
    b'"choices":[{"index":0,"delta":{"content":" %b"},"logprobs":null,"finish_reason":null}]}\n\n' % word
    for word in (b"some", b"word")
)
"""By turns: a proxy may take a hundred equal ones for a model that has lost its way."""
CONTENT = b'"content":" '
"""Stands in every chunk once, however a proxy writes it."""
USAGE_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1732000000,"model":"mock","choices":[],'
    b'"usage":{"prompt_tokens":120,"completion_tokens":200,"total_tokens":320}}\n\n'
)
CHUNKS = 200
HELD = "hold this stream"
"""A prompt with these words gets one chunk, and then nothing for as long as the client stays."""


def paced(ms: int) -> str:
    """Words of a prompt that asks for a chunk every so many milliseconds."""
    return f"a chunk every {ms} ms"


_PACE = re.compile(rb"a chunk every (\d+) ms")
_USAGE = re.compile(rb'"include_usage": ?true')
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_MODELS = json.dumps({"object": "list", "data": [{"id": "assistant", "object": "model"}]}).encode()


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_PIECES = tuple(map(_piece, CHUNKS_OF))


class MockStreams(asyncio.Protocol):
    """A provider that sends a chunk every 10 ms (or as asked), 200 times, then usage if asked for, then the end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):  # a proxy that asks for health or models
            self._buffer = rest
            self._transport.write(_PLAIN % (len(_MODELS), _MODELS))
            return
        body = _body(head, rest)
        if body is None:
            return
        self._buffer = b""
        pace = _PACE.search(body)
        self._every_s = int(pace[1]) / 1000 if pace else 0.01
        self._left = CHUNKS
        self._asked = _USAGE.search(body) is not None
        self._transport.write(_HEAD)
        if HELD.encode() in body:
            self._transport.write(_PIECES[0])
        else:
            self._loop.call_later(self._every_s / 2, self._send)

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_PIECES[self._left & 1])
        self._left -= 1
        if self._left:
            self._loop.call_later(self._every_s, self._send)
            return
        last = (USAGE_EVENT if self._asked else b"") + b"data: [DONE]\n\n"
        self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))


def _body(head: bytes, rest: bytes) -> bytes | None:
    """The whole body of a request, or `None` while parts of it are missing."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return rest if rest.endswith(b"0\r\n\r\n") else None  # what is looked for stands in one chunk
    length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return rest if len(rest) >= length else None


def mock_streams(port: int, certificate: tuple[Path, Path] | None = None) -> AbstractContextManager["Popen[bytes]"]:
    """The provider of streams in a process of its own."""
    files = [] if certificate is None else [str(file) for file in certificate]
    return running([sys.executable, "-m", "bench.harness.providers", str(port), *files], port)


# --- nginx ------------------------------------------------------------------------------------------------------------

_NGINX = """
worker_processes 1; worker_rlimit_nofile 20000; daemon off; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; default_type application/json; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_buffer_size 1m; client_max_body_size 64m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {body}
}}
"""
_MOCK = "server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{answer}'; }} }}"
_PROXY = """upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
    proxy_pass {scheme}://mock; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_read_timeout 3600s; proxy_buffering {buffering}; {tls} }} }}"""
_TRUSTS = "proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate {file};"


def _nginx(folder: Path, name: str, body: str, port: int) -> AbstractContextManager["Popen[bytes]"]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"{name}.conf"
    config.write_text(_NGINX.format(folder=folder, name=name, body=body))
    return running(["nginx", "-p", str(folder), "-c", str(config)], port)


def mock_json(folder: Path, port: int) -> AbstractContextManager["Popen[bytes]"]:
    """The provider of JSON answers."""
    return _nginx(folder, "mock", _MOCK.format(port=port, answer=JSON_ANSWER), port)


def nginx_proxy(
    folder: Path, upstream: int, port: int, *, streams: bool, trusted: Path | None = None
) -> AbstractContextManager["Popen[bytes]"]:
    """nginx `proxy_pass` with kept connections. `trusted`: the upstream speaks TLS, its certificate is verified."""
    body = _PROXY.format(
        upstream=upstream,
        port=port,
        scheme="http" if trusted is None else "https",
        buffering="off" if streams else "on",
        tls="" if trusted is None else _TRUSTS.format(file=trusted),
    )
    return _nginx(folder, "proxy", body, port)


async def _serve(port: int, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(MockStreams, "127.0.0.1", port, backlog=4096, ssl=context)
    await server.serve_forever()


def main() -> None:
    raise_file_limit()
    context: ssl.SSLContext | None = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), context))


if __name__ == "__main__":
    main()
