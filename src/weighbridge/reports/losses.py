"""The worst losses of a slice with what was asked and answered: only on request, redacted and shortened."""

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from weighbridge.exchanges.redact import redact
from weighbridge.grading.answers import Answer, answer_of, question_of
from weighbridge.records.evidence import Evidence, Pair
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.reports.gather import Inputs
from weighbridge.reports.model import CandidateReport, Loss, Report, SliceReport

LOSSES_MAX = 3
CHARS_MAX = 600

ReadBody = Callable[[BodyRef], BodyState]


def compared(report: Report, inputs: Inputs) -> set[str]:
    """Ids of the exchanges behind the losses that `with_losses` shows."""
    evidence = _evidence(inputs)
    rows = [row for route in report.routes for one in route.candidates for row in one.slices]
    pairs = [pair for row in rows for pair in _worst(_pairs(evidence, row))]
    return {name for pair in pairs for name in (pair.item, pair.replay) if name is not None}


def with_losses(report: Report, inputs: Inputs, exchanges: Mapping[str, Exchange], body: ReadBody) -> Report:
    """The same report with the three worst losses on each row. exchanges: those of `compared`, by id."""
    evidence = _evidence(inputs)

    def row_of(row: SliceReport) -> SliceReport:
        return replace(row, losses=worst(_pairs(evidence, row), exchanges, body))

    def candidate_of(candidate: CandidateReport) -> CandidateReport:
        return replace(candidate, slices=tuple(row_of(row) for row in candidate.slices))

    routes = (replace(one, candidates=tuple(candidate_of(c) for c in one.candidates)) for one in report.routes)
    return replace(report, routes=tuple(routes))


def _evidence(inputs: Inputs) -> dict[str | None, Evidence]:
    return {one.verdict.trial: one.evidence for one in inputs.judged if one.evidence is not None}


def _pairs(evidence: Mapping[str | None, Evidence], row: SliceReport) -> list[Pair]:
    found = evidence.get(row.trial)
    return [pair for pair in found.pairs if pair.slice == row.slice] if found is not None else []


def _worst(pairs: Sequence[Pair]) -> list[Pair]:
    lost = (pair for pair in pairs if pair.candidate < pair.incumbent)
    return sorted(lost, key=lambda pair: pair.candidate - pair.incumbent)[:LOSSES_MAX]


def worst(pairs: Sequence[Pair], kept: Mapping[str, Exchange], body: ReadBody) -> tuple[Loss, ...]:
    """The pairs that the candidate lost by most, in the trial's order among equals."""
    return tuple(_loss(pair, kept, body) for pair in _worst(pairs))


def _loss(pair: Pair, kept: Mapping[str, Exchange], body: ReadBody) -> Loss:
    item = kept.get(pair.item)
    replay = kept.get(pair.replay) if pair.replay is not None else None
    return Loss(
        item=pair.item,
        incumbent=pair.incumbent,
        candidate=pair.candidate,
        note=pair.note,
        prompt=_text(item.request if item is not None else None, body, lambda raw: question_of(raw).text or ""),
        incumbent_answer=_text(item.response if item is not None else None, body, _answer),
        candidate_answer=pair.failure or _text(replay.response if replay is not None else None, body, _answer),
    )


def _answer(raw: bytes) -> str:
    answer: Answer = answer_of(raw)
    calls = [f"{call.name}({call.arguments})" for call in answer.tool_calls]
    return "\n".join([answer.text, *calls] if answer.text else calls)


def _text(ref: BodyRef | None, body: ReadBody, read: Callable[[bytes], str]) -> str | None:
    """A body's text for the page; `None` where it was not captured, `erased` where it is gone on purpose."""
    raw = body(ref) if ref is not None else None
    if raw is None or raw == "erased":
        return raw
    try:
        text = read(raw)
    except ValueError:
        return None
    # Bodies were redacted before they were stored; rules may have been added since.
    cleaned, _ = redact(("secrets",), text.encode(errors="replace"))
    if cleaned is None:
        return None
    text = cleaned.decode(errors="replace").strip()
    return text if len(text) <= CHARS_MAX else text[:CHARS_MAX].rstrip() + " …"
