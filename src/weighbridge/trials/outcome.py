"""What came of one item: a pair of scores, a replay that could not be judged, or a body that was erased meanwhile."""

from typing import Literal

import msgspec

Failure = Literal["refusal", "timeout"]
"""The candidate had its chance and gave no answer: its score is 0."""


class Scored(msgspec.Struct, frozen=True, kw_only=True, tag="scored", omit_defaults=True):
    """Both answers graded, in [0, 1]."""

    item: str
    replay: str | None
    incumbent: float
    candidate: float
    failure: Failure | None = None
    note: str = ""
    cost_nanousd: int | None = None
    length: float | None = None
    """Where a judge compared: (candidate's length - incumbent's) / their sum."""


class Unjudged(msgspec.Struct, frozen=True, kw_only=True, tag="unjudged", omit_defaults=True):
    """The candidate could not be asked: an unknown model, a failing endpoint. It keeps its slice undecided."""

    item: str
    reason: str
    replay: str | None = None


class Gone(msgspec.Struct, frozen=True, kw_only=True, tag="gone"):
    """The captured request or answer was erased after the plan was made; whoever asked for it knew no score."""

    item: str


Outcome = Scored | Unjudged | Gone


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What grading says of one pair, each score in [0, 1]."""

    incumbent: float
    candidate: float
    note: str = ""
    length: float | None = None
