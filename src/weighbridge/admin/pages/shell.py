"""The frame around a page, and what every handler is given."""

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from weighbridge.admin.pages import words
from weighbridge.admin.pages.charts import Unit
from weighbridge.admin.pages.scanview import OwnScans
from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.pages.trialviews import row_of
from weighbridge.admin.people import Person
from weighbridge.records.people import Role

if TYPE_CHECKING:
    from weighbridge.admin.pages.labelling import Labellings


NAVIGATION: tuple[tuple[str, str, Role], ...] = (
    ("/", "Overview", "viewer"), ("/share", "Open share", "viewer"), ("/routes", "Routes", "viewer"),
    ("/trials", "Trials", "viewer"),
    ("/budgets", "Budgets", "viewer"), ("/scan", "Scan", "viewer"), ("/licences", "Licences", "viewer"),
    ("/exchanges", "Exchanges", "viewer"), ("/labels", "Labels", "labeller"), ("/alerts", "Alerts", "viewer"),
    ("/audit", "Audit", "viewer"), ("/people", "People", "admin"),
)  # fmt: skip
"""Address, name, and the role whose page it is; nobody is led to a door that is shut for them."""
ABOUT_ALL = ("/audit", "/alerts", "/people")


class Dashboard:
    """What handlers share."""

    def __init__(
        self, sources: Sources, labellings: "Labellings", *, wall_ns: Callable[[], int] = time.time_ns,
        live_s: float = 2.0,
    ) -> None:  # fmt: skip
        self.sources, self.labellings, self.wall_ns, self.live_s = sources, labellings, wall_ns, live_s
        self.scans = OwnScans()


Handler = Callable[[Dashboard, Request, Person], Awaitable[Response]]


class PageDoor(msgspec.Struct, frozen=True, kw_only=True):
    """One page, or one thing that a page's form asks for."""

    method: Literal["GET", "POST"]
    path: str
    role: Role | None
    """What it takes; `None`: anybody who is signed in."""
    handler: Handler
    changes: bool = False
    page: bool = True
    """A whole page: who is not signed in is led to the sign-in instead of being refused."""


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.PackageLoader("weighbridge.admin"),
    )  # fmt: skip
    names = {name: getattr(words, name) for name in dir(words) if not name.startswith("_")}
    made.globals["w"] = SimpleNamespace(**names, day=_day, figure=_figure, dollars=_dollars, row_of=row_of)
    return made


def fragment(template: str, context: Mapping[str, object]) -> str:
    """A part of a page. Everything in it is escaped."""
    return _environment().get_template(template).render(context)


def page(
    request: Request, person: Person, template: str, title: str, context: Mapping[str, object], *,
    status: int = 200, said: str = "", problem: str = "",
) -> HTMLResponse:  # fmt: skip
    """A whole page. said: what was just done; problem: what could not be."""
    shown = [
        (path, name)
        for path, name, role in NAVIGATION
        if person.may(role) and (person.teams is None or not is_about_all(path))
    ]
    here = next((path for path, _ in reversed(shown) if _under(request.url.path, path)), "")
    whole = {
        "title": title, "person": person, "form_token": person.form_token, "navigation": shown, "here": here,
        "said": said, "problem": problem, **context,
    }  # fmt: skip
    return HTMLResponse(fragment(template, whole), status)


def _under(path: str, place: str) -> bool:
    return path == place or (place != "/" and path.startswith(place + "/"))


def is_about_all(path: str) -> bool:
    """A page that tells of every team's things at once, or of everybody's."""
    return any(_under(path, place) for place in ABOUT_ALL)


def nothing(request: Request, person: Person, what: str) -> HTMLResponse:
    """404: it is not there, or not theirs to see; nobody is told which."""
    return page(request, person, "message.html.j2", "Not found", {"message": f"There is no {what}."}, status=404)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _figure(value: float | None, unit: Unit) -> str:
    if value is None:
        return "none"
    if unit == "usd":
        return words.money(round(value * 1e9))
    if unit == "percent":
        return f"{value:.1f} %"
    return f"{value:+.1f}".replace("-", "\u2212") if unit == "points" else f"{value:,.0f}"


def _dollars(nanousd: int) -> str:
    """As an input takes it: no sign, no more decimals than there are."""
    return f"{(Decimal(nanousd) / 1_000_000_000).normalize():f}"
