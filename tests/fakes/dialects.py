"""Anthropic messages and OpenAI responses as their makers document them, written apart from the product's own code.

A provider is strict here: what the real one answers with a 400 is a 400. `refused_by_X` says why, `X_answer` is the
JSON answer and `X_events` the stream, from a `Script`.
"""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tests.fakes.provider import Script, Tokens

Spoken = Literal["openai", "anthropic", "openai-responses"]
Row = dict[str, Any]

ANTHROPIC_STOPS = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "refusal": "refusal",
    "content_filter": "refusal",
}  # fmt: skip
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


UNTHREADED = "thread: this request cannot be continued on a thread"
"""Of a host that keeps no conversations; a client then sends them whole."""


def signature(text: str) -> str:
    """What the maker of a thinking block signs it with, and wants back unchanged."""
    return "Sig" + sha256(f"fake:{text}".encode()).hexdigest()


def finish_of(script: "Script") -> str:
    if script.finish is not None:
        return script.finish
    return "tool_calls" if script.tool_calls else "refusal" if script.refusal is not None else "stop"


def pieces(text: str, size: int = 7) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


# --- anthropic --------------------------------------------------------------------------------------------------------


def refused_by_anthropic(headers: Sequence[tuple[str, str]], request: Row, *, counting: bool = False) -> str | None:
    given = {name.lower(): value for name, value in headers}
    if not any(given.get(name) for name in ("x-api-key", "api-key", "authorization")):
        return "x-api-key header is required"
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", given.get("anthropic-version", "")):
        return "anthropic-version: header is required"
    if not counting and not isinstance(request.get("max_tokens"), int):
        return "max_tokens: Field required"
    known = {
        "model", "messages", "max_tokens", "system", "stream", "temperature", "top_p", "top_k", "stop_sequences",
        "tools", "tool_choice", "thinking", "output_config", "metadata", "cache_control", "service_tier",
    }  # fmt: skip
    if "thread" in request:
        return UNTHREADED
    for name in request:
        if name not in known:
            return f"{name}: Extra inputs are not permitted"
    waiting: set[str] = set()
    for place, turn in enumerate(request["messages"]):
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
        if turn["role"] not in ("user", "assistant"):
            return f"messages.{place}.role: Input should be 'user' or 'assistant'"
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if waiting - answered:
            return f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after"
        if answered - waiting:
            return f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks"
        for block in blocks:
            if block["type"] == "text" and not block["text"]:
                return f"messages.{place}: text content blocks must be non-empty"
            if block["type"] == "thinking" and block["signature"] != signature(block["thinking"]):
                return f"messages.{place}: Invalid `signature` in `thinking` block"
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return "the last turn's calls have no results" if waiting else None


_VERTEX = re.compile(r".*/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)")


def refused_by_vertex(path: str, headers: Sequence[tuple[str, str]], request: Row) -> str | None:
    """Claude at Google: the model and whether it streams stand in the path, the version of the API in the body."""
    found = _VERTEX.fullmatch(path)
    if found is None:
        return f"{path}: no such method"
    given = {name.lower(): value for name, value in headers}
    if not given.get("authorization", "").startswith("Bearer "):
        return "Request is missing required authentication credential."
    if request.get("anthropic_version") not in ("vertex-2023-10-16", "2026-10-21"):
        return "anthropic_version: Field required"
    counts = found[1] == "count-tokens"
    if counts != ("model" in request):
        return "model: Field required" if counts else "model: Extra inputs are not permitted"
    if (found[2] == "streamRawPredict") != bool(request.get("stream")):
        return "stream: does not fit the method"
    return None


def as_anthropics_own(path: str, request: Row) -> str:
    """The same call at Anthropic itself. `request` becomes the body that it has there."""
    found = _VERTEX.fullmatch(path)
    request.pop("anthropic_version", None)
    if found is None or found[1] == "count-tokens":
        return "/v1/messages/count_tokens"
    request["model"] = found[1].replace("%40", "@")
    return "/v1/messages"


def anthropic_usage(tokens: "Tokens") -> Row:
    usage: Row = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output + tokens.reasoning,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write,
        "service_tier": "standard",
    }
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage


def anthropic_blocks(script: "Script") -> list[Row]:
    blocks: list[Row] = []
    if script.reasoning:
        blocks.append({"type": "thinking", "thinking": script.reasoning, "signature": signature(script.reasoning)})
    if script.text and (not script.tool_calls or script.text_with_calls):
        blocks.append({"type": "text", "text": script.refusal if script.refusal is not None else script.text})
    for at, (name, arguments) in enumerate(script.tool_calls):
        blocks.append({"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": json.loads(arguments)})
    return blocks


def anthropic_answer(request: Row, script: "Script", tokens: "Tokens") -> Row:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": anthropic_blocks(script),
        "stop_reason": ANTHROPIC_STOPS[finish_of(script)],
        "stop_sequence": None,
        "usage": anthropic_usage(tokens),
    }


def _named(row: Row) -> bytes:
    return f"event: {row['type']}\ndata: {json.dumps(row)}\n\n".encode()


def anthropic_events(request: Row, script: "Script", tokens: "Tokens") -> list[bytes]:
    message = anthropic_answer(request, script, tokens)
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    rows: list[Row] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        rows += _block_rows(index, block)
    if script.error_event is not None:
        return [_named(row) for row in rows] + [_named({"type": "error", "error": script.error_event})]
    thought: Row = {name: usage[name] for name in ("output_tokens_details",) if name in usage}
    rows.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": usage["output_tokens"], **thought},
        }
    )
    rows.append({"type": "message_stop"})
    return [_named(row) for row in rows]


def _block_rows(index: int, block: Row) -> list[Row]:
    kind = block["type"]
    without: dict[str, Row] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    rows: list[Row] = [{"type": "content_block_start", "index": index, "content_block": block | without[kind]}]
    if kind == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    elif kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        written = json.dumps(block["input"])
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(written)]]
    rows += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [*rows, {"type": "content_block_stop", "index": index}]


# --- responses --------------------------------------------------------------------------------------------------------


def refused_by_responses(request: Row) -> str | None:
    known = {
        "model", "input", "instructions", "stream", "temperature", "top_p", "tools", "tool_choice", "text", "store",
        "include", "reasoning", "parallel_tool_calls", "max_output_tokens", "user", "metadata", "service_tier",
        "prompt_cache_key", "previous_response_id",
    }  # fmt: skip
    for name in request:
        if name not in known:
            return f"Unknown parameter: '{name}'."
    if isinstance(request["input"], str):
        return None
    called: set[str] = set()
    for item in request["input"]:
        kind = item.get("type", "message")
        if kind == "function_call":
            called.add(item["call_id"])
        elif kind == "function_call_output" and item["call_id"] not in called:
            return f"No tool call found for function call output with call_id {item['call_id']}."
        elif kind == "reasoning" and item.get("encrypted_content") != signature(_summary(item)):
            return "The encrypted content could not be verified."
        elif kind == "message":
            for part in item["content"] if isinstance(item["content"], list) else ():
                wanted = (
                    ("output_text", "refusal")
                    if item["role"] == "assistant"
                    else ("input_text", "input_image", "input_file")
                )
                if part["type"] not in wanted:
                    return f"Invalid value: '{part['type']}'."
    return None


def _summary(item: Row) -> str:
    return "".join(part["text"] for part in item.get("summary", ()))


def responses_usage(tokens: "Tokens") -> Row:
    given = tokens.input + tokens.cache_read + tokens.cache_write
    made = tokens.output + tokens.reasoning
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": given + made,
    }


def responses_items(script: "Script") -> list[Row]:
    items: list[Row] = []
    if script.reasoning:
        summary = [{"type": "summary_text", "text": script.reasoning}]
        sealed = signature(script.reasoning)
        items.append({"id": "rs_0", "type": "reasoning", "summary": summary, "encrypted_content": sealed})
    if not script.tool_calls or script.text_with_calls:
        part: Row = {"type": "output_text", "text": script.text, "annotations": []}
        if script.refusal is not None:
            part = {"type": "refusal", "refusal": script.refusal}
        items.append({"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    for at, (name, arguments) in enumerate(script.tool_calls):
        items.append(
            {
                "id": f"fc_{at}", "type": "function_call", "status": "completed", "call_id": f"call_{at}",
                "name": name, "arguments": arguments,
            }
        )  # fmt: skip
    return items


def responses_answer(request: Row, script: "Script", tokens: "Tokens") -> Row:
    cut = INCOMPLETE.get(finish_of(script))
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1,
        "model": request["model"],
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "error": None,
        "instructions": request.get("instructions"),
        "output": responses_items(script),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.get("tools", []),
        "temperature": 1.0,
        "top_p": 1.0,
        "metadata": {},
        "service_tier": "default",
        "usage": responses_usage(tokens),
    }


def responses_events(request: Row, script: "Script", tokens: "Tokens") -> list[bytes]:
    whole = responses_answer(request, script, tokens)
    empty = {**whole, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    rows: list[Row] = [
        {"type": "response.created", "response": empty},
        {"type": "response.in_progress", "response": empty},
    ]
    for index, item in enumerate(whole["output"]):
        rows += _item_rows(index, item)
    if script.error_event is not None:
        rows.append({"type": "response.failed", "response": {**empty, "status": "failed", "error": script.error_event}})
    else:
        rows.append({"type": f"response.{whole['status']}", "response": whole})
    return [_named({**row, "sequence_number": number}) for number, row in enumerate(rows)]


def _item_rows(index: int, item: Row) -> list[Row]:
    at = {"output_index": index, "item_id": item["id"]}
    kind = item["type"]
    if kind == "function_call":
        begun = {**item, "status": "in_progress", "arguments": ""}
        name = "response.function_call_arguments"
        inner = [{"type": f"{name}.delta", **at, "delta": piece} for piece in pieces(item["arguments"])]
        inner.append({"type": f"{name}.done", **at, "arguments": item["arguments"], "name": item["name"]})
    elif kind == "reasoning":
        begun = {**item, "summary": [], "encrypted_content": None}
        name, text = "response.reasoning_summary", item["summary"][0]["text"]
        where = {**at, "summary_index": 0}
        inner = [{"type": f"{name}_part.added", **where, "part": {"type": "summary_text", "text": ""}}]
        inner += [{"type": f"{name}_text.delta", **where, "delta": piece} for piece in pieces(text)]
        inner.append({"type": f"{name}_text.done", **where, "text": text})
        inner.append({"type": f"{name}_part.done", **where, "part": item["summary"][0]})
    else:
        begun, part = {**item, "status": "in_progress", "content": []}, item["content"][0]
        where = {**at, "content_index": 0}
        field, name = ("refusal", "response.refusal") if part["type"] == "refusal" else ("text", "response.output_text")
        inner = [{"type": "response.content_part.added", **where, "part": {**part, field: ""}}]
        extra: Row = {} if field == "refusal" else {"logprobs": []}
        inner += [{"type": f"{name}.delta", **where, "delta": piece, **extra} for piece in pieces(part[field])]
        inner.append({"type": f"{name}.done", **where, field: part[field], **extra})
        inner.append({"type": "response.content_part.done", **where, "part": part})
    first = {"type": "response.output_item.added", "output_index": index, "item": begun}
    return [first, *inner, {"type": "response.output_item.done", "output_index": index, "item": item}]
