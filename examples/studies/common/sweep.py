"""One network trained at several learning rates at once; what the comparisons have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from examples import data as data_sets
from examples.model import (
    Loss,
    Params,
    Settings,
    forward_train,
    init_params,
    make_optimizer,
    shuffled_batches,
)

RATES = (1e-3, 3e-3, 1e-2, 3e-2)


def settings_for(data: data_sets.MultiLabelData, epochs: int | None = None) -> Settings:
    """Smaller batches and more epochs on small data, the same for every loss."""
    shared = Settings(hidden=128, dropout=0.5, input_dropout=0.5, weight_decay=0.01, validation=0.2)
    if len(data.train_features) < 3000:
        return shared._replace(epochs=epochs or 50, batch_size=32)
    return shared._replace(epochs=epochs or 20, batch_size=128)


class Split(NamedTuple):
    """Scaled features and targets of the rows to train on, to choose on, and to test on."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def split(data: data_sets.MultiLabelData, share: float, seed: int) -> Split:
    """A share of the training split, drawn by the seed, is for validation."""
    order = np.random.default_rng(seed).permutation(len(data.train_features))
    held_out, kept_in = np.split(order, [round(share * len(order))])
    scale = partial(data_sets.apply_scaling, data_sets.fit_scaling(data.train_features[kept_in]))
    return Split(
        (scale(data.train_features[kept_in]), data.train_targets[kept_in]),
        (scale(data.train_features[held_out]), data.train_targets[held_out]),
        (scale(data.test_features), data.test_targets),
    )


# compiling takes longer than training on small data, and most of it is optimisation
QUICK = {"xla_backend_optimization_level": 1}


@partial(jax.jit, static_argnames=("loss_for", "outputs", "settings"), compiler_options=QUICK)
def train_rates(
    key: jax.Array,
    rates: jax.Array,
    batches: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    loss_for: Callable[[jax.Array], Loss],
    outputs: int,
    settings: Settings,
) -> Params:
    """The networks for all learning rates at once, from the same start; see `descend`."""
    loss = loss_for(y)
    init_key, key = jax.random.split(key)
    start = init_params(init_key, [x.shape[1], settings.hidden, outputs])

    def batch_loss(params: Params, chosen: jax.Array, key: jax.Array) -> jax.Array:
        return loss(forward_train(params, x[chosen], key, settings), y[chosen]).mean()

    return descend(start, batch_loss, key, rates, batches, len(x), settings)


def descend(
    start: Any,
    batch_loss: Callable[[Any, jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    rates: jax.Array,
    batches: jax.Array,
    rows: int,
    settings: Settings,
) -> Any:
    """Parameters after all `batches` (row numbers, `[steps, batch size]`), one set for each rate.

    Batches and dropout do not depend on the rate, so they are drawn once for all of them.
    """

    def train(rate: jax.Array) -> Any:
        optimizer = make_optimizer(settings._replace(learning_rate=rate), rows)

        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            gradient = jax.grad(batch_loss)(params, *batch)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(key, len(batches))
        (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), (batches, keys))
        return params

    return jax.vmap(train)(rates)


def all_batches(rows: int, settings: Settings, seed: int) -> np.ndarray:
    """Row numbers of the batches of all epochs, `[steps, batch size]`."""
    generator = np.random.default_rng(seed)
    epochs = [
        shuffled_batches(generator, rows, settings.batch_size) for _ in range(settings.epochs)
    ]
    return np.concatenate(epochs)
