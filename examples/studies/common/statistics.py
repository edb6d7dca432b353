"""Paired tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

LEVEL = 0.05


def paired_p(values: np.ndarray) -> float:
    """Two-sided p of a mean of 0. Equal differences tell nothing of their spread, so p is 1."""
    spread = values.std(ddof=1)
    # rounding alone makes equal differences differ by some 1e-16
    if spread <= 1e-9 * np.abs(values).max():
        return 1.0
    t = values.mean() / spread * math.sqrt(len(values))
    return float(2 * student.sf(abs(t), len(values) - 1))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    result, highest = [0.0] * len(values), 0.0
    for place, index in enumerate(np.argsort(values, kind="stable")):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        result[index] = highest
    return result


def gap_cells(gaps: Sequence[np.ndarray]) -> list[str]:
    """Mean differences over seeds in points, with p of a paired t-test; for one seed without.

    Bold where it stands after Holm's correction for all of them.
    """
    means = [f"{100 * gap.mean():+.1f}" for gap in gaps]
    if any(len(gap) < 2 for gap in gaps):
        return means
    p_values = [paired_p(gap) for gap in gaps]
    return [
        f"{f'**{mean}**' if adjusted < LEVEL else mean} ({f'{p:.3f}' if p >= 1e-3 else '< 0.001'})"
        for mean, p, adjusted in zip(means, p_values, holm(p_values), strict=True)
    ]
