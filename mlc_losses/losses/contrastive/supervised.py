"""Supervised contrastive losses for several labels: one kernel, and weights from label sets.

Examples, and keys from a queue, attract and repel one another on the unit sphere. With the labels
themselves as points see `contrastive_prototypes`; the weights are in `label_weights`.
"""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import check_floating, check_numbers, checked_float, checked_option
from mlc_losses._array.batch import row_indices, whole_batch
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.value_checks import check_at_least_0
from mlc_losses.losses.contrastive._arguments import (
    check_rows,
    check_width,
    embeddings_and_targets,
    key_labels,
    nan_of_targets,
)
from mlc_losses.losses.contrastive._label_weights import (
    BY_POSITIVES,
    Weights,
    overlap,
)
from mlc_losses.losses.contrastive._similarity import (
    Anchors,
    Candidates,
    candidate_indices,
    no_indices,
    soft_target_loss,
    unit_vectors,
)


def contrastive(
    embeddings: ArrayT,
    weights: Array,
    *,
    candidates: Array | None = None,
    denominator: Array | None = None,
    temperature: float = 0.1,
) -> ArrayT:
    r"""Softmax cross-entropy over similarities, across the batch; a weight for each pair.

    .. math:: -\sum_a q_{ia} \Bigl[ \frac{s_{ia}}{\tau}
              - \log \sum_b \beta_b e^{s_{ib} / \tau} \Bigr], \qquad
              s_{ia} = \frac{\langle z_i, v_a \rangle}{|z_i| |v_a|}

    The kernel of this family: every other loss is a choice of candidates and of weights q.
    Positives stay in the denominator.

    Args:
      embeddings: floating ``[B, D]``, the anchors z; normalised here.
      weights: ``[B, C]``, q; a row that adds to 1 is a distribution over the candidates.
      candidates: ``[C, D]``, v; normalised here, and the gradient flows into them. Without them
        they are the batch itself, each anchor leaves itself out, and ``q_ii`` is ignored.
      denominator: ``[C]``, β, at least 0; 1 by default. A candidate with 0 does not repel.
      temperature: τ, above 0.

    Returns:
      ``[B]``, one loss per anchor; float32 for half precision embeddings.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit, or ``temperature`` is not above 0.

    The gradient by :math:`s_{ia} / \tau` is the softmax times the sum of the row's weights, less
    :math:`q_{ia}`. A row of weights that are all 0 is 0, with gradient 0. A zero vector has
    similarity 0 to all, and gradient 0. Infinite embeddings give NaN.

    Use when: you want a contrastive loss of your own, and choose only the weights of the pairs.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import contrastive, jaccard_weights
      >>> z = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
      >>> y = np.array([[1, 0], [1, 1], [0, 1]])
      >>> contrastive(z, jaccard_weights(y), temperature=0.5).round(4)
      array([0.1839, 0.713 , 0.2633])
    """
    temperature = checked_float("temperature", temperature, like=embeddings, above=0.0)
    xp = namespace(
        embeddings=embeddings, weights=weights, candidates=candidates, denominator=denominator
    )
    check_floating(xp, "embeddings", embeddings)
    check_numbers(xp, "weights", weights)
    if candidates is not None:
        check_floating(xp, "candidates", candidates)
    if denominator is not None:
        check_numbers(xp, "denominator", denominator)
        check_at_least_0("denominator", denominator)
    weights, candidates, denominator = (
        accept_numpy(xp, x) for x in (weights, candidates, denominator)
    )
    check_rows("embeddings", embeddings, "weights", weights)
    anchors = unit_vectors(to_compute_dtype(xp, embeddings))
    if candidates is None:
        others, numbers = whole_batch(anchors), row_indices(anchors)
    else:
        check_width("candidates", candidates, "embeddings", embeddings)
        others, numbers = unit_vectors(xp.astype(candidates, anchors.dtype)), no_indices(anchors)
    count = shape_of(others)[0]
    if shape_of(weights)[1] != count:
        raise ValueError(
            f"weights must have one column per candidate, {count}, got {shape_of(weights)}"
        )
    if denominator is not None:
        if shape_of(denominator) != (count,):
            raise ValueError(
                f"denominator must have one entry per candidate, shape ({count},), "
                f"got {shape_of(denominator)}"
            )
        denominator = xp.astype(denominator, anchors.dtype)
    return soft_target_loss(
        Anchors(anchors, xp.astype(weights, anchors.dtype), numbers),
        Candidates(others, denominator=denominator),
        lambda given, allowed: xp.where(allowed, given, 0.0),
        temperature,
        by_weights=True,
    )


def supcon(
    embeddings: ArrayT,
    targets: Array,
    *,
    positives: str = "jaccard",
    temperature: float = 0.1,
    keys: ArrayT | None = None,
    key_targets: Array | None = None,
    key_where: Array | None = None,
) -> ArrayT:
    r"""Supervised contrastive loss, across the batch; multi-hot targets.

    .. math:: -\sum_{j \ne i} q_{ij}
              \log \frac{e^{s_{ij} / \tau}}{\sum_{k \ne i} e^{s_{ik} / \tau}}, \qquad
              q_{ij} = w_{ij} / \sum_k w_{ik}

    Args:
      embeddings: floating ``[B, D]``; normalised here, s is the cosine.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      positives: which pairs attract. "jaccard": w is the Jaccard similarity of the label sets, the
        base loss of the study below. "any": 1 if they share a label. "all": 1 if they are equal.
      temperature: τ, above 0.
      keys: ``[K, D]``, more candidates, such as a queue of earlier embeddings; the gradient flows
        into them.
      key_targets: ``[K, L]``, the labels of the keys.
      key_where: bool ``[K]``; where False, the key is ignored, whatever its values.

    Returns:
      ``[B]``, one loss per anchor. The authors' value is its mean over ``valid_anchors``.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit, ``positives`` is unknown, ``temperature`` is not above 0, or
        keys come without labels.

    An anchor without a label, or without a positive, is 0 with gradient 0. An empty label set is
    never a positive, not even of another empty set. Zero vectors as in :func:`contrastive`.

    Limits: with one label per example, all three kinds of positives are the supervised contrastive
    loss with the mean outside the logarithm.

    Use when: an encoder is trained before a linear probe; similar label sets attract.

    References:
      Khosla et al., `Supervised Contrastive Learning <https://arxiv.org/abs/2004.11362>`_, 2020;
      Audibert, Gauffre, Amini, `Multi-Label Contrastive Learning: A Comprehensive Study
      <https://arxiv.org/abs/2412.00101>`_, 2024, whose released code is followed.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import supcon
      >>> z = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
      >>> supcon(z, np.array([[1, 0], [1, 1], [0, 1]]), temperature=0.5).round(4)
      array([0.1839, 0.713 , 0.2633])
    """
    by_positives = checked_option("positives", positives, BY_POSITIVES)
    given = (keys, key_targets, key_where)
    return _among_examples(embeddings, targets, given, by_positives, temperature)


def mulsupcon(
    embeddings: ArrayT,
    targets: Array,
    *,
    temperature: float = 0.1,
    keys: ArrayT | None = None,
    key_targets: Array | None = None,
    key_where: Array | None = None,
) -> ArrayT:
    r"""MulSupCon, positives label by label, across the batch; multi-hot targets.

    .. math:: \frac{1}{|y_i|} \sum_{l \in y_i} \frac{-1}{|P_{il}|} \sum_{j \in P_{il}}
              \log \frac{e^{s_{ij} / \tau}}{\sum_{k \ne i} e^{s_{ik} / \tau}}, \qquad
              P_{il} = \{j \ne i : l \in y_j\}

    Args:
      embeddings: floating ``[B, D]``; normalised here, s is the cosine.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      temperature: τ, above 0.
      keys: ``[K, D]``, more candidates; the gradient flows into them.
      key_targets: ``[K, L]``, the labels of the keys.
      key_where: bool ``[K]``; where False, the key is ignored.

    Returns:
      ``[B]``, one loss per anchor: the weighted variant of the paper, in which anchors count
      alike. The other one is ``(loss * n).sum() / n.sum()`` with n the number of labels.

    Raises:
      TypeError: embeddings are not floating-point.
      ValueError: shapes do not fit, ``temperature`` is not above 0, or keys come without labels.

    A label of the anchor that no candidate has adds 0 and still counts in :math:`|y_i|`. An
    anchor without a positive is 0 with gradient 0.

    Limits: :func:`contrastive` with ``overlap_weights(targets)``; with one label per example
    :func:`supcon`.

    Use when: an encoder is trained before a linear probe, with positives label by label.

    References:
      Zhang, Wu, `Multi-Label Supervised Contrastive Learning
      <https://ojs.aaai.org/index.php/AAAI/article/view/29619>`_, 2024.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import mulsupcon
      >>> z = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
      >>> mulsupcon(z, np.array([[1, 1], [1, 1], [0, 1]]), temperature=0.5).round(4)
      array([0.5839, 0.613 , 0.8633])
    """

    def weights(labels: Any) -> Weights:
        return overlap(labels, 0.0)

    return _among_examples(
        embeddings, targets, (keys, key_targets, key_where), weights, temperature
    )


def _among_examples(
    embeddings: Any, targets: Any, given: tuple[Any, Any, Any], weights: Any, temperature: Any
) -> Any:
    """The loss with the batch and the given `(keys, key_targets, key_where)` for candidates."""
    temperature = checked_float("temperature", temperature, like=embeddings, above=0.0)
    keys, key_targets, key_where = given
    xp, x, labels = embeddings_and_targets(
        embeddings, targets, keys=keys, key_targets=key_targets, key_where=key_where
    )
    if (keys is None) != (key_targets is None):
        raise ValueError("keys and key_targets must be given together")
    if keys is None and key_where is not None:
        raise ValueError("key_where needs keys and key_targets")
    x = unit_vectors(x)
    anchors = Anchors(x, labels, row_indices(x))
    others, other_labels, present = whole_batch(x), whole_batch(labels), None
    if keys is not None:
        check_rows("keys", keys, "key_targets", key_targets)
        check_width("keys", keys, "embeddings", embeddings)
        check_floating(xp, "keys", keys)
        more, among = key_labels(key_targets, key_where, labels)
        keys, key_targets = accept_numpy(xp, keys), accept_numpy(xp, key_targets)
        # whatever stands in an empty slot
        keys = nan_of_targets(xp.astype(whole_batch(keys), x.dtype), whole_batch(key_targets))
        keys = xp.where(among[:, None], keys, 0.0)
        present = xp.concat([candidate_indices(others) >= 0, among])
        others = xp.concat([others, unit_vectors(keys)])
        other_labels = xp.concat([other_labels, more])
    return soft_target_loss(
        anchors, Candidates(others, present), weights(other_labels), temperature
    )
