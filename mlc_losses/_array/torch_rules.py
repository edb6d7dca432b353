"""Attaches the formulas of a rule to PyTorch; imported only when a tensor comes in.

On a CPU, in eager code, the formulas are evaluated a block of rows at a time. What they write on
the way then stays in the cache, and nothing of the size of the batch is allocated but the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch._C import _are_functorch_transforms_active
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from mlc_losses._array import torch_namespace as xp
from mlc_losses._array.by_operation import values_by_operation
from mlc_losses._array.labels import label_sum
from mlc_losses._array.row_rules import RowRule, is_finite
from mlc_losses._array.torch_modes import is_differentiated_by_operation, is_transformed

# entries of a block: 1 MiB in float32
_BLOCK_SIZE = 2**18
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def apply_rule(
    rule: RowRule, params: Any, where: Any, arrays: Any, wanted: int | None
) -> tuple[Any, ...]:
    if is_compiling() or _are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return _apply_traced(rule, params, where, arrays)
    if params and any(isinstance(p, torch.Tensor) and p.requires_grad for p in params):
        return _by_operation(rule, params, where, arrays)
    fit = _are_of_cpu(where, *arrays)
    if arrays[0].requires_grad or any(x.requires_grad for x in arrays):
        return _apply_eagerly((rule, params, fit, wanted), where, *arrays)
    return _values(rule, params, where, arrays, fit, wanted)[0]


def _apply_traced(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    """For the compiler, `torch.func` and forward mode."""
    # whether a derivative by a parameter will be asked for is not known
    of_tensors = any(isinstance(p, torch.Tensor) for p in params)
    if of_tensors or is_differentiated_by_operation():
        return _by_operation(rule, params, where, arrays)
    if is_transformed():
        return _TransformedRule.apply((rule, params, False, None), where, *arrays)
    if any(x.requires_grad for x in arrays):
        return _Rule.apply((rule, params, False, None), where, *arrays)
    return tuple(rule.values(xp, params, where, *arrays))


def _by_operation(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    if _fit_for_blocks(where, *arrays) and all(map(is_finite, arrays)):
        return tuple(rule.values(xp, params, where, *arrays))
    return values_by_operation(rule, xp, params, where, arrays)


class _Rule(torch.autograd.Function):
    """For reverse mode, and for the compiler, which refuses a `jvp` or `vmap` of one's own."""

    @staticmethod
    def forward(ctx: Any, how: Any, where: Any, *arrays: Any) -> Any:
        rule, params, fit, wanted = how
        kept, first, enough = None, arrays[0], None
        if fit and rule.keeps_derivative and wanted == 1 and first.requires_grad:
            kept = _empty_like(first, first.dtype)
            # derivatives by other arrays are made of all values
            enough = None if any(ctx.needs_input_grad[3:]) else wanted
        values, finite = _values(rule, params, where, arrays, fit, enough, kept)
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
        needed, (derivative, where, *saved) = ctx.needs_input_grad, ctx.saved_tensors
        rule, params, finite, all_are_results = ctx.how
        gradients: list[Any] = [None] * len(needed)
        if cotangents[0] is None and all(x is None for x in cotangents):
            return tuple(gradients)
        # a gradient that is differentiated again is made of differentiable operations
        again = torch.is_grad_enabled()
        if derivative is not None and not again:
            gradients[2] = derivative * cotangents[0].unsqueeze(-1)
        arrays, values = saved[: len(needed) - 2], saved[len(needed) - 2 :]
        if again:
            finite = False
            if rule.derives_from_values and not all_are_results:
                values = _Rule.apply((rule, params, False, None), where, *arrays)
        for index in range(len(arrays)):
            if needed[2 + index] and gradients[2 + index] is None:
                how = (rule, params, finite, index)
                given = (where, values, cotangents, *arrays)
                if again or arrays[0].numel() <= _BLOCK_SIZE:
                    gradients[2 + index] = _sum_of_products(how, None, *given)
                else:
                    gradients[2 + index] = _gradient_in_blocks(how, *given)
        return tuple(gradients)


# without a look for what `torch.func` has left behind
_apply_eagerly = super(torch.autograd.Function, _Rule).apply


class _TransformedRule(torch.autograd.Function):
    """For `torch.func` and forward mode."""

    @staticmethod
    def forward(how: Any, where: Any, *arrays: Any) -> Any:
        rule, params, _, wanted = how
        return _values(rule, params, where, arrays, _fit_for_blocks(where, *arrays), wanted)[0]

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
    def jvp(ctx: Any, _: Any, __: Any, *dots: Any) -> Any:
        rule, params, *_ = ctx.how
        where, *saved = ctx.saved_tensors
        arrays, values = saved[: len(dots)], saved[len(dots) :]
        moved: list[Any] = [None] * len(values)
        for index, (array, dot) in enumerate(zip(arrays, dots, strict=True)):
            if dot is None:
                continue
            found = rule.derivatives(index, xp, params, where, values, *arrays)
            for place, derivative in enumerate(found):
                if derivative is not None:
                    more = derivative * dot
                    more = label_sum(more) if array.ndim == arrays[0].ndim else more
                    moved[place] = more if moved[place] is None else moved[place] + more
        return tuple(
            torch.zeros_like(value) if dot is None else dot
            for value, dot in zip(values, moved, strict=True)
        )


def _sum_of_products(
    how: Any, out: Any, where: Any, values: Any, cotangents: Any, *arrays: Any
) -> Any:
    """By one array: its derivative of each value times the value's cotangent; None is 0."""
    rule, params, finite, index = how
    found = None
    if finite:
        found = rule.finite_derivatives(index, xp, params, where, values, *arrays)
    if found is None:
        found = rule.derivatives(index, xp, params, where, values, *arrays)
    has_labels, total = arrays[index].ndim == arrays[0].ndim, None
    # there may be fewer results than values
    for derivative, cotangent in zip(found, cotangents, strict=False):
        if derivative is None or cotangent is None:
            continue
        if has_labels:
            cotangent = cotangent.unsqueeze(-1)
        if out is None:
            product = derivative * cotangent
            total = product if total is None else total + product
        elif total is None:
            total = torch.mul(derivative, cotangent, out=out)
        else:
            total.addcmul_(derivative, cotangent)
    return total


def _gradient_in_blocks(how: Any, where: Any, values: Any, cotangents: Any, *arrays: Any) -> Any:
    """The same, a block of rows at a time if that may be."""
    array, first = arrays[how[-1]], arrays[0]
    if array.ndim != first.ndim or not _fit_for_blocks(where, *arrays, *values, *cotangents):
        return _sum_of_products(how, None, where, values, cotangents, *arrays)
    out = _empty_like(array, first.dtype)
    flat = out.view(-1, out.shape[-1]) if out.ndim != 2 else out
    for rows, (where_, arrays_, values_, cotangents_) in _blocks(where, arrays, values, cotangents):
        if _sum_of_products(how, flat[rows], where_, values_, cotangents_, *arrays_) is None:
            return None
    return out


def _empty_like(x: Any, dtype: Any) -> Any:
    """In memory as `x` is, if it can be viewed as rows: two axes may be in any order."""
    return torch.empty_like(x, dtype=dtype) if x.ndim == 2 else torch.empty(x.shape, dtype=dtype)


def _values(
    rule: RowRule,
    params: Any,
    where: Any,
    arrays: Any,
    fit: bool,
    wanted: int | None,
    derivative: Any = None,
) -> tuple[Any, bool]:
    """The values, as many as are `wanted`, and whether all came from the cheaper formula.

    `fit`: whether the arrays are fit for blocks. `derivative`: what is filled with that of the
    first value by the logits.
    """
    first = arrays[0]
    size = first.numel()
    # a row is not divided
    if not fit or size <= _BLOCK_SIZE or size == first.shape[-1]:
        return _values_of_block(rule, params, where, arrays, fit, wanted, derivative)
    if rule.in_one_kernel:
        values = rule.finite_values(xp, params, where, wanted, derivative, *arrays)
        if values is not None:
            return values, True
    found, finite = zip(
        *(
            _values_of_block(rule, params, where_, arrays_, True, wanted, derivative_)
            for _, (where_, arrays_, derivative_) in _blocks(where, arrays, derivative)
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
    rule: RowRule, params: Any, where: Any, arrays: Any, fit: bool, wanted: Any, derivative: Any
) -> tuple[Any, bool]:
    if fit and arrays[0].shape[-1]:  # of no labels there is no largest, nor a softmax
        values = rule.finite_values(xp, params, where, wanted, derivative, *arrays)
        if values is not None:
            return values[:wanted], True  # as many in every block
    values = tuple(rule.values(xp, params, where, *arrays))
    if derivative is not None:
        derivative.copy_(rule.derivatives(0, xp, params, where, values, *arrays)[0])
    return values[:wanted], False


def _fit_for_blocks(*tensors: Any) -> bool:
    """Plain tensors of a CPU: neither traced, nor fake, nor under `vmap`."""
    if is_compiling() or _are_functorch_transforms_active():
        return False
    return _are_of_cpu(*tensors)


def _are_of_cpu(*tensors: Any) -> bool:
    for x in tensors:  # `all` would cost a small call a microsecond
        if x is not None and not (type(x) in _PLAIN and x.is_cpu):
            return False
    return True


def _blocks(where: Any, arrays: Any, *rows: Any) -> Iterator[tuple[slice, Any]]:
    """The rows of a block, and those of `where`, of the arrays and of what else is `[...]`."""
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
