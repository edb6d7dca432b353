"""Search settings on the validation part of the training split; no test row is ever read.

    python -m examples.studies.first_release.search --data-dir path/to/data

For each loss, the one setting with the best validation micro-F1, averaged over data sets and
seeds, is marked. Results are kept in `runs/search/`: a search that was cut off goes on from there.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from examples import data as data_sets
from examples.model import Settings, fit
from examples.studies.common.pages import marks, replace_between
from examples.studies.common.store import Runs
from examples.studies.common.tables import Table, to_markdown
from examples.train import COMPARED, chosen_loss

DATA = ("emotions", "scene", "yeast", "bibtex")
SEEDS = (0, 1, 2)
MARKS = marks("examples/studies/first_release/search")
GRID = [
    {"input_dropout": dropout, "weight_decay": decay}
    for dropout, decay in [(0.0, 0.01), (0.25, 0.01), (0.5, 0.01), (0.5, 0.1)]
]


def validation_score(
    data: data_sets.MultiLabelData, loss: str, settings: Settings, seed: int
) -> float:
    """Micro-F1 on the validation part after the last epoch."""
    rule = chosen_loss(loss, {}, data.train_targets.shape[1])
    _, history = fit(data, rule, settings, seed=seed)
    return history.validation_micro_f1[-1]


def main(
    data_dir: Annotated[Path, typer.Option(help="holds emotions.npz, scene.npz, ...")],
    into: Annotated[Path | None, typer.Option(help="replaces the table in this file")] = None,
    runs: Path = Path("runs/search"),
    epochs: int = Settings().epochs,
) -> None:
    scores: dict[tuple[str, int], list[float]] = {}
    for name in DATA:
        data = data_sets.load(str(data_dir / f"{name}.npz"))
        # nothing of the test split goes further than this line
        data = data._replace(
            test_features=data.test_features[:0], test_targets=data.test_targets[:0]
        )
        for number, loss, seed in itertools.product(range(len(GRID)), COMPARED, SEEDS):
            settings = Settings(**GRID[number], epochs=epochs)
            run = f"{name}-{loss}-{number}-{seed}"
            compute = partial(validation_score, data, loss, settings, seed)
            score = Runs(runs).get(run, settings._asdict(), compute)
            scores.setdefault((loss, number, name), []).append(score)
            print(run, f"{score:.4f}", flush=True)
    table = markdown({key: float(np.mean(values)) for key, values in scores.items()})
    print(f"\n{table}")
    if into:
        replace_between(into, *MARKS, table)


def markdown(scores: dict[tuple[str, int, str], float]) -> str:
    rows = []
    for loss in COMPARED:
        means = [
            np.mean([scores[loss, number, name] for name in DATA]) for number in range(len(GRID))
        ]
        for number, point in enumerate(GRID):
            mean = f"{means[number]:.4f}"
            cells = [f"{scores[loss, number, name]:.4f}" for name in DATA]
            cells = [*map(str, point.values()), *cells]
            cells.append(f"**{mean}**" if means[number] == max(means) else mean)
            rows.append([f"`{loss}`", *cells])
    heads = ["loss", "input dropout", "weight decay", *DATA, "mean"]
    return to_markdown(Table("Validation micro-F1", heads, rows, text_columns=len(heads)))


if __name__ == "__main__":
    typer.run(main)
