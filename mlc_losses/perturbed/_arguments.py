"""The arguments of the perturbed top-k operator, checked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.arguments import (
    check_floating,
    checked_float,
    checked_option,
    positive_integer,
)
from mlc_losses._array.labels import columns, label_any, num_labels
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import is_number, namespace, shape_of, to_compute_dtype
from mlc_losses._array.ops import stop_gradient
from mlc_losses.perturbed._noise import check_key


class Call(NamedTuple):
    """The arguments of a call, checked; the batch is one axis of rows."""

    scores: Any  # [R, L], to compute in; 0 for NaN
    bad: Any  # bool [R], an example with a NaN
    k: int
    only_last: bool  # the k-th alone, not the sum of the k largest
    sigma: Any  # [R, 1]
    key: Any
    noise: Any  # [R, L, num_samples]
    num_samples: int
    exact: bool
    num_candidates: int | None

    @property
    def ranks(self) -> tuple[int, ...]:
        return (self.k,) if self.only_last else tuple(range(1, self.k + 1))


def arguments(
    scores: Any,
    k: Any,
    *,
    only_last: bool,
    sigma: Any,
    key: Any,
    noise: Any,
    num_samples: Any,
    method: str,
    num_candidates: Any,
) -> Call:
    """Checks them, and brings scores and noise to rows."""
    xp = namespace(scores=scores, noise=noise)
    check_floating(xp, "scores", scores)
    if scores.ndim == 0:
        raise ValueError("scores must have a label axis, got a 0-dimensional array")
    *batch, width = shape_of(scores)
    k = positive_integer("k", k, num_labels(scores))
    num_samples = positive_integer("num_samples", num_samples)
    exact = _is_exact(method, key, noise, num_candidates)
    if exact:
        require_all_labels(xp, "integrates over all scores; sample instead")
    if key is not None:
        check_key(scores, key)
    if noise is not None:
        check_floating(xp, "noise", noise)
        if shape_of(noise)[:-1] != shape_of(scores):
            raise ValueError(
                "noise must have the shape of scores and one axis of samples more, "
                f"{(*shape_of(scores), 'num_samples')}, got {shape_of(noise)}"
            )
        num_samples = positive_integer("the number of samples in noise", shape_of(noise)[-1])
    if num_candidates is not None:
        num_candidates = positive_integer("num_candidates", num_candidates)
        if num_candidates < min(k + 1, width):
            raise ValueError(f"num_candidates must be above k = {k}, got {num_candidates}")
    rows = math.prod(batch)
    values = xp.reshape(to_compute_dtype(xp, scores), (rows, width))
    bad = label_any(xp.isnan(values))
    if noise is not None:
        noise = xp.reshape(xp.astype(noise, values.dtype), (rows, width, num_samples))
        bad = bad | label_any(xp.any(xp.isnan(noise), axis=-1))
    values = xp.where(xp.isnan(values), 0.0, values)
    return Call(
        scores=values,
        bad=bad,
        k=k,
        only_last=only_last,
        sigma=_sigma(xp, sigma, values),
        key=key,
        noise=noise,
        num_samples=num_samples,
        exact=exact,
        num_candidates=num_candidates,
    )


def _is_exact(method: str, key: Any, noise: Any, num_candidates: Any) -> bool:
    exact = checked_option("method", method, {"sample": False, "exact": True})
    if not exact:
        if (key is None) == (noise is None):
            given = "neither" if key is None else "both"
            raise ValueError(f"give exactly one of key and noise to sample with, got {given}")
        if num_candidates is not None:
            raise ValueError("num_candidates is for method='exact' alone")
    elif key is not None or noise is not None:
        raise ValueError("method='exact' draws nothing: leave out key and noise")
    return exact


def _sigma(xp: Any, sigma: Any, like: Any) -> Any:
    """`[R, 1]`, a constant."""
    sigma = checked_float("sigma", sigma, low=0.0)
    rows = shape_of(like)[:1]
    if is_number(sigma):
        return columns(sigma, like, 1)
    sigma = stop_gradient(xp.astype(sigma, like.dtype))
    return xp.broadcast_to(xp.reshape(sigma, (1, 1)), (*rows, 1))
