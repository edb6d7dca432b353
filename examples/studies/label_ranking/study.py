"""Losses for the ranking of the examples of each label: mAP and macro AUROC.

    python -m examples.studies.label_ranking
    python -m examples.studies.label_ranking --data-dir DIR --into docs/results/label_ranking.md

Without --data-dir: yeast. Kept are the labels with 5 positives or more in the training rows and in
the test rows. A linear model is trained by each loss. Every loss gets the same search, 8 settings
with seed 0: learning rate, weight decay, and the loss's own number where it has one. The setting
is chosen by the mean of both metrics on validation rows, 30 % of the training split, the number of
steps by each metric for itself. Each seed draws the validation rows anew. Test rows are never used
to choose. Finished runs are kept in `runs/label_ranking/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from typer import Option

import mlc_losses
from examples import data as data_sets
from examples.data import MultiLabelData
from examples.studies.common.command import BAR, check_names, sources
from examples.studies.common.linear import FULL, Plan, part, smaller, train_linear
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.store import Runs, Unfinished
from examples.studies.label_ranking.methods import METHODS
from examples.studies.label_ranking.report import figure_of, tables
from examples.train import load_data
from mlc_losses import metrics

DATA = (
    "yeast",
    "langlog",
    "stackex_chess",
    "reuters21578_modapte90",
    "corel5k",
)
LEAST = 5
PLAN = Plan(steps=160, checks=8)
METRICS = {"mAP": metrics.average_precision, "macro AUROC": metrics.roc_auc}
MARKS = marks("examples/studies/label_ranking")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def criteria(scores: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.stack([metric(scores, targets, average="macro") for metric in METRICS.values()])


def with_positives(data: MultiLabelData) -> MultiLabelData:
    """The labels that have enough positives to be measured."""
    kept = data.train_targets.sum(axis=0) >= LEAST
    kept &= data.test_targets.sum(axis=0) >= LEAST
    return data._replace(
        train_targets=data.train_targets[:, kept], test_targets=data.test_targets[:, kept]
    )


def compare(data: MultiLabelData, name: str, plan: Plan, seeds: int) -> dict[str, Any]:
    """The settings chosen for each metric, and test metrics for each seed."""
    began = time.process_time()
    rows, method = len(data.train_features), METHODS[name]
    settings, values = method.settings(), []
    for own, loss in method.losses.items():
        runs = [(part(rows, plan, 0), setting) for each, setting in settings if each == own]
        values.append(train_linear(data, runs, loss, criteria).values)
    best = int(np.concatenate(values).mean(axis=1).argmax())
    own, setting = settings[best]
    runs = [(part(rows, plan, seed), setting) for seed in range(seeds)]
    trained = train_linear(data, runs, method.losses[own], criteria)
    test = []
    for seed in range(seeds):
        found = {}
        for place, (metric, score) in enumerate(METRICS.items()):
            scores = trained.scores(seed, place, data.test_features)
            found[metric] = float(score(scores, data.test_targets, average="macro"))
        test.append(found)
    return {
        "own": own,
        "setting": setting,
        "seconds": time.process_time() - began,
        "test": test,
    }


def surrogate() -> list[dict[str, Any]]:
    """The hinge beside 1 - AUROC on a few scores of one label."""
    cases = {
        "right, by the margin and more": [3.0, 2.0, 1.0, 0.0],
        "right, closer than the margin": [0.3, 0.2, 0.1, 0.0],
        "one of four pairs wrong": [3.0, 1.0, 2.0, 0.0],
        "all scores equal": [0.0, 0.0, 0.0, 0.0],
        "scores of 0 and 1": [1.0, 0.0, 1.0, 0.0],
        "all pairs wrong": [0.0, 1.0, 2.0, 3.0],
    }
    targets = np.array([[1], [1], [0], [0]])
    result = []
    for name, numbers in cases.items():
        scores = np.array(numbers)[:, None]
        hinge = mlc_losses.pairwise_hinge(scores, targets, axis=0, normalize=True)
        missed = 1.0 - metrics.roc_auc(scores, targets, average="macro")
        about = {"scores": name, "relevant": numbers[:2], "others": numbers[2:]}
        result.append(about | {"1 - AUROC": float(missed), "pairwise_hinge": float(hinge[0])})
    return result


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    loss: Annotated[list[str], Option(help="repeat; default all")] = list(METHODS),  # noqa: B006
    full: Annotated[bool, Option("--full", help="all rows and columns, more steps")] = False,
    steps: Annotated[int | None, Option(min=1, help="of each training")] = None,
    seeds: Annotated[int, Option(min=1)] = 5,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/label_ranking"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/label_ranking.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    check_names("loss", loss, METHODS)
    plan = FULL if full else PLAN
    plan = plan._replace(steps=steps or plan.steps)
    store = Runs(runs / "full" if full else runs, finished)
    found: list[dict[str, Any]] = []
    with Progress(*BAR, console=console) as progress:
        names: Sequence[str] = sources(data or [], data_dir, DATA)
        bar = progress.add_task("", total=len(names) * len(loss))

        def after(what: str) -> None:
            progress.update(bar, advance=1, description=what)

        for source in names:
            found += of_data(source, loss, plan, seeds, store, after)
    if not found:
        raise Unfinished(store)
    records = {"surrogate": surrogate(), "runs": found}
    figures = {figure: figure_of(found)}
    publish(console, records, tables(records), figures, json_, into, MARKS)
    return store


def of_data(
    source: str,
    names: Sequence[str],
    plan: Plan,
    seeds: int,
    store: Runs,
    after: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The records of all losses and seeds; those that `store` holds are read from there.

    None of a data set that is not finished: its losses could not be ranked.
    """
    whole = load_data(source)
    data = with_positives(smaller(whole, plan))
    positives = data.train_targets.sum(axis=0)
    about = {"data": data.name, "labels": len(positives), "positives": float(np.median(positives))}
    results = {}
    for name in names:
        key = plan._asdict() | {"seeds": seeds, "settings": METHODS[name].settings()}
        key["shape"] = whole.train_features.shape
        stem = f"{data.name}-{name.partition('(')[0]}"
        results[name] = store.get(stem, key, partial(compare, data, name, plan, seeds))
        after(f"{data.name} {name}")
    if None in results.values():
        return []
    return [
        about | {"loss": name, **result, "seed": seed, "test": test}
        for name, result in results.items()
        for seed, test in enumerate(result["test"])
    ]
