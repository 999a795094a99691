"""Where fuzzing starts: real messages of each surface. Where they are cut, four bytes in front say how."""

from typing import Any, Final

import msgspec

from tests.fakes import dialects
from tests.fakes.provider import FakeProvider, Script, Tokens
from tests.fuzz.provider_side import CASES
from tests.gateway.running import chat, request_bytes

_CUTS: Final = bytes((40, 110, 180, 250))

_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}\n\n'
_CALL = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function",'
    b'"function":{"name":"f","arguments":"{\\"a\\":"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}\n\n'
)
_END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\ndata: [DONE]\n\n'
)
_ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"content":[],"model":"c","stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_TOOLS = chat(
    tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    tool_choice="auto",
    max_tokens=5,
    temperature=0.5,
)
_MESSAGES = (
    b'{"model":"c","max_tokens":9,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":'
    b'[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://a/b"}},{"type":"text","text":"x"}]},'
    b'{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]},'
    b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"1"}]}],"tools":[{"name":"f","input_schema":{}}]}'
)
_RESPONSES = (
    b'{"model":"c","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call","call_id":"t",'
    b'"name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"t","output":"1"}],"instructions":"s"}'
)
_HTTP = [
    request_bytes(chat()),
    request_bytes(chat(stream=True)),
    request_bytes(method="GET", path="/v1/models"),
    request_bytes(method="HEAD", path="/healthz", key=None),
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"POST /v1/messages HTTP/1.0\r\nContent-Length: 2\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n{}",
]
_STREAMS = [_CHUNK + _END, _CALL + _END, _CHUNK.replace(b"\n", b"\r\n") + _END, b": hello\n\n" + _CHUNK * 9, _ANTHROPIC]


# --- what providers answer --------------------------------------------------------------------------------------------

_SCRIPTS = (
    Script(reasoning="Thinking.", cache_read=40, cache_write=8, reasoned=5),
    Script(tool_calls=(("f", '{"a":1}'), ("g", "{}")), text_with_calls=True),
    Script(refusal="No.", finish="length"),
    Script(error_event={"type": "overloaded_error", "code": "server_error", "message": "busy"}),
)
_ASKED: dict[str, Any] = {"model": "m", "messages": [], "stream_options": {"include_usage": True}}
_TOKENS = Tokens(20, 7, 40, 8, 5)
_FAKE = FakeProvider()
_FAILED = b'{"type":"error","error":{"type":"overloaded_error","message":"busy","code":"529"},"request_id":"r"}'


def _answers(script: Script) -> list[tuple[bytes, bytes]]:
    """JSON and stream of each dialect, in the order of `DIALECTS`."""
    usage = _FAKE._usage(_ASKED, script)
    encode = msgspec.json.encode
    return [
        (encode(_FAKE._completion(_ASKED, script, usage)), b"".join(_FAKE.stream_bytes(_ASKED, script, usage))),
        (
            encode(dialects.anthropic_answer(_ASKED, script, _TOKENS)),
            b"".join(dialects.anthropic_events(_ASKED, script, _TOKENS)),
        ),
        (
            encode(dialects.responses_answer(_ASKED, script, _TOKENS)),
            b"".join(dialects.responses_events(_ASKED, script, _TOKENS)),
        ),
    ]


_WHOLE = [body for script in _SCRIPTS for body, _ in _answers(script)]
_STREAMED = [*_STREAMS, *(stream for script in _SCRIPTS for _, stream in _answers(script))]
_USAGES = [
    b'{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4,'
    b'"cache_write_tokens":2,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}',
    b'{"prompt_tokens":9,"completion_tokens":5,"total_tokens":20,"prompt_cache_hit_tokens":4,"num_search_queries":1}',
    b'{"input_tokens":9,"output_tokens":5,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,'
    b'"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},"service_tier":"batch"}',
    b'{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":'
    b'{"reasoning_tokens":3},"total_tokens":14}',
]


def _sent(head: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\n\r\n%b" % (head, body)


def _chunked(body: bytes) -> bytes:
    return _sent(
        b"200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    )


def _provider() -> list[bytes]:
    """An answer for each case of `provider_side`, whole and cut, then some that are no HTTP or no answer."""
    found = []
    for number, case in enumerate(CASES):
        place = ("openai", "anthropic", "openai-responses").index(case.upstream)
        body, stream = _answers(_SCRIPTS[number % len(_SCRIPTS)])[place]
        sent = _chunked(stream) if case.stream else _sent(b"200 OK\r\ncontent-length: %d" % len(body), body)
        found.append(bytes((number,)) + _CUTS + (sent[: -len(sent) // 3] if case.reset else sent))
    for odd in (
        _sent(b"529 Busy\r\nretry-after: 7\r\ncontent-length: %d" % len(_FAILED), _FAILED),
        _sent(b"100 Continue", b"") + _sent(b"204 None", b""),
        _sent(b"200 OK\r\ncontent-type: text/event-stream", _STREAMED[0]),
        _sent(b"301 Moved\r\nlocation: http://a/\r\ncontent-length: 0", b""),
        b"HTTP/1.0 200 OK\r\n\r\n{}",
    ):
        found += [bytes((number,)) + _CUTS + odd for number in (0, 2, 6, 14)]
    return found


# --- what an operator writes ------------------------------------------------------------------------------------------

_CONFIG = b"""[server]
listen = "127.0.0.1:8400"
workers = 2
[capture]
bodies = true
purpose = "trials"
approved_by = "me"
redact = ["secrets"]
[[endpoint]]
name = "openai"
dialect = "openai"
base_url = "https://api.openai.com/v1"
api_key = "env:OPENAI_API_KEY"
[[arm]]
name = "closed"
endpoint = "openai"
model = "gpt-4o"
price = { input = "2.5", output = "10" }
[[route]]
name = "assistant"
incumbent = "closed"
[[key]]
name = "app"
secret = "env:APP_KEY"
routes = ["assistant"]
[[budget]]
name = "month"
limit_usd = "100"
window = "month"
"""
_SECRETS = [
    b'{"a":"key sk-proj-abcdefghijklmnop1234 and AKIAABCDEFGHIJKLMNOP"}',
    b'{"a":"https://me:hunter22@host/x \\n-----BEGIN RSA PRIVATE KEY-----\\nabc\\n-----END RSA PRIVATE KEY-----"}',
    b'api_key = "0123456789abcdef0123456789abcdef" Authorization: Bearer eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK',
]
_BODIES = [chat(), chat(stream=True, stream_options={"include_usage": True}), _TOOLS, _MESSAGES, _RESPONSES]

SEEDS: Final[dict[str, list[bytes]]] = {
    "http": [_CUTS + one for one in _HTTP],
    "http_after_a_request": [_CUTS + one for one in _HTTP],
    "provider": _provider(),
    "passed_body": _BODIES,
    "translated_body": _BODIES,
    "passed_stream": [_CUTS + one for one in _STREAMED],
    "translated_stream": [_CUTS + one for one in _STREAMED],
    "whole_answer": [bytes((0x40 * stream,)) + body for stream in (0, 1) for body in (*_WHOLE, _FAILED)],
    "usage_block": _USAGES,
    "redaction": _SECRETS,
    "config": [_CONFIG],
}
