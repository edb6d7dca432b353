"""The array library under test, chosen by the environment variable `ARRAY_BACKEND`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

MODULES = {
    "numpy": "array_api_compat.numpy",
    "jax": "jax.numpy",
    "torch": "array_api_compat.torch",
    "array-api-strict": "array_api_strict",
}
NAME = os.environ.get("ARRAY_BACKEND", "numpy")
if NAME not in MODULES:
    raise ValueError(f"ARRAY_BACKEND must be one of {', '.join(MODULES)}, got {NAME!r}")

xp = importlib.import_module(MODULES[NAME])
HAS_GRADIENTS = NAME in ("jax", "torch")


def asarray(x: Any, dtype: str | None = None) -> Any:
    """`x` as an array of the library under test; NumPy ones are read-only, to catch writes."""
    x = np.array(x)
    if NAME == "numpy":
        x = x if dtype is None else x.astype(dtype)
        x.flags.writeable = False
        return x
    x = xp.asarray(x)
    return x if dtype is None else xp.astype(x, getattr(xp, dtype))


def to_numpy(x: Any) -> np.ndarray:
    """An array of any library as NumPy, half precision as float32."""
    if NAME == "torch":
        x = x.detach().cpu()
        return (x.float() if x.is_floating_point() and x.element_size() < 4 else x).numpy()
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.name == "bfloat16" else x


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under jit where there is one: op by op, JAX would compile far more."""
    return _jitted(function) if NAME == "jax" else function


def gradient(function: Callable[..., Any], x: Any, *rest: Any) -> np.ndarray:
    """Gradient by x of the scalar `function(x, *rest)`, by the library's own differentiation."""
    if NAME == "jax":
        return to_numpy(_jitted_gradient(function)(x, *rest))
    x = x.detach().clone().requires_grad_()
    function(x, *rest).backward()
    return to_numpy(x.grad)


@cache
def _jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(function)


@cache
def _jitted_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(jax.grad(function))
