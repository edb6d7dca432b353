"""A linear layer block of rows by block: what is the same on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from mlc_losses._array.layout import Layout, is_compiled_by_torch, use_layout
from mlc_losses._array.namespace import (
    as_dtype,
    default_integer,
    device_of,
    is_half,
    namespace,
    shape_of,
)
from mlc_losses._array.ops import stop_gradient
from mlc_losses._array.scatter import scatter_true
from mlc_losses.scale._arguments import Head

# bytes of the logits of a block: on a CPU they are to stay near its cache
CPU_BYTES = 2**23
ACCELERATOR_BYTES = 2**28
# with fewer rows the passes over the kernel and its gradient, one per block, would take over
_LEAST_ROWS = 22


def budget_of(x: Any) -> int:
    """The bytes for a block on the device of `x`, an array of NumPy or a tensor."""
    return CPU_BYTES if getattr(device_of(x), "type", "cpu") == "cpu" else ACCELERATOR_BYTES


def rows_within(budget: int, num_labels: int) -> int:
    return max(_LEAST_ROWS, budget // (4 * max(num_labels, 1)))


def labels_within(budget: int, num_rows: int) -> int:
    """How many labels of all rows are scored at a time."""
    return max(1024, budget // (4 * max(num_rows, 1)))


def columns_within(budget: int, num_rows: int) -> int:
    """How many labels of the kernel `[num_rows, ..]` are read at a time."""
    return max(128, budget // (16 * max(num_rows, 1)))


def cut(length: int, size: int) -> tuple[int, int]:
    """Number and size of equal blocks, of at most `size`; the last may be shorter, or overlap."""
    blocks = -(-length // min(size, length))
    return blocks, -(-length // blocks)


def wide(xp: Any, dtype: Any) -> Any:
    """What is added up in: no half precision."""
    return xp.float32 if is_half(xp, dtype) else dtype


class OneBlock:
    """The batch of a loss that is given its rows block by block: every collective is refused."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError(
            "the loss looks across the batch, but is given its rows block by block; it needs the "
            "logits of all examples at once"
        )

    def offset(self, width: int) -> int:
        return 0

    def global_size(self, width: int) -> int:
        return width


def values_of_block(
    loss: Callable[..., Any], logits: Any, targets: Any, where: Any, key: Any
) -> Any:
    """The loss of each row of a block, where it is a loss of one example at a time."""
    rows = shape_of(logits)[0]
    given = {"where": where, "key": key}
    given = {name: x for name, x in given.items() if x is not None}
    if is_compiled_by_torch(namespace(logits=logits)):
        values = loss(logits, targets, **given)
    else:
        with use_layout(Layout(batch=OneBlock())):
            values = loss(logits, targets, **given)
    if shape_of(values) != (rows,):
        raise ValueError(
            f"the loss must return one value per example, shape {(rows,)} for a block of "
            f"{rows} rows, got {shape_of(values)}"
        )
    return values


class Block(NamedTuple):
    """Rows of the data; those of weight 0 have the features 0."""

    features: Any
    targets: Any  # multi-hot [rows, L], or class ids [rows]
    where: Any
    coefficients: Any


def rows_of(xp: Any, head: Head, coefficients: Any, rows: slice) -> Block:
    features, targets = head.features[rows, :], head.targets[rows, ...]
    where = None if head.where is None else head.where[rows, :]
    coefficients = coefficients[rows]
    if head.weights is not None:  # what is not counted is not to spoil a product
        features = xp.where(coefficients[:, None] == 0, 0.0, features)
    if head.from_ids:
        targets = scatter_true(xp.astype(targets, default_integer(xp)), shape_of(head.kernel)[1])
    return Block(features, targets, where, coefficients)


def shares(xp: Any, head: Head, dtype: Any) -> Any:
    """Of each row in the mean: the weights, divided by their sum."""
    rows = shape_of(head.features)[:1]
    if head.weights is None:
        return xp.full(rows, 1 / max(rows[0], 1), dtype=dtype, device=device_of(head.features))
    weights = stop_gradient(as_dtype(xp, head.weights, dtype))
    total = xp.sum(weights)
    return weights / xp.where(total == 0, 1.0, total)


def weighted_sum(xp: Any, coefficients: Any, values: Any, head: Head) -> Any:
    products = coefficients * values
    if head.weights is not None:
        products = xp.where(coefficients == 0, 0.0, products)
    return xp.sum(products)
