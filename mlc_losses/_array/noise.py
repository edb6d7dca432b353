"""Standard normal noise, drawn on the backend: cheap, by the block, and antithetic.

Random numbers are most of the cost of a perturbed selection. So every draw is used twice, as z and
as -z, and on JAX the bits of a row come from a short hash of the label number instead of a full
Threefry per number. The hash is seeded with 64 bits per row, which Threefry draws from the key:
rows are as independent as `jax.random` makes them, and the hash only has to spread out the labels
of one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlc_losses._array.backend import is_jax_array, is_jax_namespace, is_torch_namespace
from mlc_losses._array.batch import own_rows
from mlc_losses._array.host import constant
from mlc_losses._array.namespace import device_of, namespace, shape_of

# the normal quantile at the tail probability e^(-(x + 2.8)^2), in powers of x, highest first
_QUANTILE = (
    3.22438592e-05,
    -7.87410284e-05,
    -6.50918849e-05,
    -3.95929533e-06,
    0.00112395988,
    -0.00315770166,
    0.00939822103,
    -0.0346681341,
    1.54831945,
    3.35719166,
)
_CENTER = 2.8


def check_key(like: Any, key: Any) -> None:
    """`key` is what noise for an array such as `like` is drawn with."""
    xp = namespace(like=like)
    if is_jax_namespace(xp):
        needed = "a JAX PRNG key, such as jax.random.key(0)"
        fits = is_jax_array(key) and _is_one_jax_key(key)
        if is_jax_array(key) and not fits and key.ndim:
            needed += "; a batch of keys goes with jax.vmap"
    elif is_torch_namespace(xp):
        import torch

        needed = "a torch.Generator"
        fits = isinstance(key, torch.Generator)
    else:
        needed = "a numpy.random.Generator, such as numpy.random.default_rng(0)"
        fits = isinstance(key, np.random.Generator)
    if not fits:
        got = f"{type(key).__module__}.{type(key).__name__}"
        if is_jax_array(key):
            got = f"an array of dtype {key.dtype} and shape {shape_of(key)}"
        raise TypeError(f"for these scores key must be {needed}, got {got}")


def _is_one_jax_key(key: Any) -> bool:
    import jax

    if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
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
    import torch

    return torch.randn(shape, generator=generator, dtype=like.dtype, device=device_of(like))


def jax_seeds(key: Any, num_rows: int, num_draws: int) -> Any:
    """Seeds `[num_rows, num_draws, 2]` for `normal_row`."""
    import jax

    return own_rows(
        lambda rows: jax.random.bits(key, (rows, num_draws, 2), dtype=np.uint32), num_rows
    )


def hashed_bits(seed: Any, numbers: Any) -> Any:
    """32 bits for each of the uint32 `numbers`: a permutation of them that the `seed` `[2]` picks.

    Two rounds of multiply and xor-shift, with constants of Wellons' search for low bias.
    """
    x = numbers + seed[0]
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD) + seed[1]
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0xD35A2D97)
    return x ^ (x >> np.uint32(15))


def normal_from_bits(xp: Any, bits: Any) -> Any:
    """Standard normal float32 from 32 uniform bits: sign, and quantile of the tail probability.

    Up to 6.3 in size. The quantile is a polynomial in the square root of the logarithm, off by no
    more than 3e-5.
    """
    half = xp.astype(bits >> np.uint32(1), xp.int32)
    tail = (xp.astype(half, xp.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    x = xp.sqrt(-xp.log(tail)) - np.float32(_CENTER)
    size = xp.full_like(x, _QUANTILE[0])
    for coefficient in _QUANTILE[1:]:
        size = size * x + np.float32(coefficient)
    return xp.where((bits & np.uint32(1)) == 1, -size, size)


def normal_row(seed: Any, numbers: Any) -> Any:
    """Standard normal noise for the labels of these numbers on JAX; under vmap a row per seed."""
    import jax.numpy as jnp

    return normal_from_bits(jnp, hashed_bits(seed, numbers.astype(jnp.uint32)))
