"""A host of models that does what it is asked, but for the quirks that it is given."""

import asyncio
import hashlib
import json
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.dialects import Spoken
from tests.fakes.provider import FakeProvider, Script, Tokens, _dump

WORDS_PER_TOKEN = 1


@dataclass
class Host(FakeProvider):
    quirks: set[str] = field(default_factory=set)
    weights: str = "w1"
    """Answers to open questions follow from it."""
    context_tokens: int = 100_000
    asked: int = 0

    async def _answer(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        request: dict[str, Any],
        script: Script,
        spoken: Spoken = "openai",
    ) -> bool:
        self.asked += 1
        if not isinstance(request.get("temperature", 0), int | float):
            return await self._refuse(writer, 400, "temperature must be a number")
        if "throttles" in self.quirks and self.asked % 5 == 0:
            await self._send(writer, 429, [("retry-after", "1"), ("x-ratelimit-limit-requests", "60")], b"{}")
            return True
        if "no_schema" in self.quirks and "json_schema" in str(request.get("response_format")):
            return await self._refuse(writer, 400, "response_format is not supported")
        prompt = request["messages"][-1]["content"]
        tokens = len(prompt.split())
        if tokens > self.context_tokens:
            if "cuts" not in self.quirks:
                return await self._refuse(writer, 400, f"at most {self.context_tokens} tokens")
            prompt, tokens = prompt[-self.context_tokens :], self.context_tokens
        message, reason = self._message(request, prompt)
        text = message.get("content") or ""
        completion = max(1, len(text.split()) + 4 * len(message.get("tool_calls") or ()))
        usage = {"prompt_tokens": tokens, "completion_tokens": completion, "total_tokens": tokens + completion}
        self._charge(request, Tokens(tokens, completion), stream=bool(request.get("stream")))
        headers = [("x-ratelimit-remaining-requests", "41")] if "limits" in self.quirks else []
        if request.get("stream"):
            return await self._streamed(writer, request, message, reason, usage)
        logprobs: Any = {"content": []} if request.get("logprobs") and "no_logprobs" not in self.quirks else None
        answer = {
            "id": "x", "object": "chat.completion", "created": 1, "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": logprobs}],
            "usage": usage,
        }  # fmt: skip
        await self._send(writer, 200, headers, _dump(answer, script))
        return True

    async def _refuse(self, writer: StreamWriter, status: int, message: str) -> bool:
        await self._send(writer, status, [], json.dumps({"error": {"message": message, "code": "bad"}}).encode())
        return True

    def _message(self, request: dict[str, Any], prompt: str) -> tuple[dict[str, Any], str]:
        tools, choice = request.get("tools"), request.get("tool_choice", "auto")
        if tools and choice != "none" and "no_tools" not in self.quirks:
            name = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
            if "ignores_choice" in self.quirks:
                name = tools[0]["function"]["name"]
            argument = next(
                iter(next(t for t in tools if t["function"]["name"] == name)["function"]["parameters"]["properties"])
            )
            count = 2 if "Rome" in prompt and "no_parallel" not in self.quirks else 1
            arguments = "{broken" if "broken_arguments" in self.quirks else json.dumps({argument: "Paris"})
            calls = [
                {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for at in range(count)
            ]
            return {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        if (request.get("response_format") or {}).get("type") and "ignores_schema" not in self.quirks:
            return {"role": "assistant", "content": '{"colour": "red", "count": 2}'}, "stop"
        text = self._text(request, prompt)
        stop = (request.get("stop") or [None])[0]
        if stop and stop in text and "ignores_stop" not in self.quirks:
            return {"role": "assistant", "content": text.partition(stop)[0]}, "stop"
        words = text.split(" ")
        if len(words) > request["max_tokens"] and "ignores_max_tokens" not in self.quirks:
            return {"role": "assistant", "content": " ".join(words[: request["max_tokens"]])}, "length"
        message = {"role": "assistant", "content": text}
        if "reasons" in self.quirks:
            message["reasoning_content"] = "17 * 23 is 391"
        return message, "stop"

    def _text(self, request: dict[str, Any], prompt: str) -> str:
        if "code word" in prompt:
            return "heliotrope" if prompt.startswith("The code word is heliotrope") else "I do not know"
        if prompt.startswith("Count"):
            return "4 5 6 7 8 9"
        seed: object = request.get("seed") if request.get("temperature") else None
        if "unsteady" in self.quirks:
            seed = self.asked
        mixed = hashlib.sha256(f"{self.weights}{prompt}{seed}".encode()).hexdigest()
        length = 500 if "story" in prompt else 6
        return " ".join(mixed[at % 60 : at % 60 + 4] for at in range(length))

    async def _streamed(
        self, writer: StreamWriter, request: dict[str, Any], message: dict[str, Any], reason: str, usage: dict[str, int]
    ) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
        deltas: list[dict[str, Any]] = [{"role": "assistant"}]
        deltas += [{"content": f"{word} "} for word in (message.get("content") or "").split()]
        for at, call in enumerate(message.get("tool_calls") or ()):
            deltas.append({"tool_calls": [{"index": at, **call}]})
        rows = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        rows.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if "no_stream_usage" not in self.quirks:
            rows.append({**base, "choices": [], "usage": usage})
        for event in [*(json.dumps(row) for row in rows), "[DONE]"]:
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            try:
                await writer.drain()
            except ConnectionError:
                self.cancelled += 1
                raise
            if len(deltas) > 100:
                await asyncio.sleep(0.005)
                if writer.transport.is_closing():
                    self.cancelled += 1
                    return False
        writer.write(b"0\r\n\r\n")
        return True
