"""Multi-label data sets: river's Yeast, an `.npz` file, or OpenML, as one train/test split."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

SOURCES = "yeast, a path that ends in .npz, or openml:NAME (openml:ID)"
YEAST_TEST_ROWS = 917  # Mulan's split, in river's order: the test rows come first


class MultiLabelData(NamedTuple):
    """Features float32 `[n, d]`, targets bool `[n, L]`."""

    name: str
    train_features: np.ndarray
    train_targets: np.ndarray
    test_features: np.ndarray
    test_targets: np.ndarray


class Scaling(NamedTuple):
    """`(features - shift) / scale`, one number of each per column."""

    shift: np.ndarray
    scale: np.ndarray


def load(source: str) -> MultiLabelData:
    """The data set that `source` names: see `SOURCES`.

    Raises:
      ValueError: unknown name, or a malformed file (file and field are named).
      OSError: the file is not there, or OpenML cannot be reached.
    """
    if source == "yeast":
        return load_yeast()
    if source.startswith("openml:"):
        return load_openml(source.removeprefix("openml:"))
    if source.endswith(".npz"):
        return load_npz(Path(source))
    raise ValueError(f"unknown data {source!r}; valid: {SOURCES}")


def load_yeast() -> MultiLabelData:
    """Yeast as packaged in river: 2417 genes, 103 features, 14 labels, Mulan's split."""
    from river import datasets

    rows = [(list(x.values()), list(y.values())) for x, y in datasets.Yeast()]
    features = np.array([x for x, _ in rows], dtype=np.float32)
    targets = np.array([y for _, y in rows], dtype=bool)
    test = np.arange(len(rows)) < YEAST_TEST_ROWS
    return MultiLabelData("yeast", features[~test], targets[~test], features[test], targets[test])


def load_openml(name: str) -> MultiLabelData:
    """An OpenML data set with several target columns, by name or id."""
    from sklearn.datasets import fetch_openml

    chosen = {"data_id": int(name)} if name.isdigit() else {"name": name}
    try:
        # liac-arff needs no pandas
        bunch = fetch_openml(**chosen, as_frame=False, parser="liac-arff")
    except OSError as error:
        raise OSError(f"openml:{name}: OpenML cannot be reached or lacks it ({error})") from error
    targets = np.asarray(bunch.target)
    if targets.ndim != 2 or targets.shape[1] < 2:
        raise ValueError(
            f"openml:{name}: target has shape {targets.shape}, but several columns are needed"
        )
    features = dense_features(f"openml:{name}", "data", bunch.data)
    return split_rows(f"openml:{name}", features, binary_columns(f"openml:{name}", targets), -1)


def binary_columns(source: str, targets: np.ndarray) -> np.ndarray:
    """ARFF writes a binary label as 0/1, as FALSE/TRUE, or as numbers."""
    meaning = {"0": False, "1": True, "FALSE": False, "TRUE": True, "0.0": False, "1.0": True}
    words = np.char.upper(targets.astype(str))
    unknown = sorted(set(np.unique(words)) - set(meaning))
    if unknown:
        raise ValueError(f"{source}: target holds {unknown[0]!r}; valid: 0, 1, FALSE, TRUE")
    return np.isin(words, [word for word, value in meaning.items() if value])


def load_npz(path: Path) -> MultiLabelData:
    """An `.npz` archive: `X` (or CSR `X_*`), `Y` in CSR, `n_train` leading training rows.

    `X` is `[n, d]`; CSR is `*_indptr`, `*_indices`, `*_shape` and, unless all ones, `*_data`.
    """
    fields = read_fields(path)
    if "X" in fields:
        features = dense_features(str(path), "X", fields["X"])
    else:
        features = dense_features(str(path), "X_data", read_csr(path, fields, "X"))
    targets = read_csr(path, fields, "Y").toarray() > 0
    if len(features) != len(targets):
        raise ValueError(
            f"{path}: field Y_shape has {len(targets)} rows, the features have {len(features)}"
        )
    n_train = field(path, fields, "n_train")
    if n_train.shape != () or n_train.dtype.kind not in "iu":
        raise ValueError(f"{path}: field n_train must be one integer, got {n_train!r}")
    if n_train != -1 and not 0 < n_train < len(features):
        raise ValueError(
            f"{path}: field n_train must be -1 or in 1..{len(features) - 1}, got {n_train}"
        )
    return split_rows(path.stem, features, targets, int(n_train))


def read_fields(path: Path) -> dict[str, np.ndarray]:
    # pickles are refused: a data file must not be able to run code
    broken = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    fields = {}
    # opened here, since np.load leaves a file open where it is no archive
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except broken as error:
            raise ValueError(f"{path}: not a readable .npz archive ({error})") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"{path}: not a readable .npz archive (it holds one array)")
        for name in archive.files:
            try:
                fields[name] = archive[name]
            except broken as error:
                raise ValueError(f"{path}: field {name} is unreadable ({error})") from error
    return fields


def field(path: Path, fields: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in fields:
        found = ", ".join(fields) or "none"
        raise ValueError(f"{path}: field {name} is missing; fields found: {found}")
    return fields[name]


def read_csr(path: Path, fields: Mapping[str, np.ndarray], prefix: str) -> scipy.sparse.csr_array:
    indptr, indices, shape = (
        integers(path, fields, f"{prefix}_{part}") for part in ("indptr", "indices", "shape")
    )
    values = fields.get(f"{prefix}_data", np.ones(len(indices), dtype=np.float32))
    if len(shape) != 2 or (shape < 1).any():
        raise ValueError(f"{path}: field {prefix}_shape must be two positive sizes, got {shape}")
    rows, columns = shape.tolist()
    if len(indptr) != rows + 1:
        raise ValueError(
            f"{path}: field {prefix}_indptr must have {rows + 1} entries for {rows} rows, "
            f"got {len(indptr)}"
        )
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise ValueError(
            f"{path}: field {prefix}_indptr must rise from 0 to the {len(indices)} entries of "
            f"{prefix}_indices"
        )
    outside = (indices < 0) | (indices >= columns)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"{path}: field {prefix}_indices must be in 0..{columns - 1}, "
            f"got {indices[first]} at index {first}"
        )
    if values.shape != indices.shape or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: field {prefix}_data must be {len(indices)} numbers, "
            f"got {values.dtype} of shape {values.shape}"
        )
    return scipy.sparse.csr_array((values, indices, indptr), shape=(rows, columns))


def integers(path: Path, fields: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    values = field(path, fields, name)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: field {name} must be integers of shape [n], "
            f"got {values.dtype} of shape {values.shape}"
        )
    return values.astype(np.int64)  # unsigned differences would wrap round


def dense_features(source: str, name: str, values: np.ndarray | scipy.sparse.sparray) -> np.ndarray:
    if scipy.sparse.issparse(values):
        values = values.astype(np.float32).toarray()
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{source}: field {name} must be numbers of shape [n, d], "
            f"got {values.dtype} of shape {values.shape}"
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(
            f"{source}: field {name} must be finite, got {values[row, column]} "
            f"in row {row}, column {column}"
        )
    return values


def split_rows(
    name: str, features: np.ndarray, targets: np.ndarray, n_train: int
) -> MultiLabelData:
    """The first `n_train` rows train, the rest test; -1 is a fixed shuffle, two thirds train."""
    order = np.arange(len(features))
    if n_train == -1:
        order = np.random.default_rng(0).permutation(len(features))
        n_train = 2 * len(features) // 3
    train, test = order[:n_train], order[n_train:]
    return MultiLabelData(name, features[train], targets[train], features[test], targets[test])


def fit_scaling(features: np.ndarray) -> Scaling:
    """Statistics that bring features to unit scale; take them from training rows alone.

    Dense columns get mean 0 and standard deviation 1. Mostly-zero features (binary, bags of
    words) keep their zeros and their proportions: all columns are divided by one number, the root
    mean square. A standard deviation per column would blow up words seen once.
    """
    columns = features.shape[1]
    if np.count_nonzero(features) < features.size / 2:
        scale = max(float(np.sqrt(np.mean(features**2, dtype=np.float64))), 1e-6)
        return Scaling(np.zeros(columns, np.float32), np.full(columns, scale, np.float32))
    deviation = features.std(axis=0, dtype=np.float64).astype(np.float32)
    # a constant column carries nothing: 1 leaves it at 0
    scale = np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
    return Scaling(features.mean(axis=0, dtype=np.float64).astype(np.float32), scale)


def apply_scaling(scaling: Scaling, features: np.ndarray) -> np.ndarray:
    return (features - scaling.shift) / scaling.scale
