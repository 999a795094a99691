"""Requests and tokens per minute of a client key: token buckets that all workers of a machine share.

A bucket is one number, the moment at which it is full again, in a file that every worker has mapped. It is changed
under a record lock that is held for a microsecond, and by the kernel let go with its process. A holder that was taken
off its processor in that microsecond is given the time to come back; only one that stays away for longer (a stopped
process) is passed over: then two may count one request once, never more than one for each such wait.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, Literal

from weighbridge.gateway.refusal import Refusal

MINUTE_NS: Final = 60_000_000_000
DEBT_NS_MAX: Final = 5 * MINUTE_NS
"""The longest that answers larger than was asked for can close a bucket; what lies further off is of another boot."""
PATIENCE_NS: Final = 100_000_000
"""How long a holder may be off its processor before it is passed over: a busy machine takes some milliseconds."""

PLACES: Final = 1 << 15
NAME_BYTES: Final = 16
PLACE_BYTES: Final = 32
_MOMENT = Struct("<q")

What = Literal["requests", "tokens"]


class SharedMoments:
    """Places for two moments per key name in a file (sparse, a megabyte), or in memory where `path` is `None`.

    Raises `OSError` where the file cannot be made.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = -1
        size = PLACES * PLACE_BYTES
        if path is None:
            self.view = mmap.mmap(-1, size)
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, size)
            self.view = mmap.mmap(self._file, size)
        self.collisions = 0

    def place(self, name: str) -> int | None:
        """Where the two moments of a key lie, the same for every worker; `None` where 32,768 keys had one before."""
        digest = blake2b(name.encode(), digest_size=NAME_BYTES).digest()
        first = int.from_bytes(digest[:4], "little")
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, PLACES * PLACE_BYTES)  # held for the few lines below
        try:
            for offset in range(PLACES):
                at = (first + offset) % PLACES * PLACE_BYTES
                known = self.view[at : at + NAME_BYTES]
                if known == digest:
                    return at + NAME_BYTES
                if not any(known):
                    self.view[at : at + NAME_BYTES] = digest
                    return at + NAME_BYTES
            return None
        finally:
            if self._file >= 0:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, PLACES * PLACE_BYTES)

    def lock(self, at: int) -> bool:
        if self._file < 0:
            return True
        give_up_ns = 0
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, _MOMENT.size, at)
            except OSError:
                now_ns = time.monotonic_ns()
                if not give_up_ns:
                    give_up_ns = now_ns + PATIENCE_NS
                if now_ns > give_up_ns:
                    self.collisions += 1
                    return False
                os.sched_yield()
            else:
                return True

    def unlock(self, at: int) -> None:
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _MOMENT.size, at)

    def close(self) -> None:
        self.view.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Bucket:
    """Holds one minute's worth, refilled evenly: over a long time exactly the rate, in one minute at most twice it."""

    __slots__ = ("_at", "_moments", "limit")

    def __init__(self, moments: SharedMoments, at: int, limit: int) -> None:
        self._moments, self._at, self.limit = moments, at, limit

    def take(self, amount: int, now_ns: int) -> int:
        """0 where so much was taken, else the nanoseconds until it could be. More than the whole bucket never can:
        then it is the time until the bucket is full.
        """
        moments, at = self._moments, self._at
        locked = moments.lock(at)
        try:
            full_at = self._full_at(now_ns)
            after = full_at + amount * MINUTE_NS // self.limit
            if after - now_ns <= MINUTE_NS:
                _MOMENT.pack_into(moments.view, at, after)
                return 0
            return max(1, min(after - now_ns - MINUTE_NS, full_at - now_ns if amount > self.limit else DEBT_NS_MAX))
        finally:
            if locked:
                moments.unlock(at)

    def settle(self, more: int, now_ns: int) -> None:
        """It was more (or, below 0, less) than was taken. May leave a debt, of five minutes at most."""
        moments, at = self._moments, self._at
        locked = moments.lock(at)
        try:
            after = self._full_at(now_ns) + more * MINUTE_NS // self.limit
            _MOMENT.pack_into(moments.view, at, min(max(after, now_ns), now_ns + DEBT_NS_MAX))
        finally:
            if locked:
                moments.unlock(at)

    def left(self, now_ns: int) -> int:
        return max(0, (now_ns + MINUTE_NS - self._full_at(now_ns)) * self.limit // MINUTE_NS)

    def full_in_ns(self, now_ns: int) -> int:
        return self._full_at(now_ns) - now_ns

    def _full_at(self, now_ns: int) -> int:
        stored: int = _MOMENT.unpack_from(self._moments.view, self._at)[0]
        return stored if now_ns < stored <= now_ns + DEBT_NS_MAX else now_ns


class Rate:
    """The limits of one key."""

    __slots__ = ("name", "requests", "tokens")

    def __init__(self, name: str, requests: Bucket | None, tokens: Bucket | None) -> None:
        self.name, self.requests, self.tokens = name, requests, tokens

    def take(self, tokens: int, now_ns: int) -> Refusal | None:
        """One request that may use so many tokens. What is refused takes nothing."""
        requests = self.requests
        if requests is not None:
            wait_ns = requests.take(1, now_ns)
            if wait_ns:
                return self._refusal("requests", requests, 1, wait_ns, now_ns)
        if self.tokens is not None:
            wait_ns = self.tokens.take(tokens, now_ns)
            if wait_ns:
                if requests is not None:
                    requests.settle(-1, now_ns)
                return self._refusal("tokens", self.tokens, tokens, wait_ns, now_ns)
        return None

    def settle(self, taken: int, used: int | None, now_ns: int) -> None:
        """The request is over; `used` is what the provider counted, `None` where it did not say."""
        if self.tokens is not None and used is not None:
            self.tokens.settle(used - taken, now_ns)

    def _refusal(self, what: What, bucket: Bucket, amount: int, wait_ns: int, now_ns: int) -> Refusal:
        message = f"the key {self.name!r} may use {bucket.limit} {what} per minute, and has {bucket.left(now_ns)} left"
        if what == "tokens":
            message += f"; this request may use {amount} (a quarter of its bytes and the longest answer)"
            if amount > bucket.limit:
                message += ", which is over the limit of a whole minute: lower max_tokens or send less"
        headers: Sequence[tuple[str, str]] = (
            (f"x-ratelimit-limit-{what}", str(bucket.limit)),
            (f"x-ratelimit-remaining-{what}", str(bucket.left(now_ns))),
            (f"x-ratelimit-reset-{what}", f"{bucket.full_in_ns(now_ns) / 1e9:.3f}s"),
        )
        return Refusal(
            status=429,
            code="rate_limit_exceeded",
            message=message,
            retry_after_s=-(-wait_ns // 1_000_000_000),
            headers=tuple((name.encode(), value.encode()) for name, value in headers),
        )


class RateBook:
    """The limits of all keys, over table after table: a bucket goes on where it was."""

    def __init__(self, moments: SharedMoments) -> None:
        self.moments = moments

    def rate(self, name: str, requests: int | None, tokens: int | None) -> Rate | None:
        """`None` where the key has no limit, or no place is left for it."""
        if requests is None and tokens is None:
            return None
        at = self.moments.place(name)
        if at is None:
            return None
        return Rate(
            name,
            None if requests is None else Bucket(self.moments, at, requests),
            None if tokens is None else Bucket(self.moments, at + _MOMENT.size, tokens),
        )
