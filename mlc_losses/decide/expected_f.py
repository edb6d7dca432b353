"""The label set with the largest expected F-measure."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_floating,
    checked_float,
    checked_where,
    positive_integer,
)
from mlc_losses._array.host import constant
from mlc_losses._array.labels import label_sum, labels_together
from mlc_losses._array.loops import one_program, scan
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    as_dtype,
    device_of,
    is_number,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import entries_at, log_sigmoid, scaled, sigmoid
from mlc_losses.decide._exponential_sum import exponential_sum
from mlc_losses.decide.sets import highest


def predict_expected_f(
    logits: ArrayT,
    *,
    beta: float = 1.0,
    scale: float | Array = 1.0,
    max_labels: int | None = None,
    empty: float = 0.0,
    where: Array | None = None,
) -> ArrayT:
    r"""Predict the label set with the largest expected F-measure, with no threshold to tune.

    .. math::

        \max_S \; \mathbb{E}_Y \left[ \frac{(1 + \beta^2) \, |S \cap Y|}{|S| + \beta^2 |Y|} \right],
        \qquad p_i = \sigma(c s_i) \text{ independent}

    The best set of each size k holds the k most probable labels, so k alone is to be found.

    Args:
      logits: floating ``[..., L]``, of a loss that makes ``sigmoid(logits)`` probabilities, such as
        :func:`binary_cross_entropy`.
      beta: a number, at least 0: how many times recall counts as much as precision. 0 is precision
        alone, which one label makes best; infinity is recall alone.
      scale: c > 0, a number or a scalar array: 1, or one over what :func:`fit_temperature` finds.
      max_labels: a Python integer in 1..L, the largest size looked at; all by default. The work is
        the same for each label, so it saves little, but it bounds the sets.
      empty: in [0, 1], the F-measure of an empty set where no label is relevant. 0 is as
        scikit-learn's ``zero_division=0``, which never predicts an empty set while one label has a
        positive probability. The choice of an argument is ours.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False takes a label out: it is
        neither predicted nor counted.

    Returns:
      bool ``[..., L]``. Of tied logits the labels with the lower ids are taken, of sizes with equal
      expectations the smallest: equal means to 1e-8 of the largest, to 4e-6 in float32. A NaN logit
      is not predicted and counts as a label of probability 0, as does one of -inf; +inf is
      probability 1.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: ``beta``, ``scale``, ``empty`` or ``max_labels`` is out of range.

    ``1 / x`` is a sum of exponentials, of 31 for 1,000 labels and 44 for 100,000 (22 and 32 in
    float32), right to 1e-10 of itself at every size that a set can have, to 1e-7 in float32. So
    the expectations are right to that, before rounding, for any probabilities. Each exponential
    takes O(L) time, one after the other, so memory is O(L) too. Half precision is computed in
    float32. What is best is the mean F-measure of examples (samples-F1), under labels that are
    independent given the example.

    References:
      Jansche, `A maximum expected utility framework for binary sequence labeling
      <https://aclanthology.org/P07-1093/>`_, 2007; Ye, Chai, Lee, Chieu, `Optimizing F-measures: a
      tale of two approaches <https://arxiv.org/abs/1206.4625>`_, 2012.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_expected_f
      >>> p = np.array([[0.9, 0.55, 0.4, 0.15, 0.05]])
      >>> predict_expected_f(np.log(p / (1 - p)))
      array([[ True,  True,  True, False, False]])
    """
    xp = namespace(logits=logits, where=where)
    check_floating(xp, "logits", logits)
    if logits.ndim == 0:
        raise ValueError("logits must have a label axis, got a 0-dimensional array")
    where = checked_where(xp, "logits", logits, where, -1)
    logits = labels_together(to_compute_dtype(xp, logits))
    beta = checked_float("beta", beta, low=0.0, finite=False)  # infinity: recall alone
    empty = checked_float("empty", empty, low=0, high=1)
    width = shape_of(logits)[-1]
    scale = checked_float("scale", scale, above=0.0)
    if max_labels is None:
        max_labels = width
    elif width:
        max_labels = positive_integer("max_labels", max_labels, width)
    if width == 0:
        return xp.zeros(shape_of(logits), dtype=xp.bool, device=device_of(logits))
    known = ~xp.isnan(logits) if where is None else where & ~xp.isnan(logits)
    logits = xp.where(known, logits, -math.inf)

    def number(x: Any) -> Any:
        if is_number(x):
            return xp.full((), x, dtype=logits.dtype, device=device_of(logits))
        return as_dtype(xp, x, logits.dtype)

    sizes = xp.arange(1, max_labels + 1, dtype=logits.dtype, device=device_of(logits))
    sizes = xp.reshape(sizes, (1,) * (logits.ndim - 1) + (-1,))
    # Van Rijsbergen's weight of precision, by itself as a float where beta is one
    precision = number(1.0 / (1.0 + beta * beta))
    double = xp.finfo(logits.dtype).bits == 64
    nodes, weights = (
        as_dtype(xp, constant(x, logits), logits.dtype)
        for x in exponential_sum(float(width), double)
    )
    return _best_sets(logits, known, number(scale), precision, number(empty), sizes, nodes, weights)


@one_program
def _best_sets(
    logits: Any,
    known: Any,
    scale: Any,
    precision: Any,
    empty: Any,
    sizes: Any,
    nodes: Any,
    weights: Any,
) -> Any:
    xp = namespace(logits=logits)
    order = xp.argsort(logits, axis=-1, descending=True, stable=True)
    falling = entries_at(logits, order)
    moved = scaled(falling, scale)
    value = _expected_f(xp, sigmoid(moved), precision, sizes, nodes, weights)
    # F of the empty set is not 0 only if no label is relevant
    nothing = empty * xp.exp(label_sum(log_sigmoid(-moved)))
    value = xp.concat([nothing[..., None], value], axis=-1)
    best = xp.max(value, axis=-1, keepdims=True)
    tolerance = 1e-8 if xp.finfo(logits.dtype).bits == 64 else 4e-6
    # the first that is as good
    as_good = xp.astype(value >= best * (1.0 - tolerance), xp.int8)
    k = xp.argmax(as_good, axis=-1)[..., None]
    cut = entries_at(falling, xp.clip(k - 1, 0, None))
    return highest(xp, logits, cut, k, known) & (k > 0)


def _expected_f(xp: Any, p: Any, precision: Any, sizes: Any, nodes: Any, weights: Any) -> Any:
    """E[F] of the first k labels, of probabilities `[..., L]` from the highest on: `[..., K]`.

    With F = TP / a, a = π k + (1 - π) |Y| >= 1 where TP > 0, and 1 / a = Σ_q w_q e^(-x_q a),

        E[F](k) = Σ_q w_q e^(-x_q π k) Σ_{i <= k} p_i u_q Π_{j != i} (1 - p_j + p_j u_q),

    u_q = e^(-x_q (1 - π)). All is positive but for a few small weights, so nothing cancels.
    """
    most = shape_of(sizes)[-1]
    exponents = nodes * (1.0 - precision)
    # the terms of a smaller u are nothing beside the others
    lowest = float(xp.finfo(p.dtype).eps)
    u = xp.clip(xp.exp(-exponents), lowest, None)
    away = xp.clip(-xp.expm1(-exponents), None, 1.0 - lowest)

    def add(total: Any, node: Any) -> tuple[Any, None]:
        u, away, decay, weight = node
        dropped = p * away
        others = xp.exp(label_sum(xp.log1p(-dropped)))[..., None]
        p_first, dropped = p[..., :most], dropped[..., :most]
        hits = xp.cumulative_sum(p_first / (1.0 - dropped), axis=-1)
        by_size = weight * u * xp.exp(-decay * sizes)
        return total + hits * (others * by_size), None

    start = xp.zeros_like(p[..., :most])
    return scan(add, start, (u, away, nodes * precision, weights))[0]
