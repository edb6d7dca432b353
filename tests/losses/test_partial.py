"""Losses for few labels seen: the authors' values, identities, and what is cut from gradients."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import mlc_losses
from tests.losses import oracles_average_k as oracles
from tests.support.backends import HAS_GRADIENTS, asarray, gradient, in_programs, to_numpy, xp

ml = in_programs(mlc_losses)

Z = np.array([[2, -1, 0.5, -3], [0, 1, -0.5, -2], [-1.5, 0.25, 3, -0.75]])
Y = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
P = np.array([[0.9, 0.2, 0.4, 0.1], [0.3, 0.8, 0.5, 0.2], [0.1, 0.6, 0.7, 0.95]])
T = np.log(P) - np.log1p(-P)


def by_row(oracle):
    """An oracle of one example for the batch."""
    return lambda s, y, **keywords: np.array(
        [oracle(*row, **keywords) for row in zip(s, y, strict=True)]
    )


# the loss, its oracle, what both take beside the logits, the authors' value: a mean over n L
AUTHORS = {
    "AN": (ml.assume_negative, by_row(oracles.assume_negative), {}, 0.690223230471),
    "WAN": (ml.weak_assume_negative, by_row(oracles.weak_assume_negative), {}, 0.317685771444),
    "AN-LS": (
        ml.assume_negative_smoothed,
        by_row(oracles.assume_negative_smoothed),
        {},
        0.744388120801,
    ),
    "EPR": (
        ml.expected_positive,
        oracles.expected_positive,
        {"expected": 1.5},
        0.139299867365,
    ),
    "EM": (
        ml.entropy_maximization,
        by_row(oracles.entropy_maximization),
        {"alpha": 0.2},
        0.056277448825,
    ),
}
WITHOUT_CLIP = {
    "SPLC off": (ml.splc, {"correct": False}, 5.259288547614 / 12),
    "SPLC on": (ml.splc, {}, 2.183279279571 / 12),
    "LL-R": (ml.large_loss, {"fraction": 0.2}, 0.286206266461),
    "LL-Ct": (ml.large_loss, {"fraction": 0.2, "mode": "correct"}, 0.377756579431),
    "LL-Cp": (ml.large_loss, {"fraction": 0.1, "mode": "correct"}, 0.398589912764),
}


def mean(values):
    """The authors' normalisation."""
    values = values if isinstance(values, np.ndarray) else to_numpy(values)
    return float(values.mean()) / Z.shape[1]


@pytest.mark.parametrize("name", AUTHORS)
def test_published_values_but_for_the_clip(name):
    loss, oracle, keywords, published = AUTHORS[name]
    # with the authors' 1e-5 inside the logarithms the oracle is their code
    assert mean(oracle(Z, Y, clip=1e-5, **keywords)) == pytest.approx(published, rel=1e-11)
    # without it each term moves by log(1 + 1e-5 / p), and the least probability here is σ(-3)
    found = mean(loss(asarray(Z), asarray(Y), **keywords))
    assert found == pytest.approx(published, abs=1e-5 / oracles.sigma(-3.0))
    assert found == pytest.approx(mean(oracle(Z, Y, **keywords)), rel=1e-13)


def test_published_value_of_role_but_for_the_clip():
    published = 0.738034541239
    assert mean(oracles.role(Z, T, Y, 1.5, clip=1e-5)) == pytest.approx(published, rel=1e-11)
    found = mean(ml.role(asarray(Z), asarray(T), asarray(Y), 1.5))
    # two terms for each label, and a soft target adds both of its sides
    assert found == pytest.approx(published, abs=4e-5 / oracles.sigma(-3.0))


@pytest.mark.parametrize("name", WITHOUT_CLIP)
def test_published_values(name):
    loss, keywords, published = WITHOUT_CLIP[name]
    assert mean(loss(asarray(Z), asarray(Y), **keywords)) == pytest.approx(published, rel=1e-11)


def draw(n=5, num_labels=6, seed=0):
    rng = np.random.default_rng(seed)
    return asarray(rng.normal(size=(n, num_labels)) * 3), asarray(rng.random((n, num_labels)) < 0.2)


def assert_equal(actual, expected, rtol=1e-13):
    expected = np.array(expected) if isinstance(expected, list) else to_numpy(expected)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=1e-14)


def test_identities():
    s, y = draw()
    assumed = ml.assume_negative(s, y)
    assert_equal(assumed, ml.binary_cross_entropy(s, y))
    assert_equal(ml.weak_assume_negative(s, y, weight=1.0), assumed)
    assert_equal(ml.assume_negative_smoothed(s, y, epsilon=0.0), assumed)
    assert_equal(ml.large_loss(s, y, 0.0), assumed)
    smoothed = ml.binary_cross_entropy(s, ml.smooth_targets(y, 0.2))
    assert_equal(ml.assume_negative_smoothed(s, y, epsilon=0.1), smoothed, rtol=1e-6)
    assert_equal(ml.splc(s, y, margin=0.0, correct=False), ml.focal(s, y))
    assert_equal(ml.splc(s, y, tau=1.0), ml.splc(s, y, correct=False))
    everything = ml.splc(s, y | ~y, margin=0.0)
    assert_equal(ml.splc(s, y, tau=0.0, margin=0.0), everything)
    alone = ml.expected_positive(s, y, 1.5, weight=0.0)
    assert_equal(alone, ml.entropy_maximization(s, y, alpha=0.0))


def test_expected_number_of_positives_is_over_the_batch():
    s, y = draw()
    count = float((1 / (1 + np.exp(-to_numpy(s)))).sum()) / 5
    assert_equal(
        ml.expected_positive(s, y, count, weight=100.0), ml.expected_positive(s, y, 0.0, weight=0.0)
    )


def test_role_is_made_of_expected_positives_and_agreement():
    s, y = draw()
    t, _ = draw(seed=1)

    def probabilities(x):
        return asarray(1 / (1 + np.exp(-to_numpy(x))))

    parts = (
        ml.expected_positive(s, y, 1.5)
        + ml.expected_positive(t, y, 1.5)
        + ml.binary_cross_entropy(s, probabilities(t))
        + ml.binary_cross_entropy(t, probabilities(s))
    )
    assert_equal(ml.role(s, t, y, 1.5), parts / 2)


@pytest.mark.skipif(not HAS_GRADIENTS, reason="no gradients")
def test_role_teaches_the_estimator_without_being_taught_by_it():
    s, y = draw(3, 4)
    t, _ = draw(3, 4, seed=1)
    at = to_numpy(s), to_numpy(t)

    def total(t, s, y):
        return xp.sum(ml.role(s, t, y, 1.5))

    derivatives = gradient(total, t, s, y)
    expected = np.empty((3, 4))
    for index in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[index] = 1e-6
        up, down = (
            oracles.role(at[0], at[1] + sign * step, to_numpy(y), 1.5, at=at).sum()
            for sign in (1, -1)
        )
        expected[index] = (up - down) / 2e-6
    np.testing.assert_allclose(derivatives, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("mode", ["reject", "correct"])
def test_large_loss_never_touches_a_seen_positive(mode):
    s, y = draw(seed=2)
    s = xp.where(y, s - 20.0, s)  # their losses are the largest
    got = to_numpy(ml.large_loss(s, y, 1.0, mode=mode))
    ones = to_numpy(ml.assume_negative(s, xp.ones_like(s)))
    seen = to_numpy(ml.expected_positive(s, y, 0.0, weight=0.0))
    np.testing.assert_allclose(got, seen if mode == "reject" else ones, rtol=1e-13)


def test_large_loss_takes_ties_and_infinity():
    s = asarray(np.array([[2.0, 2.0, 1.0, 0.0], [np.inf, 2.0, -1.0, -np.inf]]))
    y = asarray(np.zeros((2, 4)))
    assert np.isinf(to_numpy(ml.large_loss(s, y, 0.0))).tolist() == [False, True]
    first = np.logaddexp(0, [1.0, 0.0]).sum()
    # the largest; then the second, with all of its ties
    assert_equal(ml.large_loss(s, y, 0.125), [np.logaddexp(0, [2, 2, 1.0, 0]).sum(),
                                              np.logaddexp(0, [2, -1.0]).sum()])  # fmt: skip
    assert_equal(ml.large_loss(s, y, 0.25), [first, np.logaddexp(0, -1.0)])


def test_large_loss_counts_cells_exactly():
    """30 * 0.1 is 3.0000000000000004 in floating point."""
    s = asarray(np.arange(30.0).reshape(5, 6))
    rejected = ml.assume_negative(s, s < 0) - ml.large_loss(s, s < 0, 0.1)
    expected = [0, 0, 0, 0, np.logaddexp(0, [27.0, 28, 29]).sum()]
    # each a difference of two sums of up to 160
    np.testing.assert_allclose(to_numpy(rejected), expected, rtol=1e-13, atol=1e-13)


def test_known_labels_are_counted_for_the_weak_weight():
    s, y = draw(2, 4)
    where = asarray(np.array([[True, True, True, False], [True, False, False, False]]))
    got = to_numpy(ml.weak_assume_negative(s, y, where=where))
    s, y = to_numpy(s), to_numpy(y)
    expected = [
        oracles.weak_assume_negative(s[0, :3], y[0, :3]),
        oracles.weak_assume_negative(s[1, :1], y[1, :1]),
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(ml.weak_assume_negative, weight=-1), ValueError, "weight must be at least 0"),
        (partial(ml.assume_negative_smoothed, epsilon=2), ValueError, r"epsilon .*\[0, 1\], got 2"),
        (partial(ml.entropy_maximization, alpha=-1), ValueError, "alpha must be at least 0"),
        (partial(ml.splc, tau=1.5), ValueError, r"tau must be in \[0, 1\], got 1.5"),
        (partial(ml.splc, gamma=-1), ValueError, "gamma must be at least 0"),
        (partial(ml.expected_positive, expected=-1), ValueError, "expected must be at least 0"),
        (lambda s, y: ml.expected_positive(s[0, :], y[0, :], 1.0), ValueError, r"shape \[n, L\]"),
        (lambda s, y: ml.role(s, s[:, :1], y, 1.0), ValueError, "estimator_logits and targets"),
        (lambda s, y: ml.role(s, y, y, 1.0), TypeError, "estimator_logits must be floating-point"),
        (partial(ml.large_loss, fraction=-0.1), ValueError, r"fraction must be in \[0, 1\]"),
        (lambda s, y: ml.large_loss(s, y, s), TypeError, "fraction must be a Python number"),
        (partial(ml.large_loss, fraction=0.1, mode="flip"), ValueError, "mode .*'reject', 'cor"),
    ],
)
def test_wrong_numbers_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*draw())
