"""Reductions over the batch axis, which is the first one here, for losses across the batch."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.namespace import namespace, shape_of


def batch_sum(x: Any) -> Any:
    """Sum over the examples."""
    return namespace(x=x).sum(x, axis=0)


def batch_max(x: Any) -> Any:
    """Largest entry over the examples; -inf where there is none."""
    if shape_of(x)[0] == 0:
        return batch_sum(x) - math.inf
    return namespace(x=x).max(x, axis=0)


def batch_any(mask: Any) -> Any:
    """Whether any entry over the examples is True."""
    return namespace(mask=mask).any(mask, axis=0)
