"""Decision rules and metrics of one trained model: from its scores to the rows of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

import mlc_losses
from mlc_losses import metrics

BINS = 15
MOST_CELLS = 200_000  # that the two numbers of the calibration are fitted on


def measured(
    validation: np.ndarray, validation_targets: np.ndarray, test: np.ndarray, targets: np.ndarray
) -> list[dict[str, Any]]:
    """One row per decision rule; numbers that no rule changes are the same in all of them.

    Scores are logits float32 `[n, L]`. Everything is fitted on validation rows.
    """
    calibrated = _calibration(validation, validation_targets)
    density = float(targets.mean())
    of_scores = {
        "lrap": metrics.label_ranking_average_precision(test, targets),
        "map": _mean_average_precision(test, targets),
        "auroc": metrics.roc_auc(test, targets),
        "ece": calibration_error(expit(test), targets) / density,
        "ece_calibrated": calibration_error(expit(calibrated(test)), targets) / density,
    }
    rows = []
    for rule, predict in _rules(validation, validation_targets, calibrated).items():
        predicted = predict(test)
        of_sets = {
            f"{average}_f1": metrics.f1_score(predicted, targets, average=average)
            for average in ("micro", "macro", "samples")
        }
        of_sets["subset_accuracy"] = metrics.subset_accuracy(predicted, targets)
        of_sets["hamming"] = metrics.hamming_loss(predicted, targets) / density
        of_sets["set_size"] = predicted.sum(axis=1).mean()
        numbers = {key: float(value) for key, value in (of_sets | of_scores).items()}
        rows.append({"rule": rule} | numbers)
    return rows


def _rules(
    scores: np.ndarray, targets: np.ndarray, calibrated: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    one = float(mlc_losses.tune_thresholds(scores, targets, average="micro"))
    each = mlc_losses.tune_thresholds(scores, targets, average="macro")
    return {
        "zero": lambda test: mlc_losses.predict_threshold(test, 0.0),
        "tuned": lambda test: mlc_losses.predict_threshold(test, one),
        "per_label": lambda test: mlc_losses.predict_threshold(test, each),
        "expected_f": lambda test: mlc_losses.predict_expected_f(calibrated(test)),
    }


def _calibration(scores: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Logits of the labels: a factor and a shift of all scores, fitted by logistic regression."""
    cells, wanted = scores.reshape(-1, 1), targets.ravel()
    if len(cells) > MOST_CELLS:
        chosen = np.random.default_rng(0).choice(len(cells), MOST_CELLS, replace=False)
        cells, wanted = cells[chosen], wanted[chosen]
    scale = max(float(cells.std()), 1e-6)
    fitted = LogisticRegression(C=1e3).fit(cells / scale, wanted)
    factor, shift = float(fitted.coef_[0, 0]) / scale, float(fitted.intercept_[0])
    return lambda test: factor * test + shift


def calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error over all cells, in bins that hold equally many."""
    p, y = probabilities.ravel(), targets.ravel()
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, BINS)
    return float(sum(abs(p[b].sum(dtype=float) - y[b].sum()) for b in bins) / len(p))


def _mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Over labels that occur in these rows."""
    values = metrics.average_precision(scores, targets, average=None)
    return float(values[targets.any(axis=0)].mean())
