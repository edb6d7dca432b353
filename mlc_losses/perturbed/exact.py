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
from statistics import NormalDist
from typing import Any, NamedTuple

from array_api_compat import device

from mlc_losses._array.labels import label_sum, top_k
from mlc_losses._array.loops import choose, map_rows, repeat, scan
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import normal_cdf, normal_cdf_and_density, stop_gradient
from mlc_losses._array.picks import add_at, largest
from mlc_losses.perturbed.tail import FAR, last_of, tail_counts, tail_slopes

# a smaller σ is 0: all differences of scores are then large
_NO_NOISE = 1e-20
# entries of the states that are kept for the candidates of a block
_KEPT = 2**21
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


SINGLE = Accuracy(promised=1e-3, tail=3e-5, nodes=18, halvings=7, candidates=24, powers=3, stride=3)
DOUBLE = Accuracy(
    promised=1e-6, tail=1e-9, nodes=48, halvings=14, candidates=64, powers=10, stride=1
)


class Exact(NamedTuple):
    """Value `[R]`, its slopes `[R, L]`, and a bound `[R]` on what the classes left out change."""

    value: Any
    slopes: Any
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
    infinite, so is the value, with no slope.
    """
    xp = namespace(scores=scores)
    num_labels = shape_of(scores)[-1]
    precision = accuracy(scores)
    constants = stop_gradient(scores)
    candidates, indices = scores, None
    if num_candidates < num_labels:
        indices = top_k(constants, num_candidates).indices
        candidates = xp.take_along_axis(scores, indices, axis=-1)
    center = largest(stop_gradient(candidates), k, only_last=True).values
    finite = xp.isfinite(center)
    origin = xp.where(finite, center, 0.0)
    unit = xp.where(sigma < _NO_NOISE, _NO_NOISE, sigma)
    offsets = (candidates - origin) / unit
    low, high = _window(stop_gradient(offsets), k, precision)
    grid = xp.arange(precision.nodes, dtype=scores.dtype, device=device(scores))
    nodes = low + (high - low) * grid[None, :] / (precision.nodes - 1)
    weights = xp.where((grid == 0) | (grid == precision.nodes - 1), 0.5, xp.ones_like(grid))
    weights = weights[None, :] * (high - low) / (precision.nodes - 1)
    none = xp.zeros((k - 1, *shape_of(nodes)), dtype=scores.dtype, device=device(scores))
    others = xp.concat([xp.ones_like(nodes)[None, ...], none], axis=0)
    bound = xp.zeros_like(low[:, 0])
    if indices is not None:
        every = (scores - origin) / unit
        others, error = tail_counts(
            every, last_of(offsets), num_candidates, nodes, k, precision.powers, precision.stride
        )
    below, slopes = _counts(offsets, others, nodes, weights)
    beyond = label_sum(weights * (1.0 - xp.sum(below, axis=0)))
    value = xp.where(finite, origin + sigma * (low + beyond[:, None]), center)[:, 0]
    if indices is not None:
        bound = _bound(below, others, error, weights)
        bound = stop_gradient(xp.where(finite[:, 0], bound, 0.0))
        rest = tail_slopes(every, nodes, weights, below, precision.powers, precision.stride)
        rest_of_candidates = xp.take_along_axis(rest, indices, axis=-1)
        if precision.stride > 1:
            # all slopes sum to 1, and those of the candidates are known better
            total = label_sum(rest) - label_sum(rest_of_candidates)
            factor = (1.0 - label_sum(slopes)) / xp.where(total > 1e-4, total, 1.0)
            factor = xp.where(total > 1e-4, factor, 1.0)[:, None]
            rest, rest_of_candidates = rest * factor, rest_of_candidates * factor
        slopes = rest + add_at(indices, slopes - rest_of_candidates, num_labels)
    return Exact(value, xp.where(finite, slopes, 0.0), bound)


def _bound(below: Any, others: Any, error: Any, weights: Any) -> Any:
    """Bound `[R]` on the error of the value, in units of σ, and of any slope."""
    xp = namespace(below=below)
    fewer, none = xp.sum(below, axis=0), others[0, ...]
    # fewer than k candidates are above with no more than this probability
    chance = xp.where(fewer < none, fewer / xp.where(none > 0, none, 1.0), 1.0)
    # the window was made for the candidates: with all classes, more may be above its end
    beyond = xp.where(fewer[:, -1] < 1.0, 1.0 - fewer[:, -1], 0.0)
    return label_sum(weights * error * chance) + beyond


def _counts(offsets: Any, others: Any, nodes: Any, weights: Any) -> tuple[Any, Any]:
    """How many of the perturbed candidates `[R, M]` are above each node `[R, Q]`.

    `others` `[k, R, Q]` are the probabilities of the counts 0..k-1 of the classes that are no
    candidates. Returns the same of all classes; and `[R, M]`, the slopes of the weighted sum over
    the nodes of the probability that k or more are above.

    A slope takes the counts of the candidates before its own and of those after it. The latter are
    kept for one block of candidates at a time: memory is of the order of √M states.
    """
    xp = namespace(offsets=offsets)
    num_rows, num_candidates = shape_of(offsets)
    k, _, num_nodes = shape_of(others)
    # many rows last, so that loops over them vectorise
    others = xp.permute_dims(others, (0, 2, 1))
    nodes, weights = xp.permute_dims(nodes, (1, 0)), xp.permute_dims(weights, (1, 0))
    length = max(math.isqrt(num_candidates), _KEPT // max(k * num_rows * num_nodes, 1), 1)
    length = min(length, num_candidates)
    num_blocks = -(-num_candidates // length)
    missing = num_blocks * length - num_candidates
    padding = xp.full((num_rows, missing), -xp.inf, dtype=offsets.dtype, device=device(offsets))
    blocks = xp.reshape(
        xp.permute_dims(xp.concat([offsets, padding], axis=-1), (1, 0)),
        (num_blocks, length, num_rows),
    )
    zero = xp.zeros((1, num_nodes, num_rows), dtype=offsets.dtype, device=device(offsets))

    def chances(offsets: Any) -> tuple[Any, Any]:
        """That candidates `[M, R]` are above the nodes, and its slopes, `[M, Q, R]`."""
        distance = offsets[:, None, :] - nodes[None, ...]
        return normal_cdf_and_density(xp.clip(distance, -FAR, FAR))

    def falls(after: Any) -> Any:
        return after - xp.concat([after[1:, ...], zero], axis=0)

    def add_after(after: Any, above: Any) -> Any:
        """The probabilities that n and the candidates from here on stay below k, n = 0..k-1."""
        return after - above[None, ...] * falls(after)

    def keep_falls(after: Any, slices: Any) -> tuple[Any, Any]:
        (above,) = slices
        return add_after(after, above), falls(after)

    def slope(before: Any, slices: Any) -> tuple[Any, Any]:
        """The slope of a candidate, and the probabilities of the counts with it."""
        above, density, fall = slices
        missed = xp.sum(before * fall, axis=0)
        grown = before + above[None, ...] * (xp.concat([zero, before[:-1, ...]], axis=0) - before)
        return grown, xp.sum(weights * density * missed, axis=0)

    def whole_block(after: Any, slices: Any) -> tuple[Any, Any]:
        def step(after: Any, slices: Any) -> tuple[Any, None]:
            (offset,) = slices
            return add_after(after, chances(offset[None, :])[0][0, ...]), None

        return scan(step, after, slices, reverse=True)[0], after

    def block_slopes(before: Any, slices: Any) -> tuple[Any, Any]:
        offset, after = slices
        above, density = chances(offset)
        _, fall = scan(keep_falls, after, (above,), reverse=True)
        return scan(slope, before, (above, density, fall))

    certain = xp.broadcast_to(zero + 1.0, (k, num_nodes, num_rows))
    if num_blocks == 1:
        below, slopes = block_slopes(others, (blocks[0, ...], certain))
    else:
        _, after = scan(whole_block, certain, (blocks,), reverse=True)
        below, slopes = scan(block_slopes, others, (blocks, after))
    slopes = xp.reshape(slopes, (num_blocks * length, num_rows))[:num_candidates, :]
    return xp.permute_dims(below, (0, 2, 1)), xp.permute_dims(slopes, (1, 0))


def _window(offsets: Any, k: int, precision: Accuracy) -> tuple[Any, Any]:
    """`[R, 1]` twice: the k-th largest is below or above with no more than the tail probability.

    Around 0, the k-th largest offset, such a window is known in advance. It is made smaller where
    many classes compete, and the k-th largest varies less than each of them: by Chernoff's bounds,
    which take the expected count alone.
    """
    xp = namespace(offsets=offsets)
    num_candidates = shape_of(offsets)[-1]
    few, many = _expected_counts(k, num_candidates, precision.tail)
    quantile = NormalDist().inv_cdf
    start = xp.zeros_like(offsets[:, :1])
    low = start + quantile(precision.tail / k)
    high = start - quantile(precision.tail / (num_candidates - k + 1))

    def enough(threshold: Any, expected: float) -> Any:
        above = normal_cdf(xp.clip(offsets - threshold, -FAR, FAR))
        return label_sum(above)[:, None] >= expected

    def halve(state: Any) -> Any:
        low, low_end, high_end, high = state
        middle, upper = (low + low_end) / 2, (high_end + high) / 2
        safe, inside = enough(middle, many), enough(upper, few)
        return (
            xp.where(safe, middle, low),
            xp.where(safe, low_end, middle),
            xp.where(inside, upper, high_end),
            xp.where(inside, high, upper),
        )

    low, _, _, high = repeat(halve, (low, high, low, high), precision.halvings)
    return low, high


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
