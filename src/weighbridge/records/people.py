"""People who may look at or change something, what they may, and what is written down of it.

Each role may what the ones before it may, but for one: who labels sees pairs without names and nothing else, because
whoever has seen whose answers they are is not blind any more. Proposing and approving are kept apart not by roles but
by people: a ramp with four eyes counts no approval of whoever proposed it.
"""

from typing import Literal

import msgspec

Role = Literal["viewer", "labeller", "operator", "approver", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "labeller", "operator", "approver", "admin")

AUDIT_SCHEMA = "audit/1"


MAY: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "labeller": frozenset({"labeller"}),
    "operator": frozenset({"viewer", "labeller", "operator"}),
    "approver": frozenset({"viewer", "labeller", "operator", "approver"}),
    "admin": frozenset(ROLES),
}
"""Role -> the roles whose doors it opens."""


def covers(role: Role, needed: Role) -> bool:
    """May somebody with `role` do what takes `needed`?"""
    return needed in MAY[role]


def sees(teams: tuple[str, ...] | None, team: str | None) -> bool:
    """Is a thing of `team` visible to somebody of `teams`? `None` of a person: every team's; of a thing: nobody's.

    What belongs to no team is seen by those only who see every team's.
    """
    return teams is None or (team is not None and team in teams)


class UserRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="user"):
    """A person as they stand. No password and no link is in it."""

    name: str
    role: Role
    teams: tuple[str, ...] | None
    """Whose things they see; `None`: every team's."""
    source: Literal["local", "oidc"]
    has_password: bool
    link_until_ns: int | None
    """While a one-time link is open."""
    created_ns: int
    disabled_ns: int | None
    sessions: int
    """Open now."""


class TokenRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="api_token"):
    """An API token as it stands; its secret is shown once, where it is made, and kept as a digest."""

    id: str
    label: str
    owner: str
    role: Role
    teams: tuple[str, ...] | None
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, or one that was refused. Its bytes are signed, and name the entry before."""

    schema: str
    seq: int
    time_ns: int
    by: str
    """A person's name; `login:NAME` for whoever has the store's socket, which is a command on this machine."""
    via: str
    """`session`, `token ID`, `command` or `sign-in`."""
    action: str
    subject: str
    before: str | None
    """How the subject stood, in words or JSON; `None`: it was not there, or that does not apply."""
    after: str | None
    why: str
    refused: str | None
    """Why it was not done; `None`: it was."""
    prev: str
    """SHA-256 of the entry before, 64 hex digits; empty for the first."""
