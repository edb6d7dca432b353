"""Precision at k for long tails of labels, where what is rare is also what annotators miss."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_numbers,
    checked_float,
    per_label,
    positive_integer,
)
from mlc_losses._array.labels import label_sum
from mlc_losses._array.namespace import Array, accept_numpy, as_compute_float, namespace, shape_of
from mlc_losses._array.value_checks import check_at_least_0
from mlc_losses.decide.sets import predict_top_k
from mlc_losses.metrics._ranks import checked_scores, mean_of_examples


def label_propensities(counts: Array, num_examples: int, *, a: float = 0.55, b: float = 1.5) -> Any:
    r"""The chance that a label which applies was also noted down, from how often it was.

    .. math:: p_l = \frac{1}{1 + C e^{-a \log(n_l + b)}}, \qquad C = (\log N - 1) (b + 1)^a

    Args:
      counts: ``[L]``, in how many training examples each label is relevant.
      num_examples: N, how many training examples there are.
      a: how fast the propensity rises with the count; 0.55 is the authors' choice but for the
        Wikipedia data (0.5) and the Amazon data (0.6).
      b: offset of the count, above -1; theirs is 1.5, for Wikipedia 0.4, for Amazon 2.6.

    Returns:
      floating ``[L]``, the inverse of the authors' weights. With fewer than 3 examples C is
      negative and the formula without meaning.

    Raises:
      ValueError: ``num_examples`` is less than 3, ``b`` is not above -1 or, in eager code, a count
        is negative or not finite.

    References:
      Jain, Prabhu, Varma, `Extreme Multi-label Loss Functions for Recommendation, Tagging, Ranking
      & Other Missing Label Applications <https://doi.org/10.1145/2939672.2939756>`_, 2016.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import label_propensities
      >>> label_propensities(np.array([0, 10, 1000]), 10_000).round(4)
      array([0.0842, 0.2199, 0.7669])
    """
    num_examples = positive_integer("num_examples", num_examples)
    if num_examples < 3:
        raise ValueError(f"num_examples must be at least 3, got {num_examples}")
    a, b = checked_float("a", a), checked_float("b", b, above=-1.0)
    xp = namespace(counts=counts)
    check_numbers(xp, "counts", counts)
    if counts.ndim != 1:
        raise ValueError(f"counts must be an array of shape [L], got {shape_of(counts)}")
    check_at_least_0("counts", counts)
    relative = (as_compute_float(xp, counts) + b) / (b + 1.0)
    return 1.0 / (1.0 + (math.log(num_examples) - 1.0) * xp.exp(-a * xp.log(relative)))


def propensity_scored_precision_at_k(
    scores: Array,
    targets: Array,
    k: int,
    propensities: Array,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""Precision at k in which a hit on a label counts 1 / its propensity, averaged over examples.

    .. math:: \frac1k \sum_{l \in \text{top } k} y_l / p_l

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L. Of tied labels the lower ids are taken.
      propensities: ``[L]``, above 0, see :func:`label_propensities`; or ``[n, L]``, where the
        columns are not the same labels for every example.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar; 0 without examples. It is not divided by the best value possible on these targets,
      as published tables often are, and may exceed 1.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``k`` is out of range or, in eager code, a
        weight is negative or not finite.

    References:
      see :func:`label_propensities`.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import propensity_scored_precision_at_k
      >>> scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
      >>> targets, propensities = np.array([[1, 0, 1], [0, 1, 1]]), np.array([0.8, 0.5, 0.25])
      >>> propensity_scored_precision_at_k(scores, targets, 2, propensities)
      np.float64(1.8125)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    xp, scores = given.xp, given.scores
    k = positive_integer("k", k, shape_of(scores)[-1])
    namespace(scores=scores, propensities=propensities)
    check_numbers(xp, "propensities", propensities)
    check_at_least_0("propensities", propensities)
    if shape_of(propensities) == shape_of(scores):
        propensities = xp.astype(accept_numpy(xp, propensities), scores.dtype)
    else:
        propensities = per_label("propensities", propensities, scores)
    hit = predict_top_k(scores, k) & given.relevant
    gain = label_sum(1.0 / xp.where(hit, propensities, 1.0), hit) / k
    return mean_of_examples(given, gain)
