"""What a trained network is judged by: accuracy at a threshold without labels, and set sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import mlc_losses
from examples.studies.common import one_label
from mlc_losses import metrics

# mean set sizes of the figure
SIZES = (1, 1.5, 2, 3, 4, 5, 7, 10, 14, 20)
# test examples by the number of their right answers, where that is known
ANSWERS = {"2": (2, 2), "3 to 5": (3, 5), "6 and more": (6, np.inf)}


def validation_accuracy(scores: np.ndarray, labels: np.ndarray, ks: Sequence[float]) -> float:
    if not np.isfinite(scores).all():  # diverged
        return -1.0
    thresholds = [mlc_losses.average_k_threshold(scores, k) for k in ks]
    return float(np.mean([metrics.average_k_accuracy(scores, labels, t) for t in thresholds]))


def evaluate(
    data: one_label.OneLabelData, k: float, validation: np.ndarray, scores: np.ndarray
) -> dict[str, Any]:
    """At the threshold of the validation rows, and at that of exactly k on the test rows.

    Neither looks at a label. The second compares methods at equal set sizes.
    """
    result = {}
    for name, rows in {"calibrated": validation, "equal": scores}.items():
        result[name] = at_threshold(data, scores, mlc_losses.average_k_threshold(rows, k))
    sizes = [min(size, data.num_classes) for size in SIZES]
    cuts = [mlc_losses.average_k_threshold(scores, size) for size in sizes]
    result["curve"] = [
        float(metrics.average_k_accuracy(scores, data.test_labels, cut)) for cut in cuts
    ]
    return result


def at_threshold(
    data: one_label.OneLabelData, scores: np.ndarray, threshold: Any
) -> dict[str, float]:
    sets, labels = mlc_losses.predict_average_k(scores, threshold), data.test_labels
    hits = sets[np.arange(len(labels)), labels].astype(np.float32)
    by_class = metrics.class_mean(hits, labels, data.num_classes)
    counts = metrics.set_size_histogram(sets)
    result = {
        "accuracy": metrics.average_k_accuracy(scores, labels, threshold),
        "size": metrics.mean_set_size(sets),
        "empty": counts[0] / len(sets),
        "largest": np.flatnonzero(counts)[-1],
        "macro": np.nanmean(by_class),
    }
    for name, classes in one_label.shot_bins(one_label.class_counts(data)).items():
        if np.isfinite(by_class[classes]).any():
            result[name] = np.nanmean(by_class[classes])
    if data.test_answers is not None:
        right = (sets & data.test_answers).sum(axis=1)
        answers = data.test_answers.sum(axis=1)
        result["answers found"] = right.sum() / answers.sum()
        result["precision"] = right.sum() / max(sets.sum(), 1)
        for name, (least, most) in ANSWERS.items():
            group = (answers >= least) & (answers <= most)
            if group.any():
                result[f"{name} answers"] = hits[group].mean()
    return {name: float(value) for name, value in result.items()}
