"""The blocks of a linear layer with their gradients on PyTorch; imported when used.

The gradients of a block are computed while its logits exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mlc_losses._array.namespace import namespace
from mlc_losses.scale._arguments import Head
from mlc_losses.scale._rows import (
    Block,
    budget_of,
    cut,
    rows_of,
    rows_within,
    shares,
    values_of_block,
    weighted_sum,
    wide,
)
from mlc_losses.scale._torch_products import Products


def sums_by_row_blocks(
    loss: Callable[..., Any], head: Head, key: Any, with_gradient: bool
) -> tuple[Any, list[Any], list[tuple[Any, Any]]]:
    """The mean; its derivatives by the layer; and tensors that the loss closes over, with theirs.

    A derivative that is not asked for is None.
    """
    num_rows, num_labels = head.features.shape[0], head.kernel.shape[1]
    xp = namespace(features=head.features)
    dtype = wide(xp, head.kernel.dtype)
    coefficients = shares(xp, head, dtype)
    products = Products(head, dtype, with_gradient)
    total = torch.zeros((), dtype=dtype, device=head.features.device)
    inside: dict[int, tuple[Any, Any]] = {}
    is_attached = num_rows == 0  # then to zeros
    limit = head.block_size or rows_within(budget_of(head.features), num_labels)
    _, size = cut(max(num_rows, 1), limit)
    for start in range(0, num_rows, size):
        rows = slice(start, min(start + size, num_rows))
        block = rows_of(xp, head, coefficients, rows)
        values, by_logits, more = _of_block(loss, block, products, key, with_gradient)
        total += weighted_sum(xp, block.coefficients, values, head)
        is_attached = is_attached or by_logits is not None
        if by_logits is not None:
            if head.weights is not None:
                by_logits = by_logits.masked_fill(block.coefficients[:, None] == 0, 0.0)
            products.add(rows, block.features, by_logits)
        for leaf, derivative in more:
            known = inside.get(id(leaf))
            inside[id(leaf)] = leaf, derivative if known is None else known[1] + derivative
        # not to be there beside the next ones
        del block, by_logits
    return total, products.derivatives if is_attached else [None] * 3, list(inside.values())


def _of_block(
    loss: Callable[..., Any], block: Block, products: Products, key: Any, with_gradient: bool
) -> tuple[Any, Any, list[tuple[Any, Any]]]:
    """The values of a block, and the derivatives of their part of the mean."""
    logits = products.logits(block.features).requires_grad_(products.needed)
    with torch.set_grad_enabled(with_gradient):
        values = values_of_block(loss, logits, block.targets.detach(), block.where, key)
        values = values.to(logits.dtype)
    if not values.requires_grad:
        return values, None, []
    leaves = _leaves(values, logits)
    sources = [*([logits] if products.needed else []), *leaves]
    # what a loss closes over may have a graph of its own, which serves each block
    found = torch.autograd.grad(
        values, sources, block.coefficients, retain_graph=bool(leaves), allow_unused=True
    )
    more = [
        (leaf, derivative)
        for leaf, derivative in zip(leaves, found[len(found) - len(leaves) :], strict=True)
        if derivative is not None
    ]
    return values.detach(), found[0] if products.needed else None, more


def _leaves(values: Any, logits: Any) -> list[Any]:
    """The tensors, other than the logits, that the gradient of the values comes to."""
    found = []
    nodes = [torch.autograd.graph.get_gradient_edge(values).node]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf is not logits:
            found.append(leaf)
        fresh = {next_node for next_node, _ in node.next_functions if next_node is not None} - seen
        seen |= fresh
        nodes.extend(fresh)
    return found
