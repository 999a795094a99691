"""What a team does with the dashboard, in a real browser, on a store that everything in it was really done to."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, OpenPage, Watched
from tests.browser.dash import Dash, served_dash

pytestmark = [pytest.mark.browser]


@pytest.fixture(scope="module")
def dash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dash]:
    with served_dash(tmp_path_factory.mktemp("dashboard") / "demo") as made:
        yield made


@pytest.fixture
def page(opened: OpenPage) -> Page:
    return opened(DESKTOP, "light")


def test_who_is_not_let_in_is_refused_and_who_is_lands_on_the_overview(dash: Dash, page: Page) -> None:
    page.goto(f"{dash.address}/budgets")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("not her password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.goto(f"{dash.address}/budgets")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    dash.sign_in(page, "vera")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{dash.address}/budgets")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_first_look_shows_spend_open_share_and_what_moves_without_a_word_from_the_browser(
    dash: Dash, page: Page
) -> None:
    watched = Watched(page)
    dash.sign_in(page, "vera")
    expect(page.get_by_role("heading", name="Spend, 28 days")).to_be_visible()
    expect(page.locator("figure.chart canvas")).to_have_count(2)
    expect(page.get_by_role("row", name=re.compile("assistant"))).to_contain_text("as good")
    figures = page.locator("#spend details")
    figures.locator("summary").click()
    expect(figures.get_by_role("row")).to_have_count(85)  # twelve weeks and the heading
    assert [] == [url for url in watched.asked if not url.startswith(dash.address)]
    assert [] == watched.complaints


def test_who_only_looks_finds_no_way_to_change_anything(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "vera")
    for path in ("/routes/assistant", "/budgets/support"):
        page.goto(dash.address + path)
        expect(page.locator("main form[method=post]")).to_have_count(0)
    refused = page.request.post(
        f"{dash.address}/budgets/support/limit",
        form={"limit_usd": "1", "why": "x"}, headers={"origin": dash.address},
    )  # fmt: skip
    assert 403 == refused.status
    page.goto(f"{dash.address}/labels")
    expect(page.locator("main")).to_contain_text("labeller")
    expect(page.locator("main table")).to_have_count(0)


def test_a_trial_is_followed_live_to_its_verdict(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "vera")
    command = dash.demo.store.command(
        "trial", "run", "--route", "assistant", "--candidate", "new", "--margin", "0.05", "--seed", "3", "--json"
    )
    with subprocess.Popen(
        command, env=dash.demo.store.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        for _ in range(600):
            page.goto(f"{dash.address}/trials")
            rows = page.get_by_role("row", name=re.compile("new against old"))
            if rows.count() > 2:  # that of `letters` and the first one are there already
                break
            page.wait_for_timeout(100)
        rows.first.get_by_role("link").click()
        expect(page.locator("[data-live] .lead, .live-body .lead")).to_contain_text("margin 5 points")
        running.wait()
    expect(page.get_by_role("heading", name="Why, slice by slice")).to_be_visible()
    expect(page.locator(".lead .word").first).to_have_text(re.compile("as good|undecided"))
    expect(page.locator("figure.chart canvas")).to_have_count(2)


def test_a_ramp_is_proposed_approved_started_and_taken_back_and_the_history_says_by_whom_and_why(
    dash: Dash, page: Page
) -> None:
    dash.sign_in(page, "olga")
    page.goto(f"{dash.address}/routes/assistant")
    page.get_by_text("Propose a ramp").click()
    option = page.locator("#verdict option").filter(has_text=dash.demo.certified)
    page.locator("#verdict").select_option(option.get_attribute("value"))
    page.get_by_role("button", name="Propose").click()
    expect(page.get_by_role("status").first).to_have_text("Proposed. Nothing moves until it is approved and started.")
    expect(page.get_by_text("Approve steps")).to_have_count(0)  # who operates does not thereby approve
    dash.sign_in(page, "otto")
    page.goto(f"{dash.address}/routes/assistant")
    page.get_by_text("Approve steps").click()
    page.get_by_label("Every step up to").select_option("quarter")
    for gate in ("headroom", "way back"):
        page.get_by_label(gate).check()
    page.get_by_label("Why, for whoever reads the history").fill("seen the trial")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".ladder")).to_contain_text("approved by 1")
    page.locator(".actions summary").filter(has_text=re.compile("^Start$")).click()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".ladder [aria-current=step]")).to_contain_text("shadow")
    expect(page.get_by_role("row", name=re.compile("^errors"))).to_be_visible()
    expect(page.locator("[data-live-state]")).to_contain_text("Live.")
    page.locator(".actions summary").filter(has_text="Give up").click()
    page.locator("#why-reject").fill("a better candidate came")
    page.get_by_role("button", name="Give up").click()
    expect(page.locator(".why-box")).to_contain_text("a better candidate came")
    expect(page.locator(".history li").first).to_contain_text("rejected")
    page.goto(f"{dash.address}/audit")
    expect(page.get_by_role("row", name=re.compile("ramp")).first).to_contain_text("rejected")


def test_a_budget_is_changed_and_everybody_sees_by_whom(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "otto")
    page.goto(f"{dash.address}/budgets/support")
    expect(page.locator("#burn canvas")).to_be_visible()
    page.get_by_label("New limit of a month, US dollars").fill("90.5")
    page.get_by_label("Why, for the audit log").fill("<b>the quarter</b> is over")
    page.get_by_role("button", name="Change the limit").click()
    expect(page.get_by_role("status").first).to_have_text("The limit is changed.")
    expect(page.locator(".tiles")).to_contain_text("of $90.50")
    expect(page.locator("main")).to_contain_text("by otto")
    expect(page.locator("main")).to_contain_text("<b>the quarter</b> is over")
    page.goto(f"{dash.address}/audit")
    expect(page.get_by_role("row", name=re.compile("limit")).first).to_contain_text("otto")
    page.goto(f"{dash.address}/budgets/support")
    page.get_by_role("button", name="Back to the configuration's limit").click()
    expect(page.locator(".tiles")).to_contain_text("of $120.00")


def test_who_looks_after_people_reads_the_book_of_changes_and_nobody_else_does(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "otto")
    page.goto(f"{dash.address}/audit")
    expect(page.get_by_role("heading", name="The signed log")).to_be_visible()
    expect(page.get_by_role("heading", name="The book of changes")).to_have_count(0)
    dash.sign_in(page, "cleo")
    page.goto(f"{dash.address}/audit")
    expect(page.get_by_role("region", name="The book of changes")).to_contain_text("vera")


def test_an_exchange_is_searched_read_and_compared(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "otto")
    page.goto(f"{dash.address}/exchanges")
    page.get_by_label("Route").fill("letters")
    page.get_by_label("Purpose").select_option("user")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(24)
    page.locator("tbody th a").first.click()
    expect(page.get_by_label("Request")).to_contain_text("write a letter about case")
    expect(page.get_by_label("Answer", exact=True)).to_contain_text("A letter <img")
    page.go_back()
    page.get_by_role("button", name="Compare the two that are chosen").click()
    expect(page.locator("tr.differs").first).to_be_visible()
    page.goto(f"{dash.address}/exchanges?since=the+day+before")
    expect(page.get_by_role("alert")).to_contain_text("write a date or time")


def test_who_only_looks_does_not_read_what_was_said(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "vera")
    page.goto(f"{dash.address}/exchanges?route=letters&purpose=user")
    page.locator("tbody th a").first.click()
    expect(page.locator("main")).to_contain_text("reading it takes the role of an operator")
    expect(page.locator("main")).not_to_contain_text("write a letter about case")


def test_ten_pairs_are_labelled_with_the_keyboard(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "lena")
    expect(page.get_by_role("heading", level=1)).to_have_text("Labels")
    page.get_by_role("link", name=dash.demo.judged).click()
    for number in range(10):
        expect(page.locator("#progress")).to_contain_text(f"{number} of")
        expect(page.locator("#left")).to_contain_text("<script>")
        page.keyboard.press("ArrowDown" if number % 3 else "ArrowLeft")
    expect(page.locator("#progress")).to_contain_text("10 of")
    page.goto(f"{dash.address}/labels")
    expect(page.get_by_role("row", name=re.compile(dash.demo.judged))).to_contain_text("10 of")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_no_page_has_a_serious_hindrance_and_none_runs_what_a_model_wrote(
    dash: Dash, opened: OpenPage, scheme: str
) -> None:
    page = opened(DESKTOP, "dark" if scheme == "dark" else "light")
    watched = Watched(page)
    dash.sign_in(page, "cleo")
    axe = Axe()
    found: dict[str, list[str]] = {}
    for name, path in dash.paths().items():
        page.goto(dash.address + path)
        page.wait_for_load_state("load")
        assert "owned" not in page.title(), name
        serious = [
            f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}"
            for one in axe.run(page).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        if serious:
            found[name] = serious
    assert {} == found
    assert [] == watched.complaints


@pytest.mark.parametrize("width", [PHONE, *(pytest.param(one, marks=pytest.mark.long) for one in (320, 768))])
def test_nothing_is_wider_than_the_screen(dash: Dash, opened: OpenPage, width: int) -> None:
    wide = {}
    page = opened(width, "light")
    dash.sign_in(page, "cleo")
    for name, path in dash.paths().items():
        page.goto(dash.address + path)
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            wide[name] = over
    assert {} == wide


def test_the_whole_of_a_page_is_reached_with_the_keyboard(dash: Dash, page: Page) -> None:
    dash.sign_in(page, "vera")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    assert "main" == page.evaluate("document.activeElement.id")


def test_it_prints_without_what_only_a_screen_needs(dash: Dash, page: Page, tmp_path: Path) -> None:
    dash.sign_in(page, "vera")
    page.emulate_media(media="print")
    expect(page.locator(".side")).to_be_hidden()
    assert page.pdf(path=tmp_path / "overview.pdf").startswith(b"%PDF")
