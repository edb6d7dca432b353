"""Sets of digits, for the recipes: scikit-learn's scanned digits in the cells of a form."""

from __future__ import annotations

import sys

import numpy as np

try:
    from sklearn.datasets import load_digits
except ImportError:
    sys.exit("This recipe needs scikit-learn: pip install scikit-learn")


def load(num_train: int = 2000, num_test: int = 500, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Features and targets to train on, then those to test on: `[n, 192]` and `[n, 10]`, float32.

    Three cells of 8 x 8 pixels hold one to three digits, and the labels are the digits that are
    there. No scan is in both parts.
    """
    rng = np.random.default_rng(seed)
    scans, classes = load_digits(return_X_y=True)
    order = rng.permutation(len(scans))
    parts = []
    for part, size in ((order[:1300], num_train), (order[1300:], num_test)):
        chosen = rng.choice(part, (size, 3))
        filled = np.arange(3) < rng.integers(1, 4, (size, 1))
        features = scans[chosen] / 16 * filled[..., None]
        targets = ((classes[chosen][..., None] == np.arange(10)) & filled[..., None]).any(axis=1)
        parts += [features.reshape(size, -1).astype(np.float32), targets.astype(np.float32)]
    return tuple(parts)
