"""What is refused before any door is asked, and what every answer carries."""

from pathlib import Path

import pytest

from tests.admin.site import AdminSite, admin_site
from tests.keeper.processes import write_config

FOREIGN = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:1", "[::1].evil", ""]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_somebody_lets_point_here_is_refused(site: AdminSite, host: str) -> None:
    answer = site.ask("GET", "/sign-in", host=host or "\x20")
    assert answer.status in (400, 421), answer


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "10.0.0.5:8401", "10.0.0.5"])
def test_own_names_and_bare_addresses_are_served(site: AdminSite, host: str) -> None:
    assert 200 == site.ask("GET", "/sign-in", host=host.format(port=site.port)).status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", ""])
def test_a_form_of_another_site_is_refused(site: AdminSite, origin: str) -> None:
    assert 403 == site.ask("POST", "/sign-in", "name=a&password=b", origin=origin).status


def test_a_body_that_is_too_large_is_refused_before_it_is_read(site: AdminSite) -> None:
    assert 413 == site.ask("POST", "/sign-in", "", content_length="70000").status


def test_every_answer_forbids_scripts_of_others_frames_sniffing_and_keeping(site: AdminSite) -> None:
    for path in ("/sign-in", "/static/dashboard.css", "/account", "/nothing", "/api/nothing"):
        headers = site.ask("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert ("nosniff", "no-store") == (headers["x-content-type-options"], headers["cache-control"])


@pytest.mark.parametrize(
    "path",
    [
        "../doors.py", "%2e%2e/doors.py", "..%2fdoors.py", "....//doors.py", "/etc/passwd", "%2fetc/passwd",
        "label.js%00",
    ],
)  # fmt: skip
def test_only_files_that_are_meant_to_be_served_are(site: AdminSite, path: str) -> None:
    assert site.ask("GET", f"/static/{path}").status in (400, 404)


def test_what_a_person_typed_makes_no_header(site: AdminSite) -> None:
    for path in ("/account%0d%0aset-cookie:%20a=b", "/welcome/%0d%0aset-cookie:a=b"):
        assert "a=b" not in str(site.ask("GET", path).headers)


def test_what_is_changed_in_the_configuration_holds_without_a_restart_and_a_broken_edit_changes_nothing(
    tmp_path: Path,
) -> None:
    file = write_config(tmp_path)
    plain = file.read_text()
    with admin_site(file) as site:

        def asked(host: str, **headers: str) -> int:
            return site.ask("GET", "/sign-in", host=host, **headers).status

        assert 421 == asked("box.example")
        file.write_text(f'{plain}\n[admin]\nurl = "https://weigh.example"\nhosts = ["box.example"]\n')
        assert (200, 200) == (asked("box.example"), asked("weigh.example"))
        answer = site.ask("GET", "/sign-in", host="weigh.example")
        assert "max-age" in answer.headers["strict-transport-security"]
        file.write_text(f'{plain}\n[admin]\nhosts = "box.example"\n')  # not a list
        assert (200, 200) == (asked("box.example"), asked("weigh.example"))
        file.write_text(f"{plain}\n")
        assert (421, 421) == (asked("box.example"), asked("weigh.example"))


def test_a_provider_that_is_added_is_offered_and_one_whose_secret_cannot_be_had_leaves_things_as_they_were(
    tmp_path: Path,
) -> None:
    file = write_config(tmp_path)
    plain, offered = file.read_text(), "Sign in with your organisation"
    oidc = (
        '[admin.oidc]\nissuer = "https://id.example"\nclient_id = "w"\nclient_secret = "file:{name}"\n'
        '[admin.oidc.roles]\neverybody = "viewer"\n'
    )
    (tmp_path / "secret").write_text("a secret of the provider")
    with admin_site(file) as site:
        assert offered not in site.ask("GET", "/sign-in").text
        assert 404 == site.ask("GET", "/sign-in/oidc").status
        file.write_text(plain + oidc.format(name="nowhere"))
        assert offered not in site.ask("GET", "/sign-in").text
        file.write_text(plain + oidc.format(name="secret"))
        assert offered in site.ask("GET", "/sign-in").text
        file.write_text(plain)
        assert offered not in site.ask("GET", "/sign-in").text
