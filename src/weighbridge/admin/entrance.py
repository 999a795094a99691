"""The open doors: signing in and out, one-time links, static files."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from weighbridge.admin.doors import COOKIE, OpenDoor
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.oidc import CALLBACK, OPEN_S_MAX, Oidc
from weighbridge.admin.passwords import Hashing
from weighbridge.admin.people import new_session
from weighbridge.admin.render import render, static_file
from weighbridge.config.tree import AdminSection
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.store.control import Done
from weighbridge.store.people_calls import EndSession, Known, OpenSession, SignInTry, TrySignIn, Unknown, UseLink

WRONG = "Name or password is wrong."
"""The same whether the name exists, has no password or is disabled."""
NO_PROVIDER = "No organisation's accounts are configured here."
FIELD_CHARS_MAX = 300
OIDC_COOKIE = "weighbridge_oidc"


class Entrance:
    def __init__(self, keeper: Keeper, settings: Callable[[], AdminSection], oidc: Callable[[], Oidc | None]) -> None:
        """settings, oidc: those in force now; oidc is a provider to sign in at, besides, where there is one."""
        self._keeper, self._settings, self._oidc, self._hashing = keeper, settings, oidc, Hashing()

    def doors(self) -> tuple[OpenDoor, ...]:
        return (
            OpenDoor(method="GET", path="/sign-in", handler=self._form),
            OpenDoor(method="POST", path="/sign-in", handler=self._sign_in),
            OpenDoor(method="POST", path="/sign-out", handler=self._sign_out),
            OpenDoor(method="GET", path="/welcome/{link}", handler=self._welcome),
            OpenDoor(method="POST", path="/welcome/{link}", handler=self._set_password),
            OpenDoor(method="GET", path="/sign-in/oidc", handler=self._leave),
            OpenDoor(method="GET", path=CALLBACK, handler=self._arrive),
            OpenDoor(method="GET", path="/static/{path:path}", handler=_file),
            OpenDoor(method="GET", path="/favicon.ico", handler=_no_icon),
        )

    async def _form(self, request: Request) -> Response:
        return self._page("")

    async def _sign_in(self, request: Request) -> Response:
        name, password = await _fields(request, "name", "password")
        source = "" if request.client is None else request.client.host
        try:
            tried = await self._keeper.call(TrySignIn(name=name, source=source), SignInTry)
            if tried.wait_s > 0:
                said = f"Too many tries; the next one is heard in {max(1, round(tried.wait_s))} seconds."
                answer = self._page(said, 429)
                answer.headers["retry-after"] = str(max(1, round(tried.wait_s)))
                return answer
            right = await self._hashing.right(password, tried.password)
            if not right or tried.password is None:
                return self._page(WRONG, 403)
            # A session id that came along is left alone: whoever signs in gets a new one, made here.
            session = new_session()
            opening = OpenSession(name=name, session=session, source=source, checked=tried.password)
            found = await self._keeper.call(opening, Known | Unknown)  # type: ignore[arg-type]
        except WeighbridgeError as error:
            return self._page(str(error), 503)
        if isinstance(found, Unknown):
            return self._page(WRONG, 403)
        await self._end(request)
        return self._into(session)

    def _page(self, said: str, status: int = 200) -> Response:
        return render("sign_in.html.j2", {"said": said, "oidc": self._oidc() is not None}, status)

    async def _leave(self, request: Request) -> Response:
        oidc = self._oidc()
        if oidc is None:
            return self._page(NO_PROVIDER, 404)
        try:
            leaving = await oidc.leave()
        except WeighbridgeError as error:
            return self._page(str(error), 503)
        answer = RedirectResponse(leaving.url, 303)
        # Lax: the provider sends the browser back from its own site.
        answer.set_cookie(
            OIDC_COOKIE, leaving.browser, max_age=int(OPEN_S_MAX), path="/sign-in/oidc", httponly=True, samesite="lax",
            secure=self._is_tls,
        )  # fmt: skip
        return answer

    async def _arrive(self, request: Request) -> Response:
        oidc = self._oidc()
        if oidc is None:
            return self._page(NO_PROVIDER, 404)
        session = new_session()
        try:
            asked = await oidc.arrive(request.query_params, request.cookies.get(OIDC_COOKIE), session)
            found = await self._keeper.call(asked, Known | Unknown)  # type: ignore[arg-type]
        except WeighbridgeError as error:
            return self._page(f"{str(error)[:1].upper()}{str(error)[1:]}.", 403)
        if isinstance(found, Unknown):
            return self._page("An admin has disabled you here.", 403)
        await self._end(request)
        # A page and no redirect: the session's cookie is strict, and this navigation began on the provider's site.
        answer = render("arrived.html.j2", {"name": found.name})
        self._give(answer, session)
        answer.delete_cookie(OIDC_COOKIE, path="/sign-in/oidc", httponly=True, samesite="lax")
        return answer

    @property
    def _is_tls(self) -> bool:
        url = self._settings().url
        return url is not None and url.lower().startswith("https:")

    async def _end(self, request: Request, *, everywhere: bool = False) -> None:
        session = request.cookies.get(COOKIE)
        if session:
            await self._keeper.call(EndSession(session=session, everywhere=everywhere), Done)

    def _into(self, session: str) -> Response:
        answer = RedirectResponse("/", 303)
        self._give(answer, session)
        return answer

    def _give(self, answer: Response, session: str) -> None:
        answer.set_cookie(
            COOKIE, session, max_age=self._settings().session_hours * 3600, httponly=True, samesite="strict",
            secure=self._is_tls,
        )  # fmt: skip

    async def _sign_out(self, request: Request) -> Response:
        """No form token: the origin was checked, and being signed out harms nobody."""
        (everywhere,) = await _fields(request, "everywhere")
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        try:
            await self._end(request, everywhere=bool(everywhere))
        except WeighbridgeError as error:
            return self._page(f"You may still be signed in: {error}", 503)
        return answer

    async def _welcome(self, request: Request) -> Response:
        return render("welcome.html.j2", {"said": ""})

    async def _set_password(self, request: Request) -> Response:
        password, again = await _fields(request, "password", "again")
        if password != again:
            return render("welcome.html.j2", {"said": "The two are not the same."}, 400)
        session = new_session()
        try:
            using = UseLink(
                link=request.path_params["link"], password=await self._hashing.hashed(password), session=session
            )
            found = await self._keeper.call(using, Known | Unknown)  # type: ignore[arg-type]
        except UsageError as error:
            return render("welcome.html.j2", {"said": f"{str(error)[0].upper()}{str(error)[1:]}."}, 400)
        except WeighbridgeError as error:
            return render("welcome.html.j2", {"said": str(error)}, 503)
        if isinstance(found, Unknown):
            said = "This link was used or is over. An admin makes another one."
            return render("welcome.html.j2", {"said": said}, 403)
        return self._into(session)


async def _fields(request: Request, *names: str) -> tuple[str, ...]:
    async with request.form(max_files=0, max_fields=8) as form:
        given = [form.get(name) for name in names]
    return tuple(one[:FIELD_CHARS_MAX] if isinstance(one, str) else "" for one in given)


async def _file(request: Request) -> Response:
    found = static_file(request.path_params["path"])
    return Response("There is no such file.", 404, media_type="text/plain") if found is None else found


async def _no_icon(request: Request) -> Response:
    return Response(status_code=204)
