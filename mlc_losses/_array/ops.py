"""Elementwise primitives, each right in value and gradient at 0 and at +-inf on every backend.

None of them has a kink that is not its own: the textbook `max(x, 0) + log1p(exp(-|x|))` has a
wrong gradient at exactly 0, where a zero-initialised last layer begins.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import is_jax_namespace, is_torch_namespace

from mlc_losses._array.namespace import namespace

# Beyond it a logit decides its label in every dtype; a larger one would only make 0 * inf.
_DECIDED = 1e30


def stop_gradient(x: Any) -> Any:
    """`x` as a constant: no gradient flows through it."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        import jax

        return jax.lax.stop_gradient(x)
    return x.detach() if is_torch_namespace(xp) else x


def softplus(x: Any) -> Any:
    """`log(1 + e^x)`."""
    xp = namespace(x=x)
    return xp.where(x >= 0, x, 0.0) + xp.log1p(xp.exp(-magnitude(x)))


def log_sigmoid(x: Any) -> Any:
    """`log σ(x)`."""
    return -softplus(-x)


def sigmoid(x: Any) -> Any:
    """`σ(x) = 1 / (1 + e^-x)`."""
    xp = namespace(x=x)
    small = xp.exp(-magnitude(x))
    return xp.where(x >= 0, 1.0, small) / (1.0 + small)


def sigmoid_power(x: Any, exponent: Any) -> Any:
    """`σ(x)^exponent` for any exponent >= 0: 1 for exponent 0, even at x = -inf."""
    xp = namespace(x=x)
    x = xp.where(x < -_DECIDED, -_DECIDED, xp.where(x > _DECIDED, _DECIDED, x))
    return xp.exp(exponent * log_sigmoid(x))


def magnitude(x: Any) -> Any:
    """`|x|` whose slope at 0 is 1: what a form that is split at `x >= 0` needs."""
    xp = namespace(x=x)
    return xp.where(x >= 0, x, -x)


def bernoulli_nll(logits: Any, positive: Any, negative: Any) -> Any:
    """`positive · softplus(-s) + negative · softplus(s)` for weights >= 0.

    A weight of 0 removes its term even where that term is infinite.
    """
    xp = namespace(logits=logits)
    size = magnitude(logits)
    wrong_side = xp.where(logits >= 0, negative, positive)
    counted = wrong_side > 0
    linear = wrong_side * xp.where(counted, size, 0.0)
    return linear + (positive + negative) * xp.log1p(xp.exp(-size))


def matmul(a: Any, b: Any) -> Any:
    """`a` `[..., K]` times `b` `[K, M]` in the full precision of its dtype.

    JAX's default rounds float32 to fewer bits on accelerators.
    """
    xp = namespace(a=a, b=b)
    if is_jax_namespace(xp):
        return xp.tensordot(a, b, axes=1, precision="highest")
    return xp.tensordot(a, b, axes=1)
