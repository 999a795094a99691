"""What was not tested, each with the fact it follows from. Nothing here is a standing disclaimer: a gap that is closed
in the records disappears from the report.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from weighbridge.records.evidence import Evidence, SliceVerdict
from weighbridge.reports.gather import KeptCall, RouteCalls, Seen
from weighbridge.reports.model import ArmFacts, Gap
from weighbridge.reports.words import count, days, listed

HUMAN = ("human", "judge+human")


def gaps(
    arm: ArmFacts,
    evidence: Sequence[Evidence],
    verdicts: Sequence[SliceVerdict],
    seen: Seen,
) -> tuple[Gap, ...]:
    """The gaps of one candidate over the trials behind its rows."""
    if not evidence:
        return ()
    items = [seen.kept[p.item] for e in evidence for p in e.pairs if p.item in seen.kept]
    replays = [seen.kept[p.replay] for e in evidence for p in e.pairs if p.replay is not None and p.replay in seen.kept]
    traffic = seen.routes.get(evidence[0].route)
    trials = {e.trial for e in evidence}
    load = [seen.minutes[trial] for trial in sorted(trials) if trial in seen.minutes]
    found = [
        *_labels(verdicts),
        *_graders(evidence, verdicts),
        *_host(arm),
        *_repeats(evidence),
        *_conversations(evidence),
        *_requests(items, replays, traffic),
        *_load(load, traffic),
        *_time(items, replays),
        *_left_out(evidence),
    ]
    return tuple(found)


def _labels(verdicts: Sequence[SliceVerdict]) -> Iterator[Gap]:
    judged = [v for v in verdicts if v.n]
    if judged and not any(v.label_source in HUMAN for v in judged):
        sources = listed(sorted({v.label_source for v in judged}))
        yield Gap(what="What people think of the answers", fact=f"no human labels; the scores come from: {sources}")


def _graders(evidence: Sequence[Evidence], verdicts: Sequence[SliceVerdict]) -> Iterator[Gap]:
    kinds = sorted({use.kind for e in evidence for use in e.graders})
    if kinds:
        yield Gap(
            what="Tone, style, safety and anything else no grader looks at",
            fact=f"graders used: {listed(kinds)}",
        )
    silent = sorted(v.slice for v in verdicts if v.label_source == "none")
    if silent:
        yield Gap(what=f"Quality in {listed(silent)}", fact="no grader is configured there")


def _host(arm: ArmFacts) -> Iterator[Gap]:
    fact = f"every replay went to {arm.endpoint} ({arm.host})"
    if arm.precision == "unknown":
        fact += ", whose numeric precision is not stated"
    yield Gap(what="The same weights on any other host", fact=fact)


def _repeats(evidence: Sequence[Evidence]) -> Iterator[Gap]:
    items = [pair.item for e in evidence for pair in e.pairs]
    if len(set(items)) == len(items):
        yield Gap(
            what="How much an answer varies from one call to the next",
            fact="each request was answered once by each model",
        )


def _conversations(evidence: Sequence[Evidence]) -> Iterator[Gap]:
    pairs = [p for e in evidence for p in e.pairs]
    if pairs and len({(p.slice, p.cluster) for p in pairs}) == len(pairs):
        yield Gap(
            what="Whole conversations that the candidate leads itself",
            fact="each request stands alone, with the earlier turns as the incumbent's users had them",
        )


def _requests(items: Sequence[KeptCall], replays: Sequence[KeptCall], traffic: RouteCalls | None) -> Iterator[Gap]:
    if not replays:
        return
    streams = sum(exchange.stream for exchange in replays)
    if not streams:
        yield Gap(what="Streaming", fact=f"none of {count(len(replays), 'replay')} was streamed")
    elif streams == len(replays):
        yield Gap(what="Answers in one piece", fact=f"all {count(len(replays), 'replay')} were streamed")
    if not any(one.called_tools for one in items):
        yield Gap(what="Tool calls", fact="none of the incumbent's compared answers called a tool")
    tested = max((one.input_tokens for one in items if one.input_tokens is not None), default=None)
    longest = traffic.input_tokens_max if traffic is not None else 0
    if tested is None:
        yield Gap(what="Prompt length", fact="the provider did not say how many tokens the prompts had")
    elif longest > tested:
        yield Gap(
            what=f"Prompts over {count(tested, 'token')}",
            fact=f"the longest of this route's traffic had {longest:,}, by the incumbent's count",
        )
    else:
        yield Gap(what=f"Prompts over {count(tested, 'token')}", fact="this route's traffic had none either")


def _load(replays: Sequence[Counter[int]], traffic: RouteCalls | None) -> Iterator[Gap]:
    if not replays:
        return
    minutes = sum(replays, start=Counter[int]())
    busiest = max(minutes.values(), default=0)
    peak = traffic.busiest_minute if traffic is not None else 0
    if peak > busiest:
        yield Gap(
            what=f"Load over {count(busiest, 'request')} a minute",
            fact=f"that was the trial's busiest minute; the route's own had {peak:,}",
        )
    else:
        yield Gap(
            what=f"Load over {count(busiest, 'request')} a minute",
            fact=f"that was the trial's busiest minute; the route's own had no more than {peak:,}",
        )


def _time(items: Sequence[KeptCall], replays: Sequence[KeptCall]) -> Iterator[Gap]:
    if items:
        span = (max(e.time_ns for e in items) - min(e.time_ns for e in items)) / 86_400e9
        if span < 7:
            yield Gap(what="Traffic of a whole week", fact=f"the compared requests were made within {days(span)}")
    if replays:
        ends = max(e.time_ns + (e.duration_ns or 0) for e in replays)
        span = (ends - min(e.time_ns for e in replays)) / 86_400e9
        yield Gap(what="The candidate's availability over time", fact=f"it was called for {days(span)}")


def _left_out(evidence: Sequence[Evidence]) -> Iterator[Gap]:
    total: dict[str, int] = {}
    for e in evidence:
        for reason, number in e.span.left_out.items():
            total[reason] = total.get(reason, 0) + number
    number = sum(total.values())
    if number:
        reasons = listed([f"{many:,} {reason}" for reason, many in sorted(total.items(), key=lambda kv: -kv[1])])
        yield Gap(what=f"{count(number, 'request')} of the span", fact=f"left out: {reasons}")
