"""Collects the ratios the benchmarks find: printed at the end and, with --into PATH, written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.cells import MARKS
from examples.studies.common.pages import replace_between

REPORT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--into", type=Path, help="Markdown file whose measured part is replaced")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


@pytest.fixture
def report(request: pytest.FixtureRequest) -> list[str]:
    """Paragraphs for the end of the run."""
    return request.config.stash[REPORT]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    text = "\n\n".join(config.stash[REPORT])
    terminalreporter.section("measured: our time as a share of each peer's")
    terminalreporter.write_line(text)
    path = config.getoption("into")
    if path is not None and text:
        replace_between(path, *MARKS, text)
