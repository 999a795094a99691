"""Outcomes of tasks: told by the key that asked, or imported later; nobody else's, and nothing that is none."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.app.serving import CLIENT_KEY, Serving, ask, serving
from tests.fakes.provider import FakeProvider
from tests.keeper.processes import write_config
from weighbridge.cli import root
from weighbridge.cli.outcomes import OutcomesImported, OutcomesShown
from weighbridge.exchanges.find import Finder
from weighbridge.exchanges.reader import read
from weighbridge.gateway.feedback import PER_MINUTE
from weighbridge.records.frames import Told
from weighbridge.store.control import Seal, SealedCount

OTHER_KEY = "wb-test-other-key"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("feedback")
    with FakeProvider() as provider:
        file = write_config(folder, provider.url)
        (folder / "other.key").write_text(OTHER_KEY)
        file.write_text(file.read_text() + '[[key]]\nname = "other"\nsecret = "file:other.key"\n')
        with serving(file) as running:
            yield running


def tell(
    served: Serving, body: object, *, key: str | None = CLIENT_KEY, method: str = "POST", path: str = "/v1/feedback"
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(served.listen, timeout=60)
    try:
        headers = {"content-type": "application/json"} | ({} if key is None else {"authorization": f"Bearer {key}"})
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, raw, headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read() or b"{}")
    finally:
        connection.close()


def code(answer: dict[str, object]) -> object:
    error = answer["error"]
    assert isinstance(error, dict)
    return error["code"]


def told(served: Serving) -> list[Told]:
    frames: list[Told] = []
    list(read(served.layout, told=frames.append))
    return frames


def test_the_key_that_asked_tells_how_it_went_and_the_log_has_it(served: Serving) -> None:
    identity = ask(served.listen).id
    assert identity is not None
    status, answer = tell(served, {"id": identity, "score": True, "name": "resolved"})
    assert (200, {"id": identity, "name": "resolved", "score": 1.0}) == (status, answer)
    exchange = next(iter(read(served.layout, ids=[identity])))
    frame = next(one for one in told(served) if one.id == identity)
    assert ("app", exchange.conversation, "incumbent", 1.0) == (
        frame.key, frame.conversation, frame.arm, frame.score,
    )  # fmt: skip


def test_of_what_another_key_asked_and_of_what_never_was_the_answer_is_the_same(served: Serving) -> None:
    identity = ask(served.listen).id
    assert identity is not None
    before = len(told(served))
    foreign = tell(served, {"id": identity, "score": 0}, key=OTHER_KEY)
    never = tell(served, {"id": identity[:17] + "ffffff", "score": 0}, key=OTHER_KEY)
    nonsense = tell(served, {"id": "../../etc/passwd", "score": 0})
    assert [(404, "exchange_not_found")] * 3 == [(status, code(said)) for status, said in (foreign, never, nonsense)]
    assert before == len(told(served))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[1]", 400), (b"\xff\xfe", 400), ({"id": "x"}, 400), ({"id": 3, "score": 1}, 400),
        ({"id": "x", "score": 2}, 400), ({"id": "x", "score": -0.1}, 400), (b'{"id":"x","score":NaN}', 400),
        (b'{"id":"x","score":1e999}', 400), ({"id": "x", "score": 1, "name": "Drop table"}, 400),
        ({"id": "x", "score": 1, "nmae": "y"}, 400), ({"id": "x" * 5000, "score": 1}, 413),
    ],
)  # fmt: skip
def test_what_is_no_outcome_is_refused_with_what_would_be(served: Serving, body: object, status: int) -> None:
    got, answer = tell(served, body)
    assert status == got
    assert code(answer) in ("invalid_feedback", "body_too_large")


def test_without_a_key_or_by_another_method_nothing_is_told(served: Serving) -> None:
    assert 401 == tell(served, {"id": "x", "score": 1}, key=None)[0]
    assert 405 == tell(served, b"", method="GET")[0]
    assert 404 == tell(served, {"id": "x", "score": 1}, path="/v1/feedback/")[0]


def test_one_key_that_tells_too_much_is_told_to_wait_while_another_is_heard(served: Serving) -> None:
    connection = http.client.HTTPConnection(served.listen, timeout=60)
    headers = {"content-type": "application/json", "authorization": f"Bearer {OTHER_KEY}"}
    for _ in range(20 * PER_MINUTE):  # on however slow a machine: its minute refills meanwhile
        connection.request("POST", "/v1/feedback", b"{", headers)
        reply = connection.getresponse()
        reply.read()
        if reply.status == 429:
            break
    assert 429 == reply.status
    assert int(reply.getheader("retry-after") or 0) >= 1
    connection.close()
    assert 400 == tell(served, b"{")[0]


def run(served: Serving, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    ended = root.run([*arguments, "--config", str(served.file)])
    return ended, capsys.readouterr().out


def test_a_task_has_a_price_and_a_success_rate_also_when_the_outcome_comes_late(
    served: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = http.client.HTTPConnection(served.listen, timeout=60)
    for number in range(4):
        for _ in range(2):
            connection.request(
                "POST", "/v1/chat/completions",
                json.dumps({"model": "assistant", "messages": [{"role": "user", "content": f"late {number}"}]}),
                {
                    "authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json",
                    "x-conversation-id": f"late-{number}", "x-weighbridge-tag": f"ticket={number}",
                },
            )  # fmt: skip
            reply = connection.getresponse()
            reply.read()
            assert 200 == reply.status
    connection.close()
    file = tmp_path / "late.jsonl"
    rows = [
        {"conversation": "late-0", "key": "app", "score": 1, "name": "merged"},
        {"conversation": "late-1", "key": "app", "score": 0, "name": "merged"},
        {"tags": {"ticket": "2"}, "score": True, "name": "merged"},
        {"conversation": "late-3", "key": "other", "score": 1, "name": "merged"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    ended, printed = run(served, capsys, "outcomes", "import", str(file), "--json")
    done = msgspec.json.decode(printed, type=OutcomesImported)
    assert (2, 4, 3, (4,)) == (ended, done.lines, done.told, done.unmatched)
    ended, printed = run(served, capsys, "outcomes", "show", "--route", "assistant", "--json")
    figures = msgspec.json.decode(printed, type=OutcomesShown).tasks[0]
    late = [row for row in told(served) if row.name == "merged"]
    assert [0.0, 1.0, 1.0] == sorted(row.score for row in late)
    assert 0 == ended
    assert figures.told >= 3
    assert figures.cost_per_accepted_nanousd is not None
    assert figures.cost_per_task_nanousd is not None
    assert 0 == run(served, capsys, "verify")[0]


def test_a_file_with_a_bad_line_is_refused_whole(
    served: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"id": "a", "score": 1}\n{"id": "a", "conversation": "b", "score": 1}\n{"score": 7}\n')
    assert 64 == root.run(["outcomes", "import", str(file), "--config", str(served.file)])
    said = capsys.readouterr().err
    assert "bad.jsonl:2: exactly one of id, conversation, tags is needed, found id and conversation" in said
    assert "bad.jsonl:3:" in said


def test_exchanges_are_found_by_id_in_a_log_of_many_segments(served: Serving) -> None:
    with served.control() as control:
        ids = []
        for _ in range(6):
            identity = ask(served.listen).id
            assert identity is not None
            ids.append(identity)
            control.call(Seal(), SealedCount)
    finder = Finder(served.layout)
    for _ in range(2):
        found = finder.find([*ids, "0" * 16 + "-1", "nonsense"])
        assert dict.fromkeys(ids, "incumbent") == {identity: one.arm for identity, one in found.items()}
