"""The ratios are those of the published tables recomputed from the installed price book, never quoted."""

from datetime import UTC, datetime

import msgspec
import pytest

from weighbridge.scan import assumptions
from weighbridge.scan.alternatives import Prices, elsewhere, family, open_models, own_gpus
from weighbridge.scan.assumptions import Assumptions
from weighbridge.scan.traffic import Part, Traffic

OFF_PEAK, PEAK = 12, 2
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def neutral() -> Assumptions:
    """Equal token counts, equal answers, equal cache hits: what published comparisons assume."""
    return Assumptions(
        {
            ident: msgspec.structs.replace(row, value=1.0, low=1.0, high=1.0)
            if ident.startswith(("tokens.", "output.", "cache."))
            else row
            for ident, row in assumptions.load().rows.items()
        }
    )


def agent_mix(model: str = "claude-opus-5-5", hour: int | None = OFF_PEAK) -> Traffic:
    """One published usage report of a coding agent (PyPI tokencur 0.11.1): almost everything read from the cache."""
    part = Part(
        provider="anthropic",
        model=model,
        hour=hour,
        fresh=5_230,
        cache_read=1_039_800_000,
        cache_write=21_800_000,
        output=4_450_000,
    )
    return Traffic(
        application="agent", parts=(part,), requests=1_000_000, cost_nanousd=None, latency_ms=None, per_request=True
    )


def cost(provider: str, model: str, rows: Assumptions, hour: int | None = OFF_PEAK) -> float:
    found = elsewhere(
        agent_mix(hour=hour), provider, model, Prices(NOW), rows, kind="open_api", growth="output.open", title=""
    )
    assert found.cost_nanousd.value is not None, found.cost_nanousd.why
    return found.cost_nanousd.value


def test_on_a_heavily_cached_agent_mix_one_open_model_is_dearer_and_another_a_fortieth() -> None:
    rows = neutral()
    opus = cost("anthropic", "claude-opus-5-5", rows)
    # 5,230 x 4 + 1,039.8M x 0.20 + 21.8M x 5 + 4.45M x 20 USD per million, as the report's list prices of the day.
    assert opus == pytest.approx((5_230 * 4 + 1_039.8e6 * 0.20 + 21.8e6 * 5 + 4.45e6 * 20) * 1e3)
    assert 1.1 == round(cost("moonshotai", "kimi-k3", rows) / opus, 1)
    assert 45 == round(opus / cost("deepseek", "deepseek-v4-flash", rows))
    assert 22 == int(opus / cost("deepseek", "deepseek-v4-flash", rows, hour=PEAK))


# A published table of the same mix, made from two price tables in November 2026: times cheaper than Opus 5.5.
PUBLISHED = {
    ("anthropic", "claude-haiku-5-5"): 26,
    ("deepseek", "deepseek-v4-flash"): 45,
    ("deepseek", "deepseek-v4-pro"): 8.8,
    ("minimax", "minimax-m3"): 5.5,
    ("moonshotai", "kimi-k2.7-code"): 1.7,
    ("zai", "GLM-5.3"): 1.3,
    ("openai", "gpt-5.6-sol"): 0.7,
    ("moonshotai", "kimi-k3.1-pro"): 1.4,
    ("moonshotai", "kimi-k3"): 0.9,
}


@pytest.mark.parametrize(("provider", "model"), PUBLISHED)
def test_the_published_mix_is_recomputed_for_each_model(provider: str, model: str) -> None:
    rows = neutral()
    ratio = cost("anthropic", "claude-opus-5-5", rows) / cost(provider, model, rows)
    expected = PUBLISHED[provider, model]
    assert expected == round(ratio, 0 if expected >= 10 else 1)


def test_an_open_model_is_priced_at_every_host_that_the_book_lists_cheapest_first() -> None:
    rows = neutral()
    found = next(one for one in open_models(agent_mix(), Prices(NOW), rows) if one.title.startswith("Kimi-K3 "))
    hosts = {host.provider: host for host in found.hosts}
    assert {"moonshotai", "together", "openrouter"} <= set(hosts)
    assert found.cost_nanousd == hosts["moonshotai"].cost_nanousd
    costs = [host.cost_nanousd.value for host in found.hosts if host.cost_nanousd.value is not None]
    assert sorted(costs) == costs
    assert len(costs) > 5
    # A host without a price for cached input pays it in full, which this mix feels.
    assert costs[-1] > 2 * costs[0]


def test_where_no_hours_are_known_a_price_by_the_hour_gives_a_range_that_names_its_assumption() -> None:
    rows = neutral()
    found = elsewhere(
        agent_mix(hour=None), "deepseek", "deepseek-v4-pro", Prices(NOW), rows, kind="open_api", growth="output.open",
        title="",
    ).cost_nanousd  # fmt: skip
    assert "hours.dear" == found.driver
    assert found.low == pytest.approx(cost("deepseek", "deepseek-v4-pro", rows, hour=OFF_PEAK))
    assert found.high == pytest.approx(cost("deepseek", "deepseek-v4-pro", rows, hour=PEAK))
    share = rows.get("hours.dear").value
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(found.low + share * (found.high - found.low))
    without = elsewhere(
        agent_mix(hour=None), "deepseek", "deepseek-v4-pro", Prices(NOW), rows.without("hours.dear"), kind="open_api",
        growth="output.open", title="",
    ).cost_nanousd  # fmt: skip
    assert (None, True) == (without.value, "hours.dear" in str(without.why))


def test_the_range_lies_around_the_value_and_names_what_moves_it_most() -> None:
    found = elsewhere(
        agent_mix(),
        "moonshotai",
        "kimi-k3",
        Prices(NOW),
        assumptions.load(),
        kind="open_api",
        growth="output.open",
        title="",
    ).cost_nanousd
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert "cache.kept" == found.driver
    assert {"cache.kept", "output.open", "tokens.anthropic", "tokens.other"} == set(found.uses)


def test_a_model_without_a_price_for_cached_input_pays_it_in_full() -> None:
    rows = neutral()
    kept = cost("groq", "openai/gpt-oss-120b", rows)
    assert kept > 0
    found = elsewhere(
        agent_mix(), "deepseek", "deepseek-v3.2", Prices(NOW), rows, kind="open_api", growth="output.open", title=""
    )
    (slope,) = found.slopes
    assert slope.cached == slope.uncached > 0


def test_a_provider_that_does_not_sell_the_model_leaves_the_cost_unknown_with_the_reason() -> None:
    found = elsewhere(
        agent_mix(),
        "deepseek",
        "no-such-model",
        Prices(NOW),
        neutral(),
        kind="open_api",
        growth="output.open",
        title="",
    )
    assert (None, None) == (found.cost_nanousd.value, found.price)
    assert "no-such-model" in str(found.cost_nanousd.why)


def test_own_gpus_break_even_where_their_cost_for_the_served_load_is_todays() -> None:
    traffic = msgspec.structs.replace(agent_mix(), cost_nanousd=1_000_000_000_000)
    rows = neutral()
    owned = next(one for one in own_gpus(traffic, 30, rows, all_rows=rows) if one.title == "Kimi-K2.6 on owned B200")
    assert owned.load is not None
    assert owned.break_even_load is not None
    tokens = 5_230 + 1_039.8e6 + 21.8e6 + 4.45e6
    capacity = 3869 * 8 * 30 * 24 * 3600
    node_usd = 8 * 1.95 * 30 * 24
    assert owned.load.value == pytest.approx(tokens / capacity)
    assert owned.cost_nanousd.value == pytest.approx(node_usd * 1e9)
    # At the break-even load the node serves so much that today's price for it is the node's.
    served = (owned.break_even_load.value or 0.0) * capacity
    assert served * (1000 / tokens) == pytest.approx(node_usd)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-5.5", "openai"), ("openai/gpt-oss-120b", "openai"), ("o3-mini", "openai"),
        ("claude-opus-5-5", "anthropic"),
        ("deepseek-ai/DeepSeek-V4-Pro", "deepseek"), ("qwen/qwen3.8-27b", "qwen"), ("kimi-k3", "other"),
    ],
)  # fmt: skip
def test_the_tokenizer_family_follows_from_the_model(model: str, name: str) -> None:
    assert name == family(model)
