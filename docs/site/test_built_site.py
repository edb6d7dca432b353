"""The site as a reader opens it: from files, without a network, on a laptop and on a phone.

`MLC_SITE` names the folder of the built site, build/site without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

SITE = Path(os.environ.get("MLC_SITE", Path(__file__).parents[2] / "build" / "site")).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("**/*.html"))
LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
# a page as a whole, or something in it that cannot be scrolled, is wider than the screen
TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = (e) => e && (getComputedStyle(e).overflowX !== "visible"
                                 || scrolls(e.parentElement));
    return [...document.querySelectorAll("article *")]
        .filter((e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
        .map((e) => e.outerHTML.slice(0, 80));
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=PHONE)
    page.requests = []
    page.errors = []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def address(path: str) -> str:
    return (SITE / path).as_uri()


def test_the_site_is_built() -> None:
    assert {"index.html", "which_loss.html", "gallery/zlpr.html"} <= set(PAGES)


@pytest.mark.slow("opens every page of the site in a browser")
def test_no_page_needs_a_network_or_is_wider_than_a_phone(page: Page) -> None:
    wide = {}
    for path in PAGES:
        page.goto(address(path))
        if found := page.evaluate(TOO_WIDE):
            wide[path] = found
    assert not wide
    own = ("file:", "data:", "blob:", "about:")
    assert not [url for url in page.requests if not url.startswith(own)]
    assert not page.errors


def test_search_works_from_a_file(page: Page) -> None:
    page.set_viewport_size(LAPTOP)
    page.goto(address("index.html"))
    page.locator(".md-search__input").first.press_sequentially("long-tailed")
    page.locator('.md-search-result__link[href*="gallery/"]').first.click()
    page.wait_for_url("**/gallery/*")
    assert "long-tailed" in page.locator("article").inner_text().lower()


def test_the_filter_of_the_gallery(page: Page) -> None:
    page.goto(address("gallery/index.html"))
    page.locator("input.filter").fill("long-tail prototypes")
    shown = page.locator(".card:visible a")
    assert shown.all_inner_texts() == ["msc", "mscrg"]
    shown.first.click()
    assert page.url.endswith("gallery/msc.html")


def test_formulas_are_set_in_the_font_of_the_site(page: Page) -> None:
    page.goto(address("gallery/zlpr.html"))
    page.evaluate("document.fonts.ready")
    assert page.evaluate("document.fonts.check('16px Formulas')")
    assert "formulas.woff" in " ".join(page.requests)
    # brackets grow with what is inside, which only a font for formulas can do
    heights = "es => es.map((e) => e.getBoundingClientRect().height)"
    small = page.locator("article .formula mo").evaluate_all(heights)
    assert max(small) > 2 * min(small)
