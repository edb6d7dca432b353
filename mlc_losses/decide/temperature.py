"""The temperature that makes probabilities of logits."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import label_arguments
from mlc_losses._array.labels import label_sum
from mlc_losses._array.loops import one_program, repeat
from mlc_losses._array.namespace import Array, ArrayT, namespace
from mlc_losses._array.ops import decided, sigmoid

_LOWEST, _HIGHEST = 1e-3, 1e3
# Newton's steps take about eight; where they do not help, each second step halves an interval
_STEPS = 40


def fit_temperature(logits: ArrayT, targets: Array, *, where: Array | None = None) -> ArrayT:
    r"""The temperature with the least binary cross-entropy of `logits / T` on these data.

    .. math:: \min_T \sum_{ij} \log(1 + e^{s_{ij} / T}) - y_{ij} s_{ij} / T

    One number for all labels: the order of scores stays as it is, only their confidence changes.
    The sum is convex in ``1 / T``.

    Args:
      logits: floating ``[..., L]``, of data that the model was not trained on.
      targets: ``[..., L]``, bool, integer or float in [0, 1]; soft targets count as they are.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a cell out.

    Returns:
      a scalar in [1e-3, 1e3], float32 for half precision logits; no gradient is meant to flow
      through it. The lower end where no logit is on the wrong side of 0 (T = 0 would be best), the
      upper end where logits say no more than chance, or less. 1 where no T is better than another:
      no known cells, or logits that are all 0. An infinite logit with its target at the same end
      counts nothing; one against its target asks for the upper end. A known NaN makes it NaN.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    For :func:`predict_expected_f` take ``scale=1 / T``; probabilities are ``sigmoid(logits / T)``.
    A fixed number of Newton's steps, each inside an interval that holds the minimum.

    References:
      Guo, Pleiss, Sun, Weinberger, `On calibration of modern neural networks
      <https://arxiv.org/abs/1706.04599>`_, 2017, for one class per example.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import fit_temperature
      >>> logits = np.array([[4.0, -4.0], [4.0, 4.0]])
      >>> T = fit_temperature(logits, np.array([[1, 0], [1, 0]]))
      >>> print(f"{float(T):.4f}")  # three of four are right: 4 / log(3)
      3.6410
    """
    _, logits, targets, where = label_arguments(logits, targets, where)
    # a cell that is not known has logit 0, whose terms are 0
    return _best_temperature(decided(logits), targets)


@one_program
def _best_temperature(logits: Any, targets: Any) -> Any:
    xp = namespace(logits=logits)

    def derivatives(inverse: Any) -> tuple[Any, Any]:
        """First and second, by `1 / T`."""
        p, rest = sigmoid(inverse * logits), sigmoid(-inverse * logits)
        # not p - targets, which rounds to 0 while there is still something to gain
        first = xp.sum(label_sum(((1.0 - targets) * p - targets * rest) * logits))
        return first, xp.sum(label_sum(p * rest * logits * logits))

    one = xp.ones_like(xp.sum(logits))
    rounding = 8.0 * float(xp.finfo(logits.dtype).eps)

    def step(state: Any) -> Any:
        inverse, low, high, width, _ = state
        first, second = derivatives(inverse)
        low, high = xp.where(first <= 0, inverse, low), xp.where(first >= 0, inverse, high)
        newton = inverse - first / xp.where(second > 0, second, math.nan)
        moved = xp.abs(newton - inverse)
        # no jump away from a minimum where only rounding is left
        quick = (2.0 * moved <= width) | (moved <= rounding * inverse)
        useful = (newton >= low) & (newton <= high) & quick
        following = xp.where(useful, newton, xp.sqrt(low * high))
        return following, low, high, xp.abs(following - inverse), first

    lowest, highest = 1.0 / _HIGHEST, 1.0 / _LOWEST
    start = (one, lowest * one, highest * one, highest * one, one)
    inverse, *_ = repeat(step, start, _STEPS)
    at_ends = [derivatives(end * one)[0] for end in (lowest, highest)]
    flat = (at_ends[0] == 0) & (at_ends[1] == 0)
    inverse = xp.where(at_ends[0] > 0, lowest, inverse)
    # 0 if all terms are too small for the dtype
    inverse = xp.where(at_ends[1] <= 0, highest, inverse)
    temperature = xp.where(flat, 1.0, 1.0 / inverse)
    return xp.where(xp.isnan(at_ends[0]), math.nan, temperature)
