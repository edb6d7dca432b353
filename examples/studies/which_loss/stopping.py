"""The criterion of early stopping and of the search, fast enough to be taken after every epoch."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOST_CELLS = 1_000_000  # of the validation part; beyond it the first rows stand for all


class Targets(NamedTuple):
    """Validation targets int32: as they are, and transposed with the labels that occur."""

    rows: jax.Array
    occurring: jax.Array


def validation_targets(targets: np.ndarray) -> Targets:
    """Targets of the rows that are judged."""
    targets = targets[: max(1, MOST_CELLS // targets.shape[1])]
    return Targets(jnp.asarray(targets, jnp.int32), jnp.asarray(targets.any(axis=0)))


def criterion(scores: jax.Array, targets: Targets) -> jax.Array:
    """The mean of micro-F1 (one threshold, tuned), LRAP and mAP; -1 where a score is no number.

    Ties are broken in favour of irrelevant labels, as a constant score must not look good.
    """
    scores = scores[: len(targets.rows)]
    keys = _keys(scores, targets.rows)
    hits, places = _hits(keys.reshape(1, -1))
    f1 = (2 * hits / (places + targets.rows.sum(dtype=jnp.float32))).max()
    by_rows = _average_precision(keys)
    labelled = targets.rows.any(axis=1)
    lrap = jnp.where(labelled, by_rows, 1.0).mean()
    by_labels = _average_precision(keys.T)
    occurring = targets.occurring.astype(jnp.float32)
    macro = (by_labels * occurring).sum() / jnp.maximum(occurring.sum(), 1)
    return jnp.where(jnp.isfinite(scores).all(), (f1 + lrap + macro) / 3, -1.0)


def _keys(scores: jax.Array, targets: jax.Array) -> jax.Array:
    """Integers that fall as scores fall, their last bit the target.

    Sorting one array of integers is several times as fast as sorting scores with their targets.
    """
    bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
    ordered = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    # sorted upwards, best last: inverted, so that the best come first
    return ((~ordered) & ~1) | targets


def _hits(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each row the number of relevant ones in the first k, and k."""
    relevant = (jnp.sort(keys, axis=1) & 1).astype(jnp.float32)
    return jnp.cumsum(relevant, axis=1), jnp.arange(1, keys.shape[1] + 1, dtype=jnp.float32)[None]


def _average_precision(keys: jax.Array) -> jax.Array:
    hits, places = _hits(keys)
    relevant = jnp.diff(hits, axis=1, prepend=jnp.zeros_like(hits[:, :1]))
    return (hits / places * relevant).sum(axis=1) / jnp.maximum(hits[:, -1], 1)
