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

import math
from functools import cache
from typing import Any, NamedTuple

from mlc_losses._array.kth_label import add_at, largest
from mlc_losses._array.labels import label_sum, top_k
from mlc_losses._array.loops import choose, map_rows, repeat
from mlc_losses._array.namespace import device_of, namespace, shape_of
from mlc_losses._array.ops import entries_at, normal_cdf_and_density, stop_gradient
from mlc_losses.perturbed._counts import FAR, counts_and_derivatives
from mlc_losses.perturbed._tail import last_of, tail_counts, tail_derivatives

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
    block = max(1, _BLOCK_SIZE // (max(ranks) * accuracy(scores).nodes))

    def rows(scores: Any, sigma: Any) -> Exact:
        parts = [_expected(scores, rank, sigma, num_candidates) for rank in ranks]
        return Exact(*(sum(rest, first) for first, *rest in zip(*parts, strict=True)))

    return Exact(*map_rows(rows, (scores, sigma), block))


def _expected(scores: Any, k: int, sigma: Any, num_candidates: int | None) -> Exact:
    if num_candidates is not None:
        return expected_kth(scores, k, sigma, num_candidates)
    few = accuracy(scores).candidates + 2 * k
    return _enough(scores, k, sigma, (few, 4 * few) if k <= _MANY else ())


def _enough(scores: Any, k: int, sigma: Any, tries: tuple[int, ...]) -> Exact:
    """From the first number of candidates whose bound is as promised for all rows, else from all.

    One that is not well below the number of classes is not worth the try.
    """
    num_labels = shape_of(scores)[-1]
    if not tries or 2 * tries[0] > num_labels:
        return expected_kth(scores, k, sigma, num_labels)
    first = expected_kth(scores, k, sigma, tries[0])
    return choose(
        namespace(scores=scores).all(first.bound <= accuracy(scores).promised),
        lambda: first,
        lambda: _enough(scores, k, sigma, tries[1:]),
    )


def expected_kth(scores: Any, k: int, sigma: Any, num_candidates: int) -> Exact:
    """The expected k-th largest of `scores + σ z` `[R, L]`, from the `num_candidates` largest.

    The scores are numbers or infinite; sigma is `[R, 1]`. Where the k-th largest score is
    infinite, so is the value, with no derivative.
    """
    xp = namespace(scores=scores)
    num_labels = shape_of(scores)[-1]
    precision = accuracy(scores)
    constants = stop_gradient(scores)
    candidates, indices = scores, None
    if num_candidates < num_labels:
        indices = top_k(constants, num_candidates).indices
        candidates = entries_at(scores, indices)
    center = largest(stop_gradient(candidates), k, only_last=True).values
    finite = xp.isfinite(center)
    origin = xp.where(finite, center, 0.0)
    unit = xp.where(sigma < _NO_NOISE, _NO_NOISE, sigma)
    offsets = (candidates - origin) / unit
    low, high = _window(stop_gradient(offsets), k, precision)
    grid = xp.arange(precision.nodes, dtype=scores.dtype, device=device_of(scores))
    nodes = low + (high - low) * grid[None, :] / (precision.nodes - 1)
    weights = xp.where((grid == 0) | (grid == precision.nodes - 1), 0.5, xp.ones_like(grid))
    weights = weights[None, :] * (high - low) / (precision.nodes - 1)
    none = xp.zeros((k - 1, *shape_of(nodes)), dtype=scores.dtype, device=device_of(scores))
    others = xp.concat([xp.ones_like(nodes)[None, ...], none], axis=0)
    bound = xp.zeros_like(low[:, 0])
    if indices is not None:
        every = (scores - origin) / unit
        last = stop_gradient(last_of(offsets))
        others, error = tail_counts(every, last, num_candidates, nodes, k, precision)
    below, derivatives = counts_and_derivatives(offsets, others, nodes, weights)
    beyond = label_sum(weights * (1.0 - xp.sum(below, axis=0)))
    value = xp.where(finite, origin + sigma * (low + beyond[:, None]), center)[:, 0]
    if indices is not None:
        bound = _bound(below, others, error, weights)
        bound = stop_gradient(xp.where(finite[:, 0], bound, 0.0))
        rest = tail_derivatives(every, last, nodes, weights, below, precision)
        rest_of_candidates = entries_at(rest, indices)
        derivatives = rest + add_at(indices, derivatives - rest_of_candidates, num_labels)
    return Exact(value, xp.where(finite, derivatives, 0.0), bound)


def _bound(below: Any, others: Any, error: Any, weights: Any) -> Any:
    """Bound `[R]` on the error of the value, in units of σ, and of any derivative."""
    xp = namespace(below=below)
    fewer, none = xp.sum(below, axis=0), others[0, ...]
    # fewer than k candidates are above with no more than this probability
    chance = xp.where(fewer < none, fewer / xp.where(none > 0, none, 1.0), 1.0)
    # the window was made for the candidates: with all classes, more may be above its end
    beyond = xp.where(fewer[:, -1] < 1.0, 1.0 - fewer[:, -1], 0.0)
    return label_sum(weights * error * chance) + beyond


def _window(offsets: Any, k: int, precision: Accuracy) -> tuple[Any, Any]:
    """`[R, 1]` twice: the k-th largest is below or above with no more than the tail probability.

    Around 0, the k-th largest offset, such a window is known in advance. It is made smaller where
    many classes compete, and the k-th largest varies less than each of them: by Chernoff's bounds,
    which take the expected count alone.
    """
    xp = namespace(offsets=offsets)
    num_candidates = shape_of(offsets)[-1]
    few, many = _expected_counts(k, num_candidates, precision.tail)
    start = xp.zeros_like(offsets[:, :1])
    low = start + _quantile(precision.tail / k)
    high = start - _quantile(precision.tail / (num_candidates - k + 1))
    # at the lower end the expected count is to be no less than `many`, at the upper no more than
    # `few`: the same search for both, with the sign turned round
    sign = xp.concat([xp.ones_like(start), -xp.ones_like(start)], axis=-1)
    needed = xp.concat([xp.full_like(start, many), xp.full_like(start, -few)], axis=-1)

    def halve(state: Any) -> Any:
        safe, beyond = state
        middle = (safe + beyond) / 2
        distance = xp.clip(offsets[:, None, :] - middle[:, :, None], -FAR, FAR)
        reached = sign * label_sum(normal_cdf_and_density(distance)[0]) >= needed
        return xp.where(reached, middle, safe), xp.where(reached, beyond, middle)

    ends = xp.concat([low, high], axis=-1)
    safe, _ = repeat(halve, (ends, xp.concat([high, low], axis=-1)), precision.halvings)
    return safe[:, :1], safe[:, 1:]


@cache
def _quantile(chance: float) -> float:
    """Below which a standard normal number is with that chance, at most 1/2.

    That of Python's `statistics` is written in C, which PyTorch's compiler cannot trace.
    """
    low, high = -FAR, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if math.erfc(-middle * math.sqrt(0.5)) < 2.0 * chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@cache
def _expected_counts(k: int, num_candidates: int, tail: float) -> tuple[float, float]:
    """Expected counts with which k or more, or fewer than k, have no more than that probability."""

    def excess(count: int, expected: float) -> float:
        """Chernoff's bound on the logarithm of the probability of a count on the far side."""
        chance = count - expected
        return chance + count * math.log(expected / count) if count else chance

    def solve(count: int, good: float, bad: float) -> float:
        for _ in range(100):
            middle = (good + bad) / 2
            if excess(count, middle) <= math.log(tail):
                good = middle
            else:
                bad = middle
        return good

    def bounds(count: int) -> tuple[float, float]:
        few = solve(count, good=1e-300, bad=float(count))
        many = solve(count - 1, good=2.0 * count + 2000.0, bad=float(count - 1))
        return few, many

    few, many = bounds(k)
    # the same of the candidates below, of which fewer than this is k or more above
    few_below, many_below = bounds(num_candidates - k + 1)
    few = max(few, num_candidates - many_below)
    many = min(many, num_candidates - few_below)
    return few, many
