"""Base URLs: what is taken, and what they mean."""

import pytest

from weighbridge.upstream import BaseUrl


@pytest.mark.parametrize(
    ("text", "expected", "authority"),
    [
        ("https://api.openai.com/v1", BaseUrl(True, "api.openai.com", 443, "/v1"), "api.openai.com"),
        ("https://api.openai.com/v1/", BaseUrl(True, "api.openai.com", 443, "/v1"), "api.openai.com"),
        ("http://127.0.0.1:8000", BaseUrl(False, "127.0.0.1", 8000, ""), "127.0.0.1:8000"),
        ("http://[::1]:8000/a/b", BaseUrl(False, "::1", 8000, "/a/b"), "[::1]:8000"),
        ("https://host:443/v1", BaseUrl(True, "host", 443, "/v1"), "host"),
        ("http://host:443/v1", BaseUrl(False, "host", 443, "/v1"), "host:443"),
    ],
)
def test_a_base_url_is_scheme_host_port_and_prefix(text: str, expected: BaseUrl, authority: str) -> None:
    assert expected == BaseUrl.parse(text)
    assert authority == BaseUrl.parse(text).authority


@pytest.mark.parametrize(
    "text",
    [
        "", "host", "ftp://host", "http://", "//host", "https://host?x=1", "https://host#x", "https://host:99999",
        "https://ho st", "https://host/\r\nx: y", "https://hö.example", "unix:///tmp/x",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="write http://HOST"):
        BaseUrl.parse(text)


def test_a_password_in_a_base_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        BaseUrl.parse("https://user:hunter2@host/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "own"),
    [("localhost", True), ("127.0.0.1", True), ("10.1.2.3", True), ("[fd00::1]", True), ("host.internal", False)],
)
def test_a_written_address_is_its_own_permission(host: str, own: bool) -> None:
    assert own == BaseUrl.parse(f"http://{host}/v1").is_own
