"""Gradient rules of the primitives on PyTorch; imported only when a tensor comes in.

The rules are made of differentiable operations on saved tensors, so second derivatives,
`torch.func.vmap` and forward mode work too.
"""

from __future__ import annotations

from typing import Any

import torch

from mlc_losses._array import pairs, two_sided
from mlc_losses._array.labels import label_sum


class _TwoSided(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Any, targets: Any, bound: Any) -> Any:
        return tuple(two_sided.two_sided_parts(logits, targets, bound))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs, *output)
        ctx.save_for_forward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        logits, targets, bound, *parts = ctx.saved_tensors
        parts = two_sided.Parts(*parts)
        # the shifts are constants: only the logarithms carry a gradient
        up, down = gradients[1][..., None], gradients[3][..., None]
        by_logits = by_targets = by_bound = None
        if ctx.needs_input_grad[0]:
            rise, fall = two_sided.slopes_by_logits(logits, targets, parts)
            by_logits = up * rise + down * fall
        if ctx.needs_input_grad[1]:
            rise, fall = two_sided.slopes_by_targets(logits, parts)
            by_targets = up * rise + down * fall
        if ctx.needs_input_grad[2]:
            rise, fall = two_sided.slopes_by_bound(bound, parts)
            by_bound = gradients[1] * rise + gradients[3] * fall
        return by_logits, by_targets, by_bound

    @staticmethod
    def jvp(ctx: Any, *dots: Any) -> Any:
        logits, targets, bound, *parts = ctx.saved_tensors
        return tuple(two_sided.tangents((logits, targets, bound), two_sided.Parts(*parts), dots))


two_sided_parts = _TwoSided.apply


class _PairLogistic(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Any, positive: Any, negative: Any) -> Any:
        return pairs.pair_logistic_value(scores, positive, negative)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        slopes = pairs.pair_logistic_slopes(*ctx.saved_tensors)
        return gradients[0][..., None] * slopes, None, None

    @staticmethod
    def jvp(ctx: Any, *dots: Any) -> Any:
        return label_sum(pairs.pair_logistic_slopes(*ctx.saved_tensors) * dots[0])


pair_logistic = _PairLogistic.apply
