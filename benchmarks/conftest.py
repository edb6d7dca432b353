"""Prints the ratios that the benchmarks found, below pytest-benchmark's own table."""

from __future__ import annotations

from typing import Any

import pytest

REPORT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


@pytest.fixture
def report(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the run."""
    return request.config.stash[REPORT]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.section("ratios: our time as a share of each peer's")
    for lines in config.stash[REPORT]:
        terminalreporter.write_line(lines)
