"""LaTeX to MathML at build time: formulas need no script and no font from elsewhere."""

from __future__ import annotations

import re
from functools import cache

from latex2mathml.converter import convert

_LINES = re.compile(r"\\\\|(?<!\\)&")
_WORD = re.compile(r"\\(?:text|mathrm)\{([^{}]{2,})\}")
# the name of a function, and the bracket that follows it, if one does
_FUNCTION = re.compile(
    r"<(?:mi|mo|mtext)>(log|cos|max|min|softmax|zlpr|zlpr_kl|BCE)</(?:mi|mo|mtext)>"
    r"(<mo[^>]*>(?:&#x00028;|\())?"
)


@cache
def inline(latex: str) -> str:
    return _for_markdown(convert(_prepared(latex), display="inline"))


@cache
def display(latex: str) -> str:
    """A formula on a line of its own; with & or a line break, its lines are aligned."""
    if _LINES.search(latex) and r"\begin{" not in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    return _for_markdown(convert(_prepared(latex), display="block"))


def _prepared(latex: str) -> str:
    """Words are text, without the backslash that TeX wants before an underscore."""
    return _WORD.sub(lambda found: rf"\text{{{found[1]}}}".replace(r"\_", "_"), latex)


def _for_markdown(mathml: str) -> str:
    """Names of functions spaced as TeX does; nothing that Markdown takes for emphasis or code."""

    def spaced(found: re.Match[str]) -> str:
        name, bracket = found[1], found[2] or ""
        after = "0" if bracket else "0.167em"
        return f'<mo lspace="0.167em" rspace="{after}">{name}</mo>{bracket}'

    mathml = _FUNCTION.sub(spaced, mathml)
    for character in "*_`|":
        mathml = mathml.replace(character, f"&#{ord(character)};")
    return mathml
