r"""Elementary symmetric polynomials over the labels: sums over all sets of k labels.

With :math:`e_j = e^{x_j / t}` and :math:`\sigma_k = \sum_{|S| = k} \prod_{j \in S} e_j`, a smooth
k-th largest entry is :math:`t \log(\sigma_k / \sigma_{k-1})`.

Everything is computed with probabilities. Let label j be picked with probability
`p_j = c e_j / (1 + c e_j)`, each on its own, and N be the number of labels picked: then
`σ_k / σ_{k-1} = P(N = k) / (c P(N = k - 1))`, whatever the factor c. With a c that makes the mean
of N about k both are far from 0, for any k and t, and nothing overflows.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

from mlc_losses._array.labels import columns, label_sum, num_labels
from mlc_losses._array.layout import label_shards
from mlc_losses._array.loops import repeat, scan
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.scatter import add_at, values_at

# labels that follow one another in the recursion for the counts, or k if that is more; all others
# are counted side by side
_STEPS = 64
# steps that JAX takes at once, where each needs no more than the one before
_UNROLLED = 16


def factor(logits: Any, k: int) -> Any:
    """A factor c `[...]` that makes the mean number of labels picked nearly, and below, k - 1/2.

    By halving the ratio of two bounds, which hold since the k-th largest logit is 0.
    """
    xp = namespace(x=logits)
    weights = xp.exp(logits)
    below = label_sum(xp.where(weights < 1.0, weights, 1.0)) - (k - 1.0)
    low = 0.5 / xp.where(below < 1.0, 1.0, below)
    # the mean is to be off by no more than the standard deviation of the number, which is below √k
    width = math.log(2.0 * max(num_labels(logits), 1) * 2.0 * k)
    halvings = max(0, math.ceil(math.log2(width * math.sqrt(k))))

    def halve(state: Any) -> Any:
        low, high = state
        middle = xp.sqrt(low * high)
        few = label_sum(_chance(weights * middle[..., None])) <= k - 0.5
        return xp.where(few, middle, low), xp.where(few, high, middle)

    return repeat(halve, (low, xp.full_like(low, 2.0 * k - 1.0)), halvings)[0]


class _Counts(NamedTuple):
    """Odds of the labels, and the probabilities `[count, N]` of numbers of labels picked."""

    odds_of_front: Any  # [N, M], the largest labels
    odds_of_rest: Any  # [N, L], 0 at the largest labels
    front: Any  # [M + 1, N]
    rest: Any  # [k + 1, N]
    all: Any  # [k + 1, N]


def log_ratio(logits: Any, front: Any, factor: Any, *, k: int) -> Any:
    """`log(σ_k / σ_{k-1})` of `e^logits`, without a gradient rule; `front`: the largest labels."""
    return _value(_counts(logits, front, factor, k), factor, k)


def log_ratio_and_derivatives(logits: Any, front: Any, factor: Any, *, k: int) -> tuple[Any, Any]:
    """Also its derivative by the logits: how much more often a label is among k than among k - 1.

    Both are known from the counts without that label. They follow from the counts with it, upward
    from 0 where the label is picked with a probability up to 1/2, downward where it is more: so
    rounding errors do not grow. Only labels at the front need the second way, for which all their
    counts must be known.
    """
    xp = namespace(x=logits)
    counts = _counts(logits, front, factor, k)
    num_labels_here = shape_of(logits)[-1]
    derivatives = _derivatives_of_rest(counts, k)
    derivatives = derivatives + add_at(
        _rows(xp, front), _derivatives_of_front(counts, k), num_labels_here
    )
    return _value(counts, factor, k), xp.reshape(derivatives, shape_of(logits))


def _value(counts: _Counts, factor: Any, k: int) -> Any:
    xp = namespace(x=factor)
    flat = xp.log(counts.all[k, :] / (counts.all[k - 1, :] * xp.reshape(factor, (-1,))))
    return xp.reshape(flat, shape_of(factor))


def _rows(xp: Any, x: Any) -> Any:
    """`[N, W]` of `[..., W]`."""
    *batch, width = shape_of(x)
    return xp.reshape(x, (math.prod(batch), width))


def _counts(logits: Any, front: Any, factor: Any, k: int) -> _Counts:
    xp = namespace(x=logits)
    odds, front = _rows(xp, xp.exp(logits) * factor[..., None]), _rows(xp, front)
    ones = xp.ones_like(front, dtype=odds.dtype)
    in_front = add_at(front, ones, shape_of(odds)[-1]) > 0
    of_front, of_rest = values_at(odds, front), xp.where(in_front, 0.0, odds)
    front_counts = _product_of_labels(of_front, shape_of(front)[-1])
    rest = _product_of_labels(of_rest, k)
    shards = label_shards(xp)
    if shards is not None:
        rest = _product_of_all(xp.permute_dims(shards.all_gather(rest), (1, 0, 2)))
    return _Counts(of_front, of_rest, front_counts, rest, _product(front_counts[: k + 1, :], rest))


def _chance(odds: Any) -> Any:
    return odds / (1.0 + odds)


def _product_of_labels(odds: Any, degree: int) -> Any:
    """Probabilities `[degree + 1, N]` that 0..degree of the labels with these odds are picked."""
    xp = namespace(x=odds)
    rows, width = shape_of(odds)
    # products of polynomials far shorter than the degree would cost more than their factors
    sides = max(1, -(-width // max(_STEPS, degree)))
    steps = -(-width // sides)
    padding = columns(0.0, odds, sides * steps - width)
    odds = xp.permute_dims(xp.concat([odds, padding], axis=-1), (1, 0))
    odds = xp.reshape(odds, (steps, sides, rows))
    none = xp.ones_like(odds[:1, ...])
    some = xp.broadcast_to(xp.zeros_like(none), (degree, sides, rows))
    counts = xp.concat([none, some], axis=0)
    counts, _ = scan(_add_label, counts, (_chance(odds), 1.0 / (1.0 + odds)))
    return _product_of_all(counts)


def _add_label(counts: Any, slices: Any) -> tuple[Any, None]:
    picked, left = slices
    return left[None, ...] * counts + picked[None, ...] * _one_more(counts), None


def _one_more(counts: Any) -> Any:
    """Every number of labels one higher."""
    xp = namespace(x=counts)
    return xp.concat([xp.zeros_like(counts[:1, ...]), counts[:-1, ...]], axis=0)


def _product_of_all(counts: Any) -> Any:
    """The counts `[K, N]` of the union of S sets of labels, of counts `[K, S, N]`, pair by pair."""
    xp = namespace(x=counts)
    while (sides := shape_of(counts)[1]) > 1:
        half = sides // 2
        pairs = _product(counts[:, :half, :], counts[:, half : 2 * half, :])
        counts = xp.concat([pairs, counts[:, 2 * half :, :]], axis=1)
    return counts[:, 0, :]


def _product(a: Any, b: Any) -> Any:
    """Counts `[K, ...]` of the union of two sets of labels."""
    xp = namespace(x=a)
    return scan(_add_shifted, (xp.zeros_like(a), b), (a,), unroll=4)[0][0]


def _add_shifted(state: Any, slices: Any) -> tuple[Any, None]:
    total, shifted = state
    return (total + slices[0][None, ...] * shifted, _one_more(shifted)), None


def _derivatives_of_rest(counts: _Counts, k: int) -> Any:
    """The derivatives `[N, L]` by the rest, labels picked with a probability of at most 1/2."""
    xp = namespace(x=counts.all)
    odds = counts.odds_of_rest
    nothing = xp.zeros_like(odds)
    upward = partial(_without_label, odds)
    (without, before), _ = scan(upward, (nothing, nothing), (counts.all[:k, :],), unroll=_UNROLLED)
    high, low = counts.all[k, :, None], counts.all[k - 1, :, None]
    return _chance(odds) * (without / high - before / low)


def _without_label(odds: Any, state: Any, slices: Any) -> tuple[Any, None]:
    """The next count without a label, from that with it and the one before."""
    latest, _ = state
    return (slices[0][:, None] * (1.0 + odds) - odds * latest, latest), None


def _derivatives_of_front(counts: _Counts, k: int) -> Any:
    """The derivatives `[N, M]` by the front, the M largest labels."""
    xp = namespace(x=counts.all)
    odds, front = counts.odds_of_front, counts.front
    often = odds > 1.0
    size = shape_of(front)[0]
    # how the other labels make up for m, so that there are k in all, m = 0..M + 1
    none = xp.zeros_like(counts.rest[:1, ...])
    missing = xp.broadcast_to(none, (size - k, *shape_of(none)[1:]))
    others = xp.concat([xp.flip(counts.rest, axis=0), missing], axis=0)
    nothing = xp.zeros_like(odds)
    start = (nothing, nothing, nothing)
    high, low = counts.all[k, :, None], counts.all[k - 1, :, None]

    upward = partial(_add_without, xp.where(often, 0.0, odds))
    slices = (front[:-1, :], others[1:-1, :], others[2:, :])
    (_, without, before), _ = scan(upward, start, slices, unroll=_UNROLLED)
    rare_derivatives = _chance(odds) * (without / high - before / low)

    downward = partial(_add_without, xp.where(often, 1.0 / xp.where(often, odds, 1.0), 0.0))
    slices = (front[1:, :], others[1:-1, :], others[:-2, :])
    (_, without, beyond), _ = scan(downward, start, slices, reverse=True, unroll=_UNROLLED)
    frequent_derivatives = (without / low - beyond / high) / (1.0 + odds)
    return xp.where(often, frequent_derivatives, rare_derivatives)


def _add_without(odds: Any, state: Any, slices: Any) -> tuple[Any, None]:
    """One more count of the front without a label, in two sums over what the others make up."""
    latest, total, other_total = state
    with_label, weight, other_weight = (x[:, None] for x in slices)
    latest = with_label * (1.0 + odds) - odds * latest
    return (latest, total + latest * weight, other_total + latest * other_weight), None
