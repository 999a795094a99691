"""Who asks, as the guard in front found out."""

import hmac
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

from weighbridge.records.people import Role, covers, sees
from weighbridge.store.control import As, Asked

TOKEN_PREFIX = "wba-"  # noqa: S105 (not a secret: it tells what kind of secret follows)


@dataclass(frozen=True)
class Person:
    name: str
    role: Role
    teams: tuple[str, ...] | None
    """Whose things they see; `None`: every team's."""
    via: str
    """`session`, or `token ID`."""
    credential: str = field(repr=False)
    """The secret that they came with; it goes to the keeper, never into a page or a log."""

    def may(self, role: Role) -> bool:
        return covers(self.role, role)

    def sees(self, team: str | None) -> bool:
        """May they see what belongs to this team? What belongs to none is seen by those who see every team's."""
        return sees(self.teams, team)

    def asks(self, request: Asked) -> As:
        """The call to the keeper in their name: it looks up itself who they are."""
        return As(credential=self.credential, request=request)

    @property
    def form_token(self) -> str:
        """What a form of this session must bring along. It says nothing about the session's secret."""
        return form_token(self.credential)


def form_token(session: str) -> str:
    return hmac.new(session.encode(), b"form token", sha256).hexdigest()


def new_session() -> str:
    return secrets.token_urlsafe(32)


def new_token() -> str:
    """An API token."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)
