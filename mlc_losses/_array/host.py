"""Arrays as NumPy on the host, for what is done once and for values that eager code looks at."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc_losses._array.backend import is_jax_array, is_numpy_array, is_torch_array
from mlc_losses._array.namespace import device_of, is_concrete, namespace


def to_host(name: str, x: Any) -> np.ndarray:
    """The values of `x`, of any library and on any device, as NumPy.

    Under a JAX trace this still serves an array that the traced function closes over.
    """
    namespace(**{name: x})
    if not is_concrete(x):
        raise TypeError(f"the values of {name} are needed: call this outside jit")
    if is_torch_array(x):
        x = x.detach().cpu()
        return (x.float() if x.is_floating_point() and x.element_size() < 4 else x).numpy()
    if is_numpy_array(x) or is_jax_array(x):
        return np.asarray(x)
    return np.from_dlpack(x)


def constant(values: np.ndarray, like: Any) -> Any:
    """NumPy values in the namespace and on the device of `like`."""
    xp = namespace(like=like)
    return xp.asarray(values, device=device_of(like), copy=True)


def first_index(bad: np.ndarray) -> tuple[int, ...]:
    """Where the first True is."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(bad), bad.shape))
