"""The set with the largest expected F-measure, against exact expectations in float64."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

import mlc_losses
from mlc_losses.decide._exponential_sum import exponential_sum
from tests.decide.oracles import expected_f, expected_f_by_sets
from tests.support.backends import NAME, asarray, compiled, in_programs, to_numpy, xp

ml = in_programs(mlc_losses)

INF, NAN = math.inf, math.nan
P = np.array([0.9, 0.55, 0.4, 0.15, 0.05])
VALUES = [0, 0.61312275, 0.701749071429, 0.705700154762, 0.634890136905, 0.55950077381]


def logit(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)


def chances(kind: str, size: int) -> np.ndarray:
    """Probabilities from the highest on."""
    rng = np.random.default_rng(size)
    p = {
        "rare": lambda: rng.random(size) * 3 / size,
        "rarer": lambda: rng.random(size) * 1e-4 / size,
        "sure": lambda: 1 - rng.random(size) * 3 / size,
        "mixed": lambda: 1 / (1 + np.exp(rng.normal(2, 4, size))),
        "head": lambda: np.arange(1, size + 1.0) ** -1.5 * 0.99,
        "equal": lambda: np.full(size, 0.01),
        "half": lambda: np.full(size, 0.5),
        "both": lambda: np.where(np.arange(size) < size // 3, 1 - 1e-6, 1e-3),
    }[kind]()
    return np.sort(p)[::-1]


KINDS = ("rare", "rarer", "sure", "mixed", "head", "equal", "half", "both")
predict = {
    beta: compiled(partial(ml.predict_expected_f, beta=beta)) for beta in (0.5, 1.0, 2.0, 0.3)
}


def assert_best(p: np.ndarray, chosen: np.ndarray, beta: float, tolerance: float) -> None:
    """The first labels, and hardly less than the best of them."""
    k = int(chosen.sum())
    assert chosen[:k].all()
    value = expected_f(p, beta)
    assert value[k] >= value.max() - tolerance


def test_the_values_of_one_example():
    np.testing.assert_allclose(expected_f_by_sets(P), VALUES, rtol=1e-10)
    for beta in (0.5, 1.0, 2.0):
        np.testing.assert_allclose(expected_f(P, beta), expected_f_by_sets(P, beta), rtol=1e-12)
    got = to_numpy(ml.predict_expected_f(asarray(logit(P)[None, :])))
    np.testing.assert_array_equal(got, [[True, True, True, False, False]])


@pytest.mark.skipif(NAME != "numpy", reason="the numbers are the host's")
@pytest.mark.parametrize("largest", [1, 5, 64, 70, 1000, 4000, 100_000])
@pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-10), (False, 1e-7)])
def test_the_sum_of_exponentials_at_every_size(largest, double, tolerance):
    """It bounds the relative error of each expectation, whatever the probabilities."""
    nodes, weights = exponential_sum(float(largest), double)
    at = np.geomspace(1, largest, 3000)
    np.testing.assert_allclose(at * (np.exp(-np.outer(at, nodes)) @ weights), 1, rtol=tolerance)
    # nothing cancels
    assert np.abs(weights[weights < 0]).sum() < 0.1 * weights.sum()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-5)])
def test_nearly_nothing_is_lost(beta, dtype, tolerance):
    p = np.stack([chances(kind, 40) for kind in KINDS])
    scores = asarray(logit(p), dtype)
    for row, chosen in zip(p, to_numpy(predict[beta](scores)), strict=True):
        assert_best(row, chosen, beta, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-5)])
def test_nearly_nothing_is_lost_of_many_labels(dtype, tolerance):
    p = np.stack([chances(kind, 2000) for kind in KINDS])
    for row, chosen in zip(p, to_numpy(predict[1.0](asarray(logit(p), dtype))), strict=True):
        assert_best(row, chosen, 1.0, tolerance)


@pytest.mark.skipif(NAME == "array-api-strict", reason="the standard has no half precision")
def test_half_precision_is_computed_in_float32():
    scores = asarray(logit(np.stack([chances("mixed", 40), chances("rare", 40)])), "float16")
    expected = predict[1.0](xp.astype(scores, xp.float32))
    np.testing.assert_array_equal(to_numpy(predict[1.0](scores)), to_numpy(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_equal_expectations_the_smallest_set_and_of_ties_the_lower_ids(dtype):
    rows = [
        # 5 / 6 with one label and with two
        [0.0, INF, -INF],
        [1.0, 1.0, 1.0],
        # certain: nothing else
        [INF, -INF, INF],
        [-INF, -INF, -INF],
    ]
    expected = [[0, 1, 0], [1, 1, 1], [1, 0, 1], [0, 0, 0]]
    got = to_numpy(ml.predict_expected_f(asarray(rows, dtype)))
    np.testing.assert_array_equal(got, np.array(expected, dtype=bool))
    got = to_numpy(ml.predict_expected_f(asarray([[1.0, 2.0, 1.0, 1.0]], dtype), max_labels=3))
    np.testing.assert_array_equal(got, [[True, True, True, False]])


def test_the_empty_set_where_it_counts():
    scores = asarray(logit(np.array([[0.1, 0.05], [0.6, 0.05]])))
    taken = to_numpy(ml.predict_expected_f(scores, empty=1.0))
    np.testing.assert_array_equal(taken, [[False, False], [True, False]])
    assert to_numpy(ml.predict_expected_f(scores)).any(-1).all()
    # of P, only k = 0 changes: to 0.0218025
    assert np.prod(1 - P) == pytest.approx(0.0218025, rel=1e-9)


def test_precision_alone_and_recall_alone():
    scores = asarray(logit(P)[None, :])
    assert to_numpy(ml.predict_expected_f(scores, beta=0.0)).sum() == 1
    assert to_numpy(ml.predict_expected_f(scores, beta=INF)).sum() == 5


def test_the_largest_size_and_the_scale():
    scores = logit(P)[None, :]
    got = to_numpy(ml.predict_expected_f(asarray(scores), max_labels=2))
    np.testing.assert_array_equal(got, [[True, True, False, False, False]])
    plain = to_numpy(ml.predict_expected_f(asarray(scores * 0.25)))
    assert plain.sum() == 5
    for scale in (0.25, asarray(0.25)):
        got = to_numpy(ml.predict_expected_f(asarray(scores), scale=scale))
        np.testing.assert_array_equal(got, plain)


def test_unknown_labels_and_nan():
    scores = np.random.default_rng(3).normal(-1, 2, (6, 9))
    known = np.random.default_rng(4).random((6, 9)) < 0.7
    spoiled = np.where(known, scores, np.where(np.arange(9) % 2, NAN, INF))
    got = to_numpy(ml.predict_expected_f(asarray(spoiled), where=asarray(known)))
    assert not got[~known].any()
    for row, mask, chosen in zip(scores, known, got, strict=True):
        alone = to_numpy(ml.predict_expected_f(asarray(row[mask][None, :])))
        np.testing.assert_array_equal(chosen[mask], alone[0])
    # not covered: as a label of probability 0
    spoiled = np.where(known, scores, NAN)
    np.testing.assert_array_equal(to_numpy(ml.predict_expected_f(asarray(spoiled))), got)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 4)])
def test_no_examples_or_no_labels(shape):
    assert ml.predict_expected_f(asarray(np.zeros(shape))).shape == shape


def test_leading_axes_are_kept():
    scores = np.random.default_rng(0).normal(size=(2, 3, 7))
    got = to_numpy(ml.predict_expected_f(asarray(scores)))
    flat = to_numpy(ml.predict_expected_f(asarray(scores.reshape(6, 7))))
    np.testing.assert_array_equal(got.reshape(6, 7), flat)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"beta": -1.0}, "beta must be at least 0, got -1"),
        ({"scale": 0.0}, "scale must be above 0, got 0"),
        ({"empty": 2.0}, r"empty must be in \[0, 1\], got 2"),
        ({"max_labels": 4}, r"max_labels must be in 1\.\.3, got 4"),
        ({"max_labels": 0}, r"max_labels must be in 1\.\.3, got 0"),
    ],
)
def test_misuse_is_named(keywords, words):
    with pytest.raises(ValueError, match=words):
        ml.predict_expected_f(asarray(np.zeros((2, 3))), **keywords)


@pytest.mark.skipif(NAME != "jax", reason="vmap and jit are JAX's")
def test_under_vmap_and_with_traced_numbers():
    import jax

    scores = asarray(np.random.default_rng(1).normal(-1, 2, (2, 4, 9)))
    run = jax.jit(
        jax.vmap(lambda s, b, c: ml.predict_expected_f(s, beta=b, scale=c), (0, None, None))
    )
    expected = ml.predict_expected_f(scores, beta=2.0, scale=0.5)
    np.testing.assert_array_equal(run(scores, 2.0, 0.5), expected)
