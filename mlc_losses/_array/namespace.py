"""Which backend, which dtype, and are the arguments right: asked here and nowhere else."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any, Protocol, TypeVar

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from mlc_losses._array.backend import (
    NAMESPACES,
    PLAIN,
    is_jax_array,
    is_jax_namespace,
    is_numpy_array,
    is_torch_array,
)
from mlc_losses._array.layout import label_shards


class Array(Protocol):
    """An array of any library that follows the array API standard: NumPy, JAX, PyTorch, ..."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def ndim(self) -> int: ...
    def __neg__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...


ArrayT = TypeVar("ArrayT", bound=Array)


def namespace(**arrays: Any) -> Any:
    """The array namespace that all `arrays` share; None and numbers belong to any.

    NumPy arrays belong to JAX's too if the first array is JAX's: `taken` converts them.
    """
    found = None
    for x in arrays.values():
        if type(x) in PLAIN:
            continue
        xp = NAMESPACES.get(type(x))
        if xp is None or not (found is None or xp is found):
            return _asked_namespace(arrays)
        found = xp
    return _asked_namespace(arrays) if found is None else found


def _asked_namespace(arrays: dict[str, Any]) -> Any:
    given = {name: x for name, x in arrays.items() if not (x is None or is_number(x))}
    if not given:  # a NumPy scalar is an array where nothing else is
        given = {name: x for name, x in arrays.items() if is_array_api_obj(x)}
    if not given:
        name, x = next(iter(arrays.items()))
        raise TypeError(_not_an_array(name, x))
    # array-api-compat's own question makes PyTorch's compiler warn
    if all(
        type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "untyped_storage")
        for x in given.values()
    ):
        from array_api_compat import torch as xp

        NAMESPACES.update((type(x), xp) for x in given.values())
        return xp
    for name, x in given.items():
        if not is_array_api_obj(x):
            raise TypeError(_not_an_array(name, x))
    first = next(iter(given))
    if is_jax_array(given[first]):
        given = {name: x for name, x in given.items() if not is_numpy_array(x)}
    try:
        xp = array_namespace(*given.values())
    except TypeError:
        kinds = ", ".join(f"{name} of {_library(x)}" for name, x in given.items())
        raise TypeError(
            f"all arrays of a call must come from one library, got {kinds}; {_conversion(given)}"
        ) from None
    NAMESPACES.update((type(x), xp) for x in given.values())
    return xp


def _not_an_array(name: str, x: Any) -> str:
    value = f" {x}" if is_number(x) else ""
    return f"{name} must be an array (NumPy, JAX, PyTorch, ...), got {type(x).__name__}{value}"


def _library(x: Any) -> str:
    """The name that users know it by: concrete and traced arrays of JAX are of many modules."""
    return "jax" if is_jax_array(x) else type(x).__module__.partition(".")[0]


def _conversion(given: dict[str, Any]) -> str:
    """What to write instead."""
    names = list(given)
    jax_names = [name for name in names if is_jax_array(given[name])]
    if jax_names and is_numpy_array(given[names[0]]):
        return f"write jax.numpy.asarray({names[0]})"
    library = _library(given[names[0]])
    other = next(name for name in names if _library(given[name]) != library)
    module = {"jax": "jax.numpy"}.get(library, library)
    return f"write {module}.asarray({other})"


def taken(xp: Any, x: Any) -> Any:
    """`x`; a NumPy array beside JAX's as JAX's own, as `jax.jit` takes it."""
    return xp.asarray(x) if is_jax_namespace(xp) and isinstance(x, np.ndarray) else x


def is_number(x: Any) -> bool:
    """A number of Python's or NumPy's, as opposed to an array of one."""
    return isinstance(x, (Real, np.bool_))


def is_concrete(x: Any) -> bool:
    """Whether `x` has values to look at when asked to: it is not traced, fake, `meta` or wrapped.

    The host may have to wait for them. What nobody has asked for is looked at only where
    `can_look` says so.
    """
    if is_jax_array(x):
        import jax

        return not isinstance(x, jax.core.Tracer)
    if is_torch_array(x):
        import torch

        return not (
            x.device.type == "meta"
            or torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
            # something else answers for the tensor: fake or distributed ones, a tracing mode
            or torch._C._len_torch_dispatch_stack() > 0
            or type(x).__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl
        )
    return True


def device_of(x: Any) -> Any:
    """The `device=` of a new array that goes with `x`.

    On JAX it is None, which leaves the array free to follow what it meets, over a mesh too, unless
    `x` itself is committed to a device of its own.
    """
    if is_torch_array(x):
        return x.device
    if not is_jax_array(x):
        return device(x)
    return x.device if is_concrete(x) and x.committed and len(x.devices()) == 1 else None


def can_look(x: Any) -> bool:
    """Whether looking at the values is free: `x` is concrete and in the memory of the host.

    On an accelerator the host would wait for the device at every call.
    """
    if not is_concrete(x):
        return False
    if is_jax_array(x):
        return x.is_fully_addressable and all(d.platform == "cpu" for d in x.devices())
    return x.is_cpu if is_torch_array(x) else True


def shape_of(x: Array) -> tuple[int, ...]:
    return tuple(x.shape)


def is_half(xp: Any, dtype: Any) -> bool:
    """Whether `dtype` is a float too narrow to compute in (float16, bfloat16, float8)."""
    return bool(xp.finfo(dtype).bits < 32)


def to_compute_dtype(xp: Any, x: Any) -> Any:
    """`x` itself, or in float32 if its own dtype is a narrower float."""
    return xp.astype(x, xp.float32) if is_half(xp, x.dtype) else x


def as_dtype(xp: Any, x: Any, dtype: Any) -> Any:
    """`x` in that dtype, itself if it is of it."""
    return x if x.dtype == dtype else xp.astype(x, dtype)


def default_float(xp: Any) -> Any:
    """The namespace's default real dtype (float32 in PyTorch and in JAX without x64)."""
    return xp.__array_namespace_info__().default_dtypes()["real floating"]


def default_integer(xp: Any) -> Any:
    """The dtype the namespace counts and indexes in."""
    return xp.__array_namespace_info__().default_dtypes()["indexing"]


def as_compute_float(xp: Any, x: Any) -> Any:
    """`x` as numbers to compute with: floats at least float32, anything else the default float."""
    if xp.isdtype(x.dtype, "real floating"):
        return to_compute_dtype(xp, x)
    return xp.astype(x, default_float(xp))


def is_floating(x: Any) -> bool:
    return bool(namespace(x=x).isdtype(x.dtype, "real floating"))


def check_array(name: str, x: Any) -> None:
    """Raises for what is no array, or one that does not hold all of its entries."""
    if is_number(x) and not is_array_api_obj(x):
        raise TypeError(_not_an_array(name, x))
    if is_torch_array(x):
        import torch

        if x.layout is not torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor, got layout {x.layout}; write {name}.to_dense()"
            )


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
                f"{caller} works on JAX arrays, got {name} of {_library(x)}; "
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
    xp = namespace(**{logits_name: logits, targets_name: targets, "where": where})
    check_floating(xp, logits_name, logits)
    check_multi_hot(xp, targets_name, targets)
    targets = taken(xp, targets)
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
    where, shape = taken(xp, where), shape_of(logits)
    if shape_of(where) != shape:
        of_examples = list(shape)
        of_examples[_checked_axis(axis, logits.ndim)] = 1
        if shape_of(where) != tuple(of_examples):
            raise ValueError(
                f"{logits_name} and where must have the same shape, got {shape} and "
                f"{shape_of(where)}; a where of whole examples has shape {tuple(of_examples)}"
            )
        where = xp.broadcast_to(where, shape)
    return labels_last(xp, where, axis)


def labels_last(xp: Any, x: Any, axis: int) -> Any:
    """`x` with that axis last."""
    axis = _checked_axis(axis, x.ndim)
    return x if axis in (-1, x.ndim - 1) else xp.moveaxis(x, axis, -1)


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
    low: float = -math.inf,
    high: float = math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> Any:
    """A hyper-parameter as a Python float inside its range; a traced one passes unchecked.

    NumPy's numbers become Python floats, since they would promote float32 arrays to float64.
    """
    if is_jax_array(value) or is_torch_array(value):
        return value
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


def positive_integer(name: str, value: Any, high: int | None = None) -> int:
    """A static count such as `k`, at least 1 and at most `high`."""
    try:
        count = operator.index(value)
    except TypeError:
        if is_jax_array(value) and not is_concrete(value):
            raise TypeError(
                f"{name} must be a Python integer, got a traced array; {name} decides the shape of "
                "the program: make it static (jax.jit's static_argnums or static_argnames) or bind "
                "it with functools.partial"
            ) from None
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if high is not None and high < 1:
        raise ValueError(f"{name} is {count}, but there are too few labels for any {name}")
    if count < 1 or (high is not None and count > high):
        limits = "at least 1" if high is None else f"in 1..{high}"
        raise ValueError(f"{name} must be {limits}, got {count}")
    return count


def per_label(name: str, weights: Any, like: Any) -> Any:
    """Weights `[L]` in the dtype of `like` `[..., L]`, shaped to multiply it label by label."""
    if is_number(weights):
        raise TypeError(f"{name} must be an array of shape [L], got the number {weights}")
    xp = namespace(logits=like, **{name: weights})
    check_array(name, weights)
    weights = taken(xp, weights)
    shards = label_shards(xp)
    if shards is not None:
        weights = shards.local_slice(weights, shape_of(like)[-1])
    if shape_of(weights) != shape_of(like)[-1:]:
        raise ValueError(
            f"{name} must have one entry per label, shape {shape_of(like)[-1:]}, "
            f"got {shape_of(weights)}"
        )
    return xp.reshape(xp.astype(weights, like.dtype), (1,) * (like.ndim - 1) + (-1,))


def per_example(name: str, value: Any, like: Any) -> Any:
    """A number or an array `[...]` as one value for each example of `like` `[..., L]`."""
    xp = namespace(logits=like, **{name: value})
    batch = shape_of(like)[:-1]
    if is_number(value):
        return xp.full(batch, checked_float(name, value), dtype=like.dtype, device=device_of(like))
    value = taken(xp, value)
    if shape_of(value) not in ((), batch):
        raise ValueError(
            f"{name} must be a number or have the batch shape {batch}, got {shape_of(value)}"
        )
    return xp.broadcast_to(xp.astype(value, like.dtype), batch)
