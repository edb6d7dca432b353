"""The labels of highest score of a linear layer, found block of labels by block."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import positive_integer
from mlc_losses._array.backend import is_jax_namespace
from mlc_losses.scale._arguments import check_layer


def predict_linear_top_k(
    features: Any, kernel: Any, bias: Any, k: int, *, label_block: int | None = None
) -> tuple[Any, Any]:
    """The k labels of highest score, without the scores of all labels.

    On JAX, PyTorch and any array API library; elsewhere than on JAX in eager code only.

    Args:
      features: floating ``[N, D]``.
      kernel: floating ``[D, L]``, of the same dtype.
      bias: floating ``[L]``, or None.
      k: a Python integer in 1..L.
      label_block: how many labels are scored at a time; None keeps a block of scores at 8 MiB on
        a CPU and 256 MiB elsewhere, and at least 1024 labels.

    Returns:
      ``(ids, scores)``, int32 and floating ``[N, k]``, from the highest score down; float32 scores
      for half precision. Of tied labels the lower ids come first, and a NaN score before all.

    Raises:
      TypeError: features, kernel or bias are not floating-point or not of one dtype.
      ValueError: shapes do not match, or ``k`` or ``label_block`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_linear_top_k
      >>> kernel = np.array([[1.5, -0.5, 2.0], [-1.0, 0.75, -2.5]])
      >>> ids, scores = predict_linear_top_k(np.eye(2), kernel, None, 2)
      >>> ids.tolist(), scores.tolist()
      ([[2, 0], [1, 0]], [[2.0, 1.5], [0.75, -1.0]])
    """
    xp = check_layer("predict_linear_top_k", features, kernel, bias)
    k = positive_integer("k", k, kernel.shape[1])
    if label_block is not None:
        label_block = positive_integer("label_block", label_block)
    if is_jax_namespace(xp):
        from mlc_losses.scale import _linear_top_k

        return _linear_top_k.top_k_by_blocks(features, kernel, bias, k, label_block)
    from mlc_losses.scale import _plain_top_k

    return _plain_top_k.top_k_by_blocks(features, kernel, bias, k, label_block)
