"""MIT and Apache-2.0 are told by their words; a paragraph more is another licence."""

from importlib.metadata import distribution
from pathlib import Path

import pytest

from weighbridge.licenses.standard import standard_terms

APACHE = (Path(__file__).resolve().parents[2] / "LICENSE").read_bytes()


def mit() -> bytes:
    """As a package that the tests need ships it."""
    found = [file for file in distribution("execnet").files or () if file.name == "LICENSE"]
    return found[0].read_binary()


def test_the_same_text_is_found_whoever_holds_the_copyright_and_however_it_is_wrapped() -> None:
    assert "apache-2.0" == standard_terms(APACHE)
    assert "mit" == standard_terms(mit())
    body = mit()[mit().index(b"Permission is") :]
    assert "mit" == standard_terms(
        b"MIT License\n\nCopyright (c) 2026 Some Lab Co., Ltd.\n\n" + b" ".join(body.split())
    )


@pytest.mark.parametrize(
    "more",
    [
        b"Our only modification is that you display the model's name.",
        b"If the Software is used for any commercial products with more than 100 million users, ask us.",
    ],
)
def test_a_sentence_before_behind_or_within_makes_it_another_text(more: bytes) -> None:
    for text in (mit(), APACHE):
        assert standard_terms(text + b"\n" + more) is None
        assert standard_terms(more + b"\n" + text) is None
        assert standard_terms(text.replace(b"including", b"including " + more, 1)) is None
    body = mit()[mit().index(b"Permission is") :]
    assert standard_terms(b"Modified MIT License\n\nCopyright (c) 2025 A Lab\n\n" + body) is None
    assert standard_terms(b"Copyright (c) 2025 A Lab. " + more + b"\n\n" + body) is None
