r"""One label per example, K guesses: losses that ask for the label among the K highest scores.

Notation: :math:`s_{[k]}` is the k-th largest score, :math:`s_{\setminus y, [k]}` the k-th largest
of all classes but the label. Train for the K you evaluate with: these losses ignore the order
within the top K.
"""

from __future__ import annotations

from typing import Any, Literal

from mlc_losses._array.arguments import checked_float, checked_option, per_label, positive_integer
from mlc_losses._array.class_arguments import class_arguments, of_valid
from mlc_losses._array.labels import label_sum, num_labels, top_k, top_k_any, top_k_min, top_k_sum
from mlc_losses._array.namespace import Array, ArrayT, namespace
from mlc_losses.losses._top_k_scores import at_label, difference, with_nan_scores
from mlc_losses.perturbed.operator import perturbed_kth_largest

# and whether it counts the label as one of the k
KINDS = {"calibrated": False, "off_label": False, "convex": True, "convex_beta": True}


def top_k_hinge(
    scores: ArrayT,
    labels: Array,
    k: int,
    *,
    kind: Literal["calibrated", "off_label", "convex", "convex_beta"] = "calibrated",
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Hinge losses for k guesses; one integer class id per example.

    .. math::
        \text{calibrated} \quad & \max(0,\; 1 + s_{[k+1]} - s_y) \\
        \text{off\_label} \quad & \max(0,\; 1 + s_{\setminus y, [k]} - s_y) \\
        \text{convex} \quad & \max\Bigl(0,\; \tfrac1k \textstyle\sum_{i \le k}
            (s + 1 - e_y)_{[i]} - s_y\Bigr) \\
        \text{convex\_beta} \quad & \tfrac1k \textstyle\sum_{i \le k}
            \max(0,\; s + 1 - e_y - s_y)_{[i]}

    Args:
      scores: floating ``[..., L]``.
      labels: integer class ids ``[...]``, each in 0..L-1.
      k: how many guesses, a Python integer: in 1..L-1 for "calibrated" and "off_label", in 1..L
        for the convex kinds.
      kind: the label counts among the k+1 of "calibrated" and among the k of the convex kinds.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out, as
        a score of ``-inf`` does. An example whose own class is left out is 0.
      axis: the axis of the classes.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: scores are not floating-point, or labels are not integers.
      ValueError: shapes differ, ``k`` is out of range, ``kind`` is unknown or, in eager code, a
        label is out of range; under jit such an example is NaN.

    "calibrated" is the one that ranks k guesses right in the limit of much data; it and "off_label"
    look at one rival only, the convex kinds at k. Where the margin is met exactly the gradient is
    0; a label of rank k + 1 has the calibrated loss 1 with gradient 0. Which of tied scores takes
    the gradient is not defined. A class at ``-inf`` is deleted: where fewer classes are left than
    the formula needs, the loss is 0 ("convex_beta": a shorter sum). With the label at ``inf`` it is
    0, unless too many rivals are at ``inf`` as well; with the label at ``-inf`` it is ``inf``. Any
    NaN score makes its example NaN.

    Use when: a model may answer with k guesses; of the four hinges "calibrated" is the
    consistent one.

    References:
      Yang, Koyejo, `On the Consistency of Top-k Surrogate Losses
      <https://arxiv.org/abs/1901.11141>`_, 2020 (calibrated); Lapin, Hein, Schiele, `Top-k
      Multiclass SVM <https://arxiv.org/abs/1511.06683>`_, 2015 (convex, convex_beta); off_label
      is the hinge on the k-th rival that both start from.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import top_k_hinge
      >>> scores, labels = np.array([[2.0, 0.5, 1.5, 1.0]]), np.array([1])
      >>> [float(top_k_hinge(scores, labels, 2, kind=kind)[0])
      ...  for kind in ("calibrated", "off_label", "convex", "convex_beta")]
      [1.5, 2.0, 2.25, 2.25]
    """
    whole = checked_option("kind", kind, KINDS)
    xp, scores, is_label, valid = class_arguments(scores, labels, where, axis, logits_name="scores")
    k = positive_integer("k", k, num_labels(scores) - (0 if whole else 1))
    lead = _lead_over_label(scores, is_label)
    if kind == "calibrated":
        loss = _hinge(1.0 + _kth(lead, k + 1))
    elif kind == "off_label":
        loss = _hinge(1.0 + _kth(xp.where(is_label, -xp.inf, lead), k))
    else:
        largest = top_k(xp.where(is_label, 0.0, lead + 1.0), k).values
        if kind == "convex":
            # not a sum that holds inf and -inf
            enough = ~top_k_any(largest == -xp.inf)
            loss = _hinge(top_k_sum(xp.where(enough[..., None], largest, 0.0)) / k)
        else:
            loss = top_k_sum(_hinge(largest)) / k
    return of_valid(with_nan_scores(loss, scores, is_label), valid)


def noised_top_k_hinge(
    scores: ArrayT,
    labels: Array,
    k: int,
    *,
    key: Any = None,
    noise: Array | None = None,
    num_samples: int = 5,
    sigma: float = 1.0,
    margins: Array | None = None,
    scale: float = 1.0,
    method: Literal["sample", "exact"] = "sample",
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Hinge on the perturbed (k+1)-th largest score; one integer class id per example.

    .. math:: \max\bigl(0,\; c \, (m_y + \mathrm{E}[(s + \sigma Z)_{[k+1]}] - s_y)\bigr),
              \qquad c = \text{scale}, \quad Z \sim N(0, I)

    The noise spreads the gradient over all classes that come close to rank k + 1, where the
    calibrated hinge has one; the expectation is a mean over samples, inside the hinge.

    Args:
      scores: floating ``[..., L]``; for the imbalanced variant cosines, in [-1, 1].
      labels: integer class ids ``[...]``, each in 0..L-1.
      k: how many guesses, a Python integer in 1..L-1.
      key: a JAX PRNG key, ``numpy.random.Generator`` or ``torch.Generator``, for "sample".
      noise: standard normal ``[..., L, num_samples]`` in place of ``key``.
      num_samples: how many samples are drawn from ``key``.
      sigma: the standard deviation of the noise, at least 0, on the scores before ``scale``.
      margins: ``[L]``, see :func:`ldam_margins`: the imbalanced variant. None is a margin of 1,
        the balanced one.
      scale: the factor c, above 0.
      method: "sample", or "exact" for the expectation itself, which needs no key. See
        :func:`perturbed_kth_largest` for its accuracy and cost.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out, as
        a score of ``-inf`` does. An example whose own class is left out is 0.
      axis: the axis of the classes of ``scores``; in ``noise`` it is always the last but one.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: scores are not floating-point, labels are not integers, or ``key`` is not one of
        the library of the scores.
      ValueError: shapes differ, ``k``, ``sigma``, ``scale`` or ``num_samples`` is out of range,
        not exactly one of ``key`` and ``noise`` is given, ``margins`` is not ``[L]`` or, in eager
        code, a label is out of range; under jit such an example is NaN.

    Draw a new key for every step. Inside your own ``jax.shard_map`` one key draws the same noise on
    every device: fold in its number, ``jax.random.fold_in(key, jax.lax.axis_index(axis))``.
    The authors' settings: balanced with ``sigma`` 0.2 to 1 and 5 to
    10 samples; imbalanced on cosines with ``sigma=0.01``, ``scale=60`` and
    ``margins=ldam_margins(counts, max_margin=0.2)``. Gradients, forward mode and second derivatives
    are those of :func:`perturbed_kth_largest`. Infinite and NaN scores as in
    :func:`top_k_hinge`, whose calibrated kind this is at ``sigma=0``. To evaluate without noise,
    use that one, or "exact".

    Use when: you want a top-k hinge smoothed by noise, or exactly; rare classes by margins.
    Needs a ``key``, unless exact.

    References:
      Garcin, Servajean, Joly, Salmon, `Stochastic smoothing of the top-K calibrated hinge loss for
      deep imbalanced classification <https://arxiv.org/abs/2202.02193>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import noised_top_k_hinge
      >>> scores, labels = np.array([[2.0, 0.5, 1.5, 1.0]]), np.array([1])
      >>> noised_top_k_hinge(scores, labels, 2, sigma=0.0, noise=np.zeros((1, 4, 5)))
      array([1.5])
    """
    scale = checked_float("scale", scale, like=scores, above=0.0)
    xp, checked, is_label, valid = class_arguments(
        scores, labels, where, axis, logits_name="scores"
    )
    k = positive_integer("k", k, num_labels(checked) - 1)
    # noise is added to differences, as large scores would lose its digits
    own = label_sum(at_label(checked, is_label))
    finite = xp.isfinite(own)
    near = checked - xp.where(finite, own, 0.0)[..., None]
    kth = perturbed_kth_largest(
        xp.where(is_label & finite[..., None], 0.0, near),
        k + 1,
        key=key,
        noise=noise,
        num_samples=num_samples,
        sigma=sigma,
        method=method,
    )
    lead = difference(kth, xp.where(finite, 0.0, own))
    margin: Any = 1.0
    if margins is not None:
        margin = label_sum(at_label(per_label("margins", margins, checked), is_label))
    return of_valid(with_nan_scores(scale * _hinge(margin + lead), checked, is_label), valid)


def _lead_over_label(scores: Any, is_label: Any) -> Any:
    """`s_j - s_y`, exactly 0 at the label; -inf for a deleted class, whatever the label has."""
    own = label_sum(at_label(scores, is_label))[..., None]
    return namespace(scores=scores).where(is_label, 0.0, difference(scores, own))


def _kth(x: Any, k: int) -> Any:
    """The k-th largest: the least of all k values, so that XLA keeps from sorting all labels."""
    return top_k_min(top_k(x, k).values)


def _hinge(x: Any) -> Any:
    """`max(0, x)`, with gradient 0 at 0; NaN stays."""
    return namespace(x=x).where(x <= 0.0, 0.0, x)
