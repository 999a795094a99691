"""Do two hosts of the same model answer alike?

Measured at temperature 0 with fixed questions: whether the answers of host A and host B are the same text (white space
aside), beside whether A's answers are the same as A's own on asking again: a host that does not repeat itself cannot be
told from another by single answers. The counts are binomial with a size fixed in advance, one question one unit;
bounds are Clopper and Pearson's (1934), each wrong with probability at most 2.5%. Prompt tokens are a fingerprint of
tokenizer and chat template: they do not depend on chance, so one difference is a difference.

What is compared is answers. Likeness does not prove the same weights: another quantisation may agree on all of these.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from weighbridge.stats.rare import exact_interval
from weighbridge.trials.conformance.heard import Asked, Heard
from weighbridge.trials.conformance.judge import valid_call
from weighbridge.trials.conformance.probes import WEATHER, chat
from weighbridge.trials.conformance.questions import QUESTIONS

ANSWER_TOKENS = 24
TOOL_CITIES = ("Paris", "Nairobi", "Lima", "Osaka", "Oslo", "Quito", "Perth", "Cairo", "Turin", "Porto")
ALPHA = 0.025

Finding = Literal["differ", "alike", "unknown"]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """`count` of `n`, with exact 95% bounds."""

    count: int
    n: int
    low: float
    high: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    against: str
    finding: Finding
    says: str
    agreement: Rate
    """The same text from both, of the questions that both answered."""
    self_agreement: Rate
    """The same text from `host` twice."""
    same_prompt_tokens: Rate
    refusals: tuple[Rate, Rate]
    """Of `host` and of `against`: declined or filtered."""
    valid_tool_calls: tuple[Rate, Rate]
    completion_tokens: tuple[float | None, float | None]
    """Mean over the answered questions."""


def questions(model: str) -> tuple[Asked, ...]:
    return tuple(chat(model, text, max_tokens=ANSWER_TOKENS) for text in QUESTIONS)


def tool_questions(model: str) -> tuple[Asked, ...]:
    return tuple(
        chat(model, f"What is the weather in {city} right now?", tools=[WEATHER], tool_choice="required")
        for city in TOOL_CITIES
    )


class Answers(msgspec.Struct, frozen=True):
    """What one host said: to the questions, to the questions that call for a tool."""

    name: str
    said: Sequence[Heard]
    tools: Sequence[Heard]


def rate(outcomes: Sequence[bool]) -> Rate:
    low, high = exact_interval(sum(outcomes), len(outcomes), ALPHA)
    return Rate(count=sum(outcomes), n=len(outcomes), low=low, high=high)


def compare(host: Answers, again: Sequence[Heard], other: Answers) -> Comparison:
    """`again`: the same questions to `host` once more, in the same order."""
    agreement = rate(_same(host.said, other.said))
    own = rate(_same(host.said, again))
    counted = [
        (mine.usage.prompt_tokens, theirs.usage.prompt_tokens)
        for mine, theirs in zip(host.said, other.said, strict=True)
        if mine.usage.prompt_tokens is not None and theirs.usage.prompt_tokens is not None
    ]
    tokens = rate([mine == theirs for mine, theirs in counted])
    finding, says = _finding(agreement, own, tokens)
    return Comparison(
        host=host.name,
        against=other.name,
        finding=finding,
        says=says,
        agreement=agreement,
        self_agreement=own,
        same_prompt_tokens=tokens,
        refusals=(_refusals(host), _refusals(other)),
        valid_tool_calls=(_valid(host), _valid(other)),
        completion_tokens=(_mean_tokens(host), _mean_tokens(other)),
    )


def _same(left: Sequence[Heard], right: Sequence[Heard]) -> list[bool]:
    return [_text(a) == _text(b) for a, b in zip(left, right, strict=True) if a.ok and b.ok]


def _text(heard: Heard) -> str:
    message = heard.choice.message
    return " ".join(f"{message.reasoning_content or message.reasoning or ''} {message.content or ''}".split())


def _refusals(answers: Answers) -> Rate:
    return rate(
        [
            each.choice.finish_reason == "content_filter" or bool(each.choice.message.refusal)
            for each in answers.said
            if each.ok
        ]
    )


def _valid(answers: Answers) -> Rate:
    return rate([valid_call(each) for each in answers.tools if each.ok])


def _mean_tokens(answers: Answers) -> float | None:
    counts = [each.usage.completion_tokens for each in answers.said if each.usage.completion_tokens is not None]
    return sum(counts) / len(counts) if counts else None


def _finding(agreement: Rate, own: Rate, tokens: Rate) -> tuple[Finding, str]:
    if not agreement.n:
        return "unknown", "no question was answered by both"
    if tokens.count < tokens.n:
        different = tokens.n - tokens.count
        return "differ", (
            f"{different} of {tokens.n} prompts are counted differently: another tokenizer or another chat template, "
            "so not the same model as served"
        )
    if own.n and agreement.high < own.low:
        return "differ", (
            f"their answers agree in {agreement.count} of {agreement.n}, the first host with itself in {own.count} of "
            f"{own.n}: more differs than chance explains (weights, precision or sampling)"
        )
    weak = "" if own.n and own.low > 0.5 else "; the first host hardly repeats itself, so this could hardly tell"
    return "alike", (
        f"nothing here tells them apart: {agreement.count} of {agreement.n} answers agree, and {own.count} of {own.n} "
        f"of the first host with itself{weak}. That does not prove the same weights: up to {1 - agreement.low:.0%} of "
        "answers may differ (upper 97.5% bound)"
    )
