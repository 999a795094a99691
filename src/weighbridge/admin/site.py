"""Sign-in and the pages behind it."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from html import escape
from importlib.resources import files

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from weighbridge.admin.guard import Guard
from weighbridge.admin.sessions import SESSION_S_MAX, Session, Sessions

COOKIE = "weighbridge_session"
Page = Callable[[Request, Session], Awaitable[Response]]
_STATIC = {"label.js": "text/javascript", "pages.css": "text/css"}


def static(name: str) -> str:
    return files("weighbridge.admin").joinpath("static", name).read_text("utf-8")


def page(title: str, body: str, *, session: Session | None = None, script: str | None = None) -> HTMLResponse:
    """A page around some HTML. What people or models wrote goes through `escape` before it gets here."""
    form = "" if session is None else f'<meta name="form-token" content="{escape(session.form)}">'
    code = "" if script is None else f'<script src="/static/{escape(script)}" defer></script>'
    out = (
        ""
        if session is None
        else f'<form method="post" action="/sign-out"><button>Sign out {escape(session.name)}</button></form>'
    )
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{form}'
        f'<link rel="stylesheet" href="/static/pages.css">{code}</head>'
        f"<body><header><h1>{escape(title)}</h1>{out}</header><main>{body}</main></body></html>"
    )


class Site:
    """Sessions and what they open. Rooms add their routes through `signed_in`."""

    def __init__(self, sessions: Sessions, first: str) -> None:
        self._sessions, self._first = sessions, first

    def signed_in(self, handler: Page, *, changes: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """A page for people who are signed in. changes: the request must bring the session's form token along."""

        async def guarded(request: Request) -> Response:
            session = self._sessions.of(request.cookies.get(COOKIE))
            if session is None:
                if request.method == "GET" and not request.url.path.startswith("/api/"):
                    return RedirectResponse("/sign-in", 303)
                return PlainTextResponse("Sign in first.", 401)
            if changes and request.headers.get("x-form-token") != session.form:
                return PlainTextResponse("The form token is not that of this session; load the page again.", 403)
            return await handler(request, session)

        return guarded

    def app(self, routes: Sequence[BaseRoute], hosts: Collection[str]) -> Starlette:
        own = [
            Route("/", self._home),
            Route("/sign-in", self._sign_in_page, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/static/{name}", self._file),
            Route("/favicon.ico", self._no_icon),
        ]
        return Starlette(routes=[*own, *routes], middleware=[Middleware(Guard, hosts=hosts)])

    async def _home(self, request: Request) -> Response:
        return RedirectResponse(self._first, 303)

    async def _sign_in_page(self, request: Request) -> Response:
        return _form("")

    async def _sign_in(self, request: Request) -> Response:
        if not self._sessions.patient:
            return _form("Too many wrong tokens; wait a minute.", 429)
        async with request.form(max_files=0, max_fields=4) as form:
            token = form.get("token")
        session = self._sessions.sign_in(token if isinstance(token, str) else "")
        if session is None:
            return _form("That is not a token of this process.", 403)
        answer = RedirectResponse(self._first, 303)
        answer.set_cookie(
            COOKIE, session, max_age=int(SESSION_S_MAX), httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def _sign_out(self, request: Request) -> Response:
        self._sessions.sign_out(request.cookies.get(COOKIE))
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _no_icon(self, request: Request) -> Response:
        return Response(status_code=204)

    async def _file(self, request: Request) -> Response:
        kind = _STATIC.get(request.path_params["name"])
        if kind is None:
            return PlainTextResponse("There is no such file.", 404)
        return Response(static(request.path_params["name"]), media_type=kind)


def _form(said: str, status: int = 200) -> Response:
    found = page(
        "Sign in",
        f'<form method="post" action="/sign-in" class="sign-in"><p role="alert">{escape(said)}</p>'
        '<label for="token">Token (printed where these pages were started)</label>'
        '<input id="token" name="token" type="password" autocomplete="off" autofocus required>'
        "<button>Sign in</button></form>",
    )
    found.status_code = status
    return found
