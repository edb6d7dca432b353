"""Every check of an argument: what is wrong is named, with its value and what would be right."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from mlc_losses._array.backend import is_jax_array, is_torch_array
from mlc_losses._array.layout import batch_shards, label_shards
from mlc_losses._array.namespace import (
    Array,
    accept_numpy,
    as_dtype,
    computed_like,
    device_of,
    is_concrete,
    is_number,
    library_of,
    namespace,
    not_an_array,
    of_ready_tensors,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import broadcast_like


def check_array(name: str, x: Any) -> None:
    """Raises for what is no array, or one that does not hold all of its entries."""
    if is_torch_array(x):
        import torch

        if x.layout is not torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor, got layout {x.layout}; write {name}.to_dense()"
            )
    elif is_number(x) and not is_array_api_obj(x):
        raise TypeError(not_an_array(name, x))


def check_floating(xp: Any, name: str, x: Any) -> None:
    check_array(name, x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(f"{name} must be floating-point, got dtype {x.dtype}")


def check_integer(xp: Any, name: str, x: Any) -> None:
    check_array(name, x)
    if not xp.isdtype(x.dtype, "integral"):
        raise TypeError(
            f"{name} must be integers, got dtype {x.dtype}; convert them to an integer dtype "
            "such as int32 first"
        )


def check_jax(caller: str, **arrays: Any) -> None:
    """Raises for an array that is not JAX's; None is no array."""
    for name, x in arrays.items():
        if x is not None and not is_jax_array(x):
            raise TypeError(
                f"{caller} works on JAX arrays, got {name} of {library_of(x)}; "
                "convert it by jax.numpy.asarray"
            )


def check_same_shape(name: str, x: Array, other_name: str, other: Array) -> None:
    if shape_of(x) != shape_of(other):
        raise ValueError(
            f"{name} and {other_name} must have the same shape, "
            f"got {shape_of(x)} and {shape_of(other)}"
        )


def check_multi_hot(xp: Any, name: str, targets: Any) -> None:
    check_array(name, targets)
    if not xp.isdtype(targets.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{name} must be bool, integer or float, got dtype {targets.dtype}")


def checked_labels(
    logits: Any,
    targets: Any,
    where: Any = None,
    axis: int = -1,
    *,
    logits_name: str = "logits",
    targets_name: str = "targets",
) -> tuple[Any, Any, Any, Any]:
    """`(xp, logits, targets, where)` of a loss, checked, with the label axis last.

    Logits come back in the dtype to compute in, floating-point targets too.
    """
    if where is None and (xp := of_ready_tensors(logits, targets, axis)) is not None:
        return xp, logits, targets, None
    xp = namespace(**{logits_name: logits, targets_name: targets, "where": where})
    check_floating(xp, logits_name, logits)
    check_multi_hot(xp, targets_name, targets)
    targets = accept_numpy(xp, targets)
    check_same_shape(logits_name, logits, targets_name, targets)
    if logits.ndim == 0:
        raise ValueError(f"{logits_name} must have a label axis, got a 0-dimensional array")
    where = checked_where(xp, logits_name, logits, where, axis)
    logits = labels_last(xp, to_compute_dtype(xp, logits), axis)
    if xp.isdtype(targets.dtype, "real floating"):
        targets = as_dtype(xp, targets, logits.dtype)
    return xp, logits, labels_last(xp, targets, axis), where


def label_arguments(
    logits: Any, targets: Any, where: Any = None, axis: int = -1, **names: str
) -> tuple[Any, Any, Any, Any]:
    """The same with targets in the dtype of the logits, and both 0 where `where` is False.

    Whatever they were there, from here on they are harmless, in value and gradient.
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis, **names)
    targets = as_dtype(xp, targets, logits.dtype)
    if where is not None:
        logits = xp.where(where, logits, 0.0)
        targets = xp.where(where, targets, 0.0)
    return xp, logits, targets, where


def checked_where(xp: Any, logits_name: str, logits: Any, where: Any, axis: int) -> Any:
    """The mask in the shape of the logits, with the label axis last.

    One of whole examples, with a label axis of length 1, is spread over the labels.
    """
    if where is None:
        return None
    check_array("where", where)
    if not xp.isdtype(where.dtype, "bool"):
        raise TypeError(f"where must be bool (False = label unknown), got dtype {where.dtype}")
    where, shape = accept_numpy(xp, where), shape_of(logits)
    if shape_of(where) != shape:
        of_examples = list(shape)
        of_examples[_checked_axis(axis, logits.ndim)] = 1
        if shape_of(where) != tuple(of_examples):
            raise ValueError(
                f"{logits_name} and where must have the same shape, got {shape} and "
                f"{shape_of(where)}; a where of whole examples has shape {tuple(of_examples)}"
            )
        where = broadcast_like(xp, where, logits)
    return labels_last(xp, where, axis)


def labels_last(xp: Any, x: Any, axis: int) -> Any:
    """`x` with that axis last."""
    axis = _checked_axis(axis, x.ndim)
    if axis in (-1, x.ndim - 1):
        return x
    if label_shards(xp) is not None or (axis % x.ndim == 0 and batch_shards(xp) is not None):
        raise ValueError(
            "where labels or examples are split over devices, or taken in blocks, the labels are "
            f"the last axis and the examples the first, got axis={axis} of {x.ndim}"
        )
    return xp.moveaxis(x, axis, -1)


def _checked_axis(axis: Any, ndim: int) -> int:
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis must be in {-ndim}..{ndim - 1}, got {axis}")
    return axis


def checked_float(
    name: str,
    value: Any,
    *,
    like: Any = None,
    low: float = -math.inf,
    high: float = math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> Any:
    """A hyper-parameter as a Python float inside its range; a traced one passes unchecked.

    NumPy's numbers become Python floats, since they would promote float32 arrays to float64. So
    would an array of one number: it takes the dtype that the logits `like` are computed in.
    """
    if is_jax_array(value) or is_torch_array(value):
        return value if like is None else computed_like(name, value, like)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not is_number(value):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    value = float(value)
    inside = (value < below or below == math.inf) and (value > above or above == -math.inf)
    if not (low <= value <= high and inside):
        if above > -math.inf:
            limits = f"above {above:g}"
        elif below < math.inf:
            limits = f"in [{low:g}, {below:g})"
        elif high < math.inf:
            limits = f"in [{low:g}, {high:g}]"
        elif low > -math.inf:
            limits = f"at least {low:g}"
        else:
            limits = "a number"
        raise ValueError(f"{name} must be {limits}, got {value:g}")
    return value


def check_static(name: str, value: Any, kind: str) -> None:
    """Raises for a traced array in place of a Python number that decides what is compiled."""
    if is_jax_array(value) and not is_concrete(value):
        raise TypeError(
            f"{name} must be a Python {kind}, got a traced array; {name} decides the shape of the "
            "program: make it static (jax.jit's static_argnums or static_argnames) or bind it with "
            "functools.partial"
        )


def positive_integer(name: str, value: Any, high: int | None = None, *, low: int = 1) -> int:
    """A static count such as `k`, at least `low` and at most `high`."""
    try:
        count = operator.index(value)
    except TypeError:
        check_static(name, value, "integer")
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if high is not None and high < low:
        raise ValueError(f"{name} is {count}, but there are too few labels for any {name}")
    if count < low or (high is not None and count > high):
        limits = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be {limits}, got {count}")
    return count


def per_label(name: str, weights: Any, like: Any) -> Any:
    """Weights `[L]` in the dtype of `like` `[..., L]`, shaped to multiply it label by label."""
    if is_number(weights):
        raise TypeError(f"{name} must be an array of shape [L], got the number {weights}")
    xp = namespace(logits=like, **{name: weights})
    check_array(name, weights)
    weights = accept_numpy(xp, weights)
    shards = label_shards(xp)
    if shards is not None:
        weights = shards.local_slice(weights, shape_of(like)[-1])
    if shape_of(weights) != shape_of(like)[-1:]:
        raise ValueError(
            f"{name} must have one entry per label, shape {shape_of(like)[-1:]}, "
            f"got {shape_of(weights)}"
        )
    return xp.reshape(xp.astype(weights, like.dtype), (1,) * (like.ndim - 1) + (-1,))


def label_factors(name: str, weights: Any, like: Any, where: Any, axis: int) -> Any:
    """What multiplies `like` `[..., L]`: a number, weights `[L]`, or one for each cell.

    Those have the shape of the logits, with their label axis at `axis`, and are 0 where `where` is
    False. A Python number stays one.
    """
    if is_number(weights):
        return checked_float(name, weights, low=0.0)
    xp = namespace(logits=like, **{name: weights})
    check_array(name, weights)
    weights = accept_numpy(xp, weights)
    if weights.ndim == 0:
        return xp.reshape(xp.astype(weights, like.dtype), (1,) * like.ndim)
    if weights.ndim == 1:
        return per_label(name, weights, like)
    cells = labels_last(xp, weights, axis) if weights.ndim == like.ndim else weights
    if shape_of(cells) != shape_of(like):
        raise ValueError(
            f"{name} must be a number, have one entry per label, shape {shape_of(like)[-1:]}, or "
            f"the shape of the logits, got {shape_of(weights)}"
        )
    cells = xp.astype(cells, like.dtype)
    return cells if where is None else xp.where(where, cells, 0.0)


def per_example(name: str, value: Any, like: Any) -> Any:
    """A number or an array `[...]` as one value for each example of `like` `[..., L]`."""
    xp = namespace(logits=like, **{name: value})
    batch = shape_of(like)[:-1]
    if is_number(value):
        return xp.full(batch, checked_float(name, value), dtype=like.dtype, device=device_of(like))
    value = accept_numpy(xp, value)
    if shape_of(value) not in ((), batch):
        raise ValueError(
            f"{name} must be a number or have the batch shape {batch}, got {shape_of(value)}"
        )
    return xp.broadcast_to(xp.astype(value, like.dtype), batch)


def check_matrix(name: str, x: Array) -> None:
    """Examples by labels, two axes: a metric over more or fewer would mean something else."""
    if x.ndim != 2:
        raise ValueError(f"{name} must have shape [n, L], got {shape_of(x)}")


def checked_option(name: str, value: Any, options: Mapping[Any, Any]) -> Any:
    """What the option `value` stands for; a wrong one is refused with the list of valid ones."""
    if value not in options:
        valid = ", ".join(repr(known) for known in options)
        raise ValueError(f"{name} must be one of {valid}, got {value!r}")
    return options[value]
