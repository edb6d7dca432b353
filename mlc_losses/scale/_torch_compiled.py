"""The mean of a loss on a linear layer under PyTorch's compiler: one node of its graph.

The compiler would unroll the blocks, which takes it minutes for ten of them, and then keep or
recompute their logits as it likes. An operator of PyTorch is left as it is. But an operator takes
tensors and numbers, and no function: it gets the name of one that is known when the graph is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch

from mlc_losses.scale._arguments import Head, name_of
from mlc_losses.scale._torch_blocks import sums_by_row_blocks

# losses that graphs refer to, each with the names of the tensors that are bound to it
_losses: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {}


def is_served(loss: Any) -> bool:
    """Whether the compiler knows the loss as a value, and only autograd differentiates it."""
    if isinstance(loss, partial):
        return not loss.args and is_served(loss.func)
    is_forward_mode = torch.autograd.forward_ad._current_level >= 0
    if is_forward_mode or torch._C._are_functorch_transforms_active():
        return False
    return isinstance(loss, FunctionType) and not loss.__code__.co_freevars


def mean_by_row_blocks(loss: Any, head: Head) -> Any:
    bound = loss.keywords if isinstance(loss, partial) else {}
    tensors = {name: x for name, x in bound.items() if isinstance(x, torch.Tensor)}
    if tensors:
        rest = {name: x for name, x in bound.items() if not isinstance(x, torch.Tensor)}
        loss = partial(loss.func, **rest)
    kind = head.kernel.device.type
    given = [*(x for x in head[:3] if x is not None), *tensors.values()]
    return _Mean.apply(
        _key_of(loss, tuple(tensors)),
        torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None,
        head.from_ids,
        head.block_size,
        head.bias is not None,
        head.targets,
        head.weights,
        head.where,
        *given,
    )


@torch.compiler.assume_constant_result
def _key_of(loss: Callable[..., Any], names: tuple[str, ...]) -> str:
    key = f"{name_of(loss)} {len(_losses)}"
    _losses[key] = loss, names
    return key


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        settings, given = arguments[:_SETTINGS], list(arguments[_SETTINGS:])
        ctx.needed = list(ctx.needs_input_grad[_SETTINGS:])
        ctx.dtypes = [x.dtype for x in given]
        mean, *derivatives = torch.ops.mlc_losses.linear_loss(*settings, given, ctx.needed)
        ctx.save_for_backward(*derivatives)
        return mean

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        found = iter(ctx.saved_tensors)
        gradients = [
            (cotangent * next(found)).to(dtype) if needed else None
            for needed, dtype in zip(ctx.needed, ctx.dtypes, strict=True)
        ]
        return (*[None] * _SETTINGS, *gradients)


# arguments of the operator in front of the tensors that may have a gradient
_SETTINGS = 8


def _operator(
    key: str,
    autocast_dtype: Any,
    from_ids: bool,
    block_size: int | None,
    has_bias: bool,
    targets: Any,
    weights: Any,
    where: Any,
    given: list[Any],
    needed: list[bool],
) -> list[Any]:
    """The mean, and its derivatives by those of the given tensors that need one."""
    loss, names = _losses[key]
    given = [
        x.detach().requires_grad_(is_needed) for x, is_needed in zip(given, needed, strict=True)
    ]
    features, kernel, *rest = given
    bias = rest.pop(0) if has_bias else None
    head = Head(features, kernel, bias, targets, from_ids, weights, where, block_size)
    if names:
        loss = partial(loss, **dict(zip(names, rest, strict=True)))
    kind, is_narrow = kernel.device.type, autocast_dtype is not None
    with _autograd(), torch.autocast(kind, dtype=autocast_dtype, enabled=is_narrow):
        mean, by_layer, inside = sums_by_row_blocks(loss, head, None, any(needed))
    known = {id(x): d for x, d in zip(head[:3], by_layer, strict=True) if d is not None}
    known |= {id(x): d for x, d in inside}
    if not known.keys() <= {id(x) for x in given}:
        raise ValueError(
            f"under torch.compile, {name_of(loss)} has no gradient for a tensor that it does not "
            "take as an argument: bind it, functools.partial(loss, name=tensor)"
        )
    wanted = [x for x, is_needed in zip(given, needed, strict=True) if is_needed]
    return [mean, *(known[id(x)] if id(x) in known else torch.zeros_like(x) for x in wanted)]


def _autograd() -> Any:
    """PyTorch runs a compiled graph with autograd switched off below Python; switch it on again."""
    keys, excluded = torch._C.DispatchKey, torch._C._dispatch_tls_local_exclude_set()
    for key in (keys.AutogradFunctionality, keys.AutogradOther, keys.ADInplaceOrView):
        excluded = excluded.remove(key)
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


def _like_operator(*arguments: Any) -> list[Any]:
    """Tensors of the shapes and dtypes that it returns."""
    has_bias, given, needed = arguments[4], *arguments[_SETTINGS:]
    dtype = torch.promote_types(given[1].dtype, torch.float32)
    layer = 3 if has_bias else 2
    like = [
        torch.empty_like(x, dtype=dtype if index < layer else x.dtype)
        for index, (x, is_needed) in enumerate(zip(given, needed, strict=True))
        if is_needed
    ]
    return [given[0].new_empty((), dtype=dtype), *like]


_NAME = "mlc_losses::linear_loss"
torch.library.define(
    _NAME,
    "(str key, ScalarType? autocast_dtype, bool from_ids, int? block_size, bool has_bias, "
    "Tensor targets, Tensor? weights, Tensor? where, Tensor[] given, bool[] needed) -> Tensor[]",
)
torch.library.impl(_NAME, "CompositeExplicitAutograd", _operator)
torch.library.register_fake(_NAME, _like_operator)
