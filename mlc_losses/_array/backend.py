"""Which library an array or a namespace belongs to.

array-api-compat answers too, through cached functions that PyTorch's compiler warns of, so it is
asked once for each type of array.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any

import array_api_compat

# of each type of array that has been seen
NAMESPACES: dict[type, Any] = {}
# what belongs to any library
PLAIN = frozenset({NoneType, bool, int, float})


def is_jax_namespace(xp: Any) -> bool:
    return xp.__name__ == "jax.numpy"


def is_torch_namespace(xp: Any) -> bool:
    return xp.__name__ == "mlc_losses._array.torch_namespace"


def is_numpy_namespace(xp: Any) -> bool:
    return xp.__name__ in ("array_api_compat.numpy", "numpy")


def is_jax_array(x: Any) -> bool:
    return _is_of(x, is_jax_namespace, array_api_compat.is_jax_array)


def is_torch_array(x: Any) -> bool:
    return _is_of(x, is_torch_namespace, looks_like_tensor)


def looks_like_tensor(x: Any) -> bool:
    """A question that PyTorch's compiler can follow, for parameters and fake tensors too."""
    return hasattr(x, "untyped_storage")


def is_numpy_array(x: Any) -> bool:
    return _is_of(x, is_numpy_namespace, array_api_compat.is_numpy_array)


def _is_of(x: Any, is_namespace: Callable[[Any], bool], asked: Callable[[Any], bool]) -> bool:
    if type(x) in PLAIN:
        return False
    xp = NAMESPACES.get(type(x))
    if xp is not None:
        return is_namespace(xp)
    # the first tensor may come while PyTorch compiles
    return asked is looks_like_tensor if looks_like_tensor(x) else asked(x)
