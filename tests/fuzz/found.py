"""What fuzzing has found: inputs that broke something, each mended since and fed again by every run."""

from typing import Final

from tests.fuzz.provider_side import CASES, Case

_UNCUT: Final = bytes(4)


def _sent(case: Case, answer: bytes) -> bytes:
    return bytes((CASES.index(case),)) + _UNCUT + answer


_JSON, _STREAM = (Case("openai", "openai", stream, False) for stream in (False, True))

FOUND: Final[dict[str, list[bytes]]] = {
    "provider": [
        # Statuses that HTTP does not have were passed on.
        _sent(_JSON, b"HTTP/1.1 709 High\r\ncontent-length: 2\r\n\r\n{}"),
        _sent(_JSON, b"HTTP/1.1 0 None\r\ncontent-length: 2\r\n\r\n{}"),
        # Of a stream with status 204 the client got framing, which it had to read as the next answer.
        _sent(_STREAM, b"HTTP/1.1 204 None\r\ncontent-type: text/event-stream\r\n\r\n"),
    ],
    "translated_stream": [
        # An output item that was announced as a message was done as a call: a KeyError in the gateway's loop.
        _UNCUT
        + b'data: {"type":"response.output_item.added","output_index":1,"item":{"id":"m","type":"message"}}\n\n'
        + b'data: {"type":"response.output_item.done","output_index":1,"item":{"id":"f","type":"function_call",'
        + b'"call_id":"c","name":"f","arguments":"{}"}}\n\n',
    ],
    "redaction": [
        # A private key in JSON within JSON: the backslash of the quote after it went with the key.
        b'{"a":"https://me:hunter22@host/x \n-----BEGIN RSA PRIVATE KEY-----"}',
    ],
}
