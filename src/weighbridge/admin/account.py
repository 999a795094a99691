"""What everybody has: a page that says who they are, and a way out of every session."""

from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.doors import Door
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.people import Person
from weighbridge.admin.render import render
from weighbridge.store.people_calls import ListApiTokens, TokenList


def account_doors(keeper: Keeper) -> tuple[Door, ...]:
    async def shown(request: Request, person: Person) -> Response:
        tokens = await keeper.call_as(person, ListApiTokens(), TokenList)
        mine = [row for row in tokens.rows if row.owner == person.name and row.revoked_ns is None]
        return render("account.html.j2", {"person": person, "tokens": mine})

    return (Door(method="GET", path="/account", role=None, handler=shown),)
