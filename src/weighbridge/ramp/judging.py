"""Scores of live answers, by the same graders as in a trial."""

from collections import OrderedDict

import msgspec

from weighbridge.config import Loaded, secret
from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.keys import find_master_key
from weighbridge.exchanges.reader import BodyReader
from weighbridge.grading.answers import answer_of, question_of
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.build import SliceGrader
from weighbridge.grading.gold import GoldBook, gold_of
from weighbridge.ramp.plan import graded
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout

RECENT_MAX = 8


class Judge:
    """Grades captured answers of one route. `why_not` says why none can be graded, `None` where they can."""

    def __init__(self, layout: Layout, loaded: Loaded, route: str) -> None:
        self.why_not: str | None = None
        self._graders = GraderBook(loaded, route)
        self._gold = GoldBook()
        self._reader: BodyReader | None = None
        """There with bodies, whether or not anything is graded: guardrails look at them, too."""
        self._recent: OrderedDict[bytes, BodyState] = OrderedDict()
        reference = loaded.config.capture.encrypt_key
        try:
            given = None if reference is None else secret(reference, loaded.folder).encode()
            master = find_master_key(layout, given)
            digests = tuple(row.digest for row in Chain(layout).snapshot().objects if row.kind == "gold")
            self._gold, _ = gold_of(layout, digests)
        except (LookupError, OSError, WeighbridgeError) as error:
            self.why_not = f"captured answers cannot be judged: {error}"
            return
        if master is None:
            self.why_not = "no answers are captured, so none can be judged"
        else:
            self._reader = BodyReader(layout, master)
        if not graded(loaded, route):
            self.why_not = f"route {route!r} has no grader"

    def body(self, reference: BodyRef) -> BodyState:
        """A captured body; `None` where it cannot be read. The last few are remembered: guardrails and graders look at
        the same."""
        if self._reader is None:
            return None
        known = self._recent.get(reference.commitment)
        if known is None:
            known = self._reader.get(reference)
            self._recent[reference.commitment] = known
            if len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
        return known

    def score(self, exchange: Exchange, beside: Exchange | None = None) -> float | None:
        """The score of an exchange's answer, `None` where it cannot be judged.

        `beside` is the incumbent's exchange of the same request, for graders that compare with its answer; such a score
        measures likeness, and the incumbent's own is 1. A failed answer of a request that can be judged scores 0.
        """
        grader = self._graders.of(exchange.slice)
        source = exchange if exchange.request is not None else beside
        if grader is None or source is None or exchange.redacted:
            return None
        asked = self._bytes(source.request)
        if asked is None:
            return None
        try:
            question = question_of(asked)
            reference = self._reference(grader, question.text, exchange, beside)
            if reference is None and grader.reference != "none":
                return None
            if exchange.outcome in ("upstream_error", "upstream_cut", "timeout"):
                return 0.0
            said = self._bytes(exchange.response)
            return None if said is None else grade(grader, answer_of(said), reference, question).score
        except (ValueError, msgspec.MsgspecError, WeighbridgeError):
            return None  # not a chat completion, or a grader of one's own raised: it cannot be judged

    def _reference(
        self, grader: SliceGrader, prompt: str | None, exchange: Exchange, beside: Exchange | None
    ) -> str | None:
        if grader.reference == "gold":
            found = self._gold.find(prompt, exchange.tags)
            return None if found is None or grader.grader.reference_problem(found) is not None else found
        said = None if beside is None or grader.reference == "none" else self._bytes(beside.response)
        return None if said is None else grader.grader.reference_of(answer_of(said))

    def _bytes(self, reference: BodyRef | None) -> bytes | None:
        found = None if reference is None else self.body(reference)
        return found if isinstance(found, bytes) else None
