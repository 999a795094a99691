"""`weighbridge budget limit`, with a real gateway: it holds at once, is told, and ends with an edit of the file."""

import json
import subprocess
import sys
from pathlib import Path

from tests.app.serving import ask, serving
from tests.app.test_budgets import budget, configured
from tests.fakes.provider import FakeProvider
from weighbridge.exchanges.chain import Chain
from weighbridge.store.control import Reload, ShowBudgets, Standings, TableNumber

DOLLAR = 10**9


def run(file: Path, *arguments: str, code: int = 0) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "weighbridge", "budget", *arguments, "--config", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert code == ran.returncode, (ran.stdout, ran.stderr)
    return ran.stdout + ran.stderr


def test_a_changed_limit_holds_at_once_survives_a_reload_and_ends_when_the_file_says_another(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = configured(tmp_path, provider.url, budget("support", 10 * DOLLAR))
        with serving(file) as served:
            assert 200 == ask(served.listen).status
            said = json.loads(run(file, "limit", "support", "0", "--why", "the quarter is over", "--json"))
            assert (10 * DOLLAR, 0) == (said["before_nanousd"], said["limit_nanousd"])
            served.until(rf"route table {said['table']} published")
            refused = ask(served.listen)
            while refused.status == 200:  # the worker takes the new table a moment later
                refused = ask(served.listen)
            assert 429 == refused.status
            assert "the quarter is over; the configuration says $10.00" in run(file, "status", code=2)
            with served.control() as control:
                control.call(Reload(), TableNumber)
                assert [0] == [row.limit_nanousd for row in control.call(ShowBudgets(), Standings).rows]
                file.write_text(file.read_text().replace('limit_usd = "10.000000000"', 'limit_usd = "20"'))
                control.call(Reload(), TableNumber)
                rows = control.call(ShowBudgets(), Standings).rows
            assert [20 * DOLLAR] == [row.limit_nanousd for row in rows]
            assert "changed by" not in run(file, "status")
            kinds = [entry.label for entry in Chain(served.layout).snapshot().objects if entry.kind == "limit"]
            assert ["support"] == kinds


def test_with_nothing_serving_it_is_kept_for_the_next_start(tmp_path: Path) -> None:
    file = configured(tmp_path, "http://127.0.0.1:9/v1", budget("support", 10 * DOLLAR))
    assert "the next `weighbridge serve` takes it" in run(file, "limit", "support", "5")
    assert "$0 of $5.00" in run(file, "status")
    assert "$10.00 now" in run(file, "limit", "support", "--as-configured")
    assert "there is no budget 'nobody'; the configuration has: support" in run(file, "limit", "nobody", "5", code=1)
    assert "not both" in run(file, "limit", "support", "5", "--as-configured", code=64)
    assert "US dollars" in run(file, "limit", "support", "much", code=64)
