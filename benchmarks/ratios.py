"""Timing on a noisy machine: everything in one run, in turns, medians, ratios."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from examples.studies.common.tables import Table, bold

# PyTorch's threads go on spinning for a while after a call and would slow what is timed next
PAUSE = 0.02


def times(
    functions: dict[str, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int,
    pause: float = 0.0,
    limit: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds of each function, which must wait for its own result; one number for each round.

    Every round calls all of them once, in a new order, with a pause before each. After `limit`
    seconds it ends, but not before three rounds.
    """
    found: dict[str, list[float]] = {name: [] for name in functions}
    order, names = random.Random(0), list(functions)
    begin = time.perf_counter()
    for number in range(-warm_up, rounds):
        if number >= 3 and time.perf_counter() - begin > limit:
            break
        order.shuffle(names)
        for name in names:
            time.sleep(pause)
            start = time.perf_counter()
            functions[name]()
            if number >= 0:
                found[name].append(time.perf_counter() - start)
    return found


def medians(
    functions: dict[str, Callable[[], Any]], *, rounds: int = 40, warm_up: int = 3
) -> dict[str, float]:
    """Median seconds of each function."""
    found = times(functions, rounds=rounds, warm_up=warm_up, pause=PAUSE)
    return {name: statistics.median(values) for name, values in found.items()}


def table(title: str, seconds: dict[str, float], ours: str) -> str:
    """Markdown: the median of each function, and our time as a share of it."""
    rows = [
        [name, f"{1e3 * value:.2f}", f"{seconds[ours] / value:.2f}"]
        for name, value in seconds.items()
    ]
    return bold(Table(title, ["", "ms", "our share"], rows))
