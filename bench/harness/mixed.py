"""Clients of every dialect that behave as clients do: most read their answer, some leave, stall or send rubbish.

Requests come at a rate that does not wait for answers (up to a number that may be open). What each client saw is kept
in a `Told`, to be compared with what the gateway's log and the providers' bills say of the same request.
"""

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeVar

Dialect = Literal["openai", "anthropic", "openai-responses"]
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "openai-responses")
PATHS: dict[Dialect, str] = {
    "openai": "/v1/chat/completions", "anthropic": "/v1/messages", "openai-responses": "/v1/responses",
}  # fmt: skip
ENDS: dict[Dialect, tuple[bytes, ...]] = {
    "openai": (b"data: [DONE]",),
    "anthropic": (b'"type": "message_stop"', b'"type":"message_stop"'),
    "openai-responses": (b'"response.completed"', b'"response.incomplete"'),
}
"""What stands in the last event of a whole stream."""

Behaviour = Literal["reads", "leaves", "dawdles", "sends half", "wrong key", "no JSON"]
Ending = Literal["whole", "error", "broken", "left", "refused", "nothing"]
"""`error`: a status of 500 and more, or 429; `broken`: a 200 without its end; `nothing`: no answer at all."""

BEHAVIOURS: dict[Behaviour, int] = {
    "reads": 83, "leaves": 9, "dawdles": 3, "sends half": 2, "wrong key": 2, "no JSON": 1,
}  # fmt: skip
MODELS: dict[str, int] = {
    "plain": 60, "slow": 12, "tools": 8, "thinking": 6, "length": 4, "busy": 3, "failing": 2, "breaking": 3,
    "erring": 2,
}  # fmt: skip
"""How often each is called, of a hundred."""

ANSWER_S_MAX = 60.0
PAUSE_S = 0.15
CAPACITY_OPEN = 24

T = TypeVar("T")


class Told(NamedTuple):
    user: str
    """The mark of this request, which goes along to the provider."""
    id: str | None
    """The exchange, where an answer named it."""
    status: int
    """0 where none came."""
    ending: Ending


class Plan(NamedTuple):
    dialect: Dialect
    model: str
    stream: bool
    behaviour: Behaviour


class Line(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Clients:
    def __init__(self, listen: str, key: str, seed: int, *, open_max: int = 400) -> None:
        self.host, _, port = listen.rpartition(":")
        self.port, self.key, self.open_max = int(port), key, open_max
        self.dice = random.Random(seed)
        self.told: list[Told] = []
        self.idle: list[Line] = []
        self.opened = self.open = self.late = self.number = 0
        """Connections made; requests running; requests that had to wait because too many were."""

    def plan(self) -> Plan:
        dice = self.dice
        model = f"{_drawn(dice, MODELS)}-{dice.choice(DIALECTS)}"
        return Plan(dice.choice(DIALECTS), model, dice.random() < 0.5, _drawn(dice, BEHAVIOURS))

    # --- load ---------------------------------------------------------------------------------------------------------

    async def at_most(self, seconds: float, clients: int = CAPACITY_OPEN) -> float:
        """Answers a second where each client asks again as soon as it has its answer."""
        end = time.monotonic() + seconds
        before = len(self.told)

        async def one() -> None:
            while time.monotonic() < end:
                await self.ask(self.plan())

        began = time.monotonic()
        await asyncio.gather(*(one() for _ in range(clients)))
        return (len(self.told) - before) / (time.monotonic() - began)

    async def offered(self, per_second: float, until: float) -> None:
        """So many requests a second until then (monotonic clock), and the end of each."""
        began, sent = time.monotonic(), 0
        running: set[asyncio.Task[None]] = set()
        while time.monotonic() < until:
            due = int((time.monotonic() - began) * per_second)
            while sent < due:
                sent += 1
                if len(running) >= self.open_max:
                    self.late += 1
                    continue
                task = asyncio.create_task(self.ask(self.plan()))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*running)

    def close(self) -> None:
        while self.idle:
            self.idle.pop().writer.close()

    # --- one request --------------------------------------------------------------------------------------------------

    async def ask(self, plan: Plan) -> None:
        self.number += 1
        user = f"soak-{self.number}"
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                told = await self._ask(plan, user)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            told = Told(user, None, 0, "nothing")
        self.told.append(told)

    async def _ask(self, plan: Plan, user: str) -> Told:
        line = await self._line()
        keep = False
        try:
            request = self._request(plan, user)
            if plan.behaviour == "sends half":
                line.writer.write(request[: len(request) * 2 // 3])
                await line.writer.drain()
                return Told(user, None, 0, "left")
            line.writer.write(request)
            told, keep = await self._answer(plan, user, line)
            return told
        finally:
            if keep:
                self.idle.append(line)
            elif plan.behaviour == "leaves":
                line.writer.transport.abort()
            else:
                line.writer.close()

    async def _line(self) -> Line:
        while self.idle:
            line = self.idle.pop()
            if not line.reader.at_eof() and not line.writer.is_closing():
                return line
            line.writer.close()
        self.opened += 1
        return Line(*await asyncio.open_connection(self.host, self.port))

    def _request(self, plan: Plan, user: str) -> bytes:
        body = b"{" if plan.behaviour == "no JSON" else _body(plan, user)
        key = "nobody" if plan.behaviour == "wrong key" else self.key
        head = (
            f"POST {PATHS[plan.dialect]} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def _answer(self, plan: Plan, user: str, line: Line) -> tuple[Told, bool]:
        leaves_at = self.dice.randrange(0, 3000) if plan.behaviour == "leaves" else None
        if leaves_at is not None and leaves_at < 300:
            await asyncio.sleep(self.dice.random() * 0.02)  # without having read a byte
            return Told(user, None, 0, "left"), False
        head = await line.reader.readuntil(b"\r\n\r\n")
        fields = _fields(head)
        status, identity = int(head[9:12]), fields.get("x-weighbridge-id")
        if plan.behaviour == "dawdles":
            await asyncio.sleep(PAUSE_S)
        body, whole = await self._body(line.reader, fields, leaves_at, slow=plan.behaviour == "dawdles")
        if leaves_at is not None:
            return Told(user, identity, status, "left"), False
        ending: Ending = "whole" if whole else "broken"
        if status >= 500 or status == 429:
            ending = "error"
        elif status >= 400:
            ending = "refused"
        elif fields.get("content-type", "").startswith("text/event-stream"):
            last = body[-65536:]
            if not whole or not any(end in last for end in ENDS[plan.dialect]):
                ending = "broken"
        return Told(user, identity, status, ending), whole and fields.get("connection") != "close"

    async def _body(
        self, reader: asyncio.StreamReader, fields: dict[str, str], leaves_at: int | None, *, slow: bool
    ) -> tuple[bytes, bool]:
        """What came, and whether it ended as HTTP says that it must."""
        left = leaves_at
        body = b""
        with suppress(asyncio.IncompleteReadError):
            if "content-length" in fields:
                length = int(fields["content-length"])
                return await reader.readexactly(length if left is None else min(length, left)), left is None
            while True:
                size = int(await reader.readuntil(b"\r\n"), 16)
                piece = await reader.readexactly(size + 2)
                body += piece[:-2]
                if not size:
                    return body, True
                if left is not None and len(body) >= left:
                    return body, False
                if slow and self.dice.random() < 0.05:
                    await asyncio.sleep(PAUSE_S)
        return body, False


def _drawn(dice: random.Random, weights: dict[T, int]) -> T:
    return dice.choices(list(weights), list(weights.values()))[0]


def _fields(head: bytes) -> dict[str, str]:
    rows = (row.partition(":") for row in head.decode("latin-1").split("\r\n")[1:] if row)
    return {name.lower(): value.strip() for name, _, value in rows}


def _body(plan: Plan, user: str) -> bytes:
    question = f"What is the weather in Bonn and Rome? {user}"
    row: dict[str, Any] = {"model": plan.model, "stream": plan.stream}
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = plan.model.startswith("tools")
    if plan.dialect == "openai":
        row |= {"messages": [{"role": "user", "content": question}], "max_tokens": 300, "user": user}
        if tools:
            row["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    elif plan.dialect == "anthropic":
        row |= {"messages": [{"role": "user", "content": question}], "max_tokens": 300, "metadata": {"user_id": user}}
        if tools:
            row["tools"] = [{"name": "weather", "input_schema": schema}]
    else:
        row |= {"input": question, "max_output_tokens": 300, "user": user}
        if tools:
            row["tools"] = [{"type": "function", "name": "weather", "parameters": schema, "strict": False}]
    return json.dumps(row).encode()
