"""Who is signed in. Tokens are 256 random bits, so a fast digest of them is enough; nothing is kept on disk."""

import secrets
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from time import monotonic

import msgspec

from weighbridge.records.people import Role, covers
from weighbridge.store.control import Asked

SESSION_S_MAX = 12 * 3600.0
SESSIONS_MAX = 1_000
FAILURES_MAX = 20
FAILURES_S = 60.0


class Person(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    roles: frozenset[Role]
    teams: tuple[str, ...] | None = None
    """Whose exchanges and spending they see; `None`: everybody's."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    person: Person
    form_token: str
    """What a request that changes something must bring along (`x-form-token`, or the form's field)."""
    until_s: float

    @property
    def name(self) -> str:
        return self.person.name

    @property
    def teams(self) -> tuple[str, ...] | None:
        return self.person.teams

    def may(self, role: Role) -> bool:
        return any(covers(one, role) for one in self.person.roles)

    @property
    def is_known_to_the_keeper(self) -> bool:
        return False

    def asks(self, request: Asked) -> Asked:
        return request


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=32).digest()


class Sessions:
    """Sessions of people who have a token. A token is shown once, to whoever starts the process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._people: dict[bytes, Person] = {}
        self._open: dict[bytes, Session] = {}
        self._failures: list[float] = []

    def invite(self, person: Person) -> str:
        """A token for a person."""
        token = secrets.token_urlsafe(32)
        self._people[_digest(token)] = person
        return token

    @property
    def patient(self) -> bool:
        """May anybody try a token now? After 20 wrong ones within a minute nobody may, for the rest of it."""
        now = self._clock()
        self._failures = [at for at in self._failures if now - at < FAILURES_S]
        return len(self._failures) < FAILURES_MAX

    def sign_in(self, token: str) -> str | None:
        """The id of a new session; `None` for a wrong token."""
        given = _digest(token.strip())
        person = next((one for digest, one in self._people.items() if compare_digest(digest, given)), None)
        now = self._clock()
        if person is None:
            self._failures.append(now)
            return None
        self._open = {key: one for key, one in self._open.items() if one.until_s > now}
        if len(self._open) >= SESSIONS_MAX:
            self._open.pop(next(iter(self._open)))
        session = secrets.token_urlsafe(32)
        self._open[_digest(session)] = Session(
            person=person, form_token=secrets.token_urlsafe(16), until_s=now + SESSION_S_MAX
        )
        return session

    def of(self, session: str | None) -> Session | None:
        found = None if session is None else self._open.get(_digest(session))
        return found if found is not None and found.until_s > self._clock() else None

    def sign_out(self, session: str | None) -> None:
        if session is not None:
            self._open.pop(_digest(session), None)
