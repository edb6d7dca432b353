"""A loss on a linear layer in blocks of rows and of labels. Needs JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.arguments import positive_integer
from mlc_losses.scale._arguments import check_jax, check_jax_installed, check_loss, checked_head


def label_block_loss(
    loss: Callable[..., Any],
    features: Any,
    kernel: Any,
    bias: Any,
    targets: Any,
    *,
    row_block: int | None = None,
    label_block: int | None = None,
    weights: Any = None,
    where: Any = None,
) -> Any:
    r""":func:`linear_loss` in blocks of labels too; multi-hot targets, ids or class ids. JAX only.

    Use it when the logits of even a few rows are too large. No array ``[row_block, L]`` is made:
    the loss runs on one block of labels after another up to its first sum or maximum over the
    labels, and the parts are combined. Then it runs again up to the second one, with the first one
    known, and so on. So a block's logits are computed once for each reduction of the loss, and once
    more for each in the backward pass: where :func:`linear_loss` fits, it is several times faster.

    Args:
      loss: a loss of one value per example, made of label reductions: of the binary, zlpr and
        softmax families, lsep, bp_mll and circle, the top-k hinges without noise, or one made of
        these and of terms of one label. Weights per label (``[L]``) that it is given may be whole.
      features: floating ``[N, D]``.
      kernel: floating ``[D, L]``, of the same dtype.
      bias: floating ``[L]``, or None.
      targets: multi-hot ``[N, L]``, label ids ``[N, P]`` padded with -1, or class ids ``[N]``.
      row_block: rows of a block; None keeps the logits of one at 8 MiB on a CPU and 256 MiB
        elsewhere.
      label_block: labels of a block; None is 65536.
      weights: ``[N]``, at least 0, as in :func:`linear_loss`.
      where: bool ``[N, L]``, or ``[N, 1]`` for whole examples, handed to the loss.

    Returns:
      a scalar, the weighted mean; 0 for no example.

    Raises:
      ImportError, TypeError: as :func:`linear_loss`.
      ValueError: as :func:`linear_loss`, and if the loss sorts or compares all labels of an
        example, reduces them other than by a loss of this library, uses how many labels it sees
        or where they are, or has a ``jax.jit`` or a loop of its own.

    The gradient, by features, kernel and bias, is exact for finite logits; a logit at infinity can
    make it NaN where that of the loss is a number. Memory beyond the arguments and gradients: one
    copy of the kernel, cut into blocks, for each reduction, and a few blocks of logits. Half
    precision is computed in float32, and gradients are rounded once.

    Example:
      >>> import jax.numpy as jnp
      >>> from mlc_losses import label_block_loss, zlpr
      >>> features, kernel = jnp.eye(2), jnp.array([[1.5, -0.5, 2.0], [-1.0, 0.75, -2.5]])
      >>> ids = jnp.array([[0, 2], [1, -1]])
      >>> label_block_loss(zlpr, features, kernel, None, ids, label_block=2).round(4)
      Array(0.7694, dtype=float32)
    """
    check_jax_installed("label_block_loss")
    check_loss(loss)
    check_jax("label_block_loss", features=features, kernel=kernel, bias=bias)
    if label_block is not None:
        label_block = positive_integer("label_block", label_block)
    if row_block is not None:
        row_block = positive_integer("row_block", row_block)
    head = checked_head(
        "label_block_loss", features, kernel, bias, targets, weights, where, row_block
    )
    from mlc_losses.scale import _label_blocks

    return _label_blocks.mean_by_label_blocks(loss, head, label_block)
