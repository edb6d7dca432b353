"""K classes per example on average: a thresholded softmax, the two-head loss, single positives.

    python -m examples.studies.average_k
    python -m examples.studies.average_k --data-dir DIR --into docs/results/average_k.md

Every method trains the same small network at five learning rates and five values of a constant of
its own, until average-k accuracy on the validation part of the training split stops improving; this
accuracy chooses. While the choice is the lowest rate, a lower one is tried. The choice is then
trained again for every seed. The threshold is that of k classes on average on the validation rows,
found without their labels. Test rows are used once, after all choices.

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
from rich.progress import Progress
from typer import Option

from examples.model import Settings, forward
from examples.studies.average_k.methods import (
    LONG,
    METHODS,
    Method,
    begin,
    scores_of,
    train_round,
)
from examples.studies.average_k.report import curves_figure, tables
from examples.studies.average_k.scores import SIZES, evaluate, validation_accuracy
from examples.studies.common import one_label
from examples.studies.common.command import BAR, check_names
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.stopping import LEAST_STEPS, MOST_ROUNDS, PATIENCE
from examples.studies.common.store import Runs, Unfinished

FILES = ("cjk_radical214", "omniglot_small28", "udhr2_lang_char3hash4096")
KS = (2, 5, 10)
RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
LONG_K, LONG_RATES = 5, (1e-2, 3e-2)
# tried one after the other while the best one is the lowest
LOWER_RATES = (3e-3, 1e-3, 3e-4, 1e-4)
VALIDATION = 0.2
COMPONENTS = 128
MARKS = marks("examples/studies/average_k")
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

    def configurations(self, rates: Sequence[float]) -> np.ndarray:
        grid = itertools.product(rates, self.method.decays, self.method.constants)
        return np.array([(rate, decay, *own) for rate, decay, own in grid], np.float32)

    def name_of(self, part: str) -> str:
        k = f"-{self.ks[0]:g}" if self.method.of_k else ""
        return f"{self.data.name}-{self.name}{k}-{part}".replace(" ", "_").replace(",", "")

    def key(self) -> dict[str, Any]:
        """What a kept result must have been made with, beside the configurations."""
        return {
            "keywords": str(getattr(self.method.loss, "keywords", {})),
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


def settings_for(rounds: int, hidden: int) -> Settings:
    """Batches of 128 for every method; `epochs` is the most rounds there are."""
    return Settings(rounds, 128, hidden, dropout=0.2, input_dropout=0.0, validation=VALIDATION)


def round_of(rows: np.ndarray, settings: Settings, seed: int, number: int) -> np.ndarray:
    """Numbers of training rows `[epochs, steps, batch size]`: `LEAST_STEPS` or more."""
    generator = np.random.default_rng((seed, number))
    size = min(settings.batch_size, len(rows))
    steps = len(rows) // size
    epochs = -(-LEAST_STEPS // steps)
    orders = [generator.permutation(rows)[: steps * size] for _ in range(epochs)]
    return np.stack(orders).reshape(epochs, steps, size).astype(np.int32)


jit_forward = jax.jit(forward)


class Best(NamedTuple):
    """The round of a run that validation liked best, by one head; `params` are on the host."""

    value: float
    params: Any
    round: int


def train(job: Job, configurations: np.ndarray, seeds: Sequence[int]) -> dict[str, list[Best]]:
    """For each head the best round of each run, one configuration and one seed each.

    Training goes on until no seed has had a better model for `PATIENCE` rounds.
    """
    parts = {seed: one_label.split(job.data, VALIDATION, seed) for seed in dict.fromkeys(seeds)}
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    x, y = jnp.asarray(job.data.train_features), jnp.asarray(job.data.train_labels)
    shared = {"num_classes": job.data.num_classes, "settings": job.settings, "method": job.method}
    k = float(job.ks[0]) if job.method.of_k else 0.0
    state = begin(keys, x, y, **shared)
    best: dict[str, list[Best]] = {}
    number, last = 0, 0
    while number < job.settings.epochs and number - last < PATIENCE:
        number += 1
        drawn = {s: round_of(p.train_index, job.settings, s, number) for s, p in parts.items()}
        every = [drawn[seed] for seed in seeds]
        batches = jnp.asarray(every[0] if len(parts) == 1 else np.stack(every))
        first = jnp.asarray((number - 1) * len(every[0]))
        folded = jax.vmap(partial(jax.random.fold_in, data=number))(keys)
        state = train_round(
            state, folded, jnp.asarray(configurations), batches, first, x, y, k=k, **shared
        )
        host = jax.device_get(state.params)
        for run, seed in enumerate(seeds):
            params = jax.tree.map(lambda leaf, i=run: leaf[i], host)
            rows = parts[seed].validation_index
            outputs = np.asarray(jit_forward(params, job.data.train_features[rows]))
            for head, scores in scores_of(job.name, outputs).items():
                value = validation_accuracy(scores, job.data.train_labels[rows], job.ks)
                found = best.setdefault(head, [Best(-np.inf, params, 0)] * len(seeds))
                same = [one.value for one, other in zip(found, seeds, strict=True) if other == seed]
                if value > max(same):
                    last = number
                if value > found[run].value:
                    found[run] = Best(value, params, number)
    return best


def search(job: Job, configurations: np.ndarray) -> dict[str, list[float]]:
    """For each head the validation accuracy of each configuration, averaged over k; seed 0."""
    found = train(job, configurations, [0] * len(configurations))
    return {head: [one.value for one in runs] for head, runs in found.items()}


class Chosen(NamedTuple):
    """The configuration of one head that validation liked best, of so many tried."""

    configuration: tuple[float, ...]
    validation: float
    tried: int


def choose(job: Job, runs: Runs) -> tuple[dict[str, Chosen], bool]:
    """The result of the search, lower rates included; and whether no part of it is missing."""
    tried: list[list[float]] = []
    found: dict[str, list[float]] = {}
    best: dict[str, int] = {}
    lower = [(rate,) for rate in LOWER_RATES if rate < min(job.rates)]
    for rates in (job.rates, *lower):
        if tried and all(tried[index][0] > min(tried)[0] for index in best.values()):
            break
        configurations = job.configurations(rates)
        key = job.key() | {"configurations": configurations.tolist()}
        name = job.name_of("search" if rates is job.rates else f"search-{rates[0]:g}")
        more = runs.get(name, key, partial(search, job, configurations))
        if more is None:
            break
        tried += configurations.tolist()
        found = {head: [*found.get(head, []), *values] for head, values in more.items()}
        best = {head: int(np.argmax(values)) for head, values in found.items()}
    chosen = {
        head: Chosen(tuple(tried[index]), found[head][index], len(tried))
        for head, index in best.items()
    }
    return chosen, more is not None


def test(job: Job, chosen: Mapping[str, Chosen]) -> list[dict[str, Any]]:
    """The configuration chosen for each head, trained for every seed, on the test split."""
    seeds = range(max(job.seeds[k] for k in job.ks))

    @cache
    def trained(configuration: tuple[float, ...]) -> dict[str, list[Best]]:
        return train(job, np.array([configuration] * len(seeds), np.float32), seeds)

    records = []
    for head, choice in chosen.items():
        for seed, one in enumerate(trained(choice.configuration)[head]):
            rows = one_label.split(job.data, VALIDATION, seed).validation_index
            parts = (job.data.train_features[rows], job.data.test_features)
            validation, scores = (
                scores_of(job.name, np.asarray(jit_forward(one.params, x)))[head] for x in parts
            )
            for k in job.ks:
                if seed < job.seeds[k]:
                    result = evaluate(job.data, k, validation, scores)
                    result |= {"data": job.data.name, "method": head, "k": k, "seed": seed}
                    records.append(result | {"round": one.round})
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
    chosen, is_final = choose(job, runs)
    if not chosen:
        return []
    configurations = {head: choice.configuration for head, choice in chosen.items()}
    key = job.key() | {"chosen": configurations}
    # asked for in any case: a test of the choice so far may be one of the final choice
    records = runs.get(job.name_of("test"), key, partial(test, job, chosen))
    if records is None or not is_final:
        return []
    return [record | _about(chosen[record["method"]]) for record in records]


def _about(choice: Chosen) -> dict[str, Any]:
    return {
        "configuration": [round(float(value), 6) for value in choice.configuration],
        "validation": choice.validation,
        "configurations": choice.tried,
    }


def load(source: str) -> one_label.OneLabelData:
    try:
        return one_label.load(source)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error


def default_sources(data_dir: Path | None) -> list[str]:
    """babel's names, which need no file, and the files."""
    files = [str(data_dir / f"{name}.npz") for name in FILES] if data_dir else []
    return ["locale_names", *files]


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{one_label.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="holds the .npz files")] = None,
    method: Annotated[list[str], Option(help="repeat; default all")] = list(METHODS),  # noqa: B006
    k: Annotated[list[float], Option(min=1, help="classes on average")] = list(KS),  # noqa: B006
    seeds: Annotated[int, Option(min=1, help="at k = 5; at others 3 at most")] = 10,
    rounds: Annotated[int, Option(min=1, help="of training at most")] = MOST_ROUNDS,
    hidden: Annotated[int, Option(min=1, help="hidden units")] = 64,
    full: Annotated[bool, Option("--full", help="all seeds at all k")] = False,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/average_k"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/average_k.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    check_names("method", method, METHODS)
    per_k = {size: seeds if full or size == LONG_K else min(seeds, 3) for size in k}
    long_ks = k if full else [size for size in k if size == LONG_K]
    kept = Runs(runs / "full" if full else runs, finished)
    records: list[dict[str, Any]] = []
    with Progress(*BAR, console=console) as progress:
        for source in data or default_sources(data_dir):
            rows = principal_components(load(source))
            todo = list(jobs(rows, method, k, per_k, settings_for(rounds, hidden), long_ks))
            task = progress.add_task(rows.name, total=len(todo))
            for job in todo:
                of_k = f", k = {job.ks[0]:g}" if job.method.of_k else ""
                progress.update(task, description=f"{rows.name}: {job.name}{of_k}")
                records += run(job, kept)
                progress.advance(task)
    if not records:
        raise Unfinished(kept)
    figures = {figure: curves_figure(records, SIZES)}
    publish(console, records, tables(records), figures, json_, into, MARKS)
    return kept
