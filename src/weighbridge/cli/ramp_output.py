"""Ramps in words."""

from datetime import UTC, datetime

from weighbridge.ramp.controller import duration
from weighbridge.records.ramp import RampState, RampStatus, StreamView
from weighbridge.store.control import RampAnswer

QUIET = 0.01
"""Of the way to an alarm."""


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
    return [*lines, *_streams(row.streams), *_gates(row), *_exposure(row)]


def _streams(streams: tuple[StreamView, ...]) -> list[str]:
    """Those that have something to say, then the names of the others."""
    lines, quiet = [], []
    for stream in streams:
        near = stream.value / stream.threshold
        if not stream.alarmed and near < QUIET and not stream.candidate_bad:
            quiet.append(stream.name)
            continue
        figures = ""
        if stream.candidate_n is not None and stream.control_n:
            figures = (
                f", candidate {stream.candidate_bad:,} of {stream.candidate_n:,}, incumbent {stream.control_bad:,} of "
                f"{stream.control_n:,}"
            )
        lines.append(f"  watched: {stream.name} {'ALARM' if stream.alarmed else f'{near:.2%} of an alarm'}{figures}")
    if quiet:
        lines.append(f"  watched, nothing bad on the candidate: {', '.join(quiet)}")
    return lines


def _gates(row: RampStatus) -> list[str]:
    """What is not open and not among the reasons to wait, then the names of those that are."""
    accepted = {name: approval.by for approval in row.state.approvals for name in approval.accepts}
    lines = []
    for gate in row.gates:
        if gate.open is None and gate.name in accepted:
            lines.append(f"  gate {gate.name}: unknown, accepted by {accepted[gate.name]}")
        elif not gate.open and gate.why not in row.waits_for:
            lines.append(f"  gate {gate.name}: {'unknown' if gate.open is None else 'CLOSED'}, {gate.why}")
    is_open = [gate.name for gate in row.gates if gate.open]
    return [*lines, *([f"  gates open: {', '.join(is_open)}"] if is_open else [])]


def _exposure(row: RampStatus) -> list[str]:
    """A line for each harm, over the stages."""
    harms: dict[str, list[str]] = {}
    for view in row.exposure:
        seen = harms.setdefault(view.harm, [])
        if view.requests is not None:
            money = "" if view.nanousd is None else f" ({_dollars(view.nanousd)})"
            seen.append(f"{view.requests:,}{money} in {view.stage}")
    return [
        f"  if {harm}: noticed after about so many requests of users: {', '.join(seen)}"
        if seen
        else f"  if {harm}: it cannot be said when it is noticed"
        for harm, seen in harms.items()
    ]


def _dollars(nanousd: int) -> str:
    return "less than $0.01" if 0 < nanousd < 10_000_000 else f"${nanousd / 1e9:,.2f}"


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
