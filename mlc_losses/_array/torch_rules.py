"""Attaches the formulas of a rule to PyTorch; imported only when a tensor comes in.

On a CPU, in eager code, the formulas are evaluated a block of rows at a time. What they write on
the way then stays in the cache, and nothing of the size of the batch is allocated but the result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from mlc_losses._array import torch_blocks
from mlc_losses._array import torch_namespace as xp
from mlc_losses._array.by_operation import values_by_operation
from mlc_losses._array.labels import label_sum
from mlc_losses._array.row_rules import RowRule, is_finite
from mlc_losses._array.torch_modes import (
    is_batched,
    is_differentiated_by_operation,
    is_traced,
    is_transformed,
)

# entries for which the number of operations counts for more than what each of them does
_SMALL = 2**12


def apply_rule(
    rule: RowRule, params: Any, where: Any, arrays: Any, wanted: int | None
) -> tuple[Any, ...]:
    if is_traced() or forward_ad._current_level >= 0:
        return _apply_traced(rule, params, where, arrays)
    if params and any(isinstance(p, torch.Tensor) and p.requires_grad for p in params):
        return _by_operation(rule, params, where, arrays)
    on_cpu = torch_blocks.are_on_cpu(where, *arrays)
    if arrays[0].requires_grad or any(x.requires_grad for x in arrays):
        if on_cpu and wanted == 1 and arrays[0].numel() <= _SMALL:
            values = rule.small_values(xp, params, where, *arrays)
            if values is not None:
                return values
        return _apply_eagerly((rule, params, on_cpu, wanted), where, *arrays)
    return _values(rule, params, where, arrays, on_cpu, wanted)[0]


def _apply_traced(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    """For the compiler, `torch.func` and forward mode."""
    # it is not known whether a derivative by a parameter will be asked for
    of_tensors = any(isinstance(p, torch.Tensor) for p in params)
    if of_tensors or is_differentiated_by_operation():
        return _by_operation(rule, params, where, arrays)
    if is_transformed():
        return _TransformedRule.apply((rule, params, False, None), where, *arrays)
    if any(x.requires_grad for x in arrays):
        return _Rule.apply((rule, params, False, None), where, *arrays)
    return tuple(rule.values(xp, params, where, *arrays))


def _by_operation(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    if torch_blocks.are_fit_for_blocks(where, *arrays) and all(map(is_finite, arrays)):
        return tuple(rule.values(xp, params, where, *arrays))
    return values_by_operation(rule, xp, params, where, arrays)


class _Rule(torch.autograd.Function):
    """For reverse mode in eager code, and for the compiler, which refuses a custom `jvp` or `vmap`.

    `how` is the rule, its parameters, whether the arrays are plain tensors on a CPU, and how many
    values are wanted; None is all.
    """

    @staticmethod
    def forward(ctx: Any, how: Any, where: Any, *arrays: Any) -> Any:
        rule, params, on_cpu, wanted = how
        kept, enough = None, None
        if on_cpu and wanted == 1 and arrays[0].requires_grad:
            if rule.keeps_derivative:
                kept = _empty_like(arrays[0], arrays[0].dtype)
            # derivatives by the other arrays need all values
            if kept is not None or rule.finds_derivative_again:
                enough = None if any(ctx.needs_input_grad[3:]) else wanted
        values, finite = _values(rule, params, where, arrays, on_cpu, enough, kept)
        results = values[:wanted]
        if rule.derives_from_values and enough is None:
            ctx.save_for_backward(kept, where, *arrays, *values)
            if wanted is not None:  # users may write into what they get
                results = tuple(x.clone() for x in results)
        else:
            ctx.save_for_backward(kept, where, *arrays)
        ctx.set_materialize_grads(False)
        ctx.how = rule, params, finite, wanted is None
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        needed = ctx.needs_input_grad
        derivative, where, *saved = ctx.saved_tensors
        rule, params, finite, all_are_results = ctx.how
        gradients: list[Any] = [None] * len(needed)
        if cotangents[0] is None and all(x is None for x in cotangents):
            return tuple(gradients)
        count = len(needed) - 2
        arrays, values = saved[:count], saved[count:]
        # a gradient that is differentiated again is made of differentiable operations
        create_graph = torch.is_grad_enabled()
        if create_graph:
            finite = False
            if rule.derives_from_values and not all_are_results:
                values = _Rule.apply((rule, params, False, None), where, *arrays)
        elif derivative is not None:
            gradients[2] = derivative * cotangents[0].unsqueeze(-1)
        elif rule.derives_from_values and not values and not finite:
            # the first value alone was computed
            values = _values(rule, params, where, arrays, True, None)[0]
        is_whole = (
            create_graph
            or arrays[0].numel() <= torch_blocks.BLOCK_SIZE
            or is_traced()
            or any(map(is_batched, cotangents))
        )
        gradient_by = _sum_of_products if is_whole else _gradient_in_blocks
        for index in range(count):
            if needed[2 + index] and gradients[2 + index] is None:
                which = rule, params, finite, index
                gradients[2 + index] = gradient_by(which, where, values, cotangents, *arrays)
        return tuple(gradients)


# `Function.apply` without what it does for `torch.func`: `apply_rule` has seen that none is active
_apply_eagerly = super(torch.autograd.Function, _Rule).apply


class _TransformedRule(torch.autograd.Function):
    """For `torch.func` and forward mode."""

    @staticmethod
    def forward(how: Any, where: Any, *arrays: Any) -> Any:
        rule, params, _, wanted = how
        return _values(
            rule, params, where, arrays, torch_blocks.are_fit_for_blocks(where, *arrays), wanted
        )[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        (rule, params, *_), *tensors = inputs
        ctx.save_for_backward(None, *tensors, *(output if rule.derives_from_values else ()))
        ctx.save_for_forward(*tensors, *output)
        ctx.set_materialize_grads(False)
        ctx.how = rule, params, False, True

    backward = _Rule.backward

    @staticmethod
    def vmap(info: Any, in_dims: Any, how: Any, *tensors: Any) -> Any:
        """One more leading axis is one more axis of the batch."""

        def in_front(x: Any, axis: Any) -> Any:
            if x is None:
                return None
            return x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)

        output = _TransformedRule.apply(how, *map(in_front, tensors, in_dims[1:]))
        return output, (0,) * len(output)

    @staticmethod
    def jvp(ctx: Any, _: Any, __: Any, *tangents: Any) -> Any:
        rule, params, *_ = ctx.how
        where, *saved = ctx.saved_tensors
        arrays, values = saved[: len(tangents)], saved[len(tangents) :]
        totals: list[Any] = [None] * len(values)
        for index, (array, tangent) in enumerate(zip(arrays, tangents, strict=True)):
            if tangent is None:
                continue
            found = rule.derivatives(index, xp, params, where, values, *arrays)
            for place, derivative in enumerate(found):
                if derivative is not None:
                    more = derivative * tangent
                    more = label_sum(more) if array.ndim == arrays[0].ndim else more
                    totals[place] = more if totals[place] is None else totals[place] + more
        return tuple(
            torch.zeros_like(value) if tangent is None else tangent
            for value, tangent in zip(values, totals, strict=True)
        )


def _sum_of_products(
    which: Any, where: Any, values: Any, cotangents: Any, *arrays: Any, out: Any = None
) -> Any:
    """The gradient by one array: each value's derivative times its cotangent, summed; None is 0.

    `which` is the rule, its parameters, whether the values came from `finite_values`, and the index
    of the array. `out` is an array for the result, or None.
    """
    rule, params, finite, index = which
    found = None
    if finite:
        found = rule.finite_derivatives(index, xp, params, where, values, out, *arrays)
    if found is None:
        found = rule.derivatives(index, xp, params, where, values, *arrays)
    has_labels, total = arrays[index].ndim == arrays[0].ndim, None
    # there may be fewer results than values
    for derivative, cotangent in zip(found, cotangents, strict=False):
        if derivative is None or cotangent is None:
            continue
        if has_labels:
            cotangent = cotangent.unsqueeze(-1)
        if total is None:
            total = torch.mul(derivative, cotangent, out=out)
        elif out is None:
            total = total + derivative * cotangent
        else:
            total.addcmul_(derivative, cotangent)
    return total


def _gradient_in_blocks(which: Any, where: Any, values: Any, cotangents: Any, *arrays: Any) -> Any:
    """The same, a block of rows at a time if the arrays are fit for it."""
    array, first = arrays[which[-1]], arrays[0]
    if array.ndim != first.ndim or not torch_blocks.are_fit_for_blocks(
        where, *arrays, *values, *cotangents
    ):
        return _sum_of_products(which, where, values, cotangents, *arrays)
    out = _empty_like(array, first.dtype)
    for block, *others, part in torch_blocks.blocks_of_rows(arrays, where, values, cotangents, out):
        if _sum_of_products(which, *others, *block, out=part) is None:
            return None
    return out


def _empty_like(x: Any, dtype: Any) -> Any:
    """An array for results, laid out in memory as `x` if that has two axes, in whatever order."""
    return torch.empty_like(x, dtype=dtype) if x.ndim == 2 else torch.empty(x.shape, dtype=dtype)


def _values(
    rule: RowRule,
    params: Any,
    where: Any,
    arrays: Any,
    on_cpu: bool,
    wanted: int | None,
    derivative: Any = None,
) -> tuple[Any, bool]:
    """The values, as many as are `wanted`, and whether all came from the cheaper formula.

    `derivative` is None, or an array to fill with the derivative of the first value by the logits.
    """
    first, size = arrays[0], arrays[0].numel()
    # a single row is not divided
    if not on_cpu or size <= torch_blocks.BLOCK_SIZE or size == first.shape[-1]:
        return _values_of_block(rule, params, where, arrays, on_cpu, wanted, derivative)
    if rule.uses_fused_kernel:
        values = rule.finite_values(xp, params, where, wanted, derivative, *arrays)
        if values is not None:
            return values, True
    found, finite = zip(
        *(
            _values_of_block(rule, params, where_, arrays_, True, wanted, derivative_)
            for arrays_, where_, derivative_ in torch_blocks.blocks_of_rows(
                arrays, where, derivative
            )
        ),
        strict=True,
    )
    batch = first.shape[:-1]
    return tuple(_joined(parts, batch) for parts in zip(*found, strict=True)), all(finite)


def _joined(parts: Any, batch: Any) -> Any:
    """The values of all blocks `[...]`: no view, since users may write into a result."""
    out = parts[0].new_empty(batch)
    torch.cat(parts, out=out.view(-1))
    return out


def _values_of_block(
    rule: RowRule,
    params: Any,
    where: Any,
    arrays: Any,
    on_cpu: bool,
    wanted: Any,
    derivative: Any,
) -> tuple[Any, bool]:
    if on_cpu and arrays[0].shape[-1]:  # without labels there is no maximum, no softmax
        values = rule.finite_values(xp, params, where, wanted, derivative, *arrays)
        if values is not None:
            return values[:wanted], True  # as many in every block
    values = tuple(rule.values(xp, params, where, *arrays))
    if derivative is not None:
        derivative.copy_(rule.derivatives(0, xp, params, where, values, *arrays)[0])
    return values[:wanted], False
