"""A loss on a linear layer, its head, without the logits of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.namespace import namespace
from mlc_losses.scale._arguments import check_loss, checked_head


def linear_loss(
    loss: Callable[..., Any],
    features: Any,
    kernel: Any,
    bias: Any,
    targets: Any,
    *,
    weights: Any = None,
    where: Any = None,
    key: Any = None,
    block_size: int | None = None,
) -> Any:
    r"""Mean of a per-example loss on a linear layer; multi-hot targets, ids or class ids.

    .. math:: \sum_i w_i \, \ell(x_i K + b, \, y_i) \Big/ \sum_i w_i

    The logits `[N, L]` are never materialised: rows are taken block by block, and the gradient of a
    block is computed in the forward pass, while its logits exist, so that each is formed once.
    Memory beyond the arguments and their gradients is a few blocks `[block_size, L]`. On JAX call
    it under ``jax.jit`` with ``jax.value_and_grad`` or ``jax.grad``, on PyTorch call ``backward``;
    undifferentiated, and on NumPy, it computes the value alone.

    Args:
      loss: any loss of one value per example, ``loss(logits, targets)`` or
        ``loss(scores, labels)``; bind hyper-parameters by ``functools.partial`` or a lambda.
        Arrays that it closes over, such as a learnt threshold, get their gradient.
      features: floating ``[N, D]``, the input of the layer.
      kernel: floating ``[D, L]``, of the same dtype.
      bias: floating ``[L]``, or None.
      targets: multi-hot ``[N, L]``; or label ids, integer ``[N, P]``, padded with -1, with P other
        than L; or class ids, integer ``[N]``, handed to the loss as they are.
      weights: ``[N]``, at least 0: a weighted mean. An example of weight 0 adds nothing, to value
        or gradient, even if it holds NaN. None is a weight of 1.
      where: bool ``[N, L]``, or ``[N, 1]`` for whole examples, handed to the loss as its ``where``.
      key: for a loss that takes ``key``. A JAX PRNG key is split, one key for each block; a
        generator of PyTorch or NumPy is used block after block.
      block_size: rows of a block. None takes as many as keep the logits of one at 8 MiB on a CPU
        and 256 MiB elsewhere, and at least 32 on JAX, 24 on other libraries.

    Returns:
      a scalar: float32 for half precision; 0 for no example, or where the weights are all 0.

    Raises:
      TypeError: features, kernel or bias are not floating-point or not of one dtype; targets are
        neither multi-hot nor integers.
      ValueError: shapes do not match, ``block_size`` is less than 1, the loss does not return one
        value per example or looks across the batch or, in eager code, an id is out of range.

    Value and gradients (features, kernel, bias, what the loss closes over) are those of the dense
    computation, up to rounding. No gradient flows to targets, weights and ``where``. Features and
    kernels in half precision are multiplied as they are, their gradients in float16 in float32.
    Sums are in float32, and gradients are rounded once, when all factors are known.

    On JAX the gradient rule is for reverse mode: ``jax.jvp`` raises. An eager call traces the loss,
    and compiles if there has been none like it; arrays that the loss closes over may change between
    calls. On PyTorch ``torch.autocast`` is honoured as by a linear layer: products are in its
    dtype, sums in float32. Second derivatives and ``torch.func`` go through the blocks operation by
    operation, and keep the logits. Under ``torch.compile`` the call is one node of the graph, with
    the memory of an eager call, if the loss is a function of module level, a lambda that closes
    over nothing, or a ``functools.partial`` of one with keywords; tensors that it binds get their
    gradient. Any other loss is traced block by block, slowly, and its logits may be kept.

    References:
      Wijmans et al., `Cut Your Losses in Large-Vocabulary Language Models
      <https://arxiv.org/abs/2411.09009>`_, 2024, for softmax cross-entropy; Zhang et al., `ELMO:
      Efficiency via Low-precision and Peak Memory Optimization in Large Output Spaces
      <https://arxiv.org/abs/2510.11168>`_, 2025, for binary cross-entropy.

    Example:
      >>> import jax.numpy as jnp
      >>> from mlc_losses import linear_loss, zlpr
      >>> features, kernel = jnp.eye(2), jnp.array([[1.5, -0.5, 2.0], [-1.0, 0.75, -2.5]])
      >>> ids = jnp.array([[0, 2], [1, -1]])
      >>> loss = linear_loss(zlpr, features, kernel, jnp.zeros(3), ids)
      >>> loss.round(4), zlpr(kernel, jnp.array([[1, 0, 1], [0, 1, 0]])).mean().round(4)
      (Array(0.7694, dtype=float32), Array(0.7694, dtype=float32))
    """
    check_loss(loss)
    head = checked_head("linear_loss", features, kernel, bias, targets, weights, where, block_size)
    return _backend_of(features).mean_by_row_blocks(loss, head, key)


def _backend_of(features: Any) -> Any:
    xp = namespace(features=features)
    if is_jax_namespace(xp):
        from mlc_losses.scale import _linear

        return _linear
    if is_torch_namespace(xp):
        from mlc_losses.scale import _torch_linear

        return _torch_linear
    from mlc_losses.scale import _plain_linear

    return _plain_linear
