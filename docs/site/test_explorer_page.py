"""The explorer as a reader uses it, in a browser, from files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

import mlc_losses
from docs.site.explorer_selection import SHOWN
from docs.site.explorer_tables import library
from docs.site.test_built_site import LAPTOP, PHONE, SITE, TOO_WIDE, address
from docs.site.test_explorer import CASES, bounds


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """The explorer on a laptop; nothing may have gone wrong when a test is done with it."""
    errors: list[str] = []
    page = browser.new_page(viewport=LAPTOP)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    def failed(request: Request) -> None:
        # the icon of the site is asked for last: a page that is left by then cancels it
        if request.failure != "net::ERR_ABORTED":
            errors.append(f"{request.url}: {request.failure}")

    page.on("console", said)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", failed)
    visit(page)
    yield page
    page.close()
    assert not errors


def visit(page: Page, hash: str = "") -> None:
    page.goto("about:blank")  # the same page with another hash would not load again
    page.goto(address("explorer.html") + hash)
    page.locator("#explorer-note:not(:empty)").wait_for()


def slider(page: Page, label: str) -> Locator:
    return page.get_by_role("slider", name=f"Logit of {label}")


def numbers(page: Page) -> list[str]:
    """The loss and its gradients, as they are shown."""
    gradients = page.locator("#explorer-gradients td:last-child").all_inner_texts()
    return [page.locator("#explorer-value").inner_text(), *gradients]


def assert_shows(
    page: Page, name: str, relevant: list[int], logits: list[float], **options: Any
) -> None:
    """What is shown is the library's, to the last digit that is shown."""
    wanted = library(SHOWN[name], options, np.array([relevant], float), np.array([logits]))[0]
    for text, number in zip(numbers(page), wanted, strict=True):
        unit = 10.0 ** -len(text.partition(".")[2])
        assert float(text) == pytest.approx(number, abs=1.01 * unit)


def test_a_slider_changes_the_numbers(page: Page) -> None:
    assert_shows(page, "zlpr", [1, 0, 1], [1.6, 0.5, -0.9], threshold=0.0)
    before = numbers(page)
    slider(page, "C").press("ArrowRight")
    assert slider(page, "C").input_value() == "-0.8"
    assert numbers(page) != before
    assert_shows(page, "zlpr", [1, 0, 1], [1.6, 0.5, -0.8], threshold=0.0)
    slider(page, "B").fill("-6")
    assert_shows(page, "zlpr", [1, 0, 1], [1.6, -6.0, -0.8], threshold=0.0)
    assert page.locator("#explorer-prediction").inner_text() == "A"
    assert "misses C" in page.locator("#explorer-words").inner_text()


def test_another_loss_another_setting_other_labels(page: Page) -> None:
    page.get_by_label("Loss", exact=True).select_option("focal")
    page.get_by_label("gamma").select_option(label="4.0")
    page.get_by_label("alpha").select_option(label="0.25")
    page.get_by_label("B is relevant").check()
    page.get_by_label("A is relevant").uncheck()
    page.wait_for_url("**/*relevant=011*")
    assert_shows(page, "focal", [0, 1, 1], [1.6, 0.5, -0.9], gamma=4.0, alpha=0.25)
    page.get_by_label("Loss", exact=True).select_option("top_k_hinge")
    page.get_by_label("C is relevant").check()  # one class: the others are let go
    page.locator("#explorer-prediction", has_text="A").wait_for()
    assert_shows(page, "top_k_hinge", [0, 0, 1], [1.6, 0.5, -0.9], k=1, kind="calibrated")


def test_the_point_on_the_map_moves_two_logits(page: Page) -> None:
    canvas = page.locator("#explorer-map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 2)
    page.mouse.up()
    assert [slider(page, label).input_value() for label in "ABC"] == ["6", "6", "-0.9"]
    assert_shows(page, "zlpr", [1, 0, 1], [6.0, 6.0, -0.9], threshold=0.0)


def test_the_address_holds_what_is_chosen(page: Page) -> None:
    visit(page, "#zlpr&threshold=2.0&relevant=010&logits=0.3,2.4,1.0")
    assert_shows(page, "zlpr", [0, 1, 0], [0.3, 2.4, 1.0], threshold=2.0)
    assert page.locator("#explorer-prediction").inner_text() == "B"
    slider(page, "A").press("ArrowLeft")
    before = numbers(page)
    visit(page, page.evaluate("location.hash"))
    assert numbers(page) == before
    page.evaluate("location.hash = '#warp'")
    page.locator("#explorer-call", has_text="mlc_losses.warp").wait_for()
    visit(page, "#no_such_loss")
    assert page.locator("#explorer-loss").input_value() == "zlpr"


def test_every_loss_shows_a_call_that_gives_its_number(page: Page) -> None:
    page.set_viewport_size(PHONE)
    for name in SHOWN:
        page.evaluate("hash => { location.hash = hash; }", name)
        code = page.locator("#explorer-call", has_text=f"mlc_losses.{name}(")
        code.wait_for()
        call = code.inner_text()
        value = float(eval(call, {"np": np, "mlc_losses": mlc_losses}))
        text = page.locator("#explorer-value").inner_text()
        unit = 10.0 ** -len(text.partition(".")[2])
        assert float(text) == pytest.approx(value, abs=1.01 * unit), call
        assert not page.evaluate(TOO_WIDE), name
        link = page.locator("#explorer-entry").evaluate("link => link.href")
        assert link == (SITE / "gallery" / f"{name}.html").as_uri()
        assert (SITE / "gallery" / f"{name}.html").is_file()


def test_the_script_reads_every_table_as_it_was_made(page: Page) -> None:
    rng = np.random.default_rng(3)
    wanted, found = {}, {}
    for shown, number in CASES:
        logits = rng.uniform(-shown.reach, shown.reach, (40, 3))
        targets = rng.integers(0, 2, (40, 3))
        if shown.classes:
            targets = np.eye(3, dtype=int)[targets.sum(-1) % 3]
        name = f"{shown.name}-{number}"
        wanted[name] = library(shown, shown.settings()[number], targets.astype(float), logits)
        found[name] = page.evaluate(
            """async ([name, targets, logits]) => {
                const table = await mlcExplorer.load(name);
                return targets.map((relevant, row) => {
                    const read = mlcExplorer.evaluate(table, relevant.map(Boolean), logits[row]);
                    return [read.value, ...read.gradients];
                });
            }""",
            [name, targets.tolist(), logits.tolist()],
        )
    off = {
        f"{shown.name}-{number}": np.abs(np.array(found[f"{shown.name}-{number}"]) - exact)
        for (shown, number), exact in zip(CASES, wanted.values(), strict=True)
    }
    assert not [
        name
        for (shown, _), (name, distance) in zip(CASES, off.items(), strict=True)
        if (distance > bounds(shown, wanted[name])).any()
    ]
