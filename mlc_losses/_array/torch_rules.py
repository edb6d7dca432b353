"""Attaches the formulas of a rule to PyTorch; imported only when a tensor comes in.

On a CPU, in eager code, the formulas are evaluated a block of rows at a time. What they write on
the way then stays in the cache, and nothing of the size of the batch is allocated but the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from array_api_compat import torch as xp
from torch._C._functorch import is_batchedtensor

from mlc_losses._array.labels import label_sum
from mlc_losses._array.row_rules import RowRule

# entries of a block: 1 MiB in float32
_BLOCK_SIZE = 2**18
# with fewer of them, what blocks cost is not won back
_FEWEST = 2**13
# of values that a formula for finite arrays is not trusted with
_LARGE = 1e29
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def apply_rule(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    if torch.compiler.is_compiling():
        return _CompiledRule.apply(rule, params, where, *arrays)
    if any(isinstance(p, torch.Tensor) for p in params):
        return rule.values(xp, params, where, *arrays)  # differentiated op by op
    if _is_differentiated(arrays):
        return _EagerRule.apply(rule, params, where, *arrays)
    return _values(rule, params, where, arrays)


def _is_differentiated(arrays: Any) -> bool:
    return (
        any(x.requires_grad for x in arrays)
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


class _CompiledRule(torch.autograd.Function):
    """For the compiler, which refuses a `jvp` or `vmap` of one's own."""

    @staticmethod
    def forward(rule: RowRule, params: Any, where: Any, *arrays: Any) -> Any:
        return _values(rule, params, where, arrays)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.rule, ctx.params, *tensors = inputs
        ctx.num_arrays = len(tensors) - 1
        ctx.save_for_backward(*tensors, *output)
        ctx.save_for_forward(*tensors, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        return (
            None,
            None,
            None,
            *(
                _gradient(ctx, index, cotangents) if ctx.needs_input_grad[3 + index] else None
                for index in range(ctx.num_arrays)
            ),
        )


class _EagerRule(_CompiledRule):
    @staticmethod
    def vmap(info: Any, in_dims: Any, rule: RowRule, params: Any, *tensors: Any) -> Any:
        """One more leading axis is one more axis of the batch."""

        def in_front(x: Any, axis: Any) -> Any:
            if x is None:
                return None
            return x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)

        output = _EagerRule.apply(rule, params, *map(in_front, tensors, in_dims[2:]))
        return output, (0,) * len(output)

    @staticmethod
    def jvp(ctx: Any, *dots: Any) -> Any:
        where, arrays, values = _saved(ctx)
        moved: list[Any] = [None] * len(values)
        for index, (array, dot) in enumerate(zip(arrays, dots[3:], strict=True)):
            if dot is None:
                continue
            found = ctx.rule.derivatives(index, xp, ctx.params, where, values, *arrays)
            for place, derivative in enumerate(found):
                if derivative is not None:
                    more = derivative * dot
                    more = label_sum(more) if array.ndim > values[0].ndim else more
                    moved[place] = more if moved[place] is None else moved[place] + more
        return tuple(
            torch.zeros_like(value) if dot is None else dot
            for value, dot in zip(values, moved, strict=True)
        )


def _saved(ctx: Any) -> tuple[Any, Any, Any]:
    where, *tensors = ctx.saved_tensors
    return where, tensors[: ctx.num_arrays], tensors[ctx.num_arrays :]


def _gradient(ctx: Any, index: int, cotangents: Any) -> Any:
    """By the array with that index: its derivative of each value times the value's cotangent."""
    where, arrays, values = _saved(ctx)
    has_labels = arrays[index].ndim > values[0].ndim

    def terms(where: Any, values: Any, cotangents: Any, *arrays: Any) -> list[tuple[Any, Any]]:
        found = ctx.rule.derivatives(index, xp, ctx.params, where, values, *arrays)
        return [
            (derivative, cotangent[..., None] if has_labels else cotangent)
            for derivative, cotangent in zip(found, cotangents, strict=True)
            if derivative is not None and cotangent is not None
        ]

    tensors = (where, *arrays, *values, *cotangents)
    # a gradient that is differentiated again is made of differentiable operations
    if torch.is_grad_enabled() or not _fit_for_blocks(tensors) or not has_labels:
        products = [d * c for d, c in terms(where, values, cotangents, *arrays)]
        return sum(products[1:], products[0]) if products else None
    out = torch.empty(arrays[index].shape, dtype=arrays[0].dtype)
    flat = out.view(-1, out.shape[-1])
    for rows, (where_, arrays_, values_, cotangents_) in _blocks(where, arrays, values, cotangents):
        products = terms(where_, values_, cotangents_, *arrays_)
        if not products:
            return None
        block = torch.mul(*products[0], out=flat[rows])
        for product in products[1:]:
            block.addcmul_(*product)
    return out


def _values(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    if not _fit_for_blocks((where, *arrays)):
        return rule.values(xp, params, where, *arrays)
    found = []
    for _, (where_, arrays_) in _blocks(where, arrays):
        values = rule.finite_values(xp, params, where_, *arrays_)
        if values is None or not all((abs(value) < _LARGE).all() for value in values):
            values = rule.values(xp, params, where_, *arrays_)
        found.append(values)
    batch = arrays[0].shape[:-1]
    return tuple(torch.cat(blocks).reshape(batch) for blocks in zip(*found, strict=True))


def _fit_for_blocks(tensors: Any) -> bool:
    """Plain tensors of a CPU, not too few numbers: neither traced, nor fake, nor under `vmap`."""
    return (
        not torch.compiler.is_compiling()
        and tensors[1].numel() >= _FEWEST
        and all(
            x is None or (type(x) in _PLAIN and x.device.type == "cpu" and not is_batchedtensor(x))
            for x in tensors
        )
    )


def _blocks(where: Any, arrays: Any, *rows: Any) -> Iterator[tuple[slice, Any]]:
    """The rows of a block, and those of everything: of `where`, the arrays and what else is
    `[...]`."""
    ndim, num_labels = arrays[0].ndim, max(arrays[0].shape[-1], 1)

    def flat(x: Any) -> Any:
        if x is None or isinstance(x, (tuple, list)):
            return x if x is None else [flat(y) for y in x]
        return x.reshape(-1, x.shape[-1]) if x.ndim == ndim else x.reshape(-1)

    def part(x: Any, rows: slice) -> Any:
        if x is None or isinstance(x, list):
            return x if x is None else [part(y, rows) for y in x]
        return x[rows]

    everything = [flat(x) for x in (where, arrays, *rows)]
    size = max(1, _BLOCK_SIZE // num_labels)
    for start in range(0, arrays[0].numel() // num_labels, size):
        block = slice(start, start + size)
        yield block, [part(x, block) for x in everything]
