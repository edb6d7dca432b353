"""Powers of numbers from 0 to 1, right in value and gradient at 0 too."""

from __future__ import annotations

from functools import reduce
from operator import mul
from typing import Any

from mlc_losses._array.namespace import is_number, namespace
from mlc_losses._array.ops import decided, log_sigmoid, sigmoid


def _power(x: Any, exponent: Any) -> Any:
    """`x^exponent` for x > 0."""
    if _is_few(exponent):
        return reduce(mul, [x] * int(exponent))
    xp = namespace(x=x)
    return xp.exp(exponent * xp.log(x))


def power_from_0(x: Any, exponent: Any) -> Any:
    """`x^exponent` for x >= 0, and its derivative below; 1 for exponent 0, even at x = 0."""
    return _power(x if _is_few(exponent) else _above_0(x), exponent)


def power_derivative(x: Any, exponent: Any) -> Any:
    """The derivative of `x^exponent` for x >= 0; finite at 0."""
    if is_number(exponent) and exponent in (0.0, 1.0):
        return exponent + 0.0 * x
    if _is_few(exponent):
        return exponent * _power(x, exponent - 1.0)
    x = _above_0(x)
    return exponent * _power(x, exponent) / x


def _above_0(x: Any) -> Any:
    """The smallest normal number of the dtype at least: it has a logarithm."""
    xp = namespace(x=x)
    return xp.clip(x, float(xp.finfo(x.dtype).smallest_normal), None)


def sigmoid_power(x: Any, exponent: Any) -> Any:
    """`σ(x)^exponent` for any exponent >= 0: 1 for exponent 0, even at x = -inf."""
    if _is_few(exponent):
        return _power(sigmoid(x), exponent)
    return namespace(x=x).exp(exponent * log_sigmoid(decided(x)))


def _is_few(exponent: Any) -> bool:
    """Whether a power is a product of a few factors, which costs less than a logarithm."""
    return is_number(exponent) and exponent in (1.0, 2.0, 3.0, 4.0)
