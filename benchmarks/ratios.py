"""Timing on a noisy machine: everything in one run, in turns, medians, ratios."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from examples.studies.common.tables import Table, bold

# PyTorch's threads go on spinning for a while after a call and would slow what is timed next
PAUSE = 0.02


def medians(
    functions: dict[str, Callable[[], Any]], *, rounds: int = 40, warm_up: int = 3
) -> dict[str, float]:
    """Median seconds of each function, which must wait for its own result.

    Every round calls all of them once, in a new order.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    order = random.Random(0)
    for number in range(warm_up + rounds):
        order.shuffle(names)
        for name in names:
            time.sleep(PAUSE)
            start = time.perf_counter()
            functions[name]()
            if number >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, seconds: dict[str, float], ours: str) -> str:
    """Markdown: the median of each function, and our time as a share of it."""
    rows = [
        [name, f"{1e3 * value:.2f}", f"{seconds[ours] / value:.2f}"]
        for name, value in seconds.items()
    ]
    return bold(Table(title, ["", "ms", "our share"], rows))
