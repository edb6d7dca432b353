"""Which rows train, choose and test in each fold or seed of a data set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse

from examples.studies.which_loss.data_sets import DataSet

VALIDATION = 0.2
MOST_COLUMNS = 2048


class Rows(NamedTuple):
    """Scaled features float32 and targets bool of the three parts."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def row_numbers(data: DataSet, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of training, validation and test part.

    With a published split the fold is the seed that draws the validation part. Otherwise fold 2i
    and 2i + 1 are the two halves of repetition i, and the validation part is the same in all.
    Halves are of equal size, so that all folds share one compiled program.
    """
    n = len(data.targets)
    if data.n_train:
        order = np.random.default_rng([1, fold]).permutation(data.n_train)
        validation, train = np.split(order, [round(VALIDATION * data.n_train)])
        return train, validation, np.arange(data.n_train, n)
    order = np.random.default_rng(0).permutation(n)
    validation, rest = np.split(order, [round(VALIDATION * n)])
    repetition, half = divmod(fold, 2)
    rest = np.random.default_rng([2, repetition]).permutation(rest)
    size = len(rest) // 2
    halves = rest[:size], rest[size : 2 * size]
    return halves[half], validation, halves[1 - half]


def rows_of(data: DataSet, fold: int) -> Rows:
    """The parts of a fold, with features scaled by statistics of its training rows."""
    train, *others = row_numbers(data, fold)
    features = data.features
    if scipy.sparse.issparse(features):
        columns = _common_columns(features[train])
        features = features[:, columns].toarray()
    shift, scale = _scaling(features[train])
    parts = ((rows, (features[rows] - shift) / scale) for rows in (train, *others))
    return Rows(*((x.astype(np.float32), data.targets[rows]) for rows, x in parts))


def _common_columns(features: scipy.sparse.csr_array) -> np.ndarray:
    counts = np.bincount(features.indices, minlength=features.shape[1])
    return np.sort(np.argsort(-counts, kind="stable")[:MOST_COLUMNS])


def _scaling(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zeros of mostly-zero features are kept: a deviation per column would blow up rare words."""
    if np.count_nonzero(features) < features.size / 2:
        scale = max(float(np.sqrt(np.mean(features**2, dtype=np.float64))), 1e-6)
        return np.zeros(features.shape[1], np.float32), np.float32(scale)
    deviation = features.std(axis=0)
    return features.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0)
