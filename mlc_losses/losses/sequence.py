"""Label sets as sequences: one label per decoding step, then the end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlc_losses._array.arguments import (
    check_array,
    check_floating,
    check_integer,
    check_numbers,
    positive_integer,
)
from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.labels import (
    label_any,
    label_count,
    label_indices,
    label_max,
    label_sum,
    log_softmax,
    looked_up,
    padded,
)
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    can_look,
    default_integer,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import relevant_and_missing
from mlc_losses._array.scatter import first_positions
from mlc_losses.losses._class_counts import check_counts
from mlc_losses.losses._pair_sums import pair_loss


def order_labels(targets: ArrayT, counts: Array, max_labels: int) -> ArrayT:
    """Label ids, most frequent label first and padded with -1, from multi-hot targets.

    The order in which a decoder is to emit the labels of an example. One from frequent to rare is
    the usual choice; the opposite one is that of ``-counts``.

    Args:
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      counts: ``[L]``, how often each label occurs; any numbers that order the labels, highest
        first, ties by id.
      max_labels: P, the length of the result. Of an example with more labels the first P are kept.

    Returns:
      integer ``[..., P]``, in the library and on the device of the targets; works under jit.

    Raises:
      ValueError: counts are not ``[L]``, or ``max_labels`` is less than 1.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import order_labels
      >>> order_labels(np.array([[1, 1, 1], [0, 0, 1]]), np.array([5, 90, 5]), 3)
      array([[ 1,  0,  2],
             [ 2, -1, -1]])
    """
    xp = namespace(targets=targets, counts=counts)
    max_labels = positive_integer("max_labels", max_labels)
    check_numbers(xp, "targets", targets)
    check_counts(xp, counts)
    counts = accept_numpy(xp, counts)
    if targets.ndim == 0 or shape_of(counts) != shape_of(targets)[-1:]:
        raise ValueError(
            f"counts must have one entry per label, shape {shape_of(targets)[-1:]}, "
            f"got {shape_of(counts)}"
        )
    order = xp.argsort(counts, axis=-1, descending=True, stable=True)
    relevant = xp.take(relevant_and_missing(xp, targets)[0], order, axis=-1)
    num_labels = shape_of(relevant)[-1]
    places = xp.sort(xp.where(relevant, label_indices(relevant), num_labels), axis=-1)
    places = padded(places, num_labels, max_labels)
    # one entry more answers for the place that no label has
    return looked_up(padded(order, -1, num_labels + 1), places)


def label_sequence(step_logits: ArrayT, ids: Array) -> ArrayT:
    r"""Cross-entropy of a label set decoded as a sequence; targets are ordered label ids.

    .. math:: -\sum_{t=1}^{n} \log p_t(z_t) - \log p_{n+1}(\text{end}), \qquad
              p_t = \mathrm{softmax}(s_t)

    Step t predicts the label :math:`z_t`, the step after the last label class L, the end. Feed
    the decoder the true labels up to t - 1 (teacher forcing); see :func:`order_labels` for an order
    and :func:`label_set_sequence` for a loss without one.

    Args:
      step_logits: floating ``[..., T, L + 1]``, one row per step; class L ends the sequence.
      ids: integer ``[..., P]``, label ids in order, padded with -1 at the end; n of them are
        labels. T may be more or less than P, but needs to be n + 1 or more for every example.

    Returns:
      ``[...]``, the sum over steps, a negative log-likelihood; float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point, or ids are not integers.
      ValueError: the batch shapes differ; in eager code, an id is out of range, a label follows
        padding, or T is less than n + 1. Under jit such an example is NaN, in value and gradient.

    Steps after the end are ignored, even NaN ones. A logit of ``-inf`` takes a class out, such as
    one that was emitted already; as the target its loss is ``inf``. Gradient:
    ``softmax(s_t) - onehot``.

    Limits: an example without labels is cross-entropy of the end at the first step; with P = 1 and
    the end ignored it is softmax cross-entropy.

    Use when: a decoder emits labels one by one in a fixed order.

    References:
      Nam et al., `Maximizing Subset Accuracy with Recurrent Neural Networks in Multi-label
      Classification
      <https://papers.nips.cc/paper/2017/hash/2eb5657d37f474e4c4cf01e4882b8962-Abstract.html>`_,
      2017; Yang et al., `SGM: Sequence Generation Model for Multi-label Classification
      <https://arxiv.org/abs/1806.04822>`_, 2018.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import label_sequence
      >>> steps = np.array([[[2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [9.0, 9.0, 9.0]]])
      >>> label_sequence(steps, np.array([[0, -1]])).round(4)
      array([0.791])
    """
    xp, logits, ids, num_given, bad = _step_arguments(step_logits, ids)
    num_steps, num_classes = shape_of(logits)[-2:]
    bad = bad | _too_long(step_logits, num_given)
    classes = padded(ids, -1, num_steps)
    classes = xp.where(classes >= 0, classes, num_classes - 1)
    live = label_indices(classes) <= num_given[..., None]
    logits = xp.where(live[..., None], logits, 0.0)
    is_target = classes[..., None] == label_indices(logits)
    return _nan_where(bad, label_sum(pair_loss(logits, is_target), live))


def label_set_sequence(step_logits: ArrayT, targets: Array, ids: Array) -> ArrayT:
    r"""Order-free cross-entropy of a label set decoded as a sequence; multi-hot targets and ids.

    .. math:: -\sum_t \frac{1}{|R_t|} \sum_{l \in R_t} \log p_t(l), \qquad
              R_t = P \setminus \{z_1, \dots, z_{t-1}\}, \quad p_t = \mathrm{softmax}(s_t)

    At every step the target is uniform over the labels P of the example that were not emitted yet;
    when none is left it is class L, the end, and the loss stops there. So no order is imposed, and
    the decoder may be trained on what it emits itself.

    Args:
      step_logits: floating ``[..., T, L + 1]``, one row per step; class L ends the sequence.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      ids: integer ``[..., P]``, the labels z emitted before each step, padded with -1 at the end:
        an order of the true labels, or the decoder's own samples. A wrong or repeated label leaves
        the targets as they are. Where the ids stop before all labels were emitted, the step
        that follows them is the last that counts.

    Returns:
      ``[...]``, the sum over steps; float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point, or ids are not integers.
      ValueError: shapes do not fit; in eager code, an id is out of range, a label follows padding,
        or T is too small for the steps. Under jit such an example is NaN, in value and gradient.

    Steps after the end are ignored, even NaN ones. The targets are never held as ``[T, L, L]``. A
    logit of ``-inf`` takes a class out; where it is a target the loss is ``inf``.

    Limits: with at most one label it is :func:`label_sequence`; at the first step, with r labels
    left, its least value is ``log r``.

    Use when: a decoder emits labels one by one, in no order.

    References:
      Tsai, Lee, `Order-free Learning Alleviating Exposure Bias in Multi-label Classification
      <https://arxiv.org/abs/1909.03434>`_, 2020, whose optimal completion distillation this is with
      the uniform policy.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import label_set_sequence
      >>> steps = np.array([[[1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]])
      >>> label_set_sequence(steps, np.array([[1, 1]]), np.array([[0, 1]])).round(4)
      array([1.1965])
    """
    check_array("targets", targets)
    xp, logits, ids, num_given, bad = _step_arguments(step_logits, ids, targets)
    targets, missing = relevant_and_missing(xp, accept_numpy(xp, targets))
    if missing is not None:
        bad = bad | label_any(missing)
    first = first_positions(ids, shape_of(targets)[-1])
    # the step at which nothing is left, unless the ids stop before
    emitted = label_max(xp.astype(first + 1, logits.dtype), targets)
    emitted = xp.astype(xp.where(emitted > 0, emitted, 0.0), num_given.dtype)
    last = xp.where(emitted < num_given, emitted, num_given)
    bad = bad | _too_long(step_logits, last)
    steps = label_indices(logits[..., 0])
    left = targets[..., None, :] & (first[..., None, :] >= steps[..., None])
    wanted = xp.concat([left, ~label_any(left)[..., None]], axis=-1)
    live = steps <= last[..., None]
    logits = xp.where(live[..., None], logits, 0.0)
    each = -label_sum(log_softmax(logits), wanted) / label_count(wanted, logits)
    return _nan_where(bad, label_sum(each, live))


def _step_arguments(step_logits: Any, ids: Any, targets: Any = None) -> tuple[Any, ...]:
    """`(xp, logits, ids, number of ids, bad examples)`; bad ones raise in eager code."""
    xp = namespace(step_logits=step_logits, targets=targets, ids=ids)
    check_floating(xp, "step_logits", step_logits)
    check_integer(xp, "ids", ids)
    ids = accept_numpy(xp, ids)
    if targets is not None:
        check_numbers(xp, "targets", targets)
    shape = shape_of(step_logits)
    if len(shape) < 2 or shape[-1] < 1:
        raise ValueError(f"step_logits must have shape [..., T, L + 1], got {shape}")
    if shape_of(ids)[:-1] != shape[:-2] or ids.ndim == 0:
        raise ValueError(
            "ids [..., P] must have the batch shape of step_logits [..., T, L + 1], "
            f"got {shape_of(ids)} and {shape}"
        )
    num_labels = shape[-1] - 1
    if targets is not None and shape_of(targets) != (*shape[:-2], num_labels):
        raise ValueError(
            "targets [..., L] must have the batch shape and labels of step_logits "
            f"[..., T, L + 1], got {shape_of(targets)} and {shape}"
        )
    ids = xp.astype(ids, default_integer(xp))
    num_given = label_count(ids >= 0, ids)
    out_of_range = (ids < -1) | (ids >= num_labels)
    after_padding = (ids >= 0) & (label_indices(ids) >= num_given[..., None])
    if can_look(ids):
        _raise_for_bad_ids(to_host("ids", ids), num_labels)
    bad = label_any(out_of_range | after_padding)
    return xp, to_compute_dtype(xp, step_logits), ids, num_given, bad


def _raise_for_bad_ids(ids: np.ndarray, num_labels: int) -> None:
    wrong = (ids < -1) | (ids >= num_labels)
    if wrong.any():
        index = first_index(wrong)
        raise ValueError(
            f"ids must be in 0..{num_labels - 1}, or -1 for padding, "
            f"got {ids[index]} at index {index}"
        )
    late = (ids[..., 1:] >= 0) & (ids[..., :-1] < 0)
    if late.any():
        *row, column = first_index(late)
        raise ValueError(
            "ids must be padded with -1 at the end only, "
            f"got a label after padding at index {(*row, column + 1)}"
        )


def _too_long(step_logits: Any, last: Any) -> Any:
    """Which examples end after the steps there are; in eager code they raise."""
    num_steps = shape_of(step_logits)[-2]
    if can_look(last):
        values = to_host("ids", last)
        if (values >= num_steps).any():
            index = first_index(values >= num_steps)
            raise ValueError(
                f"step_logits has {num_steps} steps, but the example at index {index} "
                f"needs {values[index] + 1}: one per label and one for the end"
            )
    return last >= num_steps


def _nan_where(bad: Any, values: Any) -> Any:
    """A factor, not a choice, so that the gradient is NaN too."""
    xp = namespace(values=values)
    return values * xp.where(bad, xp.full_like(values, math.nan), 1.0)
