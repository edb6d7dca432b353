"""Sums and maxima over the labels of terms that are computed on the way, in one pass.

XLA's CPU backend would write the terms to memory first; there `jax_runs.py` does them otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.ops import finite, stop_gradient


def sums_of_terms(
    xp: Any, terms: Callable[..., tuple[Any, ...]], arrays: tuple[Any, ...], runs: int = 4
) -> tuple[Any, ...]:
    """The sums over the labels of the one or two terms that `terms(*arrays)` returns.

    They are elementwise in arrays `[..., L]` and `[...]`. A backend that would write them to memory
    first cuts the labels into `runs`: 4, or 8 where the terms are small.
    """
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_runs

        return jax_runs.sums_of_terms(terms, arrays, runs)
    return tuple(label_sum(x) for x in terms(*arrays))


def maxima_of_terms(
    xp: Any, terms: Callable[..., tuple[Any, ...]], arrays: tuple[Any, ...], runs: int = 4
) -> tuple[Any, ...]:
    """The largest of each of them, -inf for none."""
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_runs

        return jax_runs.maxima_of_terms(terms, arrays, runs)
    return tuple(label_max(x) for x in terms(*arrays))


def row_max(xp: Any, x: Any) -> Any:
    """The largest entry over the labels, -inf for none: what a rule may subtract."""
    if not is_jax_namespace(xp):
        return label_max(x)
    return maxima_of_terms(xp, lambda x: (x,), (stop_gradient(x),))[0]


def subtracted(xp: Any, peak: Any) -> Any:
    """`row_max` for the terms to subtract: finite, but on PyTorch, where inf - inf is no error.

    Its compiler finds the largest and the sums in one loop, if nothing comes between.
    """
    return peak if is_torch_namespace(xp) else finite(xp, peak)


def quick_or_exact(
    xp: Any,
    quick: Callable[..., Any],
    exact: Callable[..., Any],
    params: Any,
    arrays: tuple[Any, ...],
    in_place: bool = False,
) -> Any:
    """`exact(xp, params, *arrays)`.

    On a CPU on JAX that of `quick`, if it says of its results that they can be trusted. `in_place`
    is for results of the size of the arguments.
    """
    if not is_jax_namespace(xp):
        return exact(xp, params, *arrays)
    from mlc_losses._array import jax_runs

    return jax_runs.quick_or_exact(quick, exact, params, arrays, in_place)
