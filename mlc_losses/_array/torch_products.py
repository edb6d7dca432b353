"""Matrix products that PyTorch's autocast leaves alone; imported only when a tensor comes in.

The backward pass may run inside autocast too, and its products are to stay in full precision as
well. No more is done where autocast is off.
"""

from __future__ import annotations

from typing import Any

import torch


def matmul(a: Any, b: Any) -> Any:
    """`a` `[..., K]` times `b` `[K, M]`."""
    kind = a.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return torch.tensordot(a, b, dims=1)
    if torch.compiler.is_compiling():  # a compiled backward pass is outside of autocast
        return _outside(a, b)
    return _Product.apply(a, b)


def _outside(a: Any, b: Any) -> Any:
    with torch.autocast(a.device.type, enabled=False):
        return torch.tensordot(a, b, dims=1)


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Any, b: Any) -> Any:
        return _outside(a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        a, b = ctx.saved_tensors
        by_a, by_b = ctx.needs_input_grad
        return (
            matmul(gradient, b.mT) if by_a else None,
            matmul(a.flatten(0, -2).mT, gradient.flatten(0, -2)) if by_b else None,
        )

    @staticmethod
    def jvp(ctx: Any, a_dot: Any, b_dot: Any) -> Any:
        a, b = ctx.saved_tensors
        if b_dot is None:
            return matmul(a_dot, b)
        by_b = matmul(a, b_dot)
        return by_b if a_dot is None else matmul(a_dot, b) + by_b
