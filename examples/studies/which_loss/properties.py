"""Properties of a data set that may decide which loss is good on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.studies.which_loss import data_sets
from examples.studies.which_loss.data_sets import DataSet
from examples.studies.which_loss.records import Records


def known_properties(
    names: Sequence[str], records: Records, folder: Path | None
) -> dict[str, dict[str, float]]:
    """Of the data sets that are kept with the records, or that are found; new ones are kept too."""
    kept = records.kept("properties")
    found = set(data_sets.available(folder))
    new = {
        name: properties(data_sets.load(name, folder))
        for name in names
        if name not in kept and name in found
    }
    if new:
        records.keep("properties", kept | new)
    return {name: (kept | new)[name] for name in names if name in kept | new}


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
