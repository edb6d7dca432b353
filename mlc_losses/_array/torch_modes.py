"""Which transformations of PyTorch are active; imported only when a tensor comes in."""

from __future__ import annotations

import torch
from torch._C import _are_functorch_transforms_active, _len_torch_dispatch_stack
from torch._C._functorch import TransformType, is_legacy_batchedtensor
from torch.autograd import forward_ad
from torch.compiler import is_compiling


def is_traced() -> bool:
    """Whether operations are recorded, counted or transformed: the values are not to be seen."""
    return is_compiling() or _are_functorch_transforms_active() or _len_torch_dispatch_stack() > 0


def is_transformed() -> bool:
    """Whether `torch.func` or forward mode is active, outside of the compiler."""
    return not is_compiling() and (
        _are_functorch_transforms_active() or forward_ad._current_level >= 0
    )


def is_differentiated_by_operation() -> bool:
    """Whether a custom `autograd.Function` would have wrong derivatives, without an error.

    The compiler loses derivatives under `torch.func`. Where forward mode is differentiated by
    forward mode, PyTorch loses the second derivative of a `jvp`.
    """
    if not _are_functorch_transforms_active():
        return False
    if is_compiling():
        return True
    stack = torch._C._functorch.get_interpreter_stack()
    return sum(level.key() == TransformType.Jvp for level in stack) > 1


def is_batched(x: torch.Tensor | None) -> bool:
    """Whether autograd maps a backward pass over it (`is_grads_batched`), which no check shows."""
    return x is not None and is_legacy_batchedtensor(x)
