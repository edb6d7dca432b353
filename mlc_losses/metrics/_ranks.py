"""What metrics of scores are made of: who is relevant, and how much is ranked as high."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.arguments import check_matrix, checked_labels
from mlc_losses._array.labels import columns, label_any, label_indices, labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import as_dtype, namespace, shape_of
from mlc_losses._array.ops import entries_at, relevant_and_missing
from mlc_losses._array.value_checks import checked_sample_weight
from mlc_losses.metrics._averages import (
    COUNTED_AXIS,
    any_known,
    averaged,
    inside,
    mean,
)


class Scored(NamedTuple):
    """Arguments of a metric of scores, checked."""

    xp: Any
    scores: Any  # `[n, L]`, in the dtype to compute in; -inf where a label is not known
    relevant: Any  # bool `[n, L]`; False where a label is not known
    where: Any  # bool `[n, L]`, or None
    sample_weight: Any  # `[n]` in the dtype of the scores, or None


def checked_scores(
    scores: Any, targets: Any, where: Any, sample_weight: Any, name: str = "scores"
) -> Scored:
    """The arguments; where a target is NaN, so is the score."""
    xp, scores, targets, where = checked_labels(scores, targets, where, logits_name=name)
    check_matrix(name, scores)
    sample_weight = checked_sample_weight(xp, sample_weight, scores)
    relevant, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if where is not None:
        scores, relevant = xp.where(where, scores, -math.inf), relevant & where
    return Scored(xp, scores, relevant, where, sample_weight)


class Rows(NamedTuple):
    """What is ranked together is a row `[R, m]`: the examples of a label, or the labels of one."""

    scores: Any
    relevant: Any
    where: Any  # None if all is known
    weight: Any  # how much each entry counts, 0 where it is not known; None if all count 1


def rows_of(given: Scored, average: str | None = "samples") -> Rows:
    """The rows for this way to average."""
    xp, scores, relevant, where, _ = given
    weight = inside(average, given.sample_weight)
    if weight is not None:
        weight = xp.broadcast_to(weight[:, None], shape_of(scores))
        weight = weight if where is None else xp.where(where, weight, 0.0)
    axis = COUNTED_AXIS[average]

    def turned(x: Any) -> Any:
        if x is None or axis == -1:
            return x
        return xp.reshape(x, (1, -1)) if axis is None else xp.matrix_transpose(x)

    return Rows(turned(scores), turned(relevant), turned(where), turned(weight))


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


def amounts(xp: Any, mask: Any, ranks: Ranking, weight: Any) -> Any:
    """From the highest score down, how much each entry of the mask counts; integers if all 1."""
    mask = entries_at(mask, ranks.order)
    if weight is None:
        return xp.astype(mask, ranks.order.dtype)
    return xp.where(mask, entries_at(weight, ranks.order), 0.0)


def up_to(xp: Any, amounts: Any, places: Any) -> Any:
    """The sum of the first so many amounts of each row, at each place."""
    sums = xp.cumulative_sum(amounts, axis=-1, dtype=amounts.dtype)
    return entries_at(xp.concat([columns(0, sums, 1), sums], axis=-1), places)


def known_at_least(xp: Any, ranks: Ranking, where: Any) -> Any:
    """How many known entries are at least as high; those not known are last, at -inf."""
    if where is None:
        return ranks.at_least
    known = xp.astype(xp.count_nonzero(where, axis=-1), ranks.at_least.dtype)
    return xp.minimum(ranks.at_least, known[..., None])


def average_precisions(xp: Any, rows: Rows) -> Any:
    """Of each row; 0 where nothing is relevant."""
    dtype = rows.scores.dtype
    ranks = ranking(rows.scores)
    hits = amounts(xp, rows.relevant, ranks, rows.weight)
    found = up_to(xp, hits, ranks.at_least)
    if rows.weight is None:
        seen = known_at_least(xp, ranks, rows.where)
    else:
        seen = up_to(xp, entries_at(rows.weight, ranks.order), ranks.at_least)
    seen = as_dtype(xp, xp.where(hits > 0, seen, 1), dtype)
    hits = as_dtype(xp, hits, dtype)
    shares = xp.sum(hits * (as_dtype(xp, found, dtype) / seen), axis=-1)
    total = xp.sum(hits, axis=-1)
    return nan_like(xp, rows.scores, shares / xp.where(total > 0, total, 1.0))


def nan_like(xp: Any, scores: Any, values: Any) -> Any:
    """NaN for a row with a NaN score: its ranks mean nothing."""
    return xp.where(label_any(xp.isnan(scores)), math.nan, values)


def mean_of_examples(given: Scored, values: Any) -> Any:
    """The mean of the values `[n]`; a NaN score gives NaN."""
    values = nan_like(given.xp, given.scores, values)
    return mean(given.xp, values, any_known(given.where), given.sample_weight)


def mean_of_rows(
    given: Scored, average: str | None, rows: Rows, values: Any, defined: Any = None
) -> Any:
    """The average of the values of the rows, of those that have one."""
    if defined is None:
        defined = any_known(rows.where)
    support = None
    if average == "weighted":
        xp = given.xp
        support = xp.sum(
            xp.astype(rows.relevant, values.dtype)
            if rows.weight is None
            else xp.where(rows.relevant, rows.weight, 0.0),
            axis=-1,
        )
    return averaged(given.xp, values, average, defined, given.sample_weight, support)
