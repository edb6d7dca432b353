"""The mean over noise samples, one sample after the other, on any eager backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlc_losses._array.kth_label import k_largest
from mlc_losses._array.labels import top_k_sum
from mlc_losses._array.namespace import namespace, shape_of


def mean_selection(
    scores: Any, sigma: Any, draws: Iterable[Any], k: int, only_last: bool
) -> tuple[Any, Any]:
    """The mean over `draws` of the k-th largest of `scores + sigma * draw`, or of the k largest.

    Also which labels they were, `[..., W]` over all samples, with L for those at infinity: these
    take no gradient.
    """
    xp = namespace(scores=scores)
    total: Any = 0.0
    chosen = []
    for draw in draws:
        found = k_largest(scores + sigma * draw, k, only_last=only_last)
        total = total + top_k_sum(found.values)
        chosen.append(xp.where(xp.isfinite(found.values), found.indices, shape_of(scores)[-1]))
    return total / len(chosen), xp.concat(chosen, axis=-1)
