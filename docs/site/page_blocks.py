"""Plugin of pytest: every Python block of the README and of the pages is run.

    python -m pytest -p docs.site.page_blocks README.md docs/*.md

Blocks of one page share their names. What a `pycon` block shows is compared with what it prints.
"""

from __future__ import annotations

from pathlib import Path

from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


class ConsoleBlockParser(PythonCodeBlockParser):
    """The same for blocks that Pygments is to colour as an interactive session."""

    def __init__(self) -> None:
        super().__init__()
        self.codeblock_parser = CodeBlockParser("pycon", PythonEvaluator())


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ConsoleBlockParser(), SkipParser()],
    path=str(Path(__file__).parents[2]),
    patterns=["README.md", "docs/*.md", "docs/results/*.md"],
).pytest()
