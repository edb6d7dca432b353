"""Arguments of the functions on a linear layer, checked before anything is traced."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Any, NamedTuple

from mlc_losses._array.arguments import (
    check_array,
    check_floating,
    check_mask,
    check_numbers,
    positive_integer,
)
from mlc_losses._array.backend import is_jax_array, is_jax_namespace
from mlc_losses._array.class_arguments import check_class_ids
from mlc_losses._array.labels import label_any
from mlc_losses._array.namespace import (
    accept_numpy,
    can_look,
    library_of,
    namespace,
    shape_of,
)
from mlc_losses._array.value_checks import check_at_least_0
from mlc_losses.targets import check_ids


class Head(NamedTuple):
    """A linear layer with what it is trained on."""

    features: Any  # [N, D]
    kernel: Any  # [D, L]
    bias: Any  # [L], or None
    targets: Any  # [N, L], [N, P] or [N]
    from_ids: bool  # whether targets are ids [N, P], to become multi-hot
    weights: Any  # [N], or None
    where: Any  # [N, L] or [N, 1], or None
    block_size: int | None


def check_loss(loss: Any) -> None:
    if not callable(loss):
        raise TypeError(f"loss must be a function such as zlpr, got {type(loss).__name__}")


def checked_head(
    caller: str,
    features: Any,
    kernel: Any,
    bias: Any,
    targets: Any,
    weights: Any,
    where: Any,
    block_size: Any,
) -> Head:
    xp = check_layer(caller, features, kernel, bias)
    namespace(features=features, targets=targets, weights=weights, where=where)
    check_array("targets", targets)
    targets, weights, where = (accept_numpy(xp, x) for x in (targets, weights, where))
    rows, num_labels = shape_of(features)[0], shape_of(kernel)[1]
    if block_size is not None:
        block_size = positive_integer("block_size", block_size)
    if weights is not None:
        check_numbers(xp, "weights", weights)
        check_at_least_0("weights", weights)
        if shape_of(weights) != (rows,):
            raise ValueError(
                f"weights must have one entry per example, {(rows,)}, got {shape_of(weights)}"
            )
    if where is not None:
        check_mask(xp, "where", where, "label unknown")
        if shape_of(where) not in ((rows, num_labels), (rows, 1)):
            raise ValueError(
                f"where must have one entry per example and label, {(rows, num_labels)}, or per "
                f"example, {(rows, 1)}, got {shape_of(where)}"
            )
    from_ids = _targets_are_ids(xp, targets, where, rows, num_labels)
    return Head(features, kernel, bias, targets, from_ids, weights, where, block_size)


def check_layer(caller: str, features: Any, kernel: Any, bias: Any) -> Any:
    """The namespace of a linear layer, whose arrays fit together."""
    xp = namespace(features=features, kernel=kernel, bias=bias)
    if is_jax_namespace(xp):
        check_jax(caller, kernel=kernel, bias=bias)
    for name, x, axes in (("features", features, "[N, D]"), ("kernel", kernel, "[D, L]")):
        check_floating(xp, name, x)
        if x.ndim != 2:
            raise ValueError(f"{name} must have shape {axes}, got {shape_of(x)}")
    if features.dtype != kernel.dtype:
        raise TypeError(
            f"features and kernel must have the same dtype, got {features.dtype} and "
            f"{kernel.dtype}; cast one of them"
        )
    if features.shape[1] != kernel.shape[0]:
        raise ValueError(
            "features [N, D] and kernel [D, L] must agree in D, "
            f"got {shape_of(features)} and {shape_of(kernel)}"
        )
    if bias is not None:
        check_floating(xp, "bias", bias)
        if shape_of(bias) != shape_of(kernel)[1:]:
            raise ValueError(
                f"bias must have one entry per label, {shape_of(kernel)[1:]}, got {shape_of(bias)}"
            )
    return xp


def check_jax(caller: str, **arrays: Any) -> None:
    """Raises for an array that is not JAX's; None is allowed."""
    for name, x in arrays.items():
        if x is not None and not is_jax_array(x):
            raise TypeError(
                f"{caller} works on JAX arrays, got {name} of {library_of(x)}; "
                "convert it by jax.numpy.asarray"
            )


def check_jax_installed(caller: str) -> None:
    if find_spec("jax") is None:
        raise ImportError(f"{caller} needs JAX: pip install 'mlc_losses[jax]'")


def name_of(loss: Any) -> str:
    """What to call a loss in a message."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return getattr(loss, "__name__", repr(loss))


def _targets_are_ids(xp: Any, targets: Any, where: Any, rows: int, num_labels: int) -> bool:
    shape = shape_of(targets)
    integer = xp.isdtype(targets.dtype, "integral")
    if shape == (rows,) and integer:
        check_class_ids(_of_known_rows(xp, targets, where), num_labels)
        return False
    if shape == (rows, num_labels):
        return False
    if len(shape) == 2 and shape[0] == rows and integer:
        check_ids(_of_known_rows(xp, targets, where), num_labels)
        return True
    raise ValueError(
        f"targets must be multi-hot {(rows, num_labels)}, integer ids ({rows}, P) or integer "
        f"class ids {(rows,)}, got shape {shape} and dtype {targets.dtype}"
    )


def _of_known_rows(xp: Any, ids: Any, where: Any) -> Any:
    """The ids, 0 in a row that `where` leaves out as a whole: no loss looks at what stands there.

    Where ids are not looked at, as they are.
    """
    if where is None or not can_look(ids):
        return ids
    return xp.where(xp.reshape(label_any(where), (-1,) + (1,) * (ids.ndim - 1)), ids, 0)
