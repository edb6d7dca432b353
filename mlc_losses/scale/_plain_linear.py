"""The blocks of a linear layer in the array API: values, differentiable operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.namespace import as_dtype, device_of, namespace, shape_of
from mlc_losses.scale._arguments import Head
from mlc_losses.scale._rows import (
    budget_of,
    cut,
    rows_of,
    rows_within,
    shares,
    values_of_block,
    weighted_sum,
    wide,
)


def mean_by_row_blocks(loss: Callable[..., Any], head: Head, key: Any) -> Any:
    xp = namespace(features=head.features)
    num_rows, num_labels = shape_of(head.features)[0], shape_of(head.kernel)[1]
    dtype = wide(xp, head.kernel.dtype)
    total = xp.zeros((), dtype=dtype, device=device_of(head.features))
    if num_rows == 0:
        return total
    kernel = as_dtype(xp, head.kernel, dtype)
    coefficients = shares(xp, head, dtype)
    _, size = cut(num_rows, head.block_size or rows_within(budget_of(head.features), num_labels))
    for start in range(0, num_rows, size):
        block = rows_of(xp, head, coefficients, slice(start, min(start + size, num_rows)))
        logits = as_dtype(xp, block.features, dtype) @ kernel
        if head.bias is not None:
            logits = logits + as_dtype(xp, head.bias, dtype)
        values = values_of_block(loss, logits, block.targets, block.where, key)
        total = total + weighted_sum(xp, block.coefficients, as_dtype(xp, values, dtype), head)
    return total
