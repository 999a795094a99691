"""Sign-in, and one guard in front of every page of the table."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from hmac import compare_digest
from importlib.resources import files

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from weighbridge.admin.guard import Guard
from weighbridge.admin.pages.shell import Dashboard, PageDoor, fragment, page
from weighbridge.admin.sessions import SESSION_S_MAX, Session, Sessions
from weighbridge.errors import WeighbridgeError

COOKIE = "weighbridge_session"
_KINDS = {"js": "text/javascript", "css": "text/css", "txt": "text/plain"}
FORM_FIELDS_MAX = 64


class Site:
    """Sessions and what they open. first: where a person lands who has signed in."""

    def __init__(self, board: Dashboard, sessions: Sessions, first: str = "/") -> None:
        self._board, self._sessions, self._first = board, sessions, first
        self._static = _static_files()

    def app(self, doors: Sequence[PageDoor], hosts: Collection[str]) -> Starlette:
        own = [
            Route("/sign-in", self._sign_in_page, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/static/{name:path}", self._file),
            Route("/favicon.ico", self._no_icon),
        ]
        pages = [Route(door.path, self._guarded(door), methods=[door.method]) for door in doors]
        return Starlette(routes=[*own, *pages], middleware=[Middleware(Guard, hosts=hosts)])

    def _guarded(self, door: PageDoor) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            session = self._sessions.of(request.cookies.get(COOKIE))
            if session is None:
                if door.method == "GET" and door.page:
                    return RedirectResponse("/sign-in", 303)
                return PlainTextResponse("Sign in first.", 401)
            if not session.may(door.role):
                return self._refused(request, session, door)
            if door.changes and not await _brings_token(request, session):
                return PlainTextResponse("The form token is not that of this session; load the page again.", 403)
            try:
                return await door.handler(self._board, request, session)
            except WeighbridgeError as error:
                context = {"message": "This page cannot be shown now."}
                return page(request, session, "message.html.j2", "Not now", context, problem=str(error), status=503)

        return guarded

    def _refused(self, request: Request, session: Session, door: PageDoor) -> Response:
        if door.path == "/" and session.may("labeller"):
            return RedirectResponse("/labels", 303)
        message = f"This takes the role of {door.role}, which {session.name} does not have."
        return page(request, session, "message.html.j2", "Not allowed", {"message": message}, status=403)

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
        body = self._static.get(request.path_params["name"])
        if body is None:
            return PlainTextResponse("There is no such file.", 404)
        return Response(body, media_type=_KINDS[request.path_params["name"].rpartition(".")[2]])


def _static_files() -> dict[str, bytes]:
    """Every file that may be asked for, by its path: whatever else is asked for is not there."""
    root = files("weighbridge.admin").joinpath("static")
    found = {one.name: one.read_bytes() for one in root.iterdir() if one.is_file()}
    found |= {f"vendor/{one.name}": one.read_bytes() for one in root.joinpath("vendor").iterdir() if one.is_file()}
    return {name: body for name, body in found.items() if name.rpartition(".")[2] in _KINDS}


async def _brings_token(request: Request, session: Session) -> bool:
    given = request.headers.get("x-form-token")
    if given is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = await request.form(max_files=0, max_fields=FORM_FIELDS_MAX)
        field = form.get("form-token")
        given = field if isinstance(field, str) else None
    return given is not None and compare_digest(given.encode(), session.form_token.encode())


def _form(said: str, status: int = 200) -> Response:
    return HTMLResponse(fragment("signin.html.j2", {"said": said}), status)
