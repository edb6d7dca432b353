"""The labels of highest score of a linear layer in the array API, in eager code."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.kth_label import k_largest
from mlc_losses._array.namespace import as_dtype, default_integer, namespace, shape_of
from mlc_losses._array.ops import entries_at, stop_gradient
from mlc_losses.scale._rows import budget_of, labels_within, wide


def top_k_by_blocks(
    features: Any, kernel: Any, bias: Any, k: int, label_block: int | None
) -> tuple[Any, Any]:
    """Ids and scores `[N, k]`: what has been found stands before a new block, and wins ties."""
    xp = namespace(features=features)
    features, kernel = stop_gradient(features), stop_gradient(kernel)
    num_rows, num_labels = shape_of(features)[0], shape_of(kernel)[1]
    dtype = wide(xp, kernel.dtype)
    features = as_dtype(xp, features, dtype)
    size = label_block or labels_within(budget_of(features), num_rows)
    found: Any = None
    for start in range(0, num_labels, size):
        labels = slice(start, min(start + size, num_labels))
        scores = features @ as_dtype(xp, kernel[:, labels], dtype)
        if bias is not None:
            scores = scores + as_dtype(xp, stop_gradient(bias)[labels], dtype)[None, :]
        ids = _highest(xp, scores, min(k, labels.stop - start))
        more = ids + start, entries_at(scores, ids)
        if found is not None:
            more = tuple(xp.concat(pair, axis=1) for pair in zip(found, more, strict=True))
        order = _falling(xp, more[1])
        order = order[:, : min(k, shape_of(order)[1])]
        found = tuple(entries_at(x, order) for x in more)
    return found


def _highest(xp: Any, scores: Any, k: int) -> Any:
    """The ids of the k highest scores of each row, rising; of tied ones the lowest."""
    values, ids = k_largest(scores, k, only_last=False)
    # NaN is not below anything
    candidates = xp.count_nonzero(~(scores < xp.min(values, axis=-1, keepdims=True)), axis=-1)
    if bool(xp.any(candidates > k)):
        ids = _falling(xp, scores)[:, :k]
    return xp.sort(as_dtype(xp, ids, default_integer(xp)), axis=-1)


def _falling(xp: Any, scores: Any) -> Any:
    """The places from the highest score down, NaN before all; those of tied scores rise."""
    missing = xp.isnan(scores)
    order = xp.argsort(xp.where(missing, math.inf, scores), axis=-1, descending=True, stable=True)
    first = xp.astype(entries_at(missing, order), xp.int8)
    return entries_at(order, xp.argsort(first, axis=-1, descending=True, stable=True))
