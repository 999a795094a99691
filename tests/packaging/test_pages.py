"""The generated pages and the look at data files: what lacks a meaning, a source or a target is named."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
import typer
import typer.core
import typer.main

from scripts import data_files
from scripts.reference import UndescribedError, command_lines, config_page, type_in_words
from weighbridge.records.described import described_fields


class Bounds(msgspec.Struct):
    low: int = 0
    """The lower
    bound."""


class Range(Bounds):
    high: int = 9
    """The upper bound."""
    bare: int = 1


def test_a_key_is_described_by_the_string_under_it_inherited_ones_too() -> None:
    assert {"low": "The lower bound.", "high": "The upper bound."} == described_fields(Range)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (str | None, "string"),
        (tuple[str, ...], "list of strings"),
        (Literal["process", "power"], '`"process"` or `"power"`'),
        (int | Literal["any"], 'integer or `"any"`'),
        (float | tuple[str, str] | None, "number or [string, string]"),
    ],
)
def test_a_type_is_said_in_the_words_of_toml(kind: object, words: str) -> None:
    assert words == type_in_words(kind)


def test_every_configuration_key_has_its_line() -> None:
    page = config_page()
    for key in ("listen", "durability", "purpose", "base_url", "slice_by", "body_bytes_max", "product_month"):
        assert f"| `{key}` |" in page
    assert "## `[[endpoint]]`" in page
    assert "## `[organization.revenue_usd]`" in page


def command_of(function: Callable[..., None]) -> typer.core.TyperCommand:
    app = typer.Typer()
    app.command("weigh")(function)
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperCommand)
    return command


def test_a_command_is_described_with_its_arguments_options_and_defaults() -> None:
    def weigh(
        route: Annotated[str, typer.Argument(help="The route.")],
        margin: Annotated[float, typer.Option(help="How much worse | is fine.")] = 0.03,
        shuffle: Annotated[bool, typer.Option(help="Draw in random order.")] = True,
    ) -> None:
        """Weigh one route."""

    lines = "\n".join(command_lines("weighbridge weigh", command_of(weigh)))
    assert "weighbridge weigh [OPTIONS] ROUTE" in lines
    assert "| `ROUTE` | The route. |  |" in lines
    assert r"How much worse \| is fine. | `0.03` |" in lines
    assert "| `--shuffle, --no-shuffle` | Draw in random order. | `--shuffle` |" in lines


def test_an_option_without_a_help_text_is_refused_by_name() -> None:
    def weigh(margin: float = 0.03) -> None:
        """Weigh."""

    with pytest.raises(UndescribedError, match="`weighbridge weigh`: --margin"):
        command_lines("weighbridge weigh", command_of(weigh))


def test_a_command_without_a_help_text_is_refused_by_name() -> None:
    def weigh() -> None: ...

    with pytest.raises(UndescribedError, match="`weighbridge weigh` has no help text"):
        command_lines("weighbridge weigh", command_of(weigh))


def test_a_fact_without_source_or_with_a_day_to_come_is_named(tmp_path: Path) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    file = tmp_path / "facts.toml"
    file.write_text(f"""
        [sound]\nsource = "https://example.org/terms"\nread = "2026-01-31"
        [hearsay]\nread = "2026-01-31"
        [early]\nsource = "https://example.org"\nread = "{tomorrow}"
        [undated]\nsource = "https://example.org"
    """)
    problems = list(data_files.facts(file))
    assert ["[hearsay]", "[early]", "[undated]"] == [problem.split()[0] for problem in problems]


def test_a_shipped_file_of_a_kind_that_nobody_named_is_a_problem() -> None:
    [problem] = data_files.shipped_problems("src/weighbridge/samples/core.bin")
    assert "nobody said what this file is" in problem


def test_a_link_to_a_page_or_heading_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "REPOSITORY", tmp_path)
    (tmp_path / "there.md").write_text("# How it decides\n")
    (tmp_path / "page.md").write_text(
        "[good](there.md#how-it-decides) [out](https://example.org) [gone](gone.md) [wrong](there.md#nowhere)\n"
        "```\n[in code](gone-too.md)\n```\n"
    )
    problems = list(data_files.link_problems("page.md"))
    assert 2 == len(problems)
    assert "gone.md leads nowhere" in problems[0]
    assert "there.md#nowhere names no heading" in problems[1]


def test_a_page_that_the_index_does_not_lead_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "REPOSITORY", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text("[listed](listed.md)")
    pages = ["README.md", "docs/README.md", "docs/listed.md", "docs/forgotten.md"]
    [problem] = data_files.unreachable(pages)
    assert problem.startswith("docs/forgotten.md")
