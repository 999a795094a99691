"""From a judged trial to a verdict that people corrected: one real process for the pages, commands for the rest."""

import contextlib
import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.trials.live import Store, live_store
from tests.trials.test_judging import ITEMS, JUDGED, judged_by, trial
from weighbridge.cli import root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with live_store(tmp_path_factory.mktemp("label") / "made", ITEMS, JUDGED) as store:
        yield store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return made.copy(tmp_path / "store")


PASSWORD = "a password of five words"


@contextmanager
def pages(store: Store, *more: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(port, paths of one-time links by name) of a running `label serve`."""
    command = store.command("label", "serve", "--labels", "1000", *more)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=store.environment(), text=True) as process:
        assert process.stdout is not None
        port, links = 0, {}
        for line in process.stdout:
            if found := re.search(r"at http://127\.0\.0\.1:(\d+)/labels/t-", line):
                port = int(found[1])
            if found := re.fullmatch(r"(\w+) \(labeller\) chooses a password, .*: http://[^/]+(/welcome/\S+)\n", line):
                links[found[1]] = found[2]
            if line.startswith("Stop with"):
                break
        try:
            yield port, links
        finally:
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(60)


def label_all(port: int, link: str) -> int:
    """Come in, and label everything that one person is shown: whoever says banana is worse. Returns how many."""
    origin = {"origin": f"http://127.0.0.1:{port}"}
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as line:

        def ask(method: str, path: str, body: str | None = None, **headers: str) -> tuple[str, str]:
            line.request(method, path, body, {**origin, **{k.replace("_", "-"): v for k, v in headers.items()}})
            answer = line.getresponse()
            return answer.getheader("set-cookie", ""), answer.read().decode()

        chosen = urlencode({"password": PASSWORD, "again": PASSWORD})
        welcome = ask("POST", link, chosen, content_type="application/x-www-form-urlencoded")
        cookie = welcome[0].partition(";")[0]
        listed = ask("GET", "/labels", cookie=cookie)[1]
        found = re.search(r'href="(/labels/t-[0-9a-f]+)"', listed)
        assert found is not None
        path = found[1]
        page = ask("GET", path, cookie=cookie)[1]
        secret = page.partition('name="form-token" content="')[2].partition('"')[0]
        state = json.loads(ask("GET", f"{path}/next", cookie=cookie)[1])
        count = 0
        while (pair := state["pair"]) is not None:
            word = "right" if "banana" in pair["left"] else "left" if "banana" in pair["right"] else "tie"
            body = json.dumps({"item": pair["item"], "word": word})
            state = json.loads(ask("POST", f"{path}/choice", body, cookie=cookie, x_form_token=secret)[1])
            count += 1
        return count


def test_people_label_and_the_panel_is_corrected_by_them(store: Store, tmp_path: Path) -> None:
    judged_by(store, "quality")
    trial(store, "banana", "--margin", "0.2")
    with pages(store, "--labeller", "ann", "--labeller", "bob") as (port, links):
        first = label_all(port, links["ann"])
        second = label_all(port, links["bob"])
    assert first > 0
    shown = json.loads(store.run("label", "show", "--json"))
    assert {"ann": first, "bob": second} == {name: count for name, count in shown["people"].items() if count} | (
        {} if second else {"bob": 0}
    )
    assert all(row["labelled"] == row["drawn"] > 0 for row in shown["slices"])
    assert second == shown["agreement"]["pairs"]
    pairs = tmp_path / "pairs.jsonl"
    store.run("label", "export", "--out", str(pairs))
    assert "--no-shuffle" in store.said
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    assert {"c"} != {row["cluster"] for row in rows}
    assert "7 times" not in pairs.read_text()
    verdict = json.loads(store_free(["verdict", "--pairs", str(pairs), "--margin", "0.2", "--no-shuffle", "--json"], 0))
    assert {"inferior"} == {row["verdict"] for row in (*verdict["verdicts"], verdict["overall"])}
    assert verdict["overall"]["label_source"] in ("judge+human", "human")


def store_free(arguments: list[str], code: int) -> str:

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert code == root.run(arguments)
    return printed.getvalue()


def test_before_anything_is_drawn_show_says_what_draws_it(store: Store) -> None:
    judged_by(store, "tie")
    trial(store, "new")
    store.run("label", "show", code=1)
    assert "`weighbridge label serve` does it" in store.said
    rows = [json.loads(line) for line in store.run("label", "export").splitlines()]
    assert all(row["candidate_human"] is None for row in rows)


def test_a_name_twice_is_a_wrong_use(store: Store) -> None:
    store.run("label", "serve", "--labeller", "ann", "--labeller", "ann", code=64)
    assert "each name once" in store.said
