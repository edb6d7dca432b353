"""Blocks of rows of PyTorch's tensors on a CPU; imported only when a tensor comes in."""

from __future__ import annotations

from collections.abc import Iterator
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


def blocks_of_rows(where: Any, arrays: Any, *rows: Any) -> Iterator[tuple[slice, Any]]:
    """For each block, its rows, and those rows of each argument, `[..., L]` or `[...]`."""
    ndim, num_labels = arrays[0].ndim, max(arrays[0].shape[-1], 1)

    def flat(x: Any) -> Any:
        if x is None or isinstance(x, (tuple, list)):
            return x if x is None else [flat(y) for y in x]
        return x.reshape(-1, x.shape[-1]) if x.ndim == ndim else x.reshape(-1)

    def part(x: Any, rows: slice) -> Any:
        if x is None or isinstance(x, list):
            return x if x is None else [part(y, rows) for y in x]
        return x[rows]

    everything = [flat(x) for x in (where, arrays, *rows)]
    size = max(1, BLOCK_SIZE // num_labels)
    for start in range(0, arrays[0].numel() // num_labels, size):
        block = slice(start, start + size)
        yield block, [part(x, block) for x in everything]
