"""The report in a real browser. With SCREENSHOTS=FOLDER the pictures are kept there, to be looked at."""

import os
from dataclasses import replace as with_fields
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.browser.conftest import DESKTOP, PHONE, OpenPage, Scheme, Watched
from tests.reports.made import SliceShape, arm, inputs, table, trial
from weighbridge.ramp.story import RampStep, RampStory
from weighbridge.reports.build import assemble
from weighbridge.reports.model import Loss
from weighbridge.reports.write import write

pytestmark = [pytest.mark.browser]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = {"task=refund": SliceShape(0.95, 0.97, 500), "task=triage": SliceShape(0.9, 0.5, 300)}
    shapes["task=a-slice-with-a-very-long-name,key=application-number-four,tools=0a1b2c3d"] = SliceShape(0.9, 0.9, 60)
    first, log = trial(shapes)
    second, more = trial(shapes, candidate="mistral-large", name="t-2", seed=8)
    made = table(arm("qwen-72b"), arm("mistral-large", "host"), arm("not-yet-tried"))
    report = assemble(inputs([first, second], [*log, *more], table=made))
    return write(report, tmp_path_factory.mktemp("report")).html


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_page_asks_for_nothing_and_the_browser_has_nothing_to_say(opened: OpenPage, page: Path) -> None:
    shown = opened(DESKTOP, "light")
    watched = Watched(shown)
    shown.goto(page.as_uri())
    assert watched.asked == [page.as_uri()]
    assert watched.complaints == []


@pytest.mark.parametrize("width", [320, PHONE, 768, DESKTOP])
def test_nothing_is_wider_than_the_screen(opened: OpenPage, page: Path, width: int) -> None:
    shown = opened(width, "light")
    shown.goto(page.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    # Where a table scrolls inside its own box, a reader on a phone would have to find that out.
    hidden = "[...document.querySelectorAll('.wrap')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    if width <= PHONE:
        assert shown.evaluate(hidden) == 0


def test_on_a_phone_each_figure_says_what_it_is(opened: OpenPage, page: Path) -> None:
    shown = opened(PHONE, "light")
    shown.goto(page.as_uri())
    label = "getComputedStyle(document.querySelector('.verdicts td[data-label=Pairs]'), '::before').content"
    assert shown.evaluate(label) == '"Pairs"'


def test_the_answer_and_its_five_figures_are_on_the_first_screen(opened: OpenPage, page: Path) -> None:
    shown = opened(DESKTOP, "light")
    shown.goto(page.as_uri())
    assert shown.evaluate("document.querySelector('.headline').getBoundingClientRect().bottom") < 400
    assert shown.evaluate("document.querySelector('.figures').getBoundingClientRect().bottom") < 900


def test_dark_is_dark_and_light_is_light(opened: OpenPage, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    schemes: tuple[Scheme, ...] = ("light", "dark")
    for scheme in schemes:
        shown = opened(DESKTOP, scheme)
        shown.goto(page.as_uri())
        colours[scheme] = sum(int(part) for part in shown.evaluate(ground).strip("rgb()").split(","))
    assert colours["light"] > 700
    assert colours["dark"] < 120


def test_every_picture_has_a_name_for_a_screen_reader(opened: OpenPage, page: Path) -> None:
    shown = opened(DESKTOP, "light")
    shown.goto(page.as_uri())
    session = shown.context.new_cdp_session(shown)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    images = [node for node in nodes if node.get("role", {}).get("value") == "image" and not node.get("ignored")]
    assert len(images) >= 6
    assert all(node["name"]["value"] for node in images)


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_it_is_drawn(opened: OpenPage, page: Path, pictures: Path, width: int, scheme: Scheme) -> None:
    shown = opened(width, scheme)
    shown.goto(page.as_uri())
    raw = shown.screenshot(path=pictures / f"report-{scheme}-{width}.png", full_page=True)
    assert raw.startswith(b"\x89PNG")
    assert int.from_bytes(raw[16:20], "big") == width


def test_it_prints_on_a4_without_losing_the_page_edge(opened: OpenPage, page: Path, pictures: Path) -> None:
    shown = opened(DESKTOP, "light")
    shown.goto(page.as_uri())
    raw = shown.pdf(path=pictures / "report.pdf", prefer_css_page_size=True, print_background=True)
    assert raw.startswith(b"%PDF")
    # A4 in points; Chromium rounds to whole CSS pixels.
    assert b"/MediaBox [0 0 594.9" in raw or b"/MediaBox [0 0 595" in raw


CANARY = (
    """\"'></td><img src=x onerror="window.canary=1"><svg onload="window.canary=1"><script>window.canary=1</script>"""
)


def test_nothing_that_a_model_or_a_person_wrote_runs_or_becomes_an_element(opened: OpenPage, tmp_path: Path) -> None:
    judged, log = trial({f"task={CANARY}": SliceShape(0.9, 0.5, 80)}, candidate=CANARY)
    made = inputs([judged], log, table=table(arm(CANARY)))
    step = RampStep(time_ns=made.now_ns, stage="rolled_back", share_percent=0.0, by=CANARY, reasons=(CANARY,))
    story = RampStory(ramp=CANARY, route="assistant", candidate=CANARY, incumbent="gpt-4o", verdict=CANARY,
                      stage="rolled_back", share_percent=0.0, steps=(step,))  # fmt: skip
    report = assemble(with_fields(made, ramps={"assistant": (story,)}), note=CANARY)
    loss = Loss(item=CANARY, incumbent=1.0, candidate=0.0, note=CANARY, prompt=CANARY, incumbent_answer=CANARY,
                candidate_answer=CANARY)  # fmt: skip
    (route,) = report.routes
    (candidate,) = route.candidates
    shown = replace(candidate, slices=tuple(replace(row, losses=(loss,)) for row in candidate.slices))
    written = write(replace(report, routes=(replace(route, candidates=(shown,)),)), tmp_path)
    assert written.html.read_text().count("window.canary") > 30
    page = opened(DESKTOP, "light")
    watched = Watched(page)
    page.goto(written.html.as_uri())
    assert page.evaluate("typeof window.canary") == "undefined"
    assert page.evaluate("document.querySelectorAll('img, script, [onload], [onerror]').length") == 0
    assert watched.asked == [written.html.as_uri()]
    assert watched.complaints == []
