"""What gateways share in PostgreSQL: who leads, and what a look and a write do."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fakes import postgres
from weighbridge.errors import StoreError
from weighbridge.store.client_keys import StoredKey, StoredSecret
from weighbridge.store.ramps import StoredRamp
from weighbridge.store.shared import Hold, SharedObject, SharedStore, State

STATE = State(
    number=7,
    table=b"a table",
    ramps=(
        StoredRamp(route="assistant", revision=3, digest="d" * 64, body=b"\x00state", table_from=5, held_s=12.5),
    ),
    keys=(StoredKey(name="one", created_ns=1, secrets=(StoredSecret(digest="e" * 64, created_ns=1),)),),
)  # fmt: skip
OBJECT = SharedObject(digest="f" * 64, kind="ramp", label="assistant/candidate", body=b"\x00\x01")

Open = Callable[[str], SharedStore]


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres.database(postgres_url)


@pytest.fixture
def open_store(url: str) -> Iterator[Open]:
    opened: list[SharedStore] = []

    def open_one(site: str) -> SharedStore:
        opened.append(SharedStore(url, site, f"host-{site}"))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_the_first_leads_until_its_session_ends_then_another_one_does(open_store: Open) -> None:
    a, b = open_store("a"), open_store("b")
    assert (True, False) == (a.look(0, (), 0).leads, b.look(0, (), 0).leads)
    assert a.look(0, (), 0).leads
    a.close()
    while not b.look(0, (), 0).leads:  # the server notices that a session is gone in its own time
        pass
    assert not a.look(0, (), 0).leads


def test_what_the_leader_wrote_is_what_others_see_once(open_store: Open) -> None:
    a, b = open_store("a"), open_store("b")
    a.look(0, (), 0)
    assert 1 == a.write(0, STATE, (OBJECT,))
    seen = b.look(0, (), 0)
    assert (1, 7, STATE, "host-a (site a)") == (seen.revision, seen.floor, seen.state, seen.leader)
    assert (OBJECT,) == b.objects(set())
    assert () == b.objects({OBJECT.digest})
    assert b.look(1, (), 0).state is None


def test_nobody_writes_who_does_not_lead_or_does_not_know_the_newest(open_store: Open) -> None:
    a, b = open_store("a"), open_store("b")
    a.look(0, (), 0)
    b.look(0, (), 0)
    with pytest.raises(StoreError, match="cannot be reached"):
        b.write(0, STATE, ())
    a.write(0, STATE, ())
    with pytest.raises(StoreError, match="another keeper published"):
        a.write(0, STATE, (OBJECT,))
    assert () == b.objects(set())  # both or neither


def test_a_leader_whose_session_was_ended_writes_nothing_any_more(open_store: Open, url: str) -> None:
    a, b = open_store("a"), open_store("b")
    a.look(0, (), 0)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    assert b.look(0, (), 0).leads
    with pytest.raises(StoreError):
        a.write(0, STATE, ())
    assert b.look(0, (), 0).state is None
    assert 0 == b.look(0, (), 0).revision


def test_numbers_only_go_up_and_holds_are_seen_by_others_until_they_end(open_store: Open) -> None:
    a, b = open_store("a"), open_store("b")
    b.look(0, ("assistant",), 57)
    seen = a.look(0, (), 12)
    assert (57, (Hold("b", "assistant", "host-b"),)) == (seen.floor, seen.holds)
    assert () == b.look(0, ("assistant",), 0).holds  # its own it knows
    b.look(0, (), 3)
    assert (57, ()) == ((seen := a.look(0, (), 0)).floor, seen.holds)
