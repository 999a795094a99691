"""What one store's log says about a ramp, request by request: facts without text, fit to be told to other keepers.

Everything that takes the log, bodies or graders is settled where the log lies. What is left are facts, and the watch
that counts them needs nothing else, wherever it is.
"""

import zlib
from collections.abc import Sequence

import msgspec

from weighbridge.records.ramp import Guardrail


class Look(msgspec.Struct, frozen=True, array_like=True):
    """One answered request of either arm, as far as it alone can tell."""

    conversation: int
    candidate: bool
    slice: str
    failed: bool
    bad: tuple[Guardrail, ...] = ()
    unknown: tuple[Guardrail, ...] = ()
    """What could not be told of it."""
    figures: dict[Guardrail, float | None] = {}
    """What lies on a scale, to be held against the incumbent's percentiles. `None`: unknown; absent: does not apply."""


class Asked(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """A request of a user."""

    id: str
    table: int
    time_ns: int
    slice: str
    ok: bool
    candidate: bool
    """Was the candidate asked first?"""
    limits: tuple[int, int, int, int]
    """Answers 429 or 503 of the candidate, all its answers, then both of the incumbent."""
    cost_nanousd: int | None
    look: Look | None
    """`None` for what says nothing of an arm: refused by us, the client left, lost."""
    score: float | None = None
    """Where answers are judged each by itself."""


class Copied(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A copy of a request."""

    id: str
    table: int
    candidate: bool
    cost_nanousd: int | None


class Paired(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A user's request and its copy: both arms answered the same."""

    id: str
    """The copy's."""
    table: int
    slice: str
    looks: tuple[Look, ...] = ()
    """In the shadow: of the incumbent, and of the candidate."""
    scores: tuple[float, float] | None = None
    """The candidate's and the incumbent's."""


class Outcome(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """What an application told of a conversation."""

    conversation: int
    failed: bool


class Tried(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """A request of a trial that the candidate answered, before the ramp: what it costs."""

    id: str
    cost_nanousd: int


Sighting = Asked | Copied | Paired | Outcome | Tried

BATCH_MAX = 2000
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[tuple[Sighting, ...]] = msgspec.msgpack.Decoder(tuple[Sighting, ...])


def packed(sightings: Sequence[Sighting]) -> bytes:
    return zlib.compress(_encoder.encode(sightings), 1)


def unpacked(body: bytes) -> tuple[Sighting, ...]:
    """Errors: ValueError for what another version, or nobody, has written."""
    try:
        return _decoder.decode(zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"sightings cannot be read: {error}") from None


def name_of(sighting: Sighting) -> str | None:
    """What tells it apart within its store; an outcome may be told twice, the first one counts."""
    match sighting:
        case Outcome():
            return None
        case Paired():
            return f"pair {sighting.id}"
        case _:
            return sighting.id
