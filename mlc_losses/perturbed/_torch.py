"""The expected top-k on PyTorch, whose derivatives come with the value; imported only when used.

Two classes share the formulas: the compiler refuses a custom `jvp` or `vmap`, and
`torch.func` needs them.
"""

from __future__ import annotations

from typing import Any

import torch

from mlc_losses._array.labels import label_sum
from mlc_losses._array.torch_modes import is_differentiated_by_operation, is_transformed
from mlc_losses.perturbed._exact import expected_sum


def exact_mean(scores: Any, sigma: Any, ranks: Any, num_candidates: Any) -> tuple[Any, Any]:
    """Value `[R]`, differentiable by the scores, and the bound on what was left out."""
    given = scores, sigma, ranks, num_candidates
    if is_differentiated_by_operation():
        value, _, bound = expected_sum(scores, ranks, sigma, num_candidates)
    elif is_transformed():
        value, _, bound = _TransformedExactMean.apply(*given)
    else:
        value, _, bound = _ExactMean.apply(*given)
    return value, bound


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    scores, sigma, ctx.ranks, ctx.num_candidates = inputs
    _, derivatives, bound = output
    ctx.mark_non_differentiable(derivatives, bound)
    ctx.save_for_backward(scores, sigma, derivatives)
    ctx.save_for_forward(scores, sigma)


class _ExactMean(torch.autograd.Function):
    """For reverse mode, and for the compiler."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        scores, sigma, ranks, num_candidates = inputs
        output = tuple(expected_sum(scores, ranks, sigma, num_candidates))
        _keep(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        scores, sigma, derivatives = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient that is differentiated again: of the scores
            derivatives = expected_sum(scores, ctx.ranks, sigma, ctx.num_candidates).derivatives
        return gradients[0][:, None] * derivatives, None, None, None


class _TransformedExactMean(torch.autograd.Function):
    """For `torch.func` and forward mode."""

    @staticmethod
    def forward(scores: Any, sigma: Any, ranks: Any, num_candidates: Any) -> Any:
        return tuple(expected_sum(scores, ranks, sigma, num_candidates))

    setup_context = staticmethod(_keep)
    backward = _ExactMean.backward

    @staticmethod
    def vmap(info: Any, in_dims: Any, scores: Any, sigma: Any, *static: Any) -> Any:
        """One more axis is more rows."""

        def as_rows(x: Any, axis: Any) -> Any:
            shape = (info.batch_size, *x.shape)
            return (x.expand(shape) if axis is None else x.movedim(axis, 0)).flatten(0, 1)

        rows = map(as_rows, (scores, sigma), in_dims)
        output = _TransformedExactMean.apply(*rows, *static)
        split = tuple(x.unflatten(0, (info.batch_size, -1)) for x in output)
        return split, (0,) * len(split)

    @staticmethod
    def jvp(ctx: Any, dot: Any, *_: Any) -> Any:
        scores, sigma = ctx.saved_tensors
        derivatives = expected_sum(scores, ctx.ranks, sigma, ctx.num_candidates).derivatives
        return label_sum(derivatives * dot), None, None
