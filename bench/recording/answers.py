"""The recordings, and the truth that they hold about each cell of candidate and task."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import duckdb
import numpy as np

from weighbridge.config import load
from weighbridge.grading.answers import Answer, Question
from weighbridge.grading.book import GraderBook, grade
from weighbridge.records.evidence import SliceVerdict, Verdict
from weighbridge.stats.verdict import Decider

INCUMBENT = "gpt-4o-2024-08-06"
MARGIN, ALPHA, SEED = 0.03, 0.05, 0
TASKS = {"gsm": "GSM8K", "crux": "CRUX", "math-l5": "MATH level 5"}
WHOLE = "whole"
"""In place of a task: all traffic, weighted."""

LISTED = {
    "Qwen2.5-72B-Instruct": ("novita", "qwen/qwen-2.5-72b-instruct"),
    "deepseek-v2.5-0908": ("openrouter", "deepseek/deepseek-chat"),
    "Mistral-Large-2": ("mistral", "mistral-large"),
    "Meta-Llama-3.1-70B-Instruct": ("novita", "meta-llama/llama-3.1-70b-instruct"),
    "Qwen2.5-7B-Instruct": ("huggingface_together", "Qwen/Qwen2.5-7B-Instruct"),
    "gemma-2-2b-it": ("huggingface_nebius", "google/gemma-2-2b-it"),
}
"""Candidate -> provider and model of the price book whose list price it is charged with."""
BANANA = "banana"
TERMS = {"Qwen2.5-7B-Instruct": "Apache-2.0"}
"""The one candidate under a licence that needs no reading; the others stay as the catalogue finds them."""


@dataclass(frozen=True)
class Item:
    task: str
    prompt: str
    gold: str


@dataclass
class Recorded:
    """The recordings: items by (task, id), answers and shipped labels by (model, task, id)."""

    items: dict[tuple[str, str], Item]
    answers: dict[tuple[str, str, str], str]
    labels: dict[tuple[str, str, str], bool]

    def has(self, model: str, task: str) -> int:
        return sum((model, *key) in self.answers for key in self.items if key[0] == task)


def read(data: Path, items_max: int | None) -> Recorded:
    database = duckdb.connect()
    rows = database.execute(
        "select task, id, prompt, gold from read_parquet(?) order by task, id", [str(data / "prompts.parquet")]
    ).fetchall()
    items: dict[tuple[str, str], Item] = {}
    for task, ident, prompt, gold in rows:
        if items_max is None or sum(key[0] == task for key in items) < items_max:
            items[task, ident] = Item(task, prompt, gold)
    models = [INCUMBENT, *LISTED]
    answers, labels = {}, {}
    for model, task, ident, output, correct in database.execute(
        "select model, task, id, output, correct from read_parquet(?) where list_contains(?, model)",
        [str(data / "outputs.parquet"), models],
    ).fetchall():
        answers[model, task, ident] = output
        labels[model, task, ident] = bool(correct)
    return Recorded(items, answers, labels)


@dataclass
class Truth:
    """Differences of one cell over all recorded answers that both models have, in the order of the items."""

    ours: list[float] = field(default_factory=list)
    shipped: list[float] = field(default_factory=list)


def truths(recorded: Recorded, config: Path) -> dict[tuple[str, str], Truth]:
    """(candidate, task) -> truth, with the very graders that the trials use."""
    book = GraderBook(load(config), "benchmark")
    question = Question(text=None, body=b"{}")
    scores: dict[tuple[str, str, str], float] = {}
    for (model, task, ident), output in recorded.answers.items():
        item = recorded.items.get((task, ident))
        row = book.of(f"task={task}")
        if item is not None and row is not None and row.grader.reference_problem(item.gold) is None:
            scores[model, task, ident] = grade(row, Answer(text=output), item.gold, question).score
    found: dict[tuple[str, str], Truth] = {}
    for task, ident in recorded.items:
        base = (INCUMBENT, task, ident)
        if base not in scores:
            continue
        for model in LISTED:
            mine = (model, task, ident)
            if mine in scores:
                cell = found.setdefault((model, task), Truth())
                cell.ours.append(scores[mine] - scores[base])
                cell.shipped.append(float(recorded.labels[mine]) - float(recorded.labels[base]))
        row = book.of(f"task={task}")
        item = recorded.items[task, ident]
        if row is not None:
            said = grade(row, Answer(text=BANANA), item.gold, question).score
            cell = found.setdefault((BANANA, task), Truth())
            cell.ours.append(said - scores[base])
            cell.shipped.append(0.0 - float(recorded.labels[base]))
    return found


def agreement(recorded: Recorded, config: Path) -> tuple[int, int]:
    """On how many recorded answers our graders and the shipped labels say the same, of how many."""
    book = GraderBook(load(config), "benchmark")
    question = Question(text=None, body=b"{}")
    same = total = 0
    for key, output in recorded.answers.items():
        item, row = recorded.items.get(key[1:]), book.of(f"task={key[1]}")
        if item is not None and row is not None:
            total += 1
            same += (grade(row, Answer(text=output), item.gold, question).score == 1.0) == recorded.labels[key]
    return same, total


@dataclass(frozen=True)
class Cell:
    candidate: str
    task: str
    verdict: str
    n: int
    difference: float | None
    interval: tuple[float, float] | None
    truth: float
    shipped: float
    items: int
    reasons: tuple[str, ...]

    @property
    def missed(self) -> bool:
        """The interval does not hold the truth, which at level 1 - 2 alpha may happen to so many."""
        return self.interval is not None and not self.interval[0] <= self.truth <= self.interval[1]

    def contradicts(self, truth: float) -> bool:
        if self.verdict == "non_inferior":
            return truth <= -MARGIN
        return self.verdict == "inferior" and truth >= -MARGIN


def whole(candidate: str, recorded: Recorded, truth: dict[tuple[str, str], Truth]) -> Truth:
    """The truth of the whole route: the cells' means, weighted by the traffic of their tasks."""
    counts = {task: sum(key[0] == task for key in recorded.items) for task in TASKS}
    total = sum(counts.values())
    parts = [(counts[task] / total, truth[candidate, task]) for task in TASKS]
    return Truth(
        [math.fsum(weight * fmean(part.ours) for weight, part in parts)],
        [math.fsum(weight * fmean(part.shipped) for weight, part in parts)],
    )


def cells(verdicts: dict[str, list[Verdict]], recorded: Recorded, truth: dict[tuple[str, str], Truth]) -> list[Cell]:
    """Every verdict beside its truth; the whole only of trials that looked at all tasks."""
    found: list[Cell] = []
    for candidate, several in verdicts.items():
        for verdict in several:
            for one in verdict.verdicts:
                task = one.slice.removeprefix("task=")
                found.append(_cell(candidate, task, one, truth[candidate, task], len(truth[candidate, task].ours)))
            if len(verdict.verdicts) == len(TASKS):
                known = whole(candidate, recorded, truth)
                items = sum(len(truth[candidate, task].ours) for task in TASKS)
                found.append(_cell(candidate, WHOLE, verdict.overall, known, items))
    return found


def _cell(candidate: str, task: str, one: SliceVerdict, known: Truth, items: int) -> Cell:
    return Cell(
        candidate, task, one.verdict, one.n, one.difference, one.interval, fmean(known.ours), fmean(known.shipped),
        items, one.reasons,
    )  # fmt: skip


def shuffled(truth: dict[tuple[str, str], Truth], orders: int) -> tuple[int, int]:
    """Decide every cell again in many orders, from the recorded scores alone: (contradictions, decisions)."""
    wrong = decided = 0
    for known in truth.values():
        differences, target = np.array(known.ours), fmean(known.ours)
        for seed in range(orders):
            decider = Decider(MARGIN, ALPHA, {"s": 1.0}, ("c",), seed)
            for d in np.random.default_rng(seed).permutation(differences).tolist():
                decider.feed("s", "c", d)
                if decider.all_decided:
                    break
            word = decider.verdict("s", "c")
            decided += word != "undecided"
            wrong += (word == "non_inferior" and target <= -MARGIN) or (word == "inferior" and target >= -MARGIN)
    return wrong, decided
