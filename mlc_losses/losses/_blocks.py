"""Sums over pairs, each of some entries with all: block by block, never as an array of all pairs.

Entries that add nothing come last, and blocks of them alone are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.labels import columns, label_count, label_order
from mlc_losses._array.layout import is_compiled_by_torch
from mlc_losses._array.loops import choose, for_platform, scan
from mlc_losses._array.namespace import device_of, shape_of
from mlc_losses._array.ops import entries_at, with_axis_at

# pairs of one block: 4 MiB in float32; on an accelerator 32, for as many fewer steps
_BLOCK_SIZE = 2**20
_DEVICE_BLOCK_SIZE = 2**23
# so few pairs are one block; more are at least so many blocks, to pass some of them over
_FEW_PAIRS = 2**17
_FEWEST_BLOCKS = 8
# blocks of a program of PyTorch's compiler, which writes each of them out
_COMPILED_BLOCKS = 16

# of a total and the own entries: the next total, and an array like the own ones, or None
Add = Callable[[Any, tuple[Any, ...]], tuple[Any, Any]]


def add_by_blocks(
    xp: Any, add: Add, total: Any, own: tuple[Any, ...], counted: Any, width: int, keeps: bool
) -> tuple[Any, Any]:
    """`add(total, own)` of arrays `[..., W]`, which makes `width` pairs of each place.

    Where `counted` `[..., W]` is False an entry adds nothing to the total, and `add` keeps 0 there.
    """
    count = shape_of(counted)[-1]
    # to PyTorch's compiler the number of blocks is a number, and another one another program
    few = _BLOCK_SIZE if is_compiled_by_torch(xp) else min(_FEW_PAIRS, _BLOCK_SIZE)
    if width * count <= few:
        return add(total, own)

    def in_blocks(size: int, total: Any, own: Any, counted: Any) -> tuple[Any, Any]:
        length = max(1, min(size // width, -(-count // _FEWEST_BLOCKS)))
        if is_compiled_by_torch(xp):
            length = max(length, -(-count // _COMPILED_BLOCKS))
        return _counted_first(xp, add, length, total, own, counted, keeps)

    return for_platform(in_blocks, _BLOCK_SIZE, _DEVICE_BLOCK_SIZE, total, own, counted)


def _counted_first(
    xp: Any, add: Add, length: int, total: Any, own: tuple[Any, ...], counted: Any, keeps: bool
) -> tuple[Any, Any]:
    order = label_order(~counted)
    starts = xp.arange(0, shape_of(counted)[-1], length, device=device_of(counted))
    most = xp.max(label_count(counted, own[0]))

    def step(total: Any, block: Any) -> tuple[Any, Any]:
        start, *part = block

        def nothing() -> tuple[Any, Any]:
            return total, zeros_of(xp, part[0]) if keeps else None

        done = xp.astype(start, most.dtype) >= most
        return choose(done, nothing, lambda: add(total, tuple(part)))

    blocks = (_cut(xp, entries_at(x, order), length) for x in own)
    total, kept = scan(step, total, (starts, *blocks))
    if kept is None:
        return total, None
    kept = with_axis_at(kept, 0, -2)
    kept = xp.reshape(kept, (*shape_of(kept)[:-2], -1))[..., : shape_of(counted)[-1]]
    return total, entries_at(kept, xp.argsort(order, axis=-1))


def zeros_of(xp: Any, x: Any) -> Any:
    """In the shape of `x`, and to JAX as different from device to device as `x` is."""
    return xp.where(xp.isnan(x), 0.0, xp.zeros_like(x))


def _cut(xp: Any, x: Any, length: int) -> Any:
    """`[..., W]` in blocks `[blocks, ..., length]`, the last one filled up with 0."""
    *batch, width = shape_of(x)
    blocks = -(-width // length)
    if blocks * length > width:
        x = xp.concat([x, columns(0, x, blocks * length - width)], axis=-1)
    return with_axis_at(xp.reshape(x, (*batch, blocks, length)), -2, 0)
