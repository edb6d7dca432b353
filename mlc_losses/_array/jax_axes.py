"""Which mesh axes an array differs along, under `jax.shard_map`; imported only when used."""

from __future__ import annotations

from typing import Any

import jax


def varying_axes(x: Any) -> frozenset[str]:
    """The mesh axes along which devices may hold different values of `x`."""
    aval = jax.typeof(x)
    # JAX 0.10 has renamed it
    return frozenset(aval.mat.varying if hasattr(aval, "mat") else aval.vma)


def varying_like(tree: Any, *others: Any) -> Any:
    """The arrays, known to differ along the axes that any of `others`, or of them, differs along.

    The state of a loop that starts with a constant needs it, or the branches of a condition.
    """
    axes = frozenset().union(*map(varying_axes, jax.tree.leaves((tree, others))))

    def cast(x: Any) -> Any:
        missing = tuple(sorted(axes - varying_axes(x)))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree) if axes else tree
