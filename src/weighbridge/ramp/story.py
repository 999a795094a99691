"""What happened to the ramps of a store, out of the signed log alone: for reports, and for whoever reads later."""

from collections.abc import Iterable

import msgspec

from weighbridge.exchanges.chain import Chain, ObjectEntry
from weighbridge.ramp.custody import past_of
from weighbridge.records.canonical import parse
from weighbridge.records.ramp import RampState, Stage
from weighbridge.store.layout import Layout


class RampStep(msgspec.Struct, frozen=True, kw_only=True):
    """A change of stage, or of approvals within one."""

    time_ns: int
    stage: Stage
    share_percent: float
    by: str
    """A person, or `controller`."""
    reasons: tuple[str, ...]


class RampStory(msgspec.Struct, frozen=True, kw_only=True):
    """One ramp from its proposal to where it stands."""

    ramp: str
    route: str
    candidate: str
    incumbent: str
    verdict: str
    """Digest of the verdict that allowed it."""
    stage: Stage
    share_percent: float
    steps: tuple[RampStep, ...]


def stories(layout: Layout, objects: Iterable[ObjectEntry] | None = None) -> dict[str, tuple[RampStory, ...]]:
    """Route -> its ramps, oldest first. `objects` are those of the signed log, where the caller has them.

    Raises `WeighbridgeError` where a change is gone or was altered.
    """
    entries = Chain(layout).snapshot().objects if objects is None else objects
    newest: dict[str, RampState] = {}
    for entry in entries:
        if entry.kind == "ramp":
            state = parse(layout.object(entry.digest).read_bytes(), RampState)
            known = newest.get(state.route)
            # An orphan of a keeper that was killed has the revision of the change that took its place.
            if known is None or state.revision >= known.revision:
                newest[state.route] = state
    return {route: _ramps(past_of(layout, state)) for route, state in newest.items()}


def _ramps(past: tuple[RampState, ...]) -> tuple[RampStory, ...]:
    groups: dict[str, list[RampState]] = {}
    for state in past:
        groups.setdefault(state.ramp, []).append(state)
    return tuple(_story(states) for states in groups.values())


def _story(states: list[RampState]) -> RampStory:
    last = states[-1]
    return RampStory(
        ramp=last.ramp, route=last.route, candidate=last.candidate, incumbent=last.incumbent, verdict=last.verdict,
        stage=last.stage, share_percent=last.basis_points / 100,
        steps=tuple(
            RampStep(
                time_ns=one.time_ns, stage=one.stage, share_percent=one.basis_points / 100, by=one.by,
                reasons=one.reasons,
            )
            for one in states
        ),
    )  # fmt: skip
