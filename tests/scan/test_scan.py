import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.scan import assumptions
from weighbridge.scan.figure import Figure
from weighbridge.scan.page import render
from weighbridge.scan.quote import FIRST_CENTS, Trial, _best_within
from weighbridge.scan.scan import Scan, scan

SAMPLE = Path(__file__).parents[2] / "examples" / "scan_sample.csv"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ROWS = assumptions.load()


@pytest.fixture(scope="module")
def sample() -> Scan:
    return scan([SAMPLE], NOW)


def figures(found: Scan) -> Iterator[tuple[str, Figure]]:
    for application in found.applications:
        for one in application.alternatives:
            name = f"{application.name}/{one.kind}/{one.title}"
            yield name, one.cost_nanousd
            for host in one.hosts:
                yield f"{name}/{host.provider}", host.cost_nanousd
            if one.load is not None:
                yield f"{name}/load", one.load
            if one.break_even_load is not None:
                yield f"{name}/break-even", one.break_even_load
    for waste in found.waste:
        yield f"waste/{waste.rule}/{waste.application}", waste.saving_nanousd
    for trial in found.quote.trials:
        known = trial.usd if trial.why is None else None
        yield f"quote/{trial.application}", Figure(low=known, value=known, high=known, uses=trial.uses)


@pytest.mark.parametrize("ident", sorted(ROWS.rows))
def test_without_a_row_each_figure_that_used_it_is_unknown_and_no_other_changes(sample: Scan, ident: str) -> None:
    with_it = dict(figures(sample))
    users = {name for name, one in with_it.items() if ident in one.uses}
    without = dict(figures(scan([SAMPLE], NOW, rows=ROWS.without(ident))))
    if ident.startswith("speed."):
        assert users
    for name, one in with_it.items():
        if name.startswith("quote/"):
            # The candidate of a trial may be another one, where the cost of the first is unknown now.
            if ident.startswith("trial.") and name in users:
                assert without[name].value is None, name
            continue
        if name in users:
            assert (None, None, None) == (without[name].low, without[name].value, without[name].high), name
            assert ident in str(without[name].why), name
        else:
            assert one == without[name], name


def test_every_shipped_row_is_used_by_the_sample_or_by_prices_that_it_does_not_hit(sample: Scan) -> None:
    used = {ident for _, one in figures(sample) for ident in one.uses}
    # `hours.dear` is for files without hours: test_alternatives deletes it.
    assert set() == set(ROWS.rows) - used - {"batch.openai", "hours.dear"}


def test_the_sample_holds_each_kind_of_answer(sample: Scan) -> None:
    assert {"uncached_prefix", "batch", "long_outputs", "repeated", "failed", "large_model"} == {
        one.rule for one in sample.waste
    }
    assert sample.quote.steps
    assert any(one.why for one in sample.quote.trials)
    kinds = {one.kind for application in sample.applications for one in application.alternatives}
    assert {"stay", "caching", "batch", "sibling", "open_api", "own_gpus"} == kinds


def test_a_failed_request_is_waste_at_its_cost(sample: Scan) -> None:
    failed = next(one for one in sample.waste if one.rule == "failed")
    lines = [line.split(",") for line in SAMPLE.read_text().splitlines()[1:]]
    assert sum(line[10] == "529" for line in lines) == failed.rows


def test_repeated_requests_are_those_after_the_first(sample: Scan) -> None:
    keys = [line.split(",")[-1] for line in SAMPLE.read_text().splitlines()[1:]]
    assert len(keys) - len(set(keys)) == sum(one.rows for one in sample.waste if one.rule == "repeated")


COSTS = st.lists(st.tuples(st.integers(0, 150_00), st.integers(0, 1000)), min_size=0, max_size=8)


@given(costs=COSTS)
def test_no_other_set_of_trials_decides_more_within_the_first_hundred_dollars(costs: list[tuple[int, int]]) -> None:
    trials = [
        Trial(
            application=str(number),
            model="m",
            pairs=1,
            available=1,
            usd=cents / 100,
            minutes=1.0,
            reviewer_hours=0.0,
            spend_nanousd=spend,
            uses=(),
            why=None,
        )
        for number, (cents, spend) in enumerate(costs)
    ]
    chosen = _best_within(trials, FIRST_CENTS)
    needed = [-int(-(one.usd or 0.0) * 100 // 1) for one in trials]
    assert sum(needed[number] for number in chosen) <= FIRST_CENTS
    best = max(
        sum(costs[n][1] for n in range(len(costs)) if mask >> n & 1)
        for mask in range(1 << len(costs))
        if sum(needed[n] for n in range(len(costs)) if mask >> n & 1) <= FIRST_CENTS
    )
    assert best == sum(costs[number][1] for number in chosen)


def test_the_json_shape_can_be_read_back(sample: Scan) -> None:
    assert sample == msgspec.json.decode(msgspec.json.encode(sample), type=Scan)


class _Looked(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name == "href" and value:
                self.links.add(value)
            if name in ("src", "srcset", "action") or (name == "href" and value and not value.startswith("#")):
                self.outside.append(f"{tag} {name}={value}")


def test_the_page_asks_for_nothing_and_each_figure_links_to_its_basis(sample: Scan) -> None:
    page = render(sample)
    looked = _Looked()
    looked.feed(page)
    assert [] == looked.outside
    assert looked.links
    assert {link.removeprefix("#") for link in looked.links} <= looked.ids
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_the_page_holds_names_from_files_as_text_only(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    path = tmp_path / "usage.jsonl"
    row = {"application": name, "model": "gpt-4o", "input_tokens": 10, "output_tokens": 2, "time": "2026-10-01"}
    path.write_text(json.dumps(row))
    page = render(scan([path], NOW))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_script_of_the_page_is_given_what_computes_the_shown_costs(sample: Scan) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', render(sample), re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    rows = data["rows"]
    shown = {
        f"c-{row}-{column}": one.cost_nanousd.value
        for row, application in enumerate(sample.applications)
        for column, one in enumerate(application.alternatives)
    }
    assert data["costs"]
    for one in data["costs"]:
        total = 0.0
        for slope in one["slopes"]:
            own, theirs = f"tokens.{one['family']}", f"tokens.{slope['family']}"
            ratio = 1 if own == theirs else rows[own] / rows[theirs]
            kept = 1 if one["keeps_cache"] else rows["cache.kept"]
            given = slope["input"] + kept * slope["cached"] + (1 - kept) * slope["uncached"]
            dear = slope["dear_hours"]
            share = 1 if dear is None else rows["hours.dear"] if dear else 1 - rows["hours.dear"]
            total += share * ratio * (given + rows[one["growth"]] * slope["output"])
        assert total == pytest.approx(shown[one["id"]])
