"""The scan's page in a real browser: it computes again what the scan computed. SCREENSHOTS=FOLDER keeps pictures."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.browser.chromium import EXECUTABLE, Browser, browser
from weighbridge.scan import assumptions, words
from weighbridge.scan.assumptions import Assumptions
from weighbridge.scan.page import render
from weighbridge.scan.scan import Scan, scan

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]

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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def change(chromium: Browser, ident: str, value: float) -> None:
    chromium.value(
        f"""(() => {{ const field = document.querySelector('input[data-row="{ident}"]'); field.value = "{value}";
        field.dispatchEvent(new Event("input", {{ bubbles: true }})); }})()"""
    )


def again(chromium: Browser) -> dict[str, str]:
    """Cell -> what the page computed anew."""
    cells = chromium.value(
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
    chromium: Browser, found: Scan, page: Path, ident: str, value: float
) -> None:
    chromium.open(page, width=1280)
    assert {} == again(chromium)
    change(chromium, ident, value)
    row = ROWS.get(ident)
    replaced = msgspec.structs.replace(row, value=value, low=min(row.low, value), high=max(row.high, value))
    paths = [Path(file.file) for file in found.files]
    anew = scan(paths, NOW, rows=Assumptions({**ROWS.rows, ident: replaced}))
    titles = {
        (application.name, one.title): one.cost_nanousd.value
        for application in anew.applications
        for one in application.alternatives
    }
    shown = again(chromium)
    moved = 0
    for number, application in enumerate(found.applications):
        for column, one in enumerate(application.alternatives):
            cell = f"c-{number}-{column}"
            expected = titles.get((application.name, one.title))
            if cell not in shown or expected is None:
                continue
            assert close(shown[cell], expected), (application.name, one.title, shown[cell], words.money(expected))
            moved += expected != one.cost_nanousd.value
    assert moved > 0
    chromium.value("document.getElementById('reset').click()")
    assert {} == again(chromium)


def test_what_is_no_number_changes_nothing(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1280)
    chromium.value(
        """(() => { const field = document.querySelector('input[data-row="output.open"]'); field.value = "";
        field.dispatchEvent(new Event("input", { bubbles: true })); })()"""
    )
    assert {} == again(chromium)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_asks_for_nothing_and_breaks_nothing(chromium: Browser, page: Path, width: int) -> None:
    for scheme in ("light", "dark"):
        chromium.open(page, width=width, scheme=scheme)
        assert [] == chromium.complaints()
        assert [page.as_uri()] == chromium.requests()
        assert width >= chromium.value("document.documentElement.scrollWidth")
        if "SCREENSHOTS" in os.environ:
            chromium.screenshot(Path(os.environ["SCREENSHOTS"]) / f"scan-{width}-{scheme}.png")


def test_every_footnote_leads_to_a_row_that_can_be_seen(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1280)
    dead = chromium.value(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((one) => one.getAttribute('href').slice(1))"
        ".filter((id) => !document.getElementById(id)?.getClientRects().length)"
    )
    assert [] == dead


def test_it_prints_on_few_pages_with_nothing_cut_off(chromium: Browser, page: Path, tmp_path: Path) -> None:
    chromium.open(page, width=1280)
    printed = chromium.pdf(tmp_path / "bill.pdf")
    assert printed.startswith(b"%PDF")
    if "SCREENSHOTS" in os.environ:
        (Path(os.environ["SCREENSHOTS"]) / "scan.pdf").write_bytes(printed)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    chromium.call("Emulation.setDeviceMetricsOverride", width=688, height=900, deviceScaleFactor=1, mobile=False)
    assert 688 >= chromium.value("document.documentElement.scrollWidth")
    chromium.call("Emulation.setEmulatedMedia", media="")
