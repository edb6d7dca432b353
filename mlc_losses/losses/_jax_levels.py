"""`_levels` on JAX; imported only when used."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from jax import lax
from jax import numpy as jnp

from mlc_losses._array.jax_axes import varying_like
from mlc_losses._array.jax_rows import by_rows
from mlc_losses._array.loops import one_program
from mlc_losses.losses._levels import MERGES, Levels


@partial(one_program, static=2)
def merged_in_steps(levels: Levels, merge: str, *state: Any) -> Any:
    """The first of the arrays `[..., L]`, merged.

    In steps of one width, so that the program does not grow with the number of levels. A step may
    begin the next level too early; what it writes there is written again.
    """
    num_labels, num_merges = state[0].shape[-1], len(levels.left)
    # at most twice as many steps as levels
    width = -(-num_merges // len(levels.ends))
    begins = (0, *levels.ends[:-1])
    starts = np.concatenate(
        [np.arange(begin, end, width) for begin, end in zip(begins, levels.ends, strict=True)]
    )
    sides = (np.pad(x, (0, width)) for x in (levels.left, levels.right))
    numbers = (starts, *sides, levels.results)
    starts, left, right, results = (jnp.asarray(x, dtype=jnp.int32) for x in numbers)

    def at(x: Any, places: Any) -> Any:
        return x.at[places].get(mode="promise_in_bounds")

    def of_row(*row: Any) -> Any:
        def step(i: Any, entries: Any) -> Any:
            inputs = (
                tuple(at(x, lax.dynamic_slice_in_dim(side, starts[i], width)) for x in entries)
                for side in (left, right)
            )
            merged = MERGES[merge](jnp, *inputs)
            return tuple(
                lax.dynamic_update_slice_in_dim(x, y, num_labels + starts[i], axis=0)
                for x, y in zip(entries, merged, strict=True)
            )

        room = tuple(jnp.zeros(num_merges + width, x.dtype) for x in row)
        entries = tuple(jnp.concatenate(pair) for pair in zip(row, room, strict=True))
        entries = lax.fori_loop(0, len(starts), step, varying_like(entries))
        return at(entries[0], results)

    return by_rows(of_row, *state)
