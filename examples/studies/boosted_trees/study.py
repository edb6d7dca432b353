"""A loss as the objective of gradient-boosted trees: zlpr beside XGBoost's own binary:logistic.

    python -m examples.studies.boosted_trees
    python -m examples.studies.boosted_trees --data-dir DIR --into docs/results/boosted_trees.md

A round of boosting fits trees to the gradient of the loss by every score, and to the diagonal of
its Hessian; both come from JAX, for any loss of the library. Either objective searches the same
depths, learning rates and leaf weights, stops where its own loss on the validation part is least,
and tunes one threshold there. Test rows are used once, after all choices.

Each finished (data, strategy, objective, seed) is kept in `runs/boosted_trees/`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
import xgboost as xgb
from rich.console import Console
from rich.progress import Progress
from typer import Option

import mlc_losses
from examples import data as data_sets
from examples.report import all_metrics
from examples.studies.boosted_trees.report import difference_figure, tables
from examples.studies.common.command import BAR, check_named_once, check_names, sources
from examples.studies.common.criteria import validation_score
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.store import Runs, Unfinished
from examples.studies.common.sweep import Split, split
from examples.studies.common.timing import fastest
from examples.train import load_data

DATA = ("emotions", "scene", "yeast")
LOSSES = {"binary:logistic": mlc_losses.binary_cross_entropy, "zlpr": mlc_losses.zlpr}
STRATEGIES = ("one_output_per_tree", "multi_output_tree")
GRID = [
    {"max_depth": depth, "eta": eta, "min_child_weight": weight}
    for depth, eta, weight in itertools.product((3, 6), (0.1, 0.3), (0.1, 1.0))
]
# reciprocals of a leaf's summed curvature are taken, and rounding makes some of it 0
LEAST_CURVATURE = 1e-6
BATCH = 1024  # rows whose Hessians [L, L] are in memory at once
MARKS = marks("examples/studies/boosted_trees")
Objective = Callable[[np.ndarray, xgb.DMatrix], tuple[np.ndarray, np.ndarray]]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


class Boosting(NamedTuple):
    """What all trainings share; the search is over `GRID`."""

    rounds: int = 300
    patience: int = 20  # rounds without a smaller validation loss
    strategy: str = STRATEGIES[0]

    def parameters(self, seed: int) -> dict[str, Any]:
        return {
            "multi_strategy": self.strategy,
            "tree_method": "hist",
            "max_bin": 64,
            "subsample": 0.8,
            "colsample_bytree": 0.5,
            "nthread": 1,
            "seed": seed,
            "disable_default_eval_metric": True,
        }


@cache
def derivatives(loss: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """From scores and targets `[n, L]` to gradient and diagonal of the Hessian, both `[n, L]`."""
    gradient = jax.grad(loss)

    def of_example(example: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        scores, targets = example
        return gradient(scores, targets), jnp.diagonal(jax.jacfwd(gradient)(scores, targets))

    # Not all rows at once along one direction after the other: jaxlib 0.10.2 compiles that to
    # wrong numbers on the CPU
    return jax.jit(lambda *arrays: jax.lax.map(of_example, arrays, batch_size=BATCH))


def objective(loss: Callable[..., jax.Array]) -> Objective:
    """The loss as XGBoost wants an objective of several outputs.

    The curvature must be positive: a leaf's value is its summed gradient over its summed
    curvature. The exact diagonal of zlpr is p (1 - p), p being a label's share of its side of the
    loss, so only rounding makes it 0; a loss that is not convex would need the floor more often.
    """
    compiled = derivatives(loss)

    def of_matrix(scores: np.ndarray, matrix: xgb.DMatrix) -> tuple[np.ndarray, np.ndarray]:
        targets = matrix.get_label().reshape(scores.shape) > 0
        gradient, curvature = compiled(jnp.asarray(scores), jnp.asarray(targets))
        return np.asarray(gradient), np.maximum(np.asarray(curvature), LEAST_CURVATURE)

    return of_matrix


def mean_loss(name: str) -> Callable[[np.ndarray, xgb.DMatrix], tuple[str, float]]:
    """The loss as XGBoost wants a metric, for early stopping; NumPy is enough for that."""

    def of_matrix(scores: np.ndarray, matrix: xgb.DMatrix) -> tuple[str, float]:
        targets = matrix.get_label().reshape(scores.shape) > 0
        return "loss", float(LOSSES[name](scores, targets).mean())

    return of_matrix


def objective_settings(name: str) -> tuple[dict[str, Any], Objective | None]:
    """Parameters and custom objective; either starts from a score of 0 for every label."""
    start = {"base_score": 0.0}
    if name == "binary:logistic":
        # the same objective, whose predictions are scores: a metric is then given scores too
        return start | {"objective": "binary:logitraw"}, None
    return start, objective(LOSSES[name])


def matrices(rows: Split) -> tuple[xgb.QuantileDMatrix, xgb.QuantileDMatrix]:
    """Training and validation rows, binned alike."""
    bins = Boosting().parameters(0)["max_bin"]
    (x, y), (x_held_out, y_held_out) = rows.train, rows.validation
    train = xgb.QuantileDMatrix(x, y.astype(np.float32), max_bin=bins, nthread=1)
    held_out = xgb.QuantileDMatrix(
        x_held_out, y_held_out.astype(np.float32), max_bin=bins, ref=train, nthread=1
    )
    return train, held_out


def predict(booster: xgb.Booster, x: np.ndarray) -> np.ndarray:
    return booster.predict(xgb.DMatrix(x, nthread=1), output_margin=True)


def run_one(rows: Split, name: str, seed: int, boosting: Boosting) -> dict[str, Any]:
    """One objective and seed: every setting is trained, validation chooses, the test follows."""
    train, held_out = matrices(rows)
    chosen, custom = objective_settings(name)
    boosters, rounds, scores = [], [], []
    began = time.process_time()
    for setting in GRID:
        stop = xgb.callback.EarlyStopping(rounds=boosting.patience, save_best=True)
        boosters.append(
            xgb.train(
                boosting.parameters(seed) | chosen | setting,
                train,
                boosting.rounds,
                evals=[(held_out, "validation")],
                obj=custom,
                custom_metric=mean_loss(name),
                verbose_eval=False,
                callbacks=[stop],
            )
        )
        rounds.append(boosters[-1].num_boosted_rounds())
        scores.append(predict(boosters[-1], rows.validation[0]))
    seconds = time.process_time() - began
    choices = [validation_score(s, rows.validation[1]) for s in scores]
    best = int(np.argmax(choices))
    threshold = float(mlc_losses.tune_thresholds(scores[best], rows.validation[1], average="micro"))
    test = predict(boosters[best], rows.test[0])
    result = {
        "seconds": seconds,
        "choices": choices,
        "setting": GRID[best],
        "rounds": rounds[best],
        "all rounds": sum(rounds),
        "threshold": threshold,
    }
    for key, cut in {"test at 0": 0.0, "test": threshold}.items():
        result[key] = all_metrics(test, mlc_losses.predict_threshold(test, cut), rows.test[1])
    return result


def measure_costs(rows: Split, boosting: Boosting, repeats: int) -> dict[str, Any]:
    """Seconds of what one round is made of: derivatives, and trees of depth 6 on them."""
    scores = jnp.asarray(np.random.default_rng(0).normal(size=rows.train[1].shape), jnp.float32)
    targets = jnp.asarray(rows.train[1])
    calls: dict[str, Callable[[], Any]] = {
        "gradient": partial(jax.jit(jax.vmap(jax.grad(mlc_losses.zlpr))), scores, targets),
        "gradient and Hessian diagonal": partial(derivatives(mlc_losses.zlpr), scores, targets),
    }
    train, _ = matrices(rows)
    parameters = boosting.parameters(0) | objective_settings("binary:logistic")[0]
    for depth in (3, 6):
        booster = xgb.Booster(parameters | {"max_depth": depth}, cache=[train])
        rounds = itertools.count()
        calls[f"round of binary:logistic, depth {depth}"] = lambda b=booster, r=rounds: b.update(
            train, next(r)
        )
    return {"labels": targets.shape[1], "rows": len(targets), **fastest(calls, repeats)}


def check_choices(seeds: int, strategies: Sequence[str]) -> None:
    check_names("strategy", strategies, STRATEGIES)
    check_named_once("strategy", strategies)


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    strategy: Annotated[list[str], Option(help="XGBoost's; repeat")] = [STRATEGIES[0]],  # noqa: B006
    seeds: Annotated[int, Option(min=1, help="0, 1, ...")] = 5,
    rounds: Annotated[int, Option(min=1, help="of boosting, at most")] = 300,
    validation: Annotated[float, Option(min=0.05, max=0.9, help="share of training rows")] = 0.2,
    repeats: Annotated[int, Option(min=1, help="of each timing")] = 30,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/boosted_trees"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/boosted_trees.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    check_choices(seeds, strategy)
    all_data = [load_data(source) for source in sources(data or [], data_dir, DATA)]
    kept, records, costs = Runs(runs, finished), [], []
    with Progress(*BAR, console=console) as progress:
        total = len(strategy) * len(LOSSES) * seeds
        for rows in all_data:
            task = progress.add_task(rows.name, total=total)
            for chosen, seed, name in itertools.product(strategy, range(seeds), LOSSES):
                progress.update(task, description=f"{rows.name} {name} seed {seed}")
                boosting = Boosting(rounds, strategy=chosen)
                key = {"grid": GRID, "shape": list(rows.train_features.shape)}
                key |= boosting._asdict() | boosting.parameters(seed) | {"validation": validation}
                key |= objective_settings(name)[0]
                run = f"{rows.name}-{chosen}-{name.replace(':', '_')}-{seed}"
                parts = split(rows, validation, seed)
                compute = partial(run_one, parts, name, seed, boosting)
                about = {"data": rows.name, "strategy": chosen, "objective": name, "seed": seed}
                if (found := kept.get(run, key, compute)) is not None:
                    records.append(about | found)
                progress.advance(task)
            compute = partial(measure_costs, split(rows, validation, 0), Boosting(), repeats)
            key = {"repeats": repeats, "validation": validation}
            if (found := kept.get(f"{rows.name}-costs", key, compute)) is not None:
                costs.append({"data": rows.name, **found})
    if not records:
        raise Unfinished(kept)
    record = {"runs": records, "costs": costs}
    figures = {figure: difference_figure(records)}
    publish(console, record, tables(records, costs), figures, json_, into, MARKS)
    return kept
