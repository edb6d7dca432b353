"""Label powerset beside zlpr: time, memory and quality, with the number of label sets growing.

    python -m examples.studies.powerset
    python -m examples.studies.powerset --data-dir DIR --into docs/results/powerset.md

A powerset model has one logit per label set, zlpr one per label. First synthetic data: the same
rows and labels, drawn from more and more distinct sets. Then real data, both costs and quality.
All methods choose their learning rate from one list, and the round to stop at, on the validation
part of the training split, by the mean of subset accuracy and micro-F1. Results are kept in
`runs/powerset/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from typer import Option

import mlc_losses
from examples import data as data_sets
from examples.model import Params, Settings, forward, init_params, jit_forward
from examples.report import all_metrics
from examples.studies.common.command import sources
from examples.studies.common.criteria import decision_score
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.stopping import MOST_ROUNDS, WIDE_RATES, train_network
from examples.studies.common.store import Runs, Unfinished
from examples.studies.common.sweep import all_batches, settings_for, split, train_rates
from examples.studies.common.timing import fastest
from examples.studies.powerset.report import COSTS, METHODS, cost_figure, tables
from examples.train import load_data
from mlc_losses import LabelPowerset

DATA = ("emotions", "scene", "yeast")
MARKS = marks("examples/studies/powerset")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def zlpr_loss(_: jax.Array) -> Callable[..., jax.Array]:
    return mlc_losses.zlpr


def powerset_loss(_: jax.Array) -> Callable[..., jax.Array]:
    return mlc_losses.label_powerset


def decisions(powerset: LabelPowerset) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """From logits to bool `[n, L]`, for each of `METHODS`."""
    return {
        "zlpr": mlc_losses.predict_threshold,
        "powerset, likeliest set": lambda s: powerset.decode(jnp.argmax(s, axis=-1)),
        "powerset, marginals": lambda s: powerset.marginals(s) > 0.5,
    }


def predictors(powerset: LabelPowerset) -> dict[str, Callable[..., jax.Array]]:
    """From parameters and features to bool `[n, L]`."""
    return {
        method: jax.jit(lambda params, x, decide=decide: decide(forward(params, x)))
        for method, decide in decisions(powerset).items()
    }


def synthetic(rows: int, labels: int, sets: int, features: int = 64) -> tuple[np.ndarray, ...]:
    """Features, and targets with exactly `sets` distinct label sets, about four labels each."""
    generator = np.random.default_rng(0)
    table = np.zeros((0, labels), bool)
    while len(table) < sets:
        more = generator.random((2 * sets, labels)) < 4 / labels
        table = np.unique(np.concatenate([table, more]), axis=0)
    table = generator.permutation(table)[:sets]
    # each set at least once
    ids = np.concatenate([np.arange(sets), generator.integers(0, sets, rows - sets)])
    targets = table[generator.permutation(ids)]
    x = targets @ generator.normal(size=(labels, features)) + generator.normal(
        size=(rows, features)
    )
    return x.astype(np.float32), targets


def measure_costs(
    x: np.ndarray, targets: np.ndarray, settings: Settings, repeats: int
) -> dict[str, Any]:
    """For each method time and memory of one training epoch, and time per predicted row."""
    powerset = LabelPowerset.fit(targets)
    batches = all_batches(len(x), settings._replace(epochs=1), 0)
    kinds = {
        "zlpr": (zlpr_loss, targets.shape[1], targets),
        "powerset": (powerset_loss, powerset.num_sets, powerset.encode(targets)),
    }
    training, predicting, result = {}, {}, {"sets": powerset.num_sets}
    for kind, (loss_for, outputs, y) in kinds.items():
        arrays = [jax.random.key(0), jnp.array([1e-3]), batches, jnp.asarray(x), jnp.asarray(y)]
        compiled = train_rates.lower(
            *arrays, loss_for=loss_for, outputs=outputs, settings=settings
        ).compile()
        params = init_params(jax.random.key(0), [x.shape[1], settings.hidden, outputs])
        memory = compiled.memory_analysis()
        result[kind] = {
            "training bytes": memory.temp_size_in_bytes + memory.output_size_in_bytes,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        }
        training[kind] = partial(compiled, *arrays)
        for method, predict in predictors(powerset).items():
            if method.startswith(kind):
                predicting[method] = partial(predict, params, jnp.asarray(x[:1024]))
    for kind, seconds in fastest(training, repeats).items():
        result[kind]["epoch seconds"] = seconds
    for method, seconds in fastest(predicting, 4 * repeats).items():
        entry = result.setdefault(method, dict(result["powerset"]))
        entry["prediction seconds"] = seconds / len(x[:1024])
    del result["powerset"]
    return result


def measure_quality(
    data: data_sets.MultiLabelData, seed: int, settings: Settings, rates: Sequence[float]
) -> dict[str, Any]:
    """Test metrics of each method, at the rate and the round that validation rows chose for it."""
    rows = split(data, settings.validation, seed)
    x, targets = rows.train
    powerset = LabelPowerset.fit(targets)
    kinds = {
        "zlpr": (mlc_losses.zlpr, targets.shape[1], targets),
        "powerset": (mlc_losses.label_powerset, powerset.num_sets, powerset.encode(targets)),
    }
    known = {row.tobytes() for row in powerset.table}
    unseen = np.mean([row.tobytes() not in known for row in rows.test[1]])
    result: dict[str, Any] = {"sets": powerset.num_sets, "unseen": float(unseen)}
    held_x, held_y = rows.validation
    test_x, truth = rows.test
    for kind, (loss, outputs, y) in kinds.items():
        decide = {m: p for m, p in predictors(powerset).items() if m.startswith(kind)}

        def scores(params: Params, decide: Any = decide) -> list[float]:
            return [decision_score(np.asarray(p(params, held_x)), held_y) for p in decide.values()]

        found = train_network(x, y, outputs, loss, scores, seed, settings, rates)
        for (method, predict), one in zip(decide.items(), found, strict=True):
            logits = np.asarray(jit_forward(one.params, test_x))
            shown = logits if kind == "zlpr" else powerset.marginals(logits)
            result[method] = all_metrics(shown, np.asarray(predict(one.params, test_x)), truth)
            result[method] |= {"rate": one.rate, "round": one.round, "rounds": one.rounds}
    return result


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    sets: Annotated[list[int], Option(min=2, help="synthetic")] = [16, 128, 1024, 8192],  # noqa: B006
    rows: Annotated[int, Option(min=16, help="synthetic")] = 8192,
    labels: Annotated[int, Option(min=8, help="synthetic")] = 32,
    seeds: Annotated[int, Option(min=1, help="0, 1, ...")] = 10,
    rounds: Annotated[int, Option(min=1, help="of training at most")] = MOST_ROUNDS,
    repeats: Annotated[int, Option(min=1, help="of each timing")] = 7,
    runs: Annotated[Path, Option(help="finished measurements")] = Path("runs/powerset"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/powerset.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, measure nothing")] = False,
) -> Runs:
    for number in sets:
        if number > min(rows, 2 ** (labels - 2)):
            raise typer.BadParameter(
                f"{number} sets need as many --rows (now {rows}) and more --labels",
                param_hint="--sets",
            )
    all_data = [load_data(source) for source in sources(data or [], data_dir, DATA)]
    settings = Settings(hidden=128, batch_size=128, weight_decay=0.01)

    store = Runs(runs, finished)

    def kept(name: str, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
        console.print(name)
        return store.get(name, key, compute)

    costs = {}
    for number in sorted(sets):
        key = {"rows": rows, "labels": labels, "repeats": repeats, **settings._asdict()}
        costs[f"synthetic {number}"] = kept(
            f"cost-synthetic-{number}",
            key,
            lambda n=number: measure_costs(*synthetic(rows, labels, n), settings, repeats),
        )
    quality = {}
    for rows_of in all_data:
        own = settings_for(rows_of)
        key = own._asdict() | {"shape": rows_of.train_features.shape}
        longest = own._replace(epochs=rounds)
        costs[rows_of.name] = kept(
            f"cost-{rows_of.name}",
            key | {"repeats": repeats},
            partial(measure_costs, rows_of.train_features, rows_of.train_targets, own, repeats),
        )
        results = [
            kept(
                f"quality-{rows_of.name}-{seed}",
                key | {"epochs": rounds, "rates": WIDE_RATES},
                partial(measure_quality, rows_of, seed, longest, WIDE_RATES),
            )
            for seed in range(seeds)
        ]
        quality[rows_of.name] = [result for result in results if result is not None]
    if None in costs.values() or not all(quality.values()):
        raise Unfinished(store, "not every cost, or no run of a data set, is finished")
    measured = {"costs": costs, "quality": quality}
    series = [cost for name, cost in costs.items() if name.startswith("synthetic ")]
    title = f"{labels} labels, {rows} rows: cost against the number of distinct label sets"
    figures = {figure: cost_figure(series, METHODS, COSTS, title)}
    publish(console, measured, tables(measured), figures, json_, into, MARKS)
    return store
