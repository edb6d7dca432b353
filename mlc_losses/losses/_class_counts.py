"""Checks of class counts, and what a label never seen counts as."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import check_array
from mlc_losses._array.labels import label_max
from mlc_losses._array.namespace import (
    accept_numpy,
    as_compute_float,
    is_number,
    namespace,
    shape_of,
)
from mlc_losses._array.value_checks import check_at_least_0


def checked_counts(counts: Any, num_examples: Any = math.inf, beta: Any = None) -> tuple[Any, Any]:
    """`(xp, counts [L] as floats)`, checked, in the library of a `beta` that is an array."""
    _check_is_array(counts)
    xp = namespace(counts=counts) if beta is None else namespace(beta=beta, counts=counts)
    counts = accept_numpy(xp, counts)
    if counts.ndim != 1:
        raise ValueError(f"counts must be an array of shape [L], got {shape_of(counts)}")
    check_counts(xp, counts, num_examples)
    return xp, as_compute_float(xp, counts)


def check_counts(xp: Any, counts: Any, num_examples: Any = math.inf) -> None:
    _check_is_array(counts)
    if not xp.isdtype(counts.dtype, ("integral", "real floating")):
        raise TypeError(f"counts must be integers or floats, got dtype {counts.dtype}")
    high = num_examples if is_number(num_examples) else math.inf
    check_at_least_0("counts", counts, high, "num_examples")


def _check_is_array(counts: Any) -> None:
    if is_number(counts):
        raise TypeError(f"counts must be an array of shape [L], got the number {counts}")
    check_array("counts", counts)


def at_least_one(xp: Any, counts: Any) -> Any:
    return xp.where(counts < 1, 1.0, counts)  # NaN stays


def seen_counts(xp: Any, counts: Any) -> Any:
    """Counts where a label never seen counts as seen once, of fractions as the rarest seen."""
    rarest = -label_max(-counts, counts > 0)[..., None]
    return xp.where(counts > 0, counts, xp.where(rarest < 1, rarest, 1.0))
