"""The answer per route in one sentence, and what the rows that may move add up to."""

from collections.abc import Iterable, Sequence

from weighbridge.reports.measure import change
from weighbridge.reports.model import Answer, CandidateReport, Month, Moved, SliceReport
from weighbridge.reports.words import listed, percent


def best_rows(candidates: Iterable[CandidateReport]) -> list[SliceReport]:
    """One row per slice that may move: the cheapest candidate's. Largest share of the traffic first."""
    best: dict[str, SliceReport] = {}
    for candidate in candidates:
        for row in candidate.slices:
            if row.recommendation.answer != "move" or row.then_nanousd is None:
                continue
            known = best.get(row.slice)
            if known is None or known.then_nanousd is None or row.then_nanousd < known.then_nanousd:
                best[row.slice] = row
    return sorted(best.values(), key=lambda row: (-(row.share or 0.0), row.slice))


def moved_of(candidates: Sequence[CandidateReport]) -> Moved:
    """What moves if each slice takes its cheapest candidate that may have it."""
    rows = best_rows(candidates)
    shares = [row.share for row in rows]
    share = None if not rows or any(part is None for part in shares) else sum(part or 0.0 for part in shares)
    now = then = 0.0
    for row in rows:
        weight = row.share if row.share is not None else 1.0
        now += weight * (row.now_nanousd or 0.0)
        then += weight * (row.then_nanousd or 0.0)
    months = [row.month for row in rows if row.month is not None]
    return Moved(
        share=share if rows else 0.0,
        slices=tuple((row.slice, row.candidate) for row in rows),
        verdicts=tuple(row.verdict for row in rows),
        month=_sum(months) if rows and len(months) == len(rows) else None,
        change=change(now, then) if rows else None,
    )


def _sum(months: Sequence[Month]) -> Month:
    return Month(
        requests=sum(month.requests for month in months),
        now_nanousd=sum(month.now_nanousd for month in months),
        then_nanousd=sum(month.then_nanousd for month in months),
        span_days=min(month.span_days for month in months),
    )


def slice_answers(candidates: Iterable[CandidateReport]) -> dict[str, Answer]:
    """Per slice over all candidates: move if one may have it, do not move if none may."""
    answers: dict[str, list[Answer]] = {}
    for candidate in candidates:
        for row in candidate.slices:
            answers.setdefault(row.slice, []).append(row.recommendation.answer)
    return {
        name: "move" if "move" in given else "do not move" if set(given) == {"do not move"} else "not enough evidence"
        for name, given in answers.items()
    }


def headline(incumbent: str, candidates: Sequence[CandidateReport], moved: Moved) -> str:
    """One sentence, e.g. `Move task=refund to qwen-72b (40 % of requests, 81 % cheaper); keep task=legal on gpt-4o.`"""
    answers = slice_answers(candidates)
    if not answers:
        names = listed([candidate.arm.arm for candidate in candidates]) or "any candidate"
        return f"Nothing has been tried yet: no trial has compared {names} with {incumbent}."
    keep = [name for name, answer in answers.items() if answer == "do not move"]
    open_ = [name for name, answer in answers.items() if answer == "not enough evidence"]
    if not moved.slices:
        if not open_:
            return f"Keep {incumbent}: {_nothing(candidates)}."
        if not keep:
            return f"Not enough evidence yet to move anything away from {incumbent}."
        return f"Keep {incumbent} for {listed(keep)}; for {listed(open_)} there is not enough evidence yet."
    by_candidate: dict[str, list[str]] = {}
    for name, candidate in moved.slices:
        by_candidate.setdefault(candidate, []).append(name)
    moves = listed([f"{_all_or(names, answers)} to {candidate}" for candidate, names in by_candidate.items()])
    figures = [f"{percent(moved.share)} of requests"] if moved.share is not None else []
    if moved.change is not None:
        figures.append(f"{percent(-moved.change)} cheaper")
    parts = [f"Move {moves} ({', '.join(figures)})" if figures else f"Move {moves}"]
    if keep:
        parts.append(f"keep {incumbent} for {listed(keep)}")
    if open_:
        parts.append(f"for {listed(open_)} there is not enough evidence yet")
    return "; ".join(parts) + "."


def _all_or(names: Sequence[str], answers: dict[str, Answer]) -> str:
    if len(names) == len(answers) > 1:
        return f"all {len(names)} slices"
    return listed(list(names))


def _nothing(candidates: Sequence[CandidateReport]) -> str:
    tried = [candidate.arm.arm for candidate in candidates if candidate.slices]
    return f"nothing may move to {listed(tried, 'or')}"
