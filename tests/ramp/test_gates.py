"""Gates: unknown is never open, and each answer says what to do."""

import msgspec
import pytest

from tests.ramp.made import STATE, at
from weighbridge.ramp.gates import GateFacts, gates
from weighbridge.records.evidence import FINDING_SCHEMA, Finding, LicenseWord
from weighbridge.records.ramp import GateView


def finding(word: LicenseWord) -> Finding:
    return Finding(
        schema=FINDING_SCHEMA, arm="candidate", terms=None, verdict=word, obligations=(), reasons=("a clause",),
        on="2026-11-25",
    )  # fmt: skip


FACTS = GateFacts(
    identities=("i", "c"), prices=(None, None), finding=finding("allowed"), send_refusal=None, verdict_age_s=60.0,
    copies_spent_nanousd=0, drift=(), candidate_limited=(0, 50), incumbent_limited=(2, 50), per_minute=100.0,
)  # fmt: skip


def view(name: str, **changed: object) -> GateView:
    facts = msgspec.structs.replace(FACTS, **changed)
    return next(row for row in gates(at("few"), "quarter", facts) if row.name == name)


def test_with_everything_in_order_every_gate_is_open() -> None:
    assert all(row.open for row in gates(at("few"), "quarter", FACTS))


@pytest.mark.parametrize(
    ("word", "is_open"),
    [
        ("allowed", True),
        ("obligations", True),
        ("prohibited", False),
        ("unclear", None),
        ("fee", None),
        ("permission", None),
    ],
)
def test_a_licence_is_open_closed_or_unknown_by_its_finding(word: LicenseWord, is_open: bool | None) -> None:
    assert is_open is view("licence", finding=finding(word)).open


def test_a_changed_or_missing_arm_closes() -> None:
    assert "was changed" in view("arm", identities=("i", "other")).why
    assert "no longer an arm" in view("arm", identities=("i", None)).why
    assert view("arm", identities=("i", None)).open is False


def test_an_old_verdict_a_changed_price_and_a_spent_budget_close() -> None:
    assert view("verdict", verdict_age_s=31 * 86_400.0).open is False
    assert view("price", prices=(None, "book 2")).open is False
    assert view("budget", copies_spent_nanousd=10**9).open is False
    assert view("send", send_refusal="region unknown").open is False


def test_headroom_is_the_busiest_minute_times_the_next_share_and_the_way_back_needs_all_of_it() -> None:
    assert "would get 25 requests a minute" in view("headroom").why
    assert view("headroom", per_minute=5000.0).open is False
    assert view("way_back", per_minute=1001.0).open is False
    assert view("headroom", per_minute=None).open is None


def test_unstated_limits_are_unknown_and_answers_of_429_close() -> None:
    plan = msgspec.structs.replace(STATE.plan, candidate_per_minute=None)
    state = msgspec.structs.replace(at("few"), plan=plan)
    row = next(row for row in gates(state, "quarter", FACTS) if row.name == "headroom")
    assert row.open is None
    assert "--accept headroom" in row.why
    assert view("way_back", incumbent_limited=(3, 50)).open is False
    assert view("way_back", incumbent_limited=(3, 50_000)).open is True


def test_traffic_that_moved_since_the_verdict_holds_until_somebody_takes_it_upon_themselves() -> None:
    assert view("drift").open is True
    assert view("drift", drift=None).open is True
    moved = view("drift", drift=("slice task=new is 40% of the traffic since then and was not judged",))
    assert moved.open is None
    assert "task=new is 40%" in moved.why
    assert "--accept drift" in moved.why
