"""A trial whose grader is a function of one's own: it fails on one answer, and costs one slice its verdict."""

from pathlib import Path

import pytest

from tests.fakes.provider import Script
from tests.trials.live import CONFIG, live_store, well
from tests.trials.world import CONFIG as WORLD
from tests.trials.world import Traffic
from weighbridge.config import loads
from weighbridge.grading.book import GraderBook
from weighbridge.grading.children import Children
from weighbridge.grading.own import OwnGraderError
from weighbridge.trials.frame import SLOW_AHEAD_MAX, Frame, build_frame

CHECKS = """
def check(answer, reference, question):
    if "die" in answer.text:
        raise ValueError("cannot read it")
    return answer.text.split()[-1] == reference.split()[-1]
"""


def test_an_answer_that_the_grader_raises_on_leaves_its_slice_undecided_is_named_and_not_paid_twice(
    tmp_path: Path,
) -> None:
    text = CONFIG.replace('kind = "number"\nextract = "last_number"', 'kind = "python:mine:check"')
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "mine.py").write_text(CHECKS)

    def answers(model: str, prompt: str) -> Script:
        if model == "new-model" and int(prompt.rsplit(" ", 1)[1]) % 2 == 0:
            return Script(text="die")
        return well(model, prompt)

    with live_store(folder, 40, text) as store:
        store.provider.rule = answers
        store.provider.calls.clear()
        verdict = store.trial("new", "--margin", "0.4", "--concurrency", "2", code=None)
    rows = {row.slice: row for row in verdict.verdicts}
    assert "undecided" == rows["task=sum"].verdict
    assert "non_inferior" == rows["task=date"].verdict
    assert "undecided" == verdict.overall.verdict
    named = "the grader python:mine:check raised ValueError: cannot read it (exchange "
    assert [reason for reason in rows["task=sum"].reasons if named in reason]
    assert {1} == {count for (model, _), count in store.provider.calls.items() if model == "new-model"}


def test_a_fault_on_the_incumbents_answer_ends_the_trial_before_anything_is_sent_and_names_the_exchange(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(CHECKS)
    traffic = Traffic()
    traffic.ask("a", answer="right")
    bad = traffic.ask("a", answer="die")
    loaded = loads(WORLD + '[[grader]]\nroute = "assistant"\nkind = "python:mine:check"\n', folder=tmp_path)
    with pytest.raises(OwnGraderError, match=f"in exchange {bad.id}; nothing was sent"):
        traffic.frame(loaded)


HALF = """
from hashlib import sha256

def check(answer, reference, question):
    return sha256((question.text + answer.text).encode()).digest()[0] / 255
"""


def test_frame_and_scores_are_the_same_with_one_grading_process_and_with_three(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HALF)
    traffic = Traffic()
    for number in range(SLOW_AHEAD_MAX + 20):
        traffic.ask("ab"[number % 2])
    loaded = loads(WORLD + '[[grader]]\nroute = "assistant"\nkind = "python:mine:check"\n', folder=tmp_path)

    def frame(processes: int) -> Frame:
        book = GraderBook(loaded, "assistant", Children(processes))
        return build_frame(traffic.exchanges, "assistant", loaded.arm("old"), book, traffic.gold, traffic.body)

    one, three = frame(1), frame(3)
    assert one == three
    assert SLOW_AHEAD_MAX + 20 == len(one.items)
    assert len({item.incumbent for item in one.items}) > 100
