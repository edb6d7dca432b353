"""The mean of a loss on a linear layer on PyTorch; imported when used.

The mean alone is attached to the graph, with the sums of the gradients of its blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mlc_losses._array.namespace import can_look
from mlc_losses._array.torch_modes import is_transformed
from mlc_losses.scale import _plain_linear, _torch_compiled
from mlc_losses.scale._arguments import Head
from mlc_losses.scale._torch_blocks import sums_by_row_blocks


def mean_by_row_blocks(loss: Callable[..., Any], head: Head, key: Any) -> Any:
    is_compiled = torch.compiler.is_compiling()
    if is_compiled and key is None and _torch_compiled.is_served(loss):
        return _torch_compiled.mean_by_row_blocks(loss, head)
    if is_compiled or is_transformed():
        return _plain_linear.mean_by_row_blocks(loss, head, key)
    with_gradient = torch.is_grad_enabled()
    with torch.no_grad():
        total, derivatives, inside = sums_by_row_blocks(loss, head, key, with_gradient)
    if not (inside or any(x is not None for x in derivatives)):
        return total

    def again(layer: Any) -> Any:
        """The mean as a function that can be differentiated any number of times."""
        if key is not None:
            raise RuntimeError(
                "linear_loss of a loss with a key has no second derivatives: the noise of the "
                "first ones is gone"
            )
        return _plain_linear.mean_by_row_blocks(loss, head._replace(**layer), None)

    layer = {name: x for name, x in zip(_LAYER, head, strict=False) if x is not None}
    found = [d for d, x in zip(derivatives, head, strict=False) if x is not None]
    closed_over, more = [x for x, _ in inside], [d for _, d in inside]
    return _Known.apply(total, again, tuple(layer), *layer.values(), *closed_over, *found, *more)


_LAYER = ("features", "kernel", "bias")


class _Known(torch.autograd.Function):
    """A value whose derivatives are known already."""

    @staticmethod
    def forward(ctx: Any, value: Any, again: Any, layer: Any, *tensors: Any) -> Any:
        """Half of the tensors are what it came from, the other half the derivatives."""
        ctx.again, ctx.layer, ctx.count = again, layer, len(tensors) // 2
        ctx.save_for_backward(*tensors)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        tensors, derivatives = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        if torch.is_grad_enabled():  # to be differentiated again
            value = ctx.again(dict(zip(ctx.layer, tensors, strict=False)))
            wanted = [x for x in tensors if x.requires_grad]
            found = iter(
                torch.autograd.grad(value, wanted, cotangent, create_graph=True, allow_unused=True)
            )
            gradients = [next(found) if x.requires_grad else None for x in tensors]
        else:
            # most often it is 1, and nothing of the size of the kernel is to be made for that
            is_one = can_look(cotangent) and bool(cotangent == 1)
            gradients = [
                None if d is None else (d if is_one else cotangent.to(d.dtype) * d).to(x.dtype)
                for d, x in zip(derivatives, tensors, strict=True)
            ]
        return (None, None, None, *gradients, *[None] * ctx.count)
