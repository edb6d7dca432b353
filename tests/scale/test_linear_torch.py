"""`linear_loss` on PyTorch, against the dense computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc_losses
from mlc_losses import linear_loss, multi_hot, zlpr
from tests.support import backends

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


@pytest.mark.parametrize("name", ["zlpr", "softmax_cross_entropy"])
def test_an_id_in_a_row_left_out_is_not_looked_at(name: str) -> None:
    loss, (features, kernel, bias) = getattr(mlc_losses, name), layer()
    where = torch.ones(N, L, dtype=torch.bool)
    where[2], where[4, 1:] = False, False
    ids = targets("labels") * 0 + 3
    ids[4] = 0
    ids = ids if name == "softmax_cross_entropy" else ids[:, None]

    def gradients(wrong: int) -> Any:
        wrong_ids = ids.clone()
        wrong_ids[2] = wrong
        value = linear_loss(loss, features, kernel, bias, wrong_ids, where=where, block_size=2)
        return value, *torch.autograd.grad(value, (features, kernel, bias))

    expected = gradients(0)
    dense = ids if name == "softmax_cross_entropy" else multi_hot(ids, L)
    values = loss(features @ kernel + bias, dense, where=where)
    torch.testing.assert_close(expected[0], values.mean())
    for wrong in (-100, L):
        for found, wanted in zip(gradients(wrong), expected, strict=True):
            torch.testing.assert_close(found, wanted)
    ids[1] = -100
    with pytest.raises(ValueError, match="got -100 at index"):
        gradients(0)


def test_an_example_of_weight_0_is_not_there() -> None:
    (features, kernel, bias), t = layer(), targets("multi-hot")
    kept, weights = [0, 1, 2, 4, 5], torch.ones(N, dtype=torch.float64)
    spoilt = features.detach().clone()
    spoilt[[3, 6]], weights[[3, 6]] = torch.nan, 0.0
    spoilt.requires_grad_()
    found = linear_loss(zlpr, spoilt, kernel, bias, t, weights=weights, block_size=2)
    wanted = zlpr(features[kept] @ kernel + bias, t[kept]).mean()
    torch.testing.assert_close(found, wanted)
    by_features, by_kernel = torch.autograd.grad(found, (spoilt, kernel))
    wanted_by_features, wanted_by_kernel = torch.autograd.grad(wanted, (features, kernel))
    torch.testing.assert_close(by_kernel, wanted_by_kernel)
    torch.testing.assert_close(by_features, wanted_by_features)


def narrow(dtype: Any) -> list[Any]:
    return [x.detach().to(dtype).requires_grad_() for x in layer()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: Any) -> None:
    """The gradients are those of the rounded arguments, in float64, rounded."""
    arrays, t = narrow(dtype), targets("multi-hot")
    exact = [x.detach().double().requires_grad_() for x in arrays]
    found = linear_loss(zlpr, *arrays, t, block_size=3)
    wanted = zlpr(exact[0] @ exact[1] + exact[2], t).mean()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=0)
    pairs = zip(torch.autograd.grad(found, arrays), torch.autograd.grad(wanted, exact), strict=True)
    for a, b in pairs:
        assert a.dtype == dtype
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(a.double(), b, rtol=eps, atol=eps * float(b.abs().max()) / 8)


def test_autocast_multiplies_in_its_dtype() -> None:
    """As a linear layer does, except that the logits are not rounded."""
    arrays, t = narrow(torch.float32), targets("multi-hot")
    exact = [x.detach().bfloat16().double().requires_grad_() for x in arrays[:2]]
    exact.append(arrays[2].detach().double().requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_loss(zlpr, *arrays, t, block_size=3)
    wanted = zlpr(exact[0] @ exact[1] + exact[2], t).mean()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)
    pairs = zip(torch.autograd.grad(found, arrays), torch.autograd.grad(wanted, exact), strict=True)
    for a, b in pairs:
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=2**-7, atol=2**-8 * float(b.abs().max()))


def test_a_generator_serves_block_after_block() -> None:
    (features, kernel, bias), labels = layer(), targets("labels")

    def loss(s: Any, y: Any, key: Any) -> Any:
        return mlc_losses.noised_top_k_hinge(s, y, 2, key=key)

    found = linear_loss(
        loss, features, kernel, bias, labels, key=torch.Generator().manual_seed(3), block_size=3
    )
    # blocks of equal size, but for the last
    key, scores = torch.Generator().manual_seed(3), features @ kernel + bias
    parts = [loss(scores[i : i + 3], labels[i : i + 3], key) for i in (0, 3, 6)]
    wanted = torch.cat(parts).mean()
    torch.testing.assert_close(found, wanted)
    by_kernel, wanted_by_kernel = (torch.autograd.grad(x, kernel)[0] for x in (found, wanted))
    torch.testing.assert_close(by_kernel, wanted_by_kernel)


def test_no_example_has_gradients_of_zero() -> None:
    (features, kernel, bias), t = layer(), targets("multi-hot")
    value = linear_loss(zlpr, features[:0], kernel, bias, t[:0])
    value.backward()
    assert value == 0 and not kernel.grad.any() and not bias.grad.any()
