"""The published top-k losses in PyTorch, written plainly from their formulas: what ours are timed
against.
"""

from __future__ import annotations

from typing import Any

import torch


class _NoisedKth(torch.autograd.Function):
    """Mean of the k-th largest over dense noise `[N, L, samples]`, by `kthvalue`, as published."""

    @staticmethod
    def forward(ctx: Any, scores: Any, k: int, num_samples: int, sigma: float) -> Any:
        noise = torch.randn((*scores.shape, num_samples), dtype=scores.dtype)
        perturbed = scores[..., None] + sigma * noise
        values, indices = torch.kthvalue(-perturbed, k, dim=-2, keepdim=True)
        ctx.save_for_backward(indices)
        ctx.shape = perturbed.shape
        return -values.mean(-1)[..., 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (indices,) = ctx.saved_tensors
        one_hot = torch.zeros(ctx.shape, dtype=gradients[0].dtype)
        one_hot.scatter_(-2, indices, 1.0)
        return gradients[0][..., None] * one_hot.mean(-1), None, None, None


def noised_top_k_hinge(scores: Any, labels: Any, k: int, num_samples: int) -> Any:
    """The balanced loss of Garcin et al. with sigma 1."""
    kth = _NoisedKth.apply(scores, k + 1, num_samples, 1.0)
    at_label = scores.gather(-1, labels[:, None])[:, 0]
    return torch.relu(1.0 + kth - at_label)


def smooth_top_k_hinge(scores: Any, labels: Any, k: int, tau: float = 1.0) -> Any:
    """The smooth loss of Berrada et al.: sums over sets of classes by divide and conquer.

    The published algorithm for the sums, polynomials of degree k in log space that are multiplied
    pair by pair; their gradients are left to autograd.
    """
    at_label = scores.gather(-1, labels[:, None])
    is_label = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, labels[:, None], True)
    others = ((scores - at_label) / (k * tau)).masked_fill(is_label, -1e30)
    log_sums = _log_elementary(others, k)
    # sets of k with the label, and without it, where the margin of 1 is
    with_label = log_sums[:, k - 1]
    without = log_sums[:, k] + 1.0 / tau
    return tau * (torch.logaddexp(with_label, without) - with_label)


def _log_elementary(x: Any, k: int) -> Any:
    """Logarithms of the elementary symmetric sums 0..k of `exp(x)` over the last axis."""
    polynomials = torch.stack([torch.zeros_like(x), x], -1)  # [N, L, 2]
    while polynomials.shape[1] > 1:
        if polynomials.shape[1] % 2:
            one = torch.full_like(polynomials[:, :1], -1e30)
            one[..., 0] = 0.0
            polynomials = torch.cat([polynomials, one], 1)
        a, b = polynomials[:, ::2], polynomials[:, 1::2]
        degree = a.shape[-1] - 1
        terms: list[list[Any]] = [[] for _ in range(min(2 * degree, k) + 1)]
        for i in range(degree + 1):
            for j in range(degree + 1):
                if i + j < len(terms):
                    terms[i + j].append(a[..., i] + b[..., j])
        polynomials = torch.stack([torch.logsumexp(torch.stack(t, -1), -1) for t in terms], -1)
    return polynomials[:, 0]
