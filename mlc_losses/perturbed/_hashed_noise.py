"""Standard normal noise from a hash, a few operations for each number: what JAX draws.

The bits of a row come from a short hash of the label number instead of a full Threefry per number.
The hash is seeded with 64 bits per row, which Threefry draws from the key: rows are as independent
as `jax.random` makes them, and the hash only has to spread out the labels of one row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc_losses._array.namespace import namespace

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
    """Standard normal noise for the labels of these numbers; under vmap a row per seed."""
    xp = namespace(numbers=numbers)
    return normal_from_bits(xp, hashed_bits(seed, xp.astype(numbers, xp.uint32)))
