"""`_levels` as one operation to PyTorch's compiler and transforms.

It has no derivative: what comes out are numbers of labels, or masks. Imported only when used.
"""

from __future__ import annotations

from typing import Any

import torch

from mlc_losses._array import torch_namespace as xp
from mlc_losses.losses import _levels


@torch.library.custom_op("mlc_losses::over_levels", mutates_args=())
def over_levels(
    merge: str,
    arrays: list[torch.Tensor],
    left: torch.Tensor,
    right: torch.Tensor,
    results: torch.Tensor,
    ends: list[int],
) -> torch.Tensor:
    merged: torch.Tensor = _levels.merged_in_place(xp, merge, arrays, left, right, results, ends)
    return merged


@over_levels.register_fake
def _shape_alone(merge: Any, arrays: Any, left: Any, right: Any, results: Any, ends: Any) -> Any:
    return torch.empty_like(arrays[0], memory_format=torch.contiguous_format)


@over_levels.register_vmap
def _mapped(info: Any, in_dims: Any, merge: Any, arrays: Any, *schedule: Any) -> Any:
    """One more axis is the last one."""

    def last(x: Any, axis: Any) -> Any:
        if axis is None:
            return x[..., None].expand(*x.shape, info.batch_size)
        return x.movedim(axis, -1)

    arrays = [last(x, axis) for x, axis in zip(arrays, in_dims[1], strict=True)]
    return over_levels(merge, arrays, *schedule), arrays[0].ndim - 1
