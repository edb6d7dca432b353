"""Sums over pairs, each of some entries with all: block by block, never as an array of all pairs.

Entries that add nothing stand last, and blocks of them alone are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.labels import columns, label_count
from mlc_losses._array.layout import is_compiled_by_torch
from mlc_losses._array.loops import choose, scan
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

    if is_jax_namespace(xp):
        import jax

        sizes = {"cpu": _BLOCK_SIZE, "default": _DEVICE_BLOCK_SIZE}
        branches = {platform: partial(in_blocks, size) for platform, size in sizes.items()}
        return jax.lax.platform_dependent(total, own, counted, **branches)
    on_device = is_torch_namespace(xp) and not counted.is_cpu
    return in_blocks(_DEVICE_BLOCK_SIZE if on_device else _BLOCK_SIZE, total, own, counted)


def _counted_first(
    xp: Any, add: Add, length: int, total: Any, own: tuple[Any, ...], counted: Any, keeps: bool
) -> tuple[Any, Any]:
    order = _first_where(xp, counted)
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


def _first_where(xp: Any, mask: Any) -> Any:
    """Places along the last axis, those of True first."""
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(lambda row: xp.argsort(~row, stable=True), mask)
    return xp.argsort(xp.astype(~mask, xp.int8), axis=-1, stable=True)


def _cut(xp: Any, x: Any, length: int) -> Any:
    """`[..., W]` in blocks `[blocks, ..., length]`, the last one filled up with 0."""
    *batch, width = shape_of(x)
    blocks = -(-width // length)
    if blocks * length > width:
        x = xp.concat([x, columns(0, x, blocks * length - width)], axis=-1)
    return with_axis_at(xp.reshape(x, (*batch, blocks, length)), -2, 0)
