"""Writes docs/reference from the code: the configuration keys, the command line, and what dialects carry. Also
docs/runbooks and the rules for Prometheus, from the table of alerts, and docs/evidence/promises.md from the marks of
tests.

`scripts/docs` writes the pages, `scripts/docs --check` only says which of them are out of date (exit 1).
A key, command or option without a description is an error: whoever adds one says what it means.
"""

import argparse
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import msgspec
import typer
import typer.core
import typer.main

from scripts.alert_rules import rules_file
from scripts.dialects import page as dialects
from scripts.grafana_board import board
from scripts.promises import NoFigureError
from scripts.promises import page as promises
from scripts.runbooks import runbook_pages
from weighbridge.admin.table import described
from weighbridge.cli.root import root
from weighbridge.config.tree import Config
from weighbridge.records.described import described_fields

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = REPOSITORY / "docs" / "reference"
MADE = "<!-- Made by scripts/docs from {source}; edit there. -->"


class UndescribedError(Exception):
    """Something that a person can set or call says nowhere what it does."""


# --- configuration ----------------------------------------------------------------------------------------------------


def section_in(kind: object) -> type[msgspec.Struct] | None:
    """The section inside an annotation such as `tuple[ArmSection, ...]` or `PriceSection | None`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in typing.get_args(kind) if (found := section_in(part))), None)


def type_in_words(kind: object) -> str:
    """An annotation as somebody who writes TOML would say it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(f"`{_toml(part)}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(part) for part in parts if part is not type(None))
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return f"list of {type_in_words(parts[0])}s"
        return f"[{', '.join(type_in_words(part) for part in parts)}]"
    if origin is dict:
        return f"table of {type_in_words(parts[1])}"
    names: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return names[kind]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return str(value)


def config_sections(kind: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Every table of the file as (heading, section), in the order of the tree; `[[x]]` where it may repeat."""
    hints = typing.get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        inner = section_in(hints[field.name])
        if inner is None:
            continue
        name = f"{path}.{field.name}" if path else field.name
        yield (f"[[{name}]]" if typing.get_origin(hints[field.name]) is tuple else f"[{name}]"), inner
        yield from config_sections(inner, name)


def config_page() -> str:
    lines = [
        MADE.format(source="src/weighbridge/config/tree.py"),
        "# Configuration",
        "",
        "One file, `weighbridge.toml`; `weighbridge init` writes one with comments, and every command takes",
        "`--config FILE`. Relative paths start at the file's own folder. Secrets are references, `env:NAME` or",
        "`file:PATH`, never values. Unknown keys are refused, with the nearest known key named.",
        "",
    ]
    for heading, section in config_sections(Config):
        lines += [f"## `{heading}`", "", inspect.getdoc(section) or "", ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        meanings, hints = described_fields(section), typing.get_type_hints(section)
        for field in msgspec.structs.fields(section):
            if section_in(hints[field.name]) is not None:
                continue
            if field.name not in meanings:
                raise UndescribedError(f"{section.__module__}.{section.__name__}.{field.name} has no string under it")
            if field.required:
                default = "required"
            else:
                value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
                default = "" if value is None or value == {} else f"`{_toml(value)}`"
            kind, meaning = type_in_words(hints[field.name]), meanings[field.name]
            lines.append(f"| `{field.name}` | {kind} | {default} | {_cell(meaning)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- command line -----------------------------------------------------------------------------------------------------


def commands(group: object, path: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command that does something, in the order of `--help`, as (words, command)."""
    if isinstance(group, typer.core.TyperGroup):
        context = typer.Context(group)
        for name in group.list_commands(context):
            yield from commands(group.get_command(context, name), f"{path} {name}")
    elif isinstance(group, typer.core.TyperCommand) and not group.hidden:
        yield path, group


def command_lines(words: str, command: typer.core.TyperCommand) -> list[str]:
    """One command as Markdown: what it does, its usage line, a table of arguments and options, its examples."""
    if not command.help:
        raise UndescribedError(f"`{words}` has no help text")
    context = typer.Context(command)
    usage: list[str] = []
    rows: list[tuple[str, str | None, str]] = []
    for parameter in command.params:
        if isinstance(parameter, typer.core.TyperArgument) and parameter.hidden:
            continue  # there to be refused in our own words
        if isinstance(parameter, typer.core.TyperArgument):
            name = parameter.display_name_raw.upper() + ("..." if parameter.nargs == -1 else "")
            usage.append(name if parameter.required else f"[{name}]")
            rows.append((name, parameter.help, ""))
        elif isinstance(parameter, typer.core.TyperOption) and not parameter.hidden and parameter.name != "help":
            value = "" if parameter.is_flag or parameter.count else f" {parameter.display_type(context)}"
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            rows.append((names + value, parameter.help, "required" if parameter.required else _default(parameter)))
    options = [] if len(usage) == len(rows) else ["[OPTIONS]"]
    lines = [f"## `{words}`", "", _prose(command.help), "", "```text", " ".join([words, *options, *usage]), "```", ""]
    if rows:
        lines += ["| | meaning | default |", "|---|---|---|"]
    for name, meaning, default in rows:
        if not meaning:
            raise UndescribedError(f"`{words}`: {name} has no help text")
        lines.append(f"| `{_cell(name)}` | {_cell(meaning)} | {default} |")
    if rows:
        lines.append("")
    if command.epilog:
        lines += [_prose(command.epilog), ""]
    return lines


def _default(option: typer.core.TyperOption) -> str:
    value = option.default.value if isinstance(option.default, Enum) else option.default
    if value is True:
        value = option.opts[0]
    return "" if value in (None, False, (), []) or callable(value) else f"`{value}`"


def _prose(text: str) -> str:
    """Help text, which is Markdown. `\\b` is the command line's own mark for lines that keep their breaks."""
    if "[bold]" in text or "[/" in text:
        raise UndescribedError(
            f"a help text holds the markup of a terminal, which shows as it is: {text!r}; use backticks"
        )
    return inspect.cleandoc(text).replace("\b\n", "")


def cli_page() -> str:
    lines = [
        MADE.format(source="src/weighbridge/cli"),
        "# Command line",
        "",
        "Results go to standard output, notes and progress to standard error. With `--json`, standard output holds one",
        "JSON document and nothing else.",
        "",
        "| exit code | means |",
        "|---|---|",
        "| 0 | done, or decided |",
        "| 2 | undecided, or something needs attention |",
        "| 1 | failed; the message says what was tried and what to do next |",
        "| 64 | wrong use: an unknown option, or a configuration that cannot be used |",
        "",
    ]
    for words, command in commands(typer.main.get_command(root), "weighbridge"):
        lines += command_lines(words, command)
    return "\n".join(lines)


def dialects_page() -> str:
    made = MADE.format(source="src/weighbridge/wire/carried.py, hosts.py and gateway/doors.py")
    return f"{made}\n\n{dialects()}"


# --- pages on disk ----------------------------------------------------------------------------------------------------


def admin_api() -> str:
    return described().decode()


WRITERS = {
    "config.md": config_page, "cli.md": cli_page, "dialects.md": dialects_page, "openapi.json": admin_api,
    "../evidence/promises.md": promises,
}  # fmt: skip


def stale(pages: Path = PAGES) -> dict[str, str]:
    """The pages that are missing or differ from what the code says, with what they should be."""
    made = {name: write() for name, write in WRITERS.items()}
    made |= {f"../runbooks/{name}": text for name, text in runbook_pages().items()}
    made["../../deploy/prometheus/alerts.yml"] = rules_file()
    made["../../deploy/helm/weighbridge/files/alerts.yml"] = rules_file()
    made["../../deploy/grafana/weighbridge.json"] = board()
    made = {name: text.rstrip("\n") + "\n" for name, text in made.items()}
    return {
        name: text for name, text in made.items() if not (pages / name).is_file() or (pages / name).read_text() != text
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/docs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    check = parser.parse_args(arguments).check
    try:
        pages = stale()
    except (UndescribedError, NoFigureError) as error:
        print(f"scripts/docs: {error}", file=sys.stderr)
        return 1
    for name, text in pages.items():
        path = PAGES / name
        shown = path.resolve().relative_to(REPOSITORY)
        if check:
            print(f"{shown} is out of date; `scripts/docs` writes it again", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {shown}")
    if not pages:
        print("everything that is made from code is up to date")
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
