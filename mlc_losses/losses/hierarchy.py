"""Labels with ancestors: what a hierarchy says of label sets and of scores, and a loss for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from mlc_losses._array.arguments import (
    check_array,
    check_floating,
    check_numbers,
    checked_labels,
    positive_integer,
)
from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.labels import labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import Array, ArrayT, default_float, namespace, shape_of
from mlc_losses._array.ops import entries_at, relevant_and_missing
from mlc_losses.losses._cross_entropy import cross_entropy
from mlc_losses.losses._levels import Levels, any_of, first_largest, levels_of


@dataclass(frozen=True, eq=False, repr=False)
class Hierarchy:
    """Labels with ancestors, a directed acyclic graph of labels; for multi-hot targets and logits.

    Made on the host, once. Its methods are array functions: they run under jit and vmap, gradients
    flow, and the result is in the library and on the device of their argument. Hierarchies with the
    same edges are equal and hash alike, so one may be a static argument of ``jax.jit``, or be
    closed over.

    A label set is coherent if it holds the ancestors of all its labels. Hierarchical F1 is the
    micro-averaged :func:`metrics.f1_score` of two closures, of the predictions and of the targets.

    Args:
      edges: integer ``[E, 2]``, each a child and its parent. A label may have several parents, or
        none; an edge given twice counts once. :meth:`fit` takes arrays of any library. Kept as a
        read-only NumPy array, sorted.
      num_labels: L.

    Raises:
      ValueError: an edge has a label that is not in 0..L-1, or the edges have a cycle; it is named.
      TypeError: edges are not integers.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import Hierarchy
      >>> hierarchy = Hierarchy.fit(np.array([[1, 0], [2, 0], [3, 1]]), 4)
      >>> hierarchy
      Hierarchy(num_labels=4, num_edges=3)
      >>> hierarchy.closure(np.array([0, 0, 0, 1]))
      array([1, 1, 0, 1])
      >>> hierarchy.coherent(np.array([-2.0, -1.0, 0.5, 1.5]))
      array([1.5, 1.5, 0.5, 1.5])
    """

    edges: np.ndarray
    num_labels: int
    _below: Levels = field(init=False)
    _above: Levels = field(init=False)

    def __post_init__(self) -> None:
        num_labels = positive_integer("num_labels", self.num_labels, low=0)
        edges = _checked_edges(np.asarray(self.edges), num_labels)
        below, above = _levels(edges.tobytes(), num_labels)
        for name, value in (
            ("edges", edges),
            ("num_labels", num_labels),
            ("_below", below),
            ("_above", above),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Hierarchy(num_labels={self.num_labels}, num_edges={len(self.edges)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hierarchy):
            return NotImplemented
        return self.num_labels == other.num_labels and np.array_equal(self.edges, other.edges)

    def __hash__(self) -> int:
        return hash((self.num_labels, self.edges.tobytes()))

    @classmethod
    def fit(cls, edges: Array, num_labels: int) -> Hierarchy:
        """The hierarchy of these edges.

        Args:
          edges: integer ``[E, 2]`` of (child, parent), of any library, outside jit.
          num_labels: L; labels without an edge stand alone.

        Returns:
          the hierarchy.

        Raises:
          ValueError: the shape is another, a label is not in 0..L-1, or there is a cycle.
          TypeError: edges are not integers, or their values cannot be looked at.
        """
        check_array("edges", edges)
        return cls(to_host("edges", edges), num_labels)

    def closure(self, targets: ArrayT) -> ArrayT:
        """The targets with all ancestors: of each label the largest target at or below it.

        Args:
          targets: ``[..., L]``, bool, integer or float.

        Returns:
          ``[..., L]``, in the dtype of the targets. A NaN makes its ancestors NaN.

        Raises:
          ValueError: the last axis is not L.
        """
        xp = namespace(targets=targets)
        check_numbers(xp, "targets", targets)
        self._check_labels(xp, "targets", targets)
        keys = targets = labels_together(targets)
        if not xp.isdtype(targets.dtype, "real floating"):
            keys = xp.astype(targets, default_float(xp))
        return entries_at(targets, first_largest(self._below, keys))

    def coherent(self, logits: ArrayT) -> ArrayT:
        """Coherent scores: of each label the largest logit at or below it.

        No label scores higher than its ancestors, so whatever is above a threshold is coherent.

        Args:
          logits: floating ``[..., L]``; probabilities are as good.

        Returns:
          ``[..., L]``, in the dtype of the logits. A NaN makes its ancestors NaN.

        Raises:
          TypeError: logits are not floating-point.
          ValueError: the last axis is not L.

        Gradient: it goes to the label that has the largest logit; of equal ones to the label
        itself, else to the one below that child which has the lowest id.
        """
        xp = namespace(logits=logits)
        check_floating(xp, "logits", logits)
        self._check_labels(xp, "logits", logits)
        logits = labels_together(logits)
        return entries_at(logits, first_largest(self._below, logits))

    def _check_labels(self, xp: Any, name: str, x: Any) -> None:
        require_all_labels(xp, "looks from each label at the labels below it, wherever they are")
        if shape_of(x)[-1:] != (self.num_labels,):
            raise ValueError(
                f"{name} must have the labels of the hierarchy, shape [..., {self.num_labels}], "
                f"got {shape_of(x)}"
            )


def max_constraint(
    logits: ArrayT, targets: Array, hierarchy: Hierarchy, *, where: Array | None = None
) -> ArrayT:
    r"""Max-constraint loss for labels in a hierarchy; multi-hot targets, closed or not.

    .. math:: \sum_{a: y_a = 0} \log\bigl(1 + e^{c_a}\bigr)
              + \sum_{a: y_a = 1} \log\bigl(1 + e^{-p_a}\bigr)

    .. math:: c_a = \max_{d \in D(a)} s_d, \qquad p_a = \max_{d \in D(a), \, y_d = 1} s_d

    where D(a) is label a with all labels below it, and y the closure of the targets. It is binary
    cross-entropy of the coherent scores c, except for relevant labels: only a label that is
    relevant itself may raise their score, so that no gradient raises a wrong label. Decide by
    ``hierarchy.coherent(logits) > 0``.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2. The closure is taken
        here.
      hierarchy: a :class:`Hierarchy` of the L labels.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out: its term is dropped, and
        its logit is in no maximum. But what is below a label that is known not to be on is known
        not to be on either, whatever ``where`` says of it, and its logit counts.

    Returns:
      ``[...]``, one loss per example, summed over labels; float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point, or ``hierarchy`` is not a :class:`Hierarchy`.
      ValueError: shapes differ, or the last axis is not L.

    By levels, in O(L + E) time and memory per example for E edges. A chain of labels takes a step
    per label.

    Gradient: the gradient of a maximum goes to the one label that has it. Of equal ones it goes to
    the label itself, else to the one below that child which has the lowest id. With
    equal logits everywhere it is thus the gradient of :func:`binary_cross_entropy` of the closure.
    A label right at infinity adds nothing; a wrong one makes the loss ``inf``, with a gradient of 1
    for each label whose maximum it is.

    Limits: without edges it is :func:`binary_cross_entropy`.

    Use when: labels have ancestors, and a label set must hold those of its labels.

    References:
      Giunchiglia, Lukasiewicz, `Coherent Hierarchical Multi-Label Classification Networks
      <https://arxiv.org/abs/2010.10151>`_, 2020.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import Hierarchy, max_constraint
      >>> hierarchy = Hierarchy.fit(np.array([[1, 0], [2, 0], [3, 1]]), 4)
      >>> logits = np.array([-2.0, -1.0, 0.5, 1.5])
      >>> max_constraint(logits, np.array([0, 0, 0, 1]), hierarchy).round(4)
      np.float64(1.5783)
    """
    xp, scores, targets, where = checked_labels(logits, targets, where)
    if not isinstance(hierarchy, Hierarchy):
        raise TypeError(
            f"hierarchy must be a Hierarchy, got {type(hierarchy).__name__}; "
            "make one by Hierarchy.fit(edges, num_labels)"
        )
    hierarchy._check_labels(xp, "logits", scores)
    scores, targets = labels_together(scores), labels_together(targets)
    where = where if where is None else labels_together(where)
    relevant, missing = relevant_and_missing(xp, targets)
    relevant = relevant if where is None else relevant & where
    closed = any_of(hierarchy._below, relevant)
    classes = xp.astype(closed, xp.int8)
    known = None
    if where is not None:
        known = where | any_of(hierarchy._above, where & ~closed)
        classes = xp.where(known, classes, -xp.ones_like(classes))
        missing = None if missing is None else missing & where
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if known is not None:
        scores = xp.where(known, scores, 0.0)
    highest = entries_at(scores, first_largest(hierarchy._below, scores, classes))
    return cross_entropy(xp, highest, closed, known)


def _checked_edges(edges: np.ndarray, num_labels: int) -> np.ndarray:
    """Sorted, each once, read-only."""
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must have shape [E, 2], (child, parent), got {edges.shape}")
    if edges.dtype.kind not in "iu":
        raise TypeError(f"edges must be integers, got dtype {edges.dtype}")
    bad = (edges < 0) | (edges >= num_labels)
    if bad.any():
        place = first_index(bad)
        if not num_labels:
            raise ValueError("num_labels is 0, but there are edges")
        raise ValueError(
            f"edges must have labels in 0..{num_labels - 1}, got {edges[place]} at index {place}"
        )
    edges = np.unique(edges.astype(np.int64), axis=0)
    edges.flags.writeable = False
    return edges


@lru_cache(maxsize=32)
def _levels(edges: bytes, num_labels: int) -> tuple[Levels, Levels]:
    """Over the labels below each, and over those above: the same for equal hierarchies."""
    children: list[list[int]] = [[] for _ in range(num_labels)]
    parents: list[list[int]] = [[] for _ in range(num_labels)]
    for child, parent in np.frombuffer(edges, dtype=np.int64).reshape(-1, 2).tolist():
        children[parent].append(child)
        parents[child].append(parent)
    order = _children_first(children, parents)
    return levels_of(children, order), levels_of(parents, order[::-1])


def _children_first(children: list[list[int]], parents: list[list[int]]) -> list[int]:
    """The labels in an order in which children stand before their parents."""
    left = [len(each) for each in children]
    order = [label for label, count in enumerate(left) if count == 0]
    for ready in order:
        for parent in parents[ready]:
            left[parent] -= 1
            if left[parent] == 0:
                order.append(parent)
    if len(order) == len(children):
        return order
    # each label that is left over has a child that is: down these, until one comes again
    label = next(label for label, count in enumerate(left) if count)
    path: dict[int, int] = {}
    while label not in path:
        path[label] = len(path)
        label = next(child for child in children[label] if left[child])
    cycle = [label, *list(path)[path[label] :][::-1]]
    raise ValueError(f"edges have a cycle, from child to parent: {' -> '.join(map(str, cycle))}")
