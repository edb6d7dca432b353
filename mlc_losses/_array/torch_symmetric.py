"""The gradient rule of sums over sets of labels on PyTorch; imported when a tensor comes in."""

from __future__ import annotations

from typing import Any

import torch

from mlc_losses._array import symmetric
from mlc_losses._array.labels import label_sum


class _LogRatio(torch.autograd.Function):
    """For `torch.compile`, which refuses a `jvp`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Any, front: Any, factor: Any, k: int) -> Any:
        return symmetric.log_ratio(logits, front, factor, k=k)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        logits, front, factor, ctx.k = inputs
        ctx.save_for_backward(logits, front, factor)
        ctx.save_for_forward(logits, front, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        _, slopes = symmetric.log_ratio_and_slopes(*ctx.saved_tensors, k=ctx.k)
        return gradients[0][..., None] * slopes, None, None, None


class _EagerLogRatio(_LogRatio):
    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, *dots: Any) -> Any:
        _, slopes = symmetric.log_ratio_and_slopes(*ctx.saved_tensors, k=ctx.k)
        return label_sum(slopes * dots[0])


def log_ratio(logits: Any, front: Any, k: int) -> Any:
    rule = _LogRatio if torch.compiler.is_compiling() else _EagerLogRatio
    return rule.apply(logits, front, symmetric.factor(logits.detach(), k), k)
