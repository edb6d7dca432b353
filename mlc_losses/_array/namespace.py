"""Which library, device and dtype an array has, and which one to compute in."""

from __future__ import annotations

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
    is_torch_namespace,
    looks_like_tensor,
)


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
    if found is None:
        return _asked_namespace(arrays)
    if len(arrays) > 1 and is_torch_namespace(found):
        _check_one_device(arrays)
    return found


def _check_one_device(tensors: dict[str, Any]) -> None:
    """PyTorch's own error names no argument; a number on the host goes with any device."""
    devices = {name: x.device for name, x in tensors.items() if type(x) not in PLAIN and x.ndim}
    if len(set(devices.values())) > 1:
        first, *others = devices
        other = next(name for name in others if devices[name] != devices[first])
        raise ValueError(
            f"all tensors of a call must be on one device, got {first} on {devices[first]} and "
            f"{other} on {devices[other]}; write {other}.to({first}.device)"
        )


def _asked_namespace(arrays: dict[str, Any]) -> Any:
    given = {name: x for name, x in arrays.items() if not (x is None or is_number(x))}
    if not given:  # a NumPy scalar is an array where nothing else is
        given = {name: x for name, x in arrays.items() if is_array_api_obj(x)}
    if not given:
        name, x = next(iter(arrays.items()))
        raise TypeError(not_an_array(name, x))
    if all(looks_like_tensor(x) for x in given.values()):
        import torch

        from mlc_losses._array import torch_namespace as xp

        # what the compiler reads must not change while it reads: it would compile once more
        if not torch.compiler.is_compiling():
            NAMESPACES.update((type(x), xp) for x in given.values())
        _check_one_device(given)
        return xp
    for name, x in given.items():
        if not is_array_api_obj(x):
            raise TypeError(not_an_array(name, x))
    first = next(iter(given))
    if is_jax_array(given[first]):
        given = {name: x for name, x in given.items() if not is_numpy_array(x)}
    try:
        xp = array_namespace(*given.values())
    except TypeError:
        kinds = ", ".join(f"{name} of {library_of(x)}" for name, x in given.items())
        raise TypeError(
            f"all arrays of a call must come from one library, got {kinds}; {_conversion(given)}"
        ) from None
    NAMESPACES.update((type(x), xp) for x in given.values())
    return xp


def not_an_array(name: str, x: Any) -> str:
    value = f" {x}" if is_number(x) else ""
    return f"{name} must be an array (NumPy, JAX, PyTorch, ...), got {type(x).__name__}{value}"


def library_of(x: Any) -> str:
    """The name that users know it by: concrete and traced arrays of JAX are of many modules."""
    return "jax" if is_jax_array(x) else type(x).__module__.partition(".")[0]


def _conversion(given: dict[str, Any]) -> str:
    """What to write instead."""
    names = list(given)
    jax_names = [name for name in names if is_jax_array(given[name])]
    if jax_names and is_numpy_array(given[names[0]]):
        return f"write jax.numpy.asarray({names[0]})"
    library = library_of(given[names[0]])
    other = next(name for name in names if library_of(given[name]) != library)
    module = {"jax": "jax.numpy"}.get(library, library)
    return f"write {module}.asarray({other})"


def accept_numpy(xp: Any, x: Any) -> Any:
    """`x`; a NumPy array beside JAX's as JAX's own, as `jax.jit` takes it."""
    return xp.asarray(x) if is_jax_namespace(xp) and isinstance(x, np.ndarray) else x


def is_number(x: Any) -> bool:
    """A number of Python's or NumPy's, as opposed to an array of one."""
    return isinstance(x, (float, int, Real, np.bool_))  # of Python's own it is known sooner


def is_0(x: Any) -> bool:
    """Whether it is the number 0, and not an array that may be: what it multiplies is left out."""
    return is_number(x) and x == 0.0


def is_concrete(x: Any) -> bool:
    """Whether `x` has values to look at when asked to: it is not traced, fake, `meta` or wrapped.

    The host may have to wait for them. Unless a user asks for it, they are looked at only where
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


def of_ready_tensors(logits: Any, other: Any, axis: Any, *, are_ids: bool = False) -> Any:
    """The namespace of tensors that pass every check and stay as they are, as in most calls.

    None for others. `other`: targets, or class ids, one for each row. On a small batch the checks,
    one by one, would take as long as the loss.
    """
    xp = NAMESPACES.get(type(logits))
    is_ready = (
        xp is not None
        and is_torch_namespace(xp)
        and type(other) is type(logits)
        and logits.dtype is xp.float32
        and other.dtype is (xp.int64 if are_ids else xp.float32)
        and logits.layout is other.layout is xp.strided
        and other.shape == (logits.shape[:-1] if are_ids else logits.shape)
        and logits.device == other.device
        and type(axis) is int
        and logits.ndim
        and (axis == -1 or axis == logits.ndim - 1)
    )
    return xp if is_ready else None


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


def computed_like(name: str, value: Any, like: Any) -> Any:
    """An array of one number in the dtype that `like` is computed in: it does not widen results."""
    if not (is_jax_array(like) or is_torch_array(like)):
        return value
    xp = namespace(logits=like, **{name: value})
    if not xp.isdtype(like.dtype, "real floating"):
        return value  # which is an error of its own
    return as_dtype(xp, value, xp.float32 if is_half(xp, like.dtype) else like.dtype)


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
