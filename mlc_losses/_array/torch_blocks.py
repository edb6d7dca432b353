"""Blocks of rows of PyTorch's tensors on a CPU; imported only when a tensor comes in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch

from mlc_losses._array.torch_modes import is_traced

# entries of a block: 2 MiB in float32
BLOCK_SIZE = 2**19
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def are_fit_for_blocks(*tensors: Any) -> bool:
    """Plain tensors of a CPU: neither traced, nor fake, nor under `vmap`."""
    return not is_traced() and are_on_cpu(*tensors)


def are_on_cpu(*tensors: Any) -> bool:
    """Whether all are plain tensors on a CPU; None counts as one."""
    for x in tensors:  # `all` would cost a small call a microsecond
        if x is not None and not (type(x) in _PLAIN and x.is_cpu):
            return False
    return True


def blocks_of_rows(arrays: Any, *others: Any) -> Iterator[Any]:
    """The same rows of each argument, `[..., L]`, `[...]`, None, or a tuple of such, by blocks."""
    ndim, rows = arrays[0].ndim, max(1, BLOCK_SIZE // max(arrays[0].shape[-1], 1))

    def blocks(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return (x.reshape(-1, x.shape[-1]) if x.ndim == ndim else x.reshape(-1)).split(rows)
        return zip(*map(blocks, x), strict=False) if x else repeat(x)

    return zip(*map(blocks, (arrays, *others)), strict=False)
