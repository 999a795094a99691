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


@pytest.mark.long
def test_the_official_validator_finds_nothing(tmp_path: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not there to run the validator")
    books = Books(tmp_path)
    traffic(books)
    file = tmp_path / "focus.csv"
    with postings(books.layout) as sql, file.open("w", newline="") as out:
        put_rates(sql, books.layout)
        export(sql, loaded(), NOVEMBER, statement(sql, NOVEMBER), out)
    tool = [uv, "tool", "run", "--python", "3.12", "focus-validator"]
    there = subprocess.run([*tool, "--help"], capture_output=True, text=True, check=False, timeout=600)
    if there.returncode:
        pytest.skip(f"the validator cannot be had here: {there.stderr.strip()[-200:]}")
    ran = subprocess.run(
        [*tool, "--data-file", str(file), "--validate-version", VERSION, "--show-violations"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if "download" in ran.stderr.lower() and ran.returncode:
        pytest.skip(f"the rules of FOCUS {VERSION} cannot be fetched here: {ran.stderr.strip()[-200:]}")
    failed = {line.split(":")[0].removeprefix("- ") for line in ran.stdout.splitlines() if line.startswith("- ")}
    assert "Total:" in ran.stdout, ran.stdout
    assert failed <= NOT_OURS, ran.stdout
