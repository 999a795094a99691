"""Labelling pairs: two answers side by side, without saying whose they are."""

from collections.abc import Callable
from threading import Lock
from typing import Literal

import msgspec

from weighbridge.trials.labelbook import LabelBook
from weighbridge.trials.labelled import Texts
from weighbridge.trials.labels import Label, Sample, ToLabel, Word, candidate_left


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    item: str
    slice: str
    request: str
    left: str
    right: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where one person stands. `pair`: what to look at next; `None` where nothing is left."""

    done: int
    total: int
    pair: Shown | None


class Labelling:
    """The labelling of one trial by several people at once. Resumes where its book ends.

    texts: reads a pair; `None` where a body was erased meanwhile, and the pair is passed over.
    """

    def __init__(
        self,
        sample: Sample,
        pairs: list[ToLabel],
        book: LabelBook,
        texts: Callable[[ToLabel], Texts | None],
        wall_ns: Callable[[], int],
    ) -> None:
        self._sample, self._pairs, self._book, self._texts, self._wall_ns = sample, pairs, book, texts, wall_ns
        self._by_item = {pair.item: pair for pair in pairs}
        self._labels = book.labels()
        self._last: dict[str, list[str]] = {}
        self._again: dict[str, str] = {}
        self._gone: set[str] = set()
        self._lock = Lock()

    def _open_for(self, name: str) -> list[ToLabel]:
        found = []
        for pair in self._pairs:
            people = self._labels.get(pair.item, {})
            if name not in people and len(people) < pair.people and pair.item not in self._gone:
                found.append(pair)
        return found

    def state(self, name: str) -> State:
        with self._lock:
            done = sum(name in people for people in self._labels.values())
            waiting = self._open_for(name)
            again = self._again.get(name)
            queue = [self._by_item[again], *waiting] if again is not None else waiting
            for pair in queue:
                texts = self._texts(pair)
                if texts is None:
                    self._gone.add(pair.item)
                    self._again.pop(name, None)
                    continue
                left, right = texts.incumbent, texts.candidate
                if candidate_left(self._sample, pair.item, name):
                    left, right = right, left
                shown = Shown(item=pair.item, slice=pair.slice, request=texts.request, left=left, right=right)
                return State(done=done, total=done + len(waiting), pair=shown)
            return State(done=done, total=done, pair=None)

    def choose(self, name: str, item: str, word: Literal["left", "right", "tie"]) -> str | None:
        """Keep what a person said; why it cannot be kept, else `None`."""
        with self._lock:
            pair = self._by_item.get(item)
            if pair is None:
                return "This pair is not one that was drawn."
            people = self._labels.get(item, {})
            if name not in people and len(people) >= pair.people:
                return "Others have labelled this pair meanwhile; load the page again."
            meant: Word = "tie"
            if word != "tie":
                meant = "candidate" if (word == "left") == candidate_left(self._sample, item, name) else "incumbent"
            label = Label(item=item, labeller=name, word=meant, time_ns=self._wall_ns())
            self._book.add(label)
            self._labels.setdefault(item, {})[name] = label
            self._again.pop(name, None)
            self._last.setdefault(name, []).append(item)
            return None

    def back(self, name: str) -> None:
        """Show a person their last pair again."""
        with self._lock:
            last = self._last.get(name)
            if last:
                self._again[name] = last.pop()
