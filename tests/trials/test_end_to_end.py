"""Trials through a real gateway: traffic in, verdict out."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import Script
from tests.trials.live import Store, live_store, send_traffic, well
from weighbridge.app import gateway_of, keeper_of
from weighbridge.config import load
from weighbridge.records.canonical import canonical
from weighbridge.store.control import ObjectRow, PutObject

REQUESTS = 260


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with live_store(tmp_path_factory.mktemp("live") / "a", REQUESTS) as store:
        yield store


@pytest.fixture
def store(captured: Store, tmp_path: Path) -> Store:
    return captured.copy(tmp_path / "b")


def test_a_good_candidate_is_certified_from_captured_traffic(store: Store) -> None:
    verdict = store.trial("new", "--margin", "0.1")
    assert {row.slice: row.verdict for row in verdict.verdicts} == {
        "task=date": "non_inferior",
        "task=sum": "non_inferior",
    }
    assert verdict.overall.verdict == "non_inferior"
    assert verdict.overall.license == "allowed"
    evidence = store.evidence(verdict)
    assert all(pair.replay is not None and pair.replay_digest is not None for pair in evidence.pairs)
    assert verdict.cost_usd is not None
    billed = [row for row in store.provider.bill if row.model == "new-model"]
    bill = sum(row.prompt_tokens + 2 * row.completion_tokens for row in billed[-store.provider.asked("new-model") :])
    assert round(verdict.cost_usd * 1e9) == bill * 1000
    assert store.provider.asked("old-model") == 0
    said = store.run("verify")
    assert "1 verdicts of trials were derived again from their pairs and agree" in said


def test_a_verdict_that_does_not_follow_from_its_pairs_is_found_even_where_it_is_signed(store: Store) -> None:
    verdict = store.trial("new", "--margin", "0.1")
    better = msgspec.structs.replace(verdict.overall, difference=0.5)
    forged = msgspec.structs.replace(verdict, overall=better, created_ns=verdict.created_ns + 1)
    with keeper_of(load(store.config)) as control:
        row = control.call(PutObject(kind="verdict", label="assistant/new", body=canonical(forged)), ObjectRow)
    said = store.run("verify", code=1)
    assert f"objects/{row.digest}: does not follow: overall: difference is 0.500000" in said


def test_banana_is_inferior_in_every_slice(store: Store) -> None:
    verdict = store.trial("banana", "--margin", "0.1")
    assert {row.verdict for row in (*verdict.verdicts, verdict.overall)} == {"inferior"}
    assert verdict.cost_usd is None
    assert verdict.overall.license == "unclear"


def test_a_model_that_is_not_there_leaves_everything_undecided_with_what_the_host_said(store: Store) -> None:
    verdict = store.trial("unknown", code=2)
    assert {row.verdict for row in (*verdict.verdicts, verdict.overall)} == {"undecided"}
    assert any("model_not_found" in reason for reason in verdict.verdicts[0].reasons)
    assert sum(store.evidence(verdict).failed.values()) > 0
    assert store.provider.asked("no-such-model") < 60


def test_the_candidate_gets_the_captured_bytes_but_for_the_model_name(store: Store) -> None:
    store.trial("new", "--sample", "20", code=None)
    originals = {}
    for row in store.provider.seen:
        body = row.body.replace(b'"old-model"', b'"X"').replace(b'"new-model"', b'"X"')
        if b'"old-model"' in row.body:
            originals[body] = True
        elif b'"new-model"' in row.body:
            assert body in originals


def test_the_same_trial_again_pays_nothing_and_says_the_same(store: Store) -> None:
    first = store.trial("new", "--margin", "0.1")
    asked = store.provider.asked("new-model")
    again = store.trial("new", "--margin", "0.1")
    assert store.provider.asked("new-model") == asked
    assert again.trial == first.trial
    assert again.verdicts == first.verdicts
    assert again.overall == first.overall
    assert again.cost_usd == first.cost_usd


def test_what_was_paid_but_not_written_down_is_found_in_the_log_even_where_little_traffic_is_captured(
    store: Store,
) -> None:
    text = store.config.read_text().replace("bodies = true", "bodies = true\nsample = 0.001")
    store.config.write_text(text)
    first = store.trial("new", "--margin", "0.1")
    asked = store.provider.asked("new-model")
    shutil.rmtree(store.folder / "store" / "trials")
    again = store.trial("new", "--margin", "0.1")
    assert store.provider.asked("new-model") == asked
    assert again.verdicts == first.verdicts
    assert f"{asked} replays were found in the log" in store.said


def test_a_cap_on_money_holds_and_a_larger_one_goes_on(store: Store) -> None:
    # 40 output tokens at $2 and some 350 bytes at $1 a million are held: about $0.0005 a replay.
    first = store.trial("new", "--margin", "0.1", "--max-usd", "0.0012", code=2)
    assert first.cost_usd is not None
    assert 0.0 < first.cost_usd <= 0.0012
    assert any("--max-usd" in reason for row in first.verdicts for reason in row.reasons)
    asked = store.provider.asked("new-model")
    assert asked > 5
    second = store.trial("new", "--margin", "0.1", "--max-usd", "5")
    assert second.trial == first.trial
    assert second.overall.verdict == "non_inferior"
    assert max(store.provider.calls.values()) == 1


def test_a_trial_that_goes_on_after_traffic_has_moved_away_says_so_in_its_result(store: Store) -> None:
    with gateway_of(load(store.config)) as gateway:
        first = store.trial("new", "--margin", "0.1", "--max-usd", "0.0012", code=2)
        assert first.moved == ()
        asyncio.run(send_traffic(gateway.base_url, range(REQUESTS + 1, REQUESTS + 121, 2)))
        second = store.trial("new", "--margin", "0.1", "--max-usd", "5")
        assert second.trial == first.trial
        assert "50% of it lies in other slices now" in second.moved[0]
        assert "task=date 50% -> 100%" in second.moved[0]
        # Once, though it is looked at again; nowhere is anything called saved.
        shown = store.run("trial", "show")
        assert shown.count("traffic has moved") == 1
        assert "traffic has moved" not in store.said
        assert not any(word in shown for word in ("saved", "saving", "cheaper", "less cost"))


def test_a_cap_without_a_price_is_refused_before_anything_is_sent(store: Store) -> None:
    store.run("trial", "run", "--route", "assistant", "--candidate", "banana", "--max-usd", "1", code=1)
    assert "the price of arm 'banana'" in store.said
    assert store.provider.asked("banana-model") == 0


def test_a_host_that_is_busy_now_and_then_changes_nothing(store: Store) -> None:
    def rule(model: str, prompt: str) -> Script:
        if model == "new-model" and store.provider.calls[model, prompt] == 1 and int(prompt.rsplit(" ", 1)[1]) % 5 == 0:
            return Script(status=429, headers=[("Retry-After", "0")])
        return well(model, prompt)

    store.provider.rule = rule
    verdict = store.trial("new", "--margin", "0.1")
    assert verdict.overall.verdict == "non_inferior"
    assert verdict.cost_usd is not None


def test_streams_that_break_off_are_asked_again(store: Store) -> None:
    def rule(model: str, prompt: str) -> Script:
        script = well(model, prompt)
        if model == "new-model" and store.provider.calls[model, prompt] == 1:
            script.cut_after = 120
        return script

    store.provider.rule = rule
    verdict = store.trial("new", "--sample", "30", "--margin", "0.3")
    assert verdict.overall.verdict == "non_inferior"
    asked = store.provider.asked("new-model")
    assert asked > len(store.evidence(verdict).pairs)
    # What a cut call cost nobody knows; it is counted at its upper bound, and that is said.
    assert "upper bound" in verdict.note


def test_show_prints_the_stored_bytes_and_quote_spends_nothing(store: Store) -> None:
    store.run("trial", "run", "--route", "assistant", "--candidate", "new", "--json", "--margin", "0.1")
    printed = store.run("trial", "show", "--json")
    verdict_file = next(
        path for path in (store.folder / "store" / "objects").iterdir() if path.read_bytes() == printed.strip().encode()
    )
    assert store.run("trial", "show", verdict_file.name[:16], "--json") == printed
    asked = store.provider.asked("new-model")
    text = store.run("trial", "quote", "--route", "assistant", "--candidate", "new", "--margin", "0.1")
    assert "task=date" in text
    assert store.provider.asked("new-model") == asked


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--route", "nope", "--candidate", "new"), 64, "has no such route; it has: assistant"),
        (("--route", "assistant", "--candidate", "old"), 64, "it is the incumbent"),
        (("--route", "assistant", "--candidate", "nope"), 64, "which has: new, banana, unknown"),
        (("--route", "assistant", "--candidate", "new", "--margin", "3"), 64, "above 0 and below 1"),
        (("--route", "assistant", "--candidate", "new", "--max-usd", "1e999999"), 64, "above 0, at most 1,000,000"),
        (("--route", "assistant", "--candidate", "new", "--max-usd", "lots"), 64, "2.50"),
        (("--route", "assistant", "--candidate", "new", "--slice", "task=poem"), 1, "no answered traffic on slice"),
    ],
)
def test_a_wrong_question_is_an_error_that_says_what_is_there(
    store: Store, arguments: tuple[str, ...], code: int, says: str
) -> None:
    store.run("trial", "run", *arguments, code=code)
    assert says in store.said


def test_without_captured_bodies_there_is_nothing_to_try_and_the_next_step_is_named(store: Store) -> None:
    for path in (store.folder / "store" / "bodies").rglob("*"):
        if path.is_file() and path.name != "key":
            path.unlink()
    store.run("trial", "run", "--route", "assistant", "--candidate", "new", code=1)
    assert "body missing" in store.said


def test_slices_of_a_route_are_found_in_its_prompts_and_spend_nothing(store: Store) -> None:
    before = sum(store.provider.calls.values())
    found = json.loads(store.run("trial", "slices", "assistant", "--json"))
    assert found["prompts"] > 0
    assert 1.0 == pytest.approx(sum(one["share"] for one in found["slices"]))
    assert found["slices"][0]["id"] in store.run("trial", "slices", "assistant")
    assert before == sum(store.provider.calls.values())
    store.run("trial", "slices", "nowhere", code=64)
    assert "it has: assistant" in store.said
