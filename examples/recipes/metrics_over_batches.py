"""Metrics over many batches: sums to keep for metrics of sets, scores to collect for rankings.

    python examples/recipes/metrics_over_batches.py

The mean of the F1 of batches is not the F1 of all rows, and a short last batch is no equal of the
others. torchmetrics keeps the sums, over processes too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import digit_sets

try:
    import torch
    from torchmetrics import CatMetric, MeanMetric, MetricCollection
    from torchmetrics.classification import MultilabelF1Score
except ImportError:
    sys.exit("This recipe needs torchmetrics: pip install torch torchmetrics")

from mlc_losses import metrics, predict_threshold, zlpr


def evaluate(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], labels: int) -> dict[str, float]:
    """Over batches of logits and targets, as if they were one."""
    loss = MeanMetric()  # one value per example: the mean is over examples, whatever the batches
    sets = MetricCollection(
        {name: MultilabelF1Score(labels, average=name) for name in ("micro", "macro")}
    )
    all_scores, all_targets = CatMetric(), CatMetric()
    for scores, targets in batches:
        loss.update(zlpr(scores, targets))
        sets.update(predict_threshold(scores).int(), targets.int())
        # a ranking of examples needs all scores: no sum of batches is enough
        all_scores.update(scores)
        all_targets.update(targets)
    precision = metrics.average_precision(
        all_scores.compute(), all_targets.compute(), average="macro"
    )
    f1 = {f"{name} F1": value.item() for name, value in sets.compute().items()}
    return {"loss": loss.compute().item(), **f1, "average precision": precision.item()}


def train(x: torch.Tensor, y: torch.Tensor, epochs: int = 5) -> torch.nn.Linear:
    torch.manual_seed(0)
    layer = torch.nn.Linear(x.shape[1], y.shape[1])
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            zlpr(layer(x[rows]), y[rows]).mean().backward()
            optimizer.step()
    return layer.requires_grad_(False)


def main() -> None:
    x, y, x_test, y_test = map(torch.from_numpy, digit_sets.load())
    layer = train(x, y)
    batches = zip(layer(x_test).split(64), y_test.split(64), strict=True)  # the last has 52 rows
    for name, value in evaluate(batches, y.shape[1]).items():
        print(f"{name} {value:.3f}")


if __name__ == "__main__":
    main()
