"""A linear model, trained by any loss, stopped early by what it does on validation rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.data import MultiLabelData, apply_scaling, fit_scaling
from examples.studies.common.sweep import QUICK

# of the training split; thresholds and temperatures are fitted there too
VALIDATION = 0.3
# (scores, targets) of the validation rows to `[C]`, where more is better
Criteria = Callable[[jax.Array, jax.Array], jax.Array]


class Plan(NamedTuple):
    """How much is trained: what --full enlarges."""

    rows: int = 2000  # of the training split, validation rows included
    columns: int = 400
    steps: int = 240
    checks: int = 12  # of the validation rows, spread evenly over the steps
    batch_size: int = 256


FULL = Plan(rows=10**9, columns=10**9, steps=2000, checks=40)


class Setting(NamedTuple):
    rate: float
    decay: float


def smaller(data: MultiLabelData, plan: Plan) -> MultiLabelData:
    """At most `plan.rows` training rows, drawn once, and the columns most often not 0 in them.

    All test rows stay. Features are scaled by what the training rows have, and then so that a row
    has length 1 on average: one learning rate means the same on all data.
    """
    order = np.random.default_rng(0).permutation(len(data.train_features))[: plan.rows]
    x, y = data.train_features[order], data.train_targets[order]
    used = np.argsort(-np.count_nonzero(x, axis=0), kind="stable")[: plan.columns]
    used = np.sort(used)
    scaling = fit_scaling(x[:, used])
    scaling = scaling._replace(scale=scaling.scale * np.float32(len(used) ** 0.5))
    return MultiLabelData(
        data.name,
        apply_scaling(scaling, x[:, used]),
        y,
        apply_scaling(scaling, data.test_features[:, used]),
        data.test_targets,
    )


class Part(NamedTuple):
    """Which rows of the training split to train on, in batches, and which are for validation."""

    batches: np.ndarray  # [checks, steps between checks, batch size]
    validation: np.ndarray


def part(rows: int, plan: Plan, seed: int) -> Part:
    """Drawn by the seed: validation rows, and the order of the others in each epoch."""
    generator = np.random.default_rng(seed)
    validation, kept = np.split(generator.permutation(rows), [round(VALIDATION * rows)])
    size = min(plan.batch_size, len(kept))
    between = max(1, plan.steps // plan.checks)
    epochs = -(-plan.checks * between // (len(kept) // size))
    used = len(kept) // size * size
    drawn = np.concatenate([generator.permutation(kept)[:used] for _ in range(epochs)])
    drawn = drawn[: plan.checks * between * size]
    return Part(drawn.reshape(plan.checks, between, size).astype(np.int32), validation)


@partial(jax.jit, static_argnames=("loss", "criteria"), compiler_options=QUICK)
def _train(
    x: jax.Array,
    y: jax.Array,
    part: Part,
    setting: Setting,
    *,
    loss: Callable[..., jax.Array],
    criteria: Criteria,
) -> tuple[Any, jax.Array]:
    """The parameters of the best check by each criterion, `[C, ...]`, and its values `[C]`."""
    optimizer = optax.adamw(setting.rate, weight_decay=setting.decay)
    start = (jnp.zeros((x.shape[1], y.shape[1])), jnp.zeros((1, y.shape[1])))
    held_x, held_y = x[part.validation], y[part.validation]

    def batch_loss(params: Any, chosen: jax.Array) -> jax.Array:
        return loss(x[chosen] @ params[0] + params[1], y[chosen]).mean()

    def step(carry: Any, chosen: jax.Array) -> Any:
        params, state = carry
        gradient = jax.grad(batch_loss)(params, chosen)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    def check(carry: Any, batches: jax.Array) -> Any:
        current, best, values = carry
        current, _ = jax.lax.scan(step, current, batches)
        now = criteria(held_x @ current[0][0] + current[0][1], held_y)
        better = now > values  # never where training diverged

        def kept(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(better[:, None, None], new[None], old)

        best = jax.tree.map(kept, current[0], best)
        return (current, best, jnp.where(better, now, values)), None

    count = jax.eval_shape(criteria, held_y, held_y).shape[0]
    best = jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), start)
    carry = ((start, optimizer.init(start)), best, jnp.full(count, -jnp.inf))
    (_, best, values), _ = jax.lax.scan(check, carry, part.batches)
    return best, values


class Trained(NamedTuple):
    """Weights `[runs, C, d, L]`, biases `[runs, C, 1, L]`, values `[runs, C]`, by criterion."""

    weights: np.ndarray
    biases: np.ndarray
    values: np.ndarray

    def scores(self, run: int, criterion: int, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[run, criterion] + self.biases[run, criterion]


def train_linear(
    data: MultiLabelData,
    runs: Sequence[tuple[Part, Setting]],
    loss: Callable[..., jax.Array],
    criteria: Criteria,
) -> Trained:
    """Train from 0 with AdamW; of each run and criterion the model of the best check.

    Runs are done one after the other by one program: a batch of them would be no faster on a core.
    """
    x, y = jnp.asarray(data.train_features), jnp.asarray(data.train_targets, jnp.float32)
    found = []
    for each, setting in runs:
        numbers = Setting(*(jnp.float32(number) for number in setting))
        found.append(jax.device_get(_train(x, y, each, numbers, loss=loss, criteria=criteria)))
    return Trained(*(np.stack(a) for a in zip(*((w, b, v) for (w, b), v in found), strict=True)))
