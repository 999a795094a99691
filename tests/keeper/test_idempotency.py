"""Who carries a request out, who waits, and what all of them are answered. On a turned clock, over a real database."""

import asyncio
from pathlib import Path

import pytest

from weighbridge.keeper.idempotency import KEPT_NS, OWNER_GONE_S, Claims, Vault
from weighbridge.store.control import Claim, Claimed, ClaimEnd, ClaimLost, ClaimMismatch, Replayed, SettleClaim
from weighbridge.store.database import Database

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\n\r\nCANARY-answer"
DAY_NS = 86_400 * 10**9


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall_ns, self.mono_s = 10**18, 0.0
        self.start()

    def start(self) -> None:
        """A keeper begins, over what the last one left."""
        self.database = Database(self.path)
        self.claims = Claims(
            self.database.idempotency, lambda: Vault(bytes(32)), lambda: self.wall_ns, lambda: self.mono_s
        )

    def restart(self) -> None:
        self.database.close()
        self.start()

    def settle(self, owner: str, end: ClaimEnd, answer: bytes = b"") -> None:
        self.claims.settle(SettleClaim(client_key="app", token="t", owner=owner, end=end, answer=answer))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "keeper.db")


def claim(owner: str, *, key: str = "app", body: str = "b") -> Claim:
    return Claim(client_key=key, token="t", body=body, owner=owner)


async def test_the_first_is_told_to_go_and_ninety_nine_get_its_answer(world: World) -> None:
    assert Claimed() == await world.claims.claim(claim("w-0"))
    others = [asyncio.create_task(world.claims.claim(claim(f"w-{number}"))) for number in range(1, 100)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in others)
    world.settle("w-0", "answered", ANSWER)
    assert [Replayed(answer=ANSWER)] * 99 == await asyncio.gather(*others)
    assert Replayed(answer=ANSWER) == await world.claims.claim(claim("w-100"))


async def test_the_same_key_with_another_body_is_told_so_at_once(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    assert ClaimMismatch() == await world.claims.claim(claim("w-1", body="c"))
    world.settle("w-0", "answered", ANSWER)
    assert ClaimMismatch() == await world.claims.claim(claim("w-1", body="c"))


async def test_two_client_keys_have_nothing_to_do_with_each_other(world: World) -> None:
    assert Claimed() == await world.claims.claim(claim("w-0"))
    assert Claimed() == await world.claims.claim(claim("w-1", key="other", body="c"))


async def test_where_nothing_was_billed_the_next_one_carries_it_out(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    second = asyncio.create_task(world.claims.claim(claim("w-1")))
    third = asyncio.create_task(world.claims.claim(claim("w-2")))
    await asyncio.sleep(0)
    world.settle("w-0", "released")
    done, waiting = await asyncio.wait([second, third], return_when=asyncio.FIRST_COMPLETED)
    assert [Claimed()] == [task.result() for task in done]
    owner = "w-1" if second in done else "w-2"
    await asyncio.sleep(0)
    world.settle(owner, "answered", ANSWER)
    assert [Replayed(answer=ANSWER)] == await asyncio.gather(*waiting)


async def test_what_may_be_billed_and_has_no_answer_is_never_carried_out_again(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    world.settle("w-0", "lost")
    world.restart()
    assert ClaimLost() == await world.claims.claim(claim("w-1"))


@pytest.mark.parametrize("hours", [1, 24])
async def test_an_answer_is_kept_for_a_day_over_restarts(world: World, hours: int) -> None:
    await world.claims.claim(claim("w-0"))
    world.settle("w-0", "answered", ANSWER)
    world.wall_ns += hours * 3600 * 10**9
    world.mono_s += hours * 3600
    world.restart()
    world.claims.tick([])
    assert Replayed(answer=ANSWER) == await world.claims.claim(claim("w-1"))


async def test_after_that_it_is_forgotten(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    world.settle("w-0", "answered", ANSWER)
    world.wall_ns += KEPT_NS
    world.mono_s = 100.0
    world.claims.tick([])
    assert Claimed() == await world.claims.claim(claim("w-1", body="c"))


async def test_what_a_worker_had_begun_that_does_not_come_back_is_lost_and_who_waits_is_told(world: World) -> None:
    await world.claims.claim(claim("dead-0"))
    waiting = asyncio.create_task(world.claims.claim(claim("alive-1")))
    await asyncio.sleep(0)
    world.claims.tick(["alive"])
    world.mono_s += OWNER_GONE_S - 0.1
    world.claims.tick(["alive"])
    await asyncio.sleep(0)
    assert not waiting.done()
    world.mono_s += 0.2
    world.claims.tick(["alive"])
    assert ClaimLost() == await waiting


async def test_a_worker_that_comes_back_in_time_still_has_its_claim(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    world.restart()
    world.claims.tick([])
    world.mono_s += 5.0
    world.claims.tick(["w"])
    world.mono_s += 100.0
    world.claims.tick(["w"])
    world.settle("w-0", "answered", ANSWER)
    assert Replayed(answer=ANSWER) == await world.claims.claim(claim("x-1"))


async def test_a_claim_that_is_asked_again_by_its_owner_is_the_same_claim(world: World) -> None:
    """The answer to the first asking was lost with the keeper."""
    await world.claims.claim(claim("w-0"))
    world.restart()
    assert Claimed() == await world.claims.claim(claim("w-0"))


async def test_nobody_but_the_owner_settles_and_an_answer_is_never_replaced(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    world.settle("thief", "answered", b"HTTP/1.1 200 OK\r\n\r\nforged")
    world.settle("w-0", "answered", ANSWER)
    world.settle("w-0", "lost")
    world.settle("w-0", "released")
    assert Replayed(answer=ANSWER) == await world.claims.claim(claim("w-1"))


async def test_an_answer_late_from_a_worker_that_was_given_up_is_taken(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    world.claims.tick([])
    world.mono_s += OWNER_GONE_S
    world.claims.tick([])
    world.settle("w-0", "answered", ANSWER)
    assert Replayed(answer=ANSWER) == await world.claims.claim(claim("w-1"))


async def test_answers_lie_encrypted_on_disk(world: World) -> None:
    await world.claims.claim(claim("w-0"))
    world.settle("w-0", "answered", ANSWER)
    world.database.close()
    assert b"CANARY" not in b"".join(path.read_bytes() for path in world.path.parent.iterdir())
    world.start()


async def test_an_answer_cannot_be_moved_to_another_key(world: World) -> None:
    vault = Vault(bytes(32))
    sealed = vault.seal(ANSWER, b"app\0t")
    assert ANSWER == vault.open(sealed, b"app\0t")
    with pytest.raises(Exception, match=r"^$"):  # InvalidTag has no words
        vault.open(sealed, b"other\0t")
