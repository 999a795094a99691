"""Who may come in, as whom, and what is written down of it. The one place that decides about people.

add -> (link | password) -> sign in -> session -> idle, expired, ended, or ended everywhere
token -> expired or revoked, or its owner disabled
"""

import hmac
from collections.abc import Callable
from hashlib import blake2b

import msgspec

from weighbridge.clock import Clock
from weighbridge.config.tree import AdminSection
from weighbridge.errors import ControlError, NotAllowedError, NotThereError
from weighbridge.keeper.audit import AuditBook
from weighbridge.keeper.throttle import Throttle
from weighbridge.records.people import ROLES, Role, TokenRow, UserRow, covers
from weighbridge.store.control import Done
from weighbridge.store.people import PeopleTable, StoredPerson, StoredSession, StoredToken
from weighbridge.store.people_calls import (
    AddUser,
    AuditList,
    ChangeUser,
    CreateApiToken,
    EndSession,
    Known,
    ListApiTokens,
    ListUsers,
    OpenOutside,
    OpenSession,
    PeopleAnswer,
    PeopleRequest,
    RevokeApiToken,
    ShowAudit,
    SignInTry,
    TokenList,
    TrySignIn,
    Unknown,
    UseLink,
    UserList,
    WhoIs,
)

NAME_CHARS_MAX = 64
LINK_S = 24 * 3600
SEEN_EVERY_NS = 30_000_000_000
"""A session's last request is written down this often, not each time."""
SECRET_CHARS_MIN = 32
SECOND_NS = 1_000_000_000
AUDIT_ROWS_MAX = 1_000
COMMAND_PREFIX = "login:"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for something, as it is written down."""

    name: str
    role: Role
    teams: tuple[str, ...] | None
    via: str

    @property
    def is_command(self) -> bool:
        """Whoever has the store's socket: they own its files, so no role could hold them back."""
        return self.via == "command"


def secret_digest(secret: str) -> str:
    """BLAKE2b-256, 64 hex digits. Raises `ControlError` for one that is too short to be a random one."""
    if len(secret) < SECRET_CHARS_MIN:
        raise ControlError(f"a session id, token or link has at least {SECRET_CHARS_MIN} random characters")
    return blake2b(secret.encode("utf-8", "replace"), digest_size=32).hexdigest()


def within(teams: tuple[str, ...] | None, bound: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The teams that both see."""
    if teams is None or bound is None:
        return bound if teams is None else teams
    return tuple(one for one in teams if one in bound)


def lesser(one: Role, other: Role) -> Role | None:
    """The role that both may; `None` where there is none."""
    return one if covers(other, one) else other if covers(one, other) else None


class People:
    """Not thread-safe: the keeper's event loop calls it."""

    def __init__(
        self,
        table: PeopleTable,
        book: AuditBook,
        clock: Clock,
        settings: Callable[[], AdminSection],
        teams: Callable[[], tuple[str, ...]],
    ) -> None:
        """teams: those of the configuration in force."""
        self._table, self._book, self._clock, self._settings, self._known_teams = table, book, clock, settings, teams
        self._tries = Throttle(clock)

    # --- who it is ----------------------------------------------------------------------------------------------------

    def actor(self, credential: str) -> Actor | None:
        """Whose session or token this is, now."""
        if len(credential) < SECRET_CHARS_MIN:
            return None
        digest, now_ns = secret_digest(credential), self._clock.wall_ns()
        token = self._table.token(digest)
        if token is not None:
            owner = self._person(token.owner)
            over = token.revoked_ns is not None or (token.expires_ns is not None and token.expires_ns <= now_ns)
            if over or owner is None or owner.disabled_ns is not None:
                return None
            role, teams = lesser(token.role, owner.role), within(token.teams, owner.teams)
            if role is None:
                return None
            return Actor(name=owner.name, role=role, teams=teams, via=f"token {token.id}")
        session = self._table.session(digest)
        if session is None:
            return None
        opened_after_ns, seen_after_ns = self._ends(now_ns)
        person = self._person(session.name)
        over = session.opened_ns <= opened_after_ns or session.seen_ns <= seen_after_ns
        if over or person is None or person.disabled_ns is not None:
            return None
        if now_ns - session.seen_ns > SEEN_EVERY_NS:
            self._table.seen(digest, now_ns)
        return Actor(name=person.name, role=person.role, teams=person.teams, via="session")

    def _ends(self, now_ns: int) -> tuple[int, int]:
        """A session opened, or last seen, at or before these moments is over."""
        settings = self._settings()
        return now_ns - settings.session_hours * 3600 * SECOND_NS, now_ns - settings.idle_minutes * 60 * SECOND_NS

    def _person(self, name: str) -> StoredPerson | None:
        return next((one for one in self._table.people() if one.name == name), None)

    def _known(self, name: str) -> StoredPerson:
        found = self._person(name)
        if found is None:
            names = ", ".join(one.name for one in self._table.people()) or "none"
            raise NotThereError(f"there is no user {name[:NAME_CHARS_MAX]!r}; there are: {names}")
        return found

    # --- calls --------------------------------------------------------------------------------------------------------

    def answer(self, request: PeopleRequest, actor: Actor) -> PeopleAnswer | Done:
        """Raises `ControlError`; nothing is changed then."""
        match request:
            case AddUser() | ChangeUser():
                return self._row(self._changed(request, actor))
            case ListUsers():
                return UserList(rows=tuple(self._row(one) for one in self._table.people()))
            case CreateApiToken() | RevokeApiToken():
                return _token_row(self._token_changed(request, actor))
            case ListApiTokens():
                mine = [one for one in self._table.tokens() if _looks_after(actor, one.owner)]
                return TokenList(rows=tuple(_token_row(one) for one in mine))
            case ShowAudit():
                rows = self._book.entries(request.before_seq, max(1, min(request.rows_max, AUDIT_ROWS_MAX)))
                return AuditList(rows=rows)
            case WhoIs():
                found = self.actor(request.credential)
                if found is None:
                    return Unknown()
                return Known(name=found.name, role=found.role, teams=found.teams, via=found.via)
            case EndSession():
                return self._ended(request)
            case _:
                return self._come_in(request)

    def _ended(self, request: EndSession) -> Done:
        if len(request.session) >= SECRET_CHARS_MIN:
            digest = secret_digest(request.session)
            found = self._table.session(digest)
            if found is not None and request.everywhere:
                self._table.end_sessions_of(found.name)
            self._table.end_session(digest)
        return Done()

    # --- coming in ----------------------------------------------------------------------------------------------------

    def _come_in(self, request: TrySignIn | OpenSession | UseLink | OpenOutside) -> PeopleAnswer:
        match request:
            case TrySignIn():
                return self._try(request)
            case OpenSession():
                person = self._person(request.name)
                same = person is not None and hmac.compare_digest(person.password or "", request.checked)
                if person is None or not same or person.disabled_ns is not None:
                    return Unknown()
                self._tries.clear(request.name, request.source)
                return self._opened(person, request.session)
            case UseLink():
                return self._by_link(request)
            case OpenOutside():
                return self._from_outside(request)

    def _try(self, request: TrySignIn) -> SignInTry:
        wait_s = self._tries.count(request.name, request.source)
        if wait_s > 0:
            return SignInTry(password=None, wait_s=wait_s)
        person = self._person(request.name)
        usable = person is not None and person.disabled_ns is None
        return SignInTry(password=person.password if usable and person is not None else None, wait_s=0.0)

    def _by_link(self, request: UseLink) -> PeopleAnswer:
        digest, now_ns = secret_digest(request.link), self._clock.wall_ns()
        person = next((one for one in self._table.people() if one.link == digest), None)
        if person is None or person.disabled_ns is not None or (person.link_until_ns or 0) <= now_ns:
            return Unknown()
        _refuse_unhashed(request.password)
        with self._table.together():
            after = msgspec.structs.replace(person, password=request.password, link=None, link_until_ns=None)
            self._table.put(after)
            self._table.end_sessions_of(person.name)
            self._note(person, "use link", "sets a password")
            return self._opened(after, request.session)

    def _from_outside(self, request: OpenOutside) -> PeopleAnswer:
        subject, now_ns = f"{request.issuer} {request.subject}", self._clock.wall_ns()
        known = next((one for one in self._table.people() if one.subject == subject), None)
        if known is None:
            _refuse_name(request.name)
            if self._person(request.name) is not None:
                raise ControlError(
                    f"{request.name!r} is another user already, so the one that the provider calls so is not let in; "
                    "an admin gives one of them another name"
                )
            known = StoredPerson(
                name=request.name, role=request.role, teams=request.teams, source="oidc", subject=subject,
                password=None, link=None, link_until_ns=None, created_ns=now_ns, disabled_ns=None,
            )  # fmt: skip
        if known.disabled_ns is not None:
            return Unknown()
        with self._table.together():
            known = msgspec.structs.replace(known, role=request.role, teams=request.teams)
            self._table.put(known)
            return self._opened(known, request.session)

    def _opened(self, person: StoredPerson, session: str) -> Known:
        now_ns = self._clock.wall_ns()
        opened = StoredSession(digest=secret_digest(session), name=person.name, opened_ns=now_ns, seen_ns=now_ns)
        with self._table.together():
            self._table.open_session(opened, *self._ends(now_ns))
            self._note(person, "sign in", f"{person.role}, {_of_teams(person.teams)}")
        return Known(name=person.name, role=person.role, teams=person.teams, via="session")

    def _note(self, person: StoredPerson, action: str, after: str) -> None:
        actor = Actor(name=person.name, role=person.role, teams=person.teams, via="sign-in")
        self._book.write(by=actor.name, via=actor.via, action=action, subject=person.name, after=after)

    # --- users and tokens ---------------------------------------------------------------------------------------------

    def _changed(self, request: AddUser | ChangeUser, actor: Actor) -> StoredPerson:
        now_ns = self._clock.wall_ns()
        self._refuse_teams(() if request.teams is msgspec.UNSET or request.teams is None else request.teams)
        if request.password is not None:
            _refuse_unhashed(request.password)
        link = None if request.link is None else secret_digest(request.link)
        until_ns = None if link is None else now_ns + LINK_S * SECOND_NS
        if isinstance(request, AddUser):
            _refuse_name(request.name)
            if self._person(request.name) is not None:
                raise ControlError(f"there is a user {request.name!r} already; `weighbridge user list` shows them")
            if request.password is None and link is None:
                raise ControlError("a user without a password or a link could never sign in")
            made = StoredPerson(
                name=request.name, role=request.role, teams=request.teams, source="local", subject=None,
                password=request.password, link=link, link_until_ns=until_ns, created_ns=now_ns, disabled_ns=None,
            )  # fmt: skip
            self._table.put(made)
            return made
        known = self._known(request.name)
        if known.source == "oidc" and (request.password is not None or link is not None):
            raise ControlError(f"{known.name} signs in at an OpenID provider and has no password here")
        after = msgspec.structs.replace(
            known,
            role=request.role or known.role,
            teams=known.teams if request.teams is msgspec.UNSET else request.teams,
            password=request.password or known.password,
            link=link or known.link,
            link_until_ns=until_ns or known.link_until_ns,
            disabled_ns=known.disabled_ns if request.disabled is None else now_ns if request.disabled else None,
        )
        if not actor.is_command and _is_admin(known) and not _is_admin(after):
            self._refuse_last_admin(known)
        with self._table.together():
            self._table.put(after)
            if msgspec.structs.replace(after, link=known.link, link_until_ns=known.link_until_ns) != known:
                self._table.end_sessions_of(after.name)
        return after

    def _refuse_last_admin(self, known: StoredPerson) -> None:
        if not any(_is_admin(one) for one in self._table.people() if one.name != known.name):
            raise ControlError(f"{known.name} is the only admin left; make another one first")

    def _refuse_teams(self, teams: tuple[str, ...]) -> None:
        has = self._known_teams()
        for team in teams:
            if team not in has:
                raise ControlError(f"the configuration has no team {team!r}; it has: {', '.join(has) or 'none'}")

    def _token_changed(self, request: CreateApiToken | RevokeApiToken, actor: Actor) -> StoredToken:
        now_ns = self._clock.wall_ns()
        if isinstance(request, RevokeApiToken):
            found = next((one for one in self._table.tokens() if one.id == request.id), None)
            if found is None or not _looks_after(actor, found.owner):
                raise NotThereError(
                    f"there is no token {request.id[:NAME_CHARS_MAX]!r}; list them to see which there are"
                )
            if found.revoked_ns is None:
                found = msgspec.structs.replace(found, revoked_ns=now_ns)
                self._table.put_token(found)
            return found
        if not _looks_after(actor, request.owner):
            raise NotAllowedError("a token in somebody else's name is made by an admin who sees every team's things")
        if actor.via.startswith("token "):
            raise NotAllowedError("a token makes no other token; sign in, or use `weighbridge token create`")
        owner = self._known(request.owner)
        if not covers(owner.role, request.role):
            raise ControlError(f"{owner.name} is {owner.role}, so a token of theirs cannot be {request.role}")
        self._refuse_teams(request.teams or ())
        outside = [one for one in request.teams or () if owner.teams is not None and one not in owner.teams]
        if outside:
            raise ControlError(f"{owner.name} does not see team {outside[0]!r}, so a token of theirs cannot")
        if request.expires_ns is not None and request.expires_ns <= now_ns:
            raise ControlError("the time when the token expires is over already; give a later one")
        if not request.label.isprintable() or not 1 <= len(request.label) <= NAME_CHARS_MAX:
            raise ControlError(f"a token's label has 1 to {NAME_CHARS_MAX} visible characters: what it is for")
        digest = secret_digest(request.token)
        if self._table.token(digest) is not None:
            raise ControlError("this token was given out before; each is used once")
        made = StoredToken(
            id=digest[:12], digest=digest, label=request.label, owner=owner.name, role=request.role,
            teams=owner.teams if request.teams is None else request.teams, created_ns=now_ns,
            expires_ns=request.expires_ns, revoked_ns=None,
        )  # fmt: skip
        self._table.put_token(made)
        return made

    # --- rows ---------------------------------------------------------------------------------------------------------

    def user(self, name: str) -> UserRow | None:
        found = self._person(name)
        return None if found is None else self._row(found)

    def token(self, id_: str) -> TokenRow | None:
        return next((_token_row(one) for one in self._table.tokens() if one.id == id_), None)

    def _row(self, one: StoredPerson) -> UserRow:
        now_ns = self._clock.wall_ns()
        open_link = one.link is not None and (one.link_until_ns or 0) > now_ns
        return UserRow(
            name=one.name, role=one.role, teams=one.teams, source=one.source, has_password=one.password is not None,
            link_until_ns=one.link_until_ns if open_link else None, created_ns=one.created_ns,
            disabled_ns=one.disabled_ns, sessions=self._table.sessions_of(one.name, *self._ends(now_ns)),
        )  # fmt: skip


def _token_row(one: StoredToken) -> TokenRow:
    return TokenRow(
        id=one.id, label=one.label, owner=one.owner, role=one.role, teams=one.teams, created_ns=one.created_ns,
        expires_ns=one.expires_ns, revoked_ns=one.revoked_ns,
    )  # fmt: skip


def _looks_after(actor: Actor, owner: str) -> bool:
    """Tokens are their owner's; an admin who is held to no team has everybody's in hand."""
    return actor.name == owner or (actor.role == "admin" and actor.teams is None)


def _is_admin(one: StoredPerson) -> bool:
    return one.role == ROLES[-1] and one.disabled_ns is None


def _of_teams(teams: tuple[str, ...] | None) -> str:
    return "every team" if teams is None else f"teams {', '.join(teams) or 'none'}"


def _refuse_name(name: str) -> None:
    readable = name.isprintable() and not any(char in name for char in " /\\\"'<>&")
    if not name.strip(".") or len(name) > NAME_CHARS_MAX or not readable or name.startswith(COMMAND_PREFIX):
        raise ControlError(
            f"{name[:NAME_CHARS_MAX]!r} is not a name for a user; allowed are 1 to {NAME_CHARS_MAX} visible characters "
            f"but spaces, / \\ ' \" < > &, and not {COMMAND_PREFIX!r} in front"
        )


def _refuse_unhashed(password: str) -> None:
    if not password.startswith("$argon2id$"):
        raise ControlError("a password reaches the keeper as an argon2id hash only")
