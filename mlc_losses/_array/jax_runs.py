"""Sums over the labels in one pass on XLA's CPU backend; imported only when a JAX array comes in.

That backend writes the terms of a sum to memory before it adds them up, whole arrays `[N, L]`
which above 32 MiB are page-faulted at every call. So the labels are cut into a few runs, and the
runs are added to one another first: XLA unrolls this loop, computes the terms inside it, and
vectorises over the labels of a run. Only its results are written, `[N, L / runs]`. It must reduce
two arrays at a time: a sum of one alone would again be written to memory first.

All of this is for one device. Over several it would gather the labels, unless each has a program
of its own, under `jax.shard_map`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from mlc_losses._array.jax_axes import varying_like
from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.layout import label_shards

# with fewer labels runs save no time
_FEWEST_LABELS = 128

Terms = Callable[..., tuple[Any, ...]]


class _Reduction(NamedTuple):
    """A sum or maximum: over the labels, of two arrays, and its result without labels, `start`."""

    over_labels: Callable[[Any], Any]
    combine: Callable[..., Any]
    start: float

    def over_devices(self, own: Any) -> Any:
        """The result for all labels, from that for the labels of this device."""
        shards = label_shards(jnp)
        return own if shards is None else self.over_labels(own[..., None])


_SUM = _Reduction(label_sum, lax.add, 0.0)
_MAX = _Reduction(label_max, lax.max, -math.inf)


def sums_of_terms(terms: Terms, arrays: tuple[Any, ...], runs: int) -> tuple[Any, ...]:
    """The sums over the labels of one or two `terms(*arrays)`, elementwise in their arrays.

    The runs are 8, or 4 for larger terms: of more, XLA no longer unrolls the loop, and takes three
    times as long.
    """
    return _reduced(_SUM, runs, terms, arrays)


def maxima_of_terms(terms: Terms, arrays: tuple[Any, ...], runs: int) -> tuple[Any, ...]:
    """The maximum over the labels of each."""
    return _reduced(_MAX, runs, terms, arrays)


def _reduced(
    reduction: _Reduction, runs: int, terms: Terms, arrays: tuple[Any, ...]
) -> tuple[Any, ...]:
    def by_runs(*arrays: Any) -> Any:
        return tuple(map(reduction.over_devices, _by_runs(reduction, runs, terms, *arrays)))

    def whole(*arrays: Any) -> Any:
        return tuple(map(reduction.over_labels, terms(*arrays)))

    shards = label_shards(jnp)
    if shards is None or not shards.allows_custom_gradient:
        return _on_one_cpu(by_runs, whole, arrays)
    # each device has a program of its own, for its own labels
    is_cpu = jax.default_backend() == "cpu"
    return (by_runs if is_cpu and _has_enough_labels(arrays[0]) else whole)(*arrays)


def _has_enough_labels(x: Any) -> bool:
    return bool(x.shape[-1] >= _FEWEST_LABELS)


def _on_one_cpu(on_cpu: Callable[..., Any], elsewhere: Callable[..., Any], arrays: Any) -> Any:
    has_several_devices = jax.default_backend() == "cpu" and jax.device_count() > 1
    # on an explicit mesh, which may be of one device
    split = jax.typeof(arrays[0]).sharding.spec[-1:] not in ((), (None,))
    if (
        has_several_devices
        or split
        or label_shards(jnp) is not None
        or not _has_enough_labels(arrays[0])
    ):
        return elsewhere(*arrays)
    return lax.platform_dependent(*arrays, cpu=on_cpu, default=elsewhere)


def quick_or_exact(
    quick: Callable[..., Any],
    exact: Callable[..., Any],
    params: Any,
    arrays: tuple[Any, ...],
    in_place: bool,
) -> Any:
    """The results of `quick`, which also returns whether they can be trusted; else of `exact`.

    `in_place`: the results are of the size of the arguments. A branch would copy them; a loop, of
    one round or none, leaves them where they are.
    """

    def on_cpu(*arrays: Any) -> Any:
        results, trusted = quick(jnp, params, *arrays)

        def compute_exactly(*_: Any) -> Any:
            return varying_like((tuple(exact(jnp, params, *arrays)), jnp.array(True)), arrays)

        state = varying_like((tuple(results), trusted), arrays)
        if in_place:
            return lax.while_loop(lambda state: ~state[1], compute_exactly, state)[0]
        return lax.cond(trusted, lambda: state[0], lambda: compute_exactly()[0])

    def elsewhere(*arrays: Any) -> Any:
        return tuple(exact(jnp, params, *arrays))

    return _on_one_cpu(on_cpu, elsewhere, arrays)


def _by_runs(reduction: _Reduction, runs: int, terms: Terms, *arrays: Any) -> tuple[Any, ...]:
    """Reduces one or two terms over the labels, in one pass."""
    first, (_, combine, start) = arrays[0], reduction
    width = first.shape[-1] // runs
    cut = runs * width

    def in_runs(x: Any) -> Any:
        if x is None or x.ndim < first.ndim:
            return None if x is None else x[..., None]
        return x[..., :cut].reshape(*x.shape[:-1], runs, width)

    def remainder(x: Any) -> Any:
        return x if x is None or x.ndim < first.ndim else x[..., cut:]

    def reduce_last_axis(x: Any) -> Any:
        return lax.reduce(x, initial, combine, (x.ndim - 1,))

    found = tuple(terms(*map(in_runs, arrays)))
    missing = 2 - len(found)

    def filled(found: Any) -> tuple[Any, ...]:
        return *found, *[jnp.full_like(found[0], start)] * missing

    # the terms are floats, also where the arrays are bool or integer
    initial = jnp.array(start, found[0].dtype)
    partials = lax.reduce(
        filled(found),
        (initial, initial),
        lambda a, b: (combine(a[0], b[0]), combine(a[1], b[1])),
        (first.ndim - 1,),
    )
    # the labels that do not fill the runs; padding them would cost a copy
    rest = filled(terms(*map(remainder, arrays)))
    results = tuple(
        combine(reduce_last_axis(a), reduce_last_axis(b))
        for a, b in zip(partials, rest, strict=True)
    )
    # both are asked for, or XLA would drop the second and reduce one array alone
    return (combine(*results),) if missing else results
