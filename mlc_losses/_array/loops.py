"""Loops over the leading axis of arrays: compiled once on JAX, plain Python elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_array, is_torch_namespace
from mlc_losses._array.layout import Layout, current_layout, use_layout
from mlc_losses._array.namespace import can_look, namespace, shape_of


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    arrays: tuple[Any, ...],
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """`jax.lax.scan`: `step(carry, slices)` gives the next carry and one array to keep, or None.

    There is at least one slice. `unroll` steps on JAX are one step of its loop.
    """
    xp = namespace(x=arrays[0])
    if is_jax_namespace(xp):
        import jax

        from mlc_losses._array.jax_axes import varying_like

        carry = varying_like(carry, arrays)
        return jax.lax.scan(step, carry, arrays, reverse=reverse, unroll=unroll)
    length = shape_of(arrays[0])[0]
    kept = []
    for i in reversed(range(length)) if reverse else range(length):
        carry, result = step(carry, tuple(x[i, ...] for x in arrays))
        kept.append(result)
    if kept[0] is None:
        return carry, None
    return carry, xp.stack(kept[::-1] if reverse else kept, axis=0)


def repeat(step: Callable[[Any], Any], state: Any, times: int) -> Any:
    """`step` applied to the state `times` times."""
    xp = namespace(x=state[0])
    if is_jax_namespace(xp):
        import jax

        return jax.lax.fori_loop(0, times, lambda _, state: step(state), state)
    for _ in range(times):
        state = step(state)
    return state


def choose(condition: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """`yes()` where the one bool `condition` holds, else `no()`; `no()` if it cannot be known."""
    xp = namespace(x=condition)
    if is_jax_namespace(xp) and not can_look(condition):
        import jax

        return jax.lax.cond(condition, yes, no)
    return yes() if can_look(condition) and bool(condition) else no()


def one_program(function: Callable[..., Any], static: int = 0) -> Callable[..., Any]:
    """`function` of arrays, a module's own; on JAX compiled once for shapes, in eager code too.

    The first `static` arguments are not arrays: it is compiled for each of them. Loops inside may
    be over functions made at each call.
    """

    @wraps(function)
    def run(*arguments: Any) -> Any:
        if is_jax_namespace(namespace(x=arguments[static])):
            return _jitted(function, static)(current_layout(), *arguments)
        return function(*arguments)

    return run


@cache
def _jitted(function: Callable[..., Any], static: int) -> Callable[..., Any]:
    import jax

    def of_layout(layout: Layout, *arguments: Any) -> Any:
        with use_layout(layout):
            return function(*arguments)

    return jax.jit(of_layout, static_argnums=tuple(range(static + 1)))


def for_platform(function: Callable[..., Any], on_cpu: Any, elsewhere: Any, *arrays: Any) -> Any:
    """`function(size, *arrays)`, with one of two sizes: for a CPU, and for all else."""
    last = arrays[-1]
    if is_jax_namespace(namespace(x=last)):
        import jax

        functions = {"cpu": partial(function, on_cpu), "default": partial(function, elsewhere)}
        return jax.lax.platform_dependent(*arrays, **functions)
    is_cpu = not is_torch_array(last) or last.is_cpu
    return function(on_cpu if is_cpu else elsewhere, *arrays)


def map_rows(
    function: Callable[..., Any], arrays: tuple[Any, ...], rows: int, rows_on_device: int = 0
) -> tuple[Any, ...]:
    """`function` of arrays with a common first axis, on no more than so many rows at a time.

    It returns a tuple of arrays with that first axis. `rows_on_device`, if not 0, is for what XLA
    fuses on accelerators, and so never writes to memory.
    """
    num_rows = shape_of(arrays[0])[0]
    if num_rows <= rows:
        return tuple(function(*arrays))
    xp = namespace(x=arrays[0])
    if not is_jax_namespace(xp):
        rows = -(-num_rows // -(-num_rows // rows))
        starts = range(0, num_rows, rows)
        parts = [function(*(x[i : min(i + rows, num_rows), ...] for x in arrays)) for i in starts]
        return tuple(xp.concat(list(part), axis=0) for part in zip(*parts, strict=True))
    if not rows_on_device:
        return _jax_map_rows(function, rows, *arrays)
    return tuple(for_platform(partial(_jax_map_rows, function), rows, rows_on_device, *arrays))


def _jax_map_rows(function: Callable[..., Any], rows: int, *arrays: Any) -> tuple[Any, ...]:
    import jax

    from mlc_losses._array.jax_rows import rows_together

    num_rows = arrays[0].shape[0]
    num_blocks = -(-num_rows // rows)
    rows = -(-num_rows // num_blocks)

    def blocks(x: Any) -> Any:
        x = rows_together(x)
        # the last row again, where the last block is not full
        missing = num_blocks * rows - num_rows
        last = jax.numpy.broadcast_to(x[-1:], (missing, *x.shape[1:]))
        return jax.numpy.concat([x, last]).reshape(num_blocks, rows, *x.shape[1:])

    results = jax.lax.map(lambda x: tuple(function(*x)), tuple(map(blocks, arrays)))
    return tuple(x.reshape(num_blocks * rows, *x.shape[2:])[:num_rows] for x in results)


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, with nothing random; differentiated it is computed again, not kept."""

    def run(*arrays: Any) -> Any:
        xp = namespace(x=arrays[0])
        if is_jax_namespace(xp):
            import jax

            return jax.checkpoint(function)(*arrays)
        if is_torch_namespace(xp):
            from torch.utils.checkpoint import checkpoint

            from mlc_losses._array.torch_modes import is_transformed

            if not is_transformed():  # which checkpoints do not pass through
                return checkpoint(function, *arrays, use_reentrant=False, preserve_rng_state=False)
        return function(*arrays)

    return run
