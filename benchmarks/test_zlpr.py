"""zlpr against its peers: value and gradient together, float32 logits, on JAX's default device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.peers import timm_losses
from benchmarks.ratios import medians, table
from mlc_losses import zlpr

SHAPES = [(256, 1000), (256, 10_000), (64, 100_000)]
BARS = {"optax sigmoid cross-entropy": 0.4, "timm ZLPR": 1 / 3}
ON_CPU = jax.default_backend() == "cpu"


def compiled(loss: Callable[..., Any], *arrays: jax.Array) -> Callable[[], Any]:
    step = jax.jit(jax.value_and_grad(lambda *arrays: loss(*arrays).mean()))
    run = step.lower(*arrays).compile()
    return lambda: jax.block_until_ready(run(*arrays))


def optax_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.losses.sigmoid_binary_cross_entropy(logits, targets).sum(-1)


def torch_peers(logits: np.ndarray, targets: np.ndarray) -> dict[str, Callable[[], Any]]:
    """PyTorch's fused cross-entropy and timm's ZLPR, where they are installed."""
    torch = pytest.importorskip("torch")
    s = torch.tensor(logits, requires_grad=True)
    y = torch.tensor(targets)

    def step(loss: Callable[..., Any]) -> Callable[[], None]:
        def run() -> None:
            s.grad = None
            loss(s, y).backward()

        return run

    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    peers = {"torch BCE with logits": step(lambda s, y: cross_entropy(s, y, reduction="sum"))}
    if timm := timm_losses():
        peers["timm ZLPR"] = step(timm.ZlprLoss())
    return peers


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bool_], ids=["float targets", "bool targets"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_zlpr(shape: tuple[int, int], dtype: Any, benchmark: Any, report: list[str]) -> None:
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=shape)).astype(np.float32)
    hot = rng.random(shape) < 0.01
    s, y = jnp.asarray(logits), jnp.asarray(hot, dtype)
    add = jax.jit(jnp.add)
    functions = {
        "zlpr": compiled(zlpr, s, y),
        "optax sigmoid cross-entropy": compiled(optax_cross_entropy, s, y.astype(jnp.float32)),
        "one addition, s + y": lambda: jax.block_until_ready(add(s, y)),
    }
    if ON_CPU:
        functions |= torch_peers(logits, hot.astype(np.float32))
    seconds = medians(functions)
    title = f"zlpr {list(shape)}, {jnp.dtype(dtype).name} targets, {jax.default_backend()}"
    report.append(table(title, seconds, "zlpr"))
    shares = {name: seconds["zlpr"] / value for name, value in seconds.items()}
    benchmark.extra_info.update(shares)
    benchmark.pedantic(functions["zlpr"], rounds=10, warmup_rounds=1)
    if ON_CPU and shape != SHAPES[0]:  # the small shape is overhead, and has no bar
        for name, bar in BARS.items():
            if name in seconds:
                assert seconds["zlpr"] <= bar * seconds[name], name
