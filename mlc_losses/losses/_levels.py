"""Reductions over a label and all labels below it, of a hierarchy: by levels, a pair at a time.

A label's own entry and the results of its children are merged two by two, so each merge has two
inputs and one output, and there is one merge for each edge. Merges that need no other of their
level stand together: a level is two gathers, one elementwise step and one slice that is written.
So no backend needs a scatter, and an example takes memory for its labels and edges alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.host import constant
from mlc_losses._array.labels import label_indices
from mlc_losses._array.layout import is_compiled_by_torch
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import stop_gradient, with_axis_at

Merge = Callable[[Any, tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class Levels:
    """The merges of a hierarchy in the order of their levels.

    Entries 0..L-1 are the labels' own. Merge m, of entries `left[m]` and `right[m]`, is the entry
    L + m; `results[a]` is the entry of label a and all below it.
    """

    left: np.ndarray
    right: np.ndarray
    results: np.ndarray
    ends: tuple[int, ...]  # of the levels, in merges


def levels_of(inputs: Sequence[Sequence[int]], order: Sequence[int]) -> Levels:
    """`inputs[a]` are the labels right below label a, which come before it in the `order`.

    Neighbours are merged, the label's own entry first: of equal ones a merge may keep the first.
    """
    num_labels = len(inputs)
    level = [0] * num_labels
    merges: list[tuple[int, int]] = []
    results = list(range(num_labels))
    for label in order:
        entries = [label, *(results[below] for below in inputs[label])]
        while len(entries) > 1:
            merged = []
            for left, right in zip(entries[::2], entries[1::2], strict=False):
                merged.append(len(level))
                merges.append((left, right))
                level.append(1 + max(level[left], level[right]))
            entries = merged + entries[len(merged) * 2 :]
        results[label] = entries[0]
    own = np.arange(num_labels)
    by_level = np.argsort(np.array(level[num_labels:], dtype=np.int64), kind="stable")
    new = np.concatenate([own, num_labels + np.argsort(by_level, kind="stable")])
    left, right = new[np.array(merges, dtype=np.int64).reshape(-1, 2)[by_level]].T
    ends = np.cumsum(np.bincount(level)[1:]) if merges else np.zeros(0, int)
    return Levels(left, right, new[results], tuple(int(end) for end in ends))


def first_largest(levels: Levels, keys: Any, classes: Any = None) -> Any:
    """For each label: which of it and all labels below it has the largest key `[..., L]`.

    With `classes` `[..., L]`, the highest class comes first. Of equal ones the label itself is
    taken, else the winner of the child that comes first. NaN counts as infinity.
    """
    xp = namespace(keys=keys)
    keys = stop_gradient(keys)
    keys = xp.where(xp.isnan(keys), xp.inf, keys)
    numbers = xp.broadcast_to(label_indices(keys), shape_of(keys))
    state = (numbers, keys) if classes is None else (numbers, keys, classes)
    return _reduced(xp, levels, "first largest", state)


def any_of(levels: Levels, mask: Any) -> Any:
    """For each label, whether it or any label below it is True."""
    return _reduced(namespace(mask=mask), levels, "either", (mask,))


def _first_largest(xp: Any, first: Any, second: Any) -> tuple[Any, ...]:
    _, key, *rank = first
    _, other_key, *other_rank = second
    moves = other_key > key
    if rank:
        moves = (other_rank[0] > rank[0]) | ((other_rank[0] == rank[0]) & moves)
    return tuple(xp.where(moves, b, a) for a, b in zip(first, second, strict=True))


def _either(xp: Any, first: Any, second: Any) -> tuple[Any, ...]:
    return (first[0] | second[0],)


MERGES: dict[str, Merge] = {"first largest": _first_largest, "either": _either}


def _reduced(xp: Any, levels: Levels, merge: str, state: tuple[Any, ...]) -> Any:
    """The first of the arrays `[..., L]`, merged over each label and all labels below it."""
    if not levels.ends:
        return state[0]
    if is_jax_namespace(xp):
        from mlc_losses.losses._jax_levels import merged_in_steps

        return merged_in_steps(levels, merge, *state)
    # a level is then one piece of memory
    arrays = [with_axis_at(x, -1, 0) for x in state]
    left, right, results = (
        constant(x, state[0]) for x in (levels.left, levels.right, levels.results)
    )
    if _is_traced_by_torch(xp):
        from mlc_losses.losses._torch_levels import over_levels

        first = over_levels(merge, arrays, left, right, results, list(levels.ends))
    else:
        first = merged_in_place(xp, merge, arrays, left, right, results, levels.ends)
    return with_axis_at(first, 0, -1)


def _is_traced_by_torch(xp: Any) -> bool:
    """Whether PyTorch's compiler or a transform is active: then all levels are one operation.

    The compiler would write out each level, and `vmap` cannot write a mapped array into one that is
    not.
    """
    if not is_torch_namespace(xp):
        return False
    from mlc_losses._array.torch_modes import is_transformed

    return is_compiled_by_torch(xp) or is_transformed()


def merged_in_place(
    xp: Any,
    merge: str,
    arrays: list[Any],
    left: Any,
    right: Any,
    results: Any,
    ends: Sequence[int],
) -> Any:
    """The first of the arrays `[L, ...]`, merged."""
    num_labels = shape_of(arrays[0])[0]
    room = (ends[-1], *shape_of(arrays[0])[1:])
    arrays = [xp.concat([x, xp.zeros_like(xp.broadcast_to(x[:1, ...], room))]) for x in arrays]
    for start, end in zip((0, *ends), ends, strict=False):
        inputs = (
            tuple(xp.take(x, side[start:end], axis=0) for x in arrays) for side in (left, right)
        )
        for x, new in zip(arrays, MERGES[merge](xp, *inputs), strict=True):
            x[num_labels + start : num_labels + end, ...] = new
    return xp.take(arrays[0], results, axis=0)
