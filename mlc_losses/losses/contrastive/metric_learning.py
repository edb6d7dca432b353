"""Losses of metric learning that are not a softmax over label weights: n-pair, lifted structure."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import check_floating, check_same_shape, checked_float
from mlc_losses._array.batch import row_indices, whole_batch
from mlc_losses._array.loops import one_program
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    is_0,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses.losses.contrastive._arguments import check_rows, embeddings_and_targets
from mlc_losses.losses.contrastive._distances import distances
from mlc_losses.losses.contrastive._similarity import (
    Anchors,
    Candidates,
    allowed_pairs,
    by_anchor_blocks,
    candidate_indices,
    candidate_sum,
    no_indices,
    products,
    soft_target_loss,
    unit_vectors,
)


def n_pair(anchors: ArrayT, positives: ArrayT, *, regularization: float = 0.0) -> ArrayT:
    r"""N-pair loss, across the batch; two arrays of points, pair by pair, no targets.

    .. math:: -\log \frac{e^{\langle a_i, p_i \rangle}}{\sum_j e^{\langle a_i, p_j \rangle}}
              + \lambda (|a_i|^2 + |p_i|^2)

    Args:
      anchors: floating ``[B, D]``, a; not normalised.
      positives: floating ``[B, D]``, p; row i belongs to anchor i, the others are its negatives.
      regularization: λ, at least 0, holds the norms down.

    Returns:
      ``[B]``, one loss per pair. The other direction is ``n_pair(positives, anchors)``.

    Raises:
      TypeError: either array is not floating-point.
      ValueError: shapes differ, or ``regularization`` is negative.

    Pairs of the same class must not share a batch: they would be negatives of each other. Infinite
    points give NaN.

    Use when: examples come in matching pairs.

    References:
      Sohn, `Improved Deep Metric Learning with Multi-class N-pair Loss Objective
      <https://papers.nips.cc/paper/6200-improved-deep-metric-learning-with-multi-class-n-pair-loss-objective>`_,
      2016.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import n_pair
      >>> n_pair(np.array([[2.0, 0.0], [0.5, 1.0]]), np.array([[1.5, 0.5], [0.0, 1.0]])).round(4)
      array([0.0486, 0.8259])
    """
    regularization = checked_float("regularization", regularization, like=anchors, low=0.0)
    xp = namespace(anchors=anchors, positives=positives)
    check_floating(xp, "anchors", anchors)
    check_floating(xp, "positives", positives)
    check_same_shape("anchors", anchors, "positives", positives)
    check_rows("anchors", anchors, "positives", positives)
    a = to_compute_dtype(xp, anchors)
    p = xp.astype(accept_numpy(xp, positives), a.dtype)
    own = row_indices(a)

    def weights(numbers: Any, allowed: Any) -> Any:
        mine = numbers[:, None] == candidate_indices(others)[None, :]
        return xp.astype(mine & allowed, a.dtype)

    others = whole_batch(p)
    loss = soft_target_loss(Anchors(a, own, no_indices(a)), Candidates(others), weights, 1.0)
    if is_0(regularization):
        return loss  # 0 times squares that overflow would be NaN
    return loss + regularization * (xp.sum(a * a, axis=-1) + xp.sum(p * p, axis=-1))


def lifted_structure(embeddings: ArrayT, targets: Array, *, margin: float = 1.0) -> ArrayT:
    r"""Lifted structured loss, across the batch; multi-hot targets.

    .. math:: \tfrac12 \sum_{j \in P_i} \max(0, J_{ij})^2, \qquad
              J_{ij} = \log \Bigl( \sum_{k \in N_i} e^{m - d_{ik}}
              + \sum_{k \in N_j} e^{m - d_{jk}} \Bigr) + d_{ij}

    A pair is positive if it shares a label, else negative; d is the Euclidean distance.

    Args:
      embeddings: floating ``[B, D]``; normalised here.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      margin: m, the distance that negatives should have.

    Returns:
      ``[B]``: half of a positive pair's term goes to each of its two anchors, so the sum is that
      over pairs. The paper's value is the sum over twice the number of positive pairs.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit.

    An anchor without a positive is 0; so is a pair that has no negative at all. Two points that
    coincide have distance 0 and no gradient.

    Use when: you learn a metric from all pairs of a batch, with a margin.

    References:
      Song et al., `Deep Metric Learning via Lifted Structured Feature Embedding
      <https://arxiv.org/abs/1511.06452>`_, 2016.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import lifted_structure
      >>> z = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
      >>> lifted_structure(z, np.array([[1, 0], [1, 0], [0, 1]])).round(4)
      array([0.7256, 0.7256, 0.    ])
    """
    margin = checked_float("margin", margin, like=embeddings)
    _, x, labels = embeddings_and_targets(embeddings, targets)
    return _lifted_structure(unit_vectors(x), labels, margin)


@one_program
def _lifted_structure(x: Any, labels: Any, margin: Any) -> Any:
    """Of unit vectors."""
    xp = namespace(x=x)
    others, other_labels = whole_batch(x), whole_batch(labels)
    count = shape_of(others)[0]

    def pairs(x: Any, labels: Any, numbers: Any) -> tuple[Any, Any, Any]:
        allowed = allowed_pairs(numbers, Candidates(others))
        share = products(labels, other_labels) > 0
        return distances(x, others), allowed & share, allowed & ~share

    def repulsion(*anchor: Any) -> Any:
        # of unit vectors: the exponentials are no smaller than e^-2
        apart, _, negative = pairs(*anchor)
        return candidate_sum(xp.where(negative, xp.exp(-apart), 0.0))

    def attraction(own: Any, *anchor: Any) -> Any:
        apart, positive, _ = pairs(*anchor)
        total = own[:, None] + repelled[None, :]
        counts = positive & (total != 0)
        violation = margin + xp.log(xp.where(counts, total, 1.0)) + apart
        violation = xp.where(counts & ~(violation <= 0), violation, 0.0)
        return 0.5 * candidate_sum(violation * violation)

    anchor = (x, labels, row_indices(x))
    own = by_anchor_blocks(repulsion, count, *anchor)
    repelled = whole_batch(own)
    return by_anchor_blocks(attraction, count, own, *anchor)
