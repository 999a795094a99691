"""A streamed answer put together again, and the parts of an answer that people and graders look at."""

from typing import Any

import msgspec

from weighbridge.wire.sse import events_of

_decode = msgspec.json.decode


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is the text that the model wrote: usually JSON, not checked."""

    name: str
    arguments: str
    id: str | None = None


def assemble(sse: bytes) -> dict[str, Any]:
    """The `chat.completion` that a chat event stream adds up to.

    Text, refusals and reasoning are joined; tool calls are put together by index; usage, finish reasons and log
    probabilities are taken over. Events that are not JSON are left out. A stream that carried an error has the key
    `error` besides, one that broke off before `[DONE]` has `incomplete`.
    """
    whole: dict[str, Any] = {"object": "chat.completion", "choices": []}
    choices: dict[int, dict[str, Any]] = {}
    finished = False
    for data in events_of(sse):
        if data.strip() == b"[DONE]":
            finished = True
            continue
        event = _object(data)
        if event is None:
            continue
        for name, value in event.items():
            if name not in ("choices", "object", "usage", "error"):
                whole.setdefault(name, value)
        if event.get("usage") is not None:
            whole["usage"] = event["usage"]
        if event.get("error") is not None:
            whole["error"] = event["error"]
        for piece in _rows(event.get("choices")):
            _add_choice(choices, piece)
    whole["choices"] = [choices[index] for index in sorted(choices)]
    if not finished:
        whole["incomplete"] = True
    return whole


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def _rows(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _index(row: dict[str, Any], default: int) -> int:
    index = row.get("index")
    return index if isinstance(index, int) else default


def _add_choice(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = _index(piece, 0)
    choice = choices.setdefault(
        index, {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
    )
    delta = piece.get("delta")
    if isinstance(delta, dict):
        _add_delta(choice["message"], delta)
    if piece.get("finish_reason") is not None:
        choice["finish_reason"] = piece["finish_reason"]
    logprobs = piece.get("logprobs")
    if isinstance(logprobs, dict):
        kept = choice.setdefault("logprobs", {})
        for name, rows in logprobs.items():
            if isinstance(rows, list):
                kept[name] = (kept.get(name) or []) + rows
            else:
                kept.setdefault(name, rows)


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            _add_tool_calls(message, value)
        elif name == "function_call" and isinstance(value, dict):
            _join_text(message.setdefault("function_call", {}), value, ("name", "arguments"))
        elif name == "role":
            message["role"] = value or message["role"]
        elif isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif isinstance(value, list):
            message[name] = (message.get(name) or []) + value
        elif value is not None:
            message[name] = value


def _add_tool_calls(message: dict[str, Any], pieces: object) -> None:
    calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
    for piece in _rows(pieces):
        index = _index(piece, max(len(calls) - 1, 0))
        while len(calls) <= index < 1024:
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        if not 0 <= index < len(calls):
            continue
        call = calls[index]
        for name in ("id", "type"):
            if piece.get(name):
                call[name] = piece[name]
        function = piece.get("function")
        if isinstance(function, dict):
            _join_text(call["function"], function, ("name", "arguments"))


def _join_text(kept: dict[str, Any], piece: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if isinstance(piece.get(name), str):
            kept[name] = (kept.get(name) or "") + piece[name]


def _message_of(body: bytes) -> dict[str, Any]:
    """The first choice's message, of a JSON answer or of an event stream; empty where there is none."""
    answer = _object(body) if body.lstrip()[:1] == b"{" else assemble(body)
    choices = _rows(answer.get("choices")) if answer is not None else []
    message = choices[0].get("message") if choices else None
    return message if isinstance(message, dict) else {}


def answer_text(body: bytes) -> str:
    """The text of the first choice, of a JSON answer or of an event stream; `""` where the model wrote none."""
    content = _message_of(body).get("content")
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in _rows(content) if isinstance(part.get("text"), str))


def refusal_text(body: bytes) -> str | None:
    """What a model wrote in place of an answer, where it said so in the field made for it."""
    refusal = _message_of(body).get("refusal")
    return refusal if isinstance(refusal, str) and refusal else None


def tool_calls(body: bytes) -> list[ToolCall]:
    """The tool calls of the first choice, the older `function_call` included."""
    message = _message_of(body)
    calls = []
    for row in _rows(message.get("tool_calls")):
        function = row.get("function")
        if isinstance(function, dict):
            calls.append(ToolCall(str(function.get("name") or ""), str(function.get("arguments") or ""), row.get("id")))
    older = message.get("function_call")
    if isinstance(older, dict):
        calls.append(ToolCall(str(older.get("name") or ""), str(older.get("arguments") or "")))
    return calls
