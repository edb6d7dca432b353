"""The labels of highest score of a linear layer, and its mean loss, elsewhere than on JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc_losses import linear_loss, predict_linear_top_k, zlpr
from tests.support.backends import NAME, asarray, to_numpy

if NAME == "jax":
    pytest.skip("test_scale.py has these for JAX", allow_module_level=True)

RNG = np.random.default_rng(0)
# small integers tie often
FEATURES = RNG.integers(-2, 3, (5, 3)).astype(np.float32)
KERNEL = RNG.integers(-2, 3, (3, 11)).astype(np.float32)
BIASES = {
    "none": None,
    "ties": np.zeros(11, np.float32),
    "infinite": np.array([0, np.inf, 0, np.inf, -np.inf, 1, 0, np.inf, -1, 0, 0], np.float32),
    "NaN": np.array([0, np.inf, 0, np.nan, -np.inf, 1, 0, np.nan, -1, 0, 0], np.float32),
}


def highest(scores: np.ndarray, k: int) -> np.ndarray:
    """Down from NaN, of tied scores the lower id first."""
    rows = [
        sorted(range(len(row)), key=lambda i: (not np.isnan(row[i]), -row[i], i))[:k]
        for row in scores
    ]
    return np.array(rows)


@pytest.mark.parametrize("label_block", [None, 1, 4, 11])
@pytest.mark.parametrize("k", [1, 3, 11])
@pytest.mark.parametrize("bias", BIASES)
def test_top_k(bias: str, k: int, label_block: int | None) -> None:
    offset = BIASES[bias]
    scores = FEATURES @ KERNEL + (0 if offset is None else offset)
    layer = [None if x is None else asarray(x) for x in (FEATURES, KERNEL, offset)]
    ids, found = predict_linear_top_k(*layer, k, label_block=label_block)
    expected = highest(scores, k)
    np.testing.assert_array_equal(to_numpy(ids), expected)
    np.testing.assert_array_equal(to_numpy(found), np.take_along_axis(scores, expected, 1))


@pytest.mark.parametrize("of_examples", [False, True])
@pytest.mark.parametrize("block_size", [None, 2, 5])
def test_value_of_the_mean_loss(block_size: int | None, of_examples: bool) -> None:
    targets = asarray(RNG.random((5, 11)) < 0.3)
    layer: list[Any] = [asarray(FEATURES), asarray(KERNEL), asarray(BIASES["ties"])]
    known = np.array([[True], [False], [True], [True], [False]])
    where = asarray(known) if of_examples else None
    found = linear_loss(zlpr, *layer, targets, where=where, block_size=block_size)
    values = to_numpy(zlpr(asarray(FEATURES @ KERNEL), targets))
    wanted = np.where(known[:, 0] | (not of_examples), values, 0.0).mean()
    np.testing.assert_allclose(to_numpy(found), wanted, rtol=1e-6)
