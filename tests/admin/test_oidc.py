"""Signing in at an OpenID provider that keeps the rules, and at one that breaks them."""

import asyncio
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from tests.admin.site import AdminSite, Answer, admin_site, cookie, secret_in
from tests.fakes.oidc import CLIENT, CLIENT_SECRET, FakeOidc, fake_oidc
from tests.keeper.processes import write_config
from weighbridge.admin.oidc import Oidc, OidcError, mapped
from weighbridge.config.tree import OidcSection

BROWSER = "weighbridge_oidc"
CONFIG = """
[admin.oidc]
issuer = "{issuer}"
client_id = "{client}"
client_secret = "file:oidc.secret"
every_team = ["all-teams"]
[admin.oidc.roles]
operators = "operator"
lookers = "viewer"
[admin.oidc.teams]
reds = "red"
[[team]]
name = "red"
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeOidc]:
    with fake_oidc() as made:
        yield made


@pytest.fixture(autouse=True)
def honest(provider: FakeOidc) -> None:
    provider.claims, provider.sign_with, provider.problems = {}, None, []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, provider: FakeOidc) -> Iterator[AdminSite]:
    file: Path = write_config(tmp_path_factory.mktemp("oidc"))
    (file.parent / "oidc.secret").write_text(CLIENT_SECRET)
    file.write_text(file.read_text() + CONFIG.format(issuer=provider.issuer, client=CLIENT))
    with admin_site(file) as made:
        yield made


def began(site: AdminSite) -> tuple[str, str]:
    """(where the provider sends the browser back to, the cookie of the browser that left)."""
    left = site.ask("GET", "/sign-in/oidc")
    assert 303 == left.status, left.text
    assert "samesite=lax" in left.headers["set-cookie"].lower()
    url = urlsplit(left.headers["location"])
    connection = HTTPConnection(url.netloc, timeout=60)
    connection.request("GET", f"{url.path}?{url.query}")
    back = connection.getresponse().getheader("location") or ""
    connection.close()
    returned = urlsplit(back)
    return f"{returned.path}?{returned.query}", f"{BROWSER}={secret_in(left)}"


def arrived(site: AdminSite) -> Answer:
    back, browser = began(site)
    return site.ask("GET", back, cookie=browser)


def session_of(answer: Answer) -> str:
    assert 200 == answer.status, answer.text
    return answer.headers["set-cookie"].partition("weighbridge_session=")[2].partition(";")[0]


def test_who_the_provider_signed_for_is_let_in_with_role_and_teams_of_their_groups(
    site: AdminSite, provider: FakeOidc
) -> None:
    provider.claims = {"groups": ["operators", "reds", "others"]}
    page = site.ask("GET", "/account", cookie=cookie(session_of(arrived(site)))).text
    assert [] == provider.problems
    for word in ("ida", "operator", "red"):
        assert word in page


def test_groups_are_looked_at_again_at_each_sign_in(site: AdminSite, provider: FakeOidc) -> None:
    provider.claims = {"sub": "subject-2", "preferred_username": "ole", "groups": ["operators"]}
    session_of(arrived(site))
    provider.claims = {"sub": "subject-2", "preferred_username": "ole", "groups": ["lookers", "all-teams"]}
    page = site.ask("GET", "/account", cookie=cookie(session_of(arrived(site)))).text
    assert "viewer" in page
    assert "every team" in page


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": ["others"]},
        {"groups": None},
        {"groups": "operators"},
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": None},
        {"iss": "https://another.example"},
        {"exp": 1},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": "<script>alert(1)</script>"},
    ],
)
def test_an_id_token_that_is_not_what_it_should_be_signs_nobody_in(
    site: AdminSite, provider: FakeOidc, claims: dict[str, object]
) -> None:
    provider.claims = {"sub": "subject-9", "preferred_username": "eve", **claims}
    answer = arrived(site)
    assert 403 == answer.status, answer.text
    assert "weighbridge_session" not in answer.headers.get("set-cookie", "")
    assert "<script>alert" not in answer.text


def test_a_token_signed_with_another_key_signs_nobody_in(site: AdminSite, provider: FakeOidc) -> None:
    provider.sign_with = RSAKey.generate_key(2048, {"kid": "one"})
    assert 403 == arrived(site).status


def test_an_answer_that_was_begun_in_another_browser_or_twice_signs_nobody_in(site: AdminSite) -> None:
    back, browser = began(site)
    assert 403 == site.ask("GET", back).status
    back, browser = began(site)
    assert 403 == site.ask("GET", back, cookie=f"{BROWSER}=another").status
    back, browser = began(site)
    assert 200 == site.ask("GET", back, cookie=browser).status
    assert 403 == site.ask("GET", back, cookie=browser).status
    assert 403 == site.ask("GET", "/sign-in/oidc/callback?code=a&state=made-up", cookie=browser).status


def test_the_client_secret_is_on_no_page_and_in_no_address(site: AdminSite) -> None:
    left = site.ask("GET", "/sign-in/oidc")
    assert CLIENT_SECRET not in str(left)
    assert "/sign-in/oidc" in site.ask("GET", "/sign-in").text


def section(**changes: object) -> OidcSection:
    given: dict[str, object] = {
        "issuer": "https://id.example", "client_id": "c", "client_secret": "env:S",
        "roles": {"a": "viewer", "b": "approver"}, **changes,
    }  # fmt: skip
    return OidcSection(**given)  # type: ignore[arg-type]


def test_the_highest_role_of_all_groups_counts_and_no_group_is_no_way_in() -> None:
    assert ("approver", None) == mapped(section(), frozenset("ab"))
    assert mapped(section(), frozenset("x")) is None


def test_with_teams_mapped_nobody_sees_every_team_by_accident() -> None:
    teams = section(teams={"t": "red"}, every_team=("e",))
    assert ("viewer", ()) == mapped(teams, frozenset("a"))
    assert ("viewer", ("red",)) == mapped(teams, frozenset("at"))
    assert ("viewer", None) == mapped(teams, frozenset("ate"))


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("http://169.254.169.254/token", "not https"),
        ("https://169.254.169.254/token", "not called"),
        ("https://127.0.0.1:9/token", "not called"),
        ("https://[::1]:9/token", "not called"),
        ("file:///etc/passwd", "not https"),
    ],
)
def test_the_secret_is_sent_to_no_inside_address_that_the_providers_description_names(named: str, why: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        described = {
            "issuer": "https://id.example", "authorization_endpoint": "https://id.example/a", "token_endpoint": named,
            "jwks_uri": "https://id.example/jwks",
        }  # fmt: skip
        return httpx.Response(200, json=described)

    async def sign_in() -> None:
        oidc = Oidc(section(), "secret", "https://own.example/cb", transport=httpx.MockTransport(answer))
        leaving = await oidc.leave()
        state = parse_qs(urlsplit(leaving.url).query)["state"][0]
        await oidc.arrive({"code": "c", "state": state}, leaving.browser, "s" * 43)

    with pytest.raises(OidcError, match=why):
        asyncio.run(sign_in())
    assert ["https://id.example/.well-known/openid-configuration"] == asked


def test_a_provider_that_calls_itself_something_else_is_not_used() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        url = "https://id.example/x"
        return httpx.Response(
            200,
            json={
                "issuer": "https://other.example",
                "authorization_endpoint": url,
                "token_endpoint": url,
                "jwks_uri": url,
            },
        )

    oidc = Oidc(section(), "secret", "https://own.example/cb", transport=httpx.MockTransport(answer))
    with pytest.raises(OidcError, match=r"calls itself https://other\.example"):
        asyncio.run(oidc.leave())
