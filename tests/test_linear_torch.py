"""`linear_loss` on PyTorch, against the dense computation."""

from __future__ import annotations

from typing import Any

import backends
import numpy as np
import pytest

import mlc_losses
from mlc_losses import linear_loss, multi_hot, zlpr

if backends.NAME != "torch":
    pytest.skip("the gradients of PyTorch", allow_module_level=True)

import torch

N, D, L = 7, 4, 9


def layer() -> list[Any]:
    rng = np.random.default_rng(0)
    return [torch.tensor(rng.normal(size=s), requires_grad=True) for s in ((N, D), (D, L), L)]


def targets(kind: str) -> Any:
    rng = np.random.default_rng(1)
    if kind == "labels":
        return torch.tensor(rng.integers(0, L, N))
    if kind == "ids":
        return torch.tensor(rng.integers(-1, L, (N, 3)))
    return torch.tensor(rng.random((N, L)) < 0.3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("zlpr", "multi-hot"),
        ("binary_cross_entropy", "ids"),
        ("pairwise_hinge", "multi-hot"),
        ("softmax_cross_entropy", "labels"),
    ],
)
def test_it_is_the_dense_loss(name: str, kind: str, weighted: bool) -> None:
    loss, t, arrays = getattr(mlc_losses, name), targets(kind), layer()
    weights = torch.linspace(0.0, 2.0, N, dtype=torch.float64) if weighted else None
    features, kernel, bias = arrays
    dense_targets = multi_hot(t, L) if kind == "ids" else t
    values = loss(features @ kernel + bias, dense_targets)
    dense = values.mean() if weights is None else (weights * values).sum() / weights.sum()
    blocked = linear_loss(loss, *arrays, t, weights=weights, block_size=3)
    torch.testing.assert_close(blocked, dense, rtol=1e-12, atol=1e-13)
    found = torch.autograd.grad(2.0 * blocked, arrays)
    for a, b in zip(found, torch.autograd.grad(2.0 * dense, arrays), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_what_the_loss_closes_over_gets_its_gradient() -> None:
    threshold = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    arrays, t = layer(), targets("multi-hot")

    def loss(s: Any, t: Any) -> Any:
        return zlpr(s, t, threshold=threshold)

    blocked = linear_loss(loss, *arrays, t, block_size=3)
    dense = loss(arrays[0] @ arrays[1] + arrays[2], t).mean()
    found = torch.autograd.grad(blocked, threshold)
    torch.testing.assert_close(found, torch.autograd.grad(dense, threshold))


def test_second_derivatives() -> None:
    t = targets("multi-hot")
    assert torch.autograd.gradgradcheck(lambda *x: linear_loss(zlpr, *x, t, block_size=3), layer())


@pytest.mark.parametrize("rows", [3, L])
def test_a_loss_across_the_batch_is_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="looks across the batch"):
        linear_loss(mlc_losses.soft_f1, *layer(), targets("multi-hot"), block_size=rows)
