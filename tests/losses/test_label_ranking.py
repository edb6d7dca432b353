"""Losses across the batch that rank the examples of each label: values, limits, blocks, memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import mlc_losses as ml
from mlc_losses.losses import _blocks, _smooth_ranks_by_label
from tests.losses import oracles_label_ranking as oracles
from tests.support.backends import HAS_GRADIENTS, NAME, asarray, compiled, gradient, to_numpy, xp

S = np.array(
    [[0.126, -0.132, 0.64], [0.105, -0.536, 0.362], [1.304, 0.947, -0.704], [-1.265, -0.623, 0.041],
     [-2.325, -0.219, -1.246], [-0.732, -0.544, -0.316]]
)  # fmt: skip
Y = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
WEIGHTS = np.linspace(0.5, 2, 5)
with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_torch = pytest.mark.skipif(NAME != "torch", reason="PyTorch's modes")
only_jax = pytest.mark.skipif(NAME != "jax", reason="XLA's memory")
# forward mode asks for a compiler of PyTorch's own, which warns of its age
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
    pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated"),  # Dynamo does
]


def batch(seed: int, n: int = 23) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label 0 is nowhere, 1 everywhere, 2 unknown; 3 and 4 are as they come."""
    rng = np.random.default_rng(seed)
    y = rng.random((n, 5)) < 0.4
    y[:, 0], y[:, 1] = False, True
    where = rng.random((n, 5)) < 0.8
    where[:, 2] = False
    return rng.normal(size=(n, 5)), y, where


def values(loss: Any, *arrays: Any, where: Any = None, **keywords: Any) -> np.ndarray:
    mask = None if where is None else asarray(where)
    return to_numpy(compiled(partial(loss, **keywords))(*map(asarray, arrays), where=mask))


# Smooth-AP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (0.1, [0.22765715, 0.31567377, 0]),
        (1.0, [0.35382681, 0.38713533, 0]),
        (1e-5, [1 / 6, 0.3, 0]),
        (1e-300, [1 / 6, 0.3, 0]),
    ],
)
def test_smooth_average_precision_of_the_sheet(temperature: float, expected: list[float]) -> None:
    actual = values(ml.smooth_average_precision, S, Y, temperature=temperature)
    np.testing.assert_allclose(actual, expected, atol=5e-9)


def test_its_limit_is_average_precision() -> None:
    s, y, _ = batch(0)
    y[:, 2] = y[:, 3]
    actual = values(ml.smooth_average_precision, s, y, temperature=1e-4)
    expected = 1 - average_precision_score(y[:, 2:], s[:, 2:], average=None)
    np.testing.assert_allclose(actual[2:], expected, rtol=1e-6)
    assert actual[:2].tolist() == [0, 0]


@pytest.mark.parametrize("temperature", [0.01, 0.5])
@pytest.mark.parametrize("block", [2**20, 5 * 23 * 4, 1, "by label"])
def test_blocks_are_the_oracle(
    temperature: float, block: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block of pairs, a few, and one for each example, some of which are passed over; and
    each label by itself, on the libraries whose values can be looked at."""
    if block == "by label":
        monkeypatch.setattr(_smooth_ranks_by_label, "_FEWEST_EXAMPLES", 1)
        monkeypatch.setattr(_smooth_ranks_by_label, "_BLOCK_SIZE", 40)
    else:
        monkeypatch.setattr(_blocks, "_BLOCK_SIZE", block)
    s, y, where = batch(1)
    loss = partial(ml.smooth_average_precision, temperature=temperature)

    def total(s: Any, y: Any, where: Any, weights: Any) -> Any:
        return xp.sum(loss(s, y, where=where) * weights)

    def expected_of(s: np.ndarray) -> np.ndarray:
        kept = [(a[m], t[m]) for a, t, m in zip(s.T, y.T, where.T, strict=True)]
        return np.array(
            [oracles.smooth_average_precision(a[None], t[None], temperature)[0] for a, t in kept]
        )

    masked = np.where(where, s, np.nan)
    np.testing.assert_allclose(values(loss, masked, y, where=where), expected_of(s), rtol=1e-12)
    if not HAS_GRADIENTS or block == 1:
        return
    actual = gradient(total, asarray(masked), asarray(y), asarray(where), asarray(WEIGHTS))
    expected = np.empty_like(s)
    for place in np.ndindex(*s.shape):
        step = np.zeros_like(s)
        step[place] = 1e-6
        change = expected_of(s + step) - expected_of(s - step)
        expected[place] = WEIGHTS @ change / 2e-6
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    assert (actual[~where] == 0).all() and (actual[:, :3] == 0).all()


def test_infinite_and_far_logits() -> None:
    right, y = np.where(Y, np.inf, -np.inf), Y
    assert (values(ml.smooth_average_precision, right, y) == 0).all()
    # relevant ones are last, and tie: each has the others, half of each peer and all rivals ahead
    counts = y.sum(0)
    rivals, found = 6 - counts, 1 + (counts - 1) / 2
    expected = np.where(counts > 0, rivals / (rivals + found), 0)
    for size in (np.inf, 1e4):
        actual = values(ml.smooth_average_precision, np.where(Y, -size, size), y)
        np.testing.assert_allclose(actual, expected, rtol=1e-14)
    s = np.zeros_like(S)
    s[3, 2] = np.nan
    assert np.isnan(values(ml.smooth_average_precision, s, y)).tolist() == [False, False, True]
    if HAS_GRADIENTS:
        actual = gradient(
            lambda s: xp.sum(ml.smooth_average_precision(s, asarray(y))), asarray(right)
        )
        assert (actual == 0).all()


@with_gradients
def test_a_temperature_may_be_an_array() -> None:
    def total(t: Any, s: Any) -> Any:
        return xp.sum(ml.smooth_average_precision(s, asarray(Y), temperature=t))

    at, step = 0.5, 1e-6
    actual = gradient(total, asarray(np.array(at)), asarray(S))
    sides = [
        values(ml.smooth_average_precision, S, Y, temperature=at + sign * step).sum()
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(actual, (sides[0] - sides[1]) / (2 * step), rtol=1e-6)


@only_torch
def test_blocks_under_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(_blocks, "_BLOCK_SIZE", 5 * 23 * 4)
    s, y, _ = (asarray(x) for x in batch(2))

    def total(s: Any) -> Any:
        return ml.smooth_average_precision(s, y, temperature=0.3).sum()

    expected = gradient(total, s)
    transformed = torch.func.grad(total)
    np.testing.assert_allclose(transformed(s), expected, rtol=1e-12)
    both = torch.func.vmap(transformed)(torch.stack([s, s]))
    np.testing.assert_allclose(both, np.stack([expected, expected]), rtol=1e-12)
    forward = torch.func.jvp(total, (s,), (s,))[1]
    np.testing.assert_allclose(forward, (expected * to_numpy(s)).sum(), rtol=1e-10)
    product = torch.func.jvp(transformed, (s,), (s,))[1]
    x = s.clone().requires_grad_()
    (derivatives,) = torch.autograd.grad(total(x), x, create_graph=True)
    (again,) = torch.autograd.grad((derivatives * s).sum(), x)
    np.testing.assert_allclose(again, product, rtol=1e-9, atol=1e-12)


@only_torch
@pytest.mark.modes
def test_blocks_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(_blocks, "_BLOCK_SIZE", 5 * 23 * 4)
    s, y, _ = (asarray(x) for x in batch(2))

    def total(s: Any) -> Any:
        return ml.smooth_average_precision(s, y, temperature=0.3).sum()

    torch._dynamo.reset()
    program = torch.compile(total, fullgraph=True, backend="aot_eager")
    np.testing.assert_allclose(gradient(program, s), gradient(total, s), rtol=1e-12, atol=1e-15)


@only_jax
def test_no_array_of_all_pairs(users_compiler: None) -> None:
    """At 4096 examples and 100 labels they would be 6.3 GiB in float32."""
    import jax

    def value(s: Any, y: Any) -> Any:
        return ml.smooth_average_precision(s, y).sum()

    s, y = (jax.ShapeDtypeStruct((4096, 100), dtype) for dtype in ("float32", "bool"))
    with jax.enable_x64(False):
        program = jax.jit(jax.value_and_grad(value)).lower(s, y).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 32 * 2**20


@only_torch
def test_no_array_of_all_pairs_is_kept() -> None:
    import torch

    s, y, _ = batch(3, 1024)
    s, y = asarray(s, "float32").requires_grad_(), asarray(y)
    kept: dict[int, int] = {}

    def pack(x: Any) -> Any:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        ml.smooth_average_precision(s, y).sum()
    assert sum(kept.values()) <= 10 * s.nbytes


# AUC margin --------------------------------------------------------------------------------------


def test_auc_margin_of_the_sheet() -> None:
    actual = values(ml.auc_margin, S, Y)
    np.testing.assert_allclose(actual, [0.88773468, 0.90426992, 0], atol=5e-9)


def test_auc_margin_solves_the_inner_problems() -> None:
    """The published objective at its best a and b, and its worst α, searched for."""
    h, positive = 1 / (1 + np.exp(-S[:, 0])), Y[:, 0] > 0
    grid = np.linspace(0, 1, 2001)
    a = min(((h[positive] - g) ** 2).mean() for g in grid)
    b = min(((h[~positive] - g) ** 2).mean() for g in grid)
    gap = 1 + h[~positive].mean() - h[positive].mean()
    worst = max(2 * alpha * gap - alpha**2 for alpha in np.linspace(0, 3, 6001))
    actual = values(ml.auc_margin, S[:, :1], Y[:, :1])
    np.testing.assert_allclose(actual, a + b + worst, rtol=1e-6)


def test_auc_margin_at_the_edges() -> None:
    """No NaN on saturation; one example, or one class, teaches nothing."""
    s, y, where = batch(4)
    assert values(ml.auc_margin, s, y, where=where)[:3].tolist() == [0, 0, 0]
    assert values(ml.auc_margin, s[:1], y[:1]).tolist() == [0] * 5
    for size in (np.inf, 1e4):
        right = np.where(Y > 0, size, -size)
        assert (values(ml.auc_margin, right, Y) == 0).all()
        np.testing.assert_array_equal(values(ml.auc_margin, -right, Y), [4, 4, 0])
    s[0, 0] = np.nan
    assert np.isnan(values(ml.auc_margin, s, y)).tolist() == [True] + [False] * 4
    if HAS_GRADIENTS:
        for sign in (1, -1):
            infinite = asarray(sign * np.where(Y > 0, np.inf, -np.inf))
            derivatives = gradient(lambda s: xp.sum(ml.auc_margin(s, asarray(Y))), infinite)
            assert (derivatives == 0).all()


# any ranking loss over the examples --------------------------------------------------------------


def test_pairwise_hinge_over_examples_is_a_surrogate_of_auroc() -> None:
    """`axis=0` ranks the examples of each label: never below 1 - AUROC, of as many pairs."""
    s, y, _ = batch(5, 40)
    s, y = s[:, 3:], y[:, 3:]
    wrong = 1 - np.array([roc_auc_score(y[:, i], s[:, i]) for i in range(2)])
    hinge = values(ml.pairwise_hinge, s, y, axis=0, normalize=True)
    assert (hinge >= wrong).all()
    pairs = y.sum(0) * (~y).sum(0)
    total = values(ml.pairwise_hinge, s, y, axis=0)
    np.testing.assert_allclose(total, hinge * pairs, rtol=1e-13)
    sides = [(s[~y[:, i], i], s[y[:, i], i]) for i in range(2)]
    violated = [(others[:, None] > relevant).sum() for others, relevant in sides]
    np.testing.assert_allclose(wrong * pairs, violated, rtol=1e-12)
    if HAS_GRADIENTS:
        # its derivative by all relevant examples counts the same pairs
        derivatives = gradient(
            lambda s: xp.sum(ml.pairwise_hinge(s, asarray(y), axis=0, margin=0.0)), asarray(s)
        )
        np.testing.assert_allclose((-derivatives * y).sum(0), violated, rtol=1e-12)


@pytest.mark.parametrize("loss", [ml.smooth_average_precision, ml.auc_margin])
def test_wrong_arguments_are_named(loss: Any) -> None:
    s, y = asarray(S), asarray(Y)
    with pytest.raises(ValueError, match=r"logits must have shape \[n, L\], got \(3,\)"):
        loss(s[0, :], y[0, :])
    with pytest.raises(ValueError, match=r"a where of whole examples has shape \(6, 1\)"):
        loss(s, y, where=y[:1, :] > 0)
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        ml.smooth_average_precision(s, y, temperature=0.0)
    with pytest.raises(ValueError, match="margin must be at least 0, got -1"):
        ml.auc_margin(s, y, margin=-1.0)
