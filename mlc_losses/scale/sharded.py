"""Losses with their labels or their batch split over devices. Needs JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses.scale._arguments import check_jax_installed, check_loss


def sharded(
    loss: Callable[..., Any], mesh: Any, *, labels: Any = None, batch: Any = None
) -> Callable[..., Any]:
    """A loss over the devices of a mesh: equal to it on one device, for all target formats.

    The arrays are split over the named axes of the mesh, each device computes on its own part, and
    what a loss sums, maximises or ranks over labels or examples is completed by collectives, which
    carry a few numbers per example (per label, for what is summed over the batch): no device holds
    ``[N, L]``. Losses across the batch see the whole batch: they gather embeddings, or add counts.

    Args:
      loss: a loss of the library, or one made of them, such as a ``functools.partial``, which may
        bind arrays.
      mesh: a ``jax.sharding.Mesh``, its axes Auto or Explicit.
      labels: the mesh axis, or a tuple of them, that the labels are split over; None for none.
      batch: the same for the batch. Give at least one of the two.

    Returns:
      a function of the loss's own arguments, differentiable, to be called under ``jax.jit`` or
      eagerly, where it compiles once for the same loss and shapes. How an array is split is told
      by the name of its argument, bound or not: logits, targets and masks ``[N, ..., L]``, class
      ids and thresholds ``[N, ...]``, weights of labels ``[L]``, embeddings ``[N, D]``; keys and
      prototypes are given to every device as a whole. An argument that no loss of the library has
      is told by its shape. The result is split over ``batch`` where it has one value per example,
      and over ``labels`` where it has one per label.

    Raises:
      ImportError: JAX is not installed.
      TypeError: an array is not JAX's.
      ValueError: the mesh has no such axis, N or L is not divisible by the number of devices (pad
        it, with ``where=False``), an argument of your own could be ``[N]`` as well as ``[L]`` or,
        over labels, the loss sorts or compares all labels of an example, which cannot be had in
        parts.

    Noise that a loss draws from a ``key`` is that of the unsharded loss. Of tied scores other ones
    may be picked.

    In several processes joined by ``jax.distributed.initialize()`` nothing changes: the mesh is
    made of ``jax.devices()``, all processes run the same program, and arrays are made of each
    process's rows by ``jax.make_array_from_process_local_data``.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from mlc_losses import sharded, zlpr
      >>> mesh = jax.make_mesh((1,), ("labels",))
      >>> logits, targets = jnp.array([[1.5, -0.5, 2.0, -3.0]]), jnp.array([[1, 0, 1, 0]])
      >>> sharded(zlpr, mesh, labels="labels")(logits, targets).round(4)
      Array([0.811], dtype=float32)
    """
    check_jax_installed("sharded")
    check_loss(loss)
    from mlc_losses.scale import _sharding

    return _sharding.sharded_loss(loss, mesh, labels, batch)
