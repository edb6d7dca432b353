"""Check a JAX value and gradient by the same call on NumPy, in float64.

python -m examples.numpy_check
"""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer

from mlc_losses import zlpr


def numpy_gradient(logits: np.ndarray, targets: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences, one logit at a time: slow, and independent of any autograd."""
    gradient = np.empty_like(logits)
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (zlpr(up, targets).sum() - zlpr(down, targets).sum()) / (2 * step)
    return gradient


def main(
    examples: Annotated[int, typer.Option(min=1)] = 8,
    labels: Annotated[int, typer.Option(min=1)] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    generator = np.random.default_rng(seed)
    # rounded to float32 first, so that both sides are given the same numbers
    logits = generator.normal(0, 3, (examples, labels)).astype(np.float32)
    targets = generator.random((examples, labels)) < 0.2

    in_jax = jnp.asarray(logits), jnp.asarray(targets)
    value = jax.jit(zlpr)(*in_jax)
    gradient = jax.grad(lambda s, y: zlpr(s, y).sum())(*in_jax)

    exact = logits.astype(np.float64)
    value_gap = np.abs(np.asarray(value) - zlpr(exact, targets)).max()
    gradient_gap = np.abs(np.asarray(gradient) - numpy_gradient(exact, targets)).max()
    print(f"zlpr on {examples} x {labels} logits, largest difference of JAX float32 from NumPy:")
    print(f"  value    {value_gap:.1e}")
    print(f"  gradient {gradient_gap:.1e}")


if __name__ == "__main__":
    typer.run(main)
