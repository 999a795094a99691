"""Traffic that has moved away from the judged sample is said on top of the report, with the figures."""

from tests.reports.made import DAY_NS, START_NS, SliceShape, exchange, inputs, table, trial
from weighbridge.grading.drift import EXCHANGES_MIN
from weighbridge.reports import html, markdown
from weighbridge.reports.build import assemble
from weighbridge.reports.model import Report

AFTER_NS = START_NS + 21 * DAY_NS


def reported(**later: int) -> Report:
    """A verdict on two slices of equal weight, and so many requests a slice since."""
    judged, log = trial({"task=refund": SliceShape(0.95, 0.97, 200), "task=mail": SliceShape(0.9, 0.9, 200)})
    for name, count in later.items():
        log += [exchange(f"later-{name}-{at}", part=f"task={name}", time_ns=AFTER_NS + at) for at in range(count)]
    return assemble(inputs([judged], log, table=table()))


def test_a_mix_that_moved_and_a_slice_that_is_new_are_said_on_page_and_in_markdown_and_json() -> None:
    report = reported(refund=20, mail=60, chat=20)
    route = report.routes[0]
    (facts,) = route.candidates[0].trials
    assert "30% of it lies in other slices now (task=refund 50% -> 20%" in facts.moved[0]
    assert "slice task=chat is 20% of the traffic since then and was not judged" == facts.moved[1]
    assert "Since qwen-72b was tried: traffic has moved" in route.note
    for text in (html.render(report), markdown.render(report)):
        assert "30% of it lies in other slices now" in text
        assert "20% of the traffic since then" in text


def test_traffic_like_the_sample_and_too_little_of_it_are_no_news() -> None:
    for later in ({"refund": 50, "mail": 50}, {"chat": EXCHANGES_MIN - 1}):
        route = reported(**later).routes[0]
        assert route.candidates[0].trials[0].moved == ()
        assert "moved" not in route.note
