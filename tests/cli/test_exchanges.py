"""`exchanges list | show | export | erase | verify`: what people and programs get to see of the log."""

import json
from contextlib import nullcontext
from pathlib import Path

import duckdb
import pytest

from tests.exchanges.loop import Bench, held
from tests.exchanges.stores import Keeper, rich_store
from tests.ledger.logs import OWNER, T0, WorkerLog, whole
from tests.ledger.test_projection import leased, projected
from weighbridge.cli import exchanges as exchanges_command
from weighbridge.cli.root import run
from weighbridge.exchanges.chain import fingerprint
from weighbridge.store.control import ErasedCount
from weighbridge.store.database import Database, Head
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql

CONFIG = """
[store]
path = "store"
[[endpoint]]
name = "own"
base_url = "http://127.0.0.1:1/v1"
[[arm]]
name = "gpt-4o"
endpoint = "own"
model = "m"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
[[key]]
name = "support-bot"
secret = "env:SUPPORT_BOT_KEY"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "w.toml").write_text(CONFIG)
    return str(tmp_path / "w.toml")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    layout = Layout(tmp_path / "store")
    layout.create()
    return Bench(layout)


def test_list_shows_the_newest_first_and_filters(file: str, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    old = bench.request(like=held("-", time_ns=1_764_000_000_000_000_000))
    new = bench.request(like=held("-", time_ns=1_764_100_000_000_000_000, purpose="trial", trial="t-1"))
    assert run(["exchanges", "list", "--config", file, "--json"]) == 0
    assert [new, old] == [row["id"] for row in json.loads(capsys.readouterr().out)["exchanges"]]
    for arguments, expected in (
        (["--purpose", "user"], [old]),
        (["--since", "2025-11-25T12:00"], [new]),
        (["--since", "1w"], []),
        (["--limit", "1"], [new]),
        (["--route", "other"], []),
    ):
        assert run(["exchanges", "list", "--config", file, "--json", *arguments]) == 0
        assert expected == [row["id"] for row in json.loads(capsys.readouterr().out)["exchanges"]]
    assert run(["exchanges", "list", "--config", file]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert new in shown[1]
    assert "ok (trial)" in shown[1]
    assert "$0.0014" in shown[2]
    bench.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--since", "yesterday"], "2026-11-25T08:00"),
        (["list", "--purpose", "fun"], "user, trial, shadow, judge, drill"),
        (["show", "1234567890abcdef-1"], "exchanges list"),
        (["export", "--format", "parquet"], "--out"),
        (["erase"], "exactly one"),
        (["erase", "1234567890abcdef-1"], "write --exchange 1234567890abcdef-1"),
        (["erase", "--key", "a", "--user", "b"], "exactly one"),
    ],
)
def test_wrong_use_is_said_with_what_is_allowed(
    file: str, bench: Bench, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    bench.request()
    assert run(["exchanges", *arguments, "--config", file]) == 64
    told = capsys.readouterr()
    assert "" == told.out
    assert said in told.err
    bench.close()


def test_without_a_store_the_next_step_is_named(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["exchanges", "list", "--config", file]) == 1
    assert "weighbridge serve" in capsys.readouterr().err


def test_show_gives_every_attempt_and_both_bodies(file: str, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    identity = bench.request(b'{"question":"why?"}', b'{"answer":"because"}')
    assert run(["exchanges", "show", identity, "--config", file]) == 0
    shown = capsys.readouterr().out
    for part in (identity, '"question": "why?"', '"answer": "because"', "gpt-4o-2024-08-06", "312 ms", "$0.0014"):
        assert part in shown
    assert run(["exchanges", "show", identity, "--config", file, "--json"]) == 0
    assert {"answer": "because"} == json.loads(capsys.readouterr().out)["response"]
    bench.close()


def test_export_writes_one_object_a_line_to_standard_output_and_nothing_else(
    file: str, bench: Bench, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    ids = [bench.request(), bench.request()]
    bench.log.roll()
    Keeper(bench).seal()
    ids.append(bench.request())
    assert run(["exchanges", "export", "--format", "jsonl", "--config", file]) == 0
    told = capfdbinary.readouterr()
    assert ids == [json.loads(line)["id"] for line in told.out.splitlines()]
    assert b"" == told.err
    bench.close()


def test_export_writes_a_parquet_file(
    file: str, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [bench.request(), bench.request()]
    out = tmp_path / "traffic.parquet"
    assert run(["exchanges", "export", "--format", "parquet", "--out", str(out), "--config", file]) == 0
    assert [(identity,) for identity in ids] == duckdb.read_parquet(str(out)).project("id").fetchall()
    assert "2 exchanges written" in capsys.readouterr().err
    bench.close()


def test_what_is_damaged_is_named_and_everything_else_is_still_exported(
    file: str, bench: Bench, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    ids = [bench.request() for _ in range(3)]
    bench.close()
    (path,) = bench.layout.open_log.iterdir()
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert run(["exchanges", "export", "--config", file]) == 1
    told = capfdbinary.readouterr()
    assert ids[1:] == [json.loads(line)["id"] for line in told.out.splitlines()]
    assert path.name.encode() in told.err
    assert b"weighbridge verify" in told.err


def test_erase_takes_bodies_away_for_good_and_verify_says_so(
    file: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.request(b"secret", b"answer", like=held("-", user="ann"))
    bench.request(b"other", b"answer")
    bench.close()
    assert run(["exchanges", "erase", "--user", "ann", "--config", file, "--json"]) == 0
    assert {"exchanges": 1, "bodies": 2, "notes": []} == json.loads(capsys.readouterr().out)
    assert run(["exchanges", "export", "--config", file]) == 0
    assert ["erased", None] == [
        row["request"] if row["request"] == "erased" else None
        for row in map(json.loads, capsys.readouterr().out.splitlines())
    ]
    for command in (["verify"], ["exchanges", "verify"]):
        assert run([*command, "--config", file]) == 0
        assert "intact, 2 bodies erased" in capsys.readouterr().out


def test_verify_names_the_file_that_was_changed(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    keeper = rich_store(tmp_path, live=False)
    path = next(keeper.layout.sealed_log.iterdir())
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert run(["verify", "--config", file, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert f"log/sealed/{path.name}" in [problem["where"] for problem in report["problems"]]


TRAINING = """
[store]
path = "store"
[[endpoint]]
name = "openai"
base_url = "http://127.0.0.1:1/v1"
[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
weights = "open"
terms = "TERMS"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
"""


@pytest.mark.parametrize(("terms", "code"), [("apache-2.0", 0), ("llama-3", 2), ("other", 2)])
def test_an_export_for_training_leaves_out_what_is_not_permitted_and_says_why(
    tmp_path: Path, bench: Bench, capfdbinary: pytest.CaptureFixture[bytes], terms: str, code: int
) -> None:
    config = tmp_path / "t.toml"
    config.write_text(TRAINING.replace("TERMS", terms))
    identity = bench.request(b'{"messages":[{"role":"user","content":"why?"}]}')
    bench.close()
    arguments = ["exchanges", "export", "--for", "training", "--config", str(config)]
    assert code == run(arguments)
    told = capfdbinary.readouterr()
    assert b"not legal clearance" in told.err
    rows = [json.loads(line) for line in told.out.splitlines()]
    if code == 0:
        assert [(identity, "allowed", ["apache-2.0"])] == [
            (row["id"], row["provenance"]["training"], row["provenance"]["terms"]) for row in rows
        ]
        assert {"a": 1} == rows[0]["response"]
        return
    assert [] == rows
    assert f"refused {identity}: ".encode() in told.err
    assert code == run([*arguments, "--out", str(tmp_path / "o.jsonl"), "--refused", str(tmp_path / "r.jsonl")])
    (row,) = map(json.loads, (tmp_path / "r.jsonl").read_bytes().splitlines())
    assert (identity, [terms]) == (row["id"], row["terms"])
    assert row["training"] in ("prohibited", "unclear")
    assert row["reasons"]
    assert b"" == (tmp_path / "o.jsonl").read_bytes()
    assert b"" == capfdbinary.readouterr().out


def test_text_from_outside_is_shown_and_does_nothing_to_the_terminal(
    file: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b]0;gotcha\x07\u202e[red]x[/red]:bomb:"
    like = held("-", slice=f"task={hostile}", user=hostile, route=hostile)
    body = json.dumps({"text": f"\x9b31m{hostile}"}, ensure_ascii=False).encode()
    identity = bench.request(body, body, like=like)
    for arguments in (["list"], ["show", identity], ["list", "--json"], ["show", identity, "--json"]):
        assert run(["exchanges", *arguments, "--config", file]) == 0
        shown = capsys.readouterr().out
        assert all(char.isprintable() or char == "\n" for char in shown), arguments
        joined = "".join(line.strip() for line in shown.splitlines())
        assert "\\u202e[red]x[/red]:bomb:" in joined, arguments
    bench.close()


def test_erase_says_what_it_could_not_erase(
    file: str, bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ErasedCount(exchanges=1, bodies=2, notes=("signed evidence \x1b cannot be changed: abc",))

    class Control:
        def call(self, request: object, kind: object) -> ErasedCount:
            return answer

    monkeypatch.setattr(exchanges_command, "keeper_of", lambda loaded: nullcontext(Control()))
    assert run(["exchanges", "erase", "--user", "ann", "--config", file]) == 0
    said = capsys.readouterr().out.splitlines()
    assert ["2 bodies of 1 exchanges are erased.", "note: signed evidence \\u001b cannot be changed: abc"] == said
    assert run(["exchanges", "erase", "--user", "ann", "--config", file, "--json"]) == 0
    assert list(answer.notes) == json.loads(capsys.readouterr().out)["notes"]
    bench.close()


def test_verify_counts_budgets_again_and_names_the_one_whose_sum_was_changed(
    tmp_path: Path, file: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.request()
    bench.close()
    layout = Layout(tmp_path / "store")
    layout.site.write_text("local")
    store = LedgerStore(SqliteSql(layout.ledger, lambda: T0))
    lease, log = leased(store), WorkerLog(layout)
    log.add(whole(1, (lease,), 42))
    log.close()
    log.die()
    projected(layout, store)
    assert run(["verify", "--config", file]) == 0
    assert "1 windows of budgets hold what the log charges to them, 1 charges in all" in capsys.readouterr().out
    store.sql.run("UPDATE closed_lease SET posted_nanousd = 41")
    store.sql.run("UPDATE budget_window SET posted_nanousd = 41, used_nanousd = used_nanousd - 1")
    store.close()
    assert run(["verify", "--config", file, "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert f"ledger, budget 'support', month UTC from 2026-11-01 00:00 UTC, worker {OWNER}" == problem["where"]
    assert "the books say $0.000000041 for 1 requests, the log says $0.000000042 for 1 requests" == problem["what"]


def test_verify_names_the_key_and_compares_it_with_what_the_keeper_remembers(
    file: str, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.request()
    bench.close()
    keeper = Keeper(bench)
    keeper.checkpoint()
    database = Database(keeper.layout.database)
    mark = keeper.chain.mark()
    assert mark is not None
    database.remember_head(Head(mark.seq, mark.digest, mark.number, mark.head_digest))
    database.remember_signing_key(keeper.key.public)
    assert run(["verify", "--config", file]) == 0
    shown = capsys.readouterr().out
    assert f"signed with key {fingerprint(keeper.key.public)}" in shown
    assert "compared with nothing" not in shown
    other = Database(tmp_path / "other.db")
    other.remember_signing_key("ab" * 32)
    other.remember_head(Head(mark.seq, mark.digest, mark.number + 1, "cd"))
    other.close()
    database.close()
    (tmp_path / "other.db").replace(keeper.layout.database)
    assert run(["verify", "--config", file, "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert {"keys/signing.pub", "log/head.json"} == {problem["where"] for problem in problems}


def test_verify_says_when_there_is_no_database_to_compare_with(
    file: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.request()
    bench.close()
    Keeper(bench).checkpoint()
    assert run(["verify", "--config", file]) == 0
    assert "there is no database" in capsys.readouterr().out
