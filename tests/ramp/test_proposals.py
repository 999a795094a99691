"""What the world says that a trial would be worth: each reason once, with its source, and nothing is started."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from tests.ramp.desk import Store
from weighbridge.config import load
from weighbridge.licenses import catalogue
from weighbridge.ramp.proposals import Proposal, proposals


def now(store: Store) -> datetime:
    return datetime.fromtimestamp(store.clock.wall_ns() // 1_000_000_000, UTC)


def found(store: Store, *whys: str) -> list[Proposal]:
    rows = proposals(load(store.file), store.layout, now(store))
    return [row for row in rows if not whys or row.why in whys]


def edit(store: Store, old: str, new: str) -> None:
    text = store.file.read_text()
    assert old in text
    store.file.write_text(text.replace(old, new, 1))


def test_a_candidate_without_a_verdict_as_it_is_now_is_proposed_until_it_has_one(store: Store) -> None:
    assert ["candidate"] == [row.candidate for row in found(store, "untried")]
    store.verdict()
    assert [] == found(store, "untried")
    edit(store, 'model = "model-b"', 'model = "model-c"')
    assert ["candidate"] == [row.candidate for row in found(store, "untried")]
    assert not found(store, "untried")[0].news


def test_an_announced_withdrawal_of_the_incumbent_proposes_trials_of_what_could_take_over(store: Store) -> None:
    far, near = ((now(store) + timedelta(days=days)).date().isoformat() for days in (300, 100))
    edit(store, 'model = "model-a"', f'model = "model-a"\nretires_on = "{far}"')
    assert [] == found(store, "retirement")
    edit(store, far, near)
    row = found(store, "retirement")[0]
    assert (True, "candidate") == (row.news, row.candidate)
    assert f"incumbent is withdrawn on {near}, in 100 days" in row.said
    assert "weighbridge trial quote --route assistant --candidate candidate" == row.command


def test_a_price_that_makes_the_move_worth_more_than_at_the_verdict_is_a_reason_and_the_other_way_is_none(
    store: Store,
) -> None:
    store.verdict("undecided")
    assert [] == found(store, "price_changed")
    edit(store, 'price = { input = "1", output = "2" }', 'price = { input = "0.5", output = "1" }')
    assert [] == found(store, "price_changed")
    edit(store, 'price = { input = "0.5", output = "1" }', 'price = { input = "3", output = "2" }')
    edit(store, 'price = { input = "0.1", output = "0.2" }', 'price = { input = "0.05", output = "0.2" }')
    incumbent, candidate = found(store, "price_changed")
    assert "incumbent costs another price than at the last verdict: $1 to $3 in" in incumbent.said
    assert "candidate costs another price than at the last verdict: $0.1 to $0.05 in" in candidate.said
    assert ("all",) == incumbent.slices


def test_on_a_route_of_embeddings_no_model_is_proposed_and_a_withdrawal_says_what_to_do(store: Store) -> None:
    near = (now(store) + timedelta(days=100)).date().isoformat()
    edit(store, 'candidates = ["candidate"]', "embeddings = true")
    edit(store, 'route = "assistant"\nhold_s', 'route = "*"\nhold_s')
    edit(store, 'model = "model-a"', f'model = "model-a"\nretires_on = "{near}"')
    (row,) = found(store)
    assert ("retirement", None) == (row.why, row.candidate)
    assert "build the index anew" in row.command


def test_an_announced_rise_of_the_incumbent_is_a_reason_before_it_holds(store: Store) -> None:
    day = (now(store) + timedelta(days=40)).date().isoformat()
    edit(store, 'price = { input = "1", output = "2" }', "")
    head = '\n[[price]]\nendpoint = "provider"\nmodel = "model-a"\noutput = "2"\nsource = "letter"\n'
    rows = f'{head}input = "1"\nuntil = "{day}"\n{head}input = "4"\nsince = "{day}"\n'
    store.file.write_text(store.file.read_text() + rows)
    row = found(store, "price_rise")[0]
    assert f"incumbent gets dearer on {day}: $1 to $4 in" in row.said


def test_models_of_the_catalogue_that_came_out_since_the_last_verdict_are_named_newest_first(store: Store) -> None:
    dated = sorted(days[0] for model in catalogue.models() if (days := model.days) is not None)
    last = datetime.fromisoformat(dated[-1]).replace(tzinfo=UTC)
    store.clock.jump_wall((last - now(store)).total_seconds() - 20 * 86_400)
    store.verdict()
    store.clock.jump_wall(21 * 86_400)
    rows = found(store, "new_model")
    assert rows
    assert all(row.candidate is None and row.news for row in rows)
    assert f"came out on {dated[-1]}" in rows[0].said
    edit(store, 'model = "model-b"', f'model = "{rows[0].said.split(" came out")[0]}"')
    assert rows[0].said not in [row.said for row in found(store, "new_model")]


def test_people_are_told_once_and_nothing_is_started(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    day = (now(store) + timedelta(days=30)).date().isoformat()
    edit(store, 'model = "model-a"', f'model = "model-a"\nretires_on = "{day}"')
    store.again()

    async def days(count: int) -> None:
        for _ in range(count):
            store.clock.advance(61)
            await store.office.tick()
            store.clock.jump_wall(86_400)

    with caplog.at_level(logging.WARNING, "keeper"):
        asyncio.run(days(1))
        store.again()
        asyncio.run(days(2))
    told = [record.getMessage() for record in caplog.records if "nothing was started" in record.getMessage()]
    assert 1 == sum(f"incumbent is withdrawn on {day}, in 30 days" in one for one in told)
    assert () == store.desk.stored()
