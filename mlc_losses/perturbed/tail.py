r"""The classes that are no candidates, in the exact method: many, each seldom above the threshold.

The number of them above a threshold has the generating function

    Π (1 + p_j u) = exp(S_1 u - S_2 u² / 2 + S_3 u³ / 3 - ...),   u = z - 1,   S_m = Σ p_j^m,

so a few power sums stand for any number of classes. They are smooth in the threshold: in float32
they are computed at every third node only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mlc_losses._array.host import constant
from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.loops import scan
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import materialized, normal_cdf_and_density, stop_gradient

# beyond it a probability is 0 or 1
FAR = 40.0
# logarithms of power sums are taken of no less than this: it is nothing beside a probability
_FLOOR = 1e-9
# an error that says that the power series is of no use
_USELESS = 1e6


class Tail(NamedTuple):
    """What the classes that are no candidates do at the nodes."""

    counts: Any  # [k, R, Q], probabilities that 0..k-1 of them are above
    error: Any  # [R, Q], bound on the error of any of them by leaving out higher powers


def tail_counts(
    offsets: Any, last: Any, num_candidates: int, nodes: Any, k: int, powers: int, stride: int
) -> Tail:
    """From the offsets `[R, L]` of all classes; `last` `[R, 1]` is that of the last candidate."""
    xp = namespace(offsets=offsets)
    last = stop_gradient(last)
    # the candidates are capped to the last of them, and taken away again
    capped = xp.where(offsets > last, last, offsets)

    def power_sums(carry: Any, slices: Any) -> tuple[Any, Any]:
        threshold = slices[0][:, None]
        above = materialized(_chance(capped, threshold))
        candidate = _chance(last, threshold)[:, 0]
        power, less, sums = above, candidate, []
        for _ in range(powers):
            sums.append(label_sum(power) - num_candidates * less)
            power, less = power * above, less * candidate
        return carry, xp.stack(sums, axis=0)

    coarse = xp.permute_dims(nodes[:, ::stride], (1, 0))
    _, at_nodes = scan(power_sums, last, (coarse,))
    at_nodes = xp.permute_dims(at_nodes, (1, 2, 0))
    interpolation = None
    if stride > 1:
        interpolation = constant(_interpolation(shape_of(nodes)[-1], stride), nodes)
        interpolation = xp.astype(interpolation, nodes.dtype)
    sums = []
    for m in range(powers):
        total = at_nodes[m, ...]
        total = xp.where(total < _FLOOR, _FLOOR, total)
        if interpolation is not None:
            total = xp.exp(xp.sum(xp.log(total)[:, :, None] * interpolation[None, ...], axis=1))
        sums.append(total)
    return Tail(_counts(sums, k), _error(sums, _chance(last, nodes)))


def _chance(offsets: Any, threshold: Any) -> Any:
    """The probability to be above it, perturbed."""
    xp = namespace(offsets=offsets)
    return normal_cdf_and_density(xp.clip(offsets - threshold, -FAR, FAR))[0]


def _counts(sums: list[Any], k: int) -> Any:
    """The first k coefficients in z of the exponential of `Σ (-1)^(m+1) S_m (z - 1)^m / m`."""
    xp = namespace(x=sums[0])
    powers = len(sums)
    exponent = []
    for n in range(powers + 1):
        terms = [
            (-1) ** (m + 1) / m * math.comb(m, n) * (-1) ** (m - n) * sums[m - 1]
            for m in range(max(n, 1), powers + 1)
        ]
        exponent.append(sum(terms[1:], terms[0]))
    counts = [xp.exp(exponent[0])]
    for n in range(1, k):
        terms = [i / n * exponent[i] * counts[n - i] for i in range(1, min(n, powers) + 1)]
        counts.append(sum(terms[1:], terms[0]))
    return xp.stack(counts, axis=0)


def _error(sums: list[Any], largest: Any) -> Any:
    """On the unit circle `|u| <= 2`, and there a generating function is no more than 1."""
    xp = namespace(x=largest)
    powers = len(sums)
    ratio = 2.0 * largest
    first = sums[-1] * largest * (2.0 ** (powers + 1) / (powers + 1))
    logarithm = first / xp.where(ratio < 0.9, 1.0 - ratio, 0.1)
    grown = xp.exp(xp.clip(logarithm, 0.0, 10.0)) - 1.0
    return xp.where(ratio < 0.9, grown, _USELESS)


def tail_slopes(
    offsets: Any, nodes: Any, weights: Any, below: Any, powers: int, stride: int
) -> Any:
    """Slopes `[R, L]` by the offsets, right where the class is none of the candidates.

    Without class j the generating function is divided by `1 + p_j u`, a series in `p_j`.
    """
    xp = namespace(offsets=offsets)
    k = shape_of(below)[0]
    # [z^(k-1)] of the generating function of all classes times (-u)^m
    series = []
    for m in range(min(powers, k)):
        terms = [
            math.comb(m, i) * (-1) ** i * below[k - 1 - i, ...] for i in range(min(m, k - 1) + 1)
        ]
        series.append(weights * sum(terms[1:], terms[0]))
    # the trapezoidal rule again, over every `stride`-th node
    parts = stride * xp.permute_dims(xp.stack(series, axis=0)[:, :, ::stride], (2, 0, 1))
    coarse = xp.permute_dims(nodes[:, ::stride], (1, 0))

    def add(slopes: Any, slices: Any) -> tuple[Any, None]:
        threshold, part = slices
        above, density = normal_cdf_and_density(xp.clip(offsets - threshold[:, None], -FAR, FAR))
        total: Any = 0.0
        for m in reversed(range(len(series))):
            total = total * above + part[m, :, None]
        return slopes + total * density, None

    return scan(add, xp.zeros_like(offsets), (coarse, parts))[0]


def last_of(candidates: Any) -> Any:
    """The smallest, `[R, 1]`."""
    return -label_max(-candidates)[:, None]


def _interpolation(num_nodes: int, stride: int) -> np.ndarray:
    """`[coarse, num_nodes]`: through the four coarse nodes around each node, a cubic."""
    coarse = np.arange(0, num_nodes, stride)
    matrix = np.zeros((len(coarse), num_nodes))
    for node in range(num_nodes):
        first = min(max(node // stride - 1, 0), len(coarse) - 4)
        used = range(first, first + 4)
        for i in used:
            others = [coarse[j] for j in used if j != i]
            matrix[i, node] = np.prod([(node - x) / (coarse[i] - x) for x in others])
    return matrix
