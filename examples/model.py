"""A small multilayer perceptron in plain JAX: its training, and its weights in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors
import safetensors.numpy

import mlc_losses
from examples.data import MultiLabelData, Scaling, apply_scaling, fit_scaling
from examples.report import all_metrics
from mlc_losses import metrics

RULES = ("threshold", "tuned", "top-k")
Loss = Callable[..., Any]
Params = list[dict[str, jax.Array]]


class Settings(NamedTuple):
    """How to train; the defaults are those of `docs/results/first_release.md`."""

    epochs: int = 40
    batch_size: int = 64
    hidden: int = 256
    dropout: float = 0.5
    input_dropout: float = 0.5
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    validation: float = 0.2


class Model(NamedTuple):
    """All that turns raw features into label sets; `decision` is the rule's threshold, or its k."""

    params: Params
    scaling: Scaling
    rule: str
    decision: np.ndarray


class History(NamedTuple):
    """One entry per epoch; no validation part, no micro-F1."""

    train_loss: list[float]
    validation_micro_f1: list[float]


def init_params(key: jax.Array, sizes: Sequence[int]) -> Params:
    # biases are [1, size]: adding them needs no implicit rank promotion
    return [
        {
            "kernel": jax.random.normal(k, (fan_in, fan_out), jnp.float32) * (2 / fan_in) ** 0.5,
            "bias": jnp.zeros((1, fan_out), jnp.float32),
        }
        for k, fan_in, fan_out in zip(
            jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True
        )
    ]


def forward(params: Params, x: jax.Array) -> jax.Array:
    """Logits `[n, L]`, without dropout."""
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ last["kernel"] + last["bias"]


jit_forward = jax.jit(forward)


def forward_train(params: Params, x: jax.Array, key: jax.Array, settings: Settings) -> jax.Array:
    """Logits `[n, L]`, with dropout on the features and on the hidden layers."""
    *hidden, last = params
    key, input_key = jax.random.split(key)
    x = drop_out(x, settings.input_dropout, input_key)
    for layer in hidden:
        key, layer_key = jax.random.split(key)
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        x = drop_out(x, settings.dropout, layer_key)
    return x @ last["kernel"] + last["bias"]


def drop_out(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    if rate == 0.0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1.0 - rate, x.shape), x / (1.0 - rate), 0.0)


def make_optimizer(settings: Settings, rows: int) -> optax.GradientTransformation:
    steps = max(1, rows // settings.batch_size) * settings.epochs
    schedule = optax.cosine_decay_schedule(settings.learning_rate, steps)
    return optax.adamw(schedule, weight_decay=settings.weight_decay)


def shuffled_batches(generator: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """Row numbers `[steps, size]`; the rows that fill no batch sit this epoch out."""
    size = min(size, rows)
    steps = rows // size
    return generator.permutation(rows)[: steps * size].reshape(steps, size).astype(np.int32)


# static by name: seeds of the same loss, settings and shape share one compilation
@partial(jax.jit, static_argnames=("loss", "settings"))
def train_epoch(
    params: Params,
    state: Any,
    key: jax.Array,
    batches: np.ndarray,
    features: jax.Array,
    targets: jax.Array,
    *,
    loss: Loss,
    settings: Settings,
) -> tuple[Params, Any, jax.Array]:
    """One pass over minibatches, `batches` holding the row numbers `[steps, batch size]`."""
    optimizer = make_optimizer(settings, features.shape[0])

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        chosen, key = batch

        def batch_loss(params: Params) -> jax.Array:
            logits = forward_train(params, features[chosen], key, settings)
            return loss(logits, targets[chosen]).mean()

        value, gradient = jax.value_and_grad(batch_loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    (params, state), losses = jax.lax.scan(
        step, (params, state), (batches, jax.random.split(key, len(batches)))
    )
    return params, state, losses.mean()


def fit(
    data: MultiLabelData,
    loss: Loss,
    settings: Settings = Settings(),  # noqa: B008  a NamedTuple cannot change
    *,
    seed: int = 0,
    rule: str = "threshold",
    threshold: float = 0.0,
    k: int = 1,
    after_epoch: Callable[[], None] = lambda: None,
) -> tuple[Model, History]:
    """Train on the training split alone; the test rows of `data` are not looked at.

    A share of the training split is kept for validation: micro-F1 is watched there, and the
    tuned rule takes its threshold from there. The model is that of the last epoch.
    """
    mlc_losses.check_targets(data.train_targets)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(data.train_features))
    held_out, kept_in = np.split(order, [round(settings.validation * len(order))])
    scaling = fit_scaling(data.train_features[kept_in])
    x = jnp.asarray(apply_scaling(scaling, data.train_features[kept_in]))
    y = jnp.asarray(data.train_targets[kept_in])
    x_held_out = apply_scaling(scaling, data.train_features[held_out])
    y_held_out = data.train_targets[held_out]
    init_key, key = jax.random.split(jax.random.key(seed))
    params = init_params(init_key, [x.shape[1], settings.hidden, y.shape[1]])
    state = make_optimizer(settings, len(x)).init(params)
    epoch = partial(train_epoch, loss=loss, settings=settings)
    losses, f1_scores = [], []
    for _ in range(settings.epochs):
        key, epoch_key = jax.random.split(key)
        batches = shuffled_batches(generator, len(x), settings.batch_size)
        params, state, value = epoch(params, state, epoch_key, batches, x, y)
        losses.append(float(value))
        scores = np.asarray(jit_forward(params, x_held_out))
        decision = decide(rule, scores, y_held_out, threshold=threshold, k=k)
        if len(held_out):
            chosen = predict(rule, decision, scores)
            f1_scores.append(float(metrics.f1_score(chosen, y_held_out, average="micro")))
        after_epoch()
    return Model(params, scaling, rule, decision), History(losses, f1_scores)


def decide(
    rule: str, scores: np.ndarray, targets: np.ndarray, *, threshold: float, k: int
) -> np.ndarray:
    """The threshold, or k, that `predict` needs; one threshold for all labels where it is tuned."""
    if rule == "tuned":
        return np.asarray(mlc_losses.tune_thresholds(scores, targets, average="micro"))
    return np.asarray(k if rule == "top-k" else threshold)


def predict(rule: str, decision: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Label sets, bool `[n, L]`."""
    if rule == "top-k":
        return mlc_losses.predict_top_k(scores, int(decision))
    return mlc_losses.predict_threshold(scores, float(decision))


def evaluate(model: Model, features: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    scores = np.asarray(jit_forward(model.params, apply_scaling(model.scaling, features)))
    return all_metrics(scores, predict(model.rule, model.decision, scores), targets)


def to_bytes(model: Model, config: dict[str, Any]) -> bytes:
    """The model as safetensors, `config` as JSON in its metadata."""
    tensors = {
        f"{index}.{name}": np.asarray(value)
        for index, layer in enumerate(model.params)
        for name, value in layer.items()
    }
    tensors |= {"scaling.shift": model.scaling.shift, "scaling.scale": model.scaling.scale}
    tensors["decision"] = model.decision
    config = config | {"rule": model.rule, "layers": len(model.params)}
    return safetensors.numpy.save(tensors, {"config": json.dumps(config)})


def from_file(path: Path) -> tuple[Model, dict[str, Any]]:
    """The model and configuration that `to_bytes` wrote; ValueError for any other file."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            config = json.loads((file.metadata() or {})["config"])
            layers = config.pop("layers")
            params = [
                {name: jnp.asarray(file.get_tensor(f"{i}.{name}")) for name in ("kernel", "bias")}
                for i in range(layers)
            ]
            scaling = Scaling(*(file.get_tensor(f"scaling.{name}") for name in Scaling._fields))
            return Model(params, scaling, config["rule"], file.get_tensor("decision")), config
    except KeyError as error:
        raise ValueError(f"{path}: field {error} is missing from its metadata") from error
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not weights of this example ({error})") from error
