"""K guesses on average: the threshold, pseudo-labels, and both over a batch split over devices."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlc_losses
from tests.losses import oracles_average_k as oracles
from tests.support.backends import (
    NAME,
    asarray,
    compiled,
    in_programs,
    to_numpy,
    xp,
)
from tests.support.depth import examples

ml = in_programs(mlc_losses)
metrics = in_programs(mlc_losses.metrics)

INF, NAN = math.inf, math.nan
few = examples(60, derandomize=True)
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")


@st.composite
def batches(draw, smallest=0.01):
    """Logits with many ties, labels, and k; JAX compiles for every shape and k, so it gets few."""
    if NAME == "jax":
        n, num_labels, k = 4, 5, draw(st.sampled_from([1.0, 2.4, 5.0]))
    else:
        n, num_labels = draw(st.integers(1, 6)), draw(st.integers(1, 6))
        k = draw(st.floats(smallest, num_labels) | st.integers(1, num_labels))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = [-INF, -1.5, -0.0, 0.0, 0.5, 2.0] if draw(st.booleans()) else rng.normal(size=30)
    logits = rng.choice(values, size=(n, num_labels))
    # somewhere in a row there is a score
    logits[:, 0] = rng.normal(size=n)
    return logits, rng.integers(0, num_labels, n), k


# threshold ---------------------------------------------------------------------------------------


@functools.cache
def threshold_at(k):
    return compiled(functools.partial(ml.average_k_threshold, k=k))


@few
@given(batches())
def test_threshold_keeps_k_on_average_or_the_fewest_more(batch):
    scores, _, k = batch
    n = len(scores)
    rank = min(max(round(n * k), 1), scores.size)
    threshold = threshold_at(k)(asarray(scores))
    assert threshold.shape == ()
    assert float(threshold) == oracles.threshold(scores, k)
    kept = to_numpy(ml.predict_average_k(asarray(scores), threshold)).sum()
    # any higher threshold, so the next higher score, keeps too few
    assert kept >= rank > (scores > float(threshold)).sum()
    if len(np.unique(scores)) == scores.size:
        assert kept == rank


@pytest.mark.parametrize("k", [1, 2.5, 3, np.float32(1.5)])
def test_threshold_of_distinct_scores_gives_exactly_k(k):
    scores = asarray(np.random.default_rng(0).normal(size=(8, 3)))
    threshold = ml.average_k_threshold(scores, k)
    assert float(metrics.mean_set_size(ml.predict_average_k(scores, threshold))) == k


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threshold_is_a_score_and_no_midpoint(dtype):
    """Of neighbouring floats a midpoint would be rounded to one of them, half of the time down."""
    narrow = np.dtype(dtype).type
    row = [narrow(1.0)]
    while len(row) < 10:
        row.append(np.nextafter(row[-1], narrow(2.0)))
    scores = asarray(np.array([row[::-1]], dtype), dtype)
    for k in range(1, 11):
        threshold = ml.average_k_threshold(scores, k)
        assert threshold.dtype == getattr(xp, dtype)
        assert to_numpy(threshold) == row[10 - k]
        assert to_numpy(ml.predict_average_k(scores, threshold)).sum() == k


def test_threshold_on_log_scores_of_saturated_probabilities():
    logits = np.random.default_rng(0).normal(size=(50, 20)) * 200
    scores = asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), "float32")
    sets = ml.predict_average_k(scores, ml.average_k_threshold(scores, 5))
    assert float(metrics.mean_set_size(sets)) == 5
    saturated = xp.exp(scores)
    everything = ml.predict_average_k(saturated, ml.average_k_threshold(saturated, 5))
    assert float(metrics.mean_set_size(everything)) == 20


def test_threshold_of_half_precision_is_float32():
    if NAME == "array-api-strict":
        pytest.skip("the standard has no half precision")
    threshold = ml.average_k_threshold(asarray([[1.0, 2.0, 3.0]], "bfloat16" if NAME != "numpy"
                                               else "float16"), 2)  # fmt: skip
    assert threshold.dtype == xp.float32
    assert float(threshold) == 2.0


def test_threshold_with_nan_and_infinity():
    assert math.isnan(float(ml.average_k_threshold(asarray([[1.0, NAN]]), 1)))
    scores = asarray([[1.0, -INF, -INF], [INF, 2.0, -INF]])
    found = [float(ml.average_k_threshold(scores, k)) for k in (0.1, 1, 1.5, 2, 3)]
    assert found == [INF, 2.0, 1.0, -INF, -INF]


def test_threshold_of_many_scores():
    """More than the 2^24 that a quantile in float32 can count are tried outside the suite."""
    generator = np.random.default_rng(0)
    scores = generator.permutation(300_000).astype(np.float32).reshape(3000, 100)
    threshold = ml.average_k_threshold(asarray(scores), 5)
    assert float(threshold) == 300_000 - 3000 * 5


@pytest.mark.parametrize(
    ("scores", "k", "error", "message"),
    [
        (np.zeros((2, 3)), 0, ValueError, "k must be above 0 and at most 3, got 0"),
        (np.zeros((2, 3)), 3.1, ValueError, "k must be above 0 and at most 3, got 3.1"),
        (np.zeros((2, 3)), NAN, ValueError, "k must be above 0 and at most 3, got nan"),
        (np.zeros((2, 3)), "2", TypeError, "k must be a Python number, got str"),
        (np.zeros((2, 3)), [2], TypeError, "k must be a Python number, got list"),
        (np.zeros((2, 3), int), 1, TypeError, "scores must be floating-point"),
        (np.zeros(3), 1, ValueError, r"scores must have shape \[n, L\]"),
        (np.zeros((0, 3)), 1, ValueError, r"at least one row, got shape \(0, 3\)"),
    ],
)
def test_wrong_threshold_arguments_are_named(scores, k, error, message):
    with pytest.raises(error, match=message):
        ml.average_k_threshold(asarray(scores), k)


# pseudo-labels -----------------------------------------------------------------------------------


@functools.cache
def pseudo_labels(k, rule):
    return compiled(functools.partial(ml.average_k_pseudo_labels, k=k, rule=rule))


@few
@given(batches(smallest=1.0))
def test_pseudo_labels_are_k_on_average(batch):
    logits, labels, k = batch
    n, num_labels = logits.shape
    got = to_numpy(pseudo_labels(k, "exclude_label")(asarray(logits), asarray(labels)))
    assert got.dtype == bool
    assert got.sum() == n + round(n * (k - 1))
    assert got[np.arange(n), labels].all()
    # the label is where it is, whatever its score
    moved = np.where(labels[:, None] == np.arange(num_labels), -INF, logits)
    others = got & (labels[:, None] != np.arange(num_labels))
    assert others.sum() == round(n * (k - 1))
    assert not others[moved == -INF].any() or others[moved > -INF].all()


@few
@given(batches())
def test_pseudo_labels_of_the_threshold_rule(batch):
    logits, labels, k = batch
    got = to_numpy(pseudo_labels(k, "threshold")(asarray(logits), asarray(labels)))
    rank = max(round(len(logits) * k), 1)
    assert rank <= got.sum() <= rank + len(logits)
    assert got[np.arange(len(logits)), labels].all()


@pytest.mark.parametrize("rule", ["exclude_label", "threshold"])
@pytest.mark.parametrize("k", [1, 2.4, 5])
def test_pseudo_labels_are_those_of_a_sort(rule, k):
    rng = np.random.default_rng(0)
    for logits in (np.zeros((4, 5)), rng.normal(size=(4, 5)), rng.integers(0, 2, (1, 5)) * 1.0):
        # one row, so that equal scores stay equal through the softmax
        tied = np.tile(logits[:1], (4, 1))
        for scores in (logits, tied):
            labels = rng.integers(0, 5, len(scores))
            got = to_numpy(pseudo_labels(k, rule)(asarray(scores), asarray(labels)))
            expected = oracles.pseudo_labels(scores, labels, k, rule)
            np.testing.assert_array_equal(got, expected)


def test_ambiguous_examples_get_more_pseudo_labels():
    logits = asarray([[9.0, 0.0, 0.0, 0.0], [0.3, 0.2, 0.1, 0.0]])
    got = to_numpy(ml.average_k_pseudo_labels(logits, asarray([0, 0]), 2.5))
    np.testing.assert_array_equal(got, [[1, 0, 0, 0], [1, 1, 1, 1]])


def test_pseudo_labels_of_no_example_and_of_nan():
    none = ml.average_k_pseudo_labels(asarray(np.zeros((0, 3))), asarray(np.zeros(0, int)), 2)
    assert none.shape == (0, 3)
    logits = asarray([[NAN, 1.0, 2.0], [0.2, 0.1, 0.0], [0.2, 0.1, 0.0]])
    got = to_numpy(ml.average_k_pseudo_labels(logits, asarray([0, 0, 0]), 2))
    np.testing.assert_array_equal(got, [[1, 0, 0], [1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("k", "rule", "error", "message"),
    [
        (0.5, "exclude_label", ValueError, r"k must be in \[1, 3\], got 0.5"),
        (4, "exclude_label", ValueError, r"k must be in \[1, 3\], got 4"),
        (0, "threshold", ValueError, "k must be above 0 and at most 3, got 0"),
        (2, "median", ValueError, "rule must be one of 'exclude_label', 'threshold'"),
    ],
)
def test_wrong_pseudo_label_arguments_are_named(k, rule, error, message):
    logits, labels = asarray(np.zeros((2, 3))), asarray([0, 1])
    with pytest.raises(error, match=message):
        ml.average_k_pseudo_labels(logits, labels, k, rule=rule)
    with pytest.raises(error, match=message):
        ml.average_k_two_head(logits, logits, labels, k, rule=rule)


# two heads ---------------------------------------------------------------------------------------


def draw():
    rng = np.random.default_rng(0)
    s, t = (asarray(rng.normal(size=(6, 7)) * 3) for _ in range(2))
    return s, t, asarray(rng.integers(0, 7, 6))


@pytest.mark.parametrize("rule", ["exclude_label", "threshold"])
def test_two_heads_are_the_oracle(rule):
    s, t, labels = draw()
    weights = {"positive_weight": 2.0, "pseudo_weight": 0.5, "negative_weight": 0.3,
               "head_weight": 0.7}  # fmt: skip
    got = ml.average_k_two_head(s, t, labels, 2.5, rule=rule, **weights)
    expected = oracles.two_head(to_numpy(s), to_numpy(t), to_numpy(labels), 2.5, rule, **weights)
    np.testing.assert_allclose(to_numpy(got), expected, rtol=1e-13)


@pytest.mark.parametrize("rule", ["exclude_label", "threshold"])
def test_where_of_two_heads_is_deletion(rule):
    """Of classes and of whole examples, of which k is then no average over."""
    s, t, _ = (to_numpy(x) for x in draw())
    columns = np.array([True, False, True, True, False, True, True])
    rows = np.array([True, True, False, True, True, False])
    labels, where = np.array([0, 2, -100, 6, 0, 10**9]), rows[:, None] & columns
    hidden = (np.where(where, s, np.nan), np.where(where, t, np.inf), labels)
    kept = (s[rows][:, columns], t[rows][:, columns], np.array([0, 1, 4, 0]))
    for k in (1.0, 2.5):
        inputs, mask = [asarray(x) for x in hidden], asarray(where)
        loss = functools.partial(ml.average_k_two_head, k=k, rule=rule)
        got = to_numpy(compiled(loss)(*inputs, where=mask))
        expected = to_numpy(loss(*(asarray(x) for x in kept)))
        np.testing.assert_allclose(got[rows], expected, rtol=1e-12)
        assert (got[~rows] == 0).all()
        sets = to_numpy(ml.average_k_pseudo_labels(*inputs[::2], k, rule=rule, where=mask))
        alone = ml.average_k_pseudo_labels(*(asarray(x) for x in kept[::2]), k, rule=rule)
        assert (sets[rows][:, columns] == to_numpy(alone)).all()
        assert not sets[~where].any()


def test_two_heads_with_one_guess_are_two_losses():
    s, t, labels = draw()
    one_hot = labels[:, None] == xp.arange(7)[None, :]
    expected = ml.softmax_cross_entropy(s, labels) + ml.assume_negative(t, one_hot)
    got = ml.average_k_two_head(s, t, labels, 1)
    np.testing.assert_allclose(to_numpy(got), to_numpy(expected), rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, t, y: ml.average_k_two_head(s, t[:, :1], y, 2), ValueError,
         r"softmax_logits and multilabel_logits must have the same shape, got \(6, 7\) and \(6, 1"),
        (lambda s, t, y: ml.average_k_two_head(s, y[:, None], y, 2), TypeError,
         "multilabel_logits must be floating-point"),
        (lambda s, t, y: ml.average_k_two_head(s, t, y, 2, pseudo_weight=-1), ValueError,
         "pseudo_weight must be at least 0, got -1"),
        (lambda s, t, y: ml.average_k_two_head(s[0, :], t[0, :], y[0], 2), ValueError,
         r"softmax_logits must have shape \[n, L\]"),
    ],
)  # fmt: skip
def test_wrong_two_head_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*draw())


@only_jax
def test_each_term_trains_its_own_head():
    import jax

    s, t, labels = draw()

    def total(s, t):
        return ml.average_k_two_head(s, t, labels, 2.5).sum()

    def apart(s, t):
        sets = ml.average_k_pseudo_labels(jax.lax.stop_gradient(s), labels, 2.5)
        alone = ml.softmax_cross_entropy(s, labels) + ml.binary_cross_entropy(t, sets)
        return alone.sum()

    found, expected = (jax.jit(jax.grad(f, (0, 1)))(s, t) for f in (total, apart))
    for derivatives, alone in zip(found, expected, strict=True):
        np.testing.assert_allclose(derivatives, alone, rtol=1e-12)
