"""The root command: every mistake is one line and an exit code, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weighbridge import __version__
from weighbridge.cli import root
from weighbridge.cli.root import run
from weighbridge.errors import ConfigError, ExitCode, StoreError, UsageError, WeighbridgeError


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"weighbridge {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serv"], "Did you mean 'serve'"),
        (["serve", "--nope"], "No such option"),
        (["price", "show", "--config"], "--config"),
        (["price", "nope"], "No such command 'nope'"),
    ],
)
def test_a_mistake_on_the_command_line_is_exit_code_64(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("group", [*root.COMMANDS])
def test_the_help_of_a_command_offers_nothing_that_is_not_its_own(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([group, "--help"]) == 0
    assert "completion" not in capsys.readouterr().out


def test_a_configuration_that_is_not_there_is_exit_code_64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "show", "--config", str(tmp_path / "nope.toml")]) == 64
    assert capsys.readouterr().err.startswith(f"weighbridge: {tmp_path}/nope.toml: file: does not exist")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (WeighbridgeError("it broke"), 1, "weighbridge: it broke\n"),
        (StoreError("no store"), 1, "weighbridge: no store\n"),
        (UsageError("not so"), 64, "weighbridge: not so\n"),
        (ConfigError("f", "k", "is bad", value=3), 64, "weighbridge: f: k: is bad (found 3).\n"),
        (OSError(28, "No space left on device", "/x/y"), 1, "weighbridge: No space left on device: /x/y\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_becomes_one_line_and_its_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from weighbridge.cli import price

    def broken(_: object) -> None:
        raise error

    monkeypatch.setattr(price, "load", broken)
    assert run(["price", "show"]) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", words)


def test_an_error_of_ours_in_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.cli import price

    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(price, "load", broken)
    with pytest.raises(ZeroDivisionError):
        run(["price", "show"])


def test_a_reader_that_leaves_is_no_error_worth_a_word(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "weighbridge", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (ExitCode.FAILED, "")


def test_every_command_loads_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in root.COMMANDS:
        assert run([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"weighbridge {name}" in shown
        assert "--help" in shown


def test_a_command_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from weighbridge.cli.root import run; run(['serve', '--help']);"
        "print(sorted(set(sys.modules) & {'numpy', 'duckdb', 'jinja2', 'genai_prices', 'prometheus_client', 'apsw'}),"
        "file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.strip() == "[]"
