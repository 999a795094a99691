"""Pages where people label pairs: which trials wait for them, and one pair after the other."""

import threading
from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from weighbridge.admin.labels import Labelling
from weighbridge.admin.owned import Owned
from weighbridge.admin.pages.shell import Dashboard, nothing, page
from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.people import Person
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.records.evidence import Evidence
from weighbridge.trials.labelbook import LabelBook
from weighbridge.trials.labelled import PairTexts, labelled_trial, sample_of
from weighbridge.trials.labels import judged_slices, to_label
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import read_object

LABELS = 300
"""About how many conversations are drawn of a trial that nobody has drawn from yet."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A trial with slices that a panel judged."""

    trial: str
    route: str
    candidate: str
    slices: tuple[str, ...]
    drawn: int | None
    """Pairs to label; `None`: nothing is drawn yet."""
    labelled: int


class _Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    item: str
    word: Literal["left", "right", "tie"]


class Labellings:
    """The labelling of each trial, opened when somebody first asks for it."""

    def __init__(self, sources: Sources, wall_ns: Callable[[], int], labels: int = LABELS) -> None:
        self._sources, self._wall_ns, self._labels = sources, wall_ns, labels
        self._open: dict[str, Labelling] = {}
        self._lock = threading.Lock()

    def of(self, trial: str) -> Labelling:
        """Raises `WeighbridgeError` where there is no such trial or nothing of it can be labelled."""
        with self._lock:
            if trial not in self._open:
                self._open[trial] = self._made(trial)
            return self._open[trial]

    def _made(self, trial: str) -> Labelling:
        with self._sources.keeper() as control:
            found = labelled_trial(control, self._sources.layout, trial)
        log = TrialLog(self._sources.loaded)
        sample = sample_of(found, log, self._labels)
        pairs = to_label(sample, found.evidence)
        texts = PairTexts(log, found.evidence.route, pairs)
        return Labelling(sample, pairs, found.book, texts, self._wall_ns)


def judged(sources: Sources) -> tuple[Judged, ...]:
    """Newest first."""
    found: dict[str, Judged] = {}
    for entry in reversed([one for one in sources.chain().objects if one.kind == "evidence"]):
        evidence = read_object(sources.layout, entry.digest, Evidence)
        slices = judged_slices(evidence)
        if not slices or evidence.trial in found:
            continue
        book = LabelBook(sources.layout.trial(evidence.trial))
        sample = book.sample()
        labels = book.labels()
        found[evidence.trial] = Judged(
            trial=evidence.trial, route=evidence.route, candidate=evidence.candidate, slices=slices,
            drawn=None if sample is None else len(to_label(sample, evidence)), labelled=len(labels),
        )  # fmt: skip
    return tuple(found.values())


async def listed(board: Dashboard, request: Request, person: Person) -> Response:
    def read() -> list[Judged]:
        owned = Owned(board.sources, person.teams)
        return [row for row in judged(board.sources) if owned.route(row.route)]

    rows = await run_in_threadpool(read)
    return page(request, person, "labels.html.j2", "Labels", {"rows": rows})


async def shown(board: Dashboard, request: Request, person: Person) -> Response:
    trial = request.path_params["trial"]
    try:
        await run_in_threadpool(board.labellings.of, trial)
    except UsageError:
        return nothing(request, person, "such trial with pairs to label")
    except WeighbridgeError as error:
        message = {"message": "Nothing can be labelled now."}
        return page(request, person, "message.html.j2", "Labels", message, problem=str(error), status=409)
    return page(request, person, "label.html.j2", "Which answer is better?", {"trial": trial})


async def _state(board: Dashboard, request: Request, person: Person) -> Response:
    labelling = await run_in_threadpool(board.labellings.of, request.path_params["trial"])
    found = await run_in_threadpool(labelling.state, person.name)
    return Response(msgspec.json.encode(found), media_type="application/json")


async def upcoming(board: Dashboard, request: Request, person: Person) -> Response:
    try:
        return await _state(board, request, person)
    except WeighbridgeError as error:
        return PlainTextResponse(str(error), 404)


async def choose(board: Dashboard, request: Request, person: Person) -> Response:
    try:
        choice = msgspec.json.decode(await request.body(), type=_Choice)
    except msgspec.MsgspecError as error:
        return PlainTextResponse(f"Not a choice: {error}", 400)
    try:
        labelling = await run_in_threadpool(board.labellings.of, request.path_params["trial"])
        why = await run_in_threadpool(labelling.choose, person.name, choice.item, choice.word)
        return PlainTextResponse(why, 409) if why is not None else await _state(board, request, person)
    except WeighbridgeError as error:
        return PlainTextResponse(str(error), 404)


async def back(board: Dashboard, request: Request, person: Person) -> Response:
    try:
        labelling = await run_in_threadpool(board.labellings.of, request.path_params["trial"])
        labelling.back(person.name)
        return await _state(board, request, person)
    except WeighbridgeError as error:
        return PlainTextResponse(str(error), 404)
