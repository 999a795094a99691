"""A saving never stands without the verdict on the same rows: page, Markdown and JSON."""

import re

import msgspec
import pytest

from tests.reports.made import SliceShape, inputs, table, trial
from weighbridge.reports import html, markdown, words
from weighbridge.reports.build import assemble
from weighbridge.reports.model import Report

WORDS = {"as good", "worse", "undecided"}
SAYS_SAVING = re.compile(r"\d %\s+(less|cheaper)|→|saved|less for the same")


@pytest.fixture(scope="module")
def report() -> Report:
    """All three verdicts, every one of them at a fifth of the cost."""
    judged, log = trial(
        {
            "task=good": SliceShape(0.95, 0.97, 500),
            "task=bad": SliceShape(0.9, 0.5, 300),
            "task=open": SliceShape(0.9, 0.9, 30),
        }
    )
    return assemble(inputs([judged], log, table=table()))


def test_the_made_report_has_each_verdict_with_a_lower_cost(report: Report) -> None:
    rows = report.routes[0].candidates[0].slices
    assert {"non_inferior", "inferior", "undecided"} == {row.verdict for row in rows}
    assert all(row.change is not None and row.change < -0.5 for row in rows)


def test_each_row_of_the_page_that_shows_two_costs_shows_its_verdict(report: Report) -> None:
    page = html.render(report)
    body = page[page.index('<table class="verdicts">') :]
    rows = [row for row in re.findall(r"<tr.*?</tr>", body[: body.index("</table>")], re.DOTALL) if "→</span>" in row]
    assert len(rows) == 4  # three slices and the whole
    found = [re.findall(r"verdict: ([a-z ]+)<", row) for row in rows]
    assert all(len(one) == 1 and one[0] in WORDS for one in found)
    by_slice = {row.slice: words.verdict(row.verdict) for row in report.routes[0].candidates[0].slices}
    for name, word in by_slice.items():
        assert any(name in row and f"verdict: {word}<" in row for row in rows)


def test_each_row_of_the_markdown_that_shows_two_costs_shows_its_verdict(report: Report) -> None:
    lines = markdown.render(report).splitlines()
    head = next(line for line in lines if line.startswith("| slice |"))
    place = [cell.strip() for cell in head.split("|")].index("verdict")
    rows = [line for line in lines if " → " in line and line.startswith(("| task", "| the whole"))]
    assert len(rows) == 4
    assert all(line.split("|")[place].strip() in WORDS for line in rows)


def test_what_moves_and_what_it_saves_is_one_sentence_with_the_verdict(report: Report) -> None:
    route = report.routes[0]
    assert route.moved.verdicts == ("non_inferior",) * len(route.moved.slices)
    assert len(route.moved.slices) == 1
    assert "less cost on those requests, judged as good." in html.together(route)
    assert route.first is not None
    saving = next(figure for figure in route.first.figures if figure.name == "saving")
    assert "Verdict on the same rows: not worse in task=good" in saving.says
    for way in route.first.alternatives:
        assert way.kind == "stay" or way.net_nanousd is None or "verdict is non-inferior" in way.says


def test_where_nothing_was_shown_to_be_as_good_no_sum_is_given(report: Report) -> None:
    judged, log = trial({"task=bad": SliceShape(0.9, 0.5, 300), "task=open": SliceShape(0.9, 0.9, 30)})
    route = assemble(inputs([judged], log, table=table())).routes[0]
    assert (route.moved.change, route.moved.month, route.moved.verdicts) == (None, None, ())
    assert SAYS_SAVING.search(route.headline) is None


def test_each_object_of_the_json_that_has_a_change_of_cost_has_its_verdict(report: Report) -> None:
    seen = 0

    def look(value: object) -> None:
        nonlocal seen
        if isinstance(value, dict):
            if isinstance(value.get("change"), float):
                seen += 1
                assert value.get("verdict") or value.get("verdicts")
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(msgspec.json.decode(msgspec.json.encode(report)))
    assert seen == 5  # three slices, the whole, and what moves
