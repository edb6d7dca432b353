"""Every loss for multi-label targets on several data sets, each at its own best learning rate.

    python -m examples.studies.compare_losses
    python -m examples.studies.compare_losses --data-dir DIR --into docs/results/compare_losses.md

Losses differ in scale, so each picks its learning rate from one shared list, per data set and
seed, by one criterion on the validation part of the training split: the mean of micro-F1 and label
ranking average precision. One threshold for all labels is tuned there too, for every loss alike,
since the zero of a pure ranking loss means nothing. Test rows are used once, after both choices.

Each finished (data, loss, seed) is kept in `runs/compare_losses/`: a comparison that was cut off
goes on from there.
"""

from __future__ import annotations

import inspect
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
from examples.model import Loss, Settings, forward, jit_forward
from examples.report import all_metrics
from examples.studies.common.command import BAR, check_named_once, check_names, sources
from examples.studies.common.criteria import validation_score
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.ranks import complete
from examples.studies.common.store import Runs, Unfinished
from examples.studies.common.sweep import RATES, all_batches, settings_for, split, train_rates
from examples.studies.compare_losses.report import rank_figure, tables
from examples.train import load_data

# the files of losses for multi-label targets that are all known
FAMILIES = ("zlpr", "binary", "focal", "ranking", "ranking_sets", "overlap", "softmax_sets")
# Left out, as they differ from one of these by a factor at most: multilabel_soft_margin is
# binary_cross_entropy / L, multilabel_margin is pairwise_hinge / L, and at their defaults tversky
# and sigmoid_f1 are soft_f1. circle wants cosines instead of logits.
LEFT_OUT = {"multilabel_soft_margin", "multilabel_margin", "sigmoid_f1", "tversky"}
DECIDED_AT_ZERO = (
    "zlpr",
    "binary_cross_entropy",
    "balanced binary_cross_entropy",
    "focal",
    "asymmetric",
    "poly",
    "hill",
    "distribution_balanced",
    "soft_f1",
    "calibrated_ranking",
)
RANKING_ONLY = (
    "lsep",
    "pairwise_hinge",
    "bp_mll",
    "bp_mll of tanh",
    "warp",
    "distributional_ranking",
    "two_way",
    "multilabel_softmax",
)


def other_losses() -> tuple[str, ...]:
    """Those of these families that need nothing but logits and targets, and have no place above."""
    placed = {*DECIDED_AT_ZERO, *RANKING_ONLY, *LEFT_OUT}
    return tuple(
        name
        for name in mlc_losses.__all__
        if name not in placed
        and getattr(getattr(mlc_losses, name), "__module__", "")
        in {f"mlc_losses.losses.{x}" for x in FAMILIES}
        and required_arguments(getattr(mlc_losses, name)) == ["logits", "targets"]
    )


def required_arguments(function: Callable[..., Any]) -> list[str]:
    arguments = inspect.signature(function).parameters.values()
    return [argument.name for argument in arguments if argument.default is argument.empty]


LOSSES = DECIDED_AT_ZERO + RANKING_ONLY + other_losses()
DATA = ("emotions", "scene", "yeast", "bibtex", "corel5k")
MARKS = marks("examples/studies/compare_losses")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def make_loss(name: str, targets: jax.Array) -> Loss:
    """The loss at the library's defaults; class counts are those of the training rows."""
    counts, rows = targets.sum(axis=0), len(targets)
    if name == "balanced binary_cross_entropy":
        weights = mlc_losses.balanced_pos_weights(counts, rows)
        return partial(mlc_losses.binary_cross_entropy, pos_weight=weights)
    if name == "distribution_balanced":
        return partial(mlc_losses.distribution_balanced, counts=counts, num_examples=rows)
    if name == "bp_mll of tanh":  # its paper's outputs are bounded
        return lambda logits, targets: mlc_losses.bp_mll(jnp.tanh(logits), targets)
    return getattr(mlc_losses, name)


all_forward = jax.jit(jax.vmap(forward, in_axes=(0, None)))


def run_one(
    data: data_sets.MultiLabelData,
    name: str,
    seed: int,
    settings: Settings,
    rates: Sequence[float],
    loss_for: Callable[[jax.Array], Loss],
) -> dict[str, Any]:
    """One loss and seed: train at every rate, choose by validation, then test the one chosen."""
    rows = split(data, settings.validation, seed)
    began = time.perf_counter()
    params = train_rates(
        jax.random.key(seed),
        jnp.asarray(rates, jnp.float32),
        all_batches(len(rows.train[0]), settings, seed),
        *map(jnp.asarray, rows.train),
        loss_for=loss_for,
        outputs=data.train_targets.shape[1],
        settings=settings,
    )
    scores = np.asarray(all_forward(params, rows.validation[0]))
    seconds = time.perf_counter() - began
    choices = [validation_score(s, rows.validation[1]) for s in scores]
    best = int(np.argmax(choices))
    if choices[best] < 0:
        raise ValueError(f"{name} diverges on {data.name} at every rate; add a smaller --rate")
    threshold = float(mlc_losses.tune_thresholds(scores[best], rows.validation[1], average="micro"))
    chosen = jax.tree.map(lambda leaf: leaf[best], params)
    test = np.asarray(jit_forward(chosen, rows.test[0]))
    result = {"seconds": seconds, "rates": choices, "rate": rates[best], "threshold": threshold}
    for key, cut in {"test": threshold, "test at 0": 0.0}.items():
        result[key] = all_metrics(test, mlc_losses.predict_threshold(test, cut), rows.test[1])
    return result


def compare(
    data: data_sets.MultiLabelData,
    losses: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
    rates: Sequence[float],
    runs: Runs,
    after_run: Callable[[str, int], None],
) -> list[dict[str, Any]]:
    """The records of all losses and seeds; those that `runs` holds already are read from there."""
    key = settings._asdict() | {"rates": list(rates), "shape": list(data.train_features.shape)}
    del key["learning_rate"]
    records = []
    for name in losses:
        loss_for = partial(make_loss, name)  # one object for all seeds: they share a compilation
        for seed in seeds:
            compute = partial(run_one, data, name, seed, settings, rates, loss_for)
            found = runs.get(f"{data.name}-{name.replace(' ', '_')}-{seed}", key, compute)
            if found is not None:
                records.append({"data": data.name, "loss": name, "seed": seed, **found})
                after_run(name, seed)
    return records


def check_losses(losses: Sequence[str]) -> None:
    check_names("loss", losses, LOSSES)
    check_named_once("loss", losses)


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    loss: Annotated[list[str], Option(help="repeat; default all")] = list(LOSSES),  # noqa: B006
    seeds: Annotated[int, Option(min=1, help="0, 1, ...")] = 3,
    rate: Annotated[list[float], Option(min=0, help="learning rates")] = list(RATES),  # noqa: B006
    epochs: Annotated[int | None, Option(min=1, help="default 20 or 50, by size")] = None,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/compare_losses"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/compare_losses.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    check_losses(loss)
    all_data = [load_data(source) for source in sources(data or [], data_dir, DATA)]
    kept, records = Runs(runs, finished), []
    with Progress(*BAR, console=console) as progress:
        tasks = [progress.add_task(rows.name, total=len(loss) * seeds) for rows in all_data]
        for task, rows in zip(tasks, all_data, strict=True):

            def after_run(name: str, seed: int, task: Any = task, data: str = rows.name) -> None:
                progress.update(task, advance=1, description=f"{data} {name} seed {seed}")

            settings = settings_for(rows, epochs)
            records += compare(rows, loss, range(seeds), settings, rate, kept, after_run)
    records = complete(records)
    if not records:
        raise Unfinished(kept, "no loss is finished on all data")
    reported = tables(records, DECIDED_AT_ZERO, rate)
    figures = {figure: rank_figure(records)}
    publish(console, records, reported, figures, json_, into, MARKS)
    return kept
