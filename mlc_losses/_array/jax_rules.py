"""Gradient rules of the primitives on JAX; imported only when a JAX array comes in.

`custom_jvp`, so that forward mode and exact Hessians live beside reverse mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero

from mlc_losses._array import pairs, two_sided
from mlc_losses._array.axis import Layout, current_layout, label_parts, laid_out
from mlc_losses._array.jax_axes import varying_like
from mlc_losses._array.labels import label_sum

# 4 to 12 are equal; at 16 XLA stops unrolling the loop and loses a factor of 3
_RUNS = 8


def _reduce_pair(
    combine: Callable[..., Any], start: float, pair: Callable[..., Any], *arrays: Any
) -> list[Any]:
    """Reduces both sides of `pair(logits, targets, *rows)` over the labels in one pass.

    Two plain reductions would make XLA's CPU backend write both `[N, L]` operands to memory first,
    and above 32 MiB page-fault them at every call. So the labels are cut into 8 runs, and both
    operands reduced together over that short axis: the loop is unrolled, vectorises over the long
    axis, and only `[N, L / 8]` partial results are stored.
    """
    logits, targets, *rows = arrays
    width = logits.shape[-1] // _RUNS
    cut = _RUNS * width

    def runs(x: Any) -> Any:
        return x[..., :cut].reshape(*x.shape[:-1], _RUNS, width)

    def finish(x: Any) -> Any:
        return lax.reduce(x, initial, combine, (x.ndim - 1,))

    initial = jax.numpy.array(start, logits.dtype)
    partials = lax.reduce(
        pair(runs(logits), runs(targets), *(row[..., None, None] for row in rows)),
        (initial, initial),
        lambda a, b: (combine(a[0], b[0]), combine(a[1], b[1])),
        (logits.ndim - 1,),
    )
    # what does not fill 8 equal runs; padding it instead would cost a copy
    rest = pair(logits[..., cut:], targets[..., cut:], *(row[..., None] for row in rows))
    return [combine(finish(a), finish(b)) for a, b in zip(partials, rest, strict=True)]


def two_sided_parts(logits: Any, targets: Any, bound: Any) -> two_sided.Parts:
    return _two_sided_parts(current_layout(), logits, targets, bound)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _two_sided_parts(layout: Layout, logits: Any, targets: Any, bound: Any) -> two_sided.Parts:
    if bound is None or layout.labels is not None:
        with laid_out(layout):
            return _shifted_by_peaks(logits, targets, bound)
    return _shifted(logits, targets, bound)


@jax.jit
def _shifted(logits: Any, targets: Any, bound: Any) -> two_sided.Parts:
    """Compiled in eager code too, where each call would compile the branch anew."""
    # elsewhere a branch would make the host wait for the device
    return lax.platform_dependent(
        logits, targets, bound, cpu=_shifted_by_bound, default=_shifted_by_peaks
    )


def _shifted_by_bound(logits: Any, targets: Any, bound: Any) -> two_sided.Parts:
    """One pass instead of two: without the peaks, and again with them if a sum overflows.

    The bound's own term is then 1, so nothing underflows that would count.
    """
    no_peak = jax.numpy.full_like(bound, -math.inf)
    parts = two_sided.two_sided_parts(
        logits, targets, bound, largest=lambda *_: [no_peak, no_peak], total=_totals
    )
    finite = jax.numpy.isfinite(parts.negative_log + parts.positive_log).all()
    parts = two_sided.Parts(*varying_like(tuple(parts)))
    return lax.cond(
        finite,
        lambda *_: parts,
        _shifted_by_peaks,
        *(logits, targets, bound),
    )


def _shifted_by_peaks(logits: Any, targets: Any, bound: Any) -> two_sided.Parts:
    return two_sided.two_sided_parts(logits, targets, bound, largest=_peaks, total=_totals)


def _peaks(*arrays: Any) -> list[Any]:
    own = _reduce_pair(lax.max, -math.inf, *arrays)
    parts = label_parts(jax.numpy)
    return own if parts is None else [parts.peak(side) for side in own]


def _totals(*arrays: Any) -> list[Any]:
    own = _reduce_pair(lax.add, 0.0, *arrays)
    parts = label_parts(jax.numpy)
    return own if parts is None else [parts.sum(side) for side in own]


@partial(_two_sided_parts.defjvp, symbolic_zeros=True)
def _two_sided_jvp(layout: Layout, primals: Any, tangents: Any) -> Any:
    parts = _two_sided_parts(layout, *primals)
    dots = [None if isinstance(dot, SymbolicZero) else dot for dot in tangents]
    with laid_out(layout):
        return parts, two_sided.tangents(primals, parts, dots)


@jax.custom_jvp
def pair_logistic(scores: Any, positive: Any, negative: Any) -> Any:
    return pairs.pair_logistic_value(scores, positive, negative)


@pair_logistic.defjvp
def _pair_logistic_jvp(primals: Any, tangents: Any) -> Any:
    slopes = pairs.pair_logistic_slopes(*primals)
    return pair_logistic(*primals), label_sum(slopes * tangents[0])
