"""The table of `docs/results/first_release.md`: every loss, data set and seed, on the test split.

    python -m examples.studies.first_release --data-dir DIR --into docs/results/first_release.md

Results are kept in `runs/first_release/`: a run that was cut off goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from examples import data as data_sets
from examples.files import to_json, write_whole
from examples.model import Settings
from examples.studies.common.pages import marks, replace_between
from examples.studies.common.store import Runs, Unfinished
from examples.studies.common.tables import Table, to_markdown
from examples.train import train_and_test

SEEDS = (0, 1, 2)
MARKS = marks("examples/studies/first_release")
# each loss with the setting that search.py marks for it; the rest is train.py's default
SETTINGS = {"zlpr": {"weight_decay": 0.1}, "binary_cross_entropy": {"weight_decay": 0.01}}
METRICS = ("micro-F1", "macro-F1", "Hamming loss", "subset accuracy", "P@1", "ranking loss")
# scikit-learn 1.9.1: one-vs-rest logistic regression, C by 3-fold log loss (bibtex: C = 1)
PEER = {
    "emotions": {"micro-F1": 0.6489, "macro-F1": 0.6345, "Hamming loss": 0.2178, "P@1": 0.708},
    "scene": {"micro-F1": 0.6790, "macro-F1": 0.6821, "Hamming loss": 0.1112, "P@1": 0.729},
    "yeast": {"micro-F1": 0.6288, "macro-F1": 0.3812, "Hamming loss": 0.2070, "P@1": 0.745},
    "bibtex": {"micro-F1": 0.4134, "macro-F1": 0.2509, "Hamming loss": 0.0126, "P@1": 0.632},
}


def test_metrics(
    data: data_sets.MultiLabelData, loss: str, settings: Settings, seed: int
) -> dict[str, float]:
    _, record = train_and_test(data, loss, {}, settings, seed=seed)
    return record["test"]


def main(
    data_dir: Annotated[Path, typer.Option(help="holds emotions.npz, scene.npz, ...")],
    into: Annotated[Path | None, typer.Option(help="replaces the table in this file")] = None,
    runs: Path = Path("runs/first_release"),
    epochs: int = Settings().epochs,
    json_: Annotated[Path | None, typer.Option("--json", dir_okay=False)] = None,
    finished: Annotated[bool, typer.Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    kept, records = Runs(runs, finished), []
    for name in PEER:
        data = data_sets.load(str(data_dir / f"{name}.npz"))
        for loss, chosen in SETTINGS.items():
            # what train.py tests is trained on the whole training split: this is that fit alone
            settings = Settings(epochs=epochs, validation=0.0, **chosen)
            for seed in SEEDS:
                compute = partial(test_metrics, data, loss, settings, seed)
                found = kept.get(f"{name}-{loss}-{seed}", settings._asdict(), compute)
                if found is None:
                    continue
                records.append({"data": name, "loss": loss, "seed": seed, "test": found})
                print(name, loss, seed, f"{found['micro-F1']:.4f}", flush=True)
    if not records:
        raise Unfinished(kept)
    table = markdown(records)
    print(f"\n{table}")
    if json_:
        write_whole(json_, to_json(records))
    if into:
        replace_between(into, *MARKS, table)
    return kept


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for name, peer in PEER.items():
        for loss in SETTINGS:
            results = [r["test"] for r in records if (r["data"], r["loss"]) == (name, loss)]
            if results:
                values = [[result[metric] for result in results] for metric in METRICS]
                cells = [f"{np.mean(v):.4f} ± {np.std(v, ddof=1):.4f}" for v in values]
                rows.append([name, f"`{loss}`", *cells])
        cells = [f"{peer[metric]:.4f}" if metric in peer else "not given" for metric in METRICS]
        rows.append([name, "scikit-learn", *cells])
    heads = ["data", "method", *METRICS]
    return to_markdown(Table("Test split", heads, rows, text_columns=len(heads)))
