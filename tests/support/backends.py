"""The array library under test, chosen by the environment variable `ARRAY_BACKEND`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from inspect import isfunction
from types import SimpleNamespace
from typing import Any

import numpy as np

MODULES = {
    "numpy": "array_api_compat.numpy",
    "jax": "jax.numpy",
    "torch": "array_api_compat.torch",
    "array-api-strict": "array_api_strict",
}
NAME = os.environ.get("ARRAY_BACKEND", "numpy")
if NAME not in MODULES:
    raise ValueError(f"ARRAY_BACKEND must be one of {', '.join(MODULES)}, got {NAME!r}")

xp = importlib.import_module(MODULES[NAME])
HAS_GRADIENTS = NAME in ("jax", "torch")


def asarray(x: Any, dtype: str | None = None) -> Any:
    """`x` as an array of the library under test; NumPy ones are read-only, to catch writes."""
    x = np.array(x)
    if NAME == "numpy":
        x = x if dtype is None else x.astype(dtype)
        x.flags.writeable = False
        return x
    x = xp.asarray(x)
    return x if dtype is None else xp.astype(x, getattr(xp, dtype))


def to_numpy(x: Any) -> np.ndarray:
    """An array of any library as NumPy, half precision as float32."""
    if NAME == "torch":
        x = x.detach().cpu()
        return (x.float() if x.is_floating_point() and x.element_size() < 4 else x).numpy()
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.name == "bfloat16" else x


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:3])


# Nearly all the time of the tests on JAX is the compiler's. With few optimizations and its older
# code generator it takes a quarter of that, and so it is told unless a test asks for more.
# What finite numbers in full precision cannot tell apart: NaN, infinities, ids out of range, half
# precision, memory and the text of a program are checked as a user's call is compiled.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
OPTIMIZED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
if NAME == "jax" and _numbers(version("jaxlib")) < (0, 11, 1):  # later ones have no other
    QUICK["xla_cpu_use_fusion_emitters"] = False
    OPTIMIZED["xla_cpu_use_fusion_emitters"] = True


def compile_quickly() -> None:
    """From now on, and in the processes that the tests start."""
    os.environ["XLA_FLAGS"] = " ".join([*_quick_flags(), users_flags()])


def _quick_flags() -> list[str]:
    return [f"--{name}={str(value).lower()}" for name, value in QUICK.items()]


def users_flags() -> str:
    """What XLA is told without the tests."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(flag for flag in flags if flag not in _quick_flags())


_as_users = False
_op_by_op = False


@contextmanager
def op_by_op() -> Iterator[None]:
    """Inside, what `in_one_program` and `in_programs` give calls the function as it is."""
    global _op_by_op
    _op_by_op = True
    try:
        yield
    finally:
        _op_by_op = False


@contextmanager
def users_compiler() -> Iterator[None]:
    """Inside, `compiled` and `gradient` compile as a user's call is, whatever the numbers."""
    global _as_users
    _as_users = True
    try:
        yield
    finally:
        _as_users = False


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under jit where there is one: op by op, JAX would compile far more.

    Quickly, unless a number among the arguments, or the test, wants the compiler of a user.
    """
    if NAME != "jax":
        return function

    def run(*arguments: Any, **named: Any) -> Any:
        quick = not _as_users and _plain((arguments, named))
        return jitted(function, quick)(*arguments, **named)

    return run


def in_one_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, for a function with arguments that are not arrays.

    What it reads beside its arguments is read once: not for tests that change that.
    """
    return function if NAME != "jax" else partial(_run, compiled, function)


def in_programs(module: Any) -> Any:
    """The module with every function as by `in_one_program`: JAX compiles a call, not each of its
    operations, and quickly whatever the numbers, as it would these operations.

    Values are not looked at then: errors about them are for tests with the fixture `op_by_op`.
    """
    if NAME != "jax":
        return module
    given = {name: getattr(module, name) for name in module.__all__}
    wrapped = {n: partial(_run, _compiled_quickly, x) for n, x in given.items() if isfunction(x)}
    return SimpleNamespace(**{**given, **wrapped})


def _compiled_quickly(function: Callable[..., Any]) -> Callable[..., Any]:
    return jitted(function, quick=not _as_users)


def _run(
    compiler: Callable[..., Any], function: Callable[..., Any], *arguments: Any, **named: Any
) -> Any:
    import jax

    given = {**{str(place): x for place, x in enumerate(arguments)}, **named}
    arrays = {key: x for key, x in given.items() if isinstance(x, jax.Array)}
    rest = {key: x for key, x in given.items() if key not in arrays}
    traced = any(isinstance(x, jax.core.Tracer) for x in arrays.values())
    if _op_by_op or traced or not _is_hashable(rest):
        return function(*arguments, **named)
    # 1, 1.0 and True are equal, and not the same argument
    types = tuple(type(x) for x in rest.values())
    return compiler(_of_arrays(function, tuple(rest.items()), types, len(arguments)))(arrays)


def _is_hashable(rest: dict[str, Any]) -> bool:
    try:
        hash(tuple(rest.values()))
    except TypeError:  # arrays inside, or none of JAX
        return False
    return True


@cache
def _of_arrays(function: Callable[..., Any], rest: Any, _: Any, count: int) -> Callable[..., Any]:
    def run(arrays: dict[Any, Any]) -> Any:
        given = {**dict(rest), **arrays}
        arguments = [given.pop(str(place)) for place in range(count)]
        return function(*arguments, **given)

    return run


def gradient(function: Callable[..., Any], x: Any, *rest: Any) -> np.ndarray:
    """Gradient by x of the scalar `function(x, *rest)`, by the library's own differentiation."""
    if NAME == "jax":
        return to_numpy(compiled(_gradient(function))(x, *rest))
    x = x.detach().clone().requires_grad_()
    function(x, *rest).backward()
    return to_numpy(x.grad)


@cache
def jitted(function: Callable[..., Any], quick: bool) -> Callable[..., Any]:
    """The function under `jax.jit`, compiled quickly or as a user's call would be."""
    import jax

    return jax.jit(function, compiler_options=None if quick else OPTIMIZED)


@cache
def _gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.grad(function)


def _plain(arguments: Any) -> bool:
    """Whether all numbers are finite and none is in half precision: where quick is right."""
    import jax

    for x in jax.tree.leaves(arguments):
        if jax.numpy.issubdtype(jax.numpy.result_type(x), jax.numpy.floating):
            x = np.asarray(x)
            if x.dtype.itemsize < 4 or not np.isfinite(x).all():
                return False
    return True
