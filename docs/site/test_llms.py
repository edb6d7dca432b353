"""llms.txt: what a line says, and the file of the built site."""

from __future__ import annotations

import re

import pytest

from docs.site.llms import Entry, line_of, text
from docs.site.test_built_site import PAGES, SITE
from tests.losses.names import LOSSES

LINK = re.compile(r"^- \[([^\]]+)\]\(([^)]+)\)(?:: (.+))?$", re.MULTILINE)


@pytest.mark.parametrize(
    ("markdown", "line"),
    [
        ("# Title\n\nOne line, [linked](a.md)\nand wrapped. Two.", "One line, linked and wrapped."),
        (
            "<!-- made -->\n\n# T\n\n- a list\n\nThen `zlpr`, e.g. on JAX.",
            "Then `zlpr`, e.g. on JAX.",
        ),
        ("# Metrics\n\n::: mlc_losses.metrics.f1_score\n\n::: mlc_losses.zlpr\n", "f1_score, zlpr"),
        ("# Title\n\n    code\n\n**Bold** text.", "Bold text."),
        ("# Nothing\n", ""),
    ],
)
def test_a_page_in_one_line(markdown: str, line: str) -> None:
    assert line_of(markdown) == line


def test_title_paragraph_sections() -> None:
    entries = [
        Entry("Pages", "Start", "index.html", "It begins."),
        Entry("Pages", "B", "b.html", ""),
    ]
    assert text("name", "What it is.", entries) == (
        "# name\n\n> What it is.\n\n## Pages\n\n- [Start](index.html): It begins.\n- [B](b.html)\n"
    )


def test_the_site_has_every_page_in_it() -> None:
    written = (SITE / "llms.txt").read_text(encoding="utf-8")
    found = {url: line for _, url, line in LINK.findall(written)}
    assert written.startswith("# mlc_losses\n\n> Losses for ")
    assert set(found) == set(PAGES) - {"404.html"}
    assert all(found.values())
    # in the order of the navigation
    assert list(found)[:2] == ["index.html", "which_loss.html"]
    assert "pair of a relevant and an irrelevant label" in found["gallery/pairwise_hinge.html"]
    assert {f"gallery/{name}.html" for name in LOSSES} <= set(found)
