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
    namespace,
    not_an_array,
    of_ready_tensors,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import broadcast_like


def check_array(name: str, x: Any) -> None:
    """Raises for what is not an array, or is one that does not hold all of its entries."""
    if is_torch_array(x):
        import torch

        if x.layout is not torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor, got layout {x.layout}; write {name}.to_dense()"
            )
    elif not is_array_api_obj(x):
        raise TypeError(not_an_array(name, x))
    elif is_jax_array(x) and not isinstance(x.dtype, np.dtype):
        raise TypeError(f"{name} must be an array of numbers, got a key of random numbers")


def _check_dtype(xp: Any, name: str, x: Any, kinds: Any, wanted: str, advice: str = "") -> None:
    check_array(name, x)
    if not xp.isdtype(x.dtype, kinds):
        raise TypeError(f"{name} must be {wanted}, got dtype {x.dtype}{advice}")


def check_floating(xp: Any, name: str, x: Any) -> None:
    _check_dtype(xp, name, x, "real floating", "floating-point")


def check_integer(xp: Any, name: str, x: Any) -> None:
    advice = "; convert them to an integer dtype such as int32 first"
    _check_dtype(xp, name, x, "integral", "integers", advice)


def check_numbers(xp: Any, name: str, x: Any) -> None:
    """Targets, weights and counts: not complex numbers, and no objects of NumPy."""
    _check_dtype(xp, name, x, ("bool", "integral", "real floating"), "bool, integer or float")


def check_mask(xp: Any, name: str, x: Any, false: str, advice: str = "") -> None:
    _check_dtype(xp, name, x, "bool", f"bool (False = {false})", advice)


def check_same_shape(name: str, x: Array, other_name: str, other: Array) -> None:
    if shape_of(x) != shape_of(other):
        raise ValueError(
            f"{name} and {other_name} must have the same shape, "
            f"got {shape_of(x)} and {shape_of(other)}"
        )


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
    check_numbers(xp, targets_name, targets)
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
    check_mask(xp, "where", where, "label unknown")
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
    axis = _static_integer("axis", axis)
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
    finite: bool = True,
) -> Any:
    """A hyper-parameter as a Python float inside its range; a traced one passes unchecked.

    NumPy's numbers become Python floats, since they would promote float32 arrays to float64. So
    would an array of one number: it takes the dtype that the logits `like` are computed in.
    """
    if not is_number(value):
        value = _one_number(name, value)
        if is_jax_array(value) or is_torch_array(value):
            return value if like is None else computed_like(name, value, like)
    value = float(value)
    inside = low <= value <= high and (value < below or below == math.inf)
    inside = inside and (value > above or above == -math.inf)
    endless = finite and value in (-math.inf, math.inf)
    if endless or not inside:
        if below < math.inf:
            limits = f"in [{low:g}, {below:g})"
        elif high < math.inf:
            limits = f"in [{low:g}, {high:g}]"
        elif max(low, above) > -math.inf:
            limits = f"above {above:g}" if above > low else f"at least {low:g}"
            limits = f"finite and {limits}" if endless else limits
        else:
            limits = "a finite number" if finite else "a number"
        raise ValueError(f"{name} must be {limits}, got {value:g}")
    return value


def _one_number(name: str, value: Any) -> Any:
    """An array of one number, with no axes."""
    if not (is_torch_array(value) or is_array_api_obj(value)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    xp = namespace(**{name: value})
    _check_dtype(xp, name, value, ("integral", "real floating"), "a number")
    if math.prod(shape_of(value)) != 1:
        raise ValueError(f"{name} must be one number, got an array of shape {shape_of(value)}")
    return xp.reshape(value, ()) if value.ndim else value


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
    count = _static_integer(name, value)
    if high is not None and high < low:
        raise ValueError(f"{name} is {count}, but there are too few labels for any {name}")
    if count < low or (high is not None and count > high):
        limits = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be {limits}, got {count}")
    return count


def _static_integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        check_static(name, value, "integer")
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def per_label(name: str, weights: Any, like: Any) -> Any:
    """Weights `[L]` in the dtype of `like` `[..., L]`, shaped to multiply it label by label."""
    if is_number(weights):
        raise TypeError(f"{name} must be an array of shape [L], got the number {weights}")
    xp = namespace(logits=like, **{name: weights})
    check_numbers(xp, name, weights)
    weights = accept_numpy(xp, weights)
    shards = label_shards(xp)
    if shards is not None:
        weights = shards.local_slice(weights, shape_of(like)[-1])
    if shape_of(weights) != shape_of(like)[-1:]:
        raise ValueError(
            f"{name} must have one entry per label, shape {shape_of(like)[-1:]}, "
            f"got {shape_of(weights)}"
        )
    return xp.reshape(as_dtype(xp, weights, like.dtype), (1,) * (like.ndim - 1) + (-1,))


def per_example(name: str, value: Any, like: Any) -> Any:
    """A number or an array `[...]` as one value for each example of `like` `[..., L]`."""
    if is_number(value) or getattr(value, "shape", None) in ((), (1,)):
        value = checked_float(name, value, like=like)
    xp = namespace(logits=like, **{name: value})
    batch = shape_of(like)[:-1]
    if is_number(value):
        return xp.full(batch, value, dtype=like.dtype, device=device_of(like))
    check_numbers(xp, name, value)
    value = accept_numpy(xp, value)
    if shape_of(value) not in ((), batch):
        raise ValueError(
            f"{name} must be a number or have the batch shape {batch}, got {shape_of(value)}"
        )
    return xp.broadcast_to(as_dtype(xp, value, like.dtype), batch)


def check_matrix(name: str, x: Array, axes: str = "[n, L]") -> None:
    """Examples by labels, two axes: a metric over more or fewer would mean something else."""
    check_array(name, x)
    if x.ndim != 2:
        raise ValueError(f"{name} must have shape {axes}, got {shape_of(x)}")


def checked_option(name: str, value: Any, options: Mapping[Any, Any]) -> Any:
    """The choice that the option `value` names; the error for a wrong one lists the valid ones."""
    try:
        return options[value]
    except (KeyError, TypeError):  # not hashable is not among them either
        valid = ", ".join(repr(known) for known in options)
        raise ValueError(f"{name} must be one of {valid}, got {value!r}") from None


def checked_flag(name: str, value: Any) -> bool:
    return bool(checked_option(name, value, {True: True, False: False}))
