"""Lightning with DDP over two processes: what a loss needs there, on the CPU.

    python examples/recipes/lightning_ddp.py

`DistributedDataParallel` takes the mean of the gradients of the processes. That is right for a loss
of one example at a time, such as `zlpr`. A loss across the batch, such as `soft_f1`, must see the
rows of all processes.
"""

from __future__ import annotations

import sys

import digit_sets

try:
    import lightning
    import torch
except ImportError:
    sys.exit("This recipe needs Lightning: pip install torch lightning")

from torch.utils.data import DataLoader, TensorDataset

from mlc_losses import metrics, predict_threshold, soft_f1, zlpr


class Classifier(lightning.LightningModule):
    def __init__(self, inputs: int, labels: int, make_optimizer) -> None:
        super().__init__()
        self.make_optimizer = make_optimizer
        hidden, self.last = torch.nn.Linear(inputs, 128), torch.nn.Linear(128, labels)
        self.network = torch.nn.Sequential(hidden, torch.nn.ReLU(), self.last)

    def of_all(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes; each gets the gradient of its own."""
        return self.all_gather(rows, sync_grads=True).reshape(-1, rows.shape[-1])

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        x, y = batch
        logits = self.network(x)
        value = zlpr(logits, y).mean() + soft_f1(self.of_all(logits), self.of_all(y)).mean()
        self.log("loss", value, sync_dist=True, on_step=False, on_epoch=True)
        return value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())


def adam(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=5e-3)


def train(
    rows: TensorDataset,
    *,
    processes: int,
    batch_size: int,
    epochs: int,
    make_optimizer=adam,
    strategy: str = "ddp",
) -> tuple[Classifier, float]:
    """The model, and the loss of the last epoch. An update sees `processes * batch_size` rows.

    Equally many in each process: Lightning's sampler repeats rows to make it so.
    """
    torch.manual_seed(0)
    x, y = rows.tensors
    model = Classifier(x.shape[1], y.shape[1], make_optimizer)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy=strategy if processes > 1 else "auto",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(rows, batch_size, shuffle=True))
    return model, trainer.callback_metrics["loss"].item()


def main() -> None:
    x, y, x_test, y_test = map(torch.from_numpy, digit_sets.load())
    model, loss = train(TensorDataset(x, y), processes=2, batch_size=50, epochs=8)
    if torch.distributed.get_rank() == 0:
        with torch.no_grad():
            scores = model.network(x_test)
        f1 = metrics.f1_score(predict_threshold(scores), y_test, average="micro")
        print(f"training loss {loss:.3f}, test micro-F1 {f1:.3f}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
