"""Checks of the values of an argument, where they can be looked at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlc_losses._array.arguments import check_numbers
from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.namespace import (
    accept_numpy,
    as_dtype,
    can_look,
    default_float,
    is_number,
    namespace,
    shape_of,
)


def check_at_least_0(
    name: str,
    x: Any,
    high: float = math.inf,
    high_name: str = "",
    known: np.ndarray | None = None,
) -> None:
    """Raises for an entry that is negative, not finite or too large, if looking is free.

    `known`: a mask of the entries that count.
    """
    if not (is_number(x) or can_look(x)):
        return
    values = np.asarray(x) if is_number(x) else to_host(name, x)
    # written so that NaN is bad
    bad = ~((values >= 0) & (values <= high) & np.isfinite(values))
    if known is not None:
        bad &= known
    if bad.any():
        index = first_index(bad)
        place = f" at index {index}" if index else ""
        limits = "at least 0" if high == math.inf else f"in 0..{high:g} ({high_name})"
        raise ValueError(f"{name} must be finite and {limits}, got {float(values[index]):g}{place}")


def checked_sample_weight(xp: Any, weight: Any, like: Any) -> Any:
    """The weights `[n]` of the examples of `like` `[n, ...]`, in its dtype; None stays.

    Of predictions, which are not floats, in the default float.
    """
    if weight is None:
        return None
    namespace(scores=like, sample_weight=weight)
    check_numbers(xp, "sample_weight", weight)
    check_at_least_0("sample_weight", weight)
    weight = accept_numpy(xp, weight)
    if shape_of(weight) != shape_of(like)[:1]:
        raise ValueError(
            f"sample_weight must have one entry per example, shape {shape_of(like)[:1]}, "
            f"got {shape_of(weight)}"
        )
    floating = xp.isdtype(like.dtype, "real floating")
    return as_dtype(xp, weight, like.dtype if floating else default_float(xp))
