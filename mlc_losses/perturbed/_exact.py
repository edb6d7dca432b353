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
from typing import Any, NamedTuple

from mlc_losses._array.kth_label import add_at, k_largest
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
    precision = accuracy(scores)
    candidates, indices = _candidates(scores, num_candidates)
    center = k_largest(stop_gradient(candidates), k, only_last=True).values
    finite = xp.isfinite(center)
    units = _Units(xp.where(finite, center, 0.0), xp.where(sigma < _NO_NOISE, _NO_NOISE, sigma))
    offsets = units.of(candidates)
    grid = _grid(stop_gradient(offsets), k, precision)
    if indices is None:
        others = _no_others(k, grid.nodes)
        below, derivatives = counts_and_derivatives(offsets, others, grid.nodes, grid.weights)
        bound = xp.zeros_like(grid.low[:, 0])
    else:
        every, last = units.of(scores), stop_gradient(last_of(offsets))
        others, error = tail_counts(every, last, num_candidates, grid.nodes, k, precision)
        below, own = counts_and_derivatives(offsets, others, grid.nodes, grid.weights)
        rest = tail_derivatives(every, last, grid.nodes, grid.weights, below, precision)
        # the candidates have derivatives of their own in place of the interpolated ones
        own = own - entries_at(rest, indices)
        derivatives = rest + add_at(indices, own, shape_of(scores)[-1])
        bound = _bound(below, others, error, grid.weights)
        bound = stop_gradient(xp.where(finite[:, 0], bound, 0.0))
    beyond = label_sum(grid.weights * (1.0 - xp.sum(below, axis=0)))
    value = xp.where(finite, units.origin + sigma * (grid.low + beyond[:, None]), center)
    return Exact(value[:, 0], xp.where(finite, derivatives, 0.0), bound)


def _candidates(scores: Any, count: int) -> tuple[Any, Any]:
    """The largest scores of each row, and whose they are; None if they are all of them."""
    if count >= shape_of(scores)[-1]:
        return scores, None
    indices = top_k(stop_gradient(scores), count).indices
    return entries_at(scores, indices), indices


class _Units(NamedTuple):
    """Scores are measured from an origin `[R, 1]`, in units of σ."""

    origin: Any
    unit: Any

    def of(self, scores: Any) -> Any:
        return (scores - self.origin) / self.unit


class _Grid(NamedTuple):
    """Nodes and weights `[R, Q]` of the trapezoidal rule on a window that begins at `low`."""

    nodes: Any
    weights: Any
    low: Any


def _grid(offsets: Any, k: int, precision: Accuracy) -> _Grid:
    xp = namespace(offsets=offsets)
    low, high = _window(offsets, k, precision)
    last = precision.nodes - 1
    steps = xp.arange(precision.nodes, dtype=offsets.dtype, device=device_of(offsets))
    nodes = low + (high - low) * steps[None, :] / last
    halves = xp.where((steps == 0) | (steps == last), 0.5, xp.ones_like(steps))
    return _Grid(nodes, halves[None, :] * (high - low) / last, low)


def _no_others(k: int, nodes: Any) -> Any:
    """The counts 0..k-1 of no classes at all, `[k, R, Q]`: 0, with certainty."""
    xp = namespace(nodes=nodes)
    # made of the nodes, so that they are split over devices as these are
    none = xp.broadcast_to(xp.zeros_like(nodes)[None, ...], (k - 1, *shape_of(nodes)))
    return xp.concat([xp.ones_like(nodes)[None, ...], none], axis=0)


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


def _quantile(chance: float) -> float:
    """Below which a standard normal number is with that chance, at most 1/2.

    PyTorch's compiler traces it: it cannot trace that of Python's `statistics`, which is written in
    C, and warns of a function with a cache.
    """
    low, high = -FAR, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if math.erfc(-middle * math.sqrt(0.5)) < 2.0 * chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _expected_counts(k: int, num_candidates: int, tail: float) -> tuple[float, float]:
    """Expected counts with which k or more, or fewer than k, have no more than that probability."""
    few, many = _expected_counts_above(k, tail)
    # the same of the candidates below, of which fewer than this is k or more above
    few_below, many_below = _expected_counts_above(num_candidates - k + 1, tail)
    return max(few, num_candidates - many_below), min(many, num_candidates - few_below)


def _expected_counts_above(count: int, tail: float) -> tuple[float, float]:
    few = _expected_count(count, tail, good=1e-300, bad=float(count))
    many = _expected_count(count - 1, tail, good=2.0 * count + 2000.0, bad=float(count - 1))
    return few, many


def _expected_count(count: int, tail: float, good: float, bad: float) -> float:
    """The expected count nearest to `bad` for which `count` is improbable enough, by bisection."""
    for _ in range(100):
        middle = (good + bad) / 2
        if _chernoff(count, middle) <= math.log(tail):
            good = middle
        else:
            bad = middle
    return good


def _chernoff(count: int, expected: float) -> float:
    """Chernoff's bound on the logarithm of the probability of a count on the far side."""
    chance = count - expected
    return chance + count * math.log(expected / count) if count else chance
