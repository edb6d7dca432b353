"""Run by `test_across_batch.py` with 8 simulated devices: K guesses on average of a split batch."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mlc_losses as ml

COLLECTIVE = r"= \S*?\[([0-9,]*)\]\S* (?:all-gather|all-to-all|all-reduce)\("


def everything(logits: Any, labels: Any) -> tuple[Any, ...]:
    sets = [
        ml.average_k_pseudo_labels(logits, labels, 5.5, rule=rule)
        for rule in ("exclude_label", "threshold")
    ]
    threshold = ml.average_k_threshold(logits, 5.5)
    return *sets, threshold, ml.average_k_two_head(logits, -logits, labels, 5.5)


def check(kind: AxisType, logits: np.ndarray, labels: np.ndarray) -> None:
    on_one = jax.jit(everything)(logits, labels)
    assert on_one[0].sum() == 32 * 5.5
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    split = NamedSharding(mesh, PartitionSpec("batch"))
    both = jax.device_put(logits, split), jax.device_put(labels, split)
    compiled = jax.jit(everything).lower(*both).compile()
    results = compiled(*both)
    for one, result in zip(on_one, results, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(result), rtol=1e-5)
    assert results[0].sharding.is_equivalent_to(split, 2), results[0].sharding
    # no device gets the scores of another
    moved = re.findall(COLLECTIVE, compiled.as_text())
    assert moved, "nothing is moved at all"
    assert all("50" not in shape.split(",") for shape in moved), moved


def main() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(32, 50)).astype(np.float32)
    logits[:4] *= 0.01  # one device has the ambiguous examples: a threshold of its own is lower
    logits[16:] = logits[:16]  # every score is tied with one on another device
    labels = rng.integers(0, 50, 32)
    for kind in (AxisType.Auto, AxisType.Explicit):
        check(kind, logits, labels)


if __name__ == "__main__":
    main()
