"""A panel's opinion on a pair of answers, asked through the gateway with purpose `judge`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256

import msgspec

from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.judge import (
    JudgeGrader,
    criteria_call,
    met_of,
    opinion,
    pair_call,
    without_pleading,
    word_of,
)
from weighbridge.stats.length import length_difference
from weighbridge.trials.calls import Again, Answered, Lost, NotJudged, NotSent, Reading, Sent, backoff_s, read
from weighbridge.trials.money import OutOfMoney, Purse
from weighbridge.trials.outcome import Scores

TRIES = 4


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """One judge of a panel: how to ask it, and an upper bound of what one question costs."""

    arm: str
    ask: Callable[[str, bytes], Awaitable[Sent]]
    """(key of the question, request) -> what came back. Raises as `calls.Send` does."""
    bound: Callable[[str, bytes], int | None]
    """(key, request) -> nano-dollars; `None` where the price is unknown."""


class Panel:
    """Judges by arm, one purse for all."""

    def __init__(
        self,
        route: str,
        judges: Mapping[str, Judge],
        purse: Purse,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._route, self._judges, self._purse, self._sleep = route, judges, purse, sleep

    async def compare(
        self, grader: JudgeGrader, item: str, question: Question, incumbent: Answer, candidate: Answer
    ) -> Scores:
        """Both scores of a pair, with the difference in length. Raises `NotJudged` or `OutOfMoney`."""
        judges = [self._judges[name] for name in grader.judges]
        length = length_difference(len(incumbent.text), len(candidate.text))
        if grader.kind == "rubric":
            old = await self._criteria(grader, judges, item, question, incumbent)
            new = await self._criteria(grader, judges, item, question, candidate)
            f = without_pleading(new - old, incumbent, candidate)
            # What pleading won is given back on the side that pleaded.
            old, new = (old, old + f) if f < new - old else (new - f, new)
            return Scores(incumbent=old, candidate=new, note="", length=length)
        found = [await self._pair(grader, judge, item, question, incumbent, candidate) for judge in judges]
        f = sum(one for one, _ in found) / len(found)
        counted = without_pleading(f, incumbent, candidate)
        turned = sum(swayed for _, swayed in found)
        parts = [f"{turned} of {len(found)} judges preferred a place, not an answer"] if turned else []
        parts += ["an answer speaks to the judge and gains nothing by it"] if counted != f else []
        return Scores(incumbent=0.5 - counted / 2, candidate=0.5 + counted / 2, note="; ".join(parts), length=length)

    async def _pair(
        self, grader: JudgeGrader, judge: Judge, item: str, question: Question, incumbent: Answer, candidate: Answer
    ) -> tuple[float, bool]:
        """One judge's difference, and whether its two words contradict each other."""
        asked = pair_call(self._route, question, incumbent, candidate, grader.rubric)
        first = word_of(await self._said(judge, item, asked))
        asked = pair_call(self._route, question, candidate, incumbent, grader.rubric)
        second = word_of(await self._said(judge, item, asked))
        return opinion(first, second), first == second and first in ("first", "second")

    async def _criteria(
        self, grader: JudgeGrader, judges: list[Judge], item: str, question: Question, answer: Answer
    ) -> float:
        """The share of criteria met, over the panel. What cannot be read counts as nothing met."""
        asked = criteria_call(self._route, question, answer, grader.criteria)
        shares = [met_of(await self._said(judge, item, asked), len(grader.criteria)) for judge in judges]
        return sum(share or 0.0 for share in shares) / len(shares)

    async def _said(self, judge: Judge, item: str, body: bytes) -> str:
        """A judge's answer to one question, after retries; empty where it refused."""
        key = f"{item}#{sha256(judge.arm.encode() + body).hexdigest()[:16]}"
        bound = judge.bound(key, body)
        for attempt in range(1, TRIES + 1):
            if not self._purse.hold(bound):
                raise OutOfMoney
            reading = await self._try(judge, key, body, bound)
            if isinstance(reading, Answered):
                return reading.answer.text
            if not isinstance(reading, Again):
                reason = getattr(reading, "reason", "refusal")
                if reason == "refusal":
                    return ""
                if getattr(reading, "code", None) == "trial_budget_exhausted":
                    raise OutOfMoney
                raise NotJudged(f"judge {judge.arm}: {reason}")
            if attempt == TRIES:
                raise NotJudged(f"judge {judge.arm}: {reading.reason} ({TRIES} tries)")
            await self._sleep(backoff_s(attempt, reading.after_s))
        raise AssertionError("unreachable: the last try always returns")

    async def _try(self, judge: Judge, key: str, body: bytes, bound: int | None) -> Reading:
        try:
            sent = await judge.ask(key, body)
        except NotSent as error:
            self._purse.settle(bound, 0)
            return Again(reason=str(error))
        except (Lost, TimeoutError) as error:
            self._purse.settle_later(bound, None)
            return Again(reason=str(error) or "no answer in time")
        except BaseException:
            self._purse.settle_later(bound, None)
            raise
        if sent.cost_nanousd is not None:
            self._purse.settle(bound, sent.cost_nanousd)
        else:
            self._purse.settle_later(bound, sent.exchange)
        return read(sent)
