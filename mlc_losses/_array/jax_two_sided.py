"""The sums of both sides on JAX, in one pass on a CPU; imported only when a JAX array comes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from mlc_losses._array import two_sided
from mlc_losses._array.axis import label_parts
from mlc_losses._array.jax_axes import varying_like

# 4 to 12 are equal; at 16 XLA stops unrolling the loop and loses a factor of 3
_RUNS = 8


def side_sums(logits: Any, targets: Any, bound: Any = None) -> two_sided.SideSums:
    """What is good for XLA's CPU backend on one device is done there and nowhere else.

    Over several devices it would gather the labels; elsewhere a branch makes the host wait.
    """
    if label_parts(jax.numpy) is not None or jax.device_count("cpu") > 1:
        return two_sided.side_sums(logits, targets, bound)
    on_cpu = _by_runs if bound is None else _by_bound
    return two_sided.SideSums(
        *lax.platform_dependent(logits, targets, bound, cpu=on_cpu, default=two_sided.side_sums)
    )


def _by_bound(logits: Any, targets: Any, bound: Any) -> two_sided.SideSums:
    """One pass instead of two: without the peaks, and again with them if a sum overflows.

    The bound's own term is then 1, so nothing underflows that would count.
    """
    no_peak = jax.numpy.full_like(bound, -math.inf)
    sums = two_sided.side_sums(
        logits, targets, bound, largest=lambda *_: [no_peak, no_peak], total=_totals
    )
    finite = jax.numpy.isfinite(sums.negative_log + sums.positive_log).all()
    sums = two_sided.SideSums(*varying_like(tuple(sums)))
    return lax.cond(finite, lambda *_: sums, _by_runs, *(logits, targets, bound))


def _by_runs(logits: Any, targets: Any, bound: Any) -> two_sided.SideSums:
    return two_sided.side_sums(logits, targets, bound, largest=_peaks, total=_totals)


def _peaks(*arrays: Any) -> list[Any]:
    return _reduce_pair(lax.max, -math.inf, *arrays)


def _totals(*arrays: Any) -> list[Any]:
    return _reduce_pair(lax.add, 0.0, *arrays)


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
