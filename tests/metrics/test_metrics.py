"""Metrics against scikit-learn, plain loops where it has none, and properties of each."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

import mlc_losses
from tests.metrics.tables import OF_SCORES, OF_SETS, all_of, assert_agree, example, top
from tests.support.backends import NAME, asarray, compiled, in_programs, to_numpy, xp
from tests.support.depth import examples

metrics = in_programs(mlc_losses.metrics)

few = examples(25, derandomize=True)


@pytest.mark.parametrize("dtypes", [("bool", "bool"), ("int64", "float32"), ("uint8", "int32")])
@pytest.mark.parametrize("name", OF_SETS)
def test_sets_agree_with_scikit_learn(name, dtypes):
    ours, reference = OF_SETS[name]
    for seed in range(3):
        scores, targets = example(seed, tied=False)
        predictions = (scores > 0.3).astype(np.int64)
        predictions[4:6], predictions[6] = 0, 1
        got = ours(asarray(predictions, dtypes[0]), asarray(targets, dtypes[1]))
        assert_agree(got, reference(predictions, targets))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", OF_SCORES)
def test_scores_agree_with_scikit_learn(name, tied):
    ours, reference = OF_SCORES[name]
    for seed in range(3):
        scores, targets = example(seed, tied)
        got = ours(asarray(scores, "float64"), asarray(targets))
        assert got.dtype == xp.float64
        assert_agree(got, reference(scores, targets), tolerance=1e-12)


@few
@given(st.integers(0, 2**32 - 1))
def test_random_ties_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    scores, targets = rng.choice([-2.0, 0.0, 0.5], size=(12, 5)), rng.integers(0, 2, size=(12, 5))
    for name in ("ranking_loss", "coverage_error", "label_ranking_average_precision"):
        ours, reference = OF_SCORES[name]
        assert_agree(ours(asarray(scores), asarray(targets)), reference(scores, targets), 1e-12)
    for name in ("average_precision-macro", "roc_auc-weighted"):
        ours, reference = OF_SCORES[name]
        assert_agree(ours(asarray(scores), asarray(targets)), reference(scores, targets), 1e-12)
    got = metrics.ndcg_at_k(asarray(scores), asarray(targets), 3)
    assert_agree(got, sk.ndcg_score(targets, scores, k=3), 1e-12)


@few
@given(st.permutations(range(12)), st.permutations(range(5)), st.integers(0, 5))
def test_order_of_examples_and_labels_does_not_matter(rows, labels, seed):
    scores, targets = example(seed, tied=False)
    moved = np.ix_(rows, labels)
    for name in ("ndcg_at_k-3", "average_precision-macro", "roc_auc-micro", "recall_at_k-3"):
        ours = OF_SCORES[name][0]
        expected = to_numpy(ours(asarray(scores), asarray(targets)))
        assert_agree(ours(asarray(scores[moved]), asarray(targets[moved])), expected, 1e-12)
    predictions = scores > 0
    expected = to_numpy(metrics.f1_score(asarray(predictions), asarray(targets)))
    got = metrics.f1_score(asarray(predictions[moved]), asarray(targets[moved]))
    assert_agree(got, expected)


@pytest.mark.parametrize("name", OF_SCORES)
def test_infinite_scores_rank_as_the_largest_and_smallest(name):
    scores, targets = example(0, tied=True)
    infinite = np.where(scores >= 1, math.inf, np.where(scores <= -1, -math.inf, scores))
    finite = np.clip(infinite, -9.0, 9.0)
    got = OF_SCORES[name][0](asarray(infinite), asarray(targets))
    assert_agree(got, to_numpy(OF_SCORES[name][0](asarray(finite), asarray(targets))), 1e-12)


@pytest.mark.parametrize("column", [0, 2, 4])
@pytest.mark.parametrize("name", OF_SCORES)
def test_a_nan_score_gives_nan(name, column):
    scores, targets = example(0, tied=True)
    scores[5, column] = math.nan
    got = to_numpy(OF_SCORES[name][0](asarray(scores), asarray(targets)))
    spoilt = np.arange(5) == column if name.endswith("None") else True
    np.testing.assert_array_equal(np.isnan(got), spoilt)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_no_examples_or_no_labels_is_0(shape):
    scores, targets = asarray(np.zeros(shape)), asarray(np.zeros(shape, dtype=bool))
    of_sets = {name: ours for name, (ours, _) in OF_SETS.items()}
    del of_sets["set_size_histogram"]
    # k must be in 1..L; and what has no labels is ranked and predicted perfectly
    of_scores = {name: ours for name, (ours, _) in OF_SCORES.items()}
    if shape[1] == 0:
        of_scores = {
            n: c for n, c in of_scores.items() if n.startswith(("av", "roc")) or "loss" in n
        }
        del of_sets["subset_accuracy"]
    got = {**all_of(of_sets, targets, targets), **all_of(of_scores, scores, targets)}
    for name, value in got.items():
        none = math.nan if name.startswith("roc_auc") else 0.0
        expected = np.full(shape[1], none) if name.endswith("None") else none
        np.testing.assert_array_equal(to_numpy(value), expected, err_msg=name)
    histogram = to_numpy(metrics.set_size_histogram(targets))
    np.testing.assert_array_equal(histogram, [shape[0]] + [0] * shape[1])


def test_thousands_of_labels_in_float32():
    """No [L, L] array, and small discounts far down are not lost among the large sum of them."""
    rng = np.random.default_rng(3)
    scores = np.round(rng.normal(size=(1, 200_000)), 4).astype(np.float32)
    targets = np.zeros(scores.shape, dtype=np.int64)
    targets[0, np.argsort(scores[0])[:50]] = 1
    calls = {
        "ndcg": functools.partial(metrics.ndcg_at_k, k=scores.size),
        "ranking_loss": metrics.ranking_loss,
    }
    got = all_of(calls, asarray(scores), asarray(targets))
    assert got["ndcg"].dtype == xp.float32
    assert_agree(got["ndcg"], sk.ndcg_score(targets, scores))
    assert_agree(got["ranking_loss"], sk.label_ranking_loss(targets, scores))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype):
    if not hasattr(xp, dtype):
        pytest.skip("the library has no such dtype")
    names = ("ndcg_at_k-3", "recall_at_k-3", "average_precision-None", "coverage_error")
    scores, targets = example(0, tied=True)
    calls = {name: OF_SCORES[name][0] for name in names}
    for name, got in all_of(calls, asarray(scores, dtype), asarray(targets)).items():
        assert got.dtype == xp.float32, name
        assert_agree(got, OF_SCORES[name][1](scores, targets))


def hits_by_hand(scores, labels, k):
    return [label in top(row, k) for row, label in zip(scores, labels, strict=True)]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_top_k_accuracy(k, dtype):
    scores = example(4, tied=True)[0]
    labels = np.random.default_rng(5).integers(0, 5, size=12)
    got = metrics.top_k_accuracy(asarray(scores), asarray(labels, dtype), k)
    assert_agree(got, np.mean(hits_by_hand(scores, labels, k)))
    untied = example(4, tied=False)[0]
    reference = sk.top_k_accuracy_score(labels, untied, k=min(k, 4), labels=range(5))
    assert_agree(metrics.top_k_accuracy(asarray(untied), asarray(labels), min(k, 4)), reference)


def test_average_k_accuracy_is_of_all_examples_at_one_threshold():
    scores = asarray([[0.5, 2.0], [-1.0, 0.0], [3.0, 0.5]])
    labels = asarray([0, 1, 1])
    assert_agree(metrics.average_k_accuracy(scores, labels, 0.5), 2 / 3)
    assert_agree(metrics.average_k_accuracy(scores, labels, scores[0, 0]), 2 / 3)
    assert_agree(metrics.average_k_accuracy(scores, labels, 0.51), 0.0)
    assert_agree(metrics.average_k_accuracy(scores[:0, :], labels[:0], 0.51), 0.0)


def test_labels_of_a_narrow_dtype_name_one_class():
    calls = {
        "first": functools.partial(metrics.top_k_accuracy, k=1),
        "by_class": lambda s, c: metrics.class_mean(s[:, 3], c, 300),
    }
    got = all_of(calls, asarray(np.eye(300)[[3]]), asarray([3], "uint8"))
    assert float(got["first"]) == 1.0
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(to_numpy(got["by_class"]))), [3])


def test_class_mean():
    labels = np.array([0, 3, 3, 0, 1, 3])
    values = np.array([1.0, 0.5, 0.25, 2.0, np.nan, 0.0])
    expected = [1.5, np.nan, np.nan, 0.25]
    assert_agree(metrics.class_mean(asarray(values), asarray(labels), 4), expected)
    hits = asarray([True, False, True, True, False, False])
    assert_agree(metrics.class_mean(hits, asarray(labels), 4), [1.0, 0.0, np.nan, 1 / 3])
    # a huge value of one class does not reach another
    values = asarray([1e30, 1.0, math.inf], "float32")
    got = metrics.class_mean(values, asarray([0, 1, 2]), 3)
    assert got.dtype == xp.float32
    assert_agree(got, [1e30, 1.0, math.inf])
    assert_agree(metrics.class_mean(values[:0], asarray([0, 1, 2])[:0], 2), [np.nan, np.nan])


@pytest.mark.parametrize(
    "metric",
    [
        lambda s, y: metrics.top_k_accuracy(s, y, 2),
        lambda s, y: metrics.average_k_accuracy(s, y, -1.0),
    ],
)
def test_a_nan_score_of_any_class_gives_nan(metric):
    for column in (0, 1):
        scores = np.zeros((2, 3))
        scores[1, column] = math.nan
        assert math.isnan(float(metric(asarray(scores), asarray([0, 0]))))


S, Y, LABELS = np.zeros((2, 3)), np.zeros((2, 3), dtype=int), np.array([0, 2])


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s, y, c: metrics.f1_score(s, y), TypeError, "predictions .*predict_threshold"),
        (lambda s, y, c: metrics.mean_set_size(s), TypeError, "predictions .*predict_threshold"),
        (lambda s, y, c: metrics.set_size_histogram(y[0, :]), ValueError, r"\[n, L\], got \(3,\)"),
        (
            lambda s, y, c: metrics.hamming_loss(y, y[:1, :]),
            ValueError,
            r"predictions and targets must have the same shape, got \(2, 3\) and \(1, 3\)",
        ),
        (
            lambda s, y, c: metrics.jaccard_score(y, y, average="binary"),
            ValueError,
            "average must be one of 'micro', 'macro', 'weighted', 'samples', None, got 'binary'",
        ),
        (
            lambda s, y, c: metrics.average_precision(s, y, average="x"),
            ValueError,
            "average must be",
        ),
        (lambda s, y, c: metrics.ranking_loss(y, y), TypeError, "scores must be floating"),
        (lambda s, y, c: metrics.ranking_loss(s[0, :], y[0, :]), ValueError, r"scores .*\[n, L\]"),
        (lambda s, y, c: metrics.coverage_error(s, y[:, :2]), ValueError, r"\(2, 3\) and \(2, 2\)"),
        (
            lambda s, y, c: metrics.precision_at_k(s, y, 0),
            ValueError,
            r"k must be in 1\.\.3, got 0",
        ),
        (lambda s, y, c: metrics.ndcg_at_k(s, y, 4), ValueError, r"k must be in 1\.\.3, got 4"),
        (
            lambda s, y, c: metrics.top_k_accuracy(s, c, 4),
            ValueError,
            r"k must be in 1\.\.3, got 4",
        ),
        (
            lambda s, y, c: metrics.top_k_accuracy(s, s[:, 0], 1),
            TypeError,
            "labels must be integers",
        ),
        (lambda s, y, c: metrics.top_k_accuracy(s, y, 1), ValueError, r"\(2,\), got \(2, 3\)"),
        (lambda s, y, c: metrics.top_k_accuracy(y, c, 1), TypeError, "scores must be floating"),
        (
            lambda s, y, c: metrics.average_k_accuracy(s, c + 1, 0.0),
            ValueError,
            r"got 3 at index \(1,\)",
        ),
        (lambda s, y, c: metrics.average_k_accuracy(s, c, c), ValueError, "threshold must be one"),
        (
            lambda s, y, c: metrics.class_mean(s[:, 0], c - 1, 3),
            ValueError,
            r"got -1 at index \(0,\)",
        ),
        (lambda s, y, c: metrics.class_mean(s[:, 0], s[:, 0], 3), TypeError, "labels must be int"),
        (lambda s, y, c: metrics.class_mean(s, y, 3), ValueError, r"values .*\[n\], got \(2, 3\)"),
        (lambda s, y, c: metrics.class_mean(s[:, 0], c, 0), ValueError, "num_classes .*got 0"),
    ],
)
def test_misuse_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call(asarray(S), asarray(Y), asarray(LABELS))


# what each metric is called with: predictions, or scores, and targets, or labels
CALLS = {
    **{name: (ours, "predictions", "targets") for name, (ours, _) in OF_SETS.items()},
    **{name: (ours, "scores", "targets") for name, (ours, _) in OF_SCORES.items()},
    "top_k_accuracy": (functools.partial(metrics.top_k_accuracy, k=2), "scores", "labels"),
    "average_k_accuracy": (
        functools.partial(metrics.average_k_accuracy, threshold=0.5),
        "scores",
        "labels",
    ),
    "class_mean": (lambda s, y: metrics.class_mean(s[:, 0], y, 7), "scores", "labels"),
}


def test_every_metric_is_exported_and_tried():
    # they take counts or probabilities, and have tests of their own
    apart = {"label_propensities", "propensity_scored_precision_at_k", "expected_calibration_error"}
    assert {name.partition("-")[0] for name in CALLS} | apart == set(mlc_losses.metrics.__all__)
    assert all(hasattr(metrics, name) for name in mlc_losses.metrics.__all__)


@pytest.mark.modes
@pytest.mark.usefixtures("op_by_op")
@pytest.mark.skipif(NAME != "jax", reason="jit is JAX's")
def test_jit_equals_eager():
    import jax

    scores, targets = example(6, tied=True)
    given = {"scores": scores, "predictions": scores > 0, "targets": targets}
    given["labels"] = targets.argmax(-1)
    given = {name: asarray(x) for name, x in given.items()}

    def run(given):
        return {name: call(given[a], given[b]) for name, (call, a, b) in CALLS.items()}

    jitted, eager = jax.jit(run)(given), run(given)
    for name, value in eager.items():
        np.testing.assert_allclose(jitted[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.skipif(NAME != "jax", reason="jit is JAX's")
@pytest.mark.usefixtures("users_compiler")
def test_labels_that_are_no_class_under_jit():
    scores, labels = asarray(np.eye(3)), asarray([0, -2, 3])
    top_1 = compiled(functools.partial(metrics.top_k_accuracy, k=1))
    assert math.isnan(float(top_1(scores, labels)))
    by_class = compiled(functools.partial(metrics.class_mean, num_classes=3))
    assert_agree(by_class(asarray([1.0, 2.0, 3.0]), labels), [1.0, np.nan, np.nan])


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
@pytest.mark.parametrize("name", CALLS)
def test_results_stay_on_the_device(name):
    device = xp.Device("device1") if NAME == "array-api-strict" else "meta"
    metric, first, second = CALLS[name]
    scores = xp.zeros((4, 5), dtype=xp.float32, device=device)
    targets = xp.ones((4, 5), dtype=xp.bool, device=device)
    given = {"scores": scores, "predictions": targets, "targets": targets}
    given["labels"] = xp.zeros(4, dtype=xp.int64, device=device)
    assert metric(given[first], given[second]).device == scores.device


def test_propensity_scored_precision_is_the_sum_over_hits() -> None:
    rng = np.random.default_rng(5)
    scores, targets = rng.normal(size=(6, 8)), rng.random((6, 8)) < 0.4
    counts = np.array([0, 1, 2, 5, 10, 50, 100, 1000])
    c = (math.log(5000) - 1) * 2.5**0.55
    wanted = 1 / (1 + c * (counts + 1.5) ** -0.55)
    found = metrics.label_propensities(asarray(counts, "int64"), 5000)
    np.testing.assert_allclose(to_numpy(found), wanted, rtol=1e-6)
    total = 0.0
    for row, hot in zip(scores, targets, strict=True):
        total += sum(hot[j] / wanted[j] for j in np.argsort(-row)[:3]) / 3
    p = asarray(wanted)
    args = asarray(scores), asarray(targets), 3
    value = metrics.propensity_scored_precision_at_k(*args, p)
    np.testing.assert_allclose(to_numpy(value), total / 6, rtol=1e-12)
    each = asarray(np.tile(wanted, (6, 1)))
    value = metrics.propensity_scored_precision_at_k(*args, each)
    np.testing.assert_allclose(to_numpy(value), total / 6, rtol=1e-12)
    with pytest.raises(ValueError, match="num_examples must be at least 3, got 2"):
        metrics.label_propensities(asarray(counts, "int64"), 2)


# masks and what is relevant -----------------------------------------------------------------------

# of each metric that takes targets, as a function of the mask too
MASKED = {
    **{
        name: (call, kind)
        for kind, table in (("predictions", OF_SETS), ("scores", OF_SCORES))
        for name, (call, _) in table.items()
        if not name.endswith("-5") and "set_size" not in name
    },
    "propensity_scored_precision_at_k": (
        lambda s, y, where=None: metrics.propensity_scored_precision_at_k(
            s, y, 2, xp.ones_like(s) * 0.5, where=where
        ),
        "scores",
    ),
}


def masked_example(seed):
    """Scores with ties and -inf, predictions, targets in [0, 1]; the last row has no label."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=(6, 7)))
    scores[scores < -1] = -np.inf
    targets = np.round(rng.random((6, 7)) * 0.9, 1)
    targets[5] = 0.3
    return {"scores": scores, "predictions": scores > 0, "targets": targets}


def evaluated(given, where=None):
    here = {name: asarray(x) for name, x in given.items()}
    mask = {} if where is None else {"where": asarray(where)}
    calls = {
        name: (lambda g, m, call=call, kind=kind: call(g[kind], g["targets"], **m))
        for name, (call, kind) in MASKED.items()
    }
    return {name: to_numpy(x) for name, x in all_of(calls, here, mask).items()}


def test_where_is_deletion_of_examples_and_of_labels():
    given = masked_example(3)
    rows = np.array([True, True, False, True, False, True])
    columns = np.array([True, False, True, True, True, False, True])
    spoiled = {k: x.astype(float) if k == "targets" else x.copy() for k, x in given.items()}
    for x in (spoiled["scores"], spoiled["targets"]):
        x[~rows], x[:, ~columns] = np.nan, np.inf
    spoiled["predictions"][~rows], spoiled["predictions"][:, ~columns] = True, True
    kept = evaluated({name: x[rows][:, columns] for name, x in given.items()})
    where = rows[:, None] & columns
    for name, actual in evaluated(spoiled, where).items():
        np.testing.assert_allclose(
            actual[columns] if actual.ndim else actual, kept[name], rtol=1e-6, err_msg=name
        )
    whole = evaluated(given, rows[:, None])
    for name, actual in evaluated(given, np.broadcast_to(rows[:, None], (6, 7))).items():
        np.testing.assert_allclose(whole[name], actual, rtol=1e-6, err_msg=name)


def test_relevant_is_above_one_half_and_nan_gives_nan():
    given = masked_example(4)
    hard = evaluated({**given, "targets": given["targets"] > 0.5})
    for name, actual in evaluated(given).items():
        np.testing.assert_allclose(actual, hard[name], rtol=1e-6, err_msg=name)
    marked = np.where(given["targets"] > 0.5, 1, -1)  # what others mean by unknown is not relevant
    for name, actual in evaluated({**given, "targets": marked}).items():
        np.testing.assert_allclose(actual, hard[name], rtol=1e-6, err_msg=name)
    given["targets"][1, 2] = np.nan
    for name, actual in evaluated(given).items():
        assert np.isnan(actual[2] if actual.ndim else actual), name
    known = ~np.isnan(given["targets"])
    for name, actual in evaluated(given, known).items():
        if name != "roc_auc-None":
            assert not np.isnan(actual).any(), name


def test_where_of_metrics_without_targets():
    predictions = asarray([[True, True, False], [True, False, False], [True, True, True]])
    where = asarray([[True, False, True], [False, False, False], [True, True, True]])
    assert float(metrics.mean_set_size(predictions, where=where)) == 2.0
    sizes = metrics.set_size_histogram(predictions, where=where)
    assert to_numpy(sizes).tolist() == [0, 1, 0, 1]
    scores = asarray([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    labels = asarray([1, -100, 0])
    assert float(metrics.top_k_accuracy(scores, labels, 2, where=where)) == 0.0  # 1 is left out
    assert float(metrics.top_k_accuracy(scores, labels, 3, where=where)) == 1.0
    assert float(metrics.average_k_accuracy(scores, labels, 1.0, where=where)) == 1.0
    rows = asarray([True, False, True])
    means = metrics.class_mean(asarray([1.0, 2.0, 3.0]), labels, 2, where=rows)
    assert_agree(means, [3.0, 1.0])
