"""Attaches the formulas of a rule to PyTorch; imported only when a tensor comes in.

On a CPU, in eager code, the formulas are evaluated a block of rows at a time. What they write on
the way then stays in the cache, and nothing of the size of the batch is allocated but the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

import torch
from torch._C._functorch import TransformType

from mlc_losses._array import torch_namespace as xp
from mlc_losses._array.labels import label_sum
from mlc_losses._array.row_rules import RowRule

# entries of a block: 1 MiB in float32
_BLOCK_SIZE = 2**18
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def apply_rule(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    of_tensors = params and any(isinstance(p, torch.Tensor) for p in params)
    if (of_tensors and not _are_constants(params)) or is_differentiated_by_operation():
        return rule.values(xp, params, where, *arrays)
    if is_transformed():
        return _TransformedRule.apply(rule, params, where, *arrays)
    if arrays[0].requires_grad or any(x.requires_grad for x in arrays):
        return _Rule.apply(rule, params, where, *arrays)
    return _values(rule, params, where, arrays, _fit_for_blocks(where, *arrays))[0]


def _are_constants(params: Any) -> bool:
    """Whether no derivative by one of them can be asked for."""
    if torch.compiler.is_compiling() or is_transformed():
        return False
    return not any(isinstance(p, torch.Tensor) and p.requires_grad for p in params)


def is_transformed() -> bool:
    """Whether `torch.func` or forward mode is at work, outside of the compiler."""
    return not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


def is_differentiated_by_operation() -> bool:
    """Whether a Function of one's own would have wrong derivatives, without an error.

    The compiler loses derivatives under `torch.func`. Where forward mode is differentiated by
    forward mode, PyTorch loses the second derivative of a `jvp`.
    """
    if not torch._C._are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        return True
    stack = torch._C._functorch.get_interpreter_stack()
    return sum(level.key() == TransformType.Jvp for level in stack) > 1


class _Rule(torch.autograd.Function):
    """For reverse mode, and for the compiler, which refuses a `jvp` or `vmap` of one's own."""

    @staticmethod
    def forward(ctx: Any, rule: RowRule, params: Any, where: Any, *arrays: Any) -> Any:
        fit, first = _fit_for_blocks(where, *arrays), arrays[0]
        keeps = fit and rule.keeps_derivative and first.requires_grad
        kept = _empty_like(first, first.dtype) if keeps else None
        values, ctx.finite = _values(rule, params, where, arrays, fit, kept)
        ctx.derivative = kept if ctx.finite else None
        _keep(ctx, rule, params, (where, *arrays), values)
        return values

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        needed, derivative, saved = ctx.needs_input_grad, ctx.derivative, ctx.saved_tensors
        gradients: list[Any] = [None] * len(needed)
        if derivative is not None and needed[3] and not torch.is_grad_enabled():
            cotangent = ctx.rule.kept_cotangent(cotangents)
            if cotangent is not None:
                gradients[3] = derivative * cotangent.unsqueeze(-1)
        for place in range(3, len(needed)):
            if needed[place] and gradients[place] is None:
                gradients[place] = _gradient(ctx, place - 3, saved, cotangents)
        return tuple(gradients)


class _TransformedRule(torch.autograd.Function):
    """For `torch.func` and forward mode."""

    @staticmethod
    def forward(rule: RowRule, params: Any, where: Any, *arrays: Any) -> Any:
        return _values(rule, params, where, arrays, _fit_for_blocks(where, *arrays))[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.finite, ctx.derivative = False, None
        rule, params, *tensors = inputs
        _keep(ctx, rule, params, tensors, output)
        ctx.save_for_forward(*tensors, *output)

    backward = _Rule.backward

    @staticmethod
    def vmap(info: Any, in_dims: Any, rule: RowRule, params: Any, *tensors: Any) -> Any:
        """One more leading axis is one more axis of the batch."""

        def in_front(x: Any, axis: Any) -> Any:
            if x is None:
                return None
            return x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)

        output = _TransformedRule.apply(rule, params, *map(in_front, tensors, in_dims[2:]))
        return output, (0,) * len(output)

    @staticmethod
    def jvp(ctx: Any, *dots: Any) -> Any:
        where, arrays, values = _parts(ctx, ctx.saved_tensors)
        moved: list[Any] = [None] * len(values)
        for index, (array, dot) in enumerate(zip(arrays, dots[3:], strict=True)):
            if dot is None:
                continue
            found = ctx.rule.derivatives(index, xp, ctx.params, where, values, *arrays)
            for place, derivative in enumerate(found):
                if derivative is not None:
                    more = derivative * dot
                    more = label_sum(more) if array.ndim == arrays[0].ndim else more
                    moved[place] = more if moved[place] is None else moved[place] + more
        return tuple(
            torch.zeros_like(value) if dot is None else dot
            for value, dot in zip(values, moved, strict=True)
        )


def _keep(ctx: Any, rule: RowRule, params: Any, tensors: Any, values: Any) -> None:
    ctx.rule, ctx.params = rule, params
    # a small call takes time for each
    ctx.save_for_backward(*((*tensors, *values) if rule.derives_from_values else tensors))
    ctx.set_materialize_grads(False)


def _parts(ctx: Any, tensors: Any) -> tuple[Any, Any, Any]:
    """The mask, the arrays and the values."""
    end = len(ctx.needs_input_grad) - 2
    return tensors[0], tensors[1:end], tensors[end:]


def _gradient(ctx: Any, index: int, saved: Any, cotangents: Any) -> Any:
    """By the array with that index: its derivative of each value times the value's cotangent."""
    where, arrays, values = _parts(ctx, saved)
    # a gradient that is differentiated again is made of differentiable operations
    again = torch.is_grad_enabled()
    has_labels = arrays[index].ndim == arrays[0].ndim

    def terms(where: Any, values: Any, cotangents: Any, *arrays: Any) -> list[tuple[Any, Any]]:
        given = (index, xp, ctx.params, where, values, *arrays)
        found = ctx.rule.finite_derivatives(*given) if ctx.finite and not again else None
        found = ctx.rule.derivatives(*given) if found is None else found
        return [
            (derivative, cotangent[..., None] if has_labels else cotangent)
            for derivative, cotangent in zip(found, cotangents, strict=True)
            if derivative is not None and cotangent is not None
        ]

    if (
        again
        or not has_labels
        or arrays[0].numel() <= _BLOCK_SIZE
        or not _fit_for_blocks(where, *arrays, *values, *cotangents)
    ):
        products = [d * c for d, c in terms(where, values, cotangents, *arrays)]
        return reduce(add, products) if products else None
    out = _empty_like(arrays[index], arrays[0].dtype)
    flat = out.view(-1, out.shape[-1]) if out.ndim != 2 else out
    for rows, (where_, arrays_, values_, cotangents_) in _blocks(where, arrays, values, cotangents):
        products = terms(where_, values_, cotangents_, *arrays_)
        if not products:
            return None
        block = torch.mul(*products[0], out=flat[rows])
        for product in products[1:]:
            block.addcmul_(*product)
    return out


def _empty_like(x: Any, dtype: Any) -> Any:
    """In memory as `x` is, if it can be viewed as rows: two axes may be in any order."""
    return torch.empty_like(x, dtype=dtype) if x.ndim == 2 else torch.empty(x.shape, dtype=dtype)


def _values(
    rule: RowRule, params: Any, where: Any, arrays: Any, fit: bool, derivative: Any = None
) -> tuple[Any, bool]:
    """The values, and whether all of them came from the cheaper formula.

    `fit`: whether the arrays are fit for blocks. `derivative`: what the rule may fill with that by
    the logits.
    """
    first = arrays[0]
    # a row is not divided
    is_block = not fit or first.numel() <= max(_BLOCK_SIZE, first.shape[-1])
    if fit and (is_block or rule.in_one_kernel):
        values = rule.finite_values(xp, params, where, *arrays, derivative=derivative)
        if values is not None:
            return tuple(values), True
    if is_block:
        return tuple(rule.values(xp, params, where, *arrays)), False
    found, finite = zip(
        *(
            _values(rule, params, where_, arrays_, True, derivative_)
            for _, (where_, arrays_, derivative_) in _blocks(where, arrays, derivative)
        ),
        strict=True,
    )
    batch = first.shape[:-1]
    return tuple(torch.cat(x).reshape(batch) for x in zip(*found, strict=True)), all(finite)


def _fit_for_blocks(*tensors: Any) -> bool:
    """Plain tensors of a CPU: neither traced, nor fake, nor under `vmap`."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    for x in tensors:  # `all` would cost a small call a microsecond
        if x is not None and not (type(x) in _PLAIN and x.is_cpu):
            return False
    return True


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
