"""From scores to label sets: ways to decide, and what a promised recall costs.

    python -m examples.studies.decisions
    python -m examples.studies.decisions --data-dir DIR --into docs/results/decisions.md

Without --data-dir: yeast. A linear model is trained by `binary_cross_entropy` and by `zlpr`. Its
learning rate, weight decay and number of steps are chosen by its own loss on validation rows, 30 %
of the training split; thresholds and the temperature are fitted to the same rows. The search is
done with seed 0, each seed draws its own validation rows. The recall is promised on one half of
the test rows and measured on the other, with many random halves. Finished runs are kept in
`runs/decisions/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from typer import Option

import mlc_losses
from examples import data as data_sets
from examples.data import MultiLabelData
from examples.studies.common.command import BAR, sources
from examples.studies.common.linear import FULL, Plan, Setting, part, smaller, train_linear
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.store import Runs, Unfinished
from examples.studies.decisions.report import figure_of, tables
from examples.train import load_data
from mlc_losses import metrics

DATA = (
    "flags",
    "emotions",
    "scene",
    "yeast",
    "langlog",
    "stackex_chess",
    "corel5k",
    "bibtex",
)
LOSSES = {
    "binary_cross_entropy": mlc_losses.binary_cross_entropy,
    "zlpr": mlc_losses.zlpr,
}
SETTINGS = [Setting(*pair) for pair in product((0.003, 0.01, 0.03, 0.1), (0.0, 0.1))]
RECALLS = (0.8, 0.9, 0.95)
PLAN = Plan(batch_size=128)
MARKS = marks("examples/studies/decisions")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def own_loss(name: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda scores, targets: -LOSSES[name](scores, targets).mean(keepdims=True)


CRITERIA = {name: own_loss(name) for name in LOSSES}  # once: jit knows them by identity


def decided(
    scores: np.ndarray, validation: tuple[np.ndarray, np.ndarray]
) -> tuple[dict[str, np.ndarray], float]:
    """Label sets by each rule, fitted to scores and targets of validation rows; the temperature."""
    one = float(mlc_losses.tune_thresholds(*validation, average="micro"))
    per_label = mlc_losses.tune_thresholds(*validation, average="macro")
    temperature = float(mlc_losses.fit_temperature(*validation))
    sets = {
        "cut at 0": mlc_losses.predict_threshold(scores),
        "one threshold": mlc_losses.predict_threshold(scores, one),
        "threshold per label": mlc_losses.predict_threshold(scores, per_label),
        "expected F": mlc_losses.predict_expected_f(scores),
        "expected F, temperature": mlc_losses.predict_expected_f(scores, scale=1 / temperature),
    }
    return sets, temperature


def promised(scores: np.ndarray, targets: np.ndarray, recall: float, order: np.ndarray) -> tuple:
    """The recall reached and the mean size of a set on the second half of the rows in `order`."""
    first, second = np.split(order, [len(order) // 2])
    t = float(mlc_losses.conformal_threshold(scores[first], targets[first], recall=recall))
    chosen, truth = mlc_losses.predict_average_k(scores[second], t), targets[second]
    count = truth.sum(axis=1)
    found = (chosen & truth).sum(axis=1) / np.maximum(count, 1)
    # as the promise has it: nothing is missed where there is nothing to find
    return float(np.where(count > 0, found, 1.0).mean()), float(chosen.sum(axis=1).mean())


def promises(scores: np.ndarray, targets: np.ndarray, splits: int, seed: int) -> dict[str, Any]:
    """For each promised recall what is reached, over random halves of the rows."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(scores)) for _ in range(splits)]
    result = {}
    for recall in RECALLS:
        found = np.array([promised(scores, targets, recall, order) for order in orders])
        reached, size = found[:, 0], found[:, 1]
        result[str(recall)] = {
            "reached": float(reached.mean()),
            "spread": float(reached.std()),
            "below": float((reached < recall).mean()),
            "size": float(size.mean()),
        }
    return result


def compare(
    data: MultiLabelData, name: str, plan: Plan, seeds: int, splits: int
) -> list[dict[str, Any]]:
    """The records of one data set and loss, one for each seed."""
    rows = len(data.train_features)
    train = partial(train_linear, data, loss=LOSSES[name], criteria=CRITERIA[name])
    search = train([(part(rows, plan, 0), setting) for setting in SETTINGS])
    setting = SETTINGS[int(np.argmax(search.values[:, 0]))]
    parts = [part(rows, plan, seed) for seed in range(seeds)]
    trained = train([(each, setting) for each in parts])
    records = []
    for seed, each in enumerate(parts):
        held_out = data.train_features[each.validation], data.train_targets[each.validation]
        validation = trained.scores(seed, 0, held_out[0]), held_out[1]
        scores = trained.scores(seed, 0, data.test_features)
        sets, temperature = decided(scores, validation)
        test = {
            rule: {
                f"{average}-F1": float(metrics.f1_score(chosen, data.test_targets, average=average))
                for average in ("samples", "macro")
            }
            for rule, chosen in sets.items()
        }
        record = {"seed": seed, "setting": setting, "temperature": temperature, "test": test}
        record["promises"] = promises(scores, data.test_targets, splits, seed)
        records.append(record)
    return records


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    full: Annotated[bool, Option("--full", help="all rows and columns, more steps")] = False,
    steps: Annotated[int | None, Option(min=1, help="of each training")] = None,
    seeds: Annotated[int, Option(min=1)] = 10,
    splits: Annotated[int, Option(min=1, help="halves of the test rows, for each seed")] = 20,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/decisions"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/decisions.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    plan = FULL._replace(batch_size=PLAN.batch_size) if full else PLAN
    plan = plan._replace(steps=steps or plan.steps)
    store = Runs(runs / "full" if full else runs, finished)
    records: list[dict[str, Any]] = []
    with Progress(*BAR, console=console) as progress:
        names: Sequence[str] = sources(data or [], data_dir, DATA)
        bar = progress.add_task("", total=len(names) * len(LOSSES))
        for source in names:
            whole = load_data(source)
            rows = smaller(whole, plan)
            about = {"data": rows.name, "labels": rows.test_targets.shape[1]}
            about["labels per row"] = float(rows.test_targets.sum(axis=1).mean())
            key = plan._asdict() | {"seeds": seeds, "splits": splits, "settings": SETTINGS}
            key["shape"] = whole.train_features.shape
            found = []
            for loss in LOSSES:
                compute = partial(compare, rows, loss, plan, seeds, splits)
                found.append(store.get(f"{rows.name}-{loss}", key, compute))
                progress.update(bar, advance=1, description=f"{rows.name} {loss}")
            if all(found):  # else the data set is not finished
                for loss, results in zip(LOSSES, found, strict=True):
                    records += [about | {"loss": loss} | result for result in results]
    if not records:
        raise Unfinished(store)
    publish(console, records, tables(records), {figure: figure_of(records)}, json_, into, MARKS)
    return store
