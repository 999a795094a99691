"""The sampling frame: what can be used, what cannot and why, in which order."""

from collections import Counter
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trials.world import EXACT, Traffic, asked, config, with_settings
from weighbridge.trials.frame import order_items


def test_only_answered_user_traffic_of_the_incumbent_with_bodies_is_used_and_the_rest_is_counted() -> None:
    traffic = Traffic()
    traffic.ask()
    traffic.ask(arm="new")
    traffic.ask(outcome="client_gone")
    traffic.ask(bodies=False)
    traffic.ask(redacted=True)
    traffic.ask(gold=None)
    traffic.ask(request=b"no json")
    traffic.ask(response=b'{"error": {"message": "x"}}')
    traffic.ask(purpose="trial")
    traffic.ask(purpose="drill")
    traffic.ask(route="other")
    erased, missing = traffic.ask(), traffic.ask()
    assert erased.request is not None
    assert missing.response is not None
    traffic.bodies[erased.request.commitment] = "erased"
    del traffic.bodies[missing.response.commitment]
    frame = traffic.frame()
    assert [item.id for item in frame.items] == [traffic.exchanges[0].id]
    assert frame.left_out == {
        "answered by another arm": 1, "not answered": 1, "no body captured": 1, "changed by redaction": 1, "erased": 1,
        "no gold answer": 1, "not readable": 2, "body missing": 1,
    }  # fmt: skip


def test_a_gold_answer_that_its_grader_cannot_use_is_left_out_not_scored() -> None:
    traffic = Traffic()
    traffic.ask(gold="many", answer="7")
    frame = traffic.frame(config('[[grader]]\nroute = "assistant"\nkind = "number"\n'))
    assert frame.left_out == {"gold answer does not fit the grader": 1}


def test_a_slice_without_a_grader_is_counted_but_not_read() -> None:
    traffic = Traffic()
    traffic.ask("sum")
    traffic.ask("poem")
    traffic.bodies.clear()
    frame = traffic.frame(config(EXACT + 'slice = "task=sum"\n'))
    assert frame.slice("task=poem").left_out == {"no grader": 1}


def test_the_weights_are_shares_of_answered_user_traffic_usable_or_not() -> None:
    traffic = Traffic()
    for number in range(8):
        traffic.ask("sum" if number < 6 else "date", bodies=number % 2 == 0)
    assert traffic.frame().weights == {"task=date": 0.25, "task=sum": 0.75}


def test_the_incumbents_captured_answer_is_graded() -> None:
    traffic = Traffic()
    traffic.ask(answer="right")
    traffic.ask(answer="wrong")
    assert [item.incumbent for item in traffic.frame().items] == [1.0, 0.0]


def test_one_slice_can_be_looked_at_alone() -> None:
    traffic = Traffic()
    traffic.ask("sum")
    traffic.ask("date")
    frame = traffic.frame(only_slice="task=date")
    assert [row.slice for row in frame.traffic] == ["task=date"]
    assert frame.weights == {"task=date": 1.0}


def test_an_unknown_cost_stays_unknown_in_the_sums() -> None:
    traffic = Traffic()
    traffic.ask()
    traffic.ask(cost_nanousd=None)
    assert traffic.frame().traffic[0].cost_nanousd is None


def test_the_span_digest_covers_ids_and_digests_in_the_trials_order() -> None:
    traffic = Traffic()
    for _ in range(20):
        traffic.ask()
    plan, items = traffic.plan()
    ids = [name for unit in plan.units for name in unit.items]
    body = "".join(f"{name} {items[name].digest}\n" for name in ids)
    assert plan.span.digest == sha256(body.encode()).hexdigest()
    assert ids != sorted(ids)
    again, _ = traffic.plan()
    assert again.trial == plan.trial
    other, _ = traffic.plan(asked(seed=1))
    assert other.trial != plan.trial


def test_without_shuffle_the_order_is_the_logs() -> None:
    traffic = Traffic()
    for number in range(12):
        traffic.ask("sum" if number % 3 else "date")
    plan, _ = traffic.plan(with_settings(asked(), shuffle=False))
    assert [name for unit in plan.units for name in unit.items] == [one.id for one in traffic.exchanges]


def test_a_conversation_stays_one_unit_within_its_slice() -> None:
    traffic = Traffic()
    for number in range(9):
        traffic.ask("sum" if number < 6 else "date", conversation=f"talk{number % 3}")
    plan, _ = traffic.plan()
    assert sorted((unit.slice, unit.cluster, len(unit.items)) for unit in plan.units) == [
        ("task=date", f"talk{n}", 1) for n in range(3)
    ] + [("task=sum", f"talk{n}", 2) for n in range(3)]


def test_a_sample_takes_whole_units_from_the_front_of_the_order_and_counts_the_rest() -> None:
    traffic = Traffic()
    for number in range(30):
        traffic.ask(conversation=f"talk{number // 3}")
    whole, _ = traffic.plan()
    plan, _ = traffic.plan(with_settings(asked(), sample=10))
    assert plan.units == whole.units[:4]
    assert plan.span.left_out == {"not sampled": 18}
    assert plan.counts == whole.counts


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), min_size=2, max_size=40), st.integers(0, 99))
@settings(max_examples=60)
def test_every_item_has_exactly_one_place_whatever_the_seed(rows: list[tuple[str, int]], seed: int) -> None:
    traffic = Traffic()
    for task, talk in rows:
        traffic.ask(task, conversation=f"{talk}")
    frame = traffic.frame()
    ordered = order_items(frame.items, frame.weights, seed)
    assert Counter(name for unit in ordered.units for name in unit.items) == Counter(item.id for item in frame.items)


def test_answers_of_another_model_under_the_incumbents_name_are_left_out() -> None:
    traffic = Traffic()
    traffic.ask("a", model="older-model")
    traffic.ask("a")
    frame = traffic.frame()
    assert len(frame.items) == 1
    assert frame.left_out == {"answered while another model or endpoint stood behind the incumbent's name": 1}
