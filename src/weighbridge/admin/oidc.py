"""Signing in at an OpenID provider: authorization code with PKCE, state and nonce; groups say role and teams.

Only what the provider signed is believed. What is open between leaving for it and coming back is kept here, bound to
the browser by a cookie: an answer that was begun elsewhere signs nobody in.
"""

import asyncio
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import httpx
import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from weighbridge.config.tree import OidcSection
from weighbridge.errors import WeighbridgeError
from weighbridge.records.people import ROLES, Role
from weighbridge.store.people_calls import OpenOutside
from weighbridge.upstream.guard import refused

OPEN_S_MAX = 600.0
OPEN_MAX = 10_000
"""Sign-ins under way; the oldest are forgotten first."""
ANSWER_S_MAX = 10.0
LEEWAY_S = 120
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones: with a shared secret whoever reads the configuration could sign."""
CALLBACK = "/sign-in/oidc/callback"


class OidcError(WeighbridgeError):
    """The provider, or the answer that came back from it, cannot be used."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of the provider's own description."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


@dataclass(frozen=True)
class _Begun:
    browser: str
    verifier: str
    nonce: str
    at_s: float


@dataclass(frozen=True)
class Leaving:
    url: str
    browser: str
    """For the cookie that binds the answer to this browser."""


def mapped(settings: OidcSection, groups: frozenset[str]) -> tuple[Role, tuple[str, ...] | None] | None:
    """Role and teams of somebody in these groups; `None`: no group of theirs is let in."""
    roles = [role for group, role in settings.roles.items() if group in groups]
    if not roles:
        return None
    highest = max(roles, key=ROLES.index)
    if not settings.teams or any(group in groups for group in settings.every_team):
        return highest, None
    return highest, tuple(sorted({team for group, team in settings.teams.items() if group in groups}))


class Oidc:
    """One provider. redirect: the site's own address of `CALLBACK`, as the provider knows it."""

    def __init__(
        self,
        settings: OidcSection,
        secret: str,
        redirect: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings, self._secret, self._redirect = settings, secret, redirect
        self._transport, self._clock = transport, clock
        self._open: dict[str, _Begun] = {}
        self._metadata: Metadata | None = None
        self._keys: KeySet | None = None

    async def leave(self) -> Leaving:
        """Where to send the browser. Raises `OidcError`."""
        metadata = await self._described()
        now_s = self._clock()
        self._open = {state: one for state, one in self._open.items() if now_s - one.at_s < OPEN_S_MAX}
        while len(self._open) >= OPEN_MAX:
            self._open.pop(next(iter(self._open)))
        state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        begun = _Begun(browser, secrets.token_urlsafe(48), secrets.token_urlsafe(32), now_s)
        self._open[state] = begun
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint, state=state, nonce=begun.nonce, code_verifier=begun.verifier
            )
        return Leaving(url=str(url), browser=browser)

    async def arrive(self, query: Mapping[str, str], browser: str | None, session: str) -> OpenOutside:
        """Who came back. Raises `OidcError`; a state is good for one answer only."""
        begun = self._open.pop(query.get("state", ""), None)
        fresh = begun is not None and self._clock() - begun.at_s < OPEN_S_MAX
        if begun is None or not fresh or not hmac.compare_digest(begun.browser.encode(), (browser or "").encode()):
            raise OidcError("this sign-in was not begun here, or too long ago; begin again")
        if "code" not in query:
            raise OidcError("the provider did not let you in")
        metadata = await self._described()
        try:
            async with self._client() as client:
                await self._permit(metadata.token_endpoint)
                token = await client.fetch_token(
                    metadata.token_endpoint, code=query["code"], code_verifier=begun.verifier,
                    grant_type="authorization_code",
                )  # fmt: skip
        except (OAuthError, httpx.HTTPError, ValueError) as error:
            raise OidcError(f"the provider gave no token for the code: {_first_line(error)}") from None
        raw = token.get("id_token") if isinstance(token, dict) else None
        if not isinstance(raw, str):
            raise OidcError("the provider's answer has no id_token; the scope openid asks for it")
        return self._person(await self._claims(raw, metadata, begun.nonce), session)

    def _person(self, claims: Mapping[str, object], session: str) -> OpenOutside:
        settings = self._settings
        groups = claims.get(settings.groups_claim, ())
        names = frozenset(one for one in groups if isinstance(one, str)) if isinstance(groups, list | tuple) else None
        found = None if names is None else mapped(settings, names)
        if found is None:
            raise OidcError("none of your groups is let in here; admin.oidc.roles says which are")
        name, subject = claims.get(settings.name_claim), claims.get("sub")
        if not isinstance(name, str) or not isinstance(subject, str):
            raise OidcError(f"the provider says no {settings.name_claim}, which is how people are named here")
        return OpenOutside(
            issuer=settings.issuer, subject=subject, name=name, role=found[0], teams=found[1], session=session
        )

    async def _claims(self, raw: str, metadata: Metadata, nonce: str) -> Mapping[str, object]:
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            try:
                token = jwt.decode(raw, key=await self._key_set(metadata), registry=registry)
            except InvalidKeyIdError:  # the provider has a new key
                self._keys = None
                token = jwt.decode(raw, key=await self._key_set(metadata), registry=registry)
            options = {"iss": {"essential": True, "value": metadata.issuer}, "aud": {"essential": True}}
            given = {"nonce": nonce, "client_id": self._settings.client_id}
            claims = CodeIDToken(token.claims, token.header, options, given)
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, ValueError, KeyError) as error:
            raise OidcError(f"the id_token is not one to believe: {_first_line(error)}") from None
        audience = claims.get("aud")
        if self._settings.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise OidcError("the id_token is not one to believe: it is for another client")
        return dict(claims)

    # --- the provider -------------------------------------------------------------------------------------------------

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._settings.client_id, client_secret=self._secret, redirect_uri=self._redirect,
            scope=" ".join(self._settings.scopes), code_challenge_method="S256", timeout=ANSWER_S_MAX,
            trust_env=False, follow_redirects=False, transport=self._transport,
        )  # fmt: skip

    async def _described(self) -> Metadata:
        if self._metadata is None:
            issuer = self._settings.issuer.rstrip("/")
            body = await self._get(f"{issuer}/.well-known/openid-configuration")
            try:
                found = msgspec.json.decode(body, type=Metadata)
            except msgspec.MsgspecError as error:
                raise OidcError(f"{issuer} does not describe an OpenID provider: {error}") from None
            if found.issuer != self._settings.issuer:
                raise OidcError(f"admin.oidc.issuer is {self._settings.issuer}, but it calls itself {found.issuer}")
            self._metadata = found
        return self._metadata

    async def _key_set(self, metadata: Metadata) -> KeySet:
        if self._keys is None:
            self._keys = KeySet.import_key_set(msgspec.json.decode(await self._get(metadata.jwks_uri)))
        return self._keys

    async def _get(self, url: str) -> bytes:
        await self._permit(url)
        try:
            async with httpx.AsyncClient(
                timeout=ANSWER_S_MAX, trust_env=False, follow_redirects=False, transport=self._transport
            ) as client:
                answer = await client.get(url, headers={"accept": "application/json"})
                answer.raise_for_status()
                return answer.content
        except httpx.HTTPError as error:
            raise OidcError(f"{url} cannot be read: {_first_line(error)}") from None

    async def _permit(self, url: str) -> None:
        """The issuer's own host is permitted by being written in the configuration, wherever it is. Other hosts that
        the provider's description names are called over TLS, and only where all their addresses are public.
        """
        asked, own = urlsplit(url), urlsplit(self._settings.issuer)
        if (asked.scheme, asked.netloc) == (own.scheme, own.netloc):
            return
        if asked.scheme != "https" or not asked.hostname:
            raise OidcError(f"the provider names {url}, which is not https; it is not called")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(asked.hostname, asked.port or 443)
        except OSError as error:
            raise OidcError(f"{asked.hostname}, which the provider names, cannot be looked up: {error}") from None
        for row in found:
            address = str(ipaddress.ip_address(str(row[4][0]).partition("%")[0]))
            why = refused(address)
            if why is not None:
                raise OidcError(f"{asked.hostname}, which the provider names, is {address}: {why}; it is not called")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
