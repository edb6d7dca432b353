"""A rule differentiated operation by operation, where a backend cannot take its formulas."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.labels import label_sum
from mlc_losses._array.namespace import is_floating, is_number
from mlc_losses._array.ops import decided, stop_gradient
from mlc_losses._array.row_rules import RowRule


def values_by_operation(
    rule: RowRule, xp: Any, params: Any, where: Any, arrays: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The values of the rule, differentiated operation by operation.

    At an infinite entry the derivatives of the operations would be inf - inf or 0 * inf. So a large
    number takes its place there. If the entry makes a value infinite, the rule's own formula adds
    the derivative by it, as a term that is linear in the entry.
    """
    fixed = tuple(stop_gradient(x) for x in arrays)
    fixed_params = tuple(p if p is None or is_number(p) else stop_gradient(p) for p in params)
    values = rule.values(xp, fixed_params, where, *fixed)
    differentiable = rule.values(xp, params, where, *without_infinities(xp, arrays))
    found = [
        _with_derivatives_of(xp, value, x) for value, x in zip(values, differentiable, strict=True)
    ]
    for index, (x, constant) in enumerate(zip(arrays, fixed, strict=True)):
        if is_floating(x):
            derivatives = rule.derivatives(index, xp, fixed_params, where, values, *fixed)
            pairs = zip(values, derivatives, strict=True)
            terms = [_infinite_terms(xp, value, by_x, x, constant) for value, by_x in pairs]
            found = [old + term for old, term in zip(found, terms, strict=True)]
    return tuple(found)


def without_infinities(xp: Any, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arrays, with infinite entries replaced by large constants; 0 times one of them is 0."""
    return tuple(
        xp.where(xp.isinf(x), decided(stop_gradient(x)), x) if is_floating(x) else x for x in arrays
    )


def _with_derivatives_of(xp: Any, value: Any, x: Any) -> Any:
    """The value, with the derivatives of `x`, the value without infinite entries."""
    return xp.where(xp.isfinite(x), value + (x - stop_gradient(x)), x)


def _infinite_terms(xp: Any, value: Any, derivative: Any, x: Any, constant: Any) -> Any:
    """Terms linear in the infinite entries of `x` that make the value infinite."""
    if derivative is None:
        return 0.0
    has_labels = x.ndim > value.ndim
    total = value[..., None] if has_labels else value
    reaches = xp.isinf(constant) & (derivative * constant == total)
    terms = xp.where(reaches, derivative, 0.0) * xp.where(reaches, x, 0.0)
    return label_sum(terms) if has_labels else terms
