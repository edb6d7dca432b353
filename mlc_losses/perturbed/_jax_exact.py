"""The exact method on JAX: one program for any number of candidates; imported only when used.

How many are enough is known only when the program runs. A program for each number that is tried
would take three times as long to compile, so they share one, whose loops run for as many candidates
as the number in turn says. Reverse mode does not pass through such loops: derivatives of the
derivatives are those of a program for each number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlc_losses._array.jax_axes import varying_like
from mlc_losses._array.jax_rows import by_rows, split_like
from mlc_losses._array.kth_label import k_largest
from mlc_losses._array.labels import columns, label_indices, label_sum, labels_together
from mlc_losses.perturbed._counts import chances, derivative, keep_fall, no_others
from mlc_losses.perturbed._exact import (
    Candidates,
    Exact,
    Grid,
    Units,
    accuracy,
    expected_from,
    expected_kth,
    expected_sum,
    is_enough,
    sum_over_ranks,
)
from mlc_losses.perturbed._tail import Tail
from mlc_losses.perturbed._window import window_ends


def _from_enough(scores: Any, k: int, sigma: Any, sizes: tuple[int, ...]) -> Exact:
    """`expected_kth` of the first of the sizes that is enough."""
    if len(sizes) == 1:
        return expected_kth(scores, k, sigma, sizes[0])
    length = max(sizes[0], math.isqrt(sizes[-1]))
    num_blocks = -(-sizes[-1] // length)
    first = k_largest(scores, sizes[0], only_last=False)
    center = first.values[:, k - 1]
    getters: list[Callable[[], Any]] = [lambda: first]
    getters += [partial(k_largest, scores, size, only_last=False) for size in sizes[1:-1]]
    getters.append(partial(_every_class, scores))
    branches = [partial(_filled_up, scores, num_blocks * length, get) for get in getters]
    windows = np.stack([window_ends(k, size, accuracy(scores).tail) for size in sizes])

    def attempt(turn: Any) -> Exact:
        values, indices = lax.switch(turn, branches)
        number = jnp.asarray(sizes, jnp.int32)[turn]
        candidates = _Blocks(
            scores=values,
            indices=indices,
            last=lax.dynamic_index_in_dim(values, number - 1, axis=1, keepdims=False),
            number=number.astype(scores.dtype),
            window=jnp.asarray(windows, scores.dtype)[turn],
            length=length,
            all_scores=scores,
            are_all=turn == len(sizes) - 1,
            used=(number + length - 1) // length,
            count=number if length > sizes[0] else None,
        )
        return expected_from(scores, k, sigma, center, candidates)

    def go_on(state: Any) -> Any:
        turn, result = state
        return (turn < len(sizes)) & ~is_enough(result)

    start = Exact(center, scores, jnp.full_like(center, jnp.inf))
    state = varying_like((jnp.int32(0), start), scores, sigma)
    return lax.while_loop(go_on, lambda state: (state[0] + 1, attempt(state[0])), state)[1]


def _every_class(scores: Any) -> tuple[Any, Any]:
    return scores, split_like(jnp.broadcast_to(label_indices(scores), scores.shape), scores)


def _filled_up(scores: Any, width: int, get: Callable[[], Any]) -> tuple[Any, Any]:
    """Scores and classes `[R, width]`; -inf and L where there are no more."""
    values, indices = get()
    missing, indices = width - values.shape[1], indices.astype(jnp.int32)
    filled = (
        jnp.concat([values, columns(-jnp.inf, values, missing)], axis=1),
        jnp.concat([indices, columns(scores.shape[1], indices, missing)], axis=1),
    )
    return varying_like(filled, scores)


@dataclass(frozen=True)
class _Blocks(Candidates):
    """Scores and indices `[R, blocks * length]`; candidates are in the first `used` blocks."""

    length: int
    all_scores: Any  # [R, L]
    are_all: Any  # whether all classes are candidates
    used: Any
    count: Any  # their number; None if each number to try fills its blocks

    def block(self, x: Any, number: Any) -> Any:
        """Of `scores` or `indices`, `[R, length]`."""
        return lax.dynamic_slice_in_dim(x, number * self.length, self.length, axis=1)

    def chances(self, units: Units, block: Any, thresholds: Any) -> tuple[Any, Any]:
        """`chances` of the candidates of a block."""
        return chances(units.of_rows_last(self.block(self.scores, block).T), thresholds)

    def expected_count(self, units: Units, thresholds: Any) -> Any:
        def add(block: Any, total: Any) -> Any:
            return total + self.chances(units, block, thresholds)[0].sum(axis=0)

        return lax.fori_loop(0, self.used, add, jnp.zeros_like(thresholds))

    def only_rest(self, tail: Tail) -> Tail:
        none = Tail(no_others(tail.counts.shape[0], tail.error), jnp.zeros_like(tail.error))
        return Tail(*(jnp.where(self.are_all, x, y) for x, y in zip(none, tail, strict=True)))

    def counts(self, units: Units, others: Any, grid: Grid) -> tuple[Any, Any]:
        """The derivatives are `[R, L]`, -1 for the other classes.

        One loop goes backward over the blocks, which gives the state after each of them, and then
        forward.
        """
        length = self.length

        def one_block(turn: Any, state: Any) -> Any:
            below, after, own = state
            left = self.used - 1 - turn
            block = jnp.abs(left)
            size: Any = length
            if self.count is not None:
                size = jnp.clip(self.count - block * length, 0, length)
            above, density = self.chances(units, block, grid.nodes)
            before, falls = _steps(
                keep_fall, _at(after, block + 1), (above,), size, _copies(others, length), True
            )
            arrays = (above, grid.weights[None] * density, falls)
            size = jnp.where(left > 0, 0, size)
            below, found = _steps(derivative, below, arrays, size, jnp.zeros_like(above[:, 0]))
            after = lax.dynamic_update_index_in_dim(after, before, block, 0)
            return below, after, by_rows(_put, own, self.block(self.indices, block), found.T)

        after = _copies(jnp.ones_like(others), self.scores.shape[1] // length + 1)
        state = varying_like((others, after, jnp.full_like(self.all_scores, -1.0)), others)
        below, _, own = lax.fori_loop(0, 2 * self.used - 1, one_block, state)
        return below, own

    def placed(self, own: Any, rest: Any) -> Any:
        return jnp.where(own < -0.5, rest, own)


def _at(x: Any, place: Any) -> Any:
    return lax.dynamic_index_in_dim(x, place, keepdims=False)


def _copies(x: Any, number: int) -> Any:
    return jnp.broadcast_to(x[None], (number, *x.shape))


def _put(x: Any, indices: Any, values: Any) -> Any:
    """Of one row."""
    return x.at[indices].set(values, mode="drop")


def _steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    arrays: tuple[Any, ...],
    count: Any,
    kept: Any,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """`lax.scan` over the first `count` slices; what they keep is written into `kept`."""

    def one(i: Any, state: Any) -> Any:
        place = count - 1 - i if reverse else i
        carry, result = step(state[0], tuple(_at(x, place) for x in arrays))
        return carry, lax.dynamic_update_index_in_dim(state[1], result, place, 0)

    return lax.fori_loop(0, count, one, (carry, kept))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _result(ranks: tuple[int, ...], num_candidates: int | None, scores: Any, sigma: Any) -> Exact:
    return sum_over_ranks(_from_enough, scores, ranks, sigma, num_candidates)


@_result.defjvp
def _result_jvp(
    ranks: tuple[int, ...], num_candidates: int | None, primals: Any, tangents: Any
) -> Any:
    scores, sigma = primals
    result, derivatives_moved = jax.jvp(
        lambda scores: expected_sum(scores, ranks, sigma, num_candidates), (scores,), tangents[:1]
    )
    return result, derivatives_moved


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _mean(
    ranks: tuple[int, ...], num_candidates: int | None, scores: Any, sigma: Any
) -> tuple[Any, Any]:
    result = _result(ranks, num_candidates, scores, sigma)
    return result.value, result.bound


@_mean.defjvp
def _mean_jvp(
    ranks: tuple[int, ...], num_candidates: int | None, primals: Any, tangents: Any
) -> Any:
    result = _result(ranks, num_candidates, *primals)
    derivative = label_sum(result.derivatives * tangents[0])
    return (result.value, result.bound), (derivative, jnp.zeros_like(result.bound))


@partial(jax.jit, static_argnums=(0, 1))
def mean(
    ranks: tuple[int, ...], num_candidates: int | None, scores: Any, sigma: Any
) -> tuple[Any, Any]:
    """Value `[R]`, differentiable by the scores, and the bound on what was left out."""
    return _mean(ranks, num_candidates, labels_together(scores), sigma)


@partial(jax.jit, static_argnums=(0, 1))
def result(ranks: tuple[int, ...], num_candidates: int | None, scores: Any, sigma: Any) -> Exact:
    """Whose derivatives are differentiable by the scores."""
    return _result(ranks, num_candidates, labels_together(scores), sigma)
