"""The official validator of FOCUS, in an environment of its own: it needs Python 3.12 and fetches the rules of 1.3."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ledger.made import Books, loaded
from tests.ledger.test_statement import NOVEMBER, traffic
from weighbridge.ledger.focus import VERSION, export
from weighbridge.ledger.postings import postings
from weighbridge.ledger.rates import put_rates
from weighbridge.ledger.statement import statement

NOT_OURS = {"InvoiceId-C-005-C"}
"""It wants a number where an invoice was issued, and its twin C-004 wants none where none was; the validator applies
both to every row, so that one of them fails whatever the row is."""


OFFLINE = "1.2.0.1"
"""The rules that the validator's wheel brings; those of later versions it fetches."""
# Its wheel of 2.2.1 asks for an older NumPy than the newest pyarrow takes.
TOOL = ("tool", "run", "--python", "3.12", "--with", "pyarrow<20", "--from", "focus-validator")


class Validator:
    """It opens a file of its own by a path from the working folder, so it runs where a copy of its rules lies."""

    def __init__(self, folder: Path) -> None:
        uv = os.environ.get("UV") or shutil.which("uv")
        if uv is None:
            pytest.skip("uv is not there to run the validator")
        self._uv, self._folder = uv, folder
        folder.mkdir()
        where = "import pathlib, focus_validator; print(pathlib.Path(focus_validator.__file__).parent / 'rules')"
        there = self._run("python", "-c", where)
        if there.returncode:
            pytest.skip(f"the validator cannot be had here: {there.stderr.strip()[-200:]}")
        shutil.copytree(there.stdout.strip(), folder / "focus_validator" / "rules")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._uv, *TOOL, *arguments], cwd=self._folder, capture_output=True, text=True, check=False, timeout=600
        )

    def violated(self, file: Path, version: str, *options: str) -> set[str] | None:
        """The rules that the file does not follow; `None` where the rules of this version cannot be fetched."""
        ran = self._run(
            "focus-validator", "--data-file", str(file), "--validate-version", version, "--show-violations", *options
        )
        if "Total:" not in ran.stdout and ("resolve" in ran.stderr or "download" in ran.stderr.lower()):
            return None
        assert "Total:" in ran.stdout, ran.stdout + ran.stderr
        assert int(ran.stdout.partition("Pass: ")[2].partition(" ")[0]) > 100
        return {line.split(":")[0].removeprefix("- ") for line in ran.stdout.splitlines() if line.startswith("- ")}


@pytest.mark.long
def test_the_official_validator_finds_nothing(tmp_path: Path) -> None:
    """Against the rules of 1.2 that it brings (1.3 changed no column that we write), and those of 1.3 where it can
    fetch them."""
    books = Books(tmp_path / "store")
    traffic(books)
    file = tmp_path / "focus.csv"
    with postings(books.layout) as sql, file.open("w", newline="") as out:
        put_rates(sql, books.layout)
        export(sql, loaded(), NOVEMBER, statement(sql, NOVEMBER), out)
    validator = Validator(tmp_path / "validator")
    offline = validator.violated(file, OFFLINE, "--block-download")
    assert offline is not None
    assert offline <= NOT_OURS
    newest = validator.violated(file, VERSION)
    if newest is None:
        pytest.skip(f"FOCUS {OFFLINE} holds; the rules of {VERSION} cannot be fetched here")
    assert newest <= NOT_OURS
