"""Ids to multi-hot and back, smoothing, a check before training, a mean that may be empty."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlc_losses._array.arguments import (
    check_integer,
    check_mask,
    check_numbers,
    check_same_shape,
    checked_flag,
    checked_float,
    positive_integer,
)
from mlc_losses._array.backend import is_numpy_namespace
from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.labels import label_indices, padded
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    as_compute_float,
    can_look,
    default_integer,
    is_concrete,
    namespace,
    shape_of,
)
from mlc_losses._array.ops import relevant_and_missing
from mlc_losses._array.scatter import scatter_true


def multi_hot(ids: ArrayT, num_labels: int, *, dtype: Any = None) -> ArrayT:
    """Multi-hot targets from label ids that are padded with -1.

    Args:
      ids: integer ``[..., P]``, each in 0..num_labels-1, or -1 for padding.
      num_labels: L, a Python integer.
      dtype: of the result; bool if None.

    Returns:
      ``[..., L]`` on the device of ``ids``. Duplicate ids count once; works under jit.

    Raises:
      TypeError: ids are not integers.
      ValueError: in eager code on a CPU, an id is out of range; it is named with its index. Under
        jit and on an accelerator such an id sets nothing.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import multi_hot
      >>> multi_hot(np.array([[2, 0, -1], [1, 1, -1]]), 3)
      array([[ True, False,  True],
             [False,  True, False]])
    """
    xp = namespace(ids=ids)
    check_integer(xp, "ids", ids)
    num_labels = positive_integer("num_labels", num_labels)
    # a narrow integer may not hold num_labels
    ids = xp.astype(ids, default_integer(xp))
    if ids.ndim == 0:
        raise ValueError("ids must have an axis of ids, shape [..., P], got a 0-dimensional array")
    check_ids(ids, num_labels)
    mask = scatter_true(ids, num_labels)
    return mask if dtype is None else xp.astype(mask, dtype)


def check_ids(ids: Array, num_labels: int) -> None:
    """Raises for an id out of range, if values can be looked at."""
    if can_look(ids):
        values = to_host("ids", ids)
        wanted = f"ids must be in 0..{num_labels - 1}, or -1 for padding"
        _raise_at_first((values < -1) | (values >= num_labels), values, wanted)


def label_ids(targets: ArrayT, max_labels: int) -> ArrayT:
    """Label ids, ascending and padded with -1, from multi-hot targets.

    Args:
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      max_labels: P, the length of the result. An example with more relevant labels keeps the P
        lowest ids; eager NumPy calls warn of it.

    Returns:
      integer ``[..., P]``.

    Raises:
      ValueError: ``max_labels`` is less than 1.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import label_ids
      >>> label_ids(np.array([[1, 0, 1], [0, 1, 0]]), 2)
      array([[ 0,  2],
             [ 1, -1]])
    """
    xp = namespace(targets=targets)
    max_labels = positive_integer("max_labels", max_labels)
    check_numbers(xp, "targets", targets)
    if targets.ndim == 0:
        raise ValueError("targets must have a label axis, got a 0-dimensional array")
    relevant, _ = relevant_and_missing(xp, targets)
    num_labels = shape_of(relevant)[-1]
    numbers = xp.where(relevant, label_indices(relevant), num_labels)
    if max_labels < num_labels:
        _warn_of_dropped_labels(xp, relevant, max_labels)
    ids = padded(xp.sort(numbers, axis=-1), num_labels, max_labels)
    return xp.where(ids < num_labels, ids, -1)


def _warn_of_dropped_labels(xp: Any, relevant: Any, max_labels: int) -> None:
    if not is_numpy_namespace(xp):
        return
    most = int(xp.max(xp.count_nonzero(relevant, axis=-1), initial=0))
    if most > max_labels:
        warnings.warn(
            f"an example has {most} labels, max_labels={max_labels} keeps the lowest ids",
            stacklevel=3,
        )


def smooth_targets(targets: ArrayT, epsilon: float, *, prior: float = 0.5) -> ArrayT:
    r"""Smoothed multi-hot targets, for the losses that take soft ones.

    .. math:: (1 - \epsilon) \, y + \epsilon \cdot \text{prior}

    Args:
      targets: ``[..., L]``, bool, integer or float.
      epsilon: share taken from the targets, in [0, 1].
      prior: what the share is given to, in [0, 1]: 1/2 is the usual choice for binary labels.

    Returns:
      ``[..., L]``, float; integer and bool targets become the default float of their library.

    Raises:
      ValueError: ``epsilon`` or ``prior`` is outside [0, 1].

    Example:
      >>> import numpy as np
      >>> from mlc_losses import smooth_targets
      >>> smooth_targets(np.array([1, 0]), 0.1)
      array([0.95, 0.05])
    """
    epsilon = checked_float("epsilon", epsilon, low=0.0, high=1.0)
    prior = checked_float("prior", prior, low=0.0, high=1.0)
    xp = namespace(targets=targets)
    check_numbers(xp, "targets", targets)
    if not xp.isdtype(targets.dtype, "real floating"):
        targets = as_compute_float(xp, targets)
    return (1.0 - epsilon) * targets + epsilon * prior


def check_targets(targets: Array, *, soft: bool = False) -> None:
    """Check the values of multi-hot targets, once, before training.

    Args:
      targets: an array of any shape whose values can be looked at: call it outside jit.
      soft: allow any value in [0, 1], not only 0 and 1.

    Raises:
      ValueError: names the first bad value (NaN is one) and its index.
      TypeError: the values cannot be looked at.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import check_targets
      >>> check_targets(np.array([[0, 1], [2, 0]]))
      Traceback (most recent call last):
      ...
      ValueError: targets must be 0 or 1, got 2 at index (1, 0)
    """
    check_numbers(namespace(targets=targets), "targets", targets)
    soft = checked_flag("soft", soft)
    if not is_concrete(targets):
        raise TypeError(
            "check_targets needs the values of targets: call it outside jit, before training"
        )
    values = to_host("targets", targets)
    if soft:
        # written so that NaN is bad
        bad, wanted = ~((values >= 0) & (values <= 1)), "targets must be in [0, 1]"
    else:
        bad, wanted = (values != 0) & (values != 1), "targets must be 0 or 1"
    _raise_at_first(bad, values, wanted)


def _raise_at_first(bad: np.ndarray, values: np.ndarray, wanted: str) -> None:
    if bad.any():
        index = first_index(bad)
        raise ValueError(f"{wanted}, got {values[index]} at index {index}")


def known(targets: ArrayT, ids: Sequence[int] = (-1, -100)) -> ArrayT:
    """Which labels are known: the ``where`` of losses and metrics, from marks in the targets.

    Args:
      targets: multi-hot ``[..., L]`` with NaN, -1 or -100 where a label is unknown; or class ids
        ``[...]`` with one of those where an example has no label.
      ids: the numbers that mark a label as unknown, besides NaN. -100 is PyTorch's
        ``ignore_index``.

    Returns:
      bool, in the shape of the targets: False where a target is NaN or one of ``ids``.

    Multi-hot targets go with it as they are: ``zlpr(logits, targets, where=known(targets))``.
    Targets where the mask is False are never used. For class ids the mask is one of whole examples,
    with a label axis of length 1:
    ``softmax_cross_entropy(logits, labels, where=known(labels)[..., None])``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import known, zlpr
      >>> targets = np.array([[1.0, np.nan, 0.0], [0.0, 1.0, -1.0]])
      >>> known(targets)
      array([[ True, False,  True],
             [ True,  True, False]])
      >>> zlpr(np.zeros((2, 3)), targets, where=known(targets)).round(4)
      array([1.3863, 1.3863])
    """
    xp = namespace(targets=targets)
    check_numbers(xp, "targets", targets)
    values: Any = targets
    if xp.isdtype(values.dtype, "bool"):
        return xp.ones_like(targets)
    marked = values != values  # NaN
    for mark in ids:
        if mark >= 0 or not xp.isdtype(values.dtype, "unsigned integer"):
            marked = marked | (values == mark)
    return ~marked


def masked_mean(values: ArrayT, where: Array | None = None) -> ArrayT:
    """Mean of the values where `where` is True; 0 where there is none.

    Args:
      values: floating, any shape, such as the losses ``[...]`` of a batch.
      where: bool, same shape; None takes all. A value that is left out adds nothing to value or
        gradient, even if it is NaN.

    Returns:
      a scalar.

    Raises:
      TypeError: ``where`` is not bool.
      ValueError: shapes differ.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import masked_mean
      >>> masked_mean(np.array([1.0, 2.0, 9.0]), np.array([True, True, False]))
      np.float64(1.5)
    """
    xp = namespace(values=values, where=where)
    check_numbers(xp, "values", values)
    values = as_compute_float(xp, values)
    if where is None:
        where = xp.ones_like(values, dtype=xp.bool)
    advice = "; a mean with weights is sum(weights * values) / sum(weights)"
    check_mask(xp, "where", where, "value left out", advice)
    where = accept_numpy(xp, where)
    check_same_shape("values", values, "where", where)
    count = xp.sum(xp.astype(where, values.dtype))
    return xp.sum(xp.where(where, values, 0.0)) / xp.where(count > 0, count, 1.0)
