r"""The expectation of the k-th largest perturbed score, and its gradient, without noise.

With `p_j(t) = Φ((s_j - t) / σ)` the number N of perturbed scores above a threshold t has a
Poisson-binomial distribution, and

    E[T] = ∫ t dP(T <= t),   P(T > t) = P(N >= k),   dE[T]/ds_j = ∫ P(N without j = k - 1) dp_j.

Both integrals are trapezoidal sums over a window outside of which the k-th largest falls with a
negligible probability: all derivatives of the integrand vanish at both ends, so the sum converges
exponentially. The counts come from a recursion over the classes that keeps only what is below k.
Everything is measured in units of σ from the k-th largest score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlc_losses._array.kth_label import k_largest
from mlc_losses._array.labels import label_max, top_k
from mlc_losses._array.loops import choose, map_rows, repeat
from mlc_losses._array.namespace import device_of, namespace, shape_of
from mlc_losses._array.ops import entries_at, stop_gradient
from mlc_losses._array.scatter import add_at
from mlc_losses.perturbed._counts import chances, counts_and_derivatives, no_others
from mlc_losses.perturbed._tail import (
    Tail,
    constant_at,
    small_constant,
    tail_counts,
    tail_derivatives,
)
from mlc_losses.perturbed._window import window_ends

# a smaller σ is 0: all differences of scores are then large
_NO_NOISE = 1e-20
# with a higher rank, all classes are candidates
_MANY = 64
# entries of one of these states, at most
_BLOCK_SIZE = 2**15


class Accuracy(NamedTuple):
    """What float32 or float64 is computed to, in units of σ."""

    promised: float
    tail: float  # probability outside of the window
    nodes: int
    halvings: int  # in the search for the window
    candidates: int  # to try first, and 2 more for each rank
    powers: int  # of the probabilities of all other classes
    stride: int  # these are computed at every so many nodes
    points: int  # from which the derivatives of these classes are interpolated


SINGLE = Accuracy(
    promised=1e-3,
    tail=3e-5,
    nodes=13,
    halvings=7,
    candidates=24,
    powers=3,
    stride=3,
    points=9,
)
DOUBLE = Accuracy(
    promised=1e-6,
    tail=1e-9,
    nodes=48,
    halvings=14,
    candidates=64,
    powers=10,
    stride=1,
    points=25,
)


class Exact(NamedTuple):
    """Value `[R]`, derivatives `[R, L]`, and a bound `[R]` on what the classes left out change."""

    value: Any
    derivatives: Any
    bound: Any


def accuracy(scores: Any) -> Accuracy:
    """What is promised for scores of this dtype."""
    return DOUBLE if namespace(scores=scores).finfo(scores.dtype).bits == 64 else SINGLE


def expected_sum(
    scores: Any, ranks: tuple[int, ...], sigma: Any, num_candidates: int | None
) -> Exact:
    """The sum of the expected r-th largest of `scores + σ z` `[R, L]` over the ranks r.

    sigma is `[R, 1]`. Without `num_candidates` few are tried first, and all classes are taken for
    the rows of a block where the bound on what that leaves out is more than promised.
    """
    return sum_over_ranks(_from_enough, scores, ranks, sigma, num_candidates)


def sum_over_ranks(
    expected: Callable[..., Exact],
    scores: Any,
    ranks: tuple[int, ...],
    sigma: Any,
    num_candidates: int | None,
) -> Exact:
    """The sum of `expected(scores, k, sigma, sizes)` over the ranks k, for some rows at a time.

    Of the sizes, the numbers of candidates to try, the last one is taken whatever its bound.
    """
    block = max(1, _BLOCK_SIZE // (max(ranks) * accuracy(scores).nodes))

    def rows(scores: Any, sigma: Any) -> Exact:
        parts = [expected(scores, k, sigma, _sizes(scores, k, num_candidates)) for k in ranks]
        return Exact(*(sum(rest, first) for first, *rest in zip(*parts, strict=True)))

    return Exact(*map_rows(rows, (scores, sigma), block))


def _sizes(scores: Any, k: int, num_candidates: int | None) -> tuple[int, ...]:
    num_labels = shape_of(scores)[-1]
    if num_candidates is not None:
        return (min(num_candidates, num_labels),)
    few = accuracy(scores).candidates + 2 * k
    # one that is not well below the number of classes is not worth the try
    tries = (few, 4 * few) if k <= _MANY else ()
    return (*(size for size in tries if 2 * size <= num_labels), num_labels)


def _from_enough(scores: Any, k: int, sigma: Any, sizes: tuple[int, ...]) -> Exact:
    """From the first number of candidates that is enough."""
    first = expected_kth(scores, k, sigma, sizes[0])
    if len(sizes) == 1:
        return first
    return choose(
        is_enough(first), lambda: first, lambda: _from_enough(scores, k, sigma, sizes[1:])
    )


def is_enough(result: Exact) -> Any:
    """Whether the bound is as promised for all rows."""
    return namespace(x=result.bound).all(result.bound <= accuracy(result.bound).promised)


def expected_kth(scores: Any, k: int, sigma: Any, num_candidates: int) -> Exact:
    """The expected k-th largest of `scores + σ z` `[R, L]`, from the `num_candidates` largest.

    The scores are numbers or infinite; sigma is `[R, 1]`. Where the k-th largest score is
    infinite, so is the value, with no derivative.
    """
    if num_candidates == shape_of(scores)[-1]:
        largest, indices, last = scores, None, None
    else:
        indices = top_k(stop_gradient(scores), num_candidates).indices
        largest = entries_at(scores, indices)
        last = -label_max(-stop_gradient(largest))
        scores = constant_at(scores, indices)
    center = k_largest(stop_gradient(largest), k, only_last=True).values[:, 0]
    window = small_constant(window_ends(k, num_candidates, accuracy(scores).tail), scores)
    largest = namespace(scores=scores).permute_dims(largest, (1, 0))
    candidates = Candidates(largest, indices, last, num_candidates, window)
    return expected_from(scores, k, sigma, center, candidates)


@dataclass(frozen=True)
class Candidates:
    """The classes that are taken one by one: the largest of each row."""

    scores: Any  # [M, R]
    indices: Any  # [R, M]; None where they are all classes
    last: Any  # the smallest of these scores, [R]
    number: Any
    window: Any  # `window_ends`

    def expected_count(self, units: Units, thresholds: Any) -> Any:
        """How many of them, perturbed, are expected above each of the thresholds `[T, R]`."""
        above, _ = chances(units.of_rows_last(self.scores), thresholds)
        return namespace(x=above).sum(above, axis=0)

    def only_rest(self, tail: Tail) -> Tail:
        """`tail`, which is what the other classes do if there are any."""
        return tail

    def counts(self, units: Units, others: Any, grid: Grid) -> tuple[Any, Any]:
        """The counts of all classes from those of the others; and derivatives of the candidates."""
        return counts_and_derivatives(
            units.of_rows_last(self.scores), others, grid.nodes, grid.weights
        )

    def placed(self, own: Any, rest: Any) -> Any:
        """`[R, L]`: the derivatives of the candidates, and of all other classes."""
        own = namespace(own=own).permute_dims(own, (1, 0))
        if self.indices is None:
            return own
        # the candidates have derivatives of their own in place of the interpolated ones
        own = own - entries_at(rest, self.indices)
        return rest + add_at(self.indices, own, shape_of(rest)[-1])


def expected_from(scores: Any, k: int, sigma: Any, center: Any, candidates: Candidates) -> Exact:
    """`expected_kth` from these candidates; center `[R]` is the k-th largest score."""
    xp = namespace(scores=scores)
    precision, sigma = accuracy(scores), sigma[:, 0]
    finite = xp.isfinite(center)
    units = Units(xp.where(finite, center, 0.0), xp.where(sigma < _NO_NOISE, _NO_NOISE, sigma))
    grid = _grid(units, candidates, precision)
    if candidates.indices is None:
        below, own = candidates.counts(units, no_others(k, grid.nodes), grid)
        derivatives = candidates.placed(own, None)
        bound = xp.zeros_like(grid.low)
    else:
        every, last = units.of(scores), units.of_rows_last(candidates.last)
        tail = candidates.only_rest(
            tail_counts(every, last, candidates.number, grid.nodes, k, precision)
        )
        below, own = candidates.counts(units, tail.counts, grid)
        rest = tail_derivatives(every, last, grid.nodes, grid.weights, below, precision)
        derivatives = candidates.placed(own, rest)
        bound = _bound(below, tail, grid.weights)
        bound = stop_gradient(xp.where(finite, bound, 0.0))
    beyond = xp.sum(grid.weights * (1.0 - xp.sum(below, axis=0)), axis=0)
    value = xp.where(finite, units.origin + sigma * (grid.low + beyond), center)
    return Exact(value, xp.where(finite[:, None], derivatives, 0.0), bound)


class Units(NamedTuple):
    """Scores are measured from an origin `[R]`, in units `[R]` of σ."""

    origin: Any
    unit: Any

    def of(self, scores: Any) -> Any:
        """Of `[R, L]`."""
        return (scores - self.origin[:, None]) / self.unit[:, None]

    def of_rows_last(self, scores: Any) -> Any:
        """Of `[R]` or `[M, R]`."""
        before = (None,) * (scores.ndim - 1)
        return (scores - self.origin[(*before, ...)]) / self.unit[(*before, ...)]


class Grid(NamedTuple):
    """Nodes and weights `[Q, R]` of the trapezoidal rule on a window that begins at `low` `[R]`."""

    nodes: Any
    weights: Any
    low: Any


def _grid(units: Units, candidates: Candidates, precision: Accuracy) -> Grid:
    low, high = _window(units, candidates, precision)
    xp = namespace(low=low)
    last = precision.nodes - 1
    steps = xp.arange(precision.nodes, dtype=low.dtype, device=device_of(low))
    nodes = low[None, :] + (high - low)[None, :] * steps[:, None] / last
    halves = xp.where((steps == 0) | (steps == last), 0.5, xp.ones_like(steps))
    return Grid(nodes, halves[:, None] * (high - low)[None, :] / last, low)


def _bound(below: Any, tail: Tail, weights: Any) -> Any:
    """Bound `[R]` on the error of the value, in units of σ, and of any derivative."""
    xp = namespace(below=below)
    fewer, none = xp.sum(below, axis=0), tail.counts[0, ...]
    # fewer than k candidates are above with no more than this probability
    chance = xp.where(fewer < none, fewer / xp.where(none > 0, none, 1.0), 1.0)
    # the window was made for the candidates: with all classes, more may be above its end
    beyond = xp.where(fewer[-1, :] < 1.0, 1.0 - fewer[-1, :], 0.0)
    return xp.sum(weights * tail.error * chance, axis=0) + beyond


def _window(units: Units, candidates: Candidates, precision: Accuracy) -> tuple[Any, Any]:
    """`[R]` twice: the k-th largest is below or above with no more than the tail probability.

    Around 0, the k-th largest offset, such a window is known in advance. It is made smaller where
    many classes compete, and the k-th largest varies less than each of them: by Chernoff's bounds,
    which take the expected count alone.
    """
    xp = namespace(origin=units.origin)
    # the same search for both ends, with the sign turned round
    sign = small_constant(np.array([[1.0], [-1.0]]), units.origin)
    ends, needed = candidates.window[0, :, None], candidates.window[1, :, None]

    def halve(state: Any) -> Any:
        safe, step = state
        further = safe + step / 2
        count = stop_gradient(candidates.expected_count(units, further))
        return xp.where(sign * count >= needed, further, safe), step / 2

    state = ends + xp.zeros_like(units.origin)[None, :], sign * (ends[1:, :] - ends[:1, :])
    safe, _ = repeat(halve, state, precision.halvings)
    return safe[0, :], safe[1, :]
