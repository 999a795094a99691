"""How handlers reach the keeper: one short connection a call, in a thread, so that no page waits for another."""

from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from weighbridge.admin.people import Person
from weighbridge.store.control import Asked, ControlClient
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message

A = TypeVar("A")
CALL_S_MAX = 30.0


class Keeper:
    """Raises `ControlError` where none answers, `NotAllowedError` and `NotThereError` where it says so."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def call(self, request: Message, answer: type[A]) -> A:
        return await run_in_threadpool(self.call_now, request, answer)

    def call_now(self, request: Message, answer: type[A]) -> A:
        """Blocks."""
        with ControlClient(self._layout, timeout_s=CALL_S_MAX) as control:
            return control.call(request, answer)

    async def call_as(self, person: Person, request: Asked, answer: type[A]) -> A:
        """In the name of a person: the keeper itself looks up who they are, and writes down what changed."""
        return await self.call(person.asks(request), answer)
