"""The labelling page in a real browser: keys choose, hostile text stays text, nothing is loaded from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.admin.test_labels import Served, pair
from tests.browser.conftest import DESKTOP, OpenPage, Watched

pytestmark = [pytest.mark.browser]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "t-1").mkdir()
    made = Served(tmp_path / "t-1", [pair("a"), pair("b"), pair("c")])
    try:
        yield made
    finally:
        made.close()


def test_a_person_labels_with_the_arrow_keys_alone(served: Served, opened: OpenPage) -> None:
    address = f"http://127.0.0.1:{served.port}"
    page = opened(DESKTOP, "light")
    watched = Watched(page)
    page.goto(f"{address}/sign-in")
    page.get_by_label("Token").fill(served.tokens["ann"])
    page.keyboard.press("Enter")
    for number, key in enumerate(("ArrowLeft", "ArrowDown", "ArrowRight")):
        expect(page.locator("#progress")).to_contain_text(f"{number} of 3")
        expect(page.locator(".answers")).to_contain_text("<script>alert(1)</script>")
        page.keyboard.press(key)
    expect(page.locator("#status")).to_contain_text("Nothing is left")
    page.keyboard.press("Backspace")
    expect(page.locator("#pair")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#pair")).to_be_hidden()
    assert {"a", "b", "c"} == set(served.book.labels())
    assert "tie" == served.book.labels()["c"]["ann"].word
    assert [] == [url for url in watched.asked if not url.startswith(address)]
    assert [] == watched.complaints
