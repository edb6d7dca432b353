"""Elementwise primitives, each right in value and gradient at 0 and at +-inf on every backend.

None of them has a kink that is not its own: the textbook `max(x, 0) + log1p(exp(-|x|))` has a
wrong gradient at exactly 0, where a zero-initialised last layer begins.
"""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.namespace import as_dtype, is_number, namespace, shape_of

# Beyond it a logit decides its label in every dtype; a larger one would only make 0 * inf.
_DECIDED = 1e30
# standard deviations beyond which a normal probability is 0 or 1 in every dtype
_FAR = 38.0


def broadcast_like(xp: Any, x: Any, like: Any) -> Any:
    """`x` broadcast to the shape of `like`, and split over devices as it is."""
    x = xp.broadcast_to(x, shape_of(like))
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.split_like(x, like)
    return x


def stop_gradient(x: Any) -> Any:
    """`x` as a constant: no gradient flows through it."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        import jax

        return jax.lax.stop_gradient(x)
    return x.detach() if is_torch_namespace(xp) else x


def is_differentiated(x: Any) -> bool:
    """Whether PyTorch records the operations on `x`; then write into none of their results."""
    if not is_torch_namespace(namespace(x=x)):
        return False
    import torch

    return torch.is_grad_enabled() and x.requires_grad


def materialized(x: Any) -> Any:
    """`x`, stored once by XLA: fused into each of its readers it would be computed again."""
    if is_jax_namespace(namespace(x=x)):
        import jax

        return jax.lax.optimization_barrier(x)
    return x


def softplus(x: Any) -> Any:
    """`log(1 + e^x)`."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_ops

        return jax_ops.softplus(x)
    if is_torch_namespace(xp):
        import torch

        # beyond 50 it is x in every dtype
        return torch.nn.functional.softplus(x, threshold=50.0)
    return xp.clip(x, 0.0, None) + xp.log1p(xp.exp(-xp.abs(x)))


def log_sigmoid(x: Any) -> Any:
    """`log σ(x)`."""
    return -softplus(-x)


def sigmoid(x: Any) -> Any:
    """`σ(x) = 1 / (1 + e^-x)`."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_ops

        return jax_ops.sigmoid(x)
    if is_torch_namespace(xp):
        import torch

        return torch.sigmoid(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, small) / (1.0 + small)


def decided(x: Any) -> Any:
    """`x`, no larger than what decides a label in every dtype: it may be multiplied by 0."""
    return namespace(x=x).clip(x, -_DECIDED, _DECIDED)


def finite(xp: Any, x: Any) -> Any:
    """`x`, its infinities as the largest finite numbers: they may be multiplied by 0. NaN stays."""
    largest = float(xp.finfo(x.dtype).max)
    return xp.clip(x, -largest, largest)


def scaled(x: Any, factor: Any) -> Any:
    """`c x` for c > 0, finite where x is: the difference of two that overflow would be NaN."""
    if is_number(factor) and factor == 1.0:
        return x
    xp = namespace(x=x)
    # for an infinity the factor is a constant: the derivative by it would be 0 * inf
    infinite = xp.isinf(x)
    constant = factor if is_number(factor) else stop_gradient(factor)
    product = finite(xp, factor * xp.where(infinite, 0.0, x))
    return xp.where(infinite, constant * x, product)


def weighed(x: Any, weight: Any) -> Any:
    """`w x`; 0 for a weight of 0, even where x is infinite."""
    if is_number(weight) and weight != 0.0:
        return weight * x
    xp = namespace(x=x)
    return weight * xp.where((weight == 0.0) & xp.isinf(x), 0.0, x)


def magnitude(x: Any) -> Any:
    """`|x|` whose derivative at 0 is 1: what a form that is split at `x >= 0` needs."""
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        import torch

        recorded = torch.is_grad_enabled() or torch.autograd.forward_ad._current_level >= 0
        if not (recorded or torch._C._are_functorch_transforms_active()):
            return x.abs()  # a choice before an exponential would cost compiled code a third
    return xp.where(x >= 0, x, -x)


def sign(xp: Any, x: Any) -> Any:
    """-1, 0 or 1; NaN for NaN."""
    if is_torch_namespace(xp):
        # that of array-api-compat asks the device how many are NaN
        return xp.where(xp.isnan(x), x, x.sign())
    return xp.sign(x)


def relevance(xp: Any, targets: Any, dtype: Any) -> Any:
    """1 where a target is above 1/2, else 0; NaN for NaN."""
    if xp.isdtype(targets.dtype, "real floating"):
        # a half is rounded to the even 0
        return as_dtype(xp, xp.round(xp.clip(targets, 0.0, 1.0)), dtype)
    return xp.astype(targets > 0 if xp.isdtype(targets.dtype, "integral") else targets, dtype)


def relevant_and_missing(xp: Any, targets: Any) -> tuple[Any, Any]:
    """Bool: where a target is above 1/2, and where it is NaN; None for no NaN by its dtype."""
    if xp.isdtype(targets.dtype, "real floating"):
        return targets > 0.5, xp.isnan(targets)
    return (targets > 0 if xp.isdtype(targets.dtype, "integral") else targets), None


def matmul(a: Any, b: Any) -> Any:
    """`a` `[..., K]` times `b` `[K, M]` in the full precision of its dtype.

    JAX's default rounds float32 to fewer bits on accelerators, PyTorch's autocast everywhere.
    """
    xp = namespace(a=a, b=b)
    if is_jax_namespace(xp):
        return xp.tensordot(a, b, axes=1, precision="highest")
    if is_torch_namespace(xp):
        from mlc_losses._array import torch_products

        return torch_products.matmul(a, b)
    return xp.tensordot(a, b, axes=1)


def with_axis_at(x: Any, axis: int, place: int) -> Any:
    """`x` with that axis in another place: `moveaxis`, which PyTorch's `vmap` does not know."""
    axes = list(range(x.ndim))
    axes.insert(place % x.ndim, axes.pop(axis))
    return namespace(x=x).permute_dims(x, tuple(axes))


def entries_at(x: Any, indices: Any) -> Any:
    """The entries of `x` `[..., L]` at the `indices` `[..., W]`, along the last axis."""
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        # `take_along_dim` looks at each size, and so is compiled again for each
        return x.gather(-1, indices)
    return xp.take_along_axis(x, indices, axis=-1)


def normal_cdf(x: Any) -> Any:
    """`Φ(x)`, the probability that a standard normal number is below x."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        import jax

        # at an infinite x the derivative of erfc would be 0 * inf
        x = xp.clip(x, -_FAR, _FAR)
        return 0.5 * jax.lax.erfc(x * -math.sqrt(0.5))
    if is_torch_namespace(xp):
        import torch

        return torch.special.ndtr(torch.clip(x, -_FAR, _FAR))
    tail = 0.5 * _erfc(xp.clip(xp.abs(x), 0.0, _FAR) * math.sqrt(0.5))
    return xp.where(x > 0, 1.0 - tail, tail)


def _erfc(x: Any) -> Any:
    """The complementary error function for x >= 0, to 1e-15: the standard has none.

    The midpoint rule with step 1/2 on `∫ x e^(-x² - u²) / (x² + u²) du · 2 / π`, with the residue
    of the pole at `u = ix`; what remains is of the order of e^(-4 π²).
    """
    xp = namespace(x=x)
    total = 0.0
    for node in range(13):
        u_squared = (0.5 * (node + 0.5)) ** 2
        total = total + math.exp(-u_squared) / (x * x + u_squared)
    pole = 2.0 / (1.0 + xp.exp(4.0 * math.pi * xp.clip(x, 0.0, 6.0)))
    return x * xp.exp(-x * x) * total / math.pi + xp.where(x < 6.0, pole, 0.0)
