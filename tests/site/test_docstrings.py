"""Docstrings: their parts, and markup that the site can show."""

from __future__ import annotations

import inspect
import re

import pytest

import mlc_losses as ml
from tests.losses.names import LOSSES
from tests.support.docstrings import parts, to_markdown

# folklore
WITHOUT_PAPER = {"binary_cross_entropy", "contrastive"}
# no targets to name the format of: they compare two outputs, or take a weight for each pair
WITHOUT_TARGETS = {"contrastive", "n_pair", "zlpr_kl"}


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
        ("Limits: one label is that.", "**Limits.** One label is that."),
        ("Use when: labels\nare few.", "**Use when.** Labels\nare few."),
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


@pytest.mark.parametrize("name", ml.__all__)
def test_every_docstring_has_its_parts(name: str) -> None:
    value = getattr(ml, name)
    text = inspect.getdoc(value) or ""
    assert text.splitlines()[0].endswith(".")
    if not inspect.ismodule(value):
        for part in ("Args:", "Example:", ">>>"):
            assert part in text, part
    if name in LOSSES:
        arguments = inspect.signature(value).parameters
        masks = [f"{argument}:" for argument in ("where", "axis") if argument in arguments]
        for part in ("Returns:", "Raises:", ".. math::", *masks):
            assert part in text, part
    if name in LOSSES - WITHOUT_TARGETS:
        first_line = text.splitlines()[0]
        formats = ("class id",) if "labels" in arguments else ("multi-hot", "targets")
        assert any(part in first_line for part in formats)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_has_what_its_page_in_the_gallery_shows(name: str) -> None:
    found = parts(inspect.cleandoc(getattr(ml, name).__doc__))
    assert found >= {"Args", "Returns", "Raises", "Example", "math"}
    assert "References" in found or name in WITHOUT_PAPER
