"""Decisions: thresholds, exactly k, k on average, and the thresholds that are best."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlc_losses
from tests.support.backends import NAME, asarray, in_programs, to_numpy, xp
from tests.support.depth import examples

ml = in_programs(mlc_losses)
INF, NAN = math.inf, math.nan


def matrices(*values):
    """`[4, 5]` of these values, drawn evenly: Hypothesis' own arrays are nearly constant."""
    seeds = st.integers(0, 2**32 - 1)
    return seeds.map(lambda seed: np.random.default_rng(seed).choice(values, size=(4, 5)))


# few distinct values, so that most rows have ties
TIED = matrices(-INF, -1.0, 0.0, 0.5, 2.0, INF)
ODD = matrices(-INF, -0.0, 0.0, 0.5, INF, NAN)
MARKS = matrices(False, True)
few = examples(50, derandomize=True)


def brute_top_k(row: np.ndarray, k: int) -> np.ndarray:
    best = sorted(range(len(row)), key=lambda i: (np.isnan(row[i]), -np.nan_to_num(row[i]), i))
    return np.isin(np.arange(len(row)), best[:k])


def cuts(scores: np.ndarray) -> list[float]:
    """A threshold for every set that `scores > threshold` can be, from none to all."""
    return [INF, *sorted(set(scores) - {INF}, reverse=True), -INF]


def quality(metric: str, predicted: np.ndarray, relevant: np.ndarray) -> float:
    if metric == "accuracy":
        return float(np.mean(predicted == relevant))
    sizes = predicted.sum() + relevant.sum()
    return float(2 * (predicted & relevant).sum() / sizes) if sizes else 0.0


def assert_best(metric: str, threshold: float, scores: np.ndarray, relevant: np.ndarray) -> None:
    tried = [
        (quality(metric, scores > cut, relevant), -(scores > cut).sum()) for cut in cuts(scores)
    ]
    best, most_negative_size = max(tried)
    assert quality(metric, scores > threshold, relevant) == pytest.approx(best, abs=1e-12)
    assert (scores > threshold).sum() == -most_negative_size


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, [[0, 0, 1], [0, 0, 1]]),
        (-1, [[0, 1, 1], [0, 0, 1]]),
        (np.float64(0.5), [[0, 0, 0], [0, 0, 1]]),
        (INF, [[0, 0, 0], [0, 0, 0]]),
        ([-2.0, -0.5, 0.5], [[1, 1, 0], [0, 0, 1]]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threshold_is_strict(threshold, expected, dtype):
    scores = asarray([[-1.0, 0.0, 0.5], [NAN, -2.0, INF]], dtype)
    threshold = asarray(threshold, dtype) if isinstance(threshold, list) else threshold
    got = ml.predict_threshold(scores, threshold)
    assert got.dtype == xp.bool
    np.testing.assert_array_equal(to_numpy(got), np.array(expected, dtype=bool))


def test_average_k_is_not_strict():
    scores = asarray([[-1.0, 0.0, 0.5], [NAN, -2.0, INF]])
    expected = np.array([[0, 1, 1], [0, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(to_numpy(ml.predict_average_k(scores, 0.0)), expected)
    np.testing.assert_array_equal(to_numpy(ml.predict_average_k(scores, xp.asarray(0.0))), expected)


@pytest.mark.parametrize("predict", [ml.predict_threshold, ml.predict_average_k])
def test_a_threshold_is_not_rounded_to_half_precision(predict):
    if NAME == "array-api-strict":
        pytest.skip("the standard has no half precision")
    scores = asarray([[1.0, 2.0]], "float16")
    # float16 would round it to 1
    threshold = asarray(1.0001, "float32")
    np.testing.assert_array_equal(to_numpy(predict(scores, threshold)), [[False, True]])


@few
@given(TIED | ODD, st.integers(1, 5))
def test_top_k_takes_exactly_k(scores, k):
    got = to_numpy(ml.predict_top_k(asarray(scores), k))
    np.testing.assert_array_equal(got.sum(-1), k)
    np.testing.assert_array_equal(got, [brute_top_k(row, k) for row in scores])


def test_decisions_keep_leading_axes():
    scores = asarray(np.random.default_rng(0).normal(size=(2, 3, 4)))
    np.testing.assert_array_equal(to_numpy(ml.predict_top_k(scores, 2)).sum(-1), np.full((2, 3), 2))
    assert ml.predict_threshold(scores, asarray([0.0, 1.0, 2.0, 3.0])).shape == (2, 3, 4)


@few
@given(TIED, MARKS, st.sampled_from(["f1", "accuracy"]))
def test_tuned_thresholds_beat_every_cut(scores, relevant, metric):
    got = ml.tune_thresholds(asarray(scores), asarray(relevant), metric=metric)
    for threshold, column, marks in zip(to_numpy(got), scores.T, relevant.T, strict=True):
        assert_best(metric, threshold, column, marks)
    got = ml.tune_thresholds(asarray(scores), asarray(relevant), metric=metric, average="micro")
    assert got.shape == ()
    assert_best(metric, float(got), scores.ravel(), relevant.ravel())


@pytest.mark.parametrize(
    ("scores", "relevant", "expected"),
    [
        ([3.0, 1.0, 2.0], [1, 0, 1], 1.5),
        ([3.0, 1.0, 1.0], [1, 1, 0], -INF),  # ties are predicted together
        ([3.0, 1.0, 2.0], [0, 0, 0], INF),  # no positives
        ([3.0, 1.0, 2.0], [1, 1, 1], -INF),
        ([1.0, NAN, 2.0], [1, 0, 1], NAN),
    ],
)
def test_tuned_threshold_of_one_label(scores, relevant, expected):
    got = ml.tune_thresholds(asarray(scores, "float64")[:, None], asarray(relevant)[:, None])
    np.testing.assert_allclose(to_numpy(got), [expected], rtol=1e-12)


@pytest.mark.usefixtures("users_compiler")
@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("float64", 1.5e308, 1.7e308, 1.6e308),
        ("float64", -1.7e308, 1.5e308, -1e307),
        ("float64", 3e-308, 1e-307, 6.5e-308),
        ("float32", 3e38, 3.2e38, 3.1e38),
        ("float32", -3.2e38, -3e38, -3.1e38),
    ],
)
def test_the_midpoint_of_huge_and_of_tiny_scores(dtype, low, high, expected):
    """In one program too, where XLA would make half a sum of two halves."""
    scores, relevant = asarray([[high], [low]], dtype), asarray([[1], [0]])
    np.testing.assert_allclose(
        to_numpy(ml.tune_thresholds(scores, relevant)), [expected], rtol=1e-6
    )


@pytest.mark.parametrize("start", [1.0, 1.0 + 2.0**-23])
def test_the_midpoint_of_neighbouring_floats_still_divides_them(start):
    low = np.float32(start)
    high = np.nextafter(low, np.float32(2))
    scores, relevant = asarray([[low], [high]], "float32"), asarray([[0], [1]])
    threshold = ml.tune_thresholds(scores, relevant)
    assert threshold.dtype == xp.float32
    np.testing.assert_array_equal(to_numpy(threshold), [low])
    np.testing.assert_array_equal(
        to_numpy(ml.predict_threshold(scores, threshold)), [[False], [True]]
    )


@pytest.mark.skipif(NAME == "array-api-strict", reason="the standard has no half precision")
def test_thresholds_of_half_precision_scores_are_float32():
    one = np.float16(1)
    scores = asarray([[one], [np.nextafter(one, np.float16(2))]], "float16")
    threshold = ml.tune_thresholds(scores, asarray([[0], [1]]))
    assert threshold.dtype == xp.float32
    np.testing.assert_array_equal(
        to_numpy(ml.predict_threshold(scores, threshold)), [[False], [True]]
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_examples_or_no_labels(shape):
    scores = asarray(np.zeros(shape))
    targets = asarray(np.zeros(shape, dtype=bool))
    assert ml.predict_threshold(scores).shape == shape
    np.testing.assert_array_equal(
        to_numpy(ml.tune_thresholds(scores, targets)), np.full(shape[1], INF)
    )
    assert float(ml.tune_thresholds(scores, targets, average="micro")) == INF
    if shape[1]:
        assert ml.predict_top_k(scores, 2).shape == shape


S, Y = np.zeros((2, 3)), np.zeros((2, 3), dtype=int)


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s, y: ml.predict_threshold(y), TypeError, "scores must be floating"),
        (lambda s, y: ml.predict_threshold(s, s[0, :2]), ValueError, r"threshold .*\(3,\).*\(2,\)"),
        (lambda s, y: ml.predict_threshold(s, [0.0]), TypeError, "threshold must be an array"),
        (lambda s, y: ml.predict_threshold(s, NAN), ValueError, "threshold"),
        (
            lambda s, y: ml.predict_threshold(s[0, 0, ...]),
            ValueError,
            "scores must have a label axis",
        ),
        (
            lambda s, y: ml.predict_average_k(s, s[0, :]),
            ValueError,
            r"one number, got shape \(3,\)",
        ),
        (
            lambda s, y: ml.predict_threshold(s, at_least=4),
            ValueError,
            r"at_least must be in 0\.\.3, got 4",
        ),
        (
            lambda s, y: ml.predict_average_k(s, 0.0, at_least=0.5),
            TypeError,
            "at_least must be an int",
        ),
        (
            lambda s, y: ml.tune_thresholds(s, y, sample_weight=s[:, 0] - 1),
            ValueError,
            r"sample_weight must be finite and at least 0, got -1 at index \(0,\)",
        ),
        (
            lambda s, y: ml.tune_thresholds(s, y, sample_weight=s[0, :]),
            ValueError,
            r"one entry per example, shape \(2,\), got \(3,\)",
        ),
        (
            lambda s, y: ml.tune_thresholds(s, y, sample_weight=2.0),
            TypeError,
            "sample_weight must be",
        ),
        (lambda s, y: ml.predict_top_k(s, 0), ValueError, r"k must be in 1\.\.3, got 0"),
        (lambda s, y: ml.predict_top_k(s, 4), ValueError, r"k must be in 1\.\.3, got 4"),
        (lambda s, y: ml.predict_top_k(s, 1.5), TypeError, "k must be an integer"),
        (lambda s, y: ml.tune_thresholds(s, y[:1, :]), ValueError, r"\(2, 3\) and \(1, 3\)"),
        (lambda s, y: ml.tune_thresholds(s[0, :], y[0, :]), ValueError, r"\[n, L\], got \(3,\)"),
        (
            lambda s, y: ml.tune_thresholds(s, y, metric="auc"),
            ValueError,
            "metric must be one of 'f1', 'accuracy', got 'auc'",
        ),
        (
            lambda s, y: ml.tune_thresholds(s, y, average="samples"),
            ValueError,
            "average must be one of 'macro', 'micro', got 'samples'",
        ),
    ],
)
def test_misuse_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call(asarray(S), asarray(Y))


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_thresholds_of_the_known_cells(average):
    rng = np.random.default_rng(8)
    scores, targets = np.round(rng.normal(size=(9, 3)), 1), rng.random((9, 3)).round(1)
    rows = np.arange(9) % 3 > 0
    spoiled = [np.where(rows[:, None], x, np.nan) for x in (scores, targets)]
    tuned = functools.partial(ml.tune_thresholds, average=average)
    actual = tuned(*map(asarray, spoiled), where=asarray(rows[:, None]))
    expected = tuned(asarray(scores[rows]), asarray(targets[rows] > 0.5))
    np.testing.assert_array_equal(to_numpy(actual), to_numpy(expected))
    targets[4, 1] = np.nan
    missing = np.isnan(to_numpy(tuned(asarray(scores), asarray(targets))))
    assert missing.tolist() == ([False, True, False] if average == "macro" else True)


@few
@given(TIED, MARKS, st.sampled_from(["f1", "accuracy"]), st.sampled_from(["macro", "micro"]))
def test_a_weight_is_as_many_rows(scores, relevant, metric, average):
    times = np.array([2, 0, 1, 3])
    tuned = functools.partial(ml.tune_thresholds, metric=metric, average=average)
    got = tuned(asarray(scores), asarray(relevant), sample_weight=asarray(times, "float32"))
    rows = np.repeat(np.arange(4), times)
    expected = tuned(asarray(scores[rows]), asarray(relevant[rows]))
    np.testing.assert_array_equal(to_numpy(got), to_numpy(expected))
    known = relevant[::-1]
    got = tuned(asarray(scores), asarray(relevant), where=asarray(known),
                sample_weight=asarray(times))  # fmt: skip
    expected = tuned(asarray(scores[rows]), asarray(relevant[rows]), where=asarray(known[rows]))
    np.testing.assert_array_equal(to_numpy(got), to_numpy(expected))


@few
@given(TIED | ODD, st.integers(0, 5), st.sampled_from([-INF, -0.5, 0.5, INF]))
def test_so_many_are_always_in(scores, count, threshold):
    for predict, plain in (
        (ml.predict_threshold, scores > threshold),
        (ml.predict_average_k, scores >= threshold),
    ):
        got = to_numpy(predict(asarray(scores), threshold, at_least=count))
        best = np.array([brute_top_k(row, count) for row in scores])
        np.testing.assert_array_equal(got, plain | best)


CALLS = {
    "threshold": lambda s, y: ml.predict_threshold(s, s[0, :]),
    "top_k": lambda s, y: ml.predict_top_k(s, 2),
    "average_k": lambda s, y: ml.predict_average_k(s, s[0, 0]),
    "at_least": lambda s, y: ml.predict_threshold(s, 9.0, at_least=2),
    "expected_f": lambda s, y: ml.predict_expected_f(s),
    "conformal": lambda s, y: ml.conformal_threshold(s, y, recall=0.5),
    "temperature": lambda s, y: xp.astype(ml.fit_temperature(s, y), xp.float32),
    "tune_weighted": lambda s, y: ml.tune_thresholds(s, y, sample_weight=xp.abs(s[:, 0])),
    "tune_f1": lambda s, y: ml.tune_thresholds(s, y),
    "tune_accuracy": lambda s, y: ml.tune_thresholds(s, y, metric="accuracy", average="micro"),
}


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.skipif(NAME != "jax", reason="jit is JAX's")
def test_jit_and_vmap_equal_eager():
    import jax

    def run(s, y):
        return {name: call(s, y) for name, call in CALLS.items()}

    rng = np.random.default_rng(1)
    scores = asarray(np.round(rng.normal(size=(2, 4, 5)), 1))
    targets = asarray(rng.random((2, 4, 5)) < 0.4)
    batched = jax.jit(jax.vmap(run))(scores, targets)
    for i in range(2):
        eager = run(scores[i], targets[i])
        for name in CALLS:
            np.testing.assert_array_equal(batched[name][i], eager[name], err_msg=name)


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
@pytest.mark.parametrize("name", CALLS)
def test_results_stay_on_the_device(name):
    device = xp.Device("device1") if NAME == "array-api-strict" else "meta"
    scores = xp.zeros((3, 4), dtype=xp.float32, device=device)
    targets = xp.zeros((3, 4), dtype=xp.bool, device=device)
    assert CALLS[name](scores, targets).device == scores.device
