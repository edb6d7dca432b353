"""Weights, margins and adjustments from class counts; the distribution-balanced loss's limits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

import mlc_losses
from tests.losses.test_identities import LOGITS, TARGETS, assert_same, batch
from tests.support.backends import NAME, asarray, compiled, in_programs, to_numpy, xp

ml = in_programs(mlc_losses)

COUNTS = [50, 400, 20, 300, 100]
# every function of counts [L] alone
OF_COUNTS: dict[str, Callable[[Any], Any]] = {
    "effective_number_weights": ml.effective_number_weights,
    "inverse_frequency_weights": ml.inverse_frequency_weights,
    "balanced_pos_weights": lambda counts: ml.balanced_pos_weights(counts, 1000),
    "ldam_margins": ml.ldam_margins,
    "logit_adjust": lambda counts: ml.logit_adjust(asarray(np.zeros(counts.shape)), counts),
}
every_function = pytest.mark.parametrize("name", OF_COUNTS)


@every_function
def test_counts_of_any_dtype(name: str) -> None:
    function = compiled(OF_COUNTS[name])
    expected = to_numpy(function(asarray(COUNTS, "float64")))
    for dtype in ("int32", "int64", "float32"):
        actual = function(asarray(COUNTS, dtype))
        assert xp.isdtype(actual.dtype, "real floating")
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=2e-6)
    # the logits of logit_adjust are float64
    assert actual.dtype == (xp.float64 if name == "logit_adjust" else xp.float32)


@every_function
def test_a_label_never_seen_is_like_one_seen_once(name: str) -> None:
    never = to_numpy(OF_COUNTS[name](asarray([0, 0, 7, 500])))
    once = to_numpy(OF_COUNTS[name](asarray([1, 1, 7, 500])))
    np.testing.assert_array_equal(never, once)
    assert np.isfinite(to_numpy(OF_COUNTS[name](asarray([0, 0])))).all()
    assert np.isfinite(
        to_numpy(OF_COUNTS[name](asarray([10**9 if "pos" not in name else 999])))
    ).all()


@pytest.mark.parametrize("name", ["inverse_frequency_weights", "ldam_margins", "logit_adjust"])
def test_fractions_are_as_good_as_counts(name: str) -> None:
    actual = compiled(OF_COUNTS[name])(asarray([0.05, 0.0, 0.4, 0.02, 0.3]))
    expected = compiled(OF_COUNTS[name])(asarray([50, 20, 400, 20, 300]))
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=1e-6)


@pytest.mark.usefixtures("op_by_op")
@every_function
def test_wrong_counts_are_named(name: str) -> None:
    function = OF_COUNTS[name]
    with pytest.raises(ValueError, match=r"counts must be finite and .*, got -1 at index \(1,\)"):
        function(asarray([1, -1, 2]))
    with pytest.raises(ValueError, match=r"counts must be finite and .*, got nan at index \(0,\)"):
        function(asarray([np.nan, 1.0]))
    with pytest.raises(TypeError, match="counts must be integers or floats"):
        function(asarray([True, False]))
    if name != "logit_adjust":
        with pytest.raises(TypeError, match=r"array of shape \[L\], got the number 3"):
            function(3)
        with pytest.raises(ValueError, match=r"counts must be an array of shape \[L\], got \(1, 2"):
            function(asarray([[1, 2]]))


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")
@every_function
def test_jit(name: str) -> None:
    import jax

    counts = asarray(COUNTS, "float32")
    expected = OF_COUNTS[name](counts)
    np.testing.assert_allclose(compiled(OF_COUNTS[name])(counts), expected, rtol=1e-6)
    # counts that the traced function closes over
    np.testing.assert_allclose(jax.jit(lambda: OF_COUNTS[name](counts))(), expected, rtol=1e-6)


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
def test_device() -> None:
    device = xp.device("meta") if NAME == "torch" else xp.Device("device1")
    counts, zeros = (
        xp.asarray(asarray(x), device=device, copy=True) for x in (COUNTS, np.zeros(5))
    )
    for name in OF_COUNTS:
        if name != "logit_adjust":
            assert OF_COUNTS[name](counts).device == device
    assert ml.logit_adjust(zeros, counts).device == device


# weights -----------------------------------------------------------------------------------------


def test_effective_number_weights() -> None:
    actual = to_numpy(ml.effective_number_weights(asarray([10.0, 100, 1000]), beta=0.999))
    np.testing.assert_allclose(actual, [2.67783946, 0.28000014, 0.0421604], rtol=2e-7)
    np.testing.assert_allclose(actual.mean(), 1, rtol=1e-15)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9999, 1 - 1e-7, 1 - 1e-12, 1.0])
def test_effective_number_weights_near_one(beta: float) -> None:
    """In float32 they are those of exact arithmetic: 1 - β and 1 - β^n both cancel."""
    counts = np.array([1, 3, 1000, 10**7])
    with localcontext() as context:
        context.prec = 60
        base = Decimal(beta)
        exact = np.array(
            [float((1 - base**n) / (1 - base)) if beta < 1 else n for n in map(int, counts)]
        )
    weights = 1 / exact / np.mean(1 / exact)
    for dtype, rtol in (("float64", 1e-13), ("float32", 2e-6)):
        actual = ml.effective_number_weights(asarray(counts, dtype), beta=beta)
        assert actual.dtype == getattr(xp, dtype)
        np.testing.assert_allclose(to_numpy(actual), weights, rtol=rtol)


@pytest.mark.skipif(NAME == "array-api-strict", reason="a hyper-parameter of JAX or PyTorch")
def test_effective_number_weights_at_an_array_of_one() -> None:
    expected = to_numpy(ml.effective_number_weights(asarray([1, 10, 100]), beta=1.0))
    for beta in (asarray(1.0), asarray(1.0, "float32"), np.float64(1.0)):
        actual = ml.effective_number_weights(asarray([1, 10, 100]), beta=beta)
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-6)


def test_inverse_frequency_weights() -> None:
    counts = asarray([1.0, 4, 16])
    actual = to_numpy(ml.inverse_frequency_weights(counts))
    np.testing.assert_allclose(actual, 3 * np.array([16, 4, 1]) / 21, rtol=1e-14)
    actual = to_numpy(ml.inverse_frequency_weights(counts, power=0.5))
    np.testing.assert_allclose(actual, 3 * np.array([4, 2, 1]) / 7, rtol=1e-14)
    assert to_numpy(ml.inverse_frequency_weights(counts, power=0.0)).tolist() == [1, 1, 1]
    steep = ml.inverse_frequency_weights(asarray([1000.0, 10**9], "float32"), power=50.0)
    assert to_numpy(steep).tolist() == [2, 0]
    none = ml.inverse_frequency_weights(asarray(np.zeros(0)))
    assert tuple(none.shape) == (0,)


@pytest.mark.usefixtures("op_by_op")
def test_balanced_pos_weights() -> None:
    counts = asarray([0.0, 10, 50, 100])
    actual = to_numpy(ml.balanced_pos_weights(counts, 100))
    np.testing.assert_array_equal(actual, [99, 9, 1, 0])
    actual = to_numpy(ml.balanced_pos_weights(counts, 100, power=0.5, max_weight=5.0))
    np.testing.assert_array_equal(actual, [5, 3, 1, 0])
    logits, targets = batch(0)
    frequency = xp.sum(targets, axis=0)
    weights = ml.balanced_pos_weights(frequency, 50)
    # positives and negatives weigh the same at logit 0
    total = xp.sum(ml.binary_cross_entropy(logits * 0, targets, pos_weight=weights))
    np.testing.assert_allclose(
        float(total), 2 * np.log(2) * float(xp.sum(50 - frequency)), rtol=1e-12
    )
    with pytest.raises(ValueError, match=r"in 0\.\.100 \(num_examples\), got 101 at index \(1,\)"):
        ml.balanced_pos_weights(asarray([1, 101]), 100)
    with pytest.raises(ValueError, match="num_examples must be at least 1, got 0"):
        ml.balanced_pos_weights(counts, 0)
    with pytest.raises(ValueError, match="max_weight must be at least 0, got -1"):
        ml.balanced_pos_weights(counts, 100, max_weight=-1.0)


def test_ldam_margins_and_logit_adjust() -> None:
    margins = to_numpy(ml.ldam_margins(asarray([160, 10, 100000]), max_margin=0.4))
    np.testing.assert_allclose(margins, [0.2, 0.4, 0.04], rtol=1e-6)
    logits, counts = asarray(LOGITS), asarray(COUNTS)
    prior = np.log(np.array(COUNTS) / sum(COUNTS))
    for tau in (1.0, -1.0, 0.5):
        actual = to_numpy(ml.logit_adjust(logits, counts, tau=tau))
        np.testing.assert_allclose(actual, np.array(LOGITS) + tau * prior, rtol=1e-13)
    with pytest.raises(ValueError, match=r"counts must have one entry per label, shape \(5,\)"):
        ml.logit_adjust(logits, counts[:4])
    with pytest.raises(TypeError, match="logits must be floating-point"):
        ml.logit_adjust(counts, counts)


@pytest.mark.parametrize(
    ("function", "keywords", "message"),
    [
        (ml.effective_number_weights, {"beta": 1.5}, r"beta must be in \[0, 1\], got 1.5"),
        (ml.inverse_frequency_weights, {"power": -1.0}, "power must be at least 0, got -1"),
        (ml.ldam_margins, {"max_margin": -0.5}, "max_margin must be at least 0, got -0.5"),
    ],
)
def test_bad_hyper_parameters_are_named(function: Any, keywords: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(asarray(COUNTS), **keywords)


# the distribution-balanced loss; its promises are in the one list of cases ------------------------


def test_distribution_balanced_golden_row() -> None:
    """Label by label, the others masked after the weights: by differences of the whole."""
    logits, targets, counts = asarray(LOGITS[:1]), asarray(TARGETS[:1]), asarray(COUNTS)
    value = ml.distribution_balanced(logits, targets, counts, 1000)
    terms = [0.0129501506, 0.00566466353, 0.00512644521, 3.71857515e-9, 0.148673262]
    np.testing.assert_allclose(to_numpy(value), [sum(terms)], rtol=1e-8)
    np.testing.assert_allclose(to_numpy(value) / 5, [0.034482905], rtol=1e-7)
    for label, on in enumerate(TARGETS[0]):
        if not on:  # a negative has no part in the weights of the others
            known = asarray(np.arange(5)[None, :] != label)
            rest = ml.distribution_balanced(logits, targets, counts, 1000, where=known)
            np.testing.assert_allclose(to_numpy(value - rest), terms[label], rtol=1e-7, atol=1e-15)


def test_distribution_balanced_is_focal_in_the_limit() -> None:
    logits, targets = batch(1)
    counts = asarray(np.arange(1, 9))
    plain = {"alpha": 0.5, "beta": 0.0, "lam": 1.0, "kappa": 0.0, "balance": 1.0}
    actual = ml.distribution_balanced(logits, targets, counts, 100, **plain)
    assert_same(actual, ml.focal(logits, targets))


def test_distribution_balanced_at_the_ends_of_the_counts() -> None:
    """A label that nobody or everybody has: a bias as if one did not."""
    logits, targets = batch(2)
    ends = asarray([0, 100, 5, 5, 5, 5, 5, 5])
    almost = asarray([1, 99, 5, 5, 5, 5, 5, 5])
    keywords = {"beta": 0.0}  # the weights differ, of course
    actual = ml.distribution_balanced(logits, targets, ends, 100, **keywords)
    expected = ml.distribution_balanced(logits, targets, almost, 100, **keywords)
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=1e-3)
    assert np.isfinite(to_numpy(actual)).all()


@pytest.mark.usefixtures("op_by_op")
def test_distribution_balanced_leaves_the_logits_alone() -> None:
    logits, targets = batch(3)
    before = to_numpy(logits).copy()
    ml.distribution_balanced(logits, targets, asarray(np.arange(1, 9)), 100)
    np.testing.assert_array_equal(to_numpy(logits), before)
    with pytest.raises(ValueError, match="lam must be above 0, got 0"):
        ml.distribution_balanced(logits, targets, asarray(np.arange(1, 9)), 100, lam=0.0)
    with pytest.raises(ValueError, match=r"in 0\.\.6 \(num_examples\), got 7 at index \(6,\)"):
        ml.distribution_balanced(logits, targets, asarray(np.arange(1, 9)), 6)
