"""What the keeper decides about people, on a clock that jumps."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.clock import JumpingClock
from weighbridge.config.tree import AdminSection
from weighbridge.errors import ControlError, NotAllowedError, NotThereError
from weighbridge.keeper.acting import ASKED, NEEDED, needed, permit
from weighbridge.keeper.audit import SIGNED_AS, AuditBook, problems
from weighbridge.keeper.people import Actor, People, within
from weighbridge.keeper.throttle import FREE_TRIES, SOURCE_TRIES, WAIT_S_MAX, Throttle
from weighbridge.records.people import ROLES, Role, TokenRow, covers
from weighbridge.store.client_keys import StoredKey
from weighbridge.store.control import CreateKey, Erase, RampAct, RotateKey
from weighbridge.store.database import Database
from weighbridge.store.people_calls import (
    AddUser,
    ChangeUser,
    CreateApiToken,
    Known,
    ListApiTokens,
    OpenOutside,
    OpenSession,
    RevokeApiToken,
    ShowAudit,
    TrySignIn,
    Unknown,
    UseLink,
    WhoIs,
)

HASH = "$argon2id$v=19$not-a-real-one"
COMMAND = Actor(name="login:test", role="admin", teams=None, via="command")
IDLE_S, LONGEST_S = 600, 3600


def secret(name: str) -> str:
    return name.ljust(43, "x")


class Kept:
    def __init__(self, folder: Path) -> None:
        self.clock = JumpingClock()
        self.database = Database(folder / "keeper.db")
        self.book = AuditBook(self.database.people, self.clock, lambda body: sha256(b"signed" + body).digest() * 2)
        settings = AdminSection(idle_minutes=IDLE_S // 60, session_hours=LONGEST_S // 3600)
        self.people = People(
            self.database.people, self.book, self.clock, lambda: settings, lambda: ("red", "blue")
        )  # fmt: skip

    def add(self, name: str, role: Role = "viewer", teams: tuple[str, ...] | None = None) -> None:
        self.people.answer(AddUser(name=name, role=role, teams=teams, password=HASH), COMMAND)

    def open(self, name: str, session: str) -> object:
        return self.people.answer(OpenSession(name=name, session=secret(session), source="::1", checked=HASH), COMMAND)

    def who(self, session: str) -> object:
        return self.people.answer(WhoIs(credential=secret(session)), COMMAND)

    def token(self, owner: str, role: Role, teams: tuple[str, ...] | None = None, actor: Actor = COMMAND) -> TokenRow:
        made = self.people.answer(
            CreateApiToken(owner=owner, label="t", token=secret(f"wba-{owner}-{role}"), role=role, teams=teams), actor
        )
        assert isinstance(made, TokenRow)
        return made


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.database.close()


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_ends_when_nothing_was_asked_in_it_for_as_long_as_is_configured(kept: Kept) -> None:
    kept.add("ann")
    kept.open("ann", "s")
    kept.clock.advance(IDLE_S - 1)
    assert isinstance(kept.who("s"), Known)
    kept.clock.advance(IDLE_S - 1)
    assert isinstance(kept.who("s"), Known)
    kept.clock.advance(IDLE_S)
    assert isinstance(kept.who("s"), Unknown)


def test_a_session_that_is_used_all_the_time_ends_all_the_same(kept: Kept) -> None:
    kept.add("ann")
    kept.open("ann", "s")
    asked = []
    for _ in range(LONGEST_S // 60 + 2):
        kept.clock.advance(60)
        asked.append(isinstance(kept.who("s"), Known))
    assert [True] * (LONGEST_S // 60 - 1) + [False] * 3 == asked


def test_a_password_that_was_changed_while_it_was_checked_opens_nothing(kept: Kept) -> None:
    kept.add("ann")
    kept.people.answer(ChangeUser(name="ann", password=HASH + "-new"), COMMAND)
    assert isinstance(kept.open("ann", "s"), Unknown)


def test_the_database_holds_no_secret(kept: Kept, tmp_path: Path) -> None:
    kept.add("ann", "admin")
    kept.open("ann", "the-session")
    kept.people.answer(ChangeUser(name="ann", link=secret("the-link")), COMMAND)
    kept.token("ann", "viewer")
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for canary in ("the-session", "the-link", "wba-ann-viewer"):
        assert secret(canary).encode() not in stored


@pytest.mark.parametrize(
    "change", [{"role": "admin"}, {"teams": ("red",)}, {"disabled": True}, {"password": HASH + "2"}]
)
def test_what_changes_a_persons_rights_ends_their_sessions(kept: Kept, change: dict[str, object]) -> None:
    kept.add("ann")
    kept.open("ann", "s")
    kept.people.answer(ChangeUser(name="ann", **change), COMMAND)  # type: ignore[arg-type]
    assert isinstance(kept.who("s"), Unknown)


# --- links and the outside --------------------------------------------------------------------------------------------


def test_a_link_is_over_after_a_day(kept: Kept) -> None:
    kept.people.answer(AddUser(name="ann", role="viewer", link=secret("l")), COMMAND)
    kept.clock.advance(24 * 3600)
    used = kept.people.answer(UseLink(link=secret("l"), password=HASH, session=secret("s")), COMMAND)
    assert isinstance(used, Unknown)


def test_somebody_from_outside_is_told_by_issuer_and_subject_and_never_takes_a_name_that_is_taken(kept: Kept) -> None:
    kept.add("ann", "admin")
    ask = OpenOutside(
        issuer="https://id.example", subject="7", name="ann", role="viewer", teams=None, session=secret("s")
    )
    with pytest.raises(ControlError, match="another user already"):
        kept.people.answer(ask, COMMAND)
    let_in = kept.people.answer(msgspec.structs.replace(ask, name="ann@id"), COMMAND)
    assert Known(name="ann@id", role="viewer", teams=None, via="session") == let_in
    again = msgspec.structs.replace(ask, name="renamed", role="operator", teams=("red",), session=secret("s2"))
    assert Known(name="ann@id", role="operator", teams=("red",), via="session") == kept.people.answer(again, COMMAND)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_may_no_more_than_its_owner_does_now(kept: Kept) -> None:
    kept.add("ann", "operator", ("red", "blue"))
    kept.token("ann", "operator", ("red",))
    kept.people.answer(ChangeUser(name="ann", role="viewer", teams=("blue",)), COMMAND)
    found = kept.who("wba-ann-operator")
    assert isinstance(found, Known)
    assert ("ann", "viewer", ()) == (found.name, found.role, found.teams)


def test_a_token_of_more_than_its_owner_may_is_not_made(kept: Kept) -> None:
    kept.add("ann", "viewer", ("red",))
    with pytest.raises(ControlError, match="cannot be admin"):
        kept.token("ann", "admin")
    with pytest.raises(ControlError, match="does not see team 'blue'"):
        kept.token("ann", "viewer", ("blue",))


def test_a_token_ends_when_revoked_expired_or_its_owner_is_disabled(kept: Kept) -> None:
    kept.add("ann", "viewer")
    made = kept.token("ann", "viewer")
    ends_ns = kept.clock.wall_ns() + 10 * 1_000_000_000
    kept.people.answer(
        CreateApiToken(owner="ann", label="short", token=secret("wba-short"), role="viewer", expires_ns=ends_ns),
        COMMAND,
    )
    assert isinstance(kept.who("wba-short"), Known)
    kept.clock.advance(10)
    assert isinstance(kept.who("wba-short"), Unknown)
    assert isinstance(kept.who("wba-ann-viewer"), Known)
    kept.people.answer(ChangeUser(name="ann", disabled=True), COMMAND)
    assert isinstance(kept.who("wba-ann-viewer"), Unknown)
    kept.people.answer(ChangeUser(name="ann", disabled=False), COMMAND)
    kept.people.answer(RevokeApiToken(id=made.id), COMMAND)
    assert isinstance(kept.who("wba-ann-viewer"), Unknown)


def test_somebody_who_is_no_admin_sees_makes_and_revokes_their_own_tokens_only(kept: Kept) -> None:
    kept.add("ann", "viewer")
    kept.add("bob", "viewer")
    bobs = kept.token("bob", "viewer")
    ann = Actor(name="ann", role="viewer", teams=None, via="session")
    assert ann.name == kept.token("ann", "viewer", actor=ann).owner
    listed = kept.people.answer(ListApiTokens(), ann)
    assert ["ann"] == [row.owner for row in listed.rows]  # type: ignore[union-attr]
    with pytest.raises(NotAllowedError):
        kept.token("bob", "viewer", actor=ann)
    with pytest.raises(NotThereError):
        kept.people.answer(RevokeApiToken(id=bobs.id), ann)


def test_a_token_makes_no_token(kept: Kept) -> None:
    kept.add("ann", "admin")
    with pytest.raises(NotAllowedError, match="makes no other token"):
        kept.token("ann", "viewer", actor=Actor(name="ann", role="admin", teams=None, via="token 1"))


@given(st.none() | st.lists(st.sampled_from("abc")), st.none() | st.lists(st.sampled_from("abc")))
def test_what_two_bounds_leave_is_inside_both(one: list[str] | None, other: list[str] | None) -> None:
    left = within(None if one is None else tuple(one), None if other is None else tuple(other))
    for bound in (one, other):
        assert bound is None or (left is not None and set(left) <= set(bound))


# --- admins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [ChangeUser(name="ann", role="viewer"), ChangeUser(name="ann", disabled=True)])
def test_the_last_admin_cannot_be_taken_away_by_somebody_who_is_signed_in(kept: Kept, change: ChangeUser) -> None:
    kept.add("ann", "admin")
    with pytest.raises(ControlError, match="only admin left"):
        kept.people.answer(change, Actor(name="ann", role="admin", teams=None, via="session"))
    kept.people.answer(change, COMMAND)


def test_every_request_that_a_person_may_make_has_a_role(kept: Kept) -> None:
    assert set(ASKED) == set(NEEDED) | {RampAct}
    assert "approver" == needed(RampAct(action="approve", route="r"))
    assert "operator" == needed(RampAct(action="rollback", route="r"))


def test_a_key_of_another_team_is_not_there_and_a_change_for_all_takes_somebody_who_sees_all() -> None:
    actor = Actor(name="ann", role="admin", teams=("red",), via="session")
    keys = [StoredKey(name="theirs", team="blue", created_ns=1), StoredKey(name="mine", team="red", created_ns=1)]
    digest = "0" * 64
    permit(actor, RotateKey(name="mine", digest=digest, overlap_ns=0), keys)
    permit(actor, CreateKey(name="new", digest=digest, team="red"), keys)
    for name in ("theirs", "nobodys"):
        with pytest.raises(NotThereError):
            permit(actor, RotateKey(name=name, digest=digest, overlap_ns=0), keys)
    for asked in (CreateKey(name="new", digest=digest), Erase(user="u"), RampAct(action="rollback", route="r")):
        with pytest.raises(NotAllowedError):
            permit(actor, asked, keys)


# --- guessing ---------------------------------------------------------------------------------------------------------


def test_after_five_tries_a_name_waits_longer_each_time_and_never_longer_than_a_minute() -> None:
    clock = JumpingClock()
    throttle = Throttle(clock)
    assert [0.0] * FREE_TRIES == [throttle.count("ann", "::1") for _ in range(FREE_TRIES)]
    waits = []
    for _ in range(10):
        wait_s = throttle.count("ann", "::1")
        waits.append(wait_s)
        clock.advance(wait_s)
        assert 0.0 == throttle.count("ann", "::1")
    assert [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] == pytest.approx(waits)
    assert WAIT_S_MAX == max(waits)


def test_an_address_that_tries_many_names_waits_too() -> None:
    throttle = Throttle(JumpingClock())
    assert {0.0} == {throttle.count(f"n{number}", "10.0.0.9") for number in range(SOURCE_TRIES)}
    assert throttle.count("another", "10.0.0.9") > 0
    assert 0.0 == throttle.count("another", "10.0.0.10")


def test_tries_are_counted_when_they_begin(kept: Kept) -> None:
    kept.add("ann")
    answers = [kept.people.answer(TrySignIn(name="ann", source="::1"), COMMAND) for _ in range(20)]
    assert FREE_TRIES == sum(one.password is not None for one in answers)  # type: ignore[union-attr]


# --- the book ---------------------------------------------------------------------------------------------------------


def test_entries_name_the_one_before_and_are_signed(kept: Kept) -> None:
    for number in range(3):
        kept.book.write(by="ann", via="session", action="a", subject=str(number))
    rows = kept.database.people.entries(None, 10)
    assert [3, 2, 1] == [row.seq for row in rows]
    newest_first = kept.book.entries(None, 10)
    assert ["", *(sha256(row.body).hexdigest() for row in reversed(rows[1:]))] == [
        one.prev for one in reversed(newest_first)
    ]
    assert all(sha256(b"signed" + SIGNED_AS + row.body).digest() * 2 == row.signature for row in rows)


def found_wrong(kept: Kept) -> list[int]:
    rows = tuple(reversed(kept.database.people.entries(None, 100)))
    return [seq for seq, _ in problems(rows, lambda body, found: sha256(b"signed" + body).digest() * 2 == found)]


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (
            "UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), '\"ann\"', '\"bob\"') AS BLOB) WHERE seq = 2",
            {2, 3},
        ),
        ("UPDATE audit SET signature = zeroblob(64) WHERE seq = 3", {3}),
        ("DELETE FROM audit WHERE seq = 2", {3}),
        (
            "UPDATE audit SET (body, signature) = (SELECT body, signature FROM audit WHERE seq = 4) WHERE seq = 2",
            {2, 3},
        ),
    ],
)
def test_an_entry_that_was_edited_taken_out_or_exchanged_is_found(
    kept: Kept, tmp_path: Path, edit: str, where: set[int]
) -> None:
    for number in range(4):
        kept.book.write(by="ann", via="session", action="a", subject=str(number))
    assert [] == found_wrong(kept)
    database = apsw.Connection(str(tmp_path / "keeper.db"))
    database.execute(edit)
    database.close()
    assert where == set(found_wrong(kept))


def test_the_book_is_read_further_back_page_by_page(kept: Kept) -> None:
    for number in range(5):
        kept.book.write(by="ann", via="session", action="a", subject=str(number))
    found = kept.people.answer(ShowAudit(before_seq=4, rows_max=2), COMMAND)
    assert ["2", "1"] == [one.subject for one in found.rows]  # type: ignore[union-attr]


def test_each_role_opens_the_doors_of_those_before_it_but_a_labeller_stays_blind() -> None:
    for at, role in enumerate(ROLES):
        opened = {one for one in ROLES if covers(role, one)}
        assert ({"labeller"} if role == "labeller" else set(ROLES[: at + 1])) == opened


def test_a_token_whose_role_its_owner_lost_for_one_beside_it_opens_nothing(kept: Kept) -> None:
    kept.add("ann", "operator")
    kept.token("ann", "viewer")
    kept.people.answer(ChangeUser(name="ann", role="labeller"), COMMAND)
    assert isinstance(kept.who("wba-ann-viewer"), Unknown)
