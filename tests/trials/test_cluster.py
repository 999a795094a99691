"""Grading and replay on a real Ray cluster of this machine: the same trial, the same evidence, the same money."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.provider import Script
from tests.grading.test_graders import QUESTION, config
from tests.trials.live import CONFIG, Models, Store, live_store, well
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.answers import Answer
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.children import OverTime
from weighbridge.grading.jobs import Failed, Found, Graded, SearchJob, SqlJob
from weighbridge.trials import cluster as clusters
from weighbridge.trials.cluster import Cluster, cluster
from weighbridge.upstream import Broken, Unreachable

REQUESTS = 60
GRADER = """
import os
from hashlib import sha256

def check(answer, reference, question):
    return sha256((question.text + answer.text).encode()).digest()[0] / 255

def once_lost(answer, reference, question):
    # The first machine that takes it is lost: the process that asked for this one is killed.
    if not os.path.exists(answer.text):
        open(answer.text, "w").close()
        os.kill(os.getppid(), 9)
        os.kill(os.getpid(), 9)
    return 1
"""


@pytest.fixture(scope="module")
def local() -> Iterator[Cluster]:
    with cluster("local") as found:
        yield found


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    text = CONFIG.replace('kind = "number"\nextract = "last_number"', 'kind = "python:mine:check"')
    folder = tmp_path_factory.mktemp("ray") / "a"
    folder.mkdir()
    (folder / "mine.py").write_text(GRADER)
    with live_store(folder, REQUESTS, text) as store:
        yield store


@pytest.fixture
def store(captured: Store, tmp_path: Path) -> Store:
    return captured.copy(tmp_path / "b")


# --- what needs no cluster --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["ray://head:10001", "head", "head:", ":6379", "http://head:6379", "head:port", "auto:", ""]
)
def test_what_is_no_address_of_a_cluster_is_refused_with_what_is(address: str) -> None:
    with pytest.raises(UsageError, match=r"is no address.*; allowed is `auto`"), cluster(address):
        pass


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WeighbridgeError, match=r"pip install 'weighbridge\[ray\]'"), cluster("local"):
        pass


def test_where_nobody_listens_it_is_said_at_once_and_not_after_minutes() -> None:
    with pytest.raises(WeighbridgeError, match=r"--ray 127.0.0.1:1: no cluster answers there \(Connection refused\)"):
        clusters._reached("127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--workers", "2", "--ray", "auto"), "leave --workers or --ray out"),
        (("--gateway", "http://10.0.0.5:8400/v1"), "add --ray ADDRESS"),
        (("--ray", "auto", "--gateway", "10.0.0.5"), "is not an HTTP address"),
        (("--ray", "nowhere"), "is no address"),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_anything_is_started(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    store = Store(tmp_path, Models())
    store.config.write_text(CONFIG.format(url="http://127.0.0.1:1/v1"))
    for command in (("run", "--candidate", "new"), ("sweep",), ("tune", "--arm", "new")):
        store.run("trial", *command, "--route", "assistant", *arguments, code=64)
        assert says in store.said
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("url", "here_only"),
    [("http://127.0.0.1:8400/v1", True), ("http://[::1]:8400/v1", True), ("http://localhost:8400/v1", True),
     ("http://10.0.0.5:8400/v1", False), ("https://gateway.internal/v1", False)],
)  # fmt: skip
def test_a_gateway_heard_on_this_machine_alone_gets_its_replays_from_here(url: str, here_only: bool) -> None:
    assert here_only == clusters._heard_here_only(url)


# --- on a cluster -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_each_kind_of_job_is_answered_as_a_process_here_answers_it(local: Cluster) -> None:
    done = local.workers.do(SearchJob(pattern=r"\d+", text="a 12 b 34", which="last"), 20.0)
    assert Found(text="34") == done
    tables = "CREATE TABLE t AS SELECT range AS n FROM range(3)"
    asked = SqlJob(setup=tables, reference="SELECT sum(n) FROM t", query="SELECT 3")
    assert Graded(score=1.0) == local.workers.do(asked, 20.0)
    broken = local.workers.do(SqlJob(setup="no", reference="SELECT 1", query=None), 20.0)
    assert isinstance(broken, Failed)


@pytest.mark.long
def test_a_job_past_its_deadline_is_ended_there_and_the_next_is_done(local: Cluster) -> None:
    with pytest.raises(OverTime):
        local.workers.do(SearchJob(pattern="(a+)+$", text="a" * 40 + "b"), 1.0)
    assert Found(text="a") == local.workers.do(SearchJob(pattern="a", text="a"), 20.0)


@pytest.mark.long
def test_a_job_whose_machine_is_lost_is_graded_by_another(local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GRADER)
    text = 'kind = "python:mine:once_lost"\nreference = "none"'
    row = GraderBook(config(tmp_path, text), "r", local.workers).of("all")
    assert row is not None
    assert 1.0 == grade(row, Answer(text=str(tmp_path / "seen")), None, QUESTION).score
    assert (tmp_path / "seen").exists()


@pytest.mark.long
def test_a_machine_with_other_graders_is_refused_by_name(local: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    other = clusters.Build("0.0.1", "other", "3.11.0", "1.4.0")
    monkeypatch.setattr(clusters, "build", lambda: other)
    with pytest.raises(
        WeighbridgeError, match=r"would grade with weighbridge 0\.1\.0 .* this one with weighbridge 0\.0"
    ):
        Cluster(local._ray)
    # One that joins later is found by its first job.
    done = local.workers.do(SearchJob(pattern="a", text="a"), 20.0)
    assert isinstance(done, Failed)
    assert "the trial is graded with weighbridge 0.0.1 (other)" in done.reason


@pytest.mark.long
def test_what_was_on_its_way_when_a_sender_was_lost_may_have_been_paid_for_and_is_not_sent_again(
    local: Cluster,
) -> None:
    heard = 0

    async def lost() -> None:
        arrived = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heard
            heard += 1
            arrived.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        poster = local.poster(f"http://127.0.0.1:{port}/v1", 4)
        assert isinstance(poster, clusters._RayPoster)
        call = asyncio.create_task(poster.post("/chat/completions", [], b"{}", 60.0))
        await arrived.wait()
        await poster.aclose()
        with pytest.raises(Broken, match="a machine of the cluster was lost"):
            await call
        with pytest.raises(Unreachable, match="no machine of the cluster is left"):
            await poster.post("/chat/completions", [], b"{}", 60.0)
        server.close()

    asyncio.run(lost())
    assert 1 == heard


@pytest.mark.long
def test_a_sender_says_what_a_client_here_would_say(local: Cluster) -> None:
    async def ask() -> None:
        poster = local.poster("http://127.0.0.1:1/v1", 4)
        with pytest.raises(Unreachable) as unreachable:
            await poster.post("/chat/completions", [], b"{}", 30.0)
        assert "connect" == unreachable.value.why

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        slow = local.poster(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", 4)
        with pytest.raises(TimeoutError):
            await slow.post("/chat/completions", [], b"{}", 0.2)
        server.close()
        await poster.aclose()
        await slow.aclose()

    asyncio.run(ask())


@pytest.mark.long
def test_a_cluster_that_a_trial_starts_tells_nobody_about_it(local: Cluster) -> None:
    assert "0" == os.environ["RAY_USAGE_STATS_ENABLED"]
    assert local.cores >= 1
    assert 1 == local.machines


# --- whole trials, each with a cluster of its own: last, as they end the one that this process had


@pytest.mark.long
def test_the_evidence_is_the_same_to_the_byte_with_one_process_three_or_a_cluster(store: Store) -> None:
    digests = []
    for where in (("--workers", "1"), ("--workers", "3"), ("--ray", "local")):
        verdict = store.trial("new", "--margin", "0.2", *where, code=None)
        digests.append(verdict.evidence)
        assert len({pair.candidate for pair in store.evidence(verdict).pairs}) > 20
        # What was graded is forgotten; what was answered is in the log: all is graded again, by others.
        shutil.rmtree(store.folder / "store" / "trials")
    assert digests[0] is not None
    assert [digests[0]] * 3 == digests
    assert {1} == {count for (model, _), count in store.provider.calls.items() if model == "new-model"}


@pytest.mark.long
def test_replays_from_a_cluster_keep_the_cap_exactly_and_take_a_busy_host_as_any_others(store: Store) -> None:
    def rule(model: str, prompt: str) -> Script:
        if model == "new-model" and store.provider.calls[model, prompt] == 1 and int(prompt.rsplit(" ", 1)[1]) % 5 == 0:
            return Script(status=429, headers=[("Retry-After", "0")])
        return well(model, prompt)

    store.provider.rule = rule
    seen = len(store.provider.bill)
    # One call holds more than half of this, and a verdict takes 0.00056: there is room for a few, one by one.
    first = store.trial("new", "--margin", "0.2", "--ray", "local", "--max-usd", "0.0008", code=2)
    assert first.cost_usd is not None
    assert 0.0 < first.cost_usd <= 0.0008
    assert any("--max-usd" in reason for row in first.verdicts for reason in row.reasons)
    second = store.trial("new", "--margin", "0.2", "--ray", "local", code=None)
    assert second.trial == first.trial
    billed = [row for row in store.provider.bill[seen:] if row.model == "new-model"]
    assert second.cost_usd is not None
    assert sum(row.prompt_tokens + 2 * row.completion_tokens for row in billed) * 1000 == round(second.cost_usd * 1e9)
    assert {} == store.evidence(second).failed
    here = store.copy(store.folder.parent / "c").trial("new", "--margin", "0.2", "--workers", "2", code=None)
    assert here.verdicts == second.verdicts
