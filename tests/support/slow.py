"""What holds tests to their time: imported by each conftest."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.backends import NAME
from tests.support.depth import DEPTH


def slow_to_compile(test: Any) -> Any:
    """A test of which JAX compiles long: there the session `modes` takes it."""
    return pytest.mark.modes(test) if NAME == "jax" else test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that takes over 10 s says why it must.

    By the clock and by its work, its processes' included: a busy machine makes no test slow. Ten
    times the examples may take ten times as long. The mark `modes` says why too: a compiler.
    """
    start, before = time.monotonic(), os.times()
    result = yield
    work = sum(os.times()[:4]) - sum(before[:4])
    seconds = min(time.monotonic() - start, work)
    said = item.get_closest_marker("slow") or item.get_closest_marker("modes")
    if seconds > 10 * DEPTH and said is None:
        pytest.fail(f"takes {seconds:.0f} s: make it quicker, or give it a mark `slow(reason)`")
    return result
