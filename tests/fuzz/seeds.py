"""Where fuzzing starts: real messages of each surface. Four bytes in front say how they are cut."""

from typing import Final

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

SEEDS: Final[dict[str, list[bytes]]] = {
    "http": [_CUTS + one for one in _HTTP],
    "http_after_a_request": [_CUTS + one for one in _HTTP],
    "chat_body": [chat(), chat(stream=True, stream_options={"include_usage": True}), _TOOLS],
    "messages_body": [chat(), _TOOLS, _MESSAGES, _RESPONSES],
    "event_stream": [_CUTS + one for one in _STREAMS],
    "without_our_usage": [_CUTS + one for one in _STREAMS],
    "translated_stream": [_CUTS + one for one in _STREAMS],
}
