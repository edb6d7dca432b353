"""Formulas of the two-sided log-sum-exp: positives against negatives, each side with a threshold.

The gradient rules (`jax_rules`, `torch_rules`) are made of them. They are three times as fast as
differentiating the value operation by operation, and right where that would be inf / inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.namespace import namespace


class Parts(NamedTuple):
    """Both sides, each as `shift + log_total`.

    The shift is a constant as far as derivatives go. Kept apart, the slopes `e^(s - shift) / total`
    are accurate even where the sum of the two has lost them to rounding (a logit of 1e4).
    """

    negative_shift: Any
    negative_log: Any
    positive_shift: Any
    positive_log: Any


def _largest(pair: Callable[..., Any], logits: Any, targets: Any) -> list[Any]:
    return [label_max(side) for side in pair(logits, targets)]


def _total(pair: Callable[..., Any], logits: Any, targets: Any, *rows: Any) -> list[Any]:
    return [label_sum(side) for side in pair(logits, targets, *(row[..., None] for row in rows))]


def two_sided_parts(
    logits: Any,
    targets: Any,
    bound: Any,
    *,
    largest: Callable[..., Any] = _largest,
    total: Callable[..., Any] = _total,
) -> Parts:
    """The value, without a gradient rule; a backend may bring its own way to reduce a pair.

    The shift is the largest exponent among the labels that count and the bound. A larger one, a
    logit of the other side say, could make the whole sum underflow.
    """
    xp = namespace(logits=logits)
    peaks = largest(_candidates, logits, targets)
    bounds = (None, None) if bound is None else (bound, -bound)
    shifts = [
        _finite(peak if b is None else xp.maximum(peak, b))
        for peak, b in zip(peaks, bounds, strict=True)
    ]
    totals = total(_shifted, logits, targets, *shifts)
    if bound is not None:
        totals = [
            side + xp.exp(b - shift) for side, b, shift in zip(totals, bounds, shifts, strict=True)
        ]
    logs = [
        xp.where(side == 0, -math.inf, xp.log(xp.where(side == 0, 1.0, side))) for side in totals
    ]
    return Parts(shifts[0], logs[0], shifts[1], logs[1])


def _candidates(logits: Any, targets: Any) -> tuple[Any, Any]:
    """Each side's exponents, -inf for the labels that are not on it."""
    xp = namespace(logits=logits)
    negative, positive = _on_side(xp, targets)
    return xp.where(negative, logits, -math.inf), xp.where(positive, -logits, -math.inf)


def _shifted(logits: Any, targets: Any, negative_shift: Any, positive_shift: Any) -> Any:
    return _terms(logits - negative_shift, -logits - positive_shift, targets)


def _terms(up: Any, down: Any, targets: Any) -> tuple[Any, Any]:
    """`(1 - y) e^up` and `y e^down`; 0 where the weight is 0, whatever the exponent.

    The mask is inside the exponential: outside, an overflow on the other side would become
    0 * inf in second derivatives.
    """
    xp = namespace(targets=targets)
    if xp.isdtype(targets.dtype, "bool"):
        term = xp.exp(xp.where(targets, down, up))
        return xp.where(targets, 0.0, term), xp.where(targets, term, 0.0)
    negative, positive = _on_side(xp, targets)
    return (
        (1.0 - targets) * xp.exp(xp.where(negative, up, -math.inf)),
        targets * xp.exp(xp.where(positive, down, -math.inf)),
    )


def _on_side(xp: Any, targets: Any) -> tuple[Any, Any]:
    if xp.isdtype(targets.dtype, "bool"):
        return ~targets, targets
    return targets < 1, targets > 0


def slopes_by_logits(logits: Any, targets: Any, parts: Parts) -> tuple[Any, Any]:
    """Derivative of each side by the logits.

    Each is at most 1 in size; saying so is what makes the slope of an infinite logit 1, not NaN.
    """
    xp = namespace(logits=logits)
    rise, fall = _terms(*_exponents(logits, parts), targets)
    return xp.minimum(rise, 1.0), -xp.minimum(fall, 1.0)


def slopes_by_targets(logits: Any, parts: Parts) -> tuple[Any, Any]:
    """Derivative of each side by the targets, kept finite."""
    xp = namespace(logits=logits)
    largest = float(xp.finfo(logits.dtype).max)
    rise, fall = (xp.minimum(xp.exp(x), largest) for x in _exponents(logits, parts))
    return -rise, fall


def slopes_by_bound(bound: Any, parts: Parts) -> tuple[Any, Any]:
    """Derivative of each side by the bound."""
    xp = namespace(bound=bound)
    rise, fall = (xp.exp(x)[..., 0] for x in _exponents(bound[..., None], parts))
    return rise, -fall


def _exponents(x: Any, parts: Parts) -> tuple[Any, Any]:
    """Logarithm of what `e^x` is of the negatives' total, and `e^-x` of the positives'."""
    return (
        x - parts.negative_shift[..., None] - _finite(parts.negative_log)[..., None],
        -x - parts.positive_shift[..., None] - _finite(parts.positive_log)[..., None],
    )


def tangents(primals: Any, parts: Parts, dots: Any) -> Parts:
    """How the parts move when `(logits, targets, bound)` move by `dots`; None is no move.

    A move of zero must come as None: multiplied out it would cost a pass, or be 0 * inf.
    """
    logits, targets, bound = primals
    logits_dot, targets_dot, bound_dot = dots
    moves = []
    if logits_dot is not None:
        slopes = slopes_by_logits(logits, targets, parts)
        moves.append([label_sum(slope * logits_dot) for slope in slopes])
    if targets_dot is not None:
        slopes = slopes_by_targets(logits, parts)
        moves.append([label_sum(slope * targets_dot) for slope in slopes])
    if bound_dot is not None:
        moves.append([slope * bound_dot for slope in slopes_by_bound(bound, parts)])
    negative, positive = (sum(side) for side in zip(*moves, strict=True))
    still = namespace(logits=logits).zeros_like(parts.negative_shift)
    return Parts(still, negative, still, positive)


def _finite(x: Any) -> Any:
    """Infinities to the largest finite numbers; NaN stays."""
    xp = namespace(x=x)
    largest = float(xp.finfo(x.dtype).max)
    return xp.clip(x, -largest, largest)
