"""`1 / a` as a sum of few exponentials, which turns the mean of a ratio into products."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

# where the relative error is to be small, as many points as determine the weights several times
_POINTS = 400


def exponential_sum(largest: float, double: bool) -> tuple[np.ndarray, np.ndarray]:
    """`(nodes, weights)` with `1 / a = Σ weights e^(-nodes a)` for each a in `1..largest`.

    To 1e-10 of itself, or 1e-7 if not `double`; to 1e-8 where `largest` is beyond 100,000. The
    nodes are spaced evenly in their logarithm, the weights are those of least squares in the
    relative error. Their number grows like the logarithm of `largest`, as that of the best nodes
    does (Braess, Hackbusch 2005).
    """
    return _fitted(largest, double)


# PyTorch's compiler takes the result as a constant: it would trace NumPy too
exponential_sum._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _fitted(largest: float, double: bool) -> tuple[np.ndarray, np.ndarray]:
    # closer nodes would have large weights of both signs
    spread = math.log(max(largest, 64.0))
    count = math.ceil(12 + 2.75 * spread) if double else math.ceil(8 + 2.0 * spread)
    nodes = np.exp(np.linspace(math.log(0.5) - spread, math.log(15.0 if double else 9.0), count))
    # Chebyshev's points, in the logarithm
    angles = math.pi * (np.arange(_POINTS) + 0.5) / _POINTS
    points = np.exp(spread * (1.0 - np.cos(angles)) / 2.0)[:, None]
    terms = points * np.exp(-points * nodes)
    weights = np.linalg.lstsq(terms, np.ones(_POINTS), rcond=1e-15)[0]
    return nodes, weights
