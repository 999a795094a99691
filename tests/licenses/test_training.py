"""Which exchanges a model may be trained on: the answer's terms, and those of the answers that a request repeats."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.licenses.profiles import org
from weighbridge.config import Loaded, load
from weighbridge.licenses.training import Rights
from weighbridge.records.exchange import Attempt, Exchange

CONFIG = """
[[endpoint]]
name = "own"
base_url = "http://127.0.0.1:1/v1"
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
provider = "openai"
[[arm]]
name = "kimi"
endpoint = "own"
model = "Kimi-K3"
weights = "open"
[[arm]]
name = "llama"
endpoint = "own"
model = "Llama-3-8B"
weights = "open"
[[arm]]
name = "gpt"
endpoint = "openai"
model = "gpt-5.5"
weights = "closed"
[[route]]
name = "assistant"
incumbent = "gpt"
candidates = ["kimi", "llama"]
"""
MODELS = {"kimi": ("own", "Kimi-K3"), "llama": ("own", "Llama-3-8B"), "gpt": ("openai", "gpt-5.5")}
ASKED = b'{"messages":[{"role":"user","content":"?"}]}'
WENT_ON = (
    b'{"messages":[{"role":"user","content":"?"},{"role":"assistant","content":"!"},{"role":"user","content":"so?"}]}'
)
RIVAL = org("product", businesses=("competes_with:OpenAI",))


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "w.toml").write_text(CONFIG)
    return load(tmp_path / "w.toml")


def exchange(arm: str | None, day: str = "2026-11-23", conversation: str = "c", status: int = 200) -> Exchange:
    at = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    endpoint, model = MODELS[arm or "gpt"]
    attempt = Attempt(attempt=1, arm=arm or "gpt", endpoint=endpoint, model=model, status=status)
    return Exchange(
        id="i", time_ns=at, purpose="user", route="assistant", arm=arm, key="k", team=None, user=None, tags=(),
        slice="", conversation=conversation, table=1, stream=False, outcome="ok", status=status, attempts=(attempt,),
        usage=None, cost_nanousd=None, price_version=None, duration_ns=None, first_byte_ns=None, request_bytes=0,
        response_bytes=0, max_tokens=None, held_nanousd=None, request=None,
        response=None, trial=None, item=None, error=None, digest="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "word", "permitted"),
    [("kimi", "allowed", True), ("llama", "prohibited", False), ("gpt", "prohibited", False)],
)
def test_an_answer_is_under_the_terms_of_who_gave_it(loaded: Loaded, arm: str, word: str, permitted: bool) -> None:
    found = Rights(loaded, RIVAL).of(exchange(arm), ASKED)
    assert (word, permitted, "2026-11-23") == (found.training, found.permitted, found.on)
    assert found.reasons


def test_a_day_before_the_text_existed_is_unclear(loaded: Loaded) -> None:
    assert "unclear" == Rights(loaded, RIVAL).of(exchange("kimi", "2025-01-01"), ASKED).training


def test_earlier_answers_in_a_request_bring_their_terms_along(loaded: Loaded) -> None:
    rights = Rights(loaded, RIVAL)
    rights.earlier([exchange("llama", "2026-11-22"), exchange("gpt", "2026-11-22", conversation="other")])
    mixed = rights.of(exchange("kimi"), WENT_ON)
    assert ("prohibited", ("kimi-k3", "llama-3")) == (mixed.training, mixed.terms)
    # The same conversation, but the request repeats no answer; or the other answer came later.
    assert rights.of(exchange("kimi"), ASKED).permitted
    assert "unclear" == rights.of(exchange("kimi", "2026-11-21"), WENT_ON).training


def test_a_conversation_with_one_model_throughout_is_permitted(loaded: Loaded) -> None:
    rights = Rights(loaded, RIVAL)
    rights.earlier([exchange("kimi", "2026-11-22")])
    assert rights.of(exchange("kimi"), WENT_ON).permitted


@pytest.mark.parametrize(
    "request_", [WENT_ON, b'{"input":[{"role":"assistant"}]}', b'{"contents":[{"role":"model"}]}', b"?"]
)
def test_answers_that_the_log_does_not_know_are_unclear(loaded: Loaded, request_: bytes) -> None:
    found = Rights(loaded, RIVAL).of(exchange("kimi"), request_)
    assert "unclear" == found.training
    assert "does not know whose" in found.reasons[0]


def test_an_arm_that_is_configured_otherwise_now_is_unclear(loaded: Loaded) -> None:
    one = exchange("kimi")
    other = msgspec.structs.replace(one, attempts=(msgspec.structs.replace(one.attempts[0], model="Kimi-K2"),))
    found = Rights(loaded, RIVAL).of(other, ASKED)
    assert "unclear" == found.training
    assert "Kimi-K2" in found.reasons[0]


def test_an_exchange_that_nobody_answered_is_unclear(loaded: Loaded) -> None:
    assert "unclear" == Rights(loaded, RIVAL).of(exchange("kimi", status=500), ASKED).training
