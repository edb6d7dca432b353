"""Data sets with one label per example: digits, locale names, or an `.npz` file, as one split."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

from examples.data import (
    apply_scaling,
    dense_features,
    field,
    fit_scaling,
    integers,
    read_csr,
    read_fields,
)

SOURCES = "digits, locale_names, or a path that ends in .npz"
# A text is cut to this many of its trigrams, so that languages can be confused
TEXT_LENGTH = 20
# hashed character n-grams, folded to this many columns
TEXT_COLUMNS = 1024


class OneLabelData(NamedTuple):
    """Features float32 `[n, d]`, labels int32 `[n]`.

    Where an example has several right answers, of which its label is one, `train_answers` and
    `test_answers` hold all of them, bool `[n, num_classes]`; no method may train on them.
    """

    name: str
    num_classes: int
    train_features: np.ndarray
    train_labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray
    train_answers: np.ndarray | None = None
    test_answers: np.ndarray | None = None


class Rows(NamedTuple):
    """Scaled features and labels of the rows to train on, to choose on, and to test on."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    train_index: np.ndarray  # which rows of the training split these are
    validation_index: np.ndarray


def load(source: str) -> OneLabelData:
    """The data set that `source` names: see `SOURCES`.

    Raises:
      ValueError: unknown name, or a malformed file (file and field are named).
      OSError: the file is not there.
    """
    if source == "digits":
        return load_digits()
    if source == "locale_names":
        return load_locale_names()
    if source.endswith(".npz"):
        return load_npz(Path(source))
    raise ValueError(f"unknown data {source!r}; valid: {SOURCES}")


def load_digits() -> OneLabelData:
    """scikit-learn's 1797 handwritten digits, 8 x 8, one third of them for the test."""
    from sklearn import datasets

    features, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    features = features[order].astype(np.float32) / 16
    return split_at("digits", features, labels[order], 2 * len(labels) // 3)


def load_locale_names(least_names: int = 50) -> OneLabelData:
    """Which locale gives this name? babel's names of countries, languages, cities, and so on.

    Only names that several locales give ("Berlin"): each has several right answers, and its label
    is one of them, drawn once. Locales with few names of their own are left out. One third of the
    names, which no training row has, is for the test. Features are hashed character n-grams.
    """
    locales_of = names_by_locale(least_names)
    names = sorted(name for name, found in locales_of.items() if len(found) > 1)
    locales = sorted({locale for name in names for locale in locales_of[name]})
    number = {locale: i for i, locale in enumerate(locales)}
    answers = np.zeros((len(names), len(locales)), dtype=bool)
    for row, name in enumerate(names):
        answers[row, [number[locale] for locale in locales_of[name]]] = True
    rng = np.random.default_rng(0)
    order = rng.permutation(len(names))
    answers, features = answers[order], hashed_characters([names[i] for i in order])
    labels = np.where(answers, rng.random(answers.shape), -1.0).argmax(axis=1)
    cut = 2 * len(names) // 3
    data = split_at("locale_names", features, labels, cut, len(locales))
    return data._replace(train_answers=answers[:cut], test_answers=answers[cut:])


def names_by_locale(least_names: int) -> dict[str, set[str]]:
    """Each name, with the locales (languages, without regions) that give it to something."""
    from babel import Locale, localedata

    names_of = {}
    for identifier in sorted(localedata.locale_identifiers()):
        if "_" in identifier:
            continue
        locale = Locale.parse(identifier)
        tables = (locale.territories, locale.languages, locale.scripts, locale.currencies)
        names = {name for table in tables for name in table.values()}
        names |= {zone["city"] for zone in locale.time_zones.values() if "city" in zone}
        if len(names) >= least_names:
            names_of[identifier] = names
    locales_of = defaultdict(set)
    for identifier, names in names_of.items():
        for name in names:
            locales_of[name].add(identifier)
    return dict(locales_of)


def hashed_characters(texts: list[str]) -> np.ndarray:
    """Character 1- to 3-grams inside words, hashed to `TEXT_COLUMNS` counts."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(1, 3),
        n_features=TEXT_COLUMNS,
        alternate_sign=False,
        norm=None,
        lowercase=False,
    )
    return vectorizer.transform(texts).toarray().astype(np.float32)


def load_npz(path: Path) -> OneLabelData:
    """An `.npz` archive: `y`, `n_train` leading training rows, and one of three kinds of features.

    `X_u8` are grey images, `X_bits` packed black and white ones, CSR `X_*` counts of hashed
    character n-grams of whole texts, of which `TEXT_LENGTH` are kept of each.
    """
    fields = read_fields(path)
    labels = integers(path, fields, "y")
    n_train = int(field(path, fields, "n_train"))
    if "X_u8" in fields:
        features = fields["X_u8"].reshape(len(labels), -1).astype(np.float32) / 255
    elif "X_bits" in fields:
        features = np.unpackbits(fields["X_bits"], axis=1).astype(np.float32)
    else:
        features = short_texts(read_csr(path, fields, "X"), TEXT_LENGTH, TEXT_COLUMNS)
    if len(features) != len(labels):
        raise ValueError(f"{path}: {len(features)} rows of features, {len(labels)} labels in y")
    if not 0 < n_train < len(labels):
        raise ValueError(f"{path}: field n_train must be in 1..{len(labels) - 1}, got {n_train}")
    return split_at(path.stem, dense_features(str(path), "X", features), labels, n_train)


def short_texts(counts: scipy.sparse.csr_array, length: int, columns: int) -> np.ndarray:
    """`length` n-grams drawn from each text without replacement, the hash folded to `columns`."""
    rng = np.random.default_rng(0)
    short = np.zeros((counts.shape[0], columns), dtype=np.float32)
    for row in range(counts.shape[0]):
        entries = slice(counts.indptr[row], counts.indptr[row + 1])
        grams = np.repeat(counts.indices[entries], counts.data[entries].astype(np.int64))
        chosen = rng.permutation(grams)[:length] % columns
        np.add.at(short[row], chosen, 1.0)
    return short


def split_at(
    name: str, features: np.ndarray, labels: np.ndarray, cut: int, num_classes: int | None = None
) -> OneLabelData:
    labels = labels.astype(np.int32)
    count = num_classes or int(labels.max()) + 1
    return OneLabelData(name, count, features[:cut], labels[:cut], features[cut:], labels[cut:])


def split(data: OneLabelData, share: float, seed: int) -> Rows:
    """About that share of the training split, drawn by the seed, is for validation.

    One example of every class stays in training.
    """
    order = np.random.default_rng(seed).permutation(len(data.train_labels))
    first = np.zeros(len(order), dtype=bool)
    first[np.unique(data.train_labels[order], return_index=True)[1]] = True
    order = np.concatenate([order[~first], order[first]])
    held_out, kept_in = np.split(order, [round(share * len(order))])
    scale = partial(apply_scaling, fit_scaling(data.train_features[kept_in]))
    return Rows(
        (scale(data.train_features[kept_in]), data.train_labels[kept_in]),
        (scale(data.train_features[held_out]), data.train_labels[held_out]),
        (scale(data.test_features), data.test_labels),
        kept_in,
        held_out,
    )


def long_tail(data: OneLabelData, ratio: float, seed: int) -> OneLabelData:
    """Training rows thinned out so that class sizes fall geometrically, by `ratio` in all.

    Which classes are large is drawn by the seed; no class is lost.
    """
    rng = np.random.default_rng(seed)
    counts = class_counts(data)
    share = ratio ** -(rng.permutation(data.num_classes) / max(data.num_classes - 1, 1))
    sizes = np.minimum(np.maximum(np.rint(counts.max() * share), 1), counts).astype(int)
    order = rng.permutation(len(data.train_labels))
    rows = [order[data.train_labels[order] == c][:size] for c, size in enumerate(sizes)]
    kept = np.sort(np.concatenate(rows))
    answers = data.train_answers
    return data._replace(
        name=f"{data.name}_tail",
        train_features=data.train_features[kept],
        train_labels=data.train_labels[kept],
        train_answers=None if answers is None else answers[kept],
    )


def confuse_labels(labels: np.ndarray, share: float, num_classes: int, seed: int) -> np.ndarray:
    """With probability `share` a label is drawn again from its group of five consecutive ids."""
    rng = np.random.default_rng(seed)
    start = labels - labels % 5
    drawn = start + rng.integers(0, np.minimum(5, num_classes - start))
    return np.where(rng.random(len(labels)) < share, drawn, labels).astype(np.int32)


def class_counts(data: OneLabelData) -> np.ndarray:
    """Training examples of each class."""
    return np.bincount(data.train_labels, minlength=data.num_classes)


def shot_bins(counts: np.ndarray, few: int = 20, many: int = 100) -> dict[str, np.ndarray]:
    """Classes by training examples: "few" has at most `few`, "many" more than `many`."""
    return {
        "few": counts <= few,
        "medium": (counts > few) & (counts <= many),
        "many": counts > many,
    }
