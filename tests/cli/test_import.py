"""Logs become exchanges that a trial can use, without the gateway ever having been in their path."""

import gzip
import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.trials.live import CONFIG, SECRET, TASKS, Models, Store, gold, prompt
from weighbridge.exchanges.importing import Imported
from weighbridge.exchanges.reader import read
from weighbridge.store.layout import Layout

ROWS = 260
START = datetime(2026, 11, 1, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A configuration and a provider; no request ever went through a gateway."""
    with pytest.MonkeyPatch.context() as patch, Models() as provider:
        patch.setenv("LIVE_TEST_KEY", SECRET)
        store = Store(tmp_path_factory.mktemp("import"), provider)
        store.config.write_text(CONFIG.format(url=provider.url))
        yield store


@pytest.fixture
def store(empty: Store, tmp_path: Path) -> Store:
    return empty.copy(tmp_path / "b")


def row(number: int, **more: object) -> dict[str, object]:
    said = f"That makes {gold(number)}"
    return {
        "time": (START + timedelta(seconds=number)).isoformat(),
        "tags": {"task": TASKS[number % 2]},
        "request": {"model": "old-model", "messages": [{"role": "user", "content": prompt(number)}], "max_tokens": 40},
        "response": {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_793_000_000 + number,
            "model": "old-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        },
        **more,
    }


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return path


def imported(store: Store, *arguments: str, code: int = 0) -> Imported:
    text = store.run("exchanges", "import", *arguments, "--route", "assistant", "--json", code=code)
    return Imported(**json.loads(text))


def test_a_trial_decides_on_imported_rows_alone(store: Store, tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", *(row(number) for number in range(ROWS)))
    assert Imported(imported=ROWS, known=0, refused={}, cost_unknown=0) == imported(store, str(log))
    prompts = write(tmp_path / "gold.jsonl", *({"prompt": prompt(n), "answer": f"# {gold(n)}"} for n in range(ROWS)))
    store.run("gold", "import", str(prompts))
    verdict = store.trial("new", "--margin", "0.1")
    assert {"task=date": "non_inferior", "task=sum": "non_inferior"} == {
        one.slice: one.verdict for one in verdict.verdicts
    }
    assert store.provider.asked("new-model") > 0
    assert 0 == store.provider.asked("old-model")
    assert "agree" in store.run("verify")


def test_an_imported_exchange_says_what_the_row_said_and_costs_what_its_arm_charges(
    store: Store, tmp_path: Path
) -> None:
    log = write(tmp_path / "log.jsonl", row(1, team="support", latency_ms=900))
    imported(store, str(log), "--tag", "source=october")
    (found,) = read(Layout(store.folder / "store"))
    assert ("assistant", "old", "task=date", "support", "user", "ok") == (
        found.route,
        found.arm,
        found.slice,
        found.team,
        found.purpose,
        found.outcome,
    )
    assert (12 * 5000 + 5 * 15000, 900_000_000) == (found.cost_nanousd, found.duration_ns)
    assert {"source": "october", "task": "date"} == {name: value for name, value in found.tags if name != "imported"}
    shown = json.loads(store.run("exchanges", "show", found.id, "--json"))
    assert (row(1)["request"], row(1)["response"]) == (shown["request"], shown["response"])


def test_importing_again_adds_what_is_missing_and_nothing_else(store: Store, tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", *(row(number) for number in range(5)), row(2))
    assert (5, 1) == (imported(store, str(first)).imported, 1)
    more = write(tmp_path / "more.jsonl", *(row(number) for number in range(8)))
    again = imported(store, str(first), str(more))
    assert (3, 6 + 5) == (again.imported, again.known)
    assert 8 == len(list(read(Layout(store.folder / "store"))))


def test_bad_rows_are_counted_and_written_aside_for_their_owner_only(store: Store, tmp_path: Path) -> None:
    other = row(3)
    other["request"] = {**row(3)["request"], "model": "gpt-2"}  # type: ignore[dict-item]
    other["response"] = {**row(3)["response"], "model": "gpt-2"}  # type: ignore[dict-item]
    log = write(tmp_path / "log.jsonl", row(1), '{"half', other, row(2))
    done = imported(store, str(log), code=2)
    assert (2, {"not a JSON object": 1, "'gpt-2' or 'gpt-2': not the model of an arm of this route": 1}) == (
        done.imported,
        done.refused,
    )
    aside = tmp_path / "log.jsonl.refused.jsonl"
    lines = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [(2, "not a JSON object"), (3, "'gpt-2' or 'gpt-2': not the model of an arm of this route")] == [
        (one["line"], one["reason"]) for one in lines
    ]
    assert 0o600 == stat.S_IMODE(aside.stat().st_mode)
    named = imported(store, str(write(tmp_path / "other.jsonl", other)), "--arm", "old")
    assert 1 == named.imported


def test_what_is_exported_can_be_imported_elsewhere(store: Store, empty: Store, tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", *(row(number) for number in range(4)))
    imported(store, str(log))
    exported = tmp_path / "exported.jsonl"
    store.run("exchanges", "export", "--out", str(exported))
    elsewhere = empty.copy(tmp_path / "c")
    assert 4 == imported(elsewhere, str(exported)).imported
    assert 0 == imported(elsewhere, str(log)).imported


def test_after_an_import_that_broke_off_the_next_one_goes_on_behind_it(store: Store, tmp_path: Path) -> None:
    lines = "".join(json.dumps(row(number)) + "\n" for number in range(400)).encode()
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(lines, 1)[:-4000])
    store.run("exchanges", "import", str(packed), "--route", "assistant", code=64)
    assert "cannot be unpacked past line" in store.said
    there = len(list(read(Layout(store.folder / "store"))))
    assert 0 < there < 400
    packed.write_bytes(gzip.compress(lines))
    assert (400 - there, there) == ((done := imported(store, str(packed))).imported, done.known)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--route", "nowhere"), "has no such route; it has assistant"),
        (("--route", "assistant", "--arm", "nobody"), "has no such arm; it has old, new"),
        (("--route", "assistant", "--tag", "imported=x"), "is taken"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    store: Store, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    log = write(tmp_path / "log.jsonl", row(1))
    store.run("exchanges", "import", str(log), *arguments, code=64)
    assert said in store.said
    assert [] == list(read(Layout(store.folder / "store")))


def test_without_permission_to_keep_prompts_nothing_is_imported(store: Store, tmp_path: Path) -> None:
    store.config.write_text(store.config.read_text().replace("bodies = true", "bodies = false"))
    imported_ = store.run(
        "exchanges", "import", str(write(tmp_path / "l.jsonl", row(1))), "--route", "assistant", code=64
    )
    assert "" == imported_
    assert "importing keeps prompts and answers: set bodies = true" in store.said
