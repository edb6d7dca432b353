"""What the documentation site is made of: docstrings, evidence, blocks of code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from docstrings import parts, to_markdown
from test_package import LOSSES

import mlc_losses as ml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
# these are run by `nox -s docs`; other code is not Python, and says what it is
PYTHON, OTHER = {"python", "pycon"}, {"sh", "text", "toml"}
ROW = re.compile(r"^\| `(\w+)` \|.*\|([^|]*)\|$", re.MULTILINE)
# the words of another page, and which page that is
QUOTE = re.compile(r"“([^”]+)”")
SOURCE = re.compile(r"\(\[[^\]]+\]\(([\w/]+\.md)\)\)")


def converted(text: str) -> str:
    return to_markdown(
        text,
        link=lambda name: f"[{name}]",
        inline=lambda latex: f"<i>{latex}</i>",
        display=lambda latex: f"<b>{latex}</b>",
    )


@pytest.mark.parametrize(
    ("sphinx", "markdown"),
    [
        ("bool ``[..., L]``.", "bool `[..., L]`."),
        ("see :func:`zlpr`, and\n:meth:`encode`", "see [zlpr], and\n[encode]"),
        ("at :math:`s_0 > 0`.", 'at <span class="formula"><i>s_0 > 0</i></span>.'),
        ("by `A\ntitle <https://a.b/c_d>`_, 2022", "by [A title](https://a.b/c_d), 2022"),
        ("`a <https://a>`_ and\n`b <https://b>`_ ones", "[a](https://a) and\n[b](https://b) ones"),
        (".. math:: a \\\\\n   b\n\nmore", '<div class="formula"><b>a \\\\ b</b></div>\n\n\nmore'),
        (".. math::\n    a\n\n    b\n\nmore", '<div class="formula"><b>a b</b></div>\n\n\nmore'),
        ("Limits: one label is that.", "**Limits.** one label is that."),
        ("References:\n  Su, 2022;\n  2023", "**References.** Su, 2022;\n  2023"),
        ("Text.\n\nExample:\n  >>> f('``x``')", "Text.\n\nExamples:\n  >>> f('``x``')"),
        ("of `targets`, plain", "of `targets`, plain"),
    ],
)  # fmt: skip
def test_sphinx_markup_becomes_markdown(sphinx: str, markdown: str) -> None:
    assert converted(sphinx) == markdown


@pytest.mark.parametrize("name", [*ml.__all__, *(f"metrics.{name}" for name in ml.metrics.__all__)])
def test_no_sphinx_markup_is_left(name: str) -> None:
    value = ml
    for part in name.split("."):
        value = getattr(value, part)
    text = inspect.cleandoc(value.__doc__)
    prose = converted(text).partition("\nExamples:\n")[0]
    assert not re.search(r":\w+:`|``|`_\b|`__|\.\. \w+::", prose)
    assert prose.strip()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_has_what_its_page_in_the_gallery_shows(name: str) -> None:
    found = parts(inspect.cleandoc(getattr(ml, name).__doc__))
    papers = dict(ROW.findall((ROOT / "docs" / "losses.md").read_text(encoding="utf-8")))
    wanted = {"Args", "Returns", "Raises", "Example", "math"}
    assert found >= (wanted | {"References"} if papers[name].strip() else wanted)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """So that none is passed over by the run of all Python blocks."""
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= PYTHON | OTHER
    assert set(fences[1::2]) <= {""}


def plain(text: str) -> str:
    return " ".join(text.replace("*", "").replace("`", "").split()).lower()


def test_quoted_evidence_is_what_the_page_says() -> None:
    path = ROOT / "docs" / "which_loss.md"
    leaves = path.read_text(encoding="utf-8").split("\n\n")
    quoted = [(quote, leaf) for leaf in leaves for quote in QUOTE.findall(leaf)]
    assert quoted
    for quote, leaf in quoted:
        sources = SOURCE.findall(leaf)
        assert sources, f"no page is named beside {quote!r}"
        said = [plain((path.parent / each).read_text(encoding="utf-8")) for each in sources]
        assert any(plain(quote) in page for page in said), f"not in {sources}: {quote!r}"
