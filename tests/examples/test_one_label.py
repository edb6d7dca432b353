"""The data sets of the examples with one label per example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("babel")
from examples.studies.common import one_label


@pytest.fixture(scope="module")
def digits() -> one_label.OneLabelData:
    return one_label.load("digits")


def test_split_keeps_rows_apart_and_every_class_in_training(
    digits: one_label.OneLabelData,
) -> None:
    tail = one_label.long_tail(digits, ratio=100.0, seed=1)
    assert one_label.class_counts(tail).min() == 1
    rows = one_label.split(tail, 0.3, seed=0)
    assert np.unique(rows.train[1]).tolist() == list(range(10))
    both = np.concatenate([rows.train_index, rows.validation_index])
    assert sorted(both) == list(range(len(tail.train_labels)))
    assert len(rows.validation[1]) == round(0.3 * len(tail.train_labels))
    np.testing.assert_array_equal(tail.train_labels[rows.train_index], rows.train[1])


def test_long_tail_thins_training_rows_alone(digits: one_label.OneLabelData) -> None:
    tail = one_label.long_tail(digits, ratio=20.0, seed=0)
    counts = np.sort(one_label.class_counts(tail))
    assert counts[-1] == one_label.class_counts(digits).max()
    np.testing.assert_allclose(counts[1:] / counts[:-1], 20 ** (1 / 9), rtol=0.15)
    assert tail.test_labels is digits.test_labels


def test_locale_names_have_their_label_among_their_answers() -> None:
    data = one_label.load("locale_names")
    for labels, answers in (
        (data.train_labels, data.train_answers),
        (data.test_labels, data.test_answers),
    ):
        assert answers is not None
        assert answers[np.arange(len(labels)), labels].all()
        assert answers.sum(axis=1).min() == 2
    assert data.num_classes > 200


def test_confused_labels_stay_in_their_group_of_five() -> None:
    labels = np.repeat(np.arange(12), 500).astype(np.int32)
    confused = one_label.confuse_labels(labels, 0.5, 12, seed=0)
    np.testing.assert_array_equal(confused // 5, labels // 5)
    assert confused.max() == 11
    # half are drawn anew, one in five of these (one in two in the last group) as they were
    assert np.mean(confused[labels < 10] != labels[labels < 10]) == pytest.approx(0.4, abs=0.03)
    assert np.mean(confused[labels >= 10] != labels[labels >= 10]) == pytest.approx(0.25, abs=0.05)


def test_shot_bins_part_the_classes() -> None:
    bins = one_label.shot_bins(np.array([0, 20, 21, 100, 101]))
    assert [bins[name].tolist() for name in ("few", "medium", "many")] == [
        [True, True, False, False, False],
        [False, False, True, True, False],
        [False, False, False, False, True],
    ]


def test_texts_are_cut_and_files_are_checked(tmp_path: Path) -> None:
    counts = {
        "X_indptr": [0, 2, 3],
        "X_indices": [0, 1030, 5],
        "X_data": [30, 30, 3],
        "X_shape": [2, 2000],
        "y": [1, 0],
        "n_train": 1,
    }
    path = tmp_path / "texts.npz"
    np.savez(path, **counts)
    data = one_label.load(str(path))
    assert data.train_features.sum() == one_label.TEXT_LENGTH
    assert set(np.flatnonzero(data.train_features[0])) <= {0, 1030 % one_label.TEXT_COLUMNS}
    assert data.test_features[0, 5] == 3
    np.savez(path, **(counts | {"n_train": 2}))
    with pytest.raises(ValueError, match=r"n_train must be in 1..1, got 2"):
        one_label.load(str(path))
    with pytest.raises(ValueError, match="unknown data 'nothing'; valid: digits"):
        one_label.load("nothing")
