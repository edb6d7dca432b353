r"""The classes that are not candidates, in the exact method: many, each rarely above the threshold.

The number of them above a threshold has the generating function

    Π (1 + p_j u) = exp(S_1 u - S_2 u² / 2 + S_3 u³ / 3 - ...),   u = z - 1,   S_m = Σ p_j^m,

so a few power sums stand for any number of classes. They are smooth in the threshold: in float32
they are computed at every third node only. Rows are last, but among all classes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlc_losses._array.host import constant
from mlc_losses._array.labels import label_sum
from mlc_losses._array.loops import scan
from mlc_losses._array.namespace import device_of, namespace, shape_of
from mlc_losses._array.ops import entries_at, materialized, stop_gradient
from mlc_losses._array.scatter import add_at
from mlc_losses.perturbed._counts import FAR
from mlc_losses.perturbed._normal import normal_cdf_and_density

# logarithms of power sums are taken of at least this, which is negligible for a probability
_FLOOR = 1e-9
# an error that says that the power series is of no use
_USELESS = 1e6
# so far below the last candidate a class takes part, in units of σ
_REACH = 8.0
# a derivative below it is 0
_NOTHING = 1e-30


class Precision(Protocol):
    """What of `exact.Accuracy` is asked for here."""

    @property
    def powers(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def points(self) -> int: ...


class Tail(NamedTuple):
    """The contribution at the nodes of the classes that are not candidates."""

    counts: Any  # [k, Q, R], probabilities that 0..k-1 of them are above
    error: Any  # [Q, R], bound on the error of any of them by leaving out higher powers


def constant_at(scores: Any, indices: Any) -> Any:
    """The same scores `[R, L]`, of which the candidates at `indices` are constants.

    `tail_counts` takes the candidates away by their scores: the last one would be counted with a
    derivative of its own.
    """
    xp, own = namespace(scores=scores), entries_at(scores, indices)
    nothing = xp.where(xp.isfinite(own), stop_gradient(own) - own, 0.0)
    return scores + add_at(indices, nothing, shape_of(scores)[-1])


def tail_counts(
    offsets: Any, last: Any, num_candidates: Any, nodes: Any, k: int, precision: Precision
) -> Tail:
    """From the offsets `[R, L]` of all classes; `last` `[R]` is that of the last candidate."""
    xp = namespace(offsets=offsets)
    powers, stride = precision.powers, precision.stride
    # the candidates are capped to the last of them, and taken away again
    capped = xp.where(offsets > last[:, None], last[:, None], offsets)
    largest = _chance(last[None, :], nodes)

    def power_sums(carry: Any, slices: Any) -> tuple[Any, Any]:
        threshold, candidate = slices
        above = materialized(_chance(capped, threshold[:, None]))
        power, less, sums = above, candidate, []
        for _ in range(powers):
            sums.append(label_sum(power) - num_candidates * less)
            power, less = power * above, less * candidate
        return carry, xp.stack(sums, axis=0)

    _, sums = scan(power_sums, last, (nodes[::stride, :], largest[::stride, :]))
    sums = xp.where(sums < _FLOOR, _FLOOR, sums)
    if stride > 1:
        sums = xp.exp(_product(_interpolation(shape_of(nodes)[0], stride), xp.log(sums)))
    error = _error(sums[:, -1, :], largest, powers)
    return Tail(_counts(xp.permute_dims(sums, (1, 0, 2)), k), error)


def _chance(offsets: Any, threshold: Any) -> Any:
    """The probability to be above it, perturbed."""
    xp = namespace(offsets=offsets)
    return normal_cdf_and_density(xp.clip(offsets - threshold, -FAR, FAR))[0]


def _counts(sums: Any, k: int) -> Any:
    """The first k coefficients in z of the exponential of `Σ (-1)^(m+1) S_m (z - 1)^m / m`.

    sums are S_1, S_2, ... `[powers, Q, R]`. For an exponent `Σ a_n z^n` the coefficients are
    `c_n = Σ_i (i / n) a_i c_(n-i)`, from `c_0 = e^(a_0)` on.
    """
    xp = namespace(x=sums)
    powers = shape_of(sums)[0]
    # of a_0, and of each i a_i
    matrix = np.zeros((powers + 1, powers))
    for n in range(powers + 1):
        for m in range(max(n, 1), powers + 1):
            matrix[n, m - 1] = -max(n, 1) * math.comb(m, n) * (-1) ** n / m
    exponent = _product(matrix, sums)
    first, derivatives = xp.exp(exponent[:1, ...]), exponent[1:, ...]

    def next_count(latest: Any, slices: Any) -> tuple[Any, Any]:
        """From the latest `powers` coefficients, the last one first."""
        count = xp.sum(derivatives * latest, axis=0) * slices[0]
        return xp.concat([count[None, ...], latest[:-1, ...]], axis=0), count

    if k == 1:
        return first
    latest = xp.concat([first, xp.zeros_like(derivatives)[1:, ...]], axis=0)
    shares = 1.0 / xp.arange(1, k, dtype=sums.dtype, device=device_of(sums))
    _, rest = scan(next_count, latest, (shares,))
    return xp.concat([first, rest], axis=0)


def _error(highest: Any, largest: Any, powers: int) -> Any:
    """On the unit circle `|u| <= 2`, and there a generating function is no more than 1."""
    xp = namespace(x=largest)
    ratio = 2.0 * largest
    first = highest * largest * (2.0 ** (powers + 1) / (powers + 1))
    logarithm = first / xp.where(ratio < 0.9, 1.0 - ratio, 0.1)
    grown = xp.exp(xp.clip(logarithm, 0.0, 10.0)) - 1.0
    return xp.where(ratio < 0.9, grown, _USELESS)


def tail_derivatives(
    offsets: Any, last: Any, nodes: Any, weights: Any, below: Any, precision: Precision
) -> Any:
    """Derivatives `[R, L]` by the offsets, right where the class is none of the candidates.

    A derivative is one function of the offset for all classes of a row, near to a normal density:
    the logarithm of what it is beside one is a polynomial, through a few points below the last
    candidate. Further down a derivative is nothing.
    """
    xp = namespace(offsets=offsets)
    middle = (nodes[0, :] + nodes[-1, :]) / 2
    top = xp.clip(last - middle, -FAR, FAR)
    unit_points = np.cos(np.pi * (np.arange(precision.points) + 0.5) / precision.points)
    points = top[None, :] + small_constant(_REACH / 2 * (unit_points - 1.0), nodes)[:, None]
    derivatives = _derivatives_at(points + middle[None, :], nodes, weights, below, precision)
    beside = xp.log(xp.where(derivatives > _NOTHING, derivatives, _NOTHING)) + 0.5 * points * points
    coefficients = _product(_chebyshev_fit(unit_points), beside)
    distance = xp.clip(offsets - middle[:, None], -FAR, FAR)
    x = xp.clip(1.0 + (distance - top[:, None]) * (2.0 / _REACH), -1.0, 1.0)
    logarithm = _chebyshev_sum(coefficients, x)
    return xp.exp(logarithm - 0.5 * distance * distance)


def _derivatives_at(points: Any, nodes: Any, weights: Any, below: Any, precision: Precision) -> Any:
    """The derivatives of classes at these offsets `[P, R]`.

    Without class j the generating function is divided by `1 + p_j u`, a series in `p_j`.
    """
    xp = namespace(points=points)
    k, powers = shape_of(below)[0], precision.powers
    used = min(powers, k)
    # [z^(k-1)] of the generating function of all classes times (-u)^m, from its last coefficients
    matrix = np.zeros((powers, used))
    for m in range(powers):
        for i in range(min(m + 1, used)):
            matrix[m, used - 1 - i] = math.comb(m, i) * (-1) ** i
    series = weights[None, ...] * _product(matrix, below[k - used :, ...])
    distance = xp.clip(points[:, None, :] - nodes[None, ...], -FAR, FAR)
    above, density = normal_cdf_and_density(distance)
    total: Any = 0.0
    for m in reversed(range(powers)):
        total = total * above + series[m, None, ...]
    return xp.sum(total * density, axis=1)


def _product(matrix: np.ndarray, x: Any) -> Any:
    """`[M, N]` times x `[N, ...]`, where M and N are small: a sum, which XLA fuses with others."""
    xp = namespace(x=x)
    factors = xp.reshape(small_constant(matrix, x), (*matrix.shape, *[1] * (x.ndim - 1)))
    return xp.sum(factors * x[None, ...], axis=1)


def small_constant(values: np.ndarray, like: Any) -> Any:
    """In the dtype of `like`."""
    return namespace(like=like).astype(constant(values, like), like.dtype)


def _chebyshev_fit(points: np.ndarray) -> np.ndarray:
    """`[P, P]`, from values at the P points of Chebyshev to the coefficients of the polynomial."""
    degrees = np.arange(len(points))
    fit = 2.0 / len(points) * np.cos(degrees[:, None] * np.arccos(points))
    fit[0, :] /= 2.0
    return fit


def _chebyshev_sum(coefficients: Any, x: Any) -> Any:
    """`Σ c_n T_n(x)` of `c` `[P, R]` at x `[R, L]`, by Clenshaw's recursion."""
    latest, before = 0.0, 0.0
    for n in reversed(range(1, shape_of(coefficients)[0])):
        latest, before = coefficients[n, :, None] + 2.0 * x * latest - before, latest
    return coefficients[0, :, None] + x * latest - before


def _interpolation(num_nodes: int, stride: int) -> np.ndarray:
    """`[num_nodes, coarse]`: through the four coarse nodes around each node, a cubic."""
    coarse = np.arange(0, num_nodes, stride)
    matrix = np.zeros((num_nodes, len(coarse)))
    for node in range(num_nodes):
        first = min(max(node // stride - 1, 0), len(coarse) - 4)
        used = range(first, first + 4)
        for i in used:
            others = [coarse[j] for j in used if j != i]
            matrix[node, i] = np.prod([(node - x) / (coarse[i] - x) for x in others])
    return matrix
