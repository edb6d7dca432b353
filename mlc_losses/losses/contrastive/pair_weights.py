"""Weights of pairs of examples by their label sets, and which anchors have a positive."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import check_numbers, checked_flag, checked_option
from mlc_losses._array.batch import (
    batch_any,
    batch_sum,
    row_indices,
    rows_and_more,
    whole_batch,
)
from mlc_losses._array.labels import label_any
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    default_float,
    is_floating,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses.losses.contrastive._arguments import binary, check_width, key_labels, unit_targets
from mlc_losses.losses.contrastive._label_weights import (
    BY_POSITIVES,
    equal_sets,
    jaccard,
    overlap,
)
from mlc_losses.losses.contrastive._similarity import (
    Candidates,
    allowed_pairs,
    by_anchor_blocks,
    no_indices,
)


def jaccard_weights(targets: ArrayT, other: ArrayT | None = None) -> ArrayT:
    r"""Jaccard similarity of label sets, each row normalised to 1; multi-hot targets.

    .. math:: q_{ij} = w_{ij} / \sum_k w_{ik}, \qquad
              w_{ij} = \frac{|y_i \cap y_j|}{|y_i \cup y_j|}

    Args:
      targets: ``[B, L]`` of the anchors, bool, integer or float; relevant where above 1/2.
      other: ``[C, L]`` of the candidates; without it they are the batch, and ``q_ii`` is 0.

    Returns:
      ``[B, C]``, the weights of ``contrastive``; a row without a positive is 0. In the dtype of
      float targets, at least float32, else in the library's default float.

    Raises:
      TypeError: targets are not numbers.
      ValueError: shapes are not ``[B, L]`` and ``[C, L]``.

    An empty label set shares nothing, not even with another empty one.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import jaccard_weights
      >>> jaccard_weights(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]])).round(4)
      array([[0. , 0.6, 0.4],
             [1. , 0. , 0. ],
             [1. , 0. , 0. ]])
    """
    anchors, others, allowed = _label_sets(targets, other)
    return _nan_of(jaccard(others)(anchors, allowed), targets, other)


def overlap_weights(targets: ArrayT, other: ArrayT | None = None, *, alpha: float = 0.0) -> ArrayT:
    r"""Weights normalised label by label, those of MulSupCon and MSCRG; multi-hot targets.

    .. math:: q_{ij} = \frac{1}{|y_i|} \sum_{l \in y_i \cap y_j} \frac{f_{ij}}{N_{il}}, \qquad
              N_{il} = \sum_{j : l \in y_j} f_{ij}, \qquad
              f_{ij} = \Bigl(\frac{|y_i \cap y_j|}{|y_j|}\Bigr)^\alpha

    Every label of the anchor shares out :math:`1 / |y_i|` among the candidates that have it.

    Args:
      targets: ``[B, L]`` of the anchors, bool, integer or float; relevant where above 1/2.
      other: ``[C, L]`` of the candidates; without it they are the batch, and ``q_ii`` is 0.
      alpha: how much a candidate with labels beyond the anchor's counts less. At 0 all count
        alike, and the weights are those of ``mulsupcon``; below 0 those candidates do not count
        at all (f is 1 for a subset of the anchor's labels, else 0).

    Returns:
      ``[B, C]``, the weights of ``contrastive``. A row adds to 1 if every label of the anchor is
      found among the candidates; a label that is not found adds nothing.

    Raises:
      TypeError: targets or ``alpha`` are not numbers.
      ValueError: shapes are not ``[B, L]`` and ``[C, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import overlap_weights
      >>> overlap_weights(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]])).round(4)
      array([[0. , 0.5, 0.5],
             [1. , 0. , 0. ],
             [0.5, 0. , 0. ]])
    """
    anchors, others, allowed = _label_sets(targets, other)
    return _nan_of(overlap(others, alpha)(anchors, allowed), targets, other)


def valid_anchors(
    targets: Array,
    *,
    positives: str = "jaccard",
    key_targets: Array | None = None,
    key_where: Array | None = None,
    prototypes: bool = False,
) -> Array:
    """Which anchors have a positive, for ``masked_mean``; multi-hot targets, across the batch.

    The losses of this family are 0 for the others, in value and gradient, and the authors' mean
    is over those that count: ``masked_mean(supcon(z, y), valid_anchors(y))``.

    Args:
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      positives: as in ``supcon``; "jaccard" and "any" agree, and serve every other loss.
      key_targets: ``[K, L]`` of the keys, if there are any.
      key_where: bool ``[K]``; where False, the key is ignored.
      prototypes: the prototypes of the labels are candidates and anchors too, as in ``mscrg``.
        For ``msc`` and ``prototype_contrastive`` take the first B entries.

    Returns:
      bool ``[B]``, or ``[B + L]`` with ``prototypes``: then an example is valid if it has a label,
      and a prototype if an example has its label.

    Raises:
      TypeError: targets are not numbers.
      ValueError: shapes do not fit, ``positives`` is unknown, or "all" is asked for with
        prototypes.

    ``mscrg`` with alpha below 0 is stricter: a prototype then needs an example with that label
    alone, and is 0 where there is none, though it is valid here.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import valid_anchors
      >>> valid_anchors(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]))
      array([ True,  True, False, False])
    """
    checked_option("positives", positives, BY_POSITIVES)
    prototypes = checked_flag("prototypes", prototypes)
    xp = namespace(targets=targets, key_targets=key_targets, key_where=key_where)
    own = _labels("targets", targets)
    numbers = row_indices(own)
    others = whole_batch(own)
    if key_targets is not None:
        keys, present = key_labels(key_targets, key_where, own)
        # a key without labels is never a positive
        others = xp.concat([others, xp.where(present[:, None], keys, 0.0)])
    elif key_where is not None:
        raise ValueError("key_where needs key_targets")
    if prototypes:
        if positives == "all":
            raise ValueError('positives must be "jaccard" or "any" with prototypes, got "all"')
        units = unit_targets(own)
        own, others = rows_and_more(own, units), xp.concat([others, units])
    if positives != "all":
        # each anchor is one of the candidates itself
        return label_any(own * (batch_sum(others)[None, :] - own) > 0)

    def rows(labels: Any, numbers: Any) -> Any:
        allowed = allowed_pairs(numbers, Candidates(others))
        return label_any(equal_sets(others)(labels, allowed) > 0)

    return by_anchor_blocks(rows, shape_of(others)[0], own, numbers)


def _labels(name: str, targets: Any) -> Any:
    xp = namespace(**{name: targets})
    check_numbers(xp, name, targets)
    dtype = default_float(xp)
    if is_floating(targets):
        dtype = to_compute_dtype(xp, targets).dtype
    return binary(name, targets, dtype)


def _label_sets(targets: Any, other: Any) -> tuple[Any, Any, Any]:
    """Labels of the anchors, of the candidates, and which pairs are allowed."""
    xp = namespace(targets=targets, other=other)
    own = _labels("targets", targets)
    if other is None:
        others, numbers = whole_batch(own), row_indices(own)
    else:
        check_numbers(xp, "other", other)
        others, numbers = binary("other", accept_numpy(xp, other), own.dtype), no_indices(own)
        check_width("other", others, "targets", own)
    return own, others, allowed_pairs(numbers, Candidates(others))


def _nan_of(weights: Any, *targets: Any) -> Any:
    """NaN if any target is: a row of weights is normalised over all candidates."""
    xp = namespace(weights=weights)
    for labels in targets:
        if labels is not None and is_floating(labels):
            missing = batch_any(label_any(xp.isnan(labels)))
            weights = xp.where(missing, math.nan, weights)
    return weights
