"""The methods that the study compares, and the small network that all of them train."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mlc_losses
from examples.model import Params, Settings, forward_train, init_params
from examples.studies.common.stopping import State
from examples.studies.common.sweep import QUICK

DECAY = 0.01
# where ROLE's table of estimates starts: the logits of 0.995 and 0.6
SEEN, UNSEEN = 5.2933, 0.4055


class Batch(NamedTuple):
    """What a loss may see of some examples beside the network's outputs."""

    labels: jax.Array
    seen: jax.Array  # the labels as multi-hot: one positive, and nothing else is known
    estimates: jax.Array  # rows of ROLE's table; no columns for other losses
    epoch: jax.Array


class Method(NamedTuple):
    """A loss `(outputs, batch, k, constants) -> [n]` and the values of its constants to search.

    `constants` holds one tuple per candidate. A loss that does not depend on k is trained once for
    all k. `decays` are the weight decays to search: several, where there is no constant.
    """

    loss: Callable[[jax.Array, Batch, float, jax.Array], jax.Array]
    constants: tuple[tuple[float, ...], ...] = ((0.0,),)
    decays: tuple[float, ...] = (DECAY,)
    of_k: bool = False
    heads: int = 1
    has_table: bool = False


def cross_entropy(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    return mlc_losses.softmax_cross_entropy(outputs, batch.labels, label_smoothing=own[0])


def two_head(
    outputs: jax.Array, batch: Batch, k: float, own: jax.Array, *, rule: str = "exclude_label"
) -> jax.Array:
    """Constants: head, pseudo and negative weight, and the temperature of the pseudo-labels."""
    softmax, multilabel = jnp.split(outputs, 2, axis=-1)
    # a temperature is for the pseudo-labels alone: the softmax head learns from its own term
    frozen = jax.lax.stop_gradient(softmax / own[3])
    with_heat = mlc_losses.average_k_two_head(
        frozen,
        multilabel,
        batch.labels,
        k,
        rule=rule,
        head_weight=own[0],
        pseudo_weight=own[1],
        negative_weight=own[2],
    )
    return mlc_losses.softmax_cross_entropy(softmax, batch.labels) + with_heat


def assume_negative(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    return mlc_losses.assume_negative(outputs, batch.seen)


def weak_assume_negative(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    weight = own[0] / (outputs.shape[-1] - 1)
    return mlc_losses.weak_assume_negative(outputs, batch.seen, weight=weight)


def smoothed(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    return mlc_losses.assume_negative_smoothed(outputs, batch.seen, epsilon=own[0])


def entropy_maximization(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    return mlc_losses.entropy_maximization(outputs, batch.seen, alpha=own[0])


def splc(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    """Nothing is corrected in the first epoch, as in the authors' code."""
    tau = jnp.where(batch.epoch == 0, 1.0, own[0])
    return mlc_losses.splc(outputs, batch.seen, tau=tau)


def large_loss(
    outputs: jax.Array, batch: Batch, k: float, own: jax.Array, *, fractions: tuple[float, ...]
) -> jax.Array:
    """The constant is the number of the fraction, which a compiler must know."""
    losses = [partial(mlc_losses.large_loss, fraction=fraction) for fraction in fractions]
    return jnp.stack([loss(outputs, batch.seen) for loss in losses])[own[0].astype(int)]


def expected_positive(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    return mlc_losses.expected_positive(outputs, batch.seen, k, weight=own[0])


def role(outputs: jax.Array, batch: Batch, k: float, own: jax.Array) -> jax.Array:
    """The constant is the learning rate of the table, as a multiple of the network's."""
    return mlc_losses.role(outputs, batch.estimates, batch.seen, k)


def each(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


# five candidates each, and the same learning rates
METHODS = {
    "cross-entropy": Method(cross_entropy, each(0.0, 0.05, 0.1, 0.3, 0.5)),
    "two-head": Method(
        two_head,
        tuple((w, 1.0, 1.0, 1.0) for w in (10.0, 1.0, 0.1, 0.01, 0.001)),
        of_k=True,
        heads=2,
    ),
    "assume_negative": Method(assume_negative, decays=(0.01, 0.1, 0.3, 1.0, 3.0)),
    "weak_assume_negative": Method(weak_assume_negative, each(1.0, 10.0, 30.0, 100.0, 300.0)),
    "assume_negative_smoothed": Method(smoothed, each(0.0003, 0.001, 0.003, 0.01, 0.03)),
    "entropy_maximization": Method(entropy_maximization, each(0.01, 0.02, 0.05, 0.1, 0.2)),
    "splc": Method(splc, each(0.4, 0.6, 0.8, 0.95, 0.99)),
    "large_loss": Method(
        partial(large_loss, fractions=(0.0005, 0.001, 0.002, 0.01, 0.03)),
        each(0.0, 1.0, 2.0, 3.0, 4.0),
    ),
    "expected_positive": Method(expected_positive, each(0.01, 0.1, 1.0, 10.0, 100.0), of_k=True),
    "role": Method(role, each(1.0, 10.0, 100.0, 300.0, 1000.0), of_k=True, has_table=True),
}
# The longer search for the two-head loss: head, pseudo and negative weight, temperature
LONG_GRID = tuple(
    (head, pseudo, negative, temperature)
    for head in (1.0, 0.1)
    for pseudo in (1.0, 0.1)
    for negative in (1.0, 0.1)
    for temperature in (0.5, 1.0, 2.0)
)
LONG = {
    f"two-head, {rule}": Method(partial(two_head, rule=rule), LONG_GRID, of_k=True, heads=2)
    for rule in ("exclude_label", "threshold")
}


def scores_of(name: str, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """The scores to threshold, for each head: log-softmax of a softmax, logits of a sigmoid."""

    def log_softmax(logits: np.ndarray) -> np.ndarray:
        return np.asarray(jax.nn.log_softmax(logits))

    if name.startswith("two-head"):
        softmax, multilabel = np.split(outputs, 2, axis=-1)
        return {f"{name}: softmax": log_softmax(softmax), f"{name}: multi-label": multilabel}
    return {name: log_softmax(outputs) if name == "cross-entropy" else outputs}


@partial(jax.jit, static_argnames=("method", "num_classes", "settings"))
def begin(
    keys: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    method: Method,
    num_classes: int,
    settings: Settings,
) -> State:
    """Networks of all runs before training, `[runs, ...]`; the table is kept with the optimizer."""
    seen = jax.nn.one_hot(y, num_classes, dtype=bool)
    sizes = [x.shape[1], settings.hidden, method.heads * num_classes]

    def one(key: jax.Array) -> State:
        init_key, table_key = jax.random.split(key)
        params = init_params(init_key, sizes)
        table = start_table(table_key, seen) if method.has_table else jnp.zeros((len(x), 3, 0))
        return State(params, (optax.adamw(0.0).init(params), table))

    return jax.vmap(one)(keys)


@partial(
    jax.jit, static_argnames=("method", "k", "num_classes", "settings"), compiler_options=QUICK
)
def train_round(
    state: State,
    keys: jax.Array,
    configurations: jax.Array,
    batches: jax.Array,
    first_epoch: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    method: Method,
    k: float,
    num_classes: int,
    settings: Settings,
) -> State:
    """Some epochs of all runs at once.

    A configuration is (learning rate, weight decay, constants of the loss). `batches`: row numbers
    `[epochs, steps, batch size]` for all runs, or `[runs, epochs, steps, batch size]`.
    """
    seen = jax.nn.one_hot(y, num_classes, dtype=bool)

    def train(state: State, key: jax.Array, configuration: jax.Array, batches: jax.Array) -> State:
        rate, decay, own = configuration[0], configuration[1], configuration[2:]
        optimizer = optax.adamw(rate, weight_decay=decay)

        def step(carry: Any, turn: Any) -> Any:
            params, state, table = carry
            chosen, key, epoch = turn

            def total(params: Params, estimates: jax.Array) -> jax.Array:
                outputs = forward_train(params, x[chosen], key, settings)
                batch = Batch(y[chosen], seen[chosen], estimates, epoch)
                return method.loss(outputs, batch, k, own).mean()

            rows = rows_of(table, chosen)
            gradients, table_gradients = jax.grad(total, (0, 1))(params, rows[:, 0])
            updates, state = optimizer.update(gradients, state, params)
            rows = adam_of_rows(rows, table_gradients, rate * own[0], epoch)
            table = with_rows(table, chosen, rows)
            return (optax.apply_updates(params, updates), state, table), None

        epochs, steps, size = batches.shape
        turns = (
            batches.reshape(epochs * steps, size),
            jax.random.split(key, epochs * steps),
            first_epoch + jnp.repeat(jnp.arange(epochs), steps),
        )
        (params, *rest), _ = jax.lax.scan(step, (state.params, *state.optimizer), turns)
        return State(params, tuple(rest))

    axes = (0, 0, 0, None if batches.ndim == 3 else 0)
    return jax.vmap(train, in_axes=axes)(state, keys, configurations, batches)


def start_table(key: jax.Array, seen: jax.Array) -> jax.Array:
    """For each training example a free logit per label and Adam's two moments, `[n, 3, L]`."""
    unseen = jax.random.uniform(key, seen.shape, minval=-UNSEEN, maxval=UNSEEN)
    logits = jnp.where(seen, SEEN, unseen)
    return jnp.stack([logits, jnp.zeros_like(logits), jnp.zeros_like(logits)], axis=1)


def rows_of(table: jax.Array, chosen: jax.Array) -> jax.Array:
    """`table[chosen]`, row by row: on CPU XLA gathers a large table element by element."""
    if table.shape[-1] == 0:
        return jnp.zeros((len(chosen), *table.shape[1:]))
    return jax.lax.map(lambda row: jax.lax.dynamic_index_in_dim(table, row, keepdims=False), chosen)


def with_rows(table: jax.Array, chosen: jax.Array, rows: jax.Array) -> jax.Array:
    """`table.at[chosen].set(rows)`, row by row and in place."""
    if table.shape[-1] == 0:
        return table

    def put(number: jax.Array, table: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(table, rows[number], chosen[number], 0)

    return jax.lax.fori_loop(0, len(chosen), put, table)


def adam_of_rows(
    rows: jax.Array, gradients: jax.Array, rate: jax.Array, epoch: jax.Array
) -> jax.Array:
    """One step of Adam on the rows of this batch alone: each is met once in an epoch."""
    logits, mean, square = rows[:, 0], rows[:, 1], rows[:, 2]
    mean = 0.9 * mean + 0.1 * gradients
    square = 0.999 * square + 0.001 * gradients**2
    count = epoch + 1.0
    unbiased = mean / (1 - 0.9**count), square / (1 - 0.999**count)
    logits = logits - rate * unbiased[0] / (jnp.sqrt(unbiased[1]) + 1e-8)
    return jnp.stack([logits, mean, square], axis=1)
