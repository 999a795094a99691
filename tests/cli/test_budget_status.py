"""`weighbridge budget status`, and who is told when a budget runs low. With real processes."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.app.serving import ask, serving, write_config
from tests.app.test_budgets import budget
from tests.fakes.provider import FakeProvider
from tests.gateway.running import until

COST = 2 * 1_000 + 6 * 2_000
"""Nano-dollars of one answer of the fake: 2 tokens at 1 dollar, 6 at 2 dollars a million."""


def status(file: Path, *options: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, "-m", "weighbridge", "budget", "status", "--config", str(file), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode in (0, 2), ran.stderr
    return ran.returncode, ran.stdout


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))) | {"path": self.path})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/alerts?room=money", got
        server.shutdown()
        thread.join()


def test_status_says_what_is_spent_and_left_and_each_threshold_is_told_once(tmp_path: Path) -> None:
    with FakeProvider() as provider, webhook() as (url, got):
        file = write_config(tmp_path, provider.url)
        soft = budget("support", 3 * COST, window="month").replace("hard = true", "hard = false")
        more = f'budget = "support"\n{soft}{budget("idle", 10**9)}[alerts]\nwebhook = "{url}"\n'
        file.write_text(file.read_text() + more)
        with serving(file) as served:
            for _ in range(2):
                assert 200 == ask(served.listen).status
            until(lambda: len(got), lambda count: count == 1, 15)
            assert 200 == ask(served.listen).status
            until(lambda: len(got), lambda count: count == 2, 15)
            while_serving = status(file, "--json")
            served.end()
        code, text = status(file, "--json")
    idle, support = json.loads(text)["rows"]
    assert (2, "support", False, 3 * COST, 3 * COST, 0, 3) == (
        code, support["budget"], support["hard"], support["limit_nanousd"], support["spent_nanousd"],
        support["left_nanousd"], support["requests"],
    )  # fmt: skip
    assert support["spent_nanousd"] == json.loads(while_serving[1])["rows"][1]["spent_nanousd"]
    assert (0, 10**9, None) == (idle["spent_nanousd"], idle["left_nanousd"], idle["end_ns"])
    assert "support (soft, month UTC): $0.00" in status(file)[1]
    assert [("/alerts?room=money", "support", 50), ("/alerts?room=money", "support", 100)] == [
        (alert["path"], alert["budget"], alert["percent"]) for alert in got
    ]
    assert "Budget 'support': 50 % reached" == got[0]["subject"]
