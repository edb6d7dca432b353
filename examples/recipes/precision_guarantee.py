"""Guarantees for label sets: recall by `conformal_threshold`, precision by MAPIE.

    python examples/recipes/precision_guarantee.py

Both choose a threshold on rows that were not trained on. The recall of a new example is at least
the level on average; that is a promise about the mean over such choices. The precision is at least
the level with a stated confidence, by "learn then test" (Angelopoulos et al. 2021): a promise about
this threshold. That needs a test of each candidate, which this library does not have.
"""

from __future__ import annotations

import sys

import digit_sets
import numpy as np

try:
    import torch
    from mapie.risk_control import MultiLabelClassificationController
except ImportError:
    sys.exit("This recipe needs MAPIE: pip install torch mapie")

from mlc_losses import binary_cross_entropy, conformal_threshold, predict_average_k

CUTS = np.arange(0.005, 1, 0.01)


def probabilities(x: np.ndarray, y: np.ndarray, steps: int = 200):
    """A linear model trained by cross-entropy, as a function from features to probabilities."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(x.shape[1], y.shape[1])
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        binary_cross_entropy(layer(torch.from_numpy(x)), torch.from_numpy(y)).mean().backward()
        optimizer.step()
    layer.requires_grad_(False)
    return lambda rows: torch.sigmoid(layer(torch.from_numpy(rows))).numpy()


def precision_controller(predict, x: np.ndarray, y: np.ndarray, level: float):
    """MAPIE's own controller; it takes rows with at least one label, and sets above a cut."""
    controller = MultiLabelClassificationController(
        predict,
        risk="precision",
        target_level=level,
        confidence_level=0.9,
        predict_params=CUTS,
    )
    return controller.calibrate(x, y.astype(int))


def mean_recall(sets: np.ndarray, y: np.ndarray) -> float:
    return float(((sets & (y > 0)).sum(axis=1) / (y > 0).sum(axis=1)).mean())


def mean_precision(sets: np.ndarray, y: np.ndarray) -> float:
    """As MAPIE counts: over examples, and an empty set is of precision 0."""
    return float(((sets & (y > 0)).sum(axis=1) / np.maximum(sets.sum(axis=1), 1)).mean())


def main() -> None:
    x, y, x_test, y_test = digit_sets.load(2000, 2000)
    held_out, test = slice(0, 1000), slice(1000, None)  # scans that were not trained on
    predict = probabilities(x, y)
    for level in (0.7, 0.8):
        threshold = conformal_threshold(predict(x_test[held_out]), y_test[held_out], recall=level)
        sets = predict_average_k(predict(x_test[test]), threshold)
        print(f"recall at least {level}: recall {mean_recall(sets, y_test[test]):.3f}", end=", ")
        print(f"{sets.sum(axis=1).mean():.2f} labels per example")
        controller = precision_controller(predict, x_test[held_out], y_test[held_out], level)
        sets = controller.predict(x_test[test])[..., 0]
        print(f"precision at least {level}: {mean_precision(sets, y_test[test]):.3f}", end=", ")
        print(f"recall {mean_recall(sets, y_test[test]):.3f}")


if __name__ == "__main__":
    main()
