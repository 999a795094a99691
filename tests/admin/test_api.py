"""The admin API over real connections: what each role and team gets, and what is written down of it."""

import json

import pytest

from tests.admin.site import AdminSite, Answer, cookie, form
from weighbridge.store.control import ObjectRow, PutObject


def call(site: AdminSite, token: str, method: str, path: str, body: object = None, **headers: str) -> Answer:
    text = None if body is None else json.dumps(body)
    given = {"authorization": f"Bearer {token}", "content_type": "application/json", "origin": "", **headers}
    return site.ask(method, f"/api/v1/{path}", text, **given)


def found(answer: Answer, status: int = 200) -> dict[str, object]:
    assert status == answer.status, answer.text
    read: dict[str, object] = json.loads(answer.text)
    return read


@pytest.fixture(scope="module")
def admin(site: AdminSite) -> str:
    site.user("api-admin", "admin")
    return site.token("api-admin", "admin")


def test_a_token_says_who_it_belongs_to(site: AdminSite, admin: str) -> None:
    said = found(call(site, admin, "GET", "me"))
    assert ("api-admin", "admin", None) == (said["name"], said["role"], said["teams"])
    assert str(said["via"]).startswith("token ")


def test_what_is_not_as_described_is_refused_with_the_place(site: AdminSite, admin: str) -> None:
    wrong = call(site, admin, "POST", "keys", {"name": 7})
    assert 400 == wrong.status
    assert "$.name" in json.loads(wrong.text)["error"]
    assert 400 == call(site, admin, "POST", "keys", {"name": "a", "nonsense": 1}).status
    assert 400 == call(site, admin, "GET", "audit?rows=many").status
    assert 400 == call(site, admin, "GET", "audit?nonsense=1").status
    assert 400 == call(site, admin, "POST", "keys", {"name": "a"}, content_type="text/plain").status
    assert 404 == call(site, admin, "GET", "nonsense").status


def test_a_key_is_made_rotated_and_revoked_and_its_secrets_are_shown_once(site: AdminSite, admin: str) -> None:
    made = found(call(site, admin, "POST", "keys", {"name": "made", "team": "red"}), 201)
    rotated = found(call(site, admin, "POST", "keys/made/rotate", {"overlap_s": 0}))
    assert made["secret"] != rotated["secret"]
    listed = call(site, admin, "GET", "keys").text
    audited = call(site, admin, "GET", "audit").text
    for secret in (made["secret"], rotated["secret"]):
        assert str(secret).startswith("wb-")
        assert str(secret) not in listed + audited
    assert found(call(site, admin, "DELETE", "keys/made"))["revoked_ns"] is not None
    assert 404 == call(site, admin, "DELETE", "keys/never-made").status


def test_a_keys_limits_are_set_changed_and_lifted_and_that_is_written_down(site: AdminSite, admin: str) -> None:
    made = found(call(site, admin, "POST", "keys", {"name": "limited", "requests_per_minute": 60}), 201)
    assert (60, None) == (made["requests_per_minute"], made["tokens_per_minute"])
    changed = found(call(site, admin, "PATCH", "keys/limited", {"tokens_per_minute": 9_000}))
    assert (60, 9_000) == (changed["requests_per_minute"], changed["tokens_per_minute"])
    lifted = found(call(site, admin, "PATCH", "keys/limited", {"requests_per_minute": None}))
    assert (None, 9_000) == (lifted["requests_per_minute"], lifted["tokens_per_minute"])
    entry = found(call(site, admin, "GET", "audit?rows=1"))["entries"][0]  # type: ignore[index]
    assert ("key limit", "limited") == (entry["action"], entry["subject"])
    assert "60 requests and 9000 tokens per minute" in entry["before"]
    assert "any requests and 9000 tokens per minute" in entry["after"]
    assert 400 == call(site, admin, "PATCH", "keys/limited", {"requests_per_minute": "60"}).status
    assert 409 == call(site, admin, "PATCH", "keys/limited", {}).status
    assert 404 == call(site, admin, "PATCH", "keys/never-made", {"requests_per_minute": 1}).status


def test_a_team_sees_and_changes_its_own_keys_and_those_of_others_are_not_there(site: AdminSite, admin: str) -> None:
    for name, team in (("of-red", "red"), ("of-blue", "blue")):
        found(call(site, admin, "POST", "keys", {"name": name, "team": team}), 201)
    site.user("red-operator", "operator", ("red",))
    red = site.token("red-operator", "operator")
    names = {row["name"] for row in found(call(site, red, "GET", "keys"))["keys"]}  # type: ignore[attr-defined]
    assert "of-red" in names
    assert not names & {"of-blue", "blue-app", "app"}
    foreign, made_up = (call(site, red, "POST", f"keys/{name}/rotate", {}) for name in ("of-blue", "never-made"))
    assert (404, 404) == (foreign.status, made_up.status)
    assert 200 == call(site, red, "POST", "keys/of-red/rotate", {}).status
    assert 403 == call(site, red, "POST", "keys", {"name": "mine", "team": "blue"}).status
    assert 403 == call(site, red, "POST", "keys", {"name": "mine"}).status
    assert 201 == call(site, red, "POST", "keys", {"name": "mine", "team": "red"}).status


def test_a_team_sees_its_own_budgets_only(site: AdminSite, admin: str) -> None:
    site.user("blue-viewer", "viewer", ("blue",))
    blue = site.token("blue-viewer", "viewer")
    every = {row["budget"]["name"] for row in found(call(site, admin, "GET", "budgets"))["budgets"]}  # type: ignore[attr-defined]
    own = {row["budget"]["name"] for row in found(call(site, blue, "GET", "budgets"))["budgets"]}  # type: ignore[attr-defined]
    assert ({"company", "for-blue", "for-red"}, {"for-blue"}) == (every, own)
    foreign, made_up = (call(site, blue, "GET", f"budgets/{name}") for name in ("for-red", "never-made"))
    assert (404, 404) == (foreign.status, made_up.status)
    assert foreign.text.replace("for-red", "X") == made_up.text.replace("never-made", "X")


def test_a_limit_is_changed_in_the_persons_name_and_written_down(site: AdminSite, admin: str) -> None:
    done = found(call(site, admin, "PUT", "budgets/for-red/limit", {"limit_usd": "12.50", "why": "month end"}))
    assert (12_500_000_000, "api-admin") == (done["after_nanousd"], done["by"])
    entry = found(call(site, admin, "GET", "audit?rows=1"))["entries"][0]  # type: ignore[index]
    assert ("api-admin", "budget limit", "for-red", "month end") == (
        entry["by"], entry["action"], entry["subject"], entry["why"],
    )  # fmt: skip
    assert "12.5" in entry["after"]
    assert 404 == call(site, admin, "PUT", "budgets/never-made/limit", {"limit_usd": "1"}).status
    assert 400 == call(site, admin, "PUT", "budgets/for-red/limit", {"limit_usd": "a lot"}).status


def test_what_the_keeper_refuses_is_written_down_without_naming_who_was_to_be_forgotten(
    site: AdminSite, admin: str
) -> None:
    site.user("red-admin", "admin", ("red",))
    token = site.token("red-admin", "admin")
    refused = call(site, token, "POST", "exchanges/erase", {"user": "user-4711"})
    assert 403 == refused.status
    entry = found(call(site, admin, "GET", "audit?rows=1"))["entries"][0]  # type: ignore[index]
    assert ("red-admin", "erase") == (entry["by"], entry["action"])
    assert "every team" in entry["refused"]
    assert "user-4711" not in json.dumps(entry)


def test_an_erasure_names_exactly_one_thing(site: AdminSite, admin: str) -> None:
    for body in ({}, {"user": "a", "key": "b"}, {"exchanges": ["../../etc/passwd"]}):
        assert 400 == call(site, admin, "POST", "exchanges/erase", body).status
    assert 0 == found(call(site, admin, "POST", "exchanges/erase", {"user": "nobody"}))["bodies"]


def test_a_user_is_made_by_a_link_changed_and_disabled(site: AdminSite, admin: str) -> None:
    made = found(call(site, admin, "POST", "users", {"name": "new-one", "role": "viewer"}), 201)
    assert str(made["link"]).startswith("/welcome/")
    changed = found(call(site, admin, "PATCH", "users/new-one", {"role": "operator", "teams": ["red"]}))
    assert ("operator", ["red"]) == (changed["user"]["role"], changed["user"]["teams"])  # type: ignore[index]
    kept = found(call(site, admin, "PATCH", "users/new-one", {"disabled": True}))["user"]
    assert ["red"] == kept["teams"]  # type: ignore[index]
    assert found(call(site, admin, "PATCH", "users/new-one", {"teams": None}))["user"]["teams"] is None  # type: ignore[index]
    assert 400 == call(site, admin, "PATCH", "users/new-one", {}).status
    assert 404 == call(site, admin, "PATCH", "users/never-made", {"role": "viewer"}).status
    assert str(made["link"]).rpartition("/")[2] not in call(site, admin, "GET", "audit").text


def test_tokens_are_made_from_a_session_and_never_by_a_token(site: AdminSite, admin: str) -> None:
    asked = {"label": "ci", "role": "viewer", "expires": "2099-01-01T00:00:00Z"}
    assert 403 == call(site, admin, "POST", "tokens", asked).status
    session = site.session("api-admin")
    answer = site.ask(
        "POST", "/api/v1/tokens", json.dumps(asked), cookie=cookie(session), content_type="application/json",
        x_form_token=form(session),
    )  # fmt: skip
    made = found(answer, 201)
    assert "viewer" == found(call(site, str(made["secret"]), "GET", "me"))["role"]
    listed = found(call(site, admin, "GET", "tokens"))
    assert str(made["secret"]) not in json.dumps(listed)
    identity = made["token"]["id"]  # type: ignore[index]
    found(call(site, admin, "DELETE", f"tokens/{identity}"))
    assert 401 == call(site, str(made["secret"]), "GET", "me").status


def test_a_change_by_session_takes_the_form_token_and_this_sites_origin(site: AdminSite) -> None:
    site.user("api-operator", "operator")
    session = site.session("api-operator")
    body = json.dumps({"name": "by-session"})

    def make(**headers: str) -> int:
        given = {"cookie": cookie(session), "content_type": "application/json", **headers}
        return site.ask("POST", "/api/v1/keys", body, **given).status

    assert 403 == make()
    assert 403 == make(x_form_token=form(session), origin="http://evil.example")
    assert 403 == make(x_form_token=form(session)[:-1])
    assert 201 == make(x_form_token=form(session))


def test_the_ramp_of_nothing_is_not_there_and_reasons_of_a_refusal_are_told(site: AdminSite, admin: str) -> None:
    assert [] == found(call(site, admin, "GET", "ramps"))["ramps"]
    assert 404 == call(site, admin, "GET", "ramps/assistant").status
    assert 404 == call(site, admin, "POST", "ramps/never-made/pause", {}).status
    refused = call(site, admin, "POST", "ramps/assistant/pause", {})
    assert 409 == refused.status
    assert "has no ramp" in json.loads(refused.text)["error"]
    assert 400 == call(site, admin, "POST", "ramps/assistant/propose", {"verdict": "../x"}).status


def test_reading_answers_as_described(site: AdminSite, admin: str) -> None:
    assert ["assistant", "internal"] == [row["name"] for row in found(call(site, admin, "GET", "routes"))["routes"]]  # type: ignore[attr-defined]
    arms = found(call(site, admin, "GET", "arms"))["arms"]
    assert {"incumbent", "candidate"} == {row["name"] for row in arms}  # type: ignore[attr-defined]
    assert [] == found(call(site, admin, "GET", "trials"))["trials"]
    assert [] == found(call(site, admin, "GET", "exchanges?since=3d"))["exchanges"]
    assert 400 == call(site, admin, "GET", "exchanges?since=yesterday").status
    for name in ("0123456789abcdef-1", "..%2f..%2fetc%2fpasswd", "x"):
        assert 404 == call(site, admin, "GET", f"exchanges/{name}").status
    assert 2 == len(found(call(site, admin, "GET", "licences"))["arms"])  # type: ignore[arg-type]
    assert "now" in found(call(site, admin, "GET", "alerts"))


def test_the_report_is_downloaded_under_a_name_of_our_own(site: AdminSite, admin: str) -> None:
    answer = call(site, admin, "GET", "report?format=json")
    assert 200 == answer.status, answer.text
    assert 'attachment; filename="weighbridge-report.json"' == answer.headers["content-disposition"]
    assert "application/json" == answer.headers["content-type"]
    assert 400 == call(site, admin, "GET", "report?format=..%2f..%2fx").status
    assert call(site, admin, "GET", "report?format=html").text.startswith("<!doctype html>")
    site.user("blue-admin", "admin", ("blue",))
    assert 404 == call(site, site.token("blue-admin", "admin"), "GET", "report").status


def test_a_drill_is_asked_for_in_the_persons_name_and_its_refusal_is_written_down(site: AdminSite, admin: str) -> None:
    asked = {"percent": 1.0, "seconds": 60, "why": "before the weekend"}
    refused = call(site, admin, "POST", "drills/assistant/start", asked)
    assert 409 == refused.status
    entry = found(call(site, admin, "GET", "audit?rows=1"))["entries"][0]  # type: ignore[index]
    assert ("api-admin", "drill start", "assistant", "before the weekend") == (
        entry["by"], entry["action"], entry["subject"], entry["why"],
    )  # fmt: skip
    assert entry["refused"]
    assert [] == found(call(site, admin, "GET", "drills/assistant"))["drills"]
    assert 404 == call(site, admin, "POST", "drills/never-made/stop", {}).status
    assert 400 == call(site, admin, "POST", "drills/assistant/start", {"percent": 101, "seconds": 60}).status
    site.user("red-drills", "operator", ("red",))
    token = site.token("red-drills", "operator")
    assert 403 == call(site, token, "POST", "drills/assistant/start", asked).status
    site.user("no-drills", "operator", ())
    assert 404 == call(site, site.token("no-drills", "operator"), "GET", "drills/assistant").status


def test_what_a_command_decides_stands_in_the_book_too(site: AdminSite, admin: str) -> None:
    with site.keeper.client() as control:
        stored = control.call(PutObject(kind="gold", label="gold.jsonl", body=b"[]"), ObjectRow)
        control.call(PutObject(kind="finding", label="candidate", body=b"{}"), ObjectRow)  # follows from others
    entry = found(call(site, admin, "GET", "audit?rows=1"))["entries"][0]  # type: ignore[index]
    assert ("gold import", "gold.jsonl", "command") == (entry["action"], entry["subject"], entry["via"])
    assert str(entry["by"]).startswith("login:")
    assert stored.digest[:12] in entry["after"]


def test_the_book_says_in_words_how_a_person_stood_before_and_after(site: AdminSite, admin: str) -> None:
    site.user("moved", "viewer", ("red",))
    found(call(site, admin, "PATCH", "users/moved", {"role": "operator", "teams": None}))
    entry = found(call(site, admin, "GET", "audit?rows=1"))["entries"][0]  # type: ignore[index]
    assert "viewer, teams red, signs in by password, may come in" == entry["before"]
    assert "operator, every team, signs in by password, may come in" == entry["after"]
