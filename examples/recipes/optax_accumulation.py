"""optax.MultiSteps with unknown labels and a short last batch: the gradient of the whole batch.

    python examples/recipes/optax_accumulation.py

MultiSteps takes the mean of the gradients of its steps. A mean over the known examples of each
small batch would therefore weigh an example more where fewer are known. So each small batch gives
its sum, divided by its share of the examples known in the whole batch.
"""

from __future__ import annotations

import sys

import digit_sets
import numpy as np

try:
    import jax
    import jax.numpy as jnp
    import optax
except ImportError:
    sys.exit("This recipe needs JAX and optax: pip install jax optax")

from mlc_losses import metrics, predict_threshold, zlpr

SMALL, STEPS = 32, 4  # an update sees 128 examples, 32 at a time


def logits(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jax.nn.relu(x @ weights["hidden"]) @ weights["last"]


def share(weights: dict, x: jax.Array, y: jax.Array, known: jax.Array, count: float) -> jax.Array:
    """One small batch's part; `count` is the mean number of known examples in a small batch."""
    # an example without a known label is 0, and is not counted
    return zlpr(logits(weights, x), y, where=known).sum() / count


def batches(rows: np.ndarray, known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Small batches of one update: rows, a mask of the real ones, and `count` for all of them.

    The last rows are padded up to the shape of the others, so that one compiled step serves all.
    """
    padded = np.zeros(SMALL * STEPS, rows.dtype)
    padded[: len(rows)] = rows
    is_real = np.arange(len(padded)) < len(rows)
    count = max(known[rows].any(axis=1).sum(), 1) / STEPS
    shape = STEPS, SMALL
    parts = zip(padded.reshape(shape), is_real.reshape(shape), strict=True)
    return [(part, real, count) for part, real in parts]


def train(x: np.ndarray, y: np.ndarray, known: np.ndarray, epochs: int, optimizer) -> dict:
    """The weights after some epochs; targets and `known` are `[n, L]`."""
    rng = np.random.default_rng(0)
    sizes = {"hidden": (x.shape[1], 128), "last": (128, y.shape[1])}
    weights = {name: jnp.asarray(rng.normal(0, 0.05, size)) for name, size in sizes.items()}
    optimizer = optax.MultiSteps(optimizer, every_k_schedule=STEPS)
    state = optimizer.init(weights)

    @jax.jit
    def step(weights, state, x, y, known, count):
        gradient = jax.grad(share)(weights, x, y, known, count)
        updates, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state

    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x), SMALL * STEPS):
            rows = order[first : first + SMALL * STEPS]
            for part, is_real, count in batches(rows, known):
                where = known[part] & is_real[:, None]
                weights, state = step(weights, state, x[part], y[part], where, count)
    return weights


def main() -> None:
    x, y, x_test, y_test = digit_sets.load()
    known = np.random.default_rng(1).random(y.shape) < 0.8
    known[::7] = False  # examples without a known label
    weights = train(x, y, known, 30, optax.adam(3e-3))
    scores = logits(weights, x_test)
    f1 = metrics.f1_score(predict_threshold(scores), y_test, average="micro")
    print(f"test loss {zlpr(scores, y_test).mean():.3f}, micro-F1 {f1:.3f}")


if __name__ == "__main__":
    main()
