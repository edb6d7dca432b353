"""Metrics of probabilities: whether what is said to happen as often does. NaN gives NaN."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_option, positive_integer
from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.namespace import Array, can_look, default_integer, device_of, shape_of
from mlc_losses._array.scatter import group_sums
from mlc_losses.metrics._averages import any_known, mean, ratio
from mlc_losses.metrics._ranks import checked_scores, nan_like


def expected_calibration_error(
    probabilities: Array,
    targets: Array,
    *,
    bins: int = 15,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""How far, on average, the probability of a label is from how often it is relevant.

    .. math:: \sum_b \frac{n_b}{n} \, \bigl|\overline{p}_b - \overline{y}_b\bigr|

    Args:
      probabilities: floating ``[n, L]``, in [0, 1]: of logits their sigmoid.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      bins: how many equal parts of [0, 1] the probabilities are sorted into, a Python integer. A
        bin has its lower end, the last one both.
      average: ``"macro"``, the mean over labels; ``"micro"``, all cells in the same bins; None,
        one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a cell out. A label
        without a known cell is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1], the lower the better, or ``[L]`` for None; 0 without examples. Few
      examples in a bin make it larger than that of the model itself, so compare it at one n.

    Raises:
      TypeError: probabilities are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``bins`` is not positive, ``average`` is
        unknown or, in eager code, a probability is outside [0, 1] or a weight negative or not
        finite. Under jit such a probability gives NaN.

    References:
      Naeini, Cooper, Hauskrecht, `Obtaining Well Calibrated Probabilities Using Bayesian Binning
      <https://doi.org/10.1609/aaai.v29i1.9602>`_, 2015; Guo, Pleiss, Sun, Weinberger, `On
      Calibration of Modern Neural Networks <https://arxiv.org/abs/1706.04599>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import expected_calibration_error
      >>> probabilities = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.6]])
      >>> targets = np.array([[1, 0], [1, 0], [0, 1]])
      >>> expected_calibration_error(probabilities, targets, bins=5, average=None).round(4)
      array([0.2   , 0.2333])
    """
    pooled = checked_option("average", average, {"macro": False, "micro": True, None: False})
    bins = positive_integer("bins", bins)
    given = checked_scores(probabilities, targets, where, sample_weight, "probabilities")
    _check_probabilities("probabilities", probabilities, where)
    xp, p, relevant, where, weight = given
    p = p if where is None else xp.where(where, p, 0.0)
    p = xp.where((p >= 0) & (p <= 1), p, math.nan)
    weights = xp.ones_like(p) if weight is None else xp.broadcast_to(weight[:, None], shape_of(p))
    weights = weights if where is None else xp.where(where, weights, 0.0)
    excess = weights * (p - xp.astype(relevant, p.dtype))
    labels = 1 if pooled else shape_of(p)[1]
    gaps = xp.sum(xp.abs(_sums_of_bins(xp, p, excess, bins, labels)), axis=-1)
    by_label = [xp.reshape(x, (-1, labels)) for x in (p, weights)]
    errors = ratio(xp, gaps, xp.sum(by_label[1], axis=0))
    errors = nan_like(xp, xp.matrix_transpose(by_label[0]), errors)
    return errors if average is None else mean(xp, errors, any_known(where, None if pooled else 0))


def _check_probabilities(name: str, x: Any, where: Any) -> None:
    """Raises for a known entry outside [0, 1], if looking is free; NaN passes."""
    if not can_look(x) or not (where is None or can_look(where)):
        return
    values = to_host(name, x)
    bad = (values < 0) | (values > 1)
    if where is not None:
        bad &= to_host("where", where)
    if bad.any():
        index = first_index(bad)
        raise ValueError(
            f"{name} must be in [0, 1], got {float(values[index]):g} at index {index}; "
            "turn logits into probabilities with a sigmoid first"
        )


def _sums_of_bins(xp: Any, p: Any, values: Any, bins: int, labels: int) -> Any:
    """The sums `[labels, bins]` of the values `[n, L]`; those at a NaN are in no bin."""
    integer = default_integer(xp)
    number = xp.where(xp.isnan(p), -1.0, xp.clip(xp.floor(p * bins), None, bins - 1.0))
    number = xp.astype(number, integer)
    label = xp.arange(shape_of(p)[1], dtype=integer, device=device_of(p)) % labels
    group = xp.where(number < 0, -1, number + bins * label[None, :])
    values, group = (xp.reshape(x, (-1,)) for x in (values, group))
    return xp.reshape(group_sums(values, group, labels * bins), (labels, bins))
