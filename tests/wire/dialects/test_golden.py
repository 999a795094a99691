"""Streams as provider families send them, quirks included, and what their clients get, byte for byte.

The files lie in `tests/golden/dialects`: `FAMILY-CASE.sse` is what a provider sends, written by hand after its
documented form; `FAMILY-CASE.to-CLIENT.sse` what the client gets. To change the latter on purpose, run these tests with
`WRITE_GOLDEN=1` and read the difference.
"""

import os
from pathlib import Path

import pytest

from tests.wire.dialects.stories import ASKED, ENVELOPE, translated
from weighbridge.records.usage import Usage
from weighbridge.wire.conversation import Call, Dialect, Finish, Reasoning, Refusal, Text
from weighbridge.wire.dialects import DIALECTS, read_answer

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "dialects"
SENT = sorted(path.stem for path in FOLDER.glob("*.sse") if ".to-" not in path.name)


def dialect_of(name: str) -> Dialect:
    return {"anthropic": "anthropic", "responses": "openai-responses"}.get(name.split("-")[0], "openai")  # type: ignore[return-value]


CASES = [(name, client) for name in SENT for client in DIALECTS if client != dialect_of(name)]


@pytest.mark.parametrize(("name", "client"), CASES)
def test_the_client_gets_the_same_bytes_as_ever(name: str, client: Dialect) -> None:
    sent = (FOLDER / f"{name}.sse").read_bytes()
    written, _ = translated(sent, dialect_of(name), client)
    expected = FOLDER / f"{name}.to-{client}.sse"
    if os.environ.get("WRITE_GOLDEN") == "1":
        expected.write_bytes(written)
    assert expected.read_bytes() == written
    assert written == translated(sent, dialect_of(name), client, cuts=range(0, len(sent), 7))[0]


WHOLE = [name for name in SENT if name != "anthropic-overloaded"]


@pytest.mark.parametrize("name", WHOLE)
def test_every_client_reads_the_answer_that_was_sent(name: str) -> None:
    sent = read_answer(dialect_of(name), (FOLDER / f"{name}.sse").read_bytes())
    for client in DIALECTS:
        if client == dialect_of(name):
            continue
        got = read_answer(client, (FOLDER / f"{name}.to-{client}.sse").read_bytes())
        for kind in (Reasoning, Text | Refusal):
            said = ["".join(part.text for part in one.parts if isinstance(part, kind)) for one in (sent, got)]
            assert said[1].startswith(said[0])  # an explanation of a refusal may follow
        assert [part for part in sent.parts if isinstance(part, Call)] == [
            part for part in got.parts if isinstance(part, Call)
        ]
        assert (sent.usage is None) == (got.usage is None)
        if sent.usage is not None and got.usage is not None:
            assert sent.usage.total == got.usage.total
            assert (sent.usage.input, sent.usage.cache_read) == (got.usage.input, got.usage.cache_read)


def read(name: str) -> tuple[tuple[object, ...], Usage | None, Finish | None]:
    answer = read_answer(dialect_of(name), (FOLDER / f"{name}.sse").read_bytes())
    return answer.parts, answer.usage, answer.finish


def test_an_anthropic_stream_is_read_with_its_signature_and_its_classes_of_tokens() -> None:
    parts, usage, finish = read("anthropic-thinking-tools")
    assert parts == (
        Reasoning("I need both.", "anthropic", "EqQBCg=="),
        Reasoning("", "anthropic", data="EmwK"),
        Text("Ich sehe nach."),
        Call("toolu_1", "weather", '{"city": "Bonn"}'),
        Call("toolu_2", "now", "{}"),
    )
    assert (Usage(12, 60, 2000, 100, 200, 30, service_tier="standard"), Finish("calls")) == (usage, finish)


def test_a_responses_stream_is_read_with_its_encrypted_reasoning() -> None:
    parts, usage, finish = read("responses-reasoning-call")
    assert parts == (
        Reasoning("First.\n\nThen.", "responses", data="gAAA", id="rs_1"),
        Text("Ja."),
        Call("call_1", "f", '{"a":1}'),
    )
    assert (Usage(20, 24, 50, 5, 0, 16), Finish("calls")) == (usage, finish)


def test_openrouters_details_are_kept_as_whole_rows() -> None:
    thought = read("openrouter-details")[0][0]
    assert isinstance(thought, Reasoning)
    assert ("Let me see.", "reasoning_details") == (thought.text, thought.source)
    row = '{"type":"reasoning.text","text":"Let me see.","signature":"EqQB","format":"anthropic-claude-v1","index":0}'
    assert f"[{row}]" == thought.data


@pytest.mark.parametrize("name", ["anthropic-thinking-tools", "responses-reasoning-call", "openrouter-details"])
def test_reasoning_comes_back_to_its_maker_whole_through_any_client(name: str) -> None:
    maker = dialect_of(name)
    sent = [part for part in read(name)[0] if isinstance(part, Reasoning)]
    stream = (FOLDER / f"{name}.sse").read_bytes()
    for client in DIALECTS:
        if client != maker:
            got = read_answer(client, translated(stream, maker, client, ASKED)[0])
            assert sent == [part for part in got.parts if isinstance(part, Reasoning)], (client, ENVELOPE)


def test_why_a_provider_refused_is_told_in_every_dialect() -> None:
    stream = (FOLDER / "anthropic-refusal.sse").read_bytes()
    for client in DIALECTS[::2]:
        parts = read_answer(client, translated(stream, "anthropic", client)[0]).parts
        assert (Text("I can"), Refusal("Not this.")) == parts
