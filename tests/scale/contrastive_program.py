"""Run by `test_across_batch.py` with 8 simulated devices: one device against all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import mlc_losses as ml
from mlc_losses.losses.contrastive import _similarity

jax.config.update("jax_enable_x64", True)
assert jax.device_count() == 8

Means = dict[str, Callable[..., Any]]


def mean_of(loss: Callable[..., Any], **valid: Any) -> Callable[..., Any]:
    def mean(x: Any, prototypes: Any, y: Any) -> Any:
        return ml.masked_mean(loss(x, prototypes, y), ml.valid_anchors(y, **valid))

    return mean


def with_queue(x: Any, prototypes: Any, y: Any) -> Any:
    queue = ml.enqueue(ml.init_queue(12, 4, 6, like=x), x[::2] + 1, y[::2])
    keys = {"key_targets": queue.targets, "key_where": ml.queue_mask(queue)}
    loss = ml.supcon(x, y, keys=queue.embeddings, **keys)
    return ml.masked_mean(loss, ml.valid_anchors(y, **keys))


MEANS: Means = {
    "supcon": mean_of(lambda x, p, y: ml.supcon(x, y)),
    "mulsupcon": mean_of(lambda x, p, y: ml.mulsupcon(x, y)),
    "msc": lambda x, p, y: ml.msc(x, p, y).mean(),
    "mscrg": mean_of(ml.mscrg, prototypes=True),
    "lifted_structure": mean_of(lambda x, p, y: ml.lifted_structure(x, y)),
    "supcon with a queue": with_queue,
}


def arrays() -> tuple[np.ndarray, ...]:
    """32 rows, 4 to a device; those of some devices have no label, so no anchor counts there."""
    rng = np.random.default_rng(0)
    targets = (rng.random((32, 6)) < 0.3).astype(float)
    targets[:6] = targets[17:20] = 0
    targets[:, 5] = 0  # a prototype that no example has
    return rng.normal(size=(32, 4)), rng.normal(size=(6, 4)), targets


def main() -> None:
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    whole = NamedSharding(mesh, PartitionSpec())
    x, prototypes, y = arrays()
    counts = np.asarray(ml.valid_anchors(y)).reshape(8, 4).sum(1)
    assert counts.min() == 0 < counts.max()
    alone = [jnp.asarray(a) for a in (x, prototypes, y)]
    placed = [jax.device_put(a, at) for a, at in zip(alone, (rows, whole, rows), strict=True)]

    def check(name: str) -> None:
        # a new function, so that nothing compiled before serves
        step = jax.jit(jax.value_and_grad(lambda *arrays: MEANS[name](*arrays), argnums=(0, 1)))
        expected, actual = jax.tree.leaves(step(*alone)), jax.tree.leaves(step(*placed))
        for one, many in zip(expected, actual, strict=True):
            np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-14, err_msg=name)
        print(name)

    for name in MEANS:
        check(name)
    _similarity._BLOCK_SIZE = 100  # a few anchors at a time
    check("supcon with a queue")


if __name__ == "__main__":
    main()
