"""A judged trial as those who label it need it: its evidence, its sample, and the texts of a pair."""

import secrets

import msgspec

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.exchanges.reader import read
from weighbridge.grading.answers import answer_of
from weighbridge.grading.judge import shown
from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Asked
from weighbridge.store.control import ControlClient, ListObjects, ObjectList
from weighbridge.store.layout import Layout
from weighbridge.trials.labelbook import LabelBook
from weighbridge.trials.labels import Sample, ToLabel, draw
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import TrialPlan, read_object
from weighbridge.trials.spoken import conversation_of, said
from weighbridge.trials.stored import stored_verdict


class LabelledTrial(msgspec.Struct, frozen=True, kw_only=True):
    plan: TrialPlan
    evidence: Evidence
    verdict: Verdict
    book: LabelBook


def labelled_trial(control: ControlClient, layout: Layout, name: str) -> LabelledTrial:
    """The trial of a verdict (see `stored.stored_verdict`). Raises `UsageError` where it has no pairs of its own."""
    verdict, _ = stored_verdict(control, layout, name)
    if verdict.evidence is None or verdict.trial is None:
        raise UsageError(f"{name}: this verdict is not of a trial, so there are no pairs to label")
    evidence = read_object(layout, verdict.evidence, Evidence)
    for row in reversed(control.call(ListObjects(kind="trial"), ObjectList).rows):
        plan = read_object(layout, row.digest, TrialPlan)
        if (plan.trial, plan.span.digest, plan.graders) == (evidence.trial, evidence.span.digest, evidence.graders):
            book = LabelBook(layout.trial(plan.trial))
            return LabelledTrial(plan=plan, evidence=evidence, verdict=verdict, book=book)
    raise WeighbridgeError(f"the plan of trial {evidence.trial} is not in the store; run `weighbridge verify`")


def sample_of(trial: LabelledTrial, log: TrialLog, labels: int) -> Sample:
    """The trial's sample, drawn now if there is none. Raises `UsageError` where nothing can be labelled."""
    kept = trial.book.sample()
    if kept is not None:
        return kept
    spend: dict[str, int | None] = {}
    for exchange in log.users(trial.evidence.route):
        if exchange.outcome == "ok":
            so_far = spend.get(exchange.slice, 0)
            cost = exchange.cost_nanousd
            spend[exchange.slice] = None if so_far is None or cost is None else so_far + cost
    try:
        sample = draw(trial.evidence, spend, labels, secrets.token_hex(16))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return trial.book.draw(sample)


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """What a person sees of a pair."""

    request: str
    incumbent: str
    candidate: str


class PairTexts:
    """Reads the texts of drawn pairs out of the log, one at a time; `None` where a body was erased."""

    def __init__(self, log: TrialLog, route: str, pairs: list[ToLabel]) -> None:
        wanted = {name for pair in pairs for name in (pair.item, pair.replay)}
        self._log = log
        self._found: dict[str, Exchange] = {
            exchange.id: exchange for exchange in read(log.layout, route=route) if exchange.id in wanted
        }

    def __call__(self, pair: ToLabel) -> Texts | None:
        item, replay = self._found.get(pair.item), self._found.get(pair.replay)
        if item is None or replay is None or item.request is None or item.response is None or replay.response is None:
            return None
        bodies = [self._log.body(ref) for ref in (item.request, item.response, replay.response)]
        request, incumbent, candidate = bodies
        if not isinstance(request, bytes) or not isinstance(incumbent, bytes) or not isinstance(candidate, bytes):
            return None
        return Texts(
            request=request_text(request, item.asked),
            incumbent=shown(answer_of(incumbent)),
            candidate=shown(answer_of(candidate)),
        )


def request_text(body: bytes, asked: Asked = "openai") -> str:
    """The turns of a request for people, in whichever dialect it was asked; one that is no conversation as it was
    sent."""
    conversation = conversation_of(body, asked)
    if conversation is None or not conversation.turns:
        return body.decode("utf-8", "replace")
    return "\n\n".join(f"{turn.role.upper()}\n{said(turn)}" for turn in conversation.turns)
