"""Which slice a request belongs to."""

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.records.slices import SliceFacts, fingerprint, slice_of

FACTS = SliceFacts("bot", (("task", "gsm"), ("lang", "de"), ("task", "hard")), system_prompt=b'"be kind"', tools=b"[]")


def test_without_slice_keys_everything_is_one_slice() -> None:
    assert slice_of((), FACTS) == "all"


def test_a_tag_names_its_slice_and_a_repeated_one_names_all_its_values() -> None:
    assert slice_of(("tag:lang",), FACTS) == "lang=de"
    assert slice_of(("tag:task",), FACTS) == "task=gsm+hard"


def test_a_request_without_the_tag_is_in_the_slice_none() -> None:
    assert slice_of(("tag:nope",), FACTS) == "nope=none"


def test_several_keys_are_joined_in_their_order() -> None:
    expected = (
        f"key=bot,lang=de,system_prompt={fingerprint(FACTS.system_prompt)},tools={fingerprint(b'[]')},schema=none"
    )
    assert slice_of(("key", "tag:lang", "system_prompt", "tools", "schema"), FACTS) == expected


@given(st.binary(), st.binary())
def test_different_prompts_are_different_slices(one: bytes, other: bytes) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
