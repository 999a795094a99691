"""Ramps in words."""

from datetime import UTC, datetime

from weighbridge.ramp.controller import duration
from weighbridge.records.ramp import RampState, RampStatus
from weighbridge.store.control import RampAnswer


def status_lines(answer: RampAnswer) -> list[str]:
    lines: list[str] = []
    for row in answer.ramps:
        lines += [*_one(row), ""]
    if not answer.ramps:
        lines.append("no ramp; `weighbridge ramp propose ROUTE` makes one from a verdict")
    return [*lines[:-1], *(f"note: {note}" for note in answer.notes)]


def _one(row: RampStatus) -> list[str]:
    state = row.state
    lines = [
        f"{state.route}: {state.candidate} in stage {state.stage}, {row.share_percent:g}% of users' conversations; the "
        f"rest on {state.incumbent} (route table {row.table})",
        f"  since {_time(state.time_ns)} by {state.by}: {'; '.join(state.reasons)}",
    ]
    if row.override:
        lines.append(f"  HELD at {state.incumbent} by a local override")
    if state.over:
        return lines
    lines.append(
        f"  seen in this stage: {duration(row.held_s)}, {row.conversations:,} conversations on the candidate, "
        f"{row.pairs:,} judged {state.plan.quality}"
    )
    lines += [f"  waits for: {one}" for one in row.waits_for]
    for stream in row.streams:
        near = stream.value / stream.threshold
        figures = ""
        if stream.candidate_n is not None and stream.control_n:
            figures = (
                f", candidate {stream.candidate_bad:,} of {stream.candidate_n:,}, incumbent {stream.control_bad:,} of "
                f"{stream.control_n:,}"
            )
        lines.append(f"  watched: {stream.name} {'ALARM' if stream.alarmed else f'{near:.2%} of an alarm'}{figures}")
    lines += [f"  gate {gate.name}: {_open(gate.open)}, {gate.why}" for gate in row.gates]
    for view in row.exposure:
        seen = "cannot be said" if view.requests is None else f"about {view.requests:,} requests of users"
        money = "" if view.nanousd is None else f" (${view.nanousd / 1e9:.2f} of calls)"
        lines.append(f"  if in {view.stage} {view.harm}: {seen}{money} before it is noticed")
    return lines


def _open(is_open: bool | None) -> str:
    return "unknown" if is_open is None else "open" if is_open else "CLOSED"


def past_lines(past: tuple[RampState, ...]) -> list[str]:
    lines: list[str] = []
    before: RampState | None = None
    for state in past:
        if before is None or before.ramp != state.ramp:
            lines.append(
                f"ramp {state.ramp}: {state.candidate} for {state.incumbent} on {state.route}, allowed by verdict "
                f"{state.verdict[:12]}"
            )
        moved = before is None or before.stage != state.stage or before.ramp != state.ramp
        what = f"{state.stage} ({state.basis_points / 100:g}%)" if moved else "no change of stage"
        lines.append(
            f"  {state.revision:>3}  {_time(state.time_ns)}  {what}, by {state.by}: {'; '.join(state.reasons)}"
        )
        before = state
    return lines


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
