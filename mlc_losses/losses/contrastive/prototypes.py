"""Contrastive losses with a trainable prototype for each label, a point on the unit sphere."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import check_floating, checked_flag, checked_float
from mlc_losses._array.batch import row_indices, rows_and_more, whole_batch
from mlc_losses._array.labels import label_sum
from mlc_losses._array.namespace import Array, ArrayT, accept_numpy, is_number, shape_of
from mlc_losses.losses.contrastive._arguments import (
    check_width,
    embeddings_and_targets,
    unit_targets,
)
from mlc_losses.losses.contrastive._label_weights import overlap, union_weighted
from mlc_losses.losses.contrastive._similarity import (
    Anchors,
    Candidates,
    candidate_indices,
    no_indices,
    soft_target_loss,
    unit_vectors,
)


def prototype_contrastive(
    embeddings: ArrayT, prototypes: ArrayT, targets: Array, *, temperature: float = 0.1
) -> ArrayT:
    r"""Contrast of each example with the prototypes of the labels alone; multi-hot targets.

    .. math:: -\frac{1}{|y_i|} \sum_{l \in y_i} \log
              \frac{e^{s_{il} / \tau}}{\sum_k e^{s_{ik} / \tau}}, \qquad
              s_{il} = \cos(z_i, c_l)

    Args:
      embeddings: floating ``[B, D]``; normalised here.
      prototypes: ``[L, D]``, one trainable point per label; normalised here.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      temperature: τ, above 0.

    Returns:
      ``[B]``, one loss per example, 0 without a label.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit, or ``temperature`` is not above 0.

    No example meets another one: what remains of the contrastive form is the cosine, the
    temperature and the softmax. Zero vectors as in :func:`contrastive`.

    Limits: :func:`multilabel_softmax` of the cosines over τ.

    Use when: each label should have a point in the embedding space, without pairs of examples;
    small batches.

    References:
      Audibert, Gauffre, Amini, `Multi-Label Contrastive Learning: A Comprehensive Study
      <https://arxiv.org/abs/2412.00101>`_, 2024 (its released code's ``proto``).

    Example:
      >>> import numpy as np
      >>> from mlc_losses import prototype_contrastive
      >>> z, prototypes = np.array([[1.0, 0.0], [0.8, 0.6]]), np.eye(2)
      >>> y = np.array([[1, 0], [1, 1]])
      >>> prototype_contrastive(z, prototypes, y, temperature=0.5).round(4)
      array([0.1269, 0.713 ])
    """
    temperature = checked_float("temperature", temperature, like=embeddings, above=0.0)
    xp, x, points, labels = _arguments(embeddings, prototypes, targets)
    count = label_sum(labels)[:, None]
    return soft_target_loss(
        Anchors(x, labels / xp.where(count == 0, 1.0, count), no_indices(x)),
        Candidates(points),
        lambda weights, allowed: weights,
        temperature,
    )


def msc(
    embeddings: ArrayT,
    prototypes: ArrayT,
    targets: Array,
    *,
    temperature: float = 0.1,
    alpha: float = 1.0,
    beta: float = 0.1,
) -> ArrayT:
    r"""ABALONE's loss: other examples and label prototypes, across the batch; multi-hot targets.

    .. math:: -\sum_a q_{ia} \Bigl[\frac{s_{ia}}{\tau}
              - \log \sum_b \beta_b e^{s_{ib} / \tau}\Bigr], \qquad
              q_{ia} = \frac{1}{|y_i|} \sum_{l \in y_i \cap y_a} \frac{f_{ia}}{N_{il}}, \qquad
              N_{il} = \sum_{a : l \in y_a} f_{ia}

    over the other examples, with :math:`f_{ij} = \alpha / |y_i \cup y_j|` and
    :math:`\beta_j = \beta`, and the prototypes, with :math:`f = 1` and :math:`\beta_l = 1`.

    Args:
      embeddings: floating ``[B, D]``; normalised here, s is the cosine.
      prototypes: ``[L, D]``, one trainable point per label; normalised here.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      temperature: τ, above 0.
      alpha: weight of examples against prototypes as positives, at least 0.
      beta: weight of examples in the denominator, at least 0: below 1 they repel less.

    Returns:
      ``[B]``, one loss per example, 0 without a label. The authors take the mean over the batch.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit, ``temperature`` is not above 0, or ``alpha`` or ``beta`` is
        negative.

    The prototype of each label is always a positive, so the weights of an example with a label
    add to 1. The paper's queue of earlier embeddings is not part of this loss.

    Limits: ``alpha=0`` and ``beta=0`` is :func:`prototype_contrastive`.

    Use when: labels are long-tailed: prototypes give each a positive.

    References:
      Audibert, Gauffre, Amini, `Exploring Contrastive Learning for Long-Tailed Multi-Label Text
      Classification <https://arxiv.org/abs/2404.08720>`_, 2024.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import msc
      >>> z, prototypes = np.array([[1.0, 0.0], [0.8, 0.6]]), np.eye(2)
      >>> msc(z, prototypes, np.array([[1, 0], [1, 1]]), temperature=0.5).round(4)
      array([0.3176, 0.7712])
    """
    temperature = checked_float("temperature", temperature, like=embeddings, above=0.0)
    alpha, beta = (
        checked_float("alpha", alpha, like=embeddings, low=0.0),
        checked_float("beta", beta, like=embeddings, low=0.0),
    )
    xp, x, points, labels = _arguments(embeddings, prototypes, targets)
    batch = whole_batch(x)
    candidates = xp.concat([batch, points])
    of_batch = candidate_indices(candidates) < shape_of(batch)[0]
    denominator = xp.where(of_batch, beta, xp.ones_like(of_batch, dtype=x.dtype))
    other_labels = xp.concat([whole_batch(labels), unit_targets(labels)])
    return soft_target_loss(
        Anchors(x, labels, row_indices(x)),
        Candidates(candidates, denominator=denominator),
        union_weighted(other_labels, shape_of(points)[0], alpha),
        temperature,
        by_weights=not (is_number(alpha) and is_number(beta)),
    )


def mscrg(
    embeddings: ArrayT,
    prototypes: ArrayT,
    targets: Array,
    *,
    temperature: float = 0.1,
    alpha: float = 0.0,
    regularize: bool = True,
) -> ArrayT:
    r"""Contrastive loss that never repels a positive, across the batch; multi-hot targets.

    Its definition is the gradient by :math:`s_{ia} / \tau`, with the softmax σ and the weights q of
    ``overlap_weights``, over all examples and prototypes but the anchor:

    .. math:: \min(\sigma_{ia} - q_{ia}, 0) \quad \text{where } q_{ia} > 0, \qquad
              \sigma_{ia} \quad \text{elsewhere}

    A plain softmax pushes away a positive that is closer than its weight asks for, and with many
    positives weights are small. Here such a positive is left where it is.

    Args:
      embeddings: floating ``[B, D]``; normalised here, s is the cosine.
      prototypes: ``[L, D]``, one trainable point per label; normalised here. They are anchors too.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      temperature: τ, above 0.
      alpha: as in ``overlap_weights``.
      regularize: False is the plain softmax cross-entropy with the same weights ("mscwrg").

    Returns:
      ``[B + L]``: the anchors are the examples, then the prototypes. The authors' loss is
      ``masked_mean`` of it over ``valid_anchors(targets, prototypes=True)``.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit, or ``temperature`` is not above 0.

    The value is a surrogate with that gradient: its size has no meaning, so do not use it to decide
    when to stop. An example without a label, and a prototype without an example of its label, is 0
    with gradient 0.

    Limits: with ``regularize=False`` and ``alpha=0`` it is :func:`mulsupcon` of examples and
    prototypes together, each prototype with its one label.

    Use when: labels are long-tailed, and a positive that is close enough should not be pushed
    away again.

    References:
      Audibert, Gauffre, Amini, `Multi-Label Contrastive Learning: A Comprehensive Study
      <https://arxiv.org/abs/2412.00101>`_, 2024 (its released code's ``mscrg`` and ``mscwrg``).

    Example:
      >>> import numpy as np
      >>> from mlc_losses import mscrg
      >>> z, prototypes = np.array([[1.0, 0.0], [0.8, 0.6]]), np.eye(2)
      >>> y = np.array([[1, 0], [1, 1]])
      >>> mscrg(z, prototypes, y, temperature=0.5, regularize=False).round(4)
      array([0.7909, 1.1822, 0.7909, 0.4715])
    """
    temperature = checked_float("temperature", temperature, like=embeddings, above=0.0)
    xp, x, points, labels = _arguments(embeddings, prototypes, targets)
    units = unit_targets(labels)
    batch = whole_batch(x)
    before = shape_of(batch)[0]
    return soft_target_loss(
        Anchors(
            rows_and_more(x, points),
            rows_and_more(labels, units),
            rows_and_more(row_indices(x), before + row_indices(points)),
        ),
        Candidates(xp.concat([batch, points])),
        overlap(xp.concat([whole_batch(labels), units]), alpha),
        temperature,
        attract_only=checked_flag("regularize", regularize),
    )


def _arguments(embeddings: Any, prototypes: Any, targets: Any) -> tuple[Any, Any, Any, Any]:
    """`(xp, embeddings, prototypes, labels)`, checked, both points normalised."""
    xp, x, labels = embeddings_and_targets(embeddings, targets, prototypes=prototypes)
    check_floating(xp, "prototypes", prototypes)
    check_width("prototypes", prototypes, "embeddings", embeddings)
    if shape_of(prototypes)[0] != shape_of(targets)[1]:
        raise ValueError(
            "prototypes must have one row per label, "
            f"{shape_of(targets)[1]}, got {shape_of(prototypes)}"
        )
    return (
        xp,
        unit_vectors(x),
        unit_vectors(xp.astype(accept_numpy(xp, prototypes), x.dtype)),
        labels,
    )
