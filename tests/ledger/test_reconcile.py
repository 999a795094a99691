"""Our books beside the provider's usage export."""

from pathlib import Path

import pytest

from tests.ledger.made import DAY_NS, NOV_1_NS, Books
from weighbridge.errors import UsageError
from weighbridge.ledger.postings import postings
from weighbridge.ledger.reconcile import Reconciliation, read_export, reconcile
from weighbridge.records.usage import Usage


@pytest.fixture
def books(tmp_path: Path) -> Books:
    made = Books(tmp_path)
    made.request(Usage(10_000, 500, 3_000))
    made.request(Usage(10_000, 500, 3_000), purpose="trial", at_ns=NOV_1_NS + DAY_NS)
    made.request(Usage(9, 9), at_ns=NOV_1_NS + 2 * DAY_NS)
    return made


def beside(books: Books, tmp_path: Path, text: str) -> Reconciliation:
    file = tmp_path / "export.csv"
    file.write_text(text)
    with postings(books.layout) as sql:
        return reconcile(sql, "closed-api", read_export(file))


HEAD = "day,model,requests,input,cache_read,output,usd\n"


@pytest.mark.promise(10)
def test_an_export_that_counts_the_same_agrees_with_every_purpose_counted(books: Books, tmp_path: Path) -> None:
    rows = "2026-11-01,gpt-5.5,1,10000,3000,500,0.0665\n2026-11-02,gpt-5.5,1,10000,3000,500,0.0665\n"
    said = beside(books, tmp_path, HEAD + rows)
    assert (True, True, ()) == (said.agrees, said.models[0].agrees, said.only_ours)
    assert 133_000_000 == next(one.ours for one in said.models[0].differences if one.what == "usd")


@pytest.mark.promise(10)
def test_the_class_that_differs_by_more_than_half_a_per_cent_is_named(books: Books, tmp_path: Path) -> None:
    said = beside(books, tmp_path, HEAD + "2026-11-01,gpt-5.5,1,10049,3016,500,\n")
    assert ["cache_read"] == [one.what for one in said.models[0].differences if not one.within]
    assert not said.agrees


@pytest.mark.promise(10)
def test_a_model_on_one_side_only_is_named(books: Books, tmp_path: Path) -> None:
    said = beside(books, tmp_path, HEAD + "2026-11-01,another,1,5,0,5,\n")
    assert (("gpt-5.5",), False) == (said.only_ours, said.agrees)
    assert [0, 0, 0, 0] == [one.ours for one in said.models[0].differences]


def test_json_lines_are_read_too(books: Books, tmp_path: Path) -> None:
    assert beside(books, tmp_path, '{"day": "2026-11-01", "model": "gpt-5.5", "output": 500}\n').agrees


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "has no rows"),
        (HEAD + "yesterday,m,1,1,1,1,1\n", "line 2: Invalid isoformat string: 'yesterday'"),
        (HEAD + "2026-11-01,m,1.5,1,1,1,1\n", "line 2: invalid literal"),
        ("day,model,tokens\n2026-11-01,m,1\n", "unknown columns tokens"),
        ('{"day": "2026-11-01"}\n', "line 1: 'model'"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "export"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_export(file)
