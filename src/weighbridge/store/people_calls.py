"""Calls of the control socket about people: who they are, how they come in, and what was written down.

Secrets (session ids, tokens, links) reach the keeper as they are and are kept as digests, so that nobody can speak for
a person with what the database holds. Passwords never do: whoever asks for one hashes it.
"""

import msgspec

from weighbridge.records.people import AuditEntry, Role, TokenRow, UserRow
from weighbridge.store.lines import Message


class UserList(Message, frozen=True, kw_only=True, tag="users"):
    rows: tuple[UserRow, ...]


class TokenList(Message, frozen=True, kw_only=True, tag="api_tokens"):
    rows: tuple[TokenRow, ...]


class Known(Message, frozen=True, kw_only=True, tag="known"):
    """Who a credential belongs to."""

    name: str
    role: Role
    teams: tuple[str, ...] | None
    via: str
    """`session`, or `token ID`."""


class Unknown(Message, frozen=True, kw_only=True, tag="unknown"):
    """Nobody's, or not any more."""


class SignInTry(Message, frozen=True, kw_only=True, tag="sign_in_try"):
    """Answer to `TrySignIn`."""

    password: str | None
    """The argon2 hash to hold the password against; `None` where there is none, and the try must fail."""
    wait_s: float
    """Above 0: too many tries failed; nothing was looked up, and the next one is heard in so many seconds."""


class AuditList(Message, frozen=True, kw_only=True, tag="audit"):
    """Newest first."""

    rows: tuple[AuditEntry, ...]


class AddUser(Message, frozen=True, kw_only=True, tag="add_user"):
    """Answer: `UserRow`."""

    name: str
    role: Role
    teams: tuple[str, ...] | None = None
    password: str | None = None
    """An argon2 hash."""
    link: str | None = None
    """The secret of a one-time link."""


class ChangeUser(Message, frozen=True, kw_only=True, tag="change_user"):
    """What is left out stays. A new password, role or team, or being disabled, ends every session.
    Answer: `UserRow`.
    """

    name: str
    role: Role | None = None
    teams: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    password: str | None = None
    link: str | None = None
    disabled: bool | None = None


class ListUsers(Message, frozen=True, kw_only=True, tag="list_users"):
    """Answer: `UserList`."""


class TrySignIn(Message, frozen=True, kw_only=True, tag="try_sign_in"):
    """Counted as a failed try until `OpenSession` says otherwise, so that many at once are no way around the limit.
    Answer: `SignInTry`.
    """

    name: str
    source: str
    """The client's address."""


class OpenSession(Message, frozen=True, kw_only=True, tag="open_session"):
    """The password was right. Answer: `Known`."""

    name: str
    session: str
    source: str
    checked: str
    """The hash it was held against: a password that was changed meanwhile opens nothing."""


class UseLink(Message, frozen=True, kw_only=True, tag="use_link"):
    """A person sets their password by a one-time link, and is signed in. Answer: `Known`, or `Unknown`."""

    link: str
    password: str
    """An argon2 hash."""
    session: str


class OpenOutside(Message, frozen=True, kw_only=True, tag="open_outside"):
    """An OpenID provider said who it is; their role and teams are what it says now. Answer: `Known`."""

    issuer: str
    subject: str
    name: str
    role: Role
    teams: tuple[str, ...] | None
    session: str


class WhoIs(Message, frozen=True, kw_only=True, tag="who_is"):
    """Answer: `Known` or `Unknown`."""

    credential: str


class EndSession(Message, frozen=True, kw_only=True, tag="end_session"):
    """Answer: `Done`, also for one that is over."""

    session: str
    everywhere: bool = False
    """Every session of that person."""


class CreateApiToken(Message, frozen=True, kw_only=True, tag="create_api_token"):
    """Never more than its owner may. Answer: `TokenRow`."""

    owner: str
    label: str
    token: str
    """The secret."""
    role: Role
    teams: tuple[str, ...] | None = None
    expires_ns: int | None = None


class RevokeApiToken(Message, frozen=True, kw_only=True, tag="revoke_api_token"):
    """Answer: `TokenRow`."""

    id: str


class ListApiTokens(Message, frozen=True, kw_only=True, tag="list_api_tokens"):
    """Answer: `TokenList`; of a person who is no admin their own."""


class ShowAudit(Message, frozen=True, kw_only=True, tag="show_audit"):
    """Answer: `AuditList`."""

    before_seq: int | None = None
    rows_max: int = 100


PeopleChange = AddUser | ChangeUser | CreateApiToken | RevokeApiToken
PeopleRequest = (
    PeopleChange | ListUsers | ListApiTokens | ShowAudit | TrySignIn | OpenSession | UseLink | OpenOutside | WhoIs
    | EndSession
)  # fmt: skip
PeopleAnswer = UserRow | UserList | TokenRow | TokenList | Known | Unknown | SignInTry | AuditList
