"""A queue of earlier embeddings, to be keys of the contrastive losses: pure functions of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlc_losses._array.arguments import check_floating, check_numbers, positive_integer
from mlc_losses._array.namespace import (
    Array,
    accept_numpy,
    default_integer,
    device_of,
    namespace,
    shape_of,
)
from mlc_losses._array.ops import stop_gradient
from mlc_losses.losses.contrastive._arguments import check_rows, check_width
from mlc_losses.losses.contrastive._similarity import candidate_indices


class KeyQueue(NamedTuple):
    """The state of the queue; a tuple of arrays, so that it passes through jit and scan."""

    embeddings: Any  # [size, D]
    targets: Any  # [size, L]
    position: Any  # the slot to write next; `size` is added once every slot is filled


def init_queue(size: int, dim: int, num_labels: int, *, like: Array | None = None) -> KeyQueue:
    """An empty queue of keys for ``supcon`` and ``mulsupcon``, first in first out.

    Add a batch after its loss: an anchor whose own copy is among the keys would have it as a
    positive.

    Args:
      size: how many keys it holds.
      dim: D of the embeddings.
      num_labels: L of the targets.
      like: an array of the library, dtype and device wanted; by default float32 in NumPy.

    Returns:
      ``(embeddings [size, dim], targets [size, num_labels], position)``, zeros.

    Raises:
      TypeError: ``like`` is not floating-point, or a size is not an integer.
      ValueError: a size is below 1.

    References:
      He et al., `Momentum Contrast for Unsupervised Visual Representation Learning
      <https://arxiv.org/abs/1911.05722>`_, 2020.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import enqueue, init_queue, queue_mask, supcon
      >>> batches = np.array([[[1.0, 0.0], [0.8, 0.6]], [[0.6, 0.8], [0.0, 1.0]]])
      >>> y = np.array([[1, 0], [1, 1]])
      >>> queue = init_queue(4, 2, 2, like=batches)
      >>> for z in batches:
      ...     keys = {"keys": queue.embeddings, "key_targets": queue.targets}
      ...     losses = supcon(z, y, **keys, key_where=queue_mask(queue), temperature=0.5)
      ...     queue = enqueue(queue, z, y)
      >>> losses.round(4)
      array([1.2343, 1.2271])
    """
    size = positive_integer("size", size)
    dim = positive_integer("dim", dim)
    num_labels = positive_integer("num_labels", num_labels)
    if like is None:
        like = np.zeros(0, dtype=np.float32)
    xp = namespace(like=like)
    check_floating(xp, "like", like)

    def zeros(*shape: int) -> Any:
        return xp.zeros(shape, dtype=like.dtype, device=device_of(like))

    return KeyQueue(
        zeros(size, dim), zeros(size, num_labels), xp.astype(zeros(), default_integer(xp))
    )


def enqueue(queue: KeyQueue, embeddings: Array, targets: Array) -> KeyQueue:
    """The queue with the rows of a batch added, in place of its oldest ones; no gradient is kept.

    Args:
      queue: as :func:`init_queue` or this function returned it.
      embeddings: ``[B, D]``, for any B; of more than the queue holds, the last rows stay.
      targets: ``[B, L]``, bool, integer or float.

    Returns:
      a new queue; the old one is unchanged.

    Raises:
      TypeError: ``queue`` is not a queue, or embeddings are not floating-point.
      ValueError: shapes do not fit.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import enqueue, init_queue
      >>> queue = init_queue(2, 1, 1)
      >>> for point in (1.0, 2.0, 3.0):
      ...     queue = enqueue(queue, np.array([[point]]), np.array([[1]]))
      >>> queue.embeddings
      array([[3.],
             [2.]], dtype=float32)
    """
    _check_queue(queue)
    xp = namespace(queue=queue.embeddings, embeddings=embeddings, targets=targets)
    check_floating(xp, "embeddings", embeddings)
    check_numbers(xp, "targets", targets)
    embeddings, targets = accept_numpy(xp, embeddings), accept_numpy(xp, targets)
    check_rows("embeddings", embeddings, "targets", targets)
    check_width("embeddings", embeddings, "the queue's embeddings", queue.embeddings)
    check_width("targets", targets, "the queue's targets", queue.targets)
    size = shape_of(queue.embeddings)[0]
    late = max(0, shape_of(embeddings)[0] - size)
    embeddings, targets = embeddings[late:, :], targets[late:, :]
    count = shape_of(embeddings)[0]
    if count == 0:
        return queue
    slots = xp.astype(candidate_indices(queue.embeddings), queue.position.dtype)
    # how many rows before this slot is written, were the batch endless
    row = (slots - queue.position) % size
    new = (row < count)[:, None]
    row = xp.where(row < count, row, 0)

    def written(old: Any, rows: Any) -> Any:
        rows = xp.astype(stop_gradient(rows), old.dtype)
        return xp.where(new, xp.take(rows, row, axis=0), old)

    position = queue.position + count
    position = xp.where(position >= size, size + position % size, position)
    return KeyQueue(
        written(queue.embeddings, embeddings), written(queue.targets, targets), position
    )


def queue_mask(queue: KeyQueue) -> Any:
    """Bool ``[size]``, which slots of the queue are filled: the ``key_where`` of the losses.

    Args:
      queue: as :func:`init_queue` or :func:`enqueue` returned it.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import enqueue, init_queue, queue_mask
      >>> queue = enqueue(init_queue(3, 1, 1), np.array([[1.0]]), np.array([[1]]))
      >>> queue_mask(queue)
      array([ True, False, False])
    """
    _check_queue(queue)
    slots = candidate_indices(queue.embeddings)
    xp = namespace(queue=queue.embeddings)
    return xp.astype(slots, queue.position.dtype) < queue.position


def _check_queue(queue: Any) -> None:
    if not isinstance(queue, KeyQueue):
        raise TypeError(
            f"queue must be what init_queue or enqueue returned, got {type(queue).__name__}"
        )
