"""A Chromium for each module of browser tests, driven by Playwright; a page of its own for each test."""

import shutil
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

DESKTOP, PHONE = 1280, 390
WAIT_MS = 60_000
"""A machine may be slow; nothing here depends on it being fast."""

expect.set_options(timeout=WAIT_MS)

Scheme = Literal["light", "dark"]
OpenPage = Callable[[int, Scheme], Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if EXECUTABLE is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="no Chromium here (Debian: apt-get install chromium)"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Ended with its module: while Playwright runs, its loop is this thread's, and `asyncio.run` would refuse."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[OpenPage]:
    """Makes a page of some width and colour scheme. What it asks for and complains about is in `asked` and `said`."""
    contexts = []

    def make(width: int = DESKTOP, scheme: Scheme = "light") -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 600
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


class Watched:
    """What a page asked for, and what the browser had to say about it."""

    def __init__(self, page: Page) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
