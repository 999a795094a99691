"""Frozen formats: stored bytes of today are readable tomorrow.

If a test here fails, an old store would read differently. Fields are only ever added at the end, with a default, so the
digests below may change when one is added; the old bytes further down must go on reading.
"""

import msgspec
import pytest

from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.records.evidence import VERDICT_SCHEMA, SliceVerdict, Verdict
from weighbridge.records.frames import Attempted, BodyRef, Finished, Frame, Held, Posted
from weighbridge.records.table import RouteTable
from weighbridge.records.trial import TrialToken, trial_id
from weighbridge.records.usage import Usage

BODY = BodyRef("2026-11-25", "support", b"\x01" * 32, 12)
ID = "0194f0c1a2b3abcd-1f"
FRAMES: tuple[Frame, ...] = (
    Held(ID, 1, "user", "assistant", 3, "bot", "support", None, (("task", "refund"),), "task=refund", "c1",
         True, 99, 16, 1234, BODY),
    Attempted(ID, 1, 2, "gpt-4o", "openai", "gpt-4o-2024-08-06", ("model",)),
    Posted(ID, 1, 200, Usage(1, 2, 3, 4, 5, 6), b'{"prompt_tokens":1}', 77, "genai-prices 0.2.3 openai/gpt-4o", 5, 4),
    Finished(ID, 9, "ok", 200, 1, 8, 4, 100, BODY, 77),
)  # fmt: skip


STORED = (
    "dc001101b3303139346630633161326233616263642d316601a475736572a9617373697374616e7403a3626f74a7737570706f7274c09192a4"
    "7461736ba6726566756e64ab7461736b3d726566756e64a26331c36310cd04d294aa323032362d31312d3235a7737570706f7274c420"
    "0101010101010101010101010101010101010101010101010101010101010101"
    "0c",
    "9802b3303139346630633161326233616263642d31660102a66770742d346fa66f70656e6169b16770742d346f2d323032342d30382d3036"
    "91a56d6f64656c",
    "9a03b3303139346630633161326233616263642d316601ccc896010203040506c4137b2270726f6d70745f746f6b656e73223a317d4dd920"
    "67656e61692d70726963657320302e322e33206f70656e61692f6770742d346f0504",
    "9b04b3303139346630633161326233616263642d316609a26f6bccc80108046494aa323032362d31312d3235a7737570706f7274c420"
    "0101010101010101010101010101010101010101010101010101010101010101"
    "0c4d",
)
"""The frames above as the first version wrote them, without the fields that have a default."""


def test_frames_of_the_first_version_read_as_they_were_meant() -> None:
    decode = msgspec.msgpack.Decoder(Frame).decode
    assert tuple(decode(bytes.fromhex(stored)) for stored in STORED) == FRAMES


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_reads_back_as_it_was_written(frame: Frame) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=Frame) == frame


def test_an_unknown_kind_of_frame_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(bytes.fromhex("9209a0"), type=Frame)


VERDICT = Verdict(
    schema=VERDICT_SCHEMA, route="assistant", candidate="qwen", margin=0.03, alpha=0.05, method="betting", seed=7,
    cost_usd=0.5,
    verdicts=(),
    overall=SliceVerdict(
        slice="all", n=3, clusters=3, difference=-0.5, interval=(-1.0, 0.25), verdict="undecided", decided_at=None,
        label_source="gold", license="unclear", reasons=("needs 87 more pairs",),
    ),
)  # fmt: skip


def test_a_verdict_has_the_documented_keys() -> None:
    documented = {"route", "candidate", "verdicts", "overall", "margin", "alpha", "method", "seed", "cost_usd"}
    written = msgspec.json.decode(canonical(VERDICT))
    assert documented <= set(written)
    per_slice = {
        "slice", "n", "clusters", "difference", "interval", "verdict", "decided_at", "label_source", "license",
        "reasons",
    }  # fmt: skip
    assert per_slice == set(written["overall"])


def test_canonical_bytes_do_not_change_between_runs() -> None:
    assert digest(canonical(VERDICT)) == digest(canonical(parse(canonical(VERDICT), Verdict)))
    assert canonical(VERDICT).startswith(b'{"schema":"verdict/1","route":"assistant"')


def test_a_table_without_optional_fields_still_reads() -> None:
    stored = (
        b'{"schema":"route-table/1","number":1,"created_ns":0,"config_digest":"","trial_key":"","durability":"process",'
        b'"capture":{},"limits":{},"endpoints":[{"name":"e","dialect":"openai","base_url":"http://x"}],'
        b'"arms":[{"name":"a","endpoint":"e","model":"m"}],"routes":[{"name":"r","incumbent":"a"}],"keys":[]}'
    )
    table = parse(stored, RouteTable)
    assert table.arm("a").price is None
    assert table.endpoint("e").retention_days is None


def test_stored_bytes_of_another_kind_are_refused_with_type_and_field() -> None:
    with pytest.raises(ValueError, match=r"not a TrialToken: .*`trial`"):
        parse(b'{"route":"r"}', TrialToken)


def test_the_same_six_make_the_same_trial_and_any_other_makes_another() -> None:
    six = ("assistant", "qwen", "ab", 0.03, 0.05, 7)
    assert trial_id(*six) == trial_id(*six)
    others = [("b", *six[1:]), (*six[:3], 0.031, *six[4:]), (*six[:5], 8), (*six[:5], None)]
    assert len({trial_id(*six), *(trial_id(*other) for other in others)}) == 5
    assert trial_id(*six) == "t-fd9166ba26ad1e04"
