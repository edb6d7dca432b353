"""Training until validation stops improving, at several learning rates at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.model import Params, Settings, forward_train, init_params, shuffled_batches
from examples.studies.common.sweep import QUICK

PATIENCE = 15  # rounds without a better model, whatever its rate
MOST_ROUNDS = 100
LEAST_STEPS = 50  # of a round, which is an epoch where that is longer
# steps of a factor of three, wide enough for the best one to lie inside as a rule
WIDE_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


class State(NamedTuple):
    """Networks and optimizers, with a leading axis for the rates."""

    params: Any
    optimizer: Any


class Found(NamedTuple):
    """The model that validation liked best, and where it was found."""

    params: Any
    value: float
    rate: float
    round: int
    rounds: int  # trained in all


def begin(params: Any, rates: jax.Array, weight_decay: float) -> State:
    """Every rate starts from the same parameters."""
    state = optax.adamw(0.0, weight_decay=weight_decay).init(params)
    start = State(params, state)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(rates), *leaf.shape)), start)


def one_round(
    state: State,
    batch_loss: Callable[[Any, jax.Array, jax.Array], jax.Array],
    rates: jax.Array,
    batches: jax.Array,
    keys: jax.Array,
    weight_decay: float,
) -> State:
    """All batches once; batches and keys do not depend on the rate."""

    def train(state: State, rate: jax.Array) -> State:
        optimizer = optax.adamw(rate, weight_decay=weight_decay)

        def step(state: State, batch: Any) -> tuple[State, None]:
            gradient = jax.grad(batch_loss)(state.params, *batch)
            updates, moments = optimizer.update(gradient, state.optimizer, state.params)
            return State(optax.apply_updates(state.params, updates), moments), None

        return jax.lax.scan(step, state, (batches, keys))[0]

    return jax.vmap(train)(state, rates)


def until_no_better(
    state: State,
    advance: Callable[[State, int], State],
    scores: Callable[[Any], Sequence[float]],
    rates: Sequence[float],
    *,
    most_rounds: int = MOST_ROUNDS,
    patience: int = PATIENCE,
) -> list[Found]:
    """`advance(state, round)` until no criterion has seen a better model for `patience` rounds.

    `scores` judges one model on validation rows, by one criterion or several. By each of them the
    best model of all rounds and rates is kept, of equal ones the earliest.
    """
    found: list[Found] = []
    number, last = 0, 0
    while number < most_rounds and number - last < patience:
        number += 1
        state = advance(state, number)
        host = jax.device_get(state.params)
        for index, rate in enumerate(rates):
            params = jax.tree.map(lambda leaf, i=index: leaf[i], host)
            now = [Found(params, value, rate, number, number) for value in scores(params)]
            found = found or [one._replace(value=-np.inf) for one in now]
            better = [a.value > b.value for a, b in zip(now, found, strict=True)]
            found = [a if is_it else b for a, b, is_it in zip(now, found, better, strict=True)]
            last = number if any(better) else last
    return [one._replace(rounds=number) for one in found]


def round_batches(
    rows: int, batch_size: int, seed: int, number: int, least_steps: int = LEAST_STEPS
) -> np.ndarray:
    """Row numbers `[steps, batch size]` of a round, the same for every method."""
    generator = np.random.default_rng((seed, number))
    size = min(batch_size, rows)
    passes = max(1, -(-least_steps // (rows // size)))
    return np.concatenate([shuffled_batches(generator, rows, size) for _ in range(passes)])


@partial(jax.jit, static_argnames=("loss", "settings"), compiler_options=QUICK)
def _network_round(
    state: State,
    rates: jax.Array,
    batches: jax.Array,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    loss: Callable[..., jax.Array],
    settings: Settings,
) -> State:
    def batch_loss(params: Params, chosen: jax.Array, key: jax.Array) -> jax.Array:
        return loss(forward_train(params, x[chosen], key, settings), y[chosen]).mean()

    keys = jax.random.split(key, len(batches))
    return one_round(state, batch_loss, rates, batches, keys, settings.weight_decay)


def train_network(
    x: np.ndarray,
    y: np.ndarray,
    outputs: int,
    loss: Callable[..., jax.Array],
    scores: Callable[[Params], Sequence[float]],
    seed: int,
    settings: Settings,
    rates: Sequence[float],
) -> list[Found]:
    """The network of `model.py` at all rates; `settings.epochs` is the most rounds there are."""
    key = jax.random.key(seed)
    shared = jnp.asarray(rates, jnp.float32), jnp.asarray(x), jnp.asarray(y)
    sizes = [x.shape[1], settings.hidden, outputs]

    def advance(state: State, number: int) -> State:
        batches = round_batches(len(x), settings.batch_size, seed, number)
        rates, *data = shared
        drawn = jax.random.fold_in(key, number)
        return _network_round(state, rates, batches, drawn, *data, loss=loss, settings=settings)

    start = begin(init_params(key, sizes), shared[0], settings.weight_decay)
    return until_no_better(start, advance, scores, rates, most_rounds=settings.epochs)
