"""The open share by four measures: each from rows, and what cannot be compared is counted, never guessed."""

from datetime import date
from pathlib import Path

import pytest

from tests.ledger.made import CONFIG, DAY_NS, NOV_1_NS, Books, loaded
from weighbridge.cli.root import run
from weighbridge.errors import ExitCode
from weighbridge.ledger.daily import daily
from weighbridge.ledger.market import market
from weighbridge.ledger.share import RATIO_S, OpenShare, Used, open_shares
from weighbridge.records.usage import Usage

WEIGHTS = {"closed": "closed", "open": "open"}


def row(arm: str, *, day: int = 1, team: str = "support", tokens: int = 100, requests: int = 1) -> Used:
    return Used(
        day=date(2026, 11, day), route="assistant", team=team, arm=arm, requests=requests, tokens=tokens,
        cost_nanousd=1_000,
    )  # fmt: skip


def test_tokens_are_counted_as_the_incumbent_counts_text() -> None:
    (said,) = open_shares(
        [row("closed"), row("open", tokens=125)], {"closed": "closed", "open": "open"},
        lambda _, arm: 0.8 if arm == "open" else 1.0,
    )  # fmt: skip
    assert (said.of("tokens").open, said.of("tokens").closed, said.of("tokens").share) == (100.0, 100.0, 0.5)


def test_tokens_that_no_trial_compared_are_left_out_and_counted() -> None:
    (said,) = open_shares(
        [row("closed"), row("open")], {"closed": "closed", "open": "open"},
        lambda _, arm: None if arm == "open" else 1.0,
    )  # fmt: skip
    tokens = said.of("tokens")
    assert (tokens.unknown, tokens.share, tokens.known) == (100.0, 0.0, 0.5)
    assert "no trial measured" in (tokens.why_unknown or "")


def test_an_arm_whose_weights_nobody_states_is_neither_open_nor_closed() -> None:
    (said,) = open_shares([row("closed"), row("new")], {"closed": "closed"}, lambda *_: 1.0)
    requests = said.of("requests")
    assert (requests.open, requests.closed, requests.unknown, requests.known) == (0.0, 1.0, 1.0, 0.5)
    assert "new" in (requests.why_unknown or "")


def test_without_outcomes_the_share_of_accepted_tasks_is_unknown() -> None:
    (said,) = open_shares([row("closed")], {"closed": "closed"}, lambda *_: 1.0)
    assert said.of("accepted_tasks").share is None
    assert said.of("accepted_tasks").why_unknown


@pytest.mark.parametrize(("period", "starts"), [
    ("day", ["2026-11-01", "2026-11-02", "2026-11-09"]),
    ("week", ["2026-10-26", "2026-11-02", "2026-11-09"]),
    ("month", ["2026-11-01"]),
])  # fmt: skip
def test_over_time_a_week_begins_on_monday(period: str, starts: list[str]) -> None:
    rows = [row("open", day=day) for day in (1, 2, 9)]
    assert period in ("day", "week", "month")
    said = open_shares(rows, {"open": "open"}, lambda *_: 1.0, period=period)  # type: ignore[arg-type]  # parametrised
    assert [one.since for one in said] == starts


def test_by_team_every_request_is_in_one_team() -> None:
    rows = [row("open", team="a"), row("closed", team="b"), row("closed", team="b")]
    said = open_shares(rows, {"closed": "closed", "open": "open"}, lambda *_: 1.0, by="team")
    assert {one.name: one.of("requests").share for one in said} == {"a": 1.0, "b": 0.0}


def test_from_the_log_ratios_are_those_of_trials_and_other_purposes_do_not_count(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for _ in range(40):
        item = books.request(Usage(800, 100))
        books.request(Usage(1_000, 200), arm="open", purpose="trial", trial="t", item=item)
    books.request(Usage(1_000, 200), arm="open", at_ns=NOV_1_NS + DAY_NS)
    with daily(books.layout) as sums:
        share = OpenShare(sums)
        (said,) = share.shares(loaded(), share.used())
    books.close()
    assert (said.of("requests").open, said.of("requests").closed) == (1.0, 40.0)
    assert said.of("tokens").open == pytest.approx(1_200 * 0.8)
    assert said.of("dollars").open > 0


def test_the_command_says_each_measure_and_needs_attention_where_tokens_were_never_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books = Books(tmp_path / "data")
    books.request(Usage(800, 100))
    file = tmp_path / "weighbridge.toml"
    file.write_text(f'{CONFIG}\n[store]\npath = "{books.layout.root}"\n')
    assert run(["budget", "share", "--config", str(file)]) == ExitCode.DONE
    assert "0.0% of requests; 0.0% of normalised tokens; 0.0% of dollars" in capsys.readouterr().out
    books.request(Usage(1_000, 200), arm="open")
    assert run(["budget", "share", "--by", "team", "--config", str(file)]) == ExitCode.UNDECIDED
    said = capsys.readouterr().out
    assert "support: 50.0% of requests" in said
    assert "no trial measured how open counts tokens" in said
    books.close()


def test_ratios_are_looked_for_again_when_trials_sent_more_and_not_each_time_while_one_runs(tmp_path: Path) -> None:
    now = [0.0]
    books = Books(tmp_path)

    def tried(many: int) -> None:
        for _ in range(many):
            item = books.request(Usage(800, 100))
            books.request(Usage(1_000, 200), arm="open", purpose="trial", trial="t", item=item)

    books.request(Usage(1_000, 200), arm="open")
    tried(10)
    with daily(books.layout) as sums:
        share = OpenShare(sums, lambda: now[0])
        (few,) = share.shares(loaded(), share.used())
        tried(30)
        sums.refresh()
        (soon,) = share.shares(loaded(), share.used())
        now[0] = RATIO_S
        (more,) = share.shares(loaded(), share.used())
    books.close()
    assert (1_200.0, 0.0) == (few.of("tokens").unknown, few.of("tokens").open)
    assert 1_200.0 == soon.of("tokens").unknown
    assert 0.0 == more.of("tokens").unknown
    assert more.of("tokens").open == pytest.approx(960.0)


def test_days_and_teams_bound_what_is_counted(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for day, team in ((0, "a"), (1, "a"), (1, "b"), (2, None)):
        books.request(Usage(800, 100), at_ns=NOV_1_NS + day * DAY_NS, team=team)
    first, second = date(2026, 11, 1), date(2026, 11, 2)
    with daily(books.layout) as sums:
        share = OpenShare(sums)
        assert [1, 3, 2, 0] == [
            sum(row.requests for row in share.used(*bounds))
            for bounds in ((None, second), (second, None), (first, None, ("a",)), (None, None, ()))
        ]
    books.close()


def test_what_failed_costs_dollars_and_is_no_answered_request(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.request(Usage(800, 100))
    books.request(Usage(800, 100), outcome="upstream_cut")
    with daily(books.layout) as sums:
        share = OpenShare(sums)
        (said,) = share.shares(loaded(), share.used())
    books.close()
    assert (1.0, float(books.booked)) == (said.of("requests").closed, said.of("dollars").closed)


def test_published_figures_are_shares_with_a_source_and_a_day() -> None:
    for one in market():
        assert 0 <= one.low <= one.high <= 1
        assert one.source.startswith("https://")
        assert date(2026, 1, 1) <= date.fromisoformat(one.read)
        assert one.note
