"""Smooth ranks of the examples of each label, without a `[B, B, L]` array.

A rank is a sum over all other examples, so each is compared with each: in blocks of examples, value
and derivative apart, so that differentiating it keeps no block. The relevant examples come first
in the blocks, and blocks beyond them are passed over: rare labels cost little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.batch import batch_sum, row_indices, whole_batch
from mlc_losses._array.labels import label_indices, label_sum
from mlc_losses._array.layout import Layout, batch_shards, run_with_layout
from mlc_losses._array.namespace import is_number, namespace, shape_of
from mlc_losses._array.ops import sigmoid
from mlc_losses._array.row_rules import RowRule, apply_rule
from mlc_losses.losses._blocks import Add, add_by_blocks, zeros_of
from mlc_losses.losses._smooth_ranks_by_label import goes_by_label, missed, missed_by_scores

# of 1 / temperature: steeper sigmoids differ from a step only for scores equal up to rounding
_LARGEST_SCALE = 1e15


def missed_precision(scores: Any, positive: Any, negative: Any, temperature: Any) -> Any:
    """`Σ_P N_i / (A_i + N_i)` of each label of `[B, L]`: `[L]`.

    `N_i = Σ_N σ((s_j - s_i) / τ)` and `A_i = 1 + Σ_{P, j != i} σ((s_j - s_i) / τ)`: with neither a
    difference from 1 nor a product, it keeps its digits where it is small.
    """
    xp = namespace(scores=scores)
    scale = _scale(xp, temperature)
    scores = _clipped(xp, scores, scale)
    params, own = (scale,), (scores, positive, negative)
    if batch_shards(xp) is None:
        arrays = tuple(xp.permute_dims(whole_batch(x), (1, 0)) for x in own)
        return _apply_on_one_device(xp, _MissedPrecision(together=True), arrays, params)
    numbers = xp.broadcast_to(row_indices(scores)[:, None], shape_of(scores))
    every, every_positive, every_negative = map(whole_batch, own)
    # each device compares its own examples with all
    arrays = every, scores, every_positive, every_negative, positive, numbers
    arrays = tuple(xp.permute_dims(x, (1, 0)) for x in arrays)
    return batch_sum(
        _apply_on_one_device(xp, _MissedPrecision(together=False), arrays, params)[None, :]
    )


def _scale(xp: Any, temperature: Any) -> Any:
    if is_number(temperature):
        return min(1.0 / temperature, _LARGEST_SCALE)
    return xp.clip(1.0 / temperature, None, _LARGEST_SCALE)


def _clipped(xp: Any, scores: Any, scale: Any) -> Any:
    """The scores, small enough for finite gaps; two infinities of one sign become a tie."""
    largest = 0.5 * float(xp.finfo(scores.dtype).max)
    largest = largest / (max(scale, 1.0) if is_number(scale) else xp.clip(scale, 1.0, None))
    return xp.clip(scores, -largest, largest)


def _apply_on_one_device(
    xp: Any, rule: RowRule, arrays: tuple[Any, ...], params: tuple[Any, ...]
) -> Any:
    """The value of the rule; its last axis is that of the examples, all of which are here."""
    return run_with_layout(xp, Layout(), apply_rule, xp, rule, arrays, params)[0]


@dataclass(frozen=True)
class _MissedPrecision(RowRule):
    """The rule of `missed_precision`.

    If `together`, its arrays are `(scores, positive, negative)` `[L, B]`, each example against
    each; else `(every, own, every_positive, every_negative, own_positive, own_numbers)`, the own
    examples of a device against all.
    """

    together: bool

    def _every_and_own(self, xp: Any, arrays: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        if not self.together:
            every, own, positive, negative, *about_own = arrays
            return (every, positive, negative), (own, *about_own)
        scores, positive, negative = arrays
        numbers = xp.broadcast_to(label_indices(scores), shape_of(scores))
        return arrays, (scores, positive, numbers)

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        every, own = self._every_and_own(xp, arrays)

        def add(total: Any, own: Any) -> tuple[Any, None]:
            *_, ahead, level = _pairs(xp, params, every, own)
            return total + label_sum(xp.where(own[1], ahead / (ahead + level), 0.0)), None

        # 0, or NaN for a NaN score, even where nothing is relevant
        start = label_sum(xp.where(xp.isnan(own[0]), own[0], 0.0))
        if self.together and goes_by_label(own[0]):
            return (start + missed(xp, params[0], *arrays),)
        return (_by_blocks(xp, add, start, every, own, keeps=False)[0],)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        if index > (0 if self.together else 1):
            return (None,)
        if self.together and goes_by_label(arrays[0]):
            return (missed_by_scores(xp, params[0], *arrays),)
        every, own = self._every_and_own(xp, arrays)

        def add(total: Any, own: Any) -> tuple[Any, Any]:
            by_gaps = _derivatives_by_gaps(xp, params, every, own)
            return total + xp.sum(by_gaps, axis=-2), -label_sum(by_gaps)

        by_every, by_own = _by_blocks(xp, add, zeros_of(xp, every[0]), every, own, keeps=True)
        if self.together:
            return (by_every + by_own,)
        return (by_own if index else by_every,)


def _pairs(xp: Any, params: Any, every: Any, own: Any) -> tuple[Any, ...]:
    """Gaps `[..., own, every]`, their sigmoids, which are of rivals or peers, and N and A."""
    scores, positive, negative = every
    gaps = (scores[..., None, :] - own[0][..., :, None]) * params[0]
    share = sigmoid(gaps)
    numbers = xp.astype(label_indices(scores), own[2].dtype)[..., None, :]
    rivals = negative[..., None, :]
    peers = positive[..., None, :] & (own[2][..., :, None] != numbers)
    ahead = label_sum(xp.where(rivals, share, 0.0))
    level = 1.0 + label_sum(xp.where(peers, share, 0.0))
    return gaps, share, rivals, peers, ahead, level


def _derivatives_by_gaps(xp: Any, params: Any, every: Any, own: Any) -> Any:
    """Derivatives of the terms of the own examples by each gap `[..., own, every]`."""
    gaps, share, rivals, peers, ahead, level = _pairs(xp, params, every, own)
    square = (ahead + level) * (ahead + level)
    by_ahead = xp.where(own[1], level / square, 0.0)[..., None]
    by_level = xp.where(own[1], -ahead / square, 0.0)[..., None]
    weights = xp.where(rivals, by_ahead, xp.where(peers, by_level, 0.0))
    return weights * (share * sigmoid(-gaps)) * params[0]


def _by_blocks(xp: Any, add: Add, total: Any, every: Any, own: Any, *, keeps: bool) -> Any:
    width = math.prod(shape_of(every[0]))
    return add_by_blocks(xp, add, total, own, own[1], width, keeps)
