"""The same loss in a PyTorch training loop, on made-up multi-label data.

python -m examples.torch_loop
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from sklearn.datasets import make_multilabel_classification

from mlc_losses import metrics, predict_threshold, zlpr


def main(
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    torch.manual_seed(seed)
    x, y = make_multilabel_classification(2000, 50, n_classes=10, n_labels=3, random_state=seed)
    features = torch.tensor(x, dtype=torch.float32).log1p()  # the features are word counts
    targets = torch.tensor(y, dtype=torch.bool)
    rows_train, rows_test = torch.arange(2000).split(1500)

    network = torch.nn.Sequential(
        torch.nn.Linear(50, 128), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(128, 10)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for epoch in range(1, epochs + 1):
        network.train()
        total = 0.0
        for rows in rows_train[torch.randperm(1500)].split(batch_size):
            loss = zlpr(network(features[rows]), targets[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        if epoch in (1, epochs) or epoch % 5 == 0:
            print(f"epoch {epoch:3d}  training loss {total / 1500:.4f}")

    network.eval()
    with torch.no_grad():
        predictions = predict_threshold(network(features[rows_test]))
    for average in ("micro", "macro"):
        f1 = metrics.f1_score(predictions, targets[rows_test], average=average)
        print(f"test {average}-F1 {float(f1):.4f}")


if __name__ == "__main__":
    typer.run(main)
