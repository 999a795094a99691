import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.reports.made import SliceShape, inputs, table, trial
from weighbridge.errors import WeighbridgeError
from weighbridge.reports import html, markdown
from weighbridge.reports.build import assemble
from weighbridge.reports.gather import Judged
from weighbridge.reports.model import Report
from weighbridge.reports.write import write

HOSTILE = "</td><script>alert(1)</script>\"'><img src=x onerror=alert(1)> | [x](javascript:alert(1)) `"


@pytest.fixture(scope="module")
def report() -> Report:
    judged, log = trial(
        {
            "task=refund": SliceShape(0.95, 0.97, 500),
            "task=triage": SliceShape(0.9, 0.5, 300),
            "task=mail": SliceShape(0.9, 0.9, 40),
        }
    )
    return assemble(inputs([judged], log, table=table()))


@pytest.fixture(scope="module")
def hostile() -> Report:
    judged, log = trial({HOSTILE: SliceShape(0.95, 0.97, 80)})
    note = replace(
        judged.verdict, note=HOSTILE, verdicts=tuple(replace(v, reasons=(HOSTILE,)) for v in judged.verdict.verdicts)
    )
    return assemble(inputs([Judged(judged.digest, note, judged.evidence, judged.findings)], log, table=table()))


class Page(HTMLParser):
    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.unbalanced: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_well_formed(report: Report) -> None:
    page = Page(html.render(report))
    assert (page.unbalanced, page.open) == ([], [])


def test_the_page_needs_nothing_but_itself(report: Report) -> None:
    text = html.render(report)
    page = Page(text)
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in page.tags}
    targets = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert all(target is not None and target.startswith("#i-") for target in targets)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_text_from_outside_stays_text(hostile: Report) -> None:
    page = Page(html.render(hostile))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert HOSTILE in "".join(page.text)


def test_text_from_outside_makes_no_table_cell_and_no_link_in_markdown(hostile: Report) -> None:
    text = markdown.render(hostile)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 3
    for one in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in one.splitlines()}) == 1
    assert not re.search(r"(?<!\\)\]\(", text)
    assert not re.search(r"(?<!\\)<script", text)


def test_every_drawing_says_in_words_what_it_shows(report: Report) -> None:
    drawings = [attrs for tag, attrs in Page(html.render(report)).tags if tag == "svg"]
    assert len(drawings) > 3
    assert all(attrs.get("aria-hidden") == "true" or len(attrs.get("aria-label") or "") > 20 for attrs in drawings)


def test_ids_are_unique_and_headings_do_not_skip_a_level(report: Report) -> None:
    page = Page(html.render(report))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_cost_stands_only_on_a_row_that_has_its_answer(report: Report) -> None:
    for row in re.findall(r"<tr.*?</tr>", html.render(report), re.DOTALL):
        if "$" in row and "now" not in row and "terms" not in row and "Purpose " not in row:
            assert 'class="answer ' in row or "verdict on the same rows" in row


def test_what_is_not_known_is_called_unknown() -> None:
    judged, log = trial({"task=refund": SliceShape(0.95, 0.97, 80, cost_known=False)})
    text = html.render(assemble(inputs([judged], log, table=table())))
    row = re.findall(r'<td data-label="Cost of 1,000 requests".*?</td>', text, re.DOTALL)[0]
    assert "→</span> unknown" in row


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
def test_text_contrast_is_at_least_four_and_a_half_to_one(mode: str) -> None:
    css = (Path(html.__file__).parent / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]+)[;]", blocks[("light", "dark", "print").index(mode)]))
    for ground in ("paper", "faint"):
        for ink in ("ink", "soft", "move", "stop", "wait"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, f"{ink} on {ground} in {mode}"


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2 between two `#rrggbb` or `#rgb` colours."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def test_the_three_files_are_written_and_a_folder_that_cannot_be_is_named(report: Report, tmp_path: Path) -> None:
    written = write(report, tmp_path / "out")
    assert {"index.html", "report.json", "summary.md"} == {path.name for path in (tmp_path / "out").iterdir()}
    assert written.html.read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(WeighbridgeError, match="--out"):
        write(report, tmp_path / "file")


def test_a_report_without_routes_is_still_a_page(report: Report) -> None:
    assert "The route table has no routes." in html.render(replace(report, routes=()))


def test_names_in_the_headline_are_marked_and_the_sentence_stays_the_same(report: Report) -> None:
    parts = html.pieces(report.routes[0])
    assert "".join(text for text, _ in parts) == report.routes[0].headline
    assert {text for text, name in parts if name} == {"task=refund", "task=triage", "task=mail", "qwen-72b", "gpt-4o"}
