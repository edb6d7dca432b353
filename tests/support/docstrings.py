"""Docstrings of the library, Google style with Sphinx markup, as Markdown with MathML.

Pure text in, pure text out: nothing here needs MkDocs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Convert = Callable[[str], str]

_MARKUP = re.compile(
    r"""
      ^\.\.[ ]math::(?P<block>.*(?:\n(?:[ \t]+\S.*|[ \t]*(?=\n[ \t]+\S)))*)
    | :math:`(?P<math>[^`]+)`
    | :(?:func|meth|class):`(?P<name>[^`]+)`
    | ``(?P<code>[^`]+)``
    | `(?P<text>[^`<]+?)\s*<(?P<url>[^>`]+)>`_
    """,
    re.MULTILINE | re.VERBOSE,
)
# a heading of ours that the parser of Google style does not know
_REMARK = re.compile(r"^(Gradient|Limits|Use when|References):(?:[ ]|\n[ ]+)(\S)", re.MULTILINE)


def to_markdown(text: str, link: Convert, inline: Convert, display: Convert) -> str:
    """The docstring with its markup as Markdown, code left as it is.

    Args:
      text: a docstring without indentation, as `inspect.cleandoc` gives it.
      link: the name in a role such as :func:`zlpr` to Markdown.
      inline: LaTeX inside a sentence to HTML.
      display: LaTeX that stands alone to HTML.
    """

    def replaced(found: re.Match[str]) -> str:
        if found["block"] is not None:
            return f'<div class="formula">{display(_one_line(found["block"]))}</div>\n'
        if found["math"] is not None:
            return f'<span class="formula">{inline(_one_line(found["math"]))}</span>'
        if found["name"] is not None:
            return link(found["name"])
        if found["code"] is not None:
            return f"`{_one_line(found['code'])}`"
        return f"[{_one_line(found['text'])}]({found['url']})"

    prose, heading, example = text.partition("\nExample:\n")
    prose = _MARKUP.sub(replaced, prose)
    prose = _REMARK.sub(lambda found: f"**{found[1]}.** {found[2].upper()}", prose)
    # the parser knows a section of this name alone
    return prose + heading.replace("Example:", "Examples:") + example


def parts(text: str) -> set[str]:
    """The headings of a docstring; "math" too if it has a formula of its own."""
    found = set(re.findall(r"^([A-Z][\w ]+):(?=\s)", text, re.MULTILINE))
    return found | ({"math"} if ".. math::" in text else set())


def remark(text: str, name: str) -> str:
    """The paragraph that begins with this heading, in one line; "" if there is none."""
    found = re.search(rf"^{name}:\s+(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return _one_line(found[1]) if found else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
