"""The pages for one command: where `serve` has them, or served by this process on a store that nothing serves.

There is one way in, whichever process it is: users of the store, who sign in. Who starts a command may let somebody in,
with a link to choose a password by; it is the same user that `weighbridge user` shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_urlsafe

import msgspec

from weighbridge.app.addresses import reachable
from weighbridge.config import Loaded, parse_address
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.records.people import Role, UserRow, covers
from weighbridge.store.control import ControlClient, Ping, Pong
from weighbridge.store.people_calls import AddUser, ChangeUser, ListUsers, UserList


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in now."""

    name: str
    role: Role
    link: str | None
    """The secret of a one-time link to choose a password by; `None`: they have one, or an account elsewhere."""


def invited(control: ControlClient, name: str, role: Role) -> Invited:
    """Let a person in as `role`, made now where there is no such user. Raises `UsageError` where they may less."""
    known = next((row for row in control.call(ListUsers(), UserList).rows if row.name == name), None)
    if known is None:
        secret = token_urlsafe(32)
        made = control.call(AddUser(name=name, role=role, teams=None, link=secret), UserRow)
        return Invited(name=made.name, role=made.role, link=secret)
    if known.disabled_ns is not None:
        raise UsageError(f"{name} is disabled; `weighbridge user change {name} --enable` lets them in again")
    if not covers(known.role, role):
        raise UsageError(
            f"{name} is {known.role}, which is not enough for {role}; `weighbridge user change {name} --role {role}` "
            "changes it"
        )
    if known.has_password or known.source == "oidc":
        return Invited(name=known.name, role=known.role, link=None)
    secret = token_urlsafe(32)
    control.call(ChangeUser(name=name, link=secret), UserRow)
    return Invited(name=known.name, role=known.role, link=secret)


def can_sign_in(control: ControlClient, role: Role) -> tuple[str, ...]:
    """Names of the users who may what `role` may."""
    rows = control.call(ListUsers(), UserList).rows
    return tuple(row.name for row in rows if row.disabled_ns is None and covers(row.role, role))


class Pages:
    """Where the pages are. `wait()`: until Ctrl-C, where this process serves them."""

    def __init__(self, url: str) -> None:
        """Ends in `/`."""
        self.url, self.own = url, False

    def wait(self) -> None:
        """Not here: they are there as long as `serve` runs."""


@contextmanager
def pages_of(loaded: Loaded, control: ControlClient, listen: str) -> Iterator[Pages]:
    """listen: HOST:PORT for pages of one's own. Raises `WeighbridgeError` without the extra, or the address."""
    running = control.call(Ping(), Pong).admin
    if running is not None:
        url = loaded.config.admin.url or f"http://{reachable(running)}"
        yield Pages(f"{url.rstrip('/')}/")
        return
    with _own(loaded, listen) as pages:
        yield pages


@contextmanager
def _own(loaded: Loaded, listen: str) -> Iterator[Pages]:
    try:
        from weighbridge.admin.process import ends_in_order, listening, run  # here: the extra may be missing
        from weighbridge.admin.table import application
    except ModuleNotFoundError as error:
        raise WeighbridgeError(
            f"the pages need {error.name}, which is not installed; install the extra: pip install 'weighbridge[admin]'"
        ) from None
    host, port = parse_address("--listen", "address", listen)
    with ends_in_order(), listening(host, port) as sock:
        app = application(loaded, sock, own=True)

        class Own(Pages):
            def wait(self) -> None:
                run(app, sock)

        shown = f"[{host}]" if ":" in host else host
        pages = Own(f"http://{shown}:{sock.getsockname()[1]}/")
        pages.own = True
        yield pages
