"""The labelling page in a real browser: keys choose, hostile text stays text, nothing is loaded from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.admin.site import PASSWORD
from tests.admin.test_labels import Labelled, labelled_site, pair
from tests.browser.conftest import DESKTOP, OpenPage, Watched

pytestmark = [pytest.mark.browser]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Labelled]:
    with labelled_site(tmp_path / "site") as made:
        made.start(tmp_path / "t-1", [pair("a"), pair("b"), pair("c")])
        yield made


def test_a_person_labels_with_the_arrow_keys_alone(served: Labelled, opened: OpenPage) -> None:
    address = served.site.origin
    page = opened(DESKTOP, "light")
    watched = Watched(page)
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Labels")
    page.goto(f"{address}/labels/t-1")
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
