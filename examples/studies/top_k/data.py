"""The data of the study in a form that trains fast, and the accuracy of K guesses on them."""

from __future__ import annotations

import numpy as np

from examples.studies.common import one_label
from examples.studies.common.one_label import OneLabelData
from mlc_losses.metrics import class_mean

KS = (1, 3, 5, 10)


def load(source: str, rows: int, noise: float) -> OneLabelData:
    """The data that `source` names, in a form that trains fast; ":tail" thins the classes out."""
    name, _, tail = source.partition(":")
    data = one_label.load(name)
    data = data._replace(
        train_features=smaller(data.train_features),
        test_features=smaller(data.test_features),
    )
    if tail:
        # the largest class keeps all its examples, the smallest one
        ratio = float(one_label.class_counts(data).max())
        data = one_label.long_tail(data, ratio, seed=0)
    elif not is_heavy_tailed(data):
        order = np.random.default_rng(0).permutation(len(data.train_labels))[:rows]
        data = data._replace(
            train_features=data.train_features[order], train_labels=data.train_labels[order]
        )
    if noise:
        labels = one_label.confuse_labels(data.train_labels, noise, data.num_classes, seed=0)
        data = data._replace(name=f"{data.name}_noise{noise:g}", train_labels=labels)
    return data


def smaller(features: np.ndarray) -> np.ndarray:
    """Images of 28 x 28 pixels in blocks of 2 x 2; hashed texts folded to half the columns."""
    if features.shape[1] == 28 * 28:
        blocks = features.reshape(len(features), 14, 2, 14, 2)
        return blocks.mean(axis=(2, 4)).reshape(len(features), -1)
    if features.shape[1] == one_label.TEXT_COLUMNS:
        return features.reshape(len(features), 2, -1).sum(axis=1)
    return features


def is_heavy_tailed(data: OneLabelData) -> bool:
    counts = one_label.class_counts(data)
    return bool(counts.max() >= 10 * counts.min())


def bins(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Classes of few, medium and many examples: to 20, to 100, more; of smaller data, thirds."""
    if counts.max() > 100:
        return one_label.shot_bins(counts)
    few, many = np.quantile(counts, [1 / 3, 2 / 3])
    return one_label.shot_bins(counts, int(few), int(many))


def evaluated(
    scores: np.ndarray, labels: np.ndarray, data: OneLabelData
) -> dict[str, dict[str, float]]:
    """For each K the accuracy of K guesses, its mean over classes, and over those of each bin."""
    if not np.isfinite(scores).all():  # diverged
        return {}
    own = scores[np.arange(len(labels)), labels][:, None]
    # of tied classes the lower ids are guessed, as by `top_k_accuracy`
    before = np.arange(scores.shape[1]) < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    results = {}
    for k in [k for k in KS if k < data.num_classes]:
        hit = (rank < k).astype(float)
        by_class = class_mean(hit, labels, data.num_classes)
        found = {"accuracy": hit.mean(), "class mean": np.nanmean(by_class)}
        for name, chosen in bins(one_label.class_counts(data)).items():
            there = by_class[chosen & ~np.isnan(by_class)]
            if there.size:
                found[name] = there.mean()
        results[str(k)] = {name: float(value) for name, value in found.items()}
    return results
