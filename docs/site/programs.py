"""The programs of `examples/recipes`, where a page names one on a line of its own."""

from __future__ import annotations

import re
from textwrap import indent

from docs.site.catalog import ROOT

_PROGRAM = re.compile(r"^Program: `(examples/recipes/\w+\.py)`$", re.MULTILINE)


def unfolded(markdown: str) -> str:
    """The text of each program, below its name."""
    return _PROGRAM.sub(_block, markdown)


def _block(found: re.Match[str]) -> str:
    path = found[1]
    code = f"```python\n{(ROOT / path).read_text(encoding='utf-8')}```\n"
    return f'??? note "Program: `{path}`"\n\n{indent(code, " " * 4)}'
