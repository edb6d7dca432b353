"""A threshold that guarantees recall on new examples."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import check_matrix, checked_float, checked_labels
from mlc_losses._array.labels import label_any, label_count, labels_together
from mlc_losses._array.namespace import Array, ArrayT, device_of, shape_of
from mlc_losses._array.ops import entries_at, relevant_and_missing


def conformal_threshold(
    scores: ArrayT, targets: Array, *, recall: float, where: Array | None = None
) -> ArrayT:
    r"""The threshold for `predict_average_k` that guarantees an expected recall on new examples.

    .. math::

        \max \left\{ t : \frac{n}{n + 1} \bar{\ell}(t) + \frac{1}{n + 1} \le 1 - r \right\},
        \qquad
        \ell_i(t) = 1 - \frac{|\{j \in Y_i : s_{ij} \ge t\}|}{|Y_i|}

    over the values t of the scores, with the mean loss over the n examples. A loss is 0 where
    ``Y`` is empty. If a new example is exchangeable with these, its expected loss is at most
    ``1 - recall``, whatever the model.

    Args:
      scores: floating ``[n, L]``, of data that the model was not trained on.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2.
      recall: r, a number in [0, 1], for each example on average.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a cell out. An example
        without a known cell does not count in n.

    Returns:
      a scalar, one of the scores; float32 for half precision scores. Decide by
      ``predict_average_k(scores, t)``, which is ``scores >= t``: :func:`predict_threshold` is
      strict and would lose the guarantee. ``-inf``, everything, where no score will do: with too
      few examples for that recall (n + 1 < 1 / (1 - r)) and with none. A known NaN score or target
      makes it NaN.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``recall`` is out of range.

    The bound may be met exactly; to that end sums are compared up to their rounding, 4 units of the
    dtype for each example. O(n L log(n L)) time. The guarantee is on the mean over draws of these
    data and the new example; for one draw the recall of many new examples varies about it.

    References:
      Angelopoulos, Bates, Fisch, Lei, Schuster, `Conformal risk control
      <https://arxiv.org/abs/2208.02814>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import conformal_threshold, predict_average_k
      >>> scores = np.array([[2.0, 0.5], [1.0, -1.0], [0.3, 1.5], [-0.2, -2.0]])
      >>> targets = np.array([[1, 1], [1, 0], [0, 1], [1, 0]])
      >>> t = conformal_threshold(scores, targets, recall=0.5)
      >>> float(t)
      1.0
      >>> predict_average_k(scores, t)
      array([[ True, False],
             [ True, False],
             [False,  True],
             [False, False]])
    """
    xp, scores, targets, where = checked_labels(scores, targets, where, logits_name="scores")
    check_matrix("scores", scores)
    recall = checked_float("recall", recall, low=0.0, high=1.0)
    relevant, missing = relevant_and_missing(xp, targets)
    unknown_number = xp.isnan(scores) if missing is None else xp.isnan(scores) | missing
    if where is not None:
        relevant, unknown_number = relevant & where, unknown_number & where
        scores = xp.where(where, scores, -math.inf)
    n, width = shape_of(scores)
    if n * width == 0:
        return xp.asarray(-math.inf, dtype=scores.dtype, device=device_of(scores))
    examples = float(n) if where is None else xp.sum(xp.astype(label_any(where), scores.dtype))
    # what an example loses with each of its labels, in order of their scores
    share = label_count(relevant, scores)[:, None]
    losses = xp.where(relevant, 1.0 / xp.where(share > 0, share, 1.0), 0.0)
    flat_scores, flat_losses = (xp.reshape(labels_together(x), (-1,)) for x in (scores, losses))
    order = xp.argsort(flat_scores, stable=True)
    rising, lost = entries_at(flat_scores, order), entries_at(flat_losses, order)
    lost_below = xp.cumulative_sum(lost) - lost
    slack = 4.0 * float(xp.finfo(scores.dtype).eps)
    allowed = (examples + 1.0) * (1.0 - recall + slack) - 1.0
    return _largest_allowed(xp, rising, lost_below <= allowed, label_any(unknown_number))


def _largest_allowed(xp: Any, rising: Any, allowed: Any, missing: Any) -> Any:
    """The largest score that is allowed, at the first of those that tie with it."""
    first = xp.concat([xp.ones_like(allowed[:1]), rising[1:] > rising[:-1]])
    found = xp.max(xp.where(first & allowed, rising, -math.inf))
    return xp.where(xp.any(missing), math.nan, found)
