"""The stages of a ramp as a table: what each serves, where each may go, and what that takes. Pure."""

from itertools import pairwise
from typing import Literal

import msgspec

from weighbridge.records.ramp import STAGES, Stage

Cause = Literal["person", "evidence", "alarm", "doubt", "gate"]
"""Who or what moves a ramp: a person's call, enough evidence, an alarm of a guardrail, a doubt (the candidate against
its own trial), or a gate that closed."""

Condition = Literal["approved", "gates_open", "held", "evidence", "quiet"]
"""`approved`: by as many people as configured. `gates_open`: none closed or unknown. `held`: the stage's minimum time
is over. `evidence`: the stage's minimum of conversations and judged pairs is there, and nothing is missing. `quiet`: no
alarm."""

UP: tuple[Condition, ...] = ("approved", "gates_open", "held", "evidence", "quiet")


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One arrow of the diagram."""

    source: Stage
    target: Stage
    causes: tuple[Cause, ...]
    needs: tuple[Condition, ...] = ()


LADDER: tuple[Stage, ...] = ("proposed", "shadow", "canary", "few", "quarter", "half", "all", "settled")
"""The way up, one step at a time."""
LIVE: tuple[Stage, ...] = ("canary", "few", "quarter", "half", "all")
"""Stages in which the candidate answers users, beside `settled`."""
ENDED: tuple[Stage, ...] = ("rolled_back", "rejected")
"""Nothing leads out of these: a repaired candidate is proposed anew, with a fresh verdict."""


def _moves() -> tuple[Move, ...]:
    rows = [
        Move(source="proposed", target="shadow", causes=("person",), needs=("approved", "gates_open")),
        Move(source="proposed", target="rejected", causes=("person",)),
        Move(source="shadow", target="rejected", causes=("person", "alarm", "gate")),
    ]
    for below, above in pairwise(LADDER[1:]):
        rows.append(Move(source=below, target=above, causes=("person", "evidence"), needs=UP))
    for stage in ("shadow", *LIVE):
        rows.append(Move(source=stage, target="paused", causes=("person", "doubt")))
        rows.append(Move(source="paused", target=stage, causes=("person",), needs=("gates_open", "quiet")))
    for stage in (*LIVE, "paused", "settled"):
        rows.append(Move(source=stage, target="rolled_back", causes=("person", "alarm", "gate")))
    return tuple(rows)


MOVES: tuple[Move, ...] = _moves()
_BY_ENDS = {(move.source, move.target): move for move in MOVES}


def move_between(source: Stage, target: Stage) -> Move | None:
    """The arrow from one stage to another, `None` where there is none."""
    return _BY_ENDS.get((source, target))


def next_of(stage: Stage) -> Stage | None:
    """The next stage of the ladder; `None` at its end and beside it."""
    if stage not in LADDER or stage == LADDER[-1]:
        return None
    return LADDER[LADDER.index(stage) + 1]


def back_of(stage: Stage) -> Stage:
    """Where a ramp goes when it is taken back: users were never on the candidate before `canary`."""
    return "rejected" if stage in ("proposed", "shadow") else "rolled_back"


def reaches(approved: Stage, stage: Stage) -> bool:
    """Does an approval up to `approved` cover `stage`?"""
    return stage in LADDER and LADDER.index(stage) <= LADDER.index(approved)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> proposed"]
    for move in MOVES:
        words = "/".join(move.causes) + (f": {', '.join(move.needs)}" if move.needs else "")
        lines.append(f"    {move.source} --> {move.target}: {words.replace(': ', ' if ')}")
    lines += [f"    {stage} --> [*]" for stage in ENDED]
    return "\n".join(lines)


__all__ = [
    "ENDED", "LADDER", "LIVE", "MOVES", "STAGES", "UP", "Cause", "Condition", "Move", "back_of", "diagram",
    "move_between", "next_of", "reaches",
]  # fmt: skip
