"""Losses for K guesses at one label, on balanced and on heavy-tailed data.

    python -m examples.studies.top_k
    python -m examples.studies.top_k --data-dir DIR --into docs/results/top_k.md

Without --data-dir: the locale names of babel. With it: Omniglot characters, short texts in 380
languages, a long tail of each, and the radicals of Chinese characters.

Every loss gets the same search, 30 settings at K = 5 with seed 0, by the accuracy of 5 guesses on
the validation part of the training split (its mean over the classes where these are of unequal
size). Each training goes on until that accuracy stops improving. The setting chosen is trained with
10 seeds at K = 5 and with 3 at K = 1, 3 and 10. Test rows are never used to choose. Each finished
training is kept in `runs/top_k/`: a comparison that was cut off goes on from there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from typer import Option

from examples.model import Params, Settings
from examples.studies.common import one_label
from examples.studies.common.command import BAR, check_names
from examples.studies.common.one_label import OneLabelData, Rows
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.stopping import MOST_ROUNDS
from examples.studies.common.store import Runs, Unfinished
from examples.studies.top_k.data import KS, evaluated, is_heavy_tailed, load
from examples.studies.top_k.methods import (
    METHODS,
    Setting,
    jit_scores,
    settings_to_search,
    train,
)
from examples.studies.top_k.report import figure_of, tables

SEARCHED_K = 5
TEXTS = "udhr2_lang_char3hash4096"
DATA = ("omniglot_small28", TEXTS, "omniglot_small28:tail", f"{TEXTS}:tail", "cjk_radical214")
MARKS = marks("examples/studies/top_k")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


# up to larger ones than elsewhere: losses of cosines want them
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


class Plan(NamedTuple):
    """How much is trained: what --full enlarges."""

    rounds: int = MOST_ROUNDS  # at most
    rows: int = 8000  # of the training split, validation part included
    seeds: int = 10  # at K = 5
    other_seeds: int = 3


FULL = Plan(rows=10**9, other_seeds=10)


class Task(NamedTuple):
    """One data set, and the settings shared by all losses."""

    data: OneLabelData
    settings: Settings
    criterion: str

    def rows(self, seed: int) -> Rows:
        return one_label.split(self.data, self.settings.validation, seed)


def make_task(data: OneLabelData, plan: Plan) -> Task:
    settings = Settings(plan.rounds, hidden=128, batch_size=128, dropout=0.3, validation=0.2)
    return Task(data, settings, "class mean" if is_heavy_tailed(data) else "accuracy")


def trained(
    task: Task, rows: Rows, name: str, k: int, setting: Setting, seed: int
) -> dict[str, Any]:
    """One training, evaluated on the validation part and on the test split."""
    began = time.perf_counter()
    cosine = METHODS[name].cosine
    held_x, held_labels = rows.validation

    def score(params: Params) -> float:
        found = evaluated(np.asarray(jit_scores(params, held_x, cosine)), held_labels, task.data)
        return found[str(k)][task.criterion] if found else -1.0

    about = {"name": name, "k": k, "settings": task.settings}
    best = train(rows.train, task.data.num_classes, setting, seed, score, **about)
    result: dict[str, Any] = {"seconds": time.perf_counter() - began}
    result |= {"round": best.round, "rounds": best.rounds}
    for part in ("validation", "test"):
        features, part_labels = getattr(rows, part)
        scores = np.asarray(jit_scores(best.params, features, cosine))
        result[part] = evaluated(scores, part_labels, task.data)
    return result


def search(task: Task, name: str, k: int) -> dict[str, Any]:
    """Every setting once with seed 0; the one with the best validation score, and its training."""
    settings = settings_to_search(METHODS[name], RATES)
    rows = task.rows(0)
    results = [trained(task, rows, name, k, setting, 0) for setting in settings]
    parts = [result["validation"] for result in results]
    choices = [part[str(k)][task.criterion] if part else -1.0 for part in parts]
    best = int(np.argmax(choices))
    if choices[best] < 0:
        raise ValueError(f"{name} diverges on {task.data.name} with every setting")
    return {"choices": choices, "setting": settings[best], "training": results[best]}


def compare(
    task: Task,
    names: Sequence[str],
    plan: Plan,
    runs: Runs,
    after_run: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The records of all losses, K and seeds; those that `runs` holds are read from there."""
    key = task.settings._asdict() | {"rows": len(task.data.train_labels)}
    searched_k = min(SEARCHED_K, task.data.num_classes - 1)
    records = []
    for name in names:
        stem = f"{task.data.name}-{re.sub('[^a-z]+', '_', name.lower())}"
        found = runs.get(f"{stem}-search", key, partial(search, task, name, searched_k))
        if found is None:
            continue
        setting = Setting(*found["setting"][:2], tuple(found["setting"][2]))
        after_run(f"{name}: search")
        for k, seed in trainings(name, plan, task.data.num_classes):
            compute = partial(_train_one, task, name, k, setting, seed)
            if (k, seed) == (searched_k, 0):
                compute = partial(dict, found["training"])
            record = runs.get(f"{stem}-{k}-{seed}", key | {"setting": setting}, compute)
            if record is None:
                continue
            about = {"data": task.data.name, "loss": name, "k": k, "seed": seed}
            about |= {"uses_k": METHODS[name].uses_k, "criterion": task.criterion}
            about |= {"setting": setting}
            records.append(about | record)
            after_run(f"{name}: K {k}, seed {seed}")
    return records


def _train_one(task: Task, name: str, k: int, setting: Setting, seed: int) -> dict[str, Any]:
    return trained(task, task.rows(seed), name, k, setting, seed)


def trainings(name: str, plan: Plan, num_classes: int) -> list[tuple[int, int]]:
    """K and seed of each; a loss without K is trained once for all of them."""
    at_five = [(min(SEARCHED_K, num_classes - 1), seed) for seed in range(plan.seeds)]
    if not METHODS[name].uses_k:
        return at_five
    others = [k for k in KS if k != SEARCHED_K and k < num_classes]
    return at_five + [(k, seed) for k in others for seed in range(plan.other_seeds)]


def sources(names: Sequence[str], data_dir: Path | None) -> list[str]:
    if not data_dir:
        return list(names or ["locale_names"])
    paths = []
    for name in names or DATA:
        stem, colon, tail = name.partition(":")
        paths.append(f"{data_dir / stem}.npz{colon}{tail}")
    return paths


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[
        list[str] | None, Option(help=f"{one_label.SOURCES}; :tail thins it out; repeat")
    ] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    loss: Annotated[list[str], Option(help="repeat; default all")] = list(METHODS),  # noqa: B006
    label_noise: Annotated[float, Option(min=0, max=1, help="share of confused labels")] = 0.0,
    full: Annotated[bool, Option("--full", help="all rows, 10 seeds at each K")] = False,
    rounds: Annotated[int, Option(min=1, help="of training at most")] = MOST_ROUNDS,
    seeds: Annotated[int | None, Option(min=1, help="at K = 5; fewer at the others")] = None,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/top_k"),
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/top_k.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the tables in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    check_names("loss", loss, METHODS)
    plan = FULL if full else Plan()
    plan = plan._replace(rounds=rounds)
    if seeds:
        plan = plan._replace(seeds=seeds, other_seeds=min(seeds, plan.other_seeds))
    kept = Runs(runs / "full" if full else runs, finished)
    records: list[dict[str, Any]] = []
    with Progress(*BAR, console=console) as progress:
        for source in sources(data or [], data_dir):
            task = make_task(load(source, plan.rows, label_noise), plan)
            total = sum(1 + len(trainings(n, plan, task.data.num_classes)) for n in loss)
            bar = progress.add_task(task.data.name, total=total)

            def after_run(what: str, bar: Any = bar, name: str = task.data.name) -> None:
                progress.update(bar, advance=1, description=f"{name} {what}")

            records += compare(task, loss, plan, kept, after_run)
    if not records:
        raise Unfinished(kept)
    reported = tables(records)
    figures = {figure: figure_of(records)}
    publish(console, records, reported, figures, json_, into, MARKS)
    return kept
