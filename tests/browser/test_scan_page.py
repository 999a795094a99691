"""The scan's page in a real browser: it computes again what the scan computed. SCREENSHOTS=FOLDER keeps pictures."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage, Scheme, Watched
from weighbridge.scan import assumptions, words
from weighbridge.scan.assumptions import Assumptions
from weighbridge.scan.page import render
from weighbridge.scan.scan import Scan, scan

pytestmark = [pytest.mark.browser]

SAMPLE = Path(__file__).parents[2] / "examples" / "scan_sample.csv"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ROWS = assumptions.load()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """The sample, and usage by the day beside it, whose hours are not known."""
    daily = tmp_path_factory.mktemp("daily") / "daily.csv"
    daily.write_text(
        "time,application,provider,model,requests,input_tokens,cached_input_tokens,output_tokens\n"
        "2026-10-05,nightly,openai,gpt-5.5,4000,9000000,3000000,800000\n"
    )
    return scan([SAMPLE, daily], NOW)


@pytest.fixture(scope="module")
def page(found: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "bill.html"
    path.write_text(render(found), "utf-8")
    return path


def change(shown: Page, ident: str, value: float) -> None:
    shown.evaluate(
        f"""(() => {{ const field = document.querySelector('input[data-row="{ident}"]'); field.value = "{value}";
        field.dispatchEvent(new Event("input", {{ bubbles: true }})); }})()"""
    )


def again(shown: Page) -> dict[str, str]:
    """Cell -> what the page computed anew."""
    cells = shown.evaluate(
        "Object.fromEntries([...document.querySelectorAll('td[id]')].map((one) => "
        "[one.id, one.querySelector('.again').textContent]))"
    )
    return {str(cell): str(text) for cell, text in cells.items() if text}


def close(text: str, nanousd: float) -> bool:
    """The same to the cent, or to the dollar where no cents are shown; a figure in the middle may go either way."""
    shown = re.fullmatch(r" now (?:under \$0\.01|\$([0-9,.]+))(?: \([0-9.,]+x\))?", text)
    assert shown is not None, text
    usd = nanousd / 1e9
    return (
        usd < 0.006
        if shown[1] is None
        else abs(float(shown[1].replace(",", "")) - usd) <= (0.51 if usd >= 999 else 0.0051)
    )


@pytest.mark.parametrize(
    ("ident", "value"),
    [
        ("output.open", 3.0),
        ("tokens.anthropic", 1.0),
        ("cache.kept", 0.25),
        ("hours.dear", 1.0),
        ("output.sibling", 2.0),
    ],
)
def test_a_changed_assumption_gives_in_the_page_what_the_scan_computes_with_it(
    opened: OpenPage, found: Scan, page: Path, ident: str, value: float
) -> None:
    shown = opened(1280, "light")
    shown.goto(page.as_uri())
    assert {} == again(shown)
    change(shown, ident, value)
    row = ROWS.get(ident)
    replaced = msgspec.structs.replace(row, value=value, low=min(row.low, value), high=max(row.high, value))
    paths = [Path(file.file) for file in found.files]
    anew = scan(paths, NOW, rows=Assumptions({**ROWS.rows, ident: replaced}))
    titles = {
        (application.name, one.title): one.cost_nanousd.value
        for application in anew.applications
        for one in application.alternatives
    }
    computed = again(shown)
    moved = 0
    for number, application in enumerate(found.applications):
        for column, one in enumerate(application.alternatives):
            cell = f"c-{number}-{column}"
            expected = titles.get((application.name, one.title))
            if cell not in computed or expected is None:
                continue
            assert close(computed[cell], expected), (application.name, one.title, computed[cell], words.money(expected))
            moved += expected != one.cost_nanousd.value
    assert moved > 0
    shown.evaluate("document.getElementById('reset').click()")
    assert {} == again(shown)


def test_what_is_no_number_changes_nothing(opened: OpenPage, page: Path) -> None:
    shown = opened(1280, "light")
    shown.goto(page.as_uri())
    shown.evaluate(
        """(() => { const field = document.querySelector('input[data-row="output.open"]'); field.value = "";
        field.dispatchEvent(new Event("input", { bubbles: true })); })()"""
    )
    assert {} == again(shown)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_asks_for_nothing_and_breaks_nothing(opened: OpenPage, page: Path, width: int) -> None:
    schemes: tuple[Scheme, ...] = ("light", "dark")
    for scheme in schemes:
        shown = opened(width, scheme)
        watched = Watched(shown)
        shown.goto(page.as_uri())
        assert [] == watched.complaints
        assert [page.as_uri()] == watched.asked
        assert width >= shown.evaluate("document.documentElement.scrollWidth")
        if "SCREENSHOTS" in os.environ:
            shown.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"scan-{width}-{scheme}.png", full_page=True)


def test_every_footnote_leads_to_a_row_that_can_be_seen(opened: OpenPage, page: Path) -> None:
    shown = opened(1280, "light")
    shown.goto(page.as_uri())
    dead = shown.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((one) => one.getAttribute('href').slice(1))"
        ".filter((id) => !document.getElementById(id)?.getClientRects().length)"
    )
    assert [] == dead


def test_it_prints_on_few_pages_with_nothing_cut_off(opened: OpenPage, page: Path, tmp_path: Path) -> None:
    shown = opened(1280, "light")
    shown.goto(page.as_uri())
    printed = shown.pdf(path=tmp_path / "bill.pdf", prefer_css_page_size=True, print_background=True)
    assert printed.startswith(b"%PDF")
    if "SCREENSHOTS" in os.environ:
        (Path(os.environ["SCREENSHOTS"]) / "scan.pdf").write_bytes(printed)
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": 688, "height": 900})
    assert 688 >= shown.evaluate("document.documentElement.scrollWidth")
