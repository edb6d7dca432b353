"""Hinges over pairs of labels: every relevant label should be a margin above every other one."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc_losses._array.arguments import checked_flag, checked_float, checked_labels
from mlc_losses._array.host import constant
from mlc_losses._array.labels import label_count, looked_up, num_labels
from mlc_losses._array.namespace import Array, ArrayT, default_integer, namespace, shape_of
from mlc_losses.losses._pair_hinge import pair_hinge
from mlc_losses.losses._pair_sides import pair_sides


def pairwise_hinge(
    logits: ArrayT,
    targets: Array,
    *,
    margin: float = 1.0,
    normalize: bool = False,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Hinge over every pair of a relevant and an irrelevant label; multi-hot targets.

    .. math:: \sum_{p \in P} \sum_{n \in N} \max(0, m + s_n - s_p)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      margin: m, at least 0.
      normalize: divide by the number of pairs, ``|P| |N|``.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example, 0 where there is no pair.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``margin`` is negative.

    By one sort, in O(L log L). The gradient of a negative is the number of positives that it
    violates, of a positive minus the number of negatives; a pair exactly at the margin is no
    violation. A label right at infinity violates nothing; a wrong one makes the loss ``inf``.

    With ``axis=0`` it ranks the examples of each label, as any ranking loss does. With
    ``normalize=True`` it is then the hinge surrogate of 1 - AUROC of each label, nowhere below it
    at ``margin=1``.

    Limits: :func:`multilabel_margin` is this divided by L. Published codes divide by other
    numbers (20 times the batch, L, or nothing), so compare their values with care.

    Use when: every relevant label should be a margin above every other; many labels.

    References:
      Gong et al., `Deep Convolutional Ranking for Multilabel Image Annotation
      <https://arxiv.org/abs/1312.4894>`_, 2013, section 2.2.2.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import pairwise_hinge
      >>> pairwise_hinge(np.array([0.5, 1.0, -2.0]), np.array([1, 0, 0]))
      np.float64(1.5)
    """
    margin = checked_float("margin", margin, like=logits, low=0.0)
    xp, scores, targets, where = checked_labels(logits, targets, where, axis)
    total = pair_hinge(xp, scores, targets, where, margin)
    if not checked_flag("normalize", normalize):
        return total
    _, positive, negative = pair_sides(xp, where, scores, targets)
    pairs = label_count(positive, scores) * label_count(negative, scores)
    return total / xp.where(pairs == 0, 1.0, pairs)


def multilabel_margin(
    logits: ArrayT, targets: Array, *, where: Array | None = None, axis: int = -1
) -> ArrayT:
    r"""PyTorch's ``MultiLabelMarginLoss``, a hinge over pairs of labels; multi-hot targets.

    .. math:: \frac1L \sum_{p \in P} \sum_{n \in N} \max(0, 1 + s_n - s_p)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2. Not label ids:
        PyTorch takes those, padded by -1, and a multi-hot tensor silently as such.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, of the sum and of L.
      axis: the label axis.

    Returns:
      ``[...]``, PyTorch's value with ``reduction="none"``; 0 where no label is known.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    :func:`pairwise_hinge` divided by the number of known labels, with its gradients and its
    behaviour at infinity.

    Use when: you compare with PyTorch's loss of that name.

    References:
      `torch.nn.MultiLabelMarginLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html>`_.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import multilabel_margin
      >>> multilabel_margin(np.array([0.5, 1.0, -2.0]), np.array([1, 0, 0]))
      np.float64(0.5)
    """
    xp, scores, targets, where = checked_labels(logits, targets, where, axis)
    total = pair_hinge(xp, scores, targets, where, 1.0)
    if where is None:
        return total / max(num_labels(scores), 1)
    known = label_count(where, scores)
    return total / xp.where(known == 0, 1.0, known)


def warp(
    logits: ArrayT,
    targets: Array,
    *,
    margin: float = 1.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Weighted approximate-rank pairwise loss (WARP), with exact ranks; multi-hot targets.

    .. math:: \sum_{p \in P} H(r_p) \sum_{n \in N} \max(0, m + s_n - s_p), \qquad
              H(r) = \sum_{i=1}^{r} \frac1i, \; r_p = \#\{n : m + s_n > s_p\}

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      margin: m, at least 0.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``margin`` is negative.

    By one sort, in O(L log L). The paper draws negatives until one violates, and estimates the
    rank from the number of draws; here it is counted. The weight carries no gradient, so the loss
    jumps where a rank changes. Some published code takes the weight of a label's id, not of its
    rank. A label right at infinity violates nothing; a wrong one makes the loss ``inf``.

    Limits: with one irrelevant label it is :func:`pairwise_hinge`.

    Use when: precision at the top of the ranking matters.

    References:
      Weston, Bengio, Usunier, `WSABIE: Scaling Up To Large Vocabulary Image Annotation
      <https://www.ijcai.org/Proceedings/11/Papers/460.pdf>`_, 2011; Gong et al., `Deep
      Convolutional Ranking for Multilabel Image Annotation
      <https://arxiv.org/abs/1312.4894>`_, 2013.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import warp
      >>> warp(np.array([0.5, 1.0, 0.0]), np.array([1, 0, 0]))
      np.float64(3.0)
    """
    margin = checked_float("margin", margin, like=logits, low=0.0)
    xp, scores, targets, where = checked_labels(logits, targets, where, axis)
    return pair_hinge(xp, scores, targets, where, margin, _harmonic)


def _harmonic(ranks: Any) -> Any:
    """`H(r) = 1 + 1/2 + ... + 1/r` of ranks 0..L `[..., L]`."""
    xp = namespace(ranks=ranks)
    # a sum of L terms in float32 would lose digits
    table = np.cumsum(np.append(0.0, 1.0 / np.arange(1, shape_of(ranks)[-1] + 1)))
    table = table.astype(np.float64 if xp.finfo(ranks.dtype).bits == 64 else np.float32)
    return looked_up(constant(table, ranks), xp.astype(ranks, default_integer(xp)))
