"""The table of what dialects carry, against what the code names."""

import re
from pathlib import Path

import weighbridge.wire.dialects as dialects
from weighbridge.wire.carried import (
    BY_NAME,
    FEATURES,
    FROM_ANTHROPIC,
    FROM_OPENAI,
    HEADER_CHARACTERS_MAX,
    STOPS,
    header_value,
    refused,
)
from weighbridge.wire.conversation import Loss

CODE = "".join(path.read_text() for path in Path(dialects.__file__).parent.glob("*.py"))


def test_every_feature_has_one_row() -> None:
    assert len(FEATURES) == len(BY_NAME)


def test_every_loss_in_the_code_is_a_row_of_the_table() -> None:
    named = set(re.findall(r'(?:\.lose|Loss)\(\s*"(\w+)"', CODE))
    for table in re.findall(r"lose_each\(\{(.*?)\}\)|^_OWN = \{(.*?)^\}", CODE, re.S | re.M):
        named |= set(re.findall(r'": "(\w+)"', "".join(table)))
    assert len(named) > 30
    assert set() == named - BY_NAME.keys()


def test_every_row_that_says_no_or_partly_is_named_somewhere_in_the_code() -> None:
    rows = [row.name for row in FEATURES if "no" in (row.openai, row.anthropic, row.responses)]
    rows += [row.name for row in FEATURES if "partly" in row.openai + row.anthropic + row.responses]
    # Of answers: counted with others, and left out where there is no field; of the head, which the gateway reads.
    kept = {"usage_1h", "stop_sequence", "beta_header"}
    assert [] == [name for name in rows if f'"{name}"' not in CODE and name not in kept]


def test_stop_reasons_that_both_dialects_have_come_back_as_they_went() -> None:
    for stop in STOPS:
        assert stop.reason == FROM_ANTHROPIC[stop.anthropic]
        assert stop.openai in ("stop", "tool_calls", "length", "content_filter")
    for written, reason in [
        ("stop", "stop"),
        ("tool_calls", "calls"),
        ("length", "length"),
        ("content_filter", "filter"),
    ]:
        assert reason == FROM_OPENAI[written]


def test_refused_are_those_whose_row_says_so() -> None:
    losses = (Loss("choices", "n"), Loss("seed", "seed"))
    assert losses[:1] == refused(losses)


def test_the_header_names_each_loss_once_and_stays_short_and_plain() -> None:
    assert header_value(()) is None
    assert "seed@seed, top_k@top_k" == header_value(
        [Loss("seed", "seed"), Loss("seed", "seed"), Loss("top_k", "top_k")]
    )
    many = header_value([Loss("unknown_field", f"é\r\n{n}" * 9) for n in range(500)])
    assert many is not None
    assert len(many) <= HEADER_CHARACTERS_MAX
    assert re.fullmatch(r"[ -~]+ \+\d+ more|[ -~]+, \+\d+ more", many)
