"""The dashboard as `weighbridge serve` runs it, of the demonstration store, and the people who may sign in."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.app.serving import Serving
from tests.browser.demo import Demo, demo_served, demo_store
from weighbridge.admin.passwords import hashed
from weighbridge.config import load
from weighbridge.records.people import Role, UserRow
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout
from weighbridge.store.people_calls import AddUser

PEOPLE: dict[str, Role] = {
    "vera": "viewer", "lena": "labeller", "olga": "operator", "otto": "approver", "cleo": "admin",
}  # fmt: skip
PASSWORD = "correct horse battery staple"


@dataclass
class Dash:
    demo: Demo
    serving: Serving

    @property
    def address(self) -> str:
        return f"http://{self.serving.admin}"

    def sign_in(self, page: Page, name: str) -> None:
        page.context.clear_cookies()
        page.goto(f"{self.address}/sign-in")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".who")).to_contain_text(name)

    def paths(self) -> dict[str, str]:
        """A page of each kind."""
        return {
            "overview": "/", "share": "/share", "routes": "/routes", "route": "/routes/assistant", "trials": "/trials",
            "trial": f"/trials/{self.demo.certified}", "trial-worse": f"/trials/{self.demo.worse}",
            "trial-judged": f"/trials/{self.demo.judged}", "budgets": "/budgets", "budget": "/budgets/support",
            "scan": "/scan", "licences": "/licences", "exchanges": "/exchanges?route=letters&purpose=user",
            "labels": "/labels", "label": f"/labels/{self.demo.judged}", "alerts": "/alerts",
            "runbook": "/alerts/disk-full", "audit": "/audit", "people": "/people", "account": "/account",
        }  # fmt: skip


@contextmanager
def served_dash(folder: Path) -> Iterator[Dash]:
    """Made in a thread of its own: Playwright's loop runs in the caller's."""
    ready, over = threading.Event(), threading.Event()
    made: list[Dash] = []

    def live() -> None:
        try:
            with ExitStack() as stack:
                demo = stack.enter_context(demo_store(folder))
                serving = stack.enter_context(demo_served(demo))
                password = hashed(PASSWORD)
                layout = Layout(load(demo.store.config).store_path)
                with ControlClient(layout, timeout_s=60) as control:
                    for name, role in PEOPLE.items():
                        control.call(AddUser(name=name, role=role, teams=None, password=password), UserRow)
                made.append(Dash(demo, serving))
                ready.set()
                over.wait()
        finally:
            ready.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(live)
        ready.wait()
        if not made:
            running.result()
        try:
            yield made[0]
        finally:
            over.set()
            running.result()
