"""The labelling page in a real browser: keys choose, hostile text stays text, nothing is loaded from elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.test_labels import Served, pair
from tests.browser.chromium import EXECUTABLE, Browser, browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium here"),
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "t-1").mkdir()
    made = Served(tmp_path / "t-1", [pair("a"), pair("b"), pair("c")])
    try:
        yield made
    finally:
        made.close()


def wait_for(page: Browser, expression: str) -> None:
    """Until an expression is true in the page, through navigations; a failure after half a minute."""
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError):  # the page went elsewhere in the middle of the question
            if page.value(f"Boolean({expression})"):
                return
    raise AssertionError(f"never true: {expression}; the page says {page.value('document.body.innerText')!r}")


def press(page: Browser, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)


def test_a_person_labels_with_the_arrow_keys_alone(served: Served, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{served.port}"
    with browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=f"{address}/sign-in")
        wait_for(page, "document.getElementById('token')")
        page.value(f"document.getElementById('token').value = '{served.tokens['ann']}'; document.forms[0].submit()")
        for number, key in enumerate(("ArrowLeft", "ArrowDown", "ArrowRight")):
            wait_for(page, f"document.getElementById('progress') && progress.textContent.startsWith('{number} of 3')")
            assert "<script>alert(1)</script>" in page.value("left.textContent + right.textContent")
            press(page, key)
        wait_for(page, "document.getElementById('status').textContent.startsWith('Nothing is left')")
        press(page, "Backspace")
        wait_for(page, "!document.getElementById('pair').hidden")
        press(page, "ArrowDown")
        wait_for(page, "document.getElementById('pair').hidden")
        assert {"a", "b", "c"} == set(served.book.labels())
        assert "tie" == served.book.labels()["c"]["ann"].word
        assert [] == [url for url in page.requests() if not url.startswith(address)]
        assert [] == page.complaints()
