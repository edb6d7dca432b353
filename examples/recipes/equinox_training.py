"""Equinox: a loss in `filter_value_and_grad`, with the model mapped over the batch.

python examples/recipes/equinox_training.py
"""

from __future__ import annotations

import sys

import digit_sets
import numpy as np

try:
    import equinox as eqx
    import jax
    import optax
except ImportError:
    sys.exit("This recipe needs equinox and optax: pip install equinox optax")

from mlc_losses import masked_mean, metrics, predict_threshold, zlpr


def mean_loss(model: eqx.Module, x: jax.Array, y: jax.Array, known: jax.Array) -> jax.Array:
    """The mean over the examples that have a known label."""
    values = zlpr(jax.vmap(model)(x), y, where=known)
    return masked_mean(values, known.any(axis=-1))


def network(inputs: int, labels: int) -> eqx.Module:
    return eqx.nn.MLP(inputs, labels, width_size=128, depth=1, key=jax.random.key(0))


def train(
    x: np.ndarray,
    y: np.ndarray,
    known: np.ndarray,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int = 100,
) -> eqx.Module:
    model = network(x.shape[1], y.shape[1])
    state = optimizer.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state, x, y, known):
        value, gradient = eqx.filter_value_and_grad(mean_loss)(model, x, y, known)
        updates, state = optimizer.update(gradient, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state, value

    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in rng.permutation(len(x)).reshape(-1, batch_size):
            model, state, _ = step(model, state, x[rows], y[rows], known[rows])
    return model


def main() -> None:
    x, y, x_test, y_test = digit_sets.load()
    known = np.random.default_rng(1).random(y.shape) < 0.8
    model = train(x, y, known, optax.adam(3e-3), epochs=30)
    scores = jax.vmap(model)(x_test)
    f1 = metrics.f1_score(predict_threshold(scores), y_test, average="micro")
    print(f"test loss {zlpr(scores, y_test).mean():.3f}, micro-F1 {f1:.3f}")


if __name__ == "__main__":
    main()
