"""A picture of each page of the dashboard, in light, dark and phone width, of the store that the browser tests use.

    scripts/screenshots [FOLDER]     default: screenshots/

Look at every one. The script fails where a page is wider than its window or the browser complains.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from tests.browser.conftest import EXECUTABLE, Watched
from tests.browser.dash import served_dash

LOOKS: tuple[tuple[str, int, Literal["light", "dark"]], ...] = (
    ("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light"),
)  # fmt: skip
DRAW_MS = 400
"""Charts are drawn after the page is loaded."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description="A picture of each page of the dashboard.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("screenshots"), help="where they go")
    out: Path = parser.parse_args().folder
    out.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="weighbridge-pictures-") as folder,
        served_dash(Path(folder) / "demo") as dash,
    ):
        run = dash.demo.store.run
        run("ramp", "propose", "assistant", "--verdict", dash.demo.certified)
        run("ramp", "approve", "assistant", "--up-to", "quarter", "--accept", "headroom", "--accept", "way_back")
        run("ramp", "start", "assistant")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
            for look, width, scheme in LOOKS:
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page = context.new_page()
                page.goto(f"{dash.address}/sign-in")
                page.screenshot(path=out / f"sign-in-{look}.png", full_page=True)
                dash.sign_in(page, "cleo")
                watched = Watched(page)
                paths = dash.paths()
                page.goto(dash.address + paths["exchanges"])
                found = page.locator("tbody th code").all_text_contents()[:2]
                paths |= {
                    "exchange": f"/exchanges/{found[0]}",
                    "compare": f"/exchanges/compare?a={found[0]}&b={found[1]}",
                }
                for name, path in paths.items():
                    page.goto(dash.address + path)
                    page.wait_for_timeout(DRAW_MS)
                    page.screenshot(path=out / f"{name}-{look}.png", full_page=True)
                    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                        problems.append(f"{name} is wider than the window in {look}")
                problems += watched.complaints
                context.close()
            browser.close()
    print("\n".join(problems) or f"{len(list(out.glob('*.png')))} pictures in {out}: look at each")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
