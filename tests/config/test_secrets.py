"""Secrets are looked up where they are used; an error names the place, never the value."""

from pathlib import Path

import pytest

from weighbridge.config import secret


def test_a_variable_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WB_TEST_KEY", "value")
    assert secret("env:WB_TEST_KEY", tmp_path) == "value"


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_missing(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WB_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("WB_TEST_KEY", value)
    with pytest.raises(LookupError, match="WB_TEST_KEY is not set"):
        secret("env:WB_TEST_KEY", tmp_path)


def test_a_file_is_read_relative_to_the_configuration_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a").write_text("value\n")
    assert secret("file:keys/a", tmp_path) == "value"


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"nope cannot be read: No such file"):
        secret("file:nope", tmp_path)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(LookupError, match="empty is empty"):
        secret("file:empty", tmp_path)
