"""Standard normal noise, drawn on the backend, and antithetic.

Random numbers are most of the cost of a perturbed selection. So every draw is used twice, as z and
as -z.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlc_losses._array.backend import is_jax_array, is_jax_namespace, is_torch_namespace
from mlc_losses._array.host import constant
from mlc_losses._array.namespace import device_of, namespace, shape_of


def check_key(like: Any, key: Any) -> None:
    """`key` is what noise for an array such as `like` is drawn with."""
    xp = namespace(like=like)
    if is_jax_namespace(xp):
        needed = "a JAX PRNG key, such as jax.random.key(0)"
        fits = is_jax_array(key) and _is_one_jax_key(key)
        if is_jax_array(key) and not fits and key.ndim:
            needed += "; a batch of keys goes with jax.vmap"
    elif is_torch_namespace(xp):
        needed = "a torch.Generator"
        fits = isinstance(key, xp.Generator)
    else:
        needed = "a numpy.random.Generator, such as numpy.random.default_rng(0)"
        fits = isinstance(key, np.random.Generator)
    if not fits:
        got = f"{type(key).__module__}.{type(key).__name__}"
        if is_jax_array(key):
            got = f"an array of dtype {key.dtype} and shape {shape_of(key)}"
        raise TypeError(f"for these scores key must be {needed}, got {got}")


def _is_one_jax_key(key: Any) -> bool:
    if not isinstance(key.dtype, np.dtype):  # a typed one
        return key.ndim == 0
    return key.ndim == 1 and key.dtype == np.uint32


def antithetic(like: Any, generator: Any, num_samples: int) -> Iterator[Any]:
    """Eagerly, noise of the shape and dtype of `like`: each draw is followed by its negative."""
    for _ in range(num_samples // 2):
        noise = _normal(like, generator)
        yield noise
        yield -noise
    if num_samples % 2:
        yield _normal(like, generator)


def _normal(like: Any, generator: Any) -> Any:
    xp = namespace(like=like)
    shape = shape_of(like)
    if not is_torch_namespace(xp):
        wide = xp.finfo(like.dtype).bits == 64
        values = generator.standard_normal(shape, np.float64 if wide else np.float32)
        return constant(values, like)
    if like.device.type == "meta":
        return xp.empty_like(like)
    return xp.randn(shape, generator=generator, dtype=like.dtype, device=device_of(like))
