"""Times on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def fastest(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of each call, the least of several; in turns, so that a busy spell hits all."""
    for call in calls.values():
        jax.block_until_ready(call())
    best = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            best[name] = min(best[name], time.perf_counter() - began)
    return best
