"""The page of the ramp's benchmark: its two parts are measured apart, and neither loses the other."""

import socket
from pathlib import Path

import pytest

from bench.ramp_live import chosen, lives
from bench.ramp_page import HEAD, Cell, Page, Run
from bench.recording.hosts import HOSTS, one_of_four

ORDER = ["errors", "latency"]


def cell(name: str, *requests: int | None) -> Cell:
    runs = tuple(Run(requests=count, seen=500, per_s=100.0, stream=name) for count in requests)
    return Cell(name=name, stage="quarter", on="2026-11-25", runs=runs)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    (tmp_path / "ramp.md").write_text("# The ramp\n\npure figures\n")
    return Page(tmp_path / "ramp.md", ["what ran"])


def test_a_cell_measured_anew_takes_the_place_of_the_old_one_and_leaves_the_others(page: Page, tmp_path: Path) -> None:
    page.keep(cell("latency", 30, 50, 40), ORDER)
    page.keep(cell("errors", 9), ORDER)
    page.keep(cell("errors", 12, None), ORDER)
    said = (tmp_path / "ramp.md").read_text()
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith(("| errors", "| latency"))]
    assert [["| errors", "25%", "12, none in 500", "-"], ["| latency", "25%", "30, 50, 40", "40"]] == [
        row[:4] for row in rows
    ]
    assert said.startswith("# The ramp\n\npure figures\n\n" + HEAD)


def test_the_controller_measured_anew_keeps_the_runs_through_a_gateway(page: Page, tmp_path: Path) -> None:
    page.keep(cell("errors", 12), ORDER)
    page.write(["# The ramp", "", "other figures"])
    said = (tmp_path / "ramp.md").read_text()
    assert said.startswith("# The ramp\n\nother figures\n\n" + HEAD)
    assert 1 == said.count("| errors | 25% | 12 |")
    assert "pure figures" not in said


def test_a_fault_that_is_not_measured_any_more_leaves_the_page(page: Page, tmp_path: Path) -> None:
    page.keep(cell("errors", 12), ORDER)
    page.keep(cell("latency", 30), ["latency"])
    assert "| errors" not in (tmp_path / "ramp.md").read_text()


def test_every_fourth_connection_meets_the_bad_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bad, socket.create_server(("127.0.0.1", 0)) as good:
        for server in (bad, good):
            server.settimeout(10)
        with one_of_four(*(f"127.0.0.1:{one.getsockname()[1]}" for one in (bad, good))) as address:
            host, _, port = address.rpartition(":")
            for number in range(2 * HOSTS):
                with socket.create_connection((host, int(port)), 10) as client:
                    client.sendall(b"%d" % number)
                    there, _ = (bad if number % HOSTS == 0 else good).accept()
                    with there:
                        assert b"%d" % number == there.recv(10)
                        there.sendall(b"back")
                        assert b"back" == client.recv(10)


def test_faults_are_chosen_by_words_of_their_line_in_the_order_of_the_words_and_once() -> None:
    faults = lives({5: 0.1, 10: 0.2, 20: 0.4}, 0.5)
    assert len(faults) == len(chosen(faults, []))
    found = [(one.name, one.stage) for one in chosen(faults, ["nothing", "latency x2 at 25%", "latency"])]
    assert [("nothing", "quarter"), ("latency x2", "quarter"), ("latency x2", "few")] == found
