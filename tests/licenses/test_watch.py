"""What was accepted against what is there now, in meaning and in both directions."""

from pathlib import Path

import msgspec
import pytest

from tests.licenses.profiles import ON
from weighbridge.errors import ConfigError
from weighbridge.licenses import load, watch
from weighbridge.licenses.watch import Lock, accept, compare_with, read_lock, write_lock

TEXT = "MIT License.\nIf revenue exceeds US$20 million per month, show the name.\nProvided as is."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / watch.LOCK_FILE


def test_what_was_never_accepted_says_so(file: Path) -> None:
    (news,) = compare_with(Lock(), file, "kimi-k3", {})
    assert "not accepted" == news.kind


def test_as_accepted_there_is_no_news_and_the_lock_reads_back(file: Path) -> None:
    lock = accept(Lock(), file, "kimi-k3", {"LICENSE": TEXT}, ON)
    write_lock(lock, file)
    assert lock == read_lock(file)
    assert () == compare_with(read_lock(file), file, "kimi-k3", {"LICENSE": TEXT})
    assert ("LICENSE",) == watch.places(lock, "kimi-k3")


def test_markup_and_line_breaks_are_not_a_change(file: Path) -> None:
    lock = accept(Lock(), file, "kimi-k3", {"page": TEXT}, ON)
    assert () == compare_with(lock, file, "kimi-k3", {"page": f"<html><p>{TEXT.replace(' ', chr(10))}</p></html>"})


@pytest.mark.parametrize(("old", "new"), [("US$20 million", "US$10 million"), ("US$10 million", "US$20 million")])
def test_a_moved_line_is_told_in_both_directions_with_its_sentence(file: Path, old: str, new: str) -> None:
    lock = accept(Lock(), file, "kimi-k3", {"LICENSE": TEXT.replace("US$20 million", old)}, ON)
    (news,) = compare_with(lock, file, "kimi-k3", {"LICENSE": TEXT.replace("US$20 million", new)})
    assert "text" == news.kind
    assert f"figures gone: {old}; figures new: {new}" in news.sentence
    assert [
        f"-If revenue exceeds {old} per month, show the name.",
        f"+If revenue exceeds {new} per month, show the name.",
    ] == [*news.lines]


def test_a_text_that_is_gone_is_still_kept_as_it_was_accepted(file: Path) -> None:
    lock = accept(Lock(), file, "kimi-k3", {"LICENSE": TEXT}, ON)
    (news,) = compare_with(lock, file, "kimi-k3", {"LICENSE": None})
    assert "gone" == news.kind
    (kept,) = (file.parent / watch.TEXTS).iterdir()
    assert kept.name in news.sentence
    assert "US$20 million" in kept.read_text()


def test_a_model_that_came_under_other_terms_is_told_in_meaning(file: Path) -> None:
    lock = accept(Lock(), file, "kimi-k3", {}, ON)
    (row,) = lock.accepted
    before = msgspec.structs.replace(row, terms=(load.terms("kimi-k2-modified-mit"),))
    (news,) = compare_with(Lock(accepted=(before,)), file, "kimi-k3", {})
    assert "terms" == news.kind
    assert {"tightened", "loosened"} <= {one.direction for one in news.differences}


def test_a_corrected_record_is_told_apart_from_a_changed_licence(file: Path) -> None:
    lock = accept(Lock(), file, "kimi-k3", {}, ON)
    (row,) = lock.accepted
    (terms,) = row.terms
    line = msgspec.structs.replace(terms.threshold[0], value=30_000_000)
    older = msgspec.structs.replace(terms, threshold=(line, *terms.threshold[1:]))
    (news,) = compare_with(Lock(accepted=(msgspec.structs.replace(row, terms=(older,)),)), file, "kimi-k3", {})
    assert "record" == news.kind
    assert any("lowered from US$30 million to US$20 million" in one.text for one in news.differences)


def test_a_broken_lock_is_refused(file: Path) -> None:
    file.write_text("{")
    with pytest.raises(ConfigError, match="is not a licence lock"):
        read_lock(file)
