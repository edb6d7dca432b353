"""PyTorch under the names of the standard: array-api-compat's, but for what compilers stumble on.

Those are written for any library. They ask which one an array is of, for which PyTorch's compiler
prints warnings, and whether a bound is NaN, which a program cannot ask of a number that it is
given when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from array_api_compat import torch as compat

globals().update(
    (name, value)
    for name, value in vars(compat).items()
    if not name.startswith("__") or name == "__array_namespace_info__"
)


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """`x` with nothing below `min` or above `max`, numbers or arrays; NaN stays."""
    return x.clamp(min, max)


def cumulative_sum(x: Any, *, axis: int = -1, dtype: Any = None) -> Any:
    """Sums of the entries up to each."""
    return x.cumsum(axis, dtype=dtype)
