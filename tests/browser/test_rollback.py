"""A ramp that an alarm takes back, seen in the browser by somebody who does nothing: real traffic, real guardrail."""

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from playwright.sync_api import expect

from tests.app.serving import Serving, ask, serving
from tests.browser.conftest import DESKTOP, OpenPage, Watched
from tests.browser.dash import PASSWORD
from tests.fakes.provider import FakeProvider, Script
from tests.keeper.processes import write_config
from tests.ramp.desk import RAMP, climb_to
from weighbridge.admin.passwords import hashed
from weighbridge.records.people import UserRow
from weighbridge.store.people_calls import AddUser

pytestmark = [pytest.mark.browser]


class Ramped:
    """A gateway with a ramp in half, and users who ask one thing after the other."""

    def __init__(self, provider: FakeProvider, served: Serving, asking: Future[None]) -> None:
        self.provider, self.served, self.asking = provider, served, asking


@pytest.fixture
def ramped(tmp_path: Path) -> Iterator[Ramped]:
    """Made in threads of its own: Playwright's loop runs in this one."""
    stop = Event()
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:

        def start() -> tuple[FakeProvider, Serving]:
            provider = stack.enter_context(FakeProvider())
            file = write_config(tmp_path / "a", provider.url)
            file.write_text(file.read_text() + RAMP.replace("= 60", "= 0"))
            climb_to("half", file)
            served = stack.enter_context(serving(file))
            with served.control() as control:
                control.call(AddUser(name="vera", role="viewer", password=hashed(PASSWORD)), UserRow)
            return provider, served

        provider, served = pool.submit(start).result()

        def users() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                ask(served.listen, conversation=f"c-{number}")

        try:
            yield Ramped(provider, served, pool.submit(users))
        finally:
            stop.set()
            pool.submit(stack.pop_all().close).result()


def test_an_alarm_takes_the_ramp_back_while_somebody_looks_on_and_the_alert_leads_to_the_runbook(
    ramped: Ramped, opened: OpenPage
) -> None:
    address = f"http://{ramped.served.admin}"
    page = opened(DESKTOP, "light")
    watched = Watched(page)
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{address}/routes/assistant")
    expect(page.locator(".ladder [aria-current=step]")).to_contain_text("half")
    expect(page.locator("[data-live-state]")).to_contain_text("Live.")
    ramped.provider.answers["model-b"] = Script(status=500)
    # Nobody loads the page again: the part that is live says it, and why.
    expect(page.locator(".live-body .lead")).to_contain_text("rolled back")
    expect(page.locator(".live-body .lead")).to_contain_text("0 % of the traffic on candidate")
    expect(page.locator(".why-box")).to_contain_text("errors")
    expect(page.locator(".why-box")).to_contain_text("by controller")
    assert not ramped.asking.done()
    page.goto(f"{address}/routes/assistant")
    expect(page.locator(".history li").first).to_contain_text("rolled back")
    expect(page.locator(".history li").first).to_contain_text("by controller")
    page.get_by_role("link", name="Alerts").first.click()
    expect(page.locator(".history li").first).to_contain_text("assistant")
    page.get_by_role("link", name="Runbook: ramp-rolled-back").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("took its users back to the incumbent")
    expect(page.locator("main")).to_contain_text("weighbridge ramp history")
    assert [] == watched.complaints
