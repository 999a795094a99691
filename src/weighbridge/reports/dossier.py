"""The dossier: every claim behind the first page with its evidence, date and state, chapter by chapter. Pure.

A line is `pass` or `fail` only where something was measured or read; what nobody has is `unknown`, with the step that
would find it out.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from weighbridge.records.table import Route
from weighbridge.reports import words
from weighbridge.reports.facts import NOTHING
from weighbridge.reports.gather import Answering, Beside, Inputs, Judged, RouteCalls
from weighbridge.reports.model import ArmFacts, CandidateReport, SliceReport
from weighbridge.reports.page import Chapter, Line, Section, State

AVAILABLE_CALLS_MIN = 300
"""Below it a share of failed calls says next to nothing (no failure at all in 300 bounds it at 1 %)."""


def dossier(inputs: Inputs, route: Route, one: CandidateReport, judged: Sequence[Judged]) -> tuple[Section, ...]:
    """Of one candidate on one route, against the incumbent."""
    incumbent = route.incumbent
    chapters: tuple[tuple[Chapter, Iterator[Line]], ...] = (
        ("Cost", _cost(inputs, route, one)),
        ("Quality", _quality(inputs, route, one)),
        ("Support", _support(inputs, one)),
        ("Governance", _governance(inputs, one, judged)),
        ("Intellectual property", _property(inputs, incumbent, one)),
        ("Operational reliability", _reliability(inputs, route, one)),
        ("Ramps", _ramps(inputs, route, one)),
    )
    return tuple(Section(chapter=name, lines=tuple(lines)) for name, lines in chapters)


def _day(ns: int | None) -> str | None:
    return None if not ns else f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d}"


def _cost(inputs: Inputs, route: Route, one: CandidateReport) -> Iterator[Line]:
    on = _day(inputs.now_ns)
    for row in one.slices:
        yield _waterfall(row, on)
        yield _cache(row, on)
    for purpose in ("trial", "judge", "shadow", "drill"):
        beside = inputs.seen.beside.get((route.name, purpose), Beside())
        if not beside.calls:
            continue
        state: State = "unknown" if beside.cost_unknown else "pass"
        yield Line(
            claim=f"Purpose {purpose} has cost {words.money(beside.cost_nanousd)}",
            evidence=f"{words.count(beside.calls, 'call')} in the log"
            + (f", {beside.cost_unknown:,} of them of unknown cost" if beside.cost_unknown else ""),
            on=on, state=state, next_step="state `price` for the arms" if beside.cost_unknown else "",
        )  # fmt: skip
    commitment = inputs.facts.arms.get(one.arm.arm, NOTHING).commitment
    if commitment is not None:
        yield Line(
            claim=f"{one.arm.endpoint} is paid by {commitment.name}, used or not",
            evidence=f"[[commitment]] {commitment.name}: {commitment.source}", on=commitment.since, state="warn",
            next_step=f"`weighbridge budget forecast --what-if {one.arm.arm}` for the whole month",
        )  # fmt: skip


def _waterfall(row: SliceReport, on: str | None) -> Line:
    """From the price alone to what a request really cost: price, then length of the answers."""
    both = row.comparison
    if both is None or row.now_nanousd is None or row.then_nanousd is None or not row.now_nanousd:
        return Line(
            claim=f"{row.slice}: what a request costs on both", evidence="not known on both sides", on=None,
            state="unknown", next_step="state `price` for the arms, and run the trial again",
        )  # fmt: skip
    ratio = "unknown" if both.output_ratio is None else f"{both.output_ratio:.2f}"
    return Line(
        claim=f"{row.slice}: {words.money(1000 * row.now_nanousd)} → {words.money(1000 * row.then_nanousd)} for 1,000 "
        f"requests ({words.change(row.change)})",
        evidence=f"measured tokens of {words.count(both.incumbent.requests, 'request')} that both answered, at "
        f"{words.listed([*both.incumbent.price_versions, *both.candidate.price_versions])}; answers {ratio} times as "
        f"long in tokens; verdict on the same rows: {row.verdict.replace('_', '-')}",
        on=on, state="pass" if row.then_nanousd < row.now_nanousd else "fail",
        next_step="" if row.then_nanousd < row.now_nanousd else "a lower price, or shorter answers",
    )  # fmt: skip


def _cache(row: SliceReport, on: str | None) -> Line:
    both = row.comparison
    claim = f"{row.slice}: input read from a cache"
    if both is None or both.incumbent.cached_tokens is None or both.candidate.cached_tokens is None:
        return Line(claim=claim, evidence="no usage of both on the same requests", on=None, state="unknown",
                    next_step="run the trial again")  # fmt: skip

    def share(cached: float | None, whole: float | None) -> float:
        return (cached or 0.0) / whole if whole else 0.0

    now = share(both.incumbent.cached_tokens, both.incumbent.input_tokens)
    then = share(both.candidate.cached_tokens, both.candidate.input_tokens)
    falls = now > then + 0.05
    return Line(
        claim=f"{claim}: {words.percent(now)} → {words.percent(then)}",
        evidence="share of input tokens as both providers reported it, replayed one by one", on=on,
        state="warn" if falls else "pass",
        next_step="the first stages of a ramp show the cache on real traffic"
        if falls else "",
    )  # fmt: skip


def _quality(inputs: Inputs, route: Route, one: CandidateReport) -> Iterator[Line]:
    """Worst slice first."""
    worst = sorted(one.slices, key=lambda row: row.interval[0] if row.interval is not None else -2.0)
    states: dict[str, State] = {"non_inferior": "pass", "inferior": "fail", "undecided": "unknown"}
    for row in worst:
        trial = next((trial for trial in one.trials if trial.trial == row.trial), None)
        labels = inputs.facts.labels.get(row.trial or "", (0, 0))
        people = f", {labels[0]:,} labels of {words.count(labels[1], 'person', 'people')}" if labels[0] else ""
        yield Line(
            claim=f"{row.slice}: {words.points(row.difference, sign=True)}, interval {words.interval(row.interval)}, "
            f"margin {words.points(-row.margin, sign=True)}",
            evidence=f"{words.count(row.n, 'pair')} in {words.count(row.clusters, 'cluster')}, labels: "
            f"{row.label_source}{people}; {row.grader or 'no grader'}; verdict {trial.verdict[:12] if trial else ''}",
            on=_day(trial.created_ns) if trial is not None else None,
            state=states[row.verdict],
            next_step="" if row.verdict == "non_inferior" else "; ".join(row.recommendation.flips),
        )  # fmt: skip
    yield _rerun(inputs, route)


def _rerun(inputs: Inputs, route: Route) -> Line:
    """The A/A line: what an arm differs from itself by is in every difference above."""
    made = inputs.reruns.get(route.name)
    if made is None or made.arm != route.incumbent:
        return Line(
            claim="How much the grader's score of the incumbent varies from call to call (A/A)",
            evidence="the incumbent was not asked twice", on=None, state="unknown",
            next_step=f"`weighbridge trial aa --route {route.name}`",
        )  # fmt: skip
    rows = made.found.slices
    units = words.count(sum(row.units for row in rows), "unit")
    noise = words.listed([f"{row.slice} {words.percent(row.discordance)}" for row in rows])
    leans = [row.slice for row in rows if not row.even_handed]
    return Line(
        claim=f"Asked again, {made.arm} is scored otherwise in {noise} of units (A/A)" if not leans
        else f"One run of {made.arm} is favoured over its own other run in {words.listed(leans)} (A/A)",
        evidence=f"{units} asked twice, trial {made.trial}; "
        + words.listed([f"{row.slice}: {words.points(row.difference, sign=True)}, interval "
                        f"{words.interval(row.interval)}, variance {row.variance:.3f}" for row in rows]),
        on=_day(made.created_ns), state="fail" if leans else "pass",
        next_step="find out why before a verdict of this grader is believed" if leans else "",
    )  # fmt: skip


def _support(inputs: Inputs, one: CandidateReport) -> Iterator[Line]:
    known, on = inputs.facts.arms.get(one.arm.arm, NOTHING), inputs.facts.on
    if known.supplier is None:
        yield Line(
            claim=f"Who makes and maintains {one.arm.model}", evidence="no record of this model", on=None,
            state="unknown", next_step="name the model as its maker does, or add it to the licence records",
        )  # fmt: skip
    else:
        for fact in known.supplier.facts:
            yield Line(
                claim=fact.text, evidence=f"{fact.source}, {fact.confidence}", on=on,
                state="pass" if fact.confidence == "read" else "warn",
                next_step="" if fact.confidence == "read" else "look it up at the source",
            )  # fmt: skip
        hosts = known.supplier.hosts
        yield Line(
            claim=f"{words.count(len(hosts), 'host')} in the price book serve it"
            + (f": {words.listed(list(hosts))}" if hosts else ""),
            evidence="the installed price book, by model name", on=on, state="pass" if len(hosts) > 1 else "warn",
            next_step="" if len(hosts) > 1 else "know where the same weights could run tomorrow",
        )  # fmt: skip
    listing = known.listing
    if listing is None:
        yield Line(
            claim=f"Price and retirement history of {one.arm.model}", evidence="not in the price book at this endpoint",
            on=None, state="unknown", next_step="state `provider` for the endpoint, or keep dated [[price]] rows",
        )  # fmt: skip
    else:
        dates = f"prices change on {words.listed(list(listing.changes))}" if listing.changes else "one price so far"
        yield Line(
            claim=f"{listing.model}: {'marked' if listing.deprecated else 'not marked'} as retired; {dates}",
            evidence=listing.book, on=on, state="fail" if listing.deprecated else "pass",
            next_step="plan its successor" if listing.deprecated else "",
        )  # fmt: skip


def _governance(inputs: Inputs, one: CandidateReport, judged: Sequence[Judged]) -> Iterator[Line]:
    arm, on = one.arm, inputs.facts.on or _day(inputs.now_ns)
    gates: dict[str, State] = {"permitted": "pass", "refused": "fail", "unknown": "unknown"}
    yield Line(
        claim=f"Prompts may be sent to {arm.endpoint}: {one.gate.state}", evidence=f"{one.gate.sentence} Route table "
        f"{inputs.table.number}", on=on, state=gates[one.gate.state],
        next_step="" if one.gate.state == "permitted" else "state the endpoint's terms, or choose another host",
    )  # fmt: skip
    yield from _terms(arm, on)
    capture = inputs.table.capture
    if capture.bodies:
        yield Line(
            claim=f"Prompts are kept for: {capture.purpose or words.UNKNOWN}; approved by "
            f"{capture.approved_by or words.UNKNOWN}",
            evidence=f"[capture] in route table {inputs.table.number}", on=on,
            state="pass" if capture.purpose and capture.approved_by else "unknown",
            next_step="" if capture.approved_by else "name purpose and approver in [capture]",
        )  # fmt: skip
    for judgment in judged:
        found = judgment.verdict
        complete = judgment.evidence is not None and inputs.log_head is not None
        yield Line(
            claim=f"Custody: span {judgment.evidence.span.digest[:12] if judgment.evidence is not None else '?'} → "
            f"evidence {(found.evidence or '?')[:12]} → verdict {judgment.digest[:12]}",
            evidence=f"objects of the signed log, head {(inputs.log_head or 'none')[:12]}", on=_day(found.created_ns),
            state="pass" if complete else "unknown",
            next_step="`weighbridge verify` re-derives it" if complete else "`weighbridge verify` says what is missing",
        )  # fmt: skip


def _terms(arm: ArmFacts, on: str | None) -> Iterator[Line]:
    days = None if arm.retention_days is None else words.count(arm.retention_days, "day")
    trains = None if arm.trains_on_data is None else "yes" if arm.trains_on_data else "no"
    for claim, value, key, bad in (
        ("Region", arm.region, "region", False),
        ("Prompts are retained for", days, "retention_days", False),
        ("The provider trains on prompts", trains, "trains_on_data", bool(arm.trains_on_data)),
        ("Agreement", arm.agreement or ("none needed: this machine" if arm.loopback else None), "agreement", False),
    ):
        yield Line(
            claim=f"{claim}: {value or words.UNKNOWN}",
            evidence=f"the address is this machine's ({arm.host})" if arm.loopback
            else f"as stated for endpoint {arm.endpoint} ({arm.host}); nobody checked it",
            on=on, state="unknown" if value is None else "warn" if bad or not arm.loopback else "pass",
            next_step=f"state `{key}` of endpoint {arm.endpoint}" if value is None
            else "" if arm.loopback else "let counsel compare it with the contract",
        )  # fmt: skip


def _property(inputs: Inputs, incumbent: str, one: CandidateReport) -> Iterator[Line]:
    known = inputs.facts.arms.get(one.arm.arm, NOTHING)
    word: State = {"allowed": "pass", "obligations": "pass", "prohibited": "fail", "unclear": "unknown"}.get(
        one.license.word, "warn"
    )  # type: ignore[assignment]  # mypy widens the table's values to str
    yield Line(
        claim=f"Licence of {one.arm.model} for this use: {one.license.word.replace('_', ' ')}",
        evidence=f"{one.license.terms or 'terms not stated'}; finding stored with the verdict", on=one.license.on,
        state=word, next_step="" if word == "pass" else f"`weighbridge license check {one.arm.terms or one.arm.model}`",
    )  # fmt: skip
    if known.terms is not None:
        answer = known.terms.answer
        for reason in answer.reasons:
            read = reason.confidence == "read"
            yield Line(
                claim=reason.text, evidence=f"clause {reason.clause}, {reason.source}, {reason.confidence}",
                on=answer.on, state="pass" if read else "warn",
                next_step="" if read else "confirm with the text itself",
            )  # fmt: skip
        for ident, hashes in known.terms.texts:
            yield Line(
                claim=f"Text of {ident}", evidence=f"sha256 {words.listed([one[:16] for one in hashes])}" if hashes
                else "no text with a hash is recorded", on=answer.on, state="pass" if hashes else "unknown",
                next_step="" if hashes else "`weighbridge license mirror` keeps the text with its hash",
            )  # fmt: skip
        kit = f"`weighbridge license obligations {one.arm.terms or one.arm.model}`"
        for duty in answer.obligations:
            yield Line(
                claim=f"Obligation: {duty.text}", evidence=f"clause {duty.clause}; nobody recorded whether it is met",
                on=answer.on, state="unknown", next_step=kit,
            )  # fmt: skip
        for question in answer.questions:
            yield Line(claim=f"Open: {question}", evidence="the licence profile does not say", on=answer.on,
                       state="unknown", next_step="`weighbridge license profile`")  # fmt: skip
    yield _indemnity(inputs, incumbent, one)
    made = known.provenance
    if made is not None:
        yield Line(
            claim=f"Training on its answers: {made.training.replace('_', ' ')}",
            evidence="; ".join(made.reasons) or words.listed(list(made.terms)), on=made.on,
            state="pass" if made.permitted else "unknown" if made.training == "unclear" else "warn",
            next_step="" if made.permitted else "let counsel decide before answers are exported for training",
        )  # fmt: skip


def _indemnity(inputs: Inputs, incumbent: str, one: CandidateReport) -> Line:
    """What contracts say is stated by the operator, so it is never `pass`; a loss that is stated fails."""
    now = inputs.facts.arms.get(incumbent, NOTHING).indemnity
    then = inputs.facts.arms.get(one.arm.arm, NOTHING).indemnity
    if now is None or then is None:
        missing = words.listed([name for name, said in ((incumbent, now), (one.arm.arm, then)) if said is None])
        return Line(
            claim=f"Whether an indemnity of {incumbent}'s provider is lost by moving",
            evidence=f"no record of a contract for {missing}", on=None, state="unknown",
            next_step="let counsel read the contracts, and state `indemnity` of the endpoints",
        )  # fmt: skip
    lost = now != "none" and then == "none"
    claim = "An indemnity is lost by moving" if lost else (
        "No indemnity is lost by moving: there is none now" if now == "none" else "Both providers indemnify"
    )  # fmt: skip
    return Line(
        claim=claim, evidence=f"{incumbent}: {now}; {one.arm.arm}: {then}; as the configuration states it",
        on=inputs.facts.on, state="fail" if lost else "warn",
        next_step="let counsel decide whether the saving is worth it" if lost else "counsel reads the contracts",
    )  # fmt: skip


def _reliability(inputs: Inputs, route: Route, one: CandidateReport) -> Iterator[Line]:
    on = _day(inputs.now_ns)
    calls = inputs.seen.routes.get(route.name, RouteCalls())
    for name in (route.incumbent, one.arm.arm):
        users = inputs.seen.answering.get((route.name, name), Answering())
        if not users.calls:
            yield Line(
                claim=f"Availability of {name} under users", evidence="no user of this route was answered by it",
                on=None, state="unknown", next_step="a ramp's first stages measure it",
            )  # fmt: skip
            continue
        rate = users.errors / users.calls
        enough = users.calls >= AVAILABLE_CALLS_MIN
        yield Line(
            claim=f"{name} answered {words.percent(1 - rate, 2)} of its calls; half of them within "
            f"{words.seconds(users.took(0.5))}, 95 % {words.seconds(users.took(0.95))}, "
            f"99 % {words.seconds(users.took(0.99))}",
            evidence=f"{words.count(users.calls, 'user call')} in the log, {users.errors:,} failed on its side",
            on=_day(calls.last_time_ns), state="pass" if enough and rate < 0.01 else "warn",
            next_step="" if enough else "more traffic: this few calls say little",
        )  # fmt: skip
        yield Line(
            claim=f"{name} refused {words.count(users.limited, 'attempt')} for its rate limit",
            evidence="answers with status 429, retries and fallbacks included", on=_day(calls.last_time_ns),
            state="warn" if users.limited else "pass", next_step="ask for a higher limit" if users.limited else "",
        )  # fmt: skip
    drills = inputs.seen.beside.get((route.name, "drill"), Beside())
    yield Line(
        claim="The way back was rehearsed" if drills.calls else "The way back was never rehearsed",
        evidence=f"{words.count(drills.calls, 'drill call')} in the log", on=on if drills.calls else None,
        state="pass" if drills.calls else "unknown", next_step="" if drills.calls else "`weighbridge ramp drill`",
    )  # fmt: skip
    plans = [inputs.facts.plans.get(row.trial or "") for row in one.slices]
    plan = next((found for found in plans if found is not None), None)
    peak = calls.busiest_minute
    for name, takes, key in (
        (one.arm.arm, None if plan is None else plan.candidate_per_minute, "candidate_per_minute"),
        (route.incumbent, None if plan is None else plan.incumbent_per_minute, "incumbent_per_minute"),
    ):
        yield Line(
            claim=f"{name} has room for the whole route" if takes is not None and takes >= peak
            else f"Room of {name} for the whole route",
            evidence=f"the busiest minute had {words.count(peak, 'request')}; it takes "
            f"{words.UNKNOWN if takes is None else f'{takes:,}'} a minute, as [[ramp]] states",
            on=on, state="unknown" if takes is None else "pass" if takes >= peak else "fail",
            next_step=f"state `{key}` in [[ramp]]" if takes is None else "" if takes >= peak else "more capacity first",
        )  # fmt: skip


def _ramps(inputs: Inputs, route: Route, one: CandidateReport) -> Iterator[Line]:
    mine = [story for story in inputs.ramps.get(route.name, ()) if story.candidate == one.arm.arm]
    if not mine:
        yield Line(claim="Moved in stages", evidence="no ramp of this candidate was proposed", on=None, state="unknown",
                   next_step=f"`weighbridge ramp propose {route.name}`")  # fmt: skip
    for story in mine:
        for step in story.steps:
            back = step.stage in ("rolled_back", "rejected", "paused")
            yield Line(
                claim=f"{step.stage.replace('_', ' ')}, {step.share_percent:g} % of conversations, by {step.by}",
                evidence=f"{'; '.join(step.reasons) or 'no reason was recorded'}; ramp {story.ramp[:12]}, verdict "
                f"{story.verdict[:12]}",
                on=_day(step.time_ns), state="warn" if back else "pass",
                next_step="`weighbridge ramp status` says what it waits for" if back else "",
            )  # fmt: skip
