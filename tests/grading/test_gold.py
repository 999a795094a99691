"""Gold files: checked line by line, stored whole or not at all, matched by hash before tags."""

from pathlib import Path

import pytest

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.answers import prompt_sha256
from weighbridge.grading.gold import GoldBook, gold_of, read_gold, store_gold
from weighbridge.records.canonical import canonical, digest
from weighbridge.store.control import ControlClient, ListObjects, ObjectList, ObjectRow, PutObject
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message


def book(*files: str) -> GoldBook:
    return GoldBook(read_gold("gold.jsonl", text.encode().splitlines()) for text in files)


def test_a_prompt_is_kept_as_its_hash_only() -> None:
    stored = canonical(read_gold("g", [b'{"prompt": " What is 6 x 7? ", "answer": "42"}']))
    assert b"6 x 7" not in stored
    assert prompt_sha256("What is 6 x 7?").encode() in stored


def test_the_three_ways_to_name_a_request_find_it() -> None:
    gold = book(
        '{"prompt": "a", "answer": "1"}\n\n'
        f'{{"prompt_sha256": "{prompt_sha256("b").upper()}", "answer": 2}}\n'
        '{"tags": {"ticket": "7", "lang": "de"}, "answer": {"x": [true]}}\n'
        '{"tags": {"ticket": "7"}, "answer": "less exact"}'
    )
    assert gold.find("a", ()) == "1"
    assert gold.find("b", ()) == "2"
    assert gold.find("c", (("lang", "de"), ("ticket", "7"), ("more", "x"))) == '{"x": [true]}'
    assert gold.find("c", (("ticket", "7"),)) == "less exact"
    assert gold.find("c", (("ticket", "8"),)) is None
    assert gold.find(None, ()) is None
    assert len(gold) == 4


def test_a_later_import_overrides() -> None:
    gold = book('{"prompt": "a", "answer": "1"}', '{"prompt": "a", "answer": "2"}')
    assert gold.find("a", ()) == "2"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not a JSON object"),
        ("[]", "line: expected"),
        ('{"prompt": "a"}', "answer: is missing"),
        ('{"prompt": "a", "answer": " "}', "must not be empty"),
        ('{"prompt": "a", "answer": null}', "must not be empty or null"),
        ('{"answer": "1"}', "found none"),
        ('{"prompt": "a", "tags": {"x": "y"}, "answer": "1"}', "found prompt and tags"),
        ('{"tags": {}, "answer": "1"}', "must name one tag"),
        ('{"tags": {"x": 1}, "answer": "1"}', "expected `str`"),
        ('{"prompt_sha256": "abc", "answer": "1"}', "64 hex digits"),
        ('{"prompt": " ", "answer": "1"}', "must not be empty"),
        ('{"promt": "a", "answer": "1"}', "promt"),
    ],
)
def test_a_bad_line_is_named_with_its_field_and_rule(line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_gold("gold.jsonl", [b'{"prompt": "ok", "answer": "1"}', line.encode()])
    assert "gold.jsonl:2: " in str(caught.value)
    assert "Nothing was imported" in str(caught.value)


def test_the_first_twenty_problems_are_shown_together() -> None:
    with pytest.raises(UsageError) as caught:
        read_gold("gold.jsonl", [b"{"] * 50)
    assert str(caught.value).count("not a JSON object") == 20


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no line"):
        read_gold("gold.jsonl", [b"", b"\n"])


class FakeKeeper(ControlClient):
    """Objects in memory and on disk, as the keeper keeps them."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.rows = layout, []  # type: ignore[var-annotated]

    def call(self, request: Message, answer: type) -> object:  # type: ignore[override]
        if isinstance(request, ListObjects):
            return ObjectList(rows=tuple(row for row in self.rows if request.kind in (None, row.kind)))
        assert isinstance(request, PutObject)
        row = ObjectRow(digest=digest(request.body), kind=request.kind, created_ns=len(self.rows), label=request.label)
        if row.digest not in [one.digest for one in self.rows]:
            self.rows.append(row)
            self.layout.object(row.digest).write_bytes(request.body)
        return row


def test_importing_an_older_file_again_makes_it_the_latest(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    keeper = FakeKeeper(layout)
    old, new = (read_gold("g", [f'{{"prompt": "a", "answer": "{n}"}}'.encode()]) for n in (1, 2))
    for file in (old, new, old, old):
        store_gold(keeper, "g", file)
    digests = tuple(row.digest for row in keeper.rows)
    assert len(digests) == 3
    assert gold_of(layout, digests)[0].find("a", ()) == "1"


def test_a_gold_file_that_was_changed_in_the_store_is_not_used(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    row = store_gold(FakeKeeper(layout), "g", read_gold("g", [b'{"prompt": "a", "answer": "1"}']))
    path = layout.object(row.digest)
    path.write_bytes(path.read_bytes().replace(b'"1"', b'"2"'))
    with pytest.raises(WeighbridgeError, match="was changed"):
        gold_of(layout, (row.digest,))
