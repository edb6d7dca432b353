"""The operator on PyTorch, sampled or exact; imported only when used.

The backward pass adds into the labels that were picked: no dense one-hot of all samples.
"""

from __future__ import annotations

from typing import Any

import torch

from mlc_losses._array.labels import label_sum
from mlc_losses._array.picks import add_at, values_at
from mlc_losses.perturbed.exact import expected_sum
from mlc_losses.perturbed.sample import mean_picks


class _SampledMean(torch.autograd.Function):
    @staticmethod
    def forward(scores: Any, sigma: Any, draws: Any, k: int, only_last: bool) -> Any:
        value, indices = mean_picks(scores, sigma, draws, k, only_last)
        return value, indices.to(torch.int32)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        scores, _, _, k, only_last = inputs
        indices = output[1]
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)
        ctx.num_labels = scores.shape[-1]
        ctx.num_samples = indices.shape[-1] // (1 if only_last else k)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (indices,) = ctx.saved_tensors
        share = gradients[0][:, None] / ctx.num_samples
        slopes = add_at(indices, share.expand(indices.shape), ctx.num_labels)
        return slopes, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, dot: Any, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return label_sum(values_at(dot, indices)) / ctx.num_samples, None


sampled_mean = _SampledMean.apply


class _ExactMean(torch.autograd.Function):
    @staticmethod
    def forward(scores: Any, sigma: Any, ranks: Any, num_candidates: Any) -> Any:
        return tuple(expected_sum(scores, ranks, sigma, num_candidates))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        scores, sigma, ctx.ranks, ctx.num_candidates = inputs
        _, slopes, bound = output
        ctx.mark_non_differentiable(slopes, bound)
        ctx.save_for_backward(scores, sigma, slopes)
        ctx.save_for_forward(slopes)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        scores, sigma, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # someone differentiates the gradient: the slopes anew
            slopes = expected_sum(scores, ctx.ranks, sigma, ctx.num_candidates).slopes
        return gradients[0][:, None] * slopes, None, None, None

    @staticmethod
    def jvp(ctx: Any, dot: Any, *_: Any) -> Any:
        (slopes,) = ctx.saved_tensors
        return label_sum(slopes * dot), None, None


exact_mean = _ExactMean.apply
