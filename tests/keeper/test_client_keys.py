"""Client keys: what may be done with them, and which of them stand in a route table."""

import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.config import Config, loads
from weighbridge.errors import ControlError
from weighbridge.keeper.client_keys import LIVE_MAX, create, for_table, limit, listed, revoke, rotate
from weighbridge.keeper.compile import key_digest
from weighbridge.store.client_keys import StoredKey
from weighbridge.store.control import CreateKey, LimitKey, RevokeKey, RotateKey

CONFIG = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
[[arm]]
name = "gpt"
endpoint = "openai"
model = "gpt-4o"
[[route]]
name = "assistant"
incumbent = "gpt"
[[team]]
name = "support"
[[budget]]
name = "month"
limit_usd = "10"
[[key]]
name = "from-file"
secret = "env:APP_KEY"
"""
NOW, HOUR = 1_764_000_000_000_000_000, 3_600_000_000_000


def config(text: str = CONFIG) -> Config:
    return loads(text).config


def digest(secret: str = "") -> str:
    return key_digest(secret or secrets.token_hex(8))


def made(name: str = "bot", **more: object) -> StoredKey:
    asked = msgspec.convert({"name": name, "digest": digest(), **more}, CreateKey)
    return create((), config(), asked, NOW)


def test_a_new_key_has_one_live_secret_and_may_use_every_route() -> None:
    key = made(team="support", budget="month")
    (row,) = for_table((key,), config(), NOW).rows
    assert ("bot", "support", ("*",), "month", None) == (row.name, row.team, row.routes, row.budget, row.expires_ns)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"name": "from-file"}, "is a [[key]] of the configuration"),
        ({"name": "trial"}, "is not a name"),
        ({"name": "a b"}, "is not a name"),
        ({"name": ".."}, "is not a name"),
        ({"name": "x" * 65}, "is not a name"),
        ({"name": "bot", "team": "nobody"}, "no team 'nobody'; it has: support"),
        ({"name": "bot", "budget": "year"}, "no budget 'year'; it has: month"),
        ({"name": "bot", "routes": ("assistant", "other")}, "no route 'other'; it has: assistant"),
        ({"name": "bot", "routes": ()}, "could ask for nothing"),
        ({"name": "bot", "expires_ns": NOW}, "is over already"),
        ({"name": "bot", "digest": "ab"}, "64 hex digits"),
        ({"name": "bot", "requests_per_minute": 0}, "0 requests per minute is not a limit"),
        ({"name": "bot", "tokens_per_minute": 1_000_000_001}, "allowed are 1 to 1000000000"),
    ],
)
def test_a_key_that_could_not_mean_what_it_says_is_refused(asked: dict[str, object], says: str) -> None:
    with pytest.raises(ControlError) as refused:
        made(**asked)  # type: ignore[arg-type]
    assert says in str(refused.value)


def test_a_name_is_never_given_twice() -> None:
    key = made()
    gone = revoke((key,), RevokeKey(name="bot"), NOW)
    for stored, why in ((key, "is there already"), (gone, "was revoked")):
        with pytest.raises(ControlError, match=why):
            create((stored,), config(), CreateKey(name="bot", digest=digest()), NOW)


def test_both_secrets_work_until_the_overlap_is_over() -> None:
    first = made()
    key = rotate((first,), RotateKey(name="bot", digest=digest(), overlap_ns=HOUR), NOW)
    assert [NOW + HOUR, None] == [row.expires_ns for row in for_table((key,), config(), NOW).rows]
    assert NOW + HOUR == for_table((key,), config(), NOW).until_ns
    (left,) = for_table((key,), config(), NOW + HOUR).rows
    assert key.secrets[-1].digest == left.digest


def test_an_overlap_does_not_make_a_secret_live_longer_than_it_had() -> None:
    first = made(expires_ns=NOW + 60)
    key = rotate((first,), RotateKey(name="bot", digest=digest(), overlap_ns=HOUR), NOW)
    assert NOW + 60 == key.secrets[0].expires_ns


def test_without_an_overlap_the_old_secret_ends_at_once() -> None:
    key = rotate((made(),), RotateKey(name="bot", digest=digest(), overlap_ns=0), NOW)
    assert [key.secrets[1].digest] == [row.digest for row in for_table((key,), config(), NOW).rows]


def test_a_third_live_secret_is_refused_with_the_way_out() -> None:
    key = rotate((made(),), RotateKey(name="bot", digest=digest(), overlap_ns=HOUR), NOW)
    third = RotateKey(name="bot", digest=digest(), overlap_ns=HOUR)
    with pytest.raises(ControlError, match="key revoke bot --old"):
        rotate((key,), third, NOW)
    key = revoke((key,), RevokeKey(name="bot", old_only=True), NOW)
    assert 2 == len(rotate((key,), third, NOW).live(NOW))


def test_a_secret_is_used_once() -> None:
    key = made()
    with pytest.raises(ControlError, match="given out before"):
        rotate((key,), RotateKey(name="bot", digest=key.secrets[0].digest, overlap_ns=0), NOW)


def test_a_revoked_key_is_gone_for_good() -> None:
    key = revoke((made(),), RevokeKey(name="bot"), NOW)
    assert () == for_table((key,), config(), NOW).rows
    with pytest.raises(ControlError, match="for good"):
        rotate((key,), RotateKey(name="bot", digest=digest(), overlap_ns=0), NOW)


def test_a_key_of_the_file_is_not_changed_here() -> None:
    with pytest.raises(ControlError, match="are changed there"):
        revoke((made(),), RevokeKey(name="from-file"), NOW)
    with pytest.raises(ControlError, match="are changed there"):
        limit((made(),), LimitKey(name="from-file", requests_per_minute=1))


def test_every_live_secret_of_a_key_has_the_keys_limits() -> None:
    key = made(requests_per_minute=600, tokens_per_minute=90_000)
    key = rotate((key,), RotateKey(name="bot", digest=digest(), overlap_ns=HOUR), NOW)
    rows = for_table((key,), config(), NOW).rows
    assert [(600, 90_000)] * 2 == [(row.requests_per_minute, row.tokens_per_minute) for row in rows]


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [
        (LimitKey(name="bot", requests_per_minute=5), (5, 90)),
        (LimitKey(name="bot", requests_per_minute=None), (None, 90)),
        (LimitKey(name="bot", tokens_per_minute=None, requests_per_minute=None), (None, None)),
    ],
)
def test_a_limit_that_is_not_named_stays_and_none_lifts_one(
    asked: LimitKey, becomes: tuple[int | None, int | None]
) -> None:
    key = made(requests_per_minute=600, tokens_per_minute=90)
    sent = msgspec.json.decode(msgspec.json.encode(asked), type=LimitKey)  # as it comes over the socket
    key = limit((key,), sent)
    assert becomes == (key.requests_per_minute, key.tokens_per_minute)
    (row,) = (row for row in listed((key,), config(), NOW) if row.name == "bot")
    assert becomes == (row.requests_per_minute, row.tokens_per_minute)


def test_to_limit_nothing_or_a_revoked_key_is_refused() -> None:
    with pytest.raises(ControlError, match="no limit was named"):
        limit((made(),), LimitKey(name="bot"))
    with pytest.raises(ControlError, match="revoke the key"):
        limit((made(),), LimitKey(name="bot", requests_per_minute=0))
    with pytest.raises(ControlError, match="for good"):
        limit((revoke((made(),), RevokeKey(name="bot"), NOW),), LimitKey(name="bot", requests_per_minute=1))


def test_the_list_has_the_limits_of_keys_from_the_file() -> None:
    text = CONFIG.replace('"env:APP_KEY"', '"env:APP_KEY"\nrequests_per_minute = 7')
    assert [(7, None)] == [(row.requests_per_minute, row.tokens_per_minute) for row in listed((), config(text), NOW)]


def test_a_key_whose_budget_is_gone_lets_nobody_in() -> None:
    found = for_table((made(budget="month"),), config(CONFIG.replace('"month"', '"year"')), NOW)
    assert () == found.rows
    assert "its budget 'month' is not configured any more" in found.warnings[0]


def test_a_key_whose_name_the_file_took_lets_nobody_in() -> None:
    found = for_table((made(),), config(CONFIG.replace("from-file", "bot")), NOW)
    assert () == found.rows
    assert "a [[key]] has the same name" in found.warnings[0]


def test_the_list_says_where_a_key_comes_from_and_shows_of_a_secret_its_fingerprint_only() -> None:
    key = made()
    rows = {row.name: row for row in listed((key,), config(), NOW)}
    assert ("config", ()) == (rows["from-file"].source, rows["from-file"].live)
    assert (key.secrets[0].digest[:8], None) == rows["bot"].live[0]


@given(st.lists(st.tuples(st.sampled_from(("rotate", "revoke", "old", "wait")), st.integers(0, 3)), max_size=12))
def test_whatever_is_done_at_most_two_secrets_live_and_none_after_the_end(steps: list[tuple[str, int]]) -> None:
    key, now, ended = made(), NOW, False
    for step, hours in steps:
        now += hours * HOUR if step == "wait" else 1
        try:
            if step == "rotate":
                key = rotate((key,), RotateKey(name="bot", digest=digest(), overlap_ns=hours * HOUR), now)
            elif step != "wait":
                key = revoke((key,), RevokeKey(name="bot", old_only=step == "old"), now)
                ended = ended or step == "revoke"
        except ControlError:
            continue
        live = for_table((key,), config(), now).rows
        assert (0 if ended else 1) <= len(live) <= (0 if ended else LIVE_MAX)
        if not ended:
            assert key.secrets[-1].digest == live[-1].digest  # the newest is never the one that ends
