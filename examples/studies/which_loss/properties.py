"""Properties of a data set that may decide which loss is good on it."""

from __future__ import annotations

import numpy as np

from examples.studies.which_loss.data_sets import DataSet


def properties(data: DataSet) -> dict[str, float]:
    """Counts and shares; dependence is the mean absolute correlation of two labels."""
    targets = data.targets
    frequency = targets.mean(axis=0)
    sets = np.unique(np.packbits(targets, axis=1), axis=0)
    return {
        "rows": len(targets),
        "labels": targets.shape[1],
        "labels per example": float(targets.sum(axis=1).mean()),
        "median label frequency": float(np.median(frequency)),
        "distinct sets per row": len(sets) / len(targets),
        "dependence": _dependence(targets),
    }


def _dependence(targets: np.ndarray) -> float:
    varying = targets[:, targets.any(axis=0) & ~targets.all(axis=0)]
    correlations = np.corrcoef(varying.T.astype(np.float32))
    return float(np.abs(correlations[np.triu_indices_from(correlations, 1)]).mean())
