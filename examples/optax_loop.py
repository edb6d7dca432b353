"""The smallest training loop with `zlpr`: one jitted step of optax, on made-up multi-label data.

python -m examples.optax_loop
"""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from sklearn.datasets import make_multilabel_classification

from mlc_losses import metrics, predict_threshold, zlpr


def init(key: jax.Array, features: int, hidden: int, labels: int) -> dict[str, jax.Array]:
    first, second = jax.random.split(key)
    return {
        "hidden": jax.random.normal(first, (features, hidden)) * (2 / features) ** 0.5,
        "output": jax.random.normal(second, (hidden, labels)) * hidden**-0.5,
        "bias": jnp.zeros((1, labels)),
    }


def logits_of(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jax.nn.relu(x @ params["hidden"]) @ params["output"] + params["bias"]


def main(
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch_size: Annotated[int, typer.Option(min=1, max=1500)] = 64,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    x, y = make_multilabel_classification(2000, 50, n_classes=10, n_labels=3, random_state=seed)
    x, y = jnp.log1p(jnp.asarray(x, jnp.float32)), jnp.asarray(y, bool)  # x are word counts
    params, optimizer = init(jax.random.key(seed), 50, 128, 10), optax.adamw(2e-3)
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradient = jax.value_and_grad(lambda p: zlpr(logits_of(p, x), y).mean())(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    order = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        losses = []
        steps = 1500 // batch_size
        for rows in np.split(order.permutation(1500)[: steps * batch_size], steps):
            params, state, loss = step(params, state, x[rows], y[rows])
            losses.append(loss)
        if epoch in (1, epochs) or epoch % 5 == 0:
            print(f"epoch {epoch:3d}  training loss {np.mean(losses):.4f}")

    predictions = predict_threshold(logits_of(params, x[1500:]))
    for average in ("micro", "macro"):
        print(f"test {average}-F1 {metrics.f1_score(predictions, y[1500:], average=average):.4f}")


if __name__ == "__main__":
    typer.run(main)
