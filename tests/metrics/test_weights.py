"""`sample_weight` and single cells left out by `where`, of every metric."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import sklearn.metrics as sk

from mlc_losses import metrics
from tests.metrics.tables import OF_SCORES, OF_SETS, all_of, assert_agree, example
from tests.support.backends import NAME, asarray, to_numpy, xp

WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 0.25, 3.0, 1.0, 0.1, 0.4, 1.5, 0.0, 0.7])


def psp_at_2(scores, targets, **keywords):
    shares = xp.ones_like(scores[0, :]) * 0.5
    return metrics.propensity_scored_precision_at_k(scores, targets, 2, shares, **keywords)


def calibration(scores, targets, average, **keywords):
    p = 1.0 / (1.0 + xp.exp(-scores))
    return metrics.expected_calibration_error(p, targets, bins=4, average=average, **keywords)


def class_mean_of_scores(scores, labels, where=None, **weight):
    where = None if where is None else where[:, 0]
    return metrics.class_mean(scores[:, 0], labels, 6, where=where, **weight)


# name: (the metric, its first argument, its second)
CALLS = {
    **{name: (ours, "predictions", "targets") for name, (ours, _) in OF_SETS.items()},
    **{name: (ours, "scores", "targets") for name, (ours, _) in OF_SCORES.items()},
    **{
        f"expected_calibration_error-{average}": (
            functools.partial(calibration, average=average),
            "scores",
            "targets",
        )
        for average in ("macro", "micro", None)
    },
    "propensity_scored_precision_at_k": (psp_at_2, "scores", "targets"),
    "top_k_accuracy": (functools.partial(metrics.top_k_accuracy, k=2), "scores", "labels"),
    "average_k_accuracy": (
        functools.partial(metrics.average_k_accuracy, threshold=0.5),
        "scores",
        "labels",
    ),
    "class_mean": (class_mean_of_scores, "scores", "labels"),
}


def inputs(seed=0, tied=True):
    scores, targets = example(seed, tied)
    return {
        "scores": scores,
        "predictions": scores > 0.3,
        "targets": targets.astype(float),
        "labels": np.arange(12) % 5,
    }


def here(given):
    return {name: asarray(x) for name, x in given.items()}


def run_all(given, **keywords):
    """Every metric of these arrays, as NumPy; JAX has one program for all that are so weighted."""
    calls = {
        name: lambda given, more, call=call, a=a, b=b: call(given[a], given[b], **more)
        for name, (call, a, b) in CALLS.items()
    }
    found = all_of(calls, here(given), here(keywords))
    return {name: to_numpy(x) for name, x in found.items()}


def run_weighted(given, weight, where=True):
    return run_all(given, sample_weight=weight * 1.0, where=np.broadcast_to(where, (12, 5)))


def test_every_metric_is_here():
    names = {name.partition("-")[0] for name in CALLS}
    assert names == set(metrics.__all__) - {"label_propensities"}


def test_weights_agree_with_scikit_learn():
    calls = {
        f"{name} {seed} {tied}": lambda given, w, ours=ours, kind=kind, key=(seed, tied): ours(
            given[key][kind], given[key]["targets"], sample_weight=w
        )
        for kind, table in (("predictions", OF_SETS), ("scores", OF_SCORES))
        for name, (ours, _) in table.items()
        for seed, tied in ((0, True), (1, False))
    }
    drawn = {(seed, tied): inputs(seed, tied) for seed, tied in ((0, True), (1, False))}
    found = all_of(calls, {key: here(given) for key, given in drawn.items()}, asarray(WEIGHTS))
    for name, value in found.items():
        metric, seed, tied = name.split()
        kind = "predictions" if metric in OF_SETS else "scores"
        given = drawn[int(seed), tied == "True"]
        arrays = given[kind].astype(int) if kind == "predictions" else given[kind]
        wanted = (OF_SETS | OF_SCORES)[metric][1](arrays, given["targets"], sample_weight=WEIGHTS)
        # of predictions in the default float
        tolerance = 1e-12 if kind == "scores" else 1e-6
        np.testing.assert_allclose(
            to_numpy(value), wanted, rtol=tolerance, atol=tolerance, err_msg=name
        )


def test_weights_of_accuracies():
    scores, labels = example(2, tied=False)[0], np.arange(12) % 5
    wanted = sk.top_k_accuracy_score(labels, scores, k=2, labels=range(5), sample_weight=WEIGHTS)
    weight = asarray(WEIGHTS)
    found = metrics.top_k_accuracy(asarray(scores), asarray(labels), 2, sample_weight=weight)
    assert_agree(found, wanted)
    found = metrics.class_mean(asarray(scores[:, 0]), asarray(labels), 6, sample_weight=weight)
    wanted = [np.average(scores[labels == c, 0], weights=WEIGHTS[labels == c]) for c in range(5)]
    assert_agree(found, [*wanted, math.nan])


def test_a_weight_is_so_many_copies():
    given, copies = inputs(), np.array([1, 2, 0, 3, 1, 1, 0, 0, 1, 0, 2, 1])
    found = run_weighted(given, copies)
    wanted = run_all({name: np.repeat(x, copies, axis=0) for name, x in given.items()})
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6, atol=1e-12, err_msg=name)
    # where a whole example is unknown its weight is as good as 0
    known = run_weighted(given, np.maximum(copies, 1), where=(copies > 0)[:, None])
    for name, value in known.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6, atol=1e-12, err_msg=name)


def test_weights_of_0_alone():
    for name, value in run_weighted(inputs(), np.zeros(12)).items():
        if name.startswith(("roc_auc", "class_mean")) and "samples" not in name:
            assert np.isnan(value).all(), name
        else:
            assert (value == 0).all(), name


def test_a_nan_that_is_known_gives_nan_whatever_its_weight():
    given = inputs()
    given["targets"][3, 1] = math.nan
    for name, value in run_weighted(given, np.arange(12) != 3).items():
        if CALLS[name][2] == "targets" and "set_size" not in name:
            assert np.isnan(value[1] if value.ndim else value), name


def of_known(reference, arrays, targets, where, weights, average):
    """The reference on each label's, or example's, known cells, or on all of them at once."""
    cells = np.broadcast_to(weights[:, None], where.shape)
    if average == "micro":
        rows = [(where, arrays, targets, cells)]
    elif average == "samples":
        rows = list(zip(where, arrays, targets, np.ones(where.shape), strict=True))
    else:
        rows = list(zip(where.T, arrays.T, targets.T, cells.T, strict=True))
    rows = [(x[known], y[known], w[known]) for known, x, y, w in rows]
    values = np.array([reference(*row) if len(row[0]) else math.nan for row in rows])
    outer = np.ones(len(rows))
    if average == "samples":
        outer = weights
    if average == "weighted":
        outer = np.array([(y * w).sum() for _, y, w in rows])
    there = ~np.isnan(values)
    return values if average is None else np.average(values[there], weights=outer[there])


def roc_auc_or_nan(scores, targets, weights):
    if len(set(targets[weights > 0])) < 2:
        return math.nan
    return sk.roc_auc_score(targets, scores, sample_weight=weights)


def average_precision_or_0(scores, targets, weights):
    if not targets.any():
        return 0.0
    return sk.average_precision_score(targets, scores, sample_weight=weights)


def of_one(name):
    score = getattr(sk, name)
    return lambda p, y, w: score(y, p, sample_weight=w, zero_division=0)


OF_CELLS = {
    "roc_auc": (roc_auc_or_nan, "scores"),
    "average_precision": (average_precision_or_0, "scores"),
    **{
        name: (of_one(name), "predictions")
        for name in ("f1_score", "jaccard_score", "precision_score", "recall_score")
    },
}


def test_single_cells_may_be_unknown():
    """One label has no positive, one is nowhere known, as one example is.

    The lowest scores are -inf: they do not tie with what is not known.
    """
    given = inputs()
    low = given["scores"] < 0
    given["scores"][low] = -9.0
    given["targets"][:, 2] = 0.0
    where = np.random.default_rng(8).random((12, 5)) < 0.7
    where[:, 4], where[5] = False, False
    weights = np.maximum(WEIGHTS, 0.1)
    scores = np.where(low, -math.inf, given["scores"])
    spoilt = {**given, "scores": np.where(where, scores, math.nan)}
    found = run_weighted(spoilt, weights, where)
    for name, (reference, kind) in OF_CELLS.items():
        for average in ("macro", "micro", "weighted", "samples", None):
            wanted = of_known(reference, given[kind], given["targets"], where, weights, average)
            value = found[f"{name}-{average}"]
            if average is None:  # of no cells at all it is 0, or NaN for an area
                wanted[4] = value[4]
                assert np.isnan(value[4]) if name == "roc_auc" else value[4] == 0
            np.testing.assert_allclose(value, wanted, rtol=1e-6, err_msg=f"{name} {average}")
    wrong = (given["predictions"] != given["targets"]) & where
    share = (weights @ wrong).sum() / (weights @ where).sum()
    np.testing.assert_allclose(found["hamming_loss"], share, rtol=1e-6)


def test_labels_of_one_class_are_left_out_of_the_area():
    scores = np.array([[0.1, 0.9, 0.3], [0.4, 0.2, 0.3], [0.4, 0.5, 0.6], [0.8, 0.1, 0.2]])
    targets = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 1], [1, 0, 1]])
    calls = {
        str(average): functools.partial(metrics.roc_auc, average=average)
        for average in ("macro", "weighted", "micro", "samples", None)
    }
    calls["of one class"] = lambda s, y: metrics.roc_auc(s[:, 1:], y[:, 1:])
    area = all_of(calls, asarray(scores), asarray(targets))
    assert_agree(area["None"], [0.875, math.nan, math.nan], 1e-12)
    assert_agree(area["macro"], 0.875, 1e-12)
    assert_agree(area["weighted"], 0.875, 1e-12)
    pooled = sk.roc_auc_score(targets.ravel(), scores.ravel())
    assert_agree(area["micro"], pooled, 1e-12)
    rows = [sk.roc_auc_score(y, s) for y, s in zip(targets, scores, strict=True)]
    assert_agree(area["samples"], np.mean(rows), 1e-12)
    assert math.isnan(float(area["of one class"]))


def test_an_area_of_many_examples_in_float32():
    """1e10 pairs, which float32 cannot count, and no array of them."""
    rng = np.random.default_rng(9)
    targets = rng.integers(0, 2, (200_000, 1))
    scores = np.round(rng.normal(size=targets.shape) + targets, 3).astype(np.float32)
    weights = rng.random(len(targets)).astype(np.float32)
    calls = {
        "plain": lambda s, y, w: metrics.roc_auc(s, y),
        "weighted": lambda s, y, w: metrics.roc_auc(s, y, sample_weight=w),
    }
    found = all_of(calls, asarray(scores), asarray(targets), asarray(weights))
    assert found["plain"].dtype == xp.float32
    np.testing.assert_allclose(
        to_numpy(found["plain"]), sk.roc_auc_score(targets, scores), rtol=1e-6
    )
    wanted = sk.roc_auc_score(targets, scores, sample_weight=weights)
    np.testing.assert_allclose(to_numpy(found["weighted"]), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        ([1.0, 2.0], ValueError, r"sample_weight must have one entry .* shape \(3,\), got \(2,\)"),
        ([[1.0], [2.0], [3.0]], ValueError, r"sample_weight .* shape \(3,\), got \(3, 1\)"),
        ([1.0, -2.0, 0.0], ValueError, r"sample_weight .* at least 0, got -2 at index \(1,\)"),
        ([1.0, math.nan, 0.0], ValueError, r"sample_weight .* got nan at index \(1,\)"),
        (None, TypeError, "sample_weight must be an array .* got float 2.0"),
    ],
)
def test_wrong_weights_are_named(weight, error, words):
    scores, targets = asarray(np.eye(3)), asarray(np.eye(3, dtype=int))
    weight = 2.0 if weight is None else asarray(weight)
    for call in (metrics.roc_auc, metrics.ranking_loss):
        with pytest.raises(error, match=words):
            call(scores, targets, sample_weight=weight)
    with pytest.raises(error, match=words):
        metrics.f1_score(targets, targets, sample_weight=weight)
    with pytest.raises(error, match=words):
        metrics.top_k_accuracy(scores, targets[:, 0], 1, sample_weight=weight)


@pytest.mark.skipif(NAME != "jax", reason="vmap is JAX's")
def test_vmap_is_one_batch_at_a_time():
    import jax

    drawn, weight = [inputs(0), inputs(1)], asarray(WEIGHTS)
    where = np.random.default_rng(0).random((12, 5)) < 0.8

    def run(given):
        return {
            name: call(given[a], given[b], sample_weight=weight, where=asarray(where))
            for name, (call, a, b) in CALLS.items()
        }

    both = jax.tree.map(lambda *x: asarray(np.stack(x)), *drawn)
    mapped = jax.jit(jax.vmap(run))(both)
    for place, given in enumerate(drawn):
        for name, value in run_weighted(given, WEIGHTS, where).items():
            np.testing.assert_allclose(mapped[name][place], value, rtol=1e-9, err_msg=name)
