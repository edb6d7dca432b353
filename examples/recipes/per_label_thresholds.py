"""A threshold for each label: `tune_thresholds` beside scikit-learn, judged by torchmetrics.

    python examples/recipes/per_label_thresholds.py

Choose thresholds on rows that were not trained on, and judge them on others again.
"""

from __future__ import annotations

import sys

import digit_sets
import numpy as np

try:
    import torch
    from sklearn.metrics import precision_recall_curve
    from torchmetrics.functional.classification import multilabel_f1_score
except ImportError:
    sys.exit("This recipe needs torchmetrics: pip install torch torchmetrics scikit-learn")

from mlc_losses import predict_threshold, tune_thresholds, zlpr


def linear_scores(x: torch.Tensor, y: torch.Tensor, steps: int = 200) -> torch.nn.Linear:
    torch.manual_seed(0)
    layer = torch.nn.Linear(x.shape[1], y.shape[1])
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        zlpr(layer(x), y).mean().backward()
        optimizer.step()
    return layer.requires_grad_(False)


def sklearn_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The same from scikit-learn's curves, label by label. Its sets are `scores >= threshold`."""
    chosen = []
    for s, y in zip(scores.T, targets.T, strict=True):
        precision, recall, thresholds = precision_recall_curve(y, s)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        chosen.append(thresholds[f1[:-1].argmax()])
    return np.array(chosen, dtype=scores.dtype)


def macro_f1(sets: torch.Tensor, targets: torch.Tensor) -> float:
    """By torchmetrics, which takes sets as well as probabilities."""
    return multilabel_f1_score(sets.int(), targets.int(), targets.shape[1], average="macro").item()


def main() -> None:
    x, y, x_test, y_test = map(torch.from_numpy, digit_sets.load(3000, 1000))
    layer = linear_scores(x[:2000], y[:2000])
    held_out, scores = layer(x[2000:]), layer(x_test)
    ours = tune_thresholds(held_out, y[2000:], metric="f1", average="macro")
    theirs = torch.from_numpy(sklearn_thresholds(held_out.numpy(), y[2000:].numpy()))
    print(f"test loss {zlpr(scores, y_test).mean():.3f}; macro-F1 on the test rows")
    print(f"  cut at 0         {macro_f1(predict_threshold(scores), y_test):.3f}")
    print(f"  tune_thresholds  {macro_f1(predict_threshold(scores, ours), y_test):.3f}")
    print(f"  scikit-learn     {macro_f1(scores >= theirs, y_test):.3f}")


if __name__ == "__main__":
    main()
