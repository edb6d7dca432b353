"""Each metric beside its reference: scikit-learn's, or a plain loop; and examples for both."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import sklearn.metrics as sk

import mlc_losses
from tests.support.backends import NAME, in_programs, to_numpy

metrics = in_programs(mlc_losses.metrics)

AVERAGES = ["macro", "micro", "weighted", "samples", None]


def top(row: np.ndarray, k: int) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]


def precision_by_hand(scores, targets, k, sample_weight=None):
    hits = [targets[i, top(row, k)].sum() / k for i, row in enumerate(scores)]
    return np.average(hits, weights=sample_weight)


def recall_by_hand(scores, targets, k, sample_weight=None):
    shares = [
        targets[i, top(row, k)].sum() / max(targets[i].sum(), 1) for i, row in enumerate(scores)
    ]
    return np.average(shares, weights=sample_weight)


def one_error_by_hand(scores, targets, sample_weight=None):
    wrong = [1.0 - targets[i, top(row, 1)[0]] for i, row in enumerate(scores)]
    return np.average(wrong, weights=sample_weight)


def mean_size_by_hand(predicted, targets, sample_weight=None):
    return np.average(predicted.sum(-1), weights=sample_weight)


def sizes_by_hand(predicted, targets, sample_weight=None):
    return np.bincount(predicted.sum(-1), sample_weight, minlength=predicted.shape[1] + 1)


def sk_average_precision(scores, targets, average, sample_weight=None):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No positive class found in y_true")
        return sk.average_precision_score(
            targets, scores, average=average, sample_weight=sample_weight
        )


def roc_auc_of_defined(scores, targets, average, sample_weight=None):
    """scikit-learn's area for each row, and the mean of the rows of both classes."""
    weight = np.ones(len(scores)) if sample_weight is None else np.asarray(sample_weight)
    inside, outside = np.broadcast_to(weight[:, None], scores.shape), np.ones(scores.shape[1])
    if average == "micro":
        return sk.roc_auc_score(targets.ravel(), scores.ravel(), sample_weight=inside.ravel())
    if average == "samples":
        scores, targets, outside = scores.T, targets.T, weight
        inside = np.ones(scores.shape)
    columns = [j for j in range(scores.shape[1]) if 0 < targets[:, j].sum() < len(targets)]
    areas = np.full(scores.shape[1], np.nan)
    for j in columns:
        areas[j] = sk.roc_auc_score(targets[:, j], scores[:, j], sample_weight=inside[:, j])
    if average == "weighted":
        outside = (inside * targets).sum(0)
    return areas if average is None else np.average(areas[columns], weights=outside[columns])


def on_sets(name, average):
    return functools.partial(getattr(metrics, name), average=average)


def sk_on_sets(name, average):
    score = functools.partial(getattr(sk, name), average=average, zero_division=0)
    return lambda predicted, targets, **weight: score(targets, predicted, **weight)


def all_of(calls, *inputs):
    """What each of the calls gives, by name; JAX compiles them together, as that is faster."""

    def run(*inputs):
        return {name: call(*inputs) for name, call in calls.items()}

    if NAME == "jax":
        import jax

        run = jax.jit(run)
    return run(*inputs)


# name: (ours, the other's), both called with (predictions, targets, sample_weight=None)
OF_SETS = {
    "hamming_loss": (metrics.hamming_loss, lambda p, y, **w: sk.hamming_loss(y, p, **w)),
    "subset_accuracy": (metrics.subset_accuracy, lambda p, y, **w: sk.accuracy_score(y, p, **w)),
    "mean_set_size": (lambda p, y, **w: metrics.mean_set_size(p, **w), mean_size_by_hand),
    "set_size_histogram": (lambda p, y, **w: metrics.set_size_histogram(p, **w), sizes_by_hand),
    **{
        f"{name}-{average}": (on_sets(name, average), sk_on_sets(name, average))
        for name in ("f1_score", "jaccard_score", "precision_score", "recall_score")
        for average in AVERAGES
    },
}

# name: (ours, the other's), both called with (scores, targets, sample_weight=None)
OF_SCORES = {
    "ranking_loss": (metrics.ranking_loss, lambda s, y, **w: sk.label_ranking_loss(y, s, **w)),
    "coverage_error": (metrics.coverage_error, lambda s, y, **w: sk.coverage_error(y, s, **w)),
    "label_ranking_average_precision": (
        metrics.label_ranking_average_precision,
        lambda s, y, **w: sk.label_ranking_average_precision_score(y, s, **w),
    ),
    "one_error": (metrics.one_error, one_error_by_hand),
    **{
        f"{name}-{average}": (
            functools.partial(getattr(metrics, name), average=average),
            functools.partial(reference, average=average),
        )
        for name, reference in (
            ("average_precision", sk_average_precision),
            ("roc_auc", roc_auc_of_defined),
        )
        for average in AVERAGES
    },
    **{
        f"{name}-{k}": (functools.partial(getattr(metrics, name), k=k), by_hand)
        for k in (1, 3, 5)
        for name, by_hand in {
            "precision_at_k": functools.partial(precision_by_hand, k=k),
            "recall_at_k": functools.partial(recall_by_hand, k=k),
            "ndcg_at_k": lambda s, y, k=k, **w: sk.ndcg_score(y, s, k=k, **w),
        }.items()
    },
}


def example(seed: int, tied: bool, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets of 5 labels, with every edge: no label, all labels, a label never seen."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 5))
    if tied:
        scores = np.round(scores)
        scores[3] = 0.5
    targets = (rng.random((n, 5)) < 0.4).astype(np.int64)
    targets[:, 2] = 0
    targets[0], targets[1], targets[2] = 0, 1, [0, 0, 0, 0, 1]
    return scores, targets


def assert_agree(ours, reference, tolerance=1e-6):
    assert to_numpy(ours).shape == np.shape(reference)
    np.testing.assert_allclose(to_numpy(ours), reference, rtol=tolerance, atol=tolerance)
