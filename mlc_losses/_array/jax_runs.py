"""Sums over the labels in one pass on XLA's CPU backend; imported only when a JAX array comes in.

That backend writes the terms of a sum to memory before it adds them up, whole arrays `[N, L]`
which above 32 MiB are page-faulted at every call. So the labels are cut into a few runs, and the
runs are added to one another first: this loop is unrolled, takes up whatever makes the terms, and
vectorises over the labels of a run. Only its results are written, `[N, L / runs]`. It must reduce
two arrays at a time; one alone goes the other way.

All of this is for one device. Over several it would gather the labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from mlc_losses._array import two_sided
from mlc_losses._array.jax_axes import varying_like
from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.layout import label_shards

# At 16, or with larger terms at 8, XLA stops unrolling the loop and loses a factor of 3.
_RUNS = 4
_RUNS_OF_SIDES = 8
# with fewer labels there is nothing to win
_FEWEST_LABELS = 128


def sums_of_terms(terms: Callable[..., Any], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sums over the labels of one or two `terms(*arrays)`, elementwise in their arrays."""

    def whole(*arrays: Any) -> Any:
        return tuple(label_sum(x) for x in terms(*arrays))

    def by_runs(*arrays: Any) -> Any:
        return _reduce_one_or_two(lax.add, 0.0, terms, arrays)

    return _on_one_cpu(by_runs, whole, arrays)


def row_max(x: Any) -> Any:
    """The largest entry over the labels, without a gradient."""

    def by_runs(x: Any) -> Any:
        return _reduce_one_or_two(lax.max, -math.inf, lambda x: (x,), (x,))[0]

    return _on_one_cpu(by_runs, label_max, (lax.stop_gradient(x),))


def _reduce_one_or_two(
    combine: Callable[..., Any], start: float, terms: Callable[..., Any], arrays: Any
) -> tuple[Any, ...]:
    is_pair = True

    def pair(*arrays: Any) -> Any:
        nonlocal is_pair
        found = tuple(terms(*arrays))
        is_pair = len(found) == 2
        return found if is_pair else (*found, jnp.full_like(found[0], start))

    first, second = _reduce_pair(combine, start, _RUNS, pair, arrays)
    # both are asked for, or XLA would drop the second and reduce one array alone
    return (first, second) if is_pair else (combine(first, second),)


def side_sums(logits: Any, targets: Any, bound: Any = None) -> two_sided.SideSums:
    """`two_sided.side_sums`, elsewhere without the branch: it would make the host wait."""

    def elsewhere(*arrays: Any) -> tuple[Any, ...]:
        return tuple(two_sided.side_sums(*arrays))

    on_cpu = _by_peaks if bound is None else _by_bound
    return two_sided.SideSums(*_on_one_cpu(on_cpu, elsewhere, (logits, targets, bound)))


def _on_one_cpu(on_cpu: Callable[..., Any], elsewhere: Callable[..., Any], arrays: Any) -> Any:
    several = jax.default_backend() == "cpu" and jax.device_count() > 1
    # on an explicit mesh, which may be of one device
    split = jax.typeof(arrays[0]).sharding.spec[-1:] not in ((), (None,))
    if several or split or label_shards(jnp) is not None or arrays[0].shape[-1] < _FEWEST_LABELS:
        return elsewhere(*arrays)
    return lax.platform_dependent(*arrays, cpu=on_cpu, default=elsewhere)


def quick_or_exact(
    quick: Callable[..., Any], exact: Callable[..., Any], params: Any, arrays: tuple[Any, ...]
) -> Any:
    """`quick` returns its results and whether they can be trusted; if not, `exact` ones are."""

    def on_cpu(*arrays: Any) -> Any:
        results, trusted = quick(jnp, params, *arrays)
        return _if_trusted(trusted, results, lambda *arrays: exact(jnp, params, *arrays), arrays)

    def elsewhere(*arrays: Any) -> Any:
        return exact(jnp, params, *arrays)

    return _on_one_cpu(on_cpu, elsewhere, arrays)


def _if_trusted(trusted: Any, results: Any, exact: Callable[..., Any], arrays: Any) -> Any:
    results = varying_like(tuple(results))
    return lax.cond(trusted, lambda *_: results, lambda *arrays: tuple(exact(*arrays)), *arrays)


def quick_or_again(
    quick: Callable[..., Any], exact: Callable[..., Any], arrays: tuple[Any, ...]
) -> Any:
    """The same for results of the size of the arguments: a loop keeps them where they are.

    A branch would copy them. There is one round of it, or none.
    """

    def on_cpu(*arrays: Any) -> Any:
        results, trusted = quick(jnp, *arrays)

        def again(_: Any) -> Any:
            return varying_like((tuple(exact(jnp, *arrays)), jnp.array(True)), arrays)

        start = varying_like((tuple(results), trusted), arrays)
        return lax.while_loop(lambda state: ~state[1], again, start)[0]

    def elsewhere(*arrays: Any) -> Any:
        return tuple(exact(jnp, *arrays))

    return _on_one_cpu(on_cpu, elsewhere, arrays)


def _by_bound(logits: Any, targets: Any, bound: Any) -> tuple[Any, ...]:
    """Without the peaks, and again with them if a sum overflows.

    The bound's own term is then 1, so nothing underflows that would count.
    """
    no_peak = jnp.full_like(bound, -math.inf)
    sums = two_sided.side_sums(
        logits, targets, bound, largest=lambda *_: [no_peak, no_peak], total=_totals
    )
    finite = jnp.isfinite(sums.negative_log + sums.positive_log).all()
    return _if_trusted(finite, sums, _by_peaks, (logits, targets, bound))


def _by_peaks(logits: Any, targets: Any, bound: Any) -> tuple[Any, ...]:
    return tuple(two_sided.side_sums(logits, targets, bound, largest=_peaks, total=_totals))


def _peaks(pair: Callable[..., Any], *arrays: Any) -> list[Any]:
    return _reduce_pair(lax.max, -math.inf, _RUNS_OF_SIDES, pair, arrays)


def _totals(pair: Callable[..., Any], *arrays: Any) -> list[Any]:
    def with_rows(logits: Any, targets: Any, *rows: Any) -> Any:
        return pair(logits, targets, *(row[..., None] for row in rows))

    return _reduce_pair(lax.add, 0.0, _RUNS_OF_SIDES, with_rows, arrays)


def _reduce_pair(
    combine: Callable[..., Any],
    start: float,
    runs: int,
    pair: Callable[..., Any],
    arrays: tuple[Any, ...],
) -> list[Any]:
    """Reduces both results of `pair(*arrays)` over the labels, in one pass."""
    logits = arrays[0]
    width = logits.shape[-1] // runs
    cut = runs * width

    def in_runs(x: Any) -> Any:
        if x is None or x.ndim < logits.ndim:
            return None if x is None else x[..., None]
        return x[..., :cut].reshape(*x.shape[:-1], runs, width)

    def beyond(x: Any) -> Any:
        return x if x is None or x.ndim < logits.ndim else x[..., cut:]

    def finish(x: Any) -> Any:
        return lax.reduce(x, initial, combine, (x.ndim - 1,))

    terms = tuple(pair(*map(in_runs, arrays)))
    # of bool or integer arrays the terms are floats all the same
    initial = jnp.array(start, terms[0].dtype)
    partials = lax.reduce(
        terms,
        (initial, initial),
        lambda a, b: (combine(a[0], b[0]), combine(a[1], b[1])),
        (logits.ndim - 1,),
    )
    # what does not fill the runs; padding it instead would cost a copy
    rest = pair(*map(beyond, arrays))
    return [combine(finish(a), finish(b)) for a, b in zip(partials, rest, strict=True)]
