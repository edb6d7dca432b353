"""Overlap over the batch: value, gradient, masks, the labels that nobody has, and the limits."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from tests.losses import oracles_sets
from tests.losses.test_identities import LOGITS, TARGETS
from tests.support.backends import HAS_GRADIENTS, NAME, asarray, compiled, gradient, to_numpy, xp

LOSSES = {
    "soft_f1": (ml.soft_f1, {}),
    "sigmoid_f1": (ml.sigmoid_f1, {"slope": 2.5, "offset": 0.3}),
    "tversky": (ml.tversky, {"alpha": 0.3, "beta": 0.8}),
    "precision": (ml.tversky, {"alpha": 1.0, "beta": 0.0}),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
WEIGHTS = np.linspace(0.5, 2, 6)


@cache
def loss_of_arrays(name: str) -> Any:
    loss, keywords = LOSSES[name]
    return lambda s, y, where: loss(s, y, where=where, **keywords)


@cache
def total_of_arrays(name: str) -> Any:
    loss = loss_of_arrays(name)

    def total(s: Any, y: Any, where: Any, weights: Any) -> Any:
        return xp.sum(xp.astype(loss(s, y, where), xp.float64) * weights)

    return total


def batch(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label 0 is nowhere, 1 everywhere, 2 unknown, 3 soft; 4 and 5 are as they come."""
    rng = np.random.default_rng(seed)
    y = (rng.random((8, 6)) < 0.4).astype(float)
    y[:, 0], y[:, 1], y[:, 3] = 0, 1, rng.random(8)
    where = rng.random((8, 6)) < 0.8
    where[:, 2] = False
    return rng.normal(size=(8, 6)) * 3, y, where


def call(name: str, s: np.ndarray, y: np.ndarray, where: np.ndarray, dtype: str) -> np.ndarray:
    inputs = asarray(s, dtype), asarray(y, dtype), asarray(where)
    actual = compiled(loss_of_arrays(name))(*inputs)
    assert actual.dtype == (xp.float64 if dtype == "float64" else xp.float32)
    return to_numpy(actual)


def derivatives(
    name: str, s: np.ndarray, y: np.ndarray, where: np.ndarray, dtype: str
) -> np.ndarray:
    inputs = asarray(s, dtype), asarray(y, dtype), asarray(where), asarray(WEIGHTS)
    return gradient(total_of_arrays(name), *inputs)


@every_loss
@pytest.mark.parametrize("size", [None, 0.0, 80.0, 1e4])
def test_value_and_gradient_are_the_oracles(name: str, size: float | None) -> None:
    s, y, where = batch(0)
    s = s if size is None else np.sign(s) * size
    keywords = LOSSES[name][1]
    expected = oracles_sets.overlap(s, y, where=where, **keywords)
    masked = np.where(where, s, np.array([np.nan, np.inf, -np.inf] * 2))
    assert expected[0] == 1 and expected[2] == 0
    precisions = 2 if name in ("sigmoid_f1", "precision") else 1  # compiling takes long
    for dtype, rtol, atol in (("float64", 1e-12, 1e-15), ("float32", 2e-5, 1e-6))[:precisions]:
        actual = call(name, masked, np.where(where, y, np.nan), where, dtype)
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
        assert actual[0] == 1 and actual[2] == 0
    if HAS_GRADIENTS:
        expected = oracles_sets.derivatives(
            lambda x: WEIGHTS @ oracles_sets.overlap(x, y, where=where, **keywords), s
        )
        for dtype, rtol, atol in (("float64", 1e-6, 1e-9), ("float32", 1e-4, 1e-6))[:precisions]:
            actual = derivatives(name, masked, y, where, dtype)
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
            assert (actual[~where] == 0).all() and (actual[:, [0, 2]] == 0).all()


@every_loss
def test_infinite_logits_and_nan(name: str) -> None:
    _, y, where = batch(1)
    where[:, :] = True
    y[:, 3] = y[:, 3] > 0.5
    right = np.where(y > 0.5, np.inf, -np.inf)
    actual = call(name, right, y, where, "float64")
    assert (actual == 0).all()  # label 0 too: nothing is counted
    actual = call(name, -right, y, where, "float64")
    # without weight on the misses, what is not predicted is empty
    one = float(name != "precision")
    np.testing.assert_array_equal(actual, [1, one, *actual[2:]])
    assert (actual[2:] == 1).all()
    if HAS_GRADIENTS:
        for signed in (right, -right):
            assert (derivatives(name, signed, y, where, "float64") == 0).all()
    s = np.zeros_like(y)
    s[3, 4] = np.nan
    actual = call(name, s, y, where, "float64")
    assert np.isnan(actual).tolist() == [label == 4 for label in range(6)]


# all are one formula, so what follows needs no more than one or two of them


def test_half_precision_and_dtypes() -> None:
    s, y, where = batch(3)
    y = np.round(y)
    keywords = LOSSES["sigmoid_f1"][1]
    for dtype in ("float16", "bfloat16") if HAS_GRADIENTS else ():
        exact = to_numpy(asarray(s, dtype)).astype(float)
        expected = oracles_sets.overlap(exact, y, where=where, **keywords)
        actual = call("sigmoid_f1", s, y, where, dtype)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    expected = call("sigmoid_f1", s, y, where, "float64")
    loss = compiled(loss_of_arrays("sigmoid_f1"))
    for dtype in ("bool", "int32"):
        actual = loss(asarray(s), asarray(y, dtype), asarray(where))
        np.testing.assert_array_equal(to_numpy(actual), expected)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (4, 0)])
def test_edge_shapes(shape: tuple[int, int]) -> None:
    s, y = np.full(shape, 0.7), np.ones(shape)
    expected = oracles_sets.overlap(s, y)
    actual = compiled(ml.soft_f1)(asarray(s), asarray(y))
    np.testing.assert_allclose(to_numpy(actual), expected)


@pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")
@pytest.mark.parametrize("name", ["sigmoid_f1", "precision"])
def test_jit_and_vmap(name: str) -> None:
    import jax

    s, y, where = (asarray(np.stack([a, b])) for a, b in zip(batch(4), batch(5), strict=True))
    loss = loss_of_arrays(name)
    both = jax.jit(jax.vmap(loss))(s, y, where)
    for i in range(2):
        one = compiled(loss)(s[i], y[i], where[i])
        np.testing.assert_allclose(both[i], one, rtol=1e-13)


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
@every_loss
def test_device(name: str) -> None:
    device = xp.device("meta") if NAME == "torch" else xp.Device("device1")
    s, y, where = (xp.asarray(asarray(x), device=device, copy=True) for x in batch(6))
    assert loss_of_arrays(name)(s, y, where).device == device


def test_golden_values() -> None:
    s, y = asarray(LOGITS), asarray(TARGETS)
    for loss, logits, expected in (
        (ml.soft_f1, s, 0.43878508473439),
        (ml.sigmoid_f1, s, 0.43878508473439),
        # the published code's second sigmoid, which is not ours
        (ml.sigmoid_f1, 1 / (1 + xp.exp(-s)), 0.52334349064385),
    ):
        value = compiled(loss)(logits, y)
        np.testing.assert_allclose(float(xp.mean(value)), expected, rtol=1e-12)


def test_limits() -> None:
    s, y, where = batch(7)
    y[:, 3], where[:, :] = y[:, 3] > 0.5, True
    hits, either = ((s > 0.5) & (y > 0)).sum(0), ((s > 0.5) | (y > 0)).sum(0)
    sure, targets = asarray(np.where(s > 0.5, 50.0, -50.0)), asarray(y)
    jaccard = ml.tversky(sure, targets, alpha=1.0, beta=1.0)
    np.testing.assert_allclose(to_numpy(jaccard)[1:], (1 - hits / either)[1:], atol=1e-12)
    exact = 1 - 2 * hits / ((s > 0.5).sum(0) + y.sum(0))
    steep = ml.sigmoid_f1(asarray(s), targets, slope=1e4, offset=0.5)
    np.testing.assert_allclose(to_numpy(steep)[1:], exact[1:], atol=1e-12)
    # of one formula, to the last bit
    f1 = call("soft_f1", s, y, where, "float64")
    np.testing.assert_array_equal(to_numpy(compiled(ml.sigmoid_f1)(asarray(s), targets)), f1)
    np.testing.assert_array_equal(to_numpy(compiled(ml.tversky)(asarray(s), targets)), f1)


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
@pytest.mark.parametrize("weights", [{}, {"alpha": 0.0}, {"beta": 0.0}])
def test_gradient_by_hard_targets(weights: dict[str, float]) -> None:
    """A cell of weight 0 has a derivative by its target."""
    s, y = asarray([[1.5], [-1.0], [0.0]]), np.array([[1.0], [0.0], [1.0]])

    def total(y: Any) -> Any:
        return xp.sum(ml.tversky(s, y, **weights))

    actual = gradient(total, asarray(y))
    for i in range(3):
        step = np.zeros_like(y)
        step[i] = 1e-6 * (1 - 2 * y[i])  # into [0, 1]
        change = float(total(asarray(y + step))) - float(total(asarray(y)))
        np.testing.assert_allclose(actual[i], change / step[i], rtol=1e-4)


def test_bad_arguments_are_named() -> None:
    s, y, where = (asarray(x) for x in batch(8))
    with pytest.raises(ValueError, match=r"same shape, got \(8, 6\) and \(8, 1\)"):
        ml.soft_f1(s, y[:, :1])
    with pytest.raises(ValueError, match=r"logits must have shape \[n, L\], got \(6,\)"):
        ml.soft_f1(s[0, :], y[0, :])
    with pytest.raises(TypeError, match="logits must be floating-point"):
        ml.tversky(asarray(np.ones((8, 6), int)), y)
    with pytest.raises(TypeError, match="where must be bool"):
        ml.tversky(s, y, where=y)
    with pytest.raises(TypeError, match="logits must be an array"):
        ml.soft_f1([[1.0]], y, where=where)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="slope must be above 0, got 0"):
        ml.sigmoid_f1(s, y, slope=0.0)
    with pytest.raises(ValueError, match="beta must be at least 0, got -1"):
        ml.tversky(s, y, beta=-1.0)
