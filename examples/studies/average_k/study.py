"""K classes per example on average: a thresholded softmax, the two-head loss, single positives.

    python -m examples.studies.average_k
    python -m examples.studies.average_k --data-dir DIR --into docs/results/average_k.md

Every method trains the same small network at five learning rates and five values of a constant of
its own; average-k accuracy on the validation part of the training split chooses, and the choice is
then trained anew for every seed. The threshold is that of k classes on average on the validation
rows, found without their labels. Test rows are used once, after all choices.

Each finished search and test is kept in `runs/average_k/`: a run that was cut off goes on there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from typer import Option

from examples.model import Settings, forward
from examples.studies.average_k.methods import LONG, METHODS, Method, scores_of, train_runs
from examples.studies.average_k.report import curves_figure, tables
from examples.studies.average_k.scores import SIZES, evaluate, validation_accuracy
from examples.studies.common import one_label
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.store import Runs

FILES = ("cjk_radical214", "omniglot_small28", "udhr2_lang_char3hash4096")
KS = (2, 5, 10)
RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
LONG_K, LONG_RATES = 5, (1e-2, 3e-2)
VALIDATION = 0.2
COMPONENTS = 128
MARKS = marks("examples/studies/average_k")
BAR = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


class Job(NamedTuple):
    """A method on one data set, searched and tested for these k with these seeds."""

    data: one_label.OneLabelData
    name: str
    method: Method
    rates: Sequence[float]
    ks: tuple[float, ...]
    seeds: dict[float, int]
    settings: Settings

    def configurations(self) -> np.ndarray:
        grid = itertools.product(self.rates, self.method.decays, self.method.constants)
        return np.array([(rate, decay, *own) for rate, decay, own in grid], np.float32)

    def name_of(self, part: str) -> str:
        k = f"-{self.ks[0]:g}" if self.method.of_k else ""
        return f"{self.data.name}-{self.name}{k}-{part}".replace(" ", "_").replace(",", "")

    def key(self) -> dict[str, Any]:
        """What a kept result must have been made with."""
        return {
            "keywords": str(getattr(self.method.loss, "keywords", {})),
            "configurations": self.configurations().tolist(),
            "ks": list(self.ks),
            "seeds": [self.seeds[k] for k in self.ks],
            "settings": list(self.settings),
            "rows": [len(self.data.train_labels), len(self.data.test_labels)],
        }


def principal_components(
    data: one_label.OneLabelData, components: int = COMPONENTS
) -> one_label.OneLabelData:
    """Features on the first principal axes of the training split, which need no labels."""
    train = data.train_features
    center = train.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(train - center, rowvar=False).astype(np.float64))
    axes = axes[:, ::-1][:, :components].astype(np.float32)
    train, test = ((x - center) @ axes for x in (train, data.test_features))
    scale = np.sqrt(np.mean(train**2))
    return data._replace(train_features=train / scale, test_features=test / scale)


def settings_for(data: one_label.OneLabelData, steps: int, hidden: int) -> Settings:
    """About that many steps; 64 hidden units and batches of 128 for every method."""
    size = 128
    per_epoch = max(1, round(len(data.train_labels) * (1 - VALIDATION)) // size)
    epochs = max(2, round(steps / per_epoch))
    return Settings(epochs, size, hidden, dropout=0.2, input_dropout=0.0, validation=VALIDATION)


def all_batches(rows: np.ndarray, settings: Settings, seed: int) -> np.ndarray:
    """Numbers of training rows `[epochs, steps, batch size]`."""
    generator = np.random.default_rng(seed)
    size = min(settings.batch_size, len(rows))
    steps = len(rows) // size
    orders = [generator.permutation(rows)[: steps * size] for _ in range(settings.epochs)]
    return np.stack(orders).reshape(settings.epochs, steps, size).astype(np.int32)


all_forward = jax.jit(jax.vmap(forward, in_axes=(0, None)))


def train(job: Job, configurations: np.ndarray, seeds: Sequence[int]) -> Any:
    """Networks `[runs, ...]`: one seed for all configurations, or one for each."""
    batches = [
        all_batches(one_label.split(job.data, VALIDATION, seed).train_index, job.settings, seed)
        for seed in seeds
    ]
    keys = [jax.random.key(seed) for seed in seeds]
    if len(seeds) == 1:
        keys *= len(configurations)
    return train_runs(
        jnp.stack(keys),
        jnp.asarray(configurations),
        jnp.asarray(batches[0] if len(seeds) == 1 else np.stack(batches)),
        jnp.asarray(job.data.train_features),
        jnp.asarray(job.data.train_labels),
        method=job.method,
        k=float(job.ks[0]) if job.method.of_k else 0.0,
        num_classes=job.data.num_classes,
        settings=job.settings,
    )


def search(job: Job) -> dict[str, list[float]]:
    """For each head the validation accuracy of each configuration, averaged over k; seed 0."""
    rows = one_label.split(job.data, VALIDATION, 0).validation_index
    labels = job.data.train_labels[rows]
    params = train(job, job.configurations(), [0])
    outputs = np.asarray(all_forward(params, job.data.train_features[rows]))
    found: dict[str, list[float]] = {}
    for one in outputs:
        for head, scores in scores_of(job.name, one).items():
            found.setdefault(head, []).append(validation_accuracy(scores, labels, job.ks))
    return found


def test(job: Job, found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """The best configuration of each head, trained for every seed, on the test split."""
    configurations, seeds = job.configurations(), range(max(job.seeds[k] for k in job.ks))

    @cache
    def outputs(best: int) -> list[tuple[np.ndarray, np.ndarray]]:
        params = train(job, np.repeat(configurations[best : best + 1], len(seeds), 0), seeds)
        results = []
        for seed in seeds:
            rows = one_label.split(job.data, VALIDATION, seed).validation_index
            chosen = jax.tree.map(lambda leaf: leaf[seed : seed + 1], params)  # noqa: B023
            parts = (job.data.train_features[rows], job.data.test_features)
            results.append(tuple(np.asarray(all_forward(chosen, x)[0]) for x in parts))
        return results

    records = []
    for head, accuracies in found.items():
        best = int(np.argmax(accuracies))
        for k, (seed, pair) in itertools.product(job.ks, enumerate(outputs(best))):
            if seed < job.seeds[k]:
                validation, scores = (scores_of(job.name, x)[head] for x in pair)
                result = evaluate(job.data, k, validation, scores)
                result |= {"data": job.data.name, "method": head, "k": k, "seed": seed}
                result["configuration"] = [round(float(v), 6) for v in configurations[best]]
                records.append(result | {"validation": accuracies[best]})
    return records


def jobs(
    data: one_label.OneLabelData,
    names: Sequence[str],
    ks: Sequence[float],
    seeds: dict[float, int],
    settings: Settings,
    long_ks: Sequence[float],
) -> Iterator[Job]:
    """Everything to do on one data set, the long search of the two-head loss last."""
    for name in names:
        method = METHODS[name]
        for some in [(k,) for k in ks] if method.of_k else [tuple(ks)]:
            yield Job(data, name, method, RATES, some, seeds, settings)
    if "two-head" in names:
        for k, (name, method) in itertools.product(long_ks, LONG.items()):
            yield Job(data, name, method, LONG_RATES, (k,), seeds, settings)


def run(job: Job, runs: Runs) -> list[dict[str, Any]]:
    """Search, then test; with `finished` only what is kept already."""
    found = runs.get(job.name_of("search"), job.key(), partial(search, job))
    if found is None:
        return []
    key = job.key() | {"found": found}
    records = runs.get(job.name_of("test"), key, partial(test, job, found)) or []
    return [record | {"configurations": len(job.configurations())} for record in records]


def load(source: str) -> one_label.OneLabelData:
    try:
        return one_label.load(source)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error


def default_sources(data_dir: Path | None) -> list[str]:
    """babel's names, which need no file, and the files that are there."""
    paths = [data_dir / f"{name}.npz" for name in FILES] if data_dir else []
    return ["locale_names", *(str(path) for path in paths if path.exists())]


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{one_label.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="holds .npz files, used if there")] = None,
    method: Annotated[list[str], Option(help="repeat; default all")] = list(METHODS),  # noqa: B006
    k: Annotated[list[float], Option(min=1, help="classes on average")] = list(KS),  # noqa: B006
    seeds: Annotated[int, Option(min=1, help="at k = 5; at others 3 at most")] = 10,
    steps: Annotated[int, Option(min=1, help="of training, about")] = 2100,
    hidden: Annotated[int, Option(min=1, help="hidden units")] = 64,
    full: Annotated[bool, Option("--full", help="all seeds at all k")] = False,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/average_k"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/average_k.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> None:
    for name in method:
        if name not in METHODS:
            raise typer.BadParameter(
                f"unknown method {name!r}; valid: {', '.join(METHODS)}", param_hint="--method"
            )
    per_k = {size: seeds if full or size == LONG_K else min(seeds, 3) for size in k}
    long_ks = k if full else [size for size in k if size == LONG_K]
    kept = Runs(runs / "full" if full else runs, finished)
    records: list[dict[str, Any]] = []
    with Progress(*BAR, console=console) as progress:
        for source in data or default_sources(data_dir):
            rows = principal_components(load(source))
            settings = settings_for(rows, steps, hidden)
            todo = list(jobs(rows, method, k, per_k, settings, long_ks))
            task = progress.add_task(rows.name, total=len(todo))
            for job in todo:
                of_k = f", k = {job.ks[0]:g}" if job.method.of_k else ""
                progress.update(task, description=f"{rows.name}: {job.name}{of_k}")
                records += run(job, kept)
                progress.advance(task)
    if not records:
        raise typer.BadParameter(f"nothing is finished in {runs}", param_hint="--runs")
    figures = {figure: curves_figure(records, SIZES)}
    publish(console, records, tables(records), figures, json_, into, MARKS)
