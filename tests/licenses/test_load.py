"""The shipped records are sound, and a bad one says which file, which record, which field, what may stand there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from weighbridge.errors import ConfigError
from weighbridge.licenses import catalogue, changes, channels, hosted, load


def edited(tmp_path: Path, old: str, new: str, file: str = "kimi-k3.toml") -> Path:
    folder = tmp_path / "terms"
    shutil.copytree(load.FOLDER, folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    return folder


def test_all_shipped_records_are_sound() -> None:
    assert len(load.everything()) >= 65
    assert len(changes.changes()) == 66
    assert len(hosted.providers()) == 13
    assert channels.channels()
    assert len(catalogue.models()) > 100


def test_every_source_of_a_record_is_named_once_and_used() -> None:
    used = {place for terms in load.everything() for _, place in load.sources_of(terms)}
    assert used <= set(load.sources())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('axis = "mau_product"', 'axis = "mau"', ("kimi-k3.toml", "threshold[1].axis", "'mau'")),
        ("value = 20000000", 'value = "20M"', ("kimi-k3.toml", "threshold[0].value", "'20M'")),
        ('licensor = "Moonshot AI"', 'licenser = "Moonshot AI"', ("kimi-k3.toml", "licenser", "mean 'licensor'?")),
        ('source = "k3"', 'source = "k33"', ("kimi-k3.toml", "facts.commercial_use.source", "'k33'", "'k3'")),
        ('supersedes = "kimi-k2-modified-mit"', 'supersedes = "kimi-k2"', ("supersedes", "'kimi-k2'", "Allowed: ")),
        ('id = "kimi-k3"', 'id = "kimi-k4"', ("id", "the name of the file", "kimi-k4")),
        ('first_day = "2026-07-27"', 'first_day = "27 July"', ("first_day", "'27 July'", "YYYY-MM-DD")),
        ('verdict = "permission_fee_expected"', 'verdict = "allowed"', ("verdict", "'allowed'", "prohibited")),
        ('above = ["mau_product"', 'above = ["mau"', ("display_text", "'mau'", "mau_product")),
        ('lifts = ["revenue_entity_aggregate"', 'lifts = ["revenue"', ("exemption[internal-use].lifts", "'revenue'")),
        ('clause = "4"\nsource = "k3"', 'clause = "4"\nsource = "norm"', ("internal-use", "reported", "never permit")),
        ("op = \">\"", "op = \"<\"", ("threshold[0].op", "'<'")),
        ("[training]", "[training", ("kimi-k3.toml", "is not TOML")),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else None,
)  # fmt: skip
def test_a_bad_record_names_file_record_field_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, says: tuple[str, ...]
) -> None:
    folder = edited(tmp_path, old, new)
    with pytest.raises(ConfigError) as error:
        load.terms("kimi-k3" if (folder / "kimi-k3.toml").exists() else "kimi-k4", folder)
    for part in says:
        assert part in str(error.value)


def test_a_source_that_nobody_saw_is_not_a_kind_of_source(tmp_path: Path) -> None:
    folder = edited(tmp_path, 'how = "read"', 'how = "heard"', "_sources.toml")
    with pytest.raises(ConfigError, match=r"_sources\.toml.*how"):
        load.sources(folder)


@pytest.mark.parametrize("read", [changes.changes, hosted.providers, channels.channels, catalogue.models])
def test_the_other_data_files_refuse_unknown_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[], object]
) -> None:
    folder = tmp_path / "terms"
    shutil.copytree(load.FOLDER, folder)
    for file in ("_changes", "_hosted", "_channels", "_models"):
        path = folder / f"{file}.toml"
        path.write_text(path.read_text() + '\ninvented = "x"\n')
    monkeypatch.setattr(load, "FOLDER", folder)
    with pytest.raises(ConfigError, match="invented"):
        read.__wrapped__()  # type: ignore[attr-defined]


def test_a_text_that_a_licensee_must_reproduce_is_the_only_text_kept() -> None:
    """Records are facts in our own words: nothing longer than a notice is kept of any licence."""
    for terms in load.everything():
        for duty in terms.duty:
            assert len(duty.show or "") <= 160
