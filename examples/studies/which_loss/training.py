"""Training with early stopping, as one compiled program for each data set and loss.

Hyper-parameters are traced, so all settings of a search and all folds share the compilation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.studies.which_loss.losses import ALL
from examples.studies.which_loss.splits import Rows
from examples.studies.which_loss.stopping import Targets, criterion, validation_targets

HIDDEN = 256
PATIENCE = 10
MOST_ROUNDS = 100
LEAST_STEPS = 50  # of a round
# compiling takes longer than training on small data, and most of it is optimisation
QUICK = {"xla_backend_optimization_level": 1}

Params = dict[str, jax.Array]


class State(NamedTuple):
    """What training goes on from; `best` are the parameters of the best round."""

    params: Params
    optimizer: Any
    best: Params
    best_value: jax.Array
    best_round: jax.Array
    round: jax.Array
    key: jax.Array


class Parts(NamedTuple):
    """Arrays that the compiled program takes."""

    x: jax.Array
    y: jax.Array
    x_validation: jax.Array
    validation: Targets


def parts_of(rows: Rows) -> Parts:
    x, y = rows.train
    return Parts(
        jnp.asarray(x),
        jnp.asarray(y),
        jnp.asarray(rows.validation[0]),
        validation_targets(rows.validation[1]),
    )


def start(parts: Parts, seed: int) -> State:
    """Before the first step."""
    key, *keys = jax.random.split(jax.random.key(seed), 3)
    columns, labels = parts.x.shape[1], parts.y.shape[1]
    params = {
        "hidden": jax.random.normal(keys[0], (columns, HIDDEN), jnp.float32) * (2 / columns) ** 0.5,
        "hidden_bias": jnp.zeros((1, HIDDEN), jnp.float32),
        "out": jax.random.normal(keys[1], (HIDDEN, labels), jnp.float32) * HIDDEN**-0.5,
        "out_bias": jnp.zeros((1, labels), jnp.float32),
    }
    nothing = jnp.zeros((), jnp.int32)
    optimizer = optax.adamw(0.0).init(params)
    return State(params, optimizer, params, jnp.float32(-1.0), nothing, nothing, key)


def advance(state: State, parts: Parts, name: str, setting: Mapping[str, float], to: int) -> State:
    """Train until round `to`, or until nothing got better for `PATIENCE` rounds."""
    values = {key: jnp.float32(value) for key, value in setting.items()}
    return _advance(state, parts, values, jnp.int32(to), name=name)


def has_stopped(state: State) -> bool:
    """Whether more rounds would change nothing."""
    late = int(state.round) - int(state.best_round) >= PATIENCE
    return late or int(state.round) >= MOST_ROUNDS


def scores(params: Params, x: np.ndarray) -> np.ndarray:
    return np.asarray(_forward(params, x))


@jax.jit
def _forward(params: Params, x: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(x @ params["hidden"] + params["hidden_bias"])
    return hidden @ params["out"] + params["out_bias"]


def _forward_train(params: Params, x: jax.Array, bits: jax.Array, dropout: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(x @ params["hidden"] + params["hidden_bias"])
    # one random byte for each unit costs a quarter of a random float
    cut = jnp.round(dropout * 256)
    hidden = jnp.where(bits.astype(jnp.float32) >= cut, hidden / (1 - cut / 256), 0.0)
    return hidden @ params["out"] + params["out_bias"]


@partial(jax.jit, static_argnames="name", compiler_options=QUICK)
def _advance(
    state: State, parts: Parts, setting: dict[str, jax.Array], to: jax.Array, *, name: str
) -> State:
    rows, counts = len(parts.x), parts.y.sum(axis=0, dtype=jnp.int32)
    size = min(32 if rows < 3000 else 128, rows)
    steps = max(LEAST_STEPS, rows // size)
    own = {key.removeprefix("loss."): v for key, v in setting.items() if key.startswith("loss.")}
    optimizer = optax.adamw(setting["learning_rate"], weight_decay=setting["weight_decay"])

    def batch_loss(params: Params, chosen: jax.Array, key: jax.Array) -> jax.Array:
        bits = jax.random.bits(key, (size, HIDDEN), jnp.uint8)
        logits = _forward_train(params, parts.x[chosen], bits, setting["dropout"])
        return ALL[name].loss(logits, parts.y[chosen], counts, rows, **own).mean()

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        gradient = jax.grad(batch_loss)(params, *batch)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    def one_round(state: State) -> State:
        key, shuffle, drop = jax.random.split(state.key, 3)
        passes = -(-steps * size // rows)
        orders = jax.vmap(lambda key: jax.random.permutation(key, rows))
        batches = orders(jax.random.split(shuffle, passes)).ravel()[: steps * size]
        carry, _ = jax.lax.scan(
            step,
            (state.params, state.optimizer),
            (batches.reshape(steps, size), jax.random.split(drop, steps)),
        )
        value = criterion(_forward(carry[0], parts.x_validation), parts.validation)
        better = value > state.best_value
        return State(
            *carry,
            best=jax.tree.map(partial(jnp.where, better), carry[0], state.best),
            best_value=jnp.where(better, value, state.best_value),
            best_round=jnp.where(better, state.round + 1, state.best_round),
            round=state.round + 1,
            key=key,
        )

    def goes_on(state: State) -> jax.Array:
        return (state.round < jnp.minimum(to, MOST_ROUNDS)) & (
            state.round - state.best_round < PATIENCE
        )

    return jax.lax.while_loop(goes_on, one_round, state)
