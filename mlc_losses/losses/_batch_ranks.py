"""The largest scores of a whole batch `[n, L]`: how many, and which."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlc_losses._array.batch import batch_before, batch_size, batch_sum
from mlc_losses._array.kth_of_batch import kth_largest
from mlc_losses._array.labels import label_any, label_running_count, label_sum
from mlc_losses._array.namespace import (
    can_look,
    default_float,
    default_integer,
    is_number,
    namespace,
)
from mlc_losses._array.ops import stop_gradient


def num_examples(scores: Any, where: Any) -> Any:
    """How many examples have a known class."""
    if where is None:
        return batch_size(scores)
    xp = namespace(where=where)
    return batch_sum(xp.astype(label_any(where), default_integer(xp)))


def rank_of(count: Any, share: float, rounding: Callable[[float], int]) -> Any:
    """`count * share` as a rank: an integer where looking at the count is free, else an array.

    `rounding` is Python's `round` or `math.ceil`; the latter up to an error of 1e-6.
    """
    if is_number(count) or can_look(count):
        product = int(count) * share
        return round(product) if rounding is round else math.ceil(round(product, 6))
    xp = namespace(count=count)
    product = xp.astype(count, default_float(xp)) * share
    rank = xp.round(product) if rounding is round else xp.ceil(product - 1e-6)
    return xp.astype(rank, default_integer(xp))


def largest_mask(x: Any, count: Any, among: Any) -> Any:
    """Bool `[n, L]`: the `count` largest of the entries `among`, ties to the lowest flat index.

    NaN counts as -inf. All of them if there are fewer.
    """
    xp = namespace(x=x)
    x = xp.where(among & ~xp.isnan(x), stop_gradient(x), -math.inf)
    cut = kth_largest(x, count)
    above, tied = among & (x > cut), among & (x == cut)
    integer = default_integer(xp)
    left = count - batch_sum(label_sum(xp.astype(above, integer)))
    ties_before = batch_before(label_sum(xp.astype(tied, integer)))[:, None]
    return above | (tied & (ties_before + label_running_count(tied) <= left))
