"""Judgements: from what was heard to a row of the finding. They look at nothing else."""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from weighbridge.trials.conformance.heard import Heard, Row, Status, evidence

CODE_WORD = "heliotrope"
"""Stands at the start of the long prompts."""


def row(check: str, heard: Sequence[Heard], status: Status, says: str) -> Row:
    return Row(check=check, status=status, says=says, evidence=tuple(evidence(each) for each in heard[:3]))


def refused(check: str, heard: Sequence[Heard]) -> Row | None:
    """Where a request was not answered: the host refuses the feature (4xx), or nothing can be said."""
    failed = next((each for each in heard if not each.ok), None)
    if failed is None:
        return None
    says_no = failed.status in (400, 404, 415, 422, 501) and (failed.code or "") not in NOT_THE_HOST
    return row(check, [failed], "no" if says_no else "unknown", failed.problem or f"HTTP {failed.status}")


NOT_THE_HOST = frozenset(("trial_budget_exhausted", "trial_cost_unknown", "model_not_found", "invalid_trial_token"))
"""Refusals of the gateway: they say nothing about the host."""


def share(check: str, heard: Sequence[Heard], good: int, what: str) -> Row:
    status: Status = "yes" if good == len(heard) else "partly" if good else "no"
    return row(check, heard, status, f"{good} of {len(heard)} {what}")


def valid_call(heard: Heard, name: str = "get_weather", argument: str = "city") -> bool:
    """Called by its name, with arguments that its schema allows."""
    return any(call.function.name == name and set(call.function.parsed() or {}) == {argument} for call in heard.calls)


def judge_answers(heard: Sequence[Heard]) -> Row:
    return refused("answers", heard) or row(
        "answers", heard, "yes" if heard[0].text else "partly", "answers a chat completion" if heard[0].text else
        "its answer has no text"
    )  # fmt: skip


def judge_stream(heard: Sequence[Heard]) -> Row:
    if (failed := refused("stream", heard)) is not None:
        return failed
    events = heard[0].body.count(b"data: ")
    if not heard[0].body.rstrip().endswith(b"data: [DONE]"):
        return row("stream", heard, "partly", f"streams in {events} events, without [DONE] at the end")
    return row("stream", heard, "yes" if events > 3 else "partly", f"streams in {events} events")


def judge_stream_usage(heard: Sequence[Heard]) -> Row:
    check = "usage in streams"
    if (failed := refused(check, heard)) is not None:
        return failed
    whole, streamed = heard[0].usage.prompt_tokens, heard[1].usage.prompt_tokens
    if streamed is None:
        return row(check, heard, "no", "the stream says nothing of usage; its cost cannot be known")
    if whole != streamed:
        return row(check, heard, "partly", f"it counts {whole} prompt tokens whole and {streamed} streamed")
    return row(check, heard, "yes", f"the same {whole} prompt tokens, whole and streamed")


def judge_tool_auto(heard: Sequence[Heard]) -> Row:
    if not heard[0].calls and heard[0].ok:
        return row("tools: auto", heard, "no", "answered in text where a tool was at hand")
    return judge_called("tools: auto", heard, "get_weather", "city")


def judge_tool_none(heard: Sequence[Heard]) -> Row:
    called = bool(heard[0].calls)
    return refused("tools: none", heard) or row(
        "tools: none", heard, "no" if called else "yes", "calls a tool that it was told not to" if called else "no call"
    )


def judge_called(check: str, heard: Sequence[Heard], name: str, argument: str) -> Row:
    if (failed := refused(check, heard)) is not None:
        return failed
    first = heard[0]
    if not first.calls:
        return row(check, heard, "no", f"no tool call; finish reason {first.choice.finish_reason!r}")
    if not valid_call(first, name, argument):
        call = first.calls[0].function
        return row(check, heard, "partly", f"called {call.name!r} with arguments that do not fit: {call.arguments!r}")
    if first.choice.finish_reason != "tool_calls":
        says = f"a valid call, with finish reason {first.choice.finish_reason!r} in place of 'tool_calls'"
        return row(check, heard, "yes" if check in ("tools: required", "tools: named") else "partly", says)
    return row(check, heard, "yes", f"{len(first.calls)} call(s), arguments fit the schema")


def judge_tool_parallel(heard: Sequence[Heard]) -> Row:
    check = "tools: parallel"
    if (failed := refused(check, heard)) is not None:
        return failed
    calls = heard[0].calls
    ids = {call.id for call in calls if call.id}
    if len(calls) < 2:
        return row(check, heard, "no", f"{len(calls)} call(s) where two were asked for")
    if len(ids) < len(calls):
        return row(check, heard, "partly", f"{len(calls)} calls, but only {len(ids)} different ids")
    return row(check, heard, "yes", f"{len(calls)} calls in one answer, each with its id")


class _Pick(msgspec.Struct, forbid_unknown_fields=True):
    colour: str
    count: int


def _fits(text: str) -> bool:
    try:
        return msgspec.json.decode(text, type=_Pick).colour in ("red", "green")
    except msgspec.MsgspecError:
        return False


def judge_schema(heard: Sequence[Heard]) -> Row:
    if (failed := refused("schema enforced", heard)) is not None:
        return failed
    good = sum(_fits(each.text) for each in heard)
    return share("schema enforced", heard, good, "answers fit the schema, two of them asked not to")


def judge_json_mode(heard: Sequence[Heard]) -> Row:
    check = "JSON mode"
    if (failed := refused(check, heard)) is not None:
        return failed
    try:
        msgspec.json.decode(heard[0].text, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        cut = heard[0].choice.finish_reason == "length"
        return row(check, heard, "unknown" if cut else "no", "cut by max_tokens" if cut else "not a JSON object")
    return row(check, heard, "yes", "the answer is a JSON object")


def judge_stop(heard: Sequence[Heard]) -> Row:
    check = "stop sequences"
    if (failed := refused(check, heard)) is not None:
        return failed
    first = heard[0]
    if "7" in first.text:
        return row(check, heard, "no", "the stop sequence is in the answer")
    if not any(digit in first.text for digit in "456"):
        return row(check, heard, "unknown", "the answer did not come near the stop sequence")
    if first.choice.finish_reason != "stop":
        return row(check, heard, "partly", f"stops, with finish reason {first.choice.finish_reason!r}")
    return row(check, heard, "yes", "stops before it, finish reason 'stop'")


def judge_max_tokens(heard: Sequence[Heard]) -> Row:
    check, first = "max_tokens", heard[0]
    if (failed := refused(check, heard)) is not None:
        return failed
    counted, reason = first.usage.completion_tokens, first.choice.finish_reason
    if counted is not None and counted > 8:
        return row(check, heard, "no", f"{counted} tokens where 8 were allowed")
    if reason != "length":
        return row(check, heard, "partly", f"{counted} tokens, finish reason {reason!r} where 'length' is meant")
    return row(check, heard, "yes", f"{counted} tokens of 8, finish reason 'length'")


def judge_seed(heard: Sequence[Heard]) -> Row:
    if (failed := refused("seed", heard)) is not None:
        return failed
    same, other = {_all(each) for each in heard[:3]}, _all(heard[3])
    marked = "with" if heard[0].said is not None and heard[0].said.system_fingerprint else "without"
    if len(same) > 1:
        return row(
            "seed", heard, "no", f"{len(same)} different answers to 3 requests with one seed; {marked} fingerprint"
        )
    if other in same:
        return row("seed", heard, "unknown", "the same answer with another seed, too: nothing was sampled")
    return row("seed", heard, "yes", f"3 equal answers with one seed, another with another; {marked} fingerprint")


def judge_repeatable(heard: Sequence[Heard]) -> Row:
    check = "repeatable at temperature 0"
    if (failed := refused(check, heard)) is not None:
        return failed
    texts = [_all(each) for each in heard]
    most = max(texts.count(text) for text in texts)
    return row(
        check, heard, "yes" if most == len(texts) else "partly" if most > 1 else "no", f"{most} of {len(texts)} alike"
    )


def _all(heard: Heard) -> tuple[str, str]:
    message = heard.choice.message
    return message.content or "", message.reasoning_content or message.reasoning or ""


def judge_reasoning(heard: Sequence[Heard]) -> Row:
    check, message = "reasoning fields", heard[0].choice.message
    if (failed := refused(check, heard)) is not None:
        return failed
    named = [name for name in ("reasoning_content", "reasoning") if getattr(message, name)]
    details = heard[0].usage.completion_tokens_details
    counted = None if details is None else details.reasoning_tokens
    says = [f"text in `{name}`" for name in named]
    says += [f"counts {counted} reasoning tokens"] if counted else []
    if "<think>" in (message.content or ""):
        return row(check, heard, "partly", ", ".join([*says, "<think> stands in the content"]))
    return row(check, heard, "yes" if says else "no", ", ".join(says) or "no reasoning is shown or counted")


def judge_logprobs(heard: Sequence[Heard]) -> Row:
    check = "log probabilities"
    given = heard[0].choice.logprobs is not None
    return refused(check, heard) or row(check, heard, "yes" if given else "no", "given" if given else "not given")


def judge_errors(heard: Sequence[Heard]) -> Row:
    first = heard[0]
    if first.ok:
        return row("errors", heard, "partly", "takes a temperature that is no number")
    if 400 <= first.status < 500 and first.problem is not None and "no error in" not in first.problem:
        return row("errors", heard, "yes", f"refuses a bad request in OpenAI's form ({first.status})")
    return row("errors", heard, "no", first.problem or f"HTTP {first.status}")


def judge_context(heard: Sequence[Heard]) -> Row:
    taken = [each for each in heard if each.ok]
    if not taken:
        return refused("context", heard) or row("context", heard, "unknown", "nothing was asked")
    largest = taken[-1]
    counts = [each.usage.prompt_tokens for each in taken]
    knew = [CODE_WORD in each.text.lower() for each in taken]
    last = f"{counts[-1]:,} prompt tokens" if counts[-1] is not None else "a prompt whose tokens it does not count"
    shrunk = any(
        before is not None and after is not None and after < 1.5 * before for before, after in pairwise(counts)
    )
    if shrunk:
        return row(
            "context", [largest], "no", f"took a longer prompt, but counted no more tokens ({last}): it cuts in silence"
        )
    lost = next((at for at, known in enumerate(knew) if not known), None)
    recall = "and knew the word at its start" if lost is None else (
        "but at no length knew the word at its start" if lost == 0 else
        f"but no longer knew the word at its start past {counts[lost - 1]:,} tokens"
    )  # fmt: skip
    failed = next((each for each in heard if not each.ok), None)
    end = "more was not asked for" if failed is None else f"the next was refused: {failed.problem}"
    shown = [largest, *([] if failed is None else [failed])]
    return row("context", shown, "yes" if lost is None else "partly", f"took {last} {recall}; {end}")


def judge_latency(heard: Sequence[Heard]) -> Row:
    check = "time to first token"
    times = sorted(each.first_s for each in heard if each.ok and each.first_s is not None)
    if not times:
        return refused(check, heard) or row(check, heard, "unknown", "no stream brought text")
    p50, p95 = (1000 * times[math.ceil(share * len(times)) - 1] for share in (0.5, 0.95))
    says = f"p50 {p50:,.0f} ms, p95 {p95:,.0f} ms of {len(times)} streams one after the other, through the gateway"
    return row(check, [], "yes", says)


def judge_cancelled(heard: Sequence[Heard]) -> Row:
    first, after = heard[0], heard[-1]
    if first.first_s is None and not first.ok:
        return row("cancelling", heard, "unknown", first.problem or "no piece came that could have been left at")
    says = "left at the first piece; what the host bills for the rest no API says: compare this exchange with its bill"
    if len(heard) > 1 and not after.ok:
        return row("cancelling", heard, "partly", f"the request after it failed: {after.problem}; {says}")
    return row("cancelling", heard[:1], "unknown", says)


def rate_limits(heard: Sequence[Heard]) -> Row:
    """Over everything that was asked."""
    throttled = sum(each.status == 429 for each in heard)
    seen: dict[str, str] = {}
    for each in heard:
        seen |= dict(each.limits)
    if not seen and not throttled:
        return row("rate limits", [], "unknown", f"no header and no 429 in {len(heard)} requests")
    shown = ", ".join(f"{name}: {value}" for name, value in sorted(seen.items()))
    return row(
        "rate limits", [], "yes", f"{throttled} of {len(heard)} requests were answered 429; {shown or 'no header'}"
    )
