"""What a stage has seen, as alarms: guardrails against a live control or a frozen baseline, quality, the doubt."""

from typing import Literal

import msgspec

from weighbridge.ramp.controller import Evidence
from weighbridge.records.ramp import Guardrail, RampPlan, RampState, StreamView
from weighbridge.stats.alarms import RATE_MAX, Alarm, ControlAlarm, PairAlarm, RateAlarm, TurnAlarm
from weighbridge.stats.rare import exact_interval

SLOW: tuple[Guardrail, ...] = ("first_byte", "latency", "cost", "tokens", "turns")
"""Guardrails that count what lies above a percentile of the incumbent."""
BOUND_PART = 0.2
"""The part of a stream's level that pays for the bound of its baseline."""
CONVERSATIONS_MAX = 500_000
"""Of one arm, remembered so that each counts once. Past it nothing new is counted, which delays and never deceives."""
FAILED_BELOW = 0.5
RATE_SEEN_MIN = 200
"""Conversations of the incumbent; a rate out of fewer is no better than an assumed one."""
SHADOW_SHARE = 0.5
"""Both arms answered the same requests, so without a difference an event is either's."""


class Sight(msgspec.Struct, frozen=True):
    """One answered request, as guardrails look at it. Pure facts; made by `observe`."""

    conversation: int
    candidate: bool
    slice: str
    bad: tuple[Guardrail, ...]
    unknown: tuple[Guardrail, ...]
    """What could not be told of it."""


class _Counts(msgspec.Struct):
    candidate_bad: int = 0
    candidate_n: int = 0
    control_bad: int = 0
    control_n: int = 0

    def add(self, bad: bool, *, candidate: bool, units: int = 1) -> None:
        if candidate:
            self.candidate_n += units
            self.candidate_bad += bad
        else:
            self.control_n += units
            self.control_bad += bad


class _Stream:
    """An alarm with what it counted; each conversation is one unit at most."""

    __slots__ = ("alarm", "counts", "name", "seen")

    def __init__(self, name: str, alarm: Alarm | None) -> None:
        self.name, self.alarm = name, alarm
        self.counts = _Counts()
        self.seen: set[int] = set()

    def view(self) -> StreamView | None:
        if self.alarm is None:
            return None
        state, counts = self.alarm.state, self.counts
        return StreamView(
            name=self.name,
            seen=state.seen,
            value=state.value,
            threshold=state.threshold,
            alarmed=state.alarmed,
            candidate_bad=counts.candidate_bad,
            candidate_n=counts.candidate_n,
            control_bad=counts.control_bad,
            control_n=counts.control_n,
        )


def planned_of(plan: RampPlan, guardrail: Guardrail) -> int:
    return plan.slow_planned if guardrail in SLOW else plan.events_planned


def guardrail_level(plan: RampPlan) -> float:
    """Half of alpha belongs to the guardrails, in equal parts."""
    return 0.5 * plan.alpha / max(1, len(plan.guardrails))


def quality_levels(plan: RampPlan) -> dict[str, float]:
    """Stream name -> level. The whole has half of alpha, or half of that where slices have streams of their own."""
    half = 0.5 * plan.alpha
    if not plan.slices:
        return {"quality": half}
    each = 0.5 * half / len(plan.slices)
    return {"quality": 0.5 * half, **{f"quality@{name}": each for name in plan.slices}}


class Monitor:
    """The streams of one stage, fresh at its start. `take` and the two judges see everything in log order."""

    def __init__(self, state: RampState, trial_failures: tuple[int, int] | None = None) -> None:
        """`trial_failures`: failed and all of the candidate's answers in the trial that certified it."""
        plan, used = state.plan, state.used
        self._plan, self._shadow = plan, state.standing == "shadow"
        share = SHADOW_SHARE if self._shadow else state.basis_points / 10_000
        self._control = 0.0 < share < 1.0
        level = guardrail_level(plan)
        self._guards: dict[Guardrail, _Stream] = {}
        for name in plan.guardrails:
            planned, before = planned_of(plan, name), used.get(name, 0)
            alarm: Alarm | None = None
            if self._control:
                alarm = ControlAlarm(share, planned, level, plan.ratio, before)
            elif name in state.baseline:
                alarm = RateAlarm(state.baseline[name], planned, level * (1.0 - BOUND_PART), before)
            self._guards[name] = _Stream(name, alarm)
        self._quality: dict[str, _Stream] = {}
        for key, part in quality_levels(plan).items():
            self._quality[key] = _Stream(key, self._quality_alarm(state, key, part, used.get(key, 0)))
        self._trial_failures = trial_failures
        self._doubt = self._fresh_doubt()
        self._candidates: set[int] = set()
        self._controls: set[int] = set()
        self._unknown: dict[Guardrail, tuple[int, int]] = {}
        self.pairs = 0

    def _fresh_doubt(self) -> _Stream:
        alarm: Alarm | None = None
        if self._trial_failures is not None:
            failed, count = self._trial_failures
            bound = exact_interval(failed, count, 0.01)[1]
            if bound < 0.6:
                alarm = RateAlarm(bound, self._plan.pairs_planned, self._plan.alpha)
        return _Stream("quality against its own trial", alarm)

    def settle_doubt(self) -> None:
        """Somebody looked at it: it begins anew, and may come back."""
        self._doubt = self._fresh_doubt()

    def _quality_alarm(self, state: RampState, key: str, level: float, used: int) -> Alarm | None:
        plan = state.plan
        if plan.quality == "pairs" or self._shadow:
            return PairAlarm(plan.margin, plan.pairs_planned, level, used)
        if self._control:
            return TurnAlarm(plan.margin, plan.pairs_planned, level, used)
        bound = state.baseline.get(key)
        if bound is None or bound >= RATE_MAX:
            return None
        return RateAlarm(bound, plan.pairs_planned, level * (1.0 - BOUND_PART), used)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def take(self, sight: Sight) -> None:
        """One request of the stage."""
        mine = self._candidates if sight.candidate else self._controls
        first = sight.conversation not in mine
        if first:
            if len(mine) >= CONVERSATIONS_MAX:
                return
            mine.add(sight.conversation)
        for name, stream in self._guards.items():
            if name == "outcomes":
                continue
            if sight.candidate:
                unknown, seen = self._unknown.get(name, (0, 0))
                self._unknown[name] = (unknown + (name in sight.unknown), seen + 1)
            if name in sight.unknown:
                continue
            bad = name in sight.bad
            counted = bad and sight.conversation not in stream.seen
            stream.counts.add(counted, candidate=sight.candidate, units=first)
            if counted:
                stream.seen.add(sight.conversation)
            if isinstance(stream.alarm, ControlAlarm):
                if counted:
                    stream.alarm.event(candidate=sight.candidate)
            elif isinstance(stream.alarm, RateAlarm) and first and sight.candidate:
                stream.alarm.unit(bad=bad)

    def outcome(self, conversation: int, *, failed: bool) -> bool:
        """What the application told first of a conversation of this stage. False where none of it was seen: it is of
        another stage, or still to come."""
        stream = self._guards.get("outcomes")
        if stream is None or conversation in stream.seen:
            return True
        candidate, control = conversation in self._candidates, conversation in self._controls
        if candidate == control:
            return candidate  # both arms had a part in it: it says nothing of either
        stream.seen.add(conversation)
        stream.counts.add(failed, candidate=candidate)
        if isinstance(stream.alarm, ControlAlarm):
            if failed:
                stream.alarm.event(candidate=candidate)
        elif isinstance(stream.alarm, RateAlarm) and candidate:
            stream.alarm.unit(bad=failed)
        return True

    def judged_pair(self, slice_name: str, candidate: float, incumbent: float, *, doubts: bool = True) -> None:
        """Both arms answered the same request. `doubts`: it may raise the doubt."""
        self.pairs += 1
        for stream in self._of(slice_name):
            stream.counts.add(candidate < FAILED_BELOW, candidate=True)
            stream.counts.add(incumbent < FAILED_BELOW, candidate=False)
            if type(stream.alarm) is PairAlarm:
                stream.alarm.pair(candidate - incumbent)
        if doubts:
            self._doubted(candidate)

    def judged_answer(self, slice_name: str, score: float, *, candidate: bool, doubts: bool = True) -> None:
        """One arm's answer to a request of its own. `doubts`: it may raise the doubt."""
        failed = score < FAILED_BELOW
        for stream in self._of(slice_name):
            stream.counts.add(failed, candidate=candidate)
            if isinstance(stream.alarm, TurnAlarm):
                stream.alarm.score(score, candidate=candidate)
            elif isinstance(stream.alarm, RateAlarm) and candidate:
                stream.alarm.unit(bad=failed)
        if candidate:
            self.pairs += self._plan.quality == "answers"
            if doubts:
                self._doubted(score)

    def _doubted(self, score: float) -> None:
        if isinstance(self._doubt.alarm, RateAlarm):
            self._doubt.alarm.unit(bad=score < FAILED_BELOW)

    def _of(self, slice_name: str) -> list[_Stream]:
        found = [self._quality["quality"]]
        own = self._quality.get(f"quality@{slice_name}")
        return found if own is None else [*found, own]

    @property
    def alarmed(self) -> bool:
        """Has anything been found that takes a ramp back?"""
        streams = (*self._guards.values(), *self._quality.values())
        return any(stream.alarm is not None and stream.alarm.alarmed for stream in streams)

    # --- what is to be said -------------------------------------------------------------------------------------------

    def evidence(self, held_s: float, missing: tuple[str, ...] = ()) -> Evidence:
        streams = (*self._guards.values(), *self._quality.values())
        return Evidence(
            held_s=held_s,
            conversations=len(self._candidates),
            pairs=self.pairs,
            streams=tuple(view for stream in streams if (view := stream.view()) is not None),
            doubt=self._doubt.view(),
            missing=(*missing, *self._blind()),
        )

    def _blind(self) -> list[str]:
        """Guardrails that see nothing: missing data is a reason to hold."""
        found = []
        for name, stream in self._guards.items():
            unknown, seen = self._unknown.get(name, (0, 0))
            if stream.alarm is None:
                found.append(f"guardrail {name} has no baseline to be held against")
            elif name == "outcomes" and not self._shadow and not stream.counts.candidate_n:
                found.append(
                    "guardrail outcomes: nothing was told of a conversation on the candidate yet (POST /v1/feedback, "
                    "`weighbridge outcomes import`)"
                )
            elif seen and unknown * 2 > seen:
                found.append(
                    f"guardrail {name} cannot be told for {unknown:,} of {seen:,} requests of the candidate: "
                    f"{WHY[name]}"
                )
        return found

    def used(self) -> dict[str, int]:
        """Units by stream, for the next stage."""
        streams = (*self._guards.values(), *self._quality.values())
        return {stream.name: stream.alarm.seen for stream in streams if stream.alarm is not None}

    def baseline(self) -> dict[str, float]:
        """Upper bounds of the control's rates, where the stage had a control: what later stages are held against."""
        if not self._control or self._shadow:
            return {}
        level, parts = guardrail_level(self._plan), quality_levels(self._plan)
        return {
            stream.name: exact_interval(
                stream.counts.control_bad, stream.counts.control_n, BOUND_PART * parts.get(stream.name, level)
            )[1]
            for stream in (*self._guards.values(), *self._quality.values())
            if stream.counts.control_n
        }

    def control_rate(self, name: Guardrail) -> float | None:
        """Of the incumbent in this stage, for the outlook; `None` before enough was seen."""
        stream = self._guards.get(name)
        if stream is None or stream.counts.control_n < RATE_SEEN_MIN:
            return None
        return stream.counts.control_bad / stream.counts.control_n


WHY: dict[Guardrail, str] = {
    "errors": "they have no end yet",
    "refusals": "the provider names no finish reason",
    "broken": "the provider states no usage",
    "schema": "bodies are not captured",
    "tools": "bodies are not captured",
    "outcomes": "nothing was told",
    "first_byte": "no percentile of the incumbent is known yet",
    "latency": "no percentile of the incumbent is known yet",
    "cost": "the cost, or the incumbent's percentile of it, is unknown",
    "tokens": "the provider states no usage, or no percentile of the incumbent is known yet",
    "turns": "no percentile of the incumbent is known yet",
}

QualityKind = Literal["pairs", "answers"]
