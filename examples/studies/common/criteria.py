"""What a learning rate is chosen by, on validation rows."""

from __future__ import annotations

import numpy as np

import mlc_losses
from mlc_losses import metrics


def validation_score(scores: np.ndarray, targets: np.ndarray) -> float:
    """The criterion of every choice: the mean of micro-F1, threshold tuned, and LRAP."""
    if not np.isfinite(scores).all():  # diverged
        return -1.0
    threshold = mlc_losses.tune_thresholds(scores, targets, average="micro")
    chosen = mlc_losses.predict_threshold(scores, float(threshold))
    f1 = metrics.f1_score(chosen, targets, average="micro")
    return float((f1 + metrics.label_ranking_average_precision(scores, targets)) / 2)


def decision_score(predicted: np.ndarray, targets: np.ndarray) -> float:
    """The criterion of the choice: the mean of subset accuracy and micro-F1."""
    f1 = metrics.f1_score(predicted, targets, average="micro")
    return float(metrics.subset_accuracy(predicted, targets) + f1) / 2
