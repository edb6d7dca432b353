"""Encoders trained by contrast or end to end, and the linear probe: what the study compares.

Every method trains the same encoder, two ReLU layers, until validation stops improving, at all
learning rates at once. End to end, a linear layer on top is trained with it. Otherwise a small head
maps to the unit sphere, is dropped after training, and a linear layer with binary cross-entropy is
trained on the frozen encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mlc_losses as ml
from examples.data import MultiLabelData, apply_scaling, fit_scaling
from examples.model import Params, forward, init_params, shuffled_batches
from examples.studies.common.cosines import unit
from examples.studies.common.dropout import dropped
from examples.studies.common.stopping import State
from examples.studies.common.sweep import QUICK

LAYERS = 2  # of the encoder


class Settings(NamedTuple):
    """How every method trains."""

    rounds: int = 40  # at most
    patience: int = 5  # rounds without a better model
    round_steps: int = 200  # at least, and whole epochs
    batch_size: int = 128
    hidden: int = 128
    dim: int = 64
    dropout: float = 0.3
    input_dropout: float = 0.3
    weight_decay: float = 0.01
    validation: float = 0.2
    temperature: float = 0.1
    max_features: int = 1000
    probe_steps: int = 300
    probe_rate: float = 0.01
    queue: int = 512
    momentum: float = 0.99


class Rows(NamedTuple):
    """All rows of the training split, which of them to train and to choose on, the test rows."""

    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class Trained(NamedTuple):
    """An encoder and what stands on it."""

    network: Params
    probe: Params


# methods -----------------------------------------------------------------------------------------

# of a batch: outputs of the network, prototypes, a threshold, labels, keys of the queue
BatchLoss = Callable[..., jax.Array]


def end_to_end(loss: Callable[..., jax.Array]) -> BatchLoss:
    return lambda outputs, y, **_: loss(outputs, y).mean()


def among_examples(loss: Callable[..., jax.Array]) -> BatchLoss:
    def mean(outputs: Any, y: Any, temperature: float, keys: Any, **_: Any) -> jax.Array:
        values = loss(outputs, y, temperature=temperature, **keys)
        where = {name: keys[name] for name in ("key_targets", "key_where") if name in keys}
        return ml.masked_mean(values, ml.valid_anchors(y, **where))

    return mean


def with_prototypes(loss: Callable[..., jax.Array], as_anchors: bool = False) -> BatchLoss:
    def mean(outputs: Any, y: Any, temperature: float, prototypes: Any, **_: Any) -> jax.Array:
        values = loss(outputs, prototypes, y, temperature=temperature)
        valid = ml.valid_anchors(y, prototypes=True)
        return ml.masked_mean(values, valid if as_anchors else valid[: len(y)])

    return mean


def on_cosines(loss: Callable[..., jax.Array]) -> BatchLoss:
    """A loss on logits, given the cosines with the prototypes over the temperature."""

    def mean(
        outputs: Any, y: Any, temperature: float, prototypes: Any, threshold: Any, **_: Any
    ) -> jax.Array:
        cosines = unit(outputs, 1) @ unit(prototypes, 1).T
        return loss(cosines / temperature - threshold, y).mean()

    return mean


END_TO_END = {
    "binary_cross_entropy": end_to_end(ml.binary_cross_entropy),
    "asymmetric": end_to_end(ml.asymmetric),
    "zlpr": end_to_end(ml.zlpr),
}
ON_COSINES = {
    "binary_cross_entropy of cosines": on_cosines(ml.binary_cross_entropy),
    "zlpr of cosines": on_cosines(ml.zlpr),
}
CONTRASTIVE = {
    "prototype_contrastive": with_prototypes(ml.prototype_contrastive),
    "supcon": among_examples(ml.supcon),
    "mulsupcon": among_examples(ml.mulsupcon),
    "mulsupcon with queue": among_examples(ml.mulsupcon),
    "msc": with_prototypes(ml.msc),
    "mscwrg": with_prototypes(partial(ml.mscrg, regularize=False), as_anchors=True),
    "mscrg": with_prototypes(ml.mscrg, as_anchors=True),
}
METHODS = END_TO_END | ON_COSINES | CONTRASTIVE


# data --------------------------------------------------------------------------------------------


def choose_rows(data: MultiLabelData, fraction: float, seed: int, settings: Settings) -> Rows:
    """A fraction of the training split, a part of it to choose settings on.

    Of many features the most frequent ones are kept. Frequency and scale are those of the rows
    trained on. Smaller fractions are parts of the larger ones.
    """
    order = np.random.default_rng(seed).permutation(len(data.train_features))
    kept = order[: max(2, round(fraction * len(order)))]
    held_out, train = np.split(kept, [max(1, round(settings.validation * len(kept)))])
    features = data.train_features
    if features.shape[1] > settings.max_features:
        found = np.count_nonzero(features[train], axis=0)
        columns = np.sort(np.argsort(-found, kind="stable")[: settings.max_features])
    else:
        columns = np.arange(features.shape[1])
    scaling = fit_scaling(features[train][:, columns])
    x, test_x = (
        apply_scaling(scaling, part[:, columns]) for part in (features, data.test_features)
    )
    return Rows(x, data.train_targets, train, held_out, test_x, data.test_targets)


def all_batches(train: np.ndarray, steps: int, size: int, seed: int) -> np.ndarray:
    """Row numbers `[steps, size]`, epoch after epoch."""
    generator = np.random.default_rng(seed)
    batches: list[np.ndarray] = []
    while len(batches) < steps:
        batches += [train[rows] for rows in shuffled_batches(generator, len(train), size)]
    return np.stack(batches[:steps])


# training ----------------------------------------------------------------------------------------


def encode(network: Params, x: jax.Array) -> jax.Array:
    """The representation that the probe sees."""
    for layer in network[:LAYERS]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x


def forward_train(network: Params, x: jax.Array, key: jax.Array, settings: Settings) -> jax.Array:
    """Outputs `[n, ...]`, with dropout on the features and on the hidden layers."""
    keys = jax.random.split(key, len(network))
    x = dropped(x, settings.input_dropout, keys[0])
    for layer, own in zip(network[:-1], keys[1:], strict=True):
        x = dropped(jax.nn.relu(x @ layer["kernel"] + layer["bias"]), settings.dropout, own)
    return x @ network[-1]["kernel"] + network[-1]["bias"]


def begin(
    key: jax.Array, rates: jax.Array, columns: int, y: jax.Array, method: str, settings: Settings
) -> State:
    """Before training, the same at every learning rate; the memory is kept with the optimizer."""
    outputs = [y.shape[1]] if method in END_TO_END else [settings.hidden, settings.dim]
    network = init_params(key, [columns, *[settings.hidden] * LAYERS, *outputs])
    start = {
        "network": network,
        "prototypes": jax.random.normal(key, (y.shape[1], settings.dim)),
        "threshold": jnp.zeros(()),
    }
    memory = _memory(method, network, y, settings)
    whole = State(start, (optax.adamw(0.0).init(start), memory))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(rates), *leaf.shape)), whole)


# one compilation for all seeds of a fraction: they differ in the row numbers alone
@partial(jax.jit, static_argnames=("method", "settings"), compiler_options=QUICK)
def train_round(
    state: State,
    rates: jax.Array,
    batches: jax.Array,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    method: str,
    settings: Settings,
) -> State:
    """All batches once at every learning rate."""
    keys = jax.random.split(key, len(batches))
    step = partial(_step, method, x, y, settings)

    def train_one(state: State, rate: jax.Array) -> State:
        optimizer = optax.adamw(rate, weight_decay=settings.weight_decay)
        carry = state.params, *state.optimizer
        params, *rest = _descend(optimizer, step, carry, batches, keys)
        return State(params, tuple(rest))

    return jax.vmap(train_one)(state, rates)


@partial(jax.jit, static_argnames=("method", "settings"), compiler_options=QUICK)
def finish(
    network: Params, batches: jax.Array, x: jax.Array, y: jax.Array, *, method: str,
    settings: Settings,
) -> Trained:  # fmt: skip
    """The encoder with the linear probe, where it has no linear layer of its own."""
    probe = [] if method in END_TO_END else _probe(network, batches, x, y, settings)
    return Trained(network, probe)


def _descend(optimizer: Any, step: Callable[..., Any], carry: Any, batches: Any, keys: Any) -> Any:
    """Parameters, optimizer and memory after all batches.

    `step(params, memory, batch, key)` is a loss and the new memory.
    """

    def move(carry: Any, inputs: Any) -> Any:
        params, state, memory = carry
        gradient, memory = jax.grad(step, has_aux=True)(params, memory, *inputs)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state, memory), None

    return jax.lax.scan(move, carry, (batches, keys))[0]


def _memory(method: str, network: Params, y: Any, settings: Settings) -> Any:
    """With a queue: the slow copy of the network, and the queue of its outputs."""
    if not method.endswith("with queue"):
        return None
    like = network[-1]["bias"]
    return network, ml.init_queue(settings.queue, settings.dim, y.shape[1], like=like)


def _step(
    method: str,
    x: Any,
    y: Any,
    settings: Settings,
    params: Any,
    memory: Any,
    batch: Any,
    key: Any,
) -> tuple[jax.Array, Any]:
    rows, labels = x[batch], y[batch]
    keys = {}
    if memory is not None:
        # MoCo: a network that follows slowly sees the rows under another dropout
        key, view_key = jax.random.split(key)
        slow, queue = memory
        share = settings.momentum
        slow = jax.tree.map(lambda a, b: share * a + (1 - share) * b, slow, params["network"])
        slow = jax.lax.stop_gradient(slow)
        view = forward_train(slow, rows, view_key, settings)
        keys = {
            "keys": jnp.concatenate([view, queue.embeddings]),
            "key_targets": jnp.concatenate([labels.astype(view.dtype), queue.targets]),
            "key_where": jnp.concatenate([jnp.ones(len(batch), bool), ml.queue_mask(queue)]),
        }
        memory = slow, ml.enqueue(queue, view, labels)
    value = METHODS[method](
        forward_train(params["network"], rows, key, settings),
        labels,
        prototypes=params["prototypes"],
        threshold=params["threshold"],
        temperature=settings.temperature,
        keys=keys,
    )
    return value, memory


def _probe(network: Params, batches: Any, x: Any, y: Any, settings: Settings) -> Params:
    """A linear layer on the frozen encoder, whose columns it first brings to one scale."""
    encoded = encode(network, x)  # once, as each row is in many batches
    seen = encoded[batches.reshape(-1)]
    shift = seen.mean(axis=0, keepdims=True)
    scale = seen.std(axis=0, keepdims=True) + 1e-3
    features = (encoded - shift) / scale

    def step(params: Params, _: Any, batch: Any, __: Any) -> tuple[jax.Array, None]:
        return ml.binary_cross_entropy(forward(params, features[batch]), y[batch]).mean(), None

    start = [
        {"kernel": jnp.zeros((settings.hidden, y.shape[1])), "bias": jnp.zeros((1, y.shape[1]))}
    ]
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(settings.probe_rate, len(batches)), weight_decay=0.0
    )
    carry = start, optimizer.init(start), None
    ((layer,), *_) = _descend(optimizer, step, carry, batches, batches)
    kernel = layer["kernel"] / scale.T
    return [{"kernel": kernel, "bias": layer["bias"] - shift @ kernel}]


@jax.jit
def scores_of(trained: Trained, x: jax.Array) -> jax.Array:
    """Logits `[n, L]` of one model."""
    if not trained.probe:
        return forward(trained.network, x)
    return forward(trained.probe, encode(trained.network, x))


jit_encode = jax.jit(encode)
