"""Sums and maxima over the labels, of terms that are computed and reduced in one pass.

XLA's CPU backend would write the terms to memory first; `jax_runs.py` avoids that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.ops import finite, stop_gradient

# a sum that is larger than 1 by this much loses at most 4 bits when 1 is subtracted from it
LEAST_REST = 1 / 16


def sums_of_terms(
    xp: Any, terms: Callable[..., tuple[Any, ...]], arrays: tuple[Any, ...], runs: int = 4
) -> tuple[Any, ...]:
    """The sums over the labels of the one or two terms that `terms(*arrays)` returns.

    The terms are elementwise in arrays `[..., L]` and `[...]`. On JAX on a CPU the labels are cut
    into as many `runs`, see `jax_runs.py`: 4, or 8 if the terms are short formulas.
    """
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_runs

        return jax_runs.sums_of_terms(terms, arrays, runs)
    return tuple(label_sum(x) for x in terms(*arrays))


def maxima_of_terms(
    xp: Any, terms: Callable[..., tuple[Any, ...]], arrays: tuple[Any, ...], runs: int = 4
) -> tuple[Any, ...]:
    """The maximum over the labels of each of the terms; -inf without labels."""
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_runs

        return jax_runs.maxima_of_terms(terms, arrays, runs)
    return tuple(label_max(x) for x in terms(*arrays))


def row_max(xp: Any, x: Any) -> Any:
    """The largest entry over the labels, without a gradient on JAX; -inf without labels."""
    if not is_jax_namespace(xp):
        return label_max(x)
    return maxima_of_terms(xp, lambda x: (x,), (stop_gradient(x),))[0]


def as_shift(xp: Any, peak: Any) -> Any:
    """`row_max` as the shift that terms subtract: finite, except on PyTorch.

    There inf - inf raises no error, and the compiler computes maximum and sums in one loop only if
    no operation is between them.
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

    On JAX on a CPU `quick` is tried first. It returns its results and whether they can be trusted.
    `in_place` is for results of the size of the arguments.
    """
    if not is_jax_namespace(xp):
        return exact(xp, params, *arrays)
    from mlc_losses._array import jax_runs

    return jax_runs.quick_or_exact(quick, exact, params, arrays, in_place)
