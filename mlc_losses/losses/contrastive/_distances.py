"""Euclidean distances between rows, right for close ones too."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.labels import columns
from mlc_losses._array.loops import scan
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import matmul, stop_gradient

# coordinates of one step of the loop over them
_COORDINATES = 8


def distances(a: Any, b: Any) -> Any:
    """`|a_i - b_j|` of the rows of `a` `[A, D]` and `b` `[C, D]`; two equal rows: 0, gradient 0.

    `|a|² + |b|² - 2 a · b` would be a matrix product, and in float32 has no digits left where the
    distance is below 1e-3. So the value is a sum of squared differences, coordinate by coordinate.
    The gradient is that of the product: its terms are as large as the rows, not their squares.
    """
    xp = namespace(a=a, b=b)
    square = xp.sum(a * a, axis=-1)[:, None] + xp.sum(b * b, axis=-1)[None, :]
    square = square - 2 * matmul(a, xp.permute_dims(b, (1, 0)))
    square = square + stop_gradient(_squares(xp, stop_gradient(a), stop_gradient(b)) - square)
    apart = square > 0
    return xp.where(apart, xp.sqrt(xp.where(apart, square, 1.0)), 0.0)


def _squares(xp: Any, a: Any, b: Any) -> Any:
    if hasattr(xp, "cdist"):
        return xp.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    width = shape_of(a)[-1]
    total = columns(0.0, a, shape_of(b)[0])
    whole = width - width % _COORDINATES
    if whole:
        parts = tuple(
            xp.reshape(xp.permute_dims(x[:, :whole], (1, 0)), (-1, _COORDINATES, shape_of(x)[0]))
            for x in (a, b)
        )
        total, _ = scan(_add_squares, total, parts)
    if whole < width:
        rest = tuple(xp.permute_dims(x[:, whole:], (1, 0)) for x in (a, b))
        total, _ = _add_squares(total, rest)
    return total


def _add_squares(total: Any, slices: Any) -> tuple[Any, None]:
    """Of coordinates `[W, A]` and `[W, C]`, one by one: XLA makes a single pass of it."""
    a, b = slices
    for coordinate in range(shape_of(a)[0]):
        gaps = a[coordinate, :, None] - b[coordinate, None, :]
        total = total + gaps * gaps
    return total, None
