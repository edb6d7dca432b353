"""Contrastive training for several labels, then a linear probe, beside training end to end.

    python -m examples.studies.contrastive
    python -m examples.studies.contrastive --data-dir DIR --into docs/results/contrastive.md

The protocol is that of a study of multi-label contrastive learning (arXiv 2412.00101): an encoder
trained by a contrastive loss is frozen, and a linear layer with binary cross-entropy is trained on
it; against the same encoder trained end to end. At 10, 30 and 100 % of the training split.

Each method picks its learning rate from one list on a validation part, and the round to stop at, by
the mean of micro-F1 and label ranking average precision, and one threshold for all labels there
too. Test rows are used once, after all choices. Finished runs are kept in `runs/contrastive/`: a
comparison that was cut off goes on from there.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
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
from examples.report import all_metrics
from examples.studies.common.command import BAR, check_names, sources
from examples.studies.common.criteria import validation_score
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.ranks import complete
from examples.studies.common.stopping import State, round_batches, until_no_better
from examples.studies.common.store import Runs, Unfinished
from examples.studies.contrastive import report as contrastive_report
from examples.studies.contrastive.training import (
    END_TO_END,
    METHODS,
    Rows,
    Settings,
    Trained,
    all_batches,
    begin,
    choose_rows,
    finish,
    jit_encode,
    scores_of,
    train_round,
)
from examples.train import load_data

DATA = ("scene", "bibtex", "reuters21578_modapte90")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FRACTIONS = (0.1, 0.3, 1.0)
MARKS = marks("examples/studies/contrastive")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def settings_for(data: data_sets.MultiLabelData, rounds: int) -> Settings:
    """Smaller batches on small data; the same for every method and fraction."""
    few = len(data.train_features) < 3000
    # a queue of more keys than there are rows would hold each of them several times
    return Settings(rounds, batch_size=64, queue=256) if few else Settings(rounds)


def run_one(
    data: data_sets.MultiLabelData,
    method: str,
    fraction: float,
    seed: int,
    settings: Settings,
    rates: Sequence[float],
) -> dict[str, Any]:
    """Train at every rate, choose rate and round by validation, then test what was chosen."""
    rows = choose_rows(data, fraction, seed, settings)
    size, key = settings.batch_size, jax.random.key(seed)
    x, y, given = jnp.asarray(rows.x), jnp.asarray(rows.y), jnp.asarray(rates, jnp.float32)
    about: Any = {"method": method, "settings": settings}
    probed = all_batches(rows.train, settings.probe_steps, size, seed)
    began = time.perf_counter()

    def advance(state: State, number: int) -> State:
        drawn = round_batches(len(rows.train), size, seed, number, settings.round_steps)
        batches = rows.train[drawn]
        return train_round(state, given, batches, jax.random.fold_in(key, number), x, y, **about)

    held_x, held_y = rows.x[rows.validation], rows.y[rows.validation]

    def score(params: Any) -> float:
        model = finish(params["network"], probed, x, y, **about)
        return validation_score(np.asarray(scores_of(model, held_x)), held_y)

    (best,) = until_no_better(
        begin(key, given, x.shape[1], y, method, settings),
        advance,
        lambda params: [score(params)],
        rates,
        most_rounds=settings.rounds,
        patience=settings.patience,
    )
    if best.value < 0:
        raise ValueError(f"{method} diverges on {data.name} at every rate; add a smaller --rate")
    model = finish(best.params["network"], probed, x, y, **about)
    seconds = time.perf_counter() - began
    scores = np.asarray(scores_of(model, held_x))
    threshold = float(mlc_losses.tune_thresholds(scores, held_y, average="micro"))
    test = np.asarray(scores_of(model, rows.test_x))
    found = all_metrics(test, mlc_losses.predict_threshold(test, threshold), rows.test_y)
    result = {
        "seconds": seconds,
        "rate": best.rate,
        "round": best.round,
        "rounds": best.rounds,
        "threshold": threshold,
        "test": {name: found[key] for name, key in contrastive_report.METRICS.items()},
    }
    if seed == 0 and fraction == 1.0:
        result["projection"] = projection(model, rows)
    return result


def projection(model: Trained, rows: Rows, count: int = 500) -> list[list[float]]:
    """Some test rows on the two principal axes of their normalised representations."""
    shown = contrastive_report.shown_rows(len(rows.test_x), count)
    z = np.asarray(jit_encode(model.network, rows.test_x[shown]))
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9)
    z = z - z.mean(axis=0)
    axes = np.linalg.svd(z, full_matrices=False)[2][:2]
    return np.round(z @ axes.T, 3).tolist()


def compare(
    data: data_sets.MultiLabelData,
    methods: Sequence[str],
    fractions: Sequence[float],
    seeds: int,
    other_seeds: int,
    settings: Settings,
    rates: Sequence[float],
    runs: Runs,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The records of one data set; those that `runs` holds already are read from there."""
    key = settings._asdict() | {"rates": list(rates), "shape": list(data.train_features.shape)}
    wanted = [
        (method, fraction, seed)
        for method, fraction in itertools.product(methods, fractions)
        for seed in range(seeds if fraction == 1.0 else min(seeds, other_seeds))
    ]
    task = progress.add_task(data.name, total=len(wanted))
    records = []
    for method, fraction, seed in wanted:
        name = f"{data.name}-{method.replace(' ', '_')}-{100 * fraction:g}-{seed}"
        progress.update(task, description=name)
        compute = partial(run_one, data, method, fraction, seed, settings, rates)
        if (found := runs.get(name, key, compute)) is not None:
            record = {"data": f"{data.name}, {100 * fraction:g} %", "loss": method, "seed": seed}
            records.append(record | found)
        progress.update(task, advance=1)
    return records


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    method: Annotated[list[str], Option(help="repeat; default all")] = list(METHODS),  # noqa: B006
    fraction: Annotated[list[float], Option(min=0.01, max=1)] = list(FRACTIONS),  # noqa: B006
    seeds: Annotated[int, Option(min=1, help="of all training rows")] = 10,
    other_seeds: Annotated[int, Option(min=1, help="of the other fractions")] = 3,
    rate: Annotated[list[float], Option(min=0, help="learning rates")] = list(RATES),  # noqa: B006
    rounds: Annotated[int, Option(min=1, help="of training at most")] = Settings().rounds,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/contrastive"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/contrastive.png"),
    embeddings: Annotated[Path, Option(dir_okay=False)] = Path("runs/contrastive_embeddings.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    check_names("method", method, METHODS)
    all_data = [load_data(source) for source in sources(data or [], data_dir, DATA)]
    kept, records = Runs(runs, finished), []
    with Progress(*BAR, console=console) as progress:
        for rows in all_data:
            settings = settings_for(rows, rounds)
            given = (method, fraction, seeds, other_seeds, settings, rate)
            records += compare(rows, *given, kept, progress)
    records = complete(records)
    if not records:
        raise Unfinished(kept, "no method is finished on all data")
    reported = contrastive_report.tables(records, next(iter(END_TO_END)))
    figures = {figure: contrastive_report.metric_figure(records, tuple(END_TO_END))}
    drawn = [record for record in records if "projection" in record]
    if drawn:
        targets = {f"{rows.name}, 100 %": rows.test_targets for rows in all_data}
        figures[embeddings] = contrastive_report.embedding_figure(drawn, targets)
    publish(console, records, reported, figures, json_, into, MARKS)
    return kept
