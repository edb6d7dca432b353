"""Label powerset: every label set that was seen is a class of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlc_losses._array.arguments import check_floating, check_integer, check_numbers, checked_option
from mlc_losses._array.class_arguments import check_class_ids, of_valid, valid_ids
from mlc_losses._array.host import constant, first_index, to_host
from mlc_losses._array.labels import label_indices, log_softmax
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    default_integer,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import matmul
from mlc_losses.losses._pair_sums import pair_loss


@dataclass(frozen=True, eq=False, repr=False)
class LabelPowerset:
    """The label sets of a training split as classes, most frequent first; from multi-hot targets.

    The sets are found on the host, once, and :meth:`encode` looks them up there. :meth:`decode` and
    :meth:`marginals` are array functions: they run under jit and vmap, gradients flow, and the
    result is in the library and on the device of their argument.

    For the best subset accuracy predict ``decode(argmax(set_logits))``; for the best Hamming loss
    ``marginals(set_logits) > 0.5``.

    Args:
      table: ``[S, L]``, bool, integer or float, the sets, all different; set ids are its rows.
        :meth:`fit` makes it from targets. Kept as a read-only NumPy array of bool.

    Raises:
      ValueError: the table has no set, or one twice.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import LabelPowerset
      >>> powerset = LabelPowerset.fit(np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0]]))
      >>> powerset
      LabelPowerset(num_sets=2, num_labels=3)
      >>> powerset.encode(np.array([[0, 1, 1], [1, 0, 0]]))
      array([1, 0])
      >>> powerset.encode(np.array([[0, 0, 1]]), unseen="nearest")
      array([1])
      >>> powerset.marginals(np.array([0.0, np.log(3)])).round(4)
      array([0.25, 0.75, 0.75])
    """

    table: np.ndarray

    def __post_init__(self) -> None:
        table = np.asarray(self.table) > 0.5
        if table.ndim != 2 or len(table) == 0:
            raise ValueError(f"table must have shape [S, L] with S >= 1, got {table.shape}")
        if len(set(_keys(table))) < len(table):
            raise ValueError("table must not hold a label set twice")
        table.flags.writeable = False
        object.__setattr__(self, "table", table)

    def __repr__(self) -> str:
        return f"LabelPowerset(num_sets={self.num_sets}, num_labels={self.num_labels})"

    @property
    def num_sets(self) -> int:
        """S, the number of classes."""
        return len(self.table)

    @property
    def num_labels(self) -> int:
        """L."""
        return self.table.shape[1]

    @classmethod
    def fit(cls, targets: Array) -> LabelPowerset:
        """The distinct label sets of `targets`, most frequent first, ties by first appearance.

        Args:
          targets: ``[..., L]``, relevant where above 1/2; of any library, outside jit.

        Returns:
          the powerset. The label set without labels is one like any other.

        Raises:
          ValueError: there is no example.
          TypeError: the values cannot be looked at.
        """
        rows = _rows(targets)
        if len(rows) == 0:
            raise ValueError(f"targets must have an example, got shape {shape_of(targets)}")
        keys = _keys(rows)
        # both keep the order of first appearance
        by_frequency = [key for key, _ in Counter(keys).most_common()]
        first = dict(zip(reversed(keys), reversed(range(len(keys))), strict=True))
        return cls(rows[[first[key] for key in by_frequency]])

    def encode(self, targets: ArrayT, unseen: str = "raise") -> ArrayT:
        """Set ids of multi-hot targets.

        Args:
          targets: ``[..., L]``, relevant where above 1/2; outside jit.
          unseen: what becomes of a set that is not in the table: ``"raise"``, or ``"nearest"``, the
            set at the least Hamming distance, of several the most frequent.

        Returns:
          integer ``[...]``, in the library and on the device of the targets.

        Raises:
          ValueError: an unseen set, named with the index of its first example; L differs; or
            ``unseen`` is neither of the two.
          TypeError: the values cannot be looked at.
        """
        nearest = checked_option("unseen", unseen, {"raise": False, "nearest": True})
        rows = _rows(targets)
        *batch, num_labels = shape_of(targets)
        if num_labels != self.num_labels:
            raise ValueError(
                f"targets must have the labels of the table, shape [..., {self.num_labels}], "
                f"got {shape_of(targets)}"
            )
        known = {key: i for i, key in enumerate(_keys(self.table))}
        keys = _keys(rows)
        missing = {key: i for i, key in enumerate(keys) if key not in known}
        if missing and not nearest:
            flat = np.array([key in missing for key in keys])
            index = first_index(flat.reshape(batch))
            labels = np.flatnonzero(rows[np.argmax(flat)]).tolist()
            raise ValueError(
                f"targets have a label set that fit has not seen, {labels} at index {index}; "
                "unseen='nearest' takes the nearest one"
            )
        words = _words(self.table)
        for key, i in missing.items():
            known[key] = _nearest(words, _words(rows[i : i + 1]))
        ids = np.array([known[key] for key in keys], dtype=np.int64).reshape(batch)
        xp = namespace(targets=targets)
        return xp.astype(constant(ids, targets), default_integer(xp))

    def decode(self, set_ids: ArrayT) -> ArrayT:
        """The label sets of set ids, multi-hot.

        Args:
          set_ids: integer ``[...]``, each in 0..S-1.

        Returns:
          bool ``[..., L]``.

        Raises:
          ValueError: in eager code, an id is out of range. Under jit such an id has no labels.
          TypeError: ids are not integers.
        """
        xp = namespace(set_ids=set_ids)
        check_integer(xp, "set_ids", set_ids)
        check_class_ids(set_ids, self.num_sets, "set_ids")
        ids = xp.astype(set_ids, default_integer(xp))
        exists = (ids >= 0) & (ids < self.num_sets)
        flat = xp.reshape(xp.where(exists, ids, 0), (-1,))
        sets = xp.take(constant(self.table, set_ids), flat, axis=0)
        return xp.reshape(sets, (*shape_of(set_ids), self.num_labels)) & exists[..., None]

    def marginals(self, set_logits: ArrayT) -> ArrayT:
        """The probability of each label, that of the sets it is in.

        Args:
          set_logits: floating ``[..., S]``, one score per set.

        Returns:
          ``[..., L]`` in [0, 1]: ``softmax(set_logits) @ table``; float32 for half precision.

        Raises:
          TypeError: the logits are not floating-point.
          ValueError: their last axis is not S.

        A set at ``-inf`` has probability 0; sets at ``inf`` share all of it. Costs a product with
        the table, S L per example.
        """
        xp = namespace(set_logits=set_logits)
        check_floating(xp, "set_logits", set_logits)
        if shape_of(set_logits)[-1:] != (self.num_sets,):
            raise ValueError(
                f"set_logits must have one entry per set, shape [..., {self.num_sets}], "
                f"got {shape_of(set_logits)}"
            )
        probabilities = xp.exp(log_softmax(to_compute_dtype(xp, set_logits)))
        table = xp.astype(constant(self.table, set_logits), probabilities.dtype)
        # a label of every set has 1, and rounding must not add to it
        return xp.clip(matmul(probabilities, table), None, 1.0)


def label_powerset(set_logits: ArrayT, set_ids: Array) -> ArrayT:
    r"""Label powerset, softmax cross-entropy over label sets; targets are set ids.

    .. math:: \log \sum_k e^{s_k} - s_z

    The model has one logit per set of :class:`LabelPowerset`, whose ``encode`` gives the set ids
    z. It models how labels depend on one another without approximation, but can predict no set that
    was not seen, and its head grows with the number of sets, where :func:`zlpr` needs L logits.

    Args:
      set_logits: floating ``[..., S]``, one score per label set.
      set_ids: integer ``[...]``, each in 0..S-1.

    Returns:
      ``[...]``, one loss per example; float32 for half precision logits. PyTorch's
      ``cross_entropy`` is its mean over the batch.

    Raises:
      TypeError: logits are not floating-point, or ids are not integers.
      ValueError: the batch shapes differ; in eager code, an id is out of range. Under jit such an
        example is NaN, in value and gradient.

    Gradient: ``softmax(s) - onehot(z)``. A set at ``-inf`` is left out, and one at ``inf`` takes
    all probability: the loss is 0 if it is the target, else ``inf``. Computed as ``log1p`` of the
    odds against the target, so that a loss of 1e-20 is not rounded to 0.

    Limits: it is :func:`softmax_cross_entropy` over sets; with the two sets "no label" and "label"
    of L = 1, :func:`binary_cross_entropy` of the difference of their logits.

    Use when: there are few distinct label sets, and the whole set must be right.

    References:
      Tsoumakas, Vlahavas, `Random k-Labelsets: An Ensemble Method for Multilabel Classification
      <https://doi.org/10.1007/978-3-540-74958-5_38>`_, 2007, where the label powerset is described.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import label_powerset
      >>> label_powerset(np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), np.array([0, 2])).round(4)
      array([0.4076, 1.0986])
    """
    xp = namespace(set_logits=set_logits, set_ids=set_ids)
    check_floating(xp, "set_logits", set_logits)
    check_integer(xp, "set_ids", set_ids)
    set_ids = accept_numpy(xp, set_ids)
    if set_logits.ndim == 0 or shape_of(set_logits)[:-1] != shape_of(set_ids):
        raise ValueError(
            "set_ids must have the shape of set_logits without its last axis, "
            f"got {shape_of(set_ids)} and {shape_of(set_logits)}"
        )
    logits = to_compute_dtype(xp, set_logits)
    ids = xp.astype(set_ids, default_integer(xp))
    valid = valid_ids("set_ids", ids, shape_of(logits)[-1], logits.dtype)
    is_target = ids[..., None] == label_indices(logits)
    loss = pair_loss(logits, is_target)
    return of_valid(loss, valid)


def _rows(targets: Any) -> np.ndarray:
    """Multi-hot targets of any library as bool NumPy `[n, L]`."""
    check_numbers(namespace(targets=targets), "targets", targets)
    values = to_host("targets", targets)
    if values.ndim == 0:
        raise ValueError("targets must have a label axis, got a 0-dimensional array")
    return (values > 0.5).reshape(int(np.prod(values.shape[:-1])), values.shape[-1])


def _words(rows: np.ndarray) -> np.ndarray:
    """Bool `[n, L]` as bits, 64 to a word; at least one word."""
    packed = np.packbits(rows, axis=-1)
    bits = np.zeros((len(rows), 8 * max(1, -(-packed.shape[1] // 8))), dtype=np.uint8)
    bits[:, : packed.shape[1]] = packed
    return bits.view(np.uint64)


def _keys(rows: np.ndarray) -> list[bytes]:
    """Each row as the bytes of its bits, to be hashed."""
    words = _words(rows)
    return words.view(np.dtype((np.void, 8 * words.shape[1])))[:, 0].tolist()


def _nearest(table: np.ndarray, row: np.ndarray) -> int:
    """The row of `table` at the least Hamming distance, the first of several."""
    return int(np.argmin(np.sum(np.bitwise_count(table ^ row), axis=-1, dtype=np.int64)))
