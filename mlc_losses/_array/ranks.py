"""What decisions and metrics stand on: ranks of scores with their ties, and sums by group."""

from __future__ import annotations

from typing import Any, NamedTuple

from mlc_losses._array.backend import is_jax_namespace, is_numpy_namespace, is_torch_namespace
from mlc_losses._array.labels import columns, label_indices, labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import device_of, namespace, shape_of
from mlc_losses._array.ops import entries_at


class Ranking(NamedTuple):
    """The scores of each row from the highest down; every field is integer `[..., L]`.

    `order` holds the ids, `above` how many scores of the row are greater than the one at this
    place, `at_least` how many are at least as large (itself among them). Tied places agree in
    both. A NaN ties with nothing; where it stands is the backend's own.
    """

    order: Any
    above: Any
    at_least: Any


def ranking(scores: Any) -> Ranking:
    """Rank the scores of each row."""
    xp = namespace(scores=scores)
    require_all_labels(xp, "ranks all the scores of an example")
    scores = labels_together(scores)
    order = xp.argsort(scores, axis=-1, descending=True, stable=True)
    falling = entries_at(scores, order)
    places = label_indices(falling)
    starts_group = (places == 0) | (falling != xp.roll(falling, 1, axis=-1))
    bounds = _group_bounds(xp, starts_group, places)
    group = xp.cumulative_sum(xp.astype(starts_group, places.dtype), axis=-1) - 1
    above = entries_at(bounds, group)
    return Ranking(order, above, entries_at(bounds, group + 1))


def _group_bounds(xp: Any, starts_group: Any, places: Any) -> Any:
    """`[..., L + 1]`: where the groups start, first to last, then L.

    Sorting moves the starts to the front: the standard has no running maximum.
    """
    length = shape_of(starts_group)[-1]
    starts = xp.sort(xp.where(starts_group, places, length), axis=-1)
    return xp.concat([starts, columns(length, starts, 1)], axis=-1)


def group_sums(values: Any, groups: Any, num_groups: int) -> Any:
    """Sum of the values `[n]` of each group `[num_groups]`; a group out of range is left out."""
    xp = namespace(values=values, groups=groups)
    # one group more takes what is out of range
    groups = xp.where((groups >= 0) & (groups < num_groups), groups, num_groups)
    if is_numpy_namespace(xp):
        sums = xp.bincount(groups, weights=values, minlength=num_groups + 1)
        return xp.astype(sums[:num_groups], values.dtype)
    if is_jax_namespace(xp) or is_torch_namespace(xp):
        zeros = xp.zeros(num_groups + 1, dtype=values.dtype, device=device_of(values))
        if is_jax_namespace(xp):
            return zeros.at[groups].add(values)[:num_groups]
        return zeros.index_add(0, xp.astype(groups, xp.int64), values)[:num_groups]
    numbers = xp.arange(num_groups, dtype=groups.dtype, device=device_of(values))
    return xp.sum(xp.where(groups[:, None] == numbers[None, :], values[:, None], 0.0), axis=0)
