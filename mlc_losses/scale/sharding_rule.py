"""How the arguments and the result of a loss are split over a mesh; imported only when used."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mlc_losses._array.axis import Layout, NeedsWholeAxisError, laid_out
from mlc_losses._array.jax_devices import Devices
from mlc_losses._array.namespace import check_jax, shape_of
from mlc_losses.scale._arguments import name_of

# what a dimension of an array counts
LABELS, BATCH, OTHER = "labels", "batch", "other"


class Split(NamedTuple):
    """Mesh axes of labels and batch; empty for what is not split."""

    mesh: Any
    axes: dict[str, tuple[str, ...]]

    def devices(self, kind: str) -> int:
        return math.prod(self.mesh.shape[axis] for axis in self.axes[kind])

    def spec(self, kinds: Any) -> Any:
        """The `PartitionSpec` of an array whose dimensions count these."""
        return PartitionSpec(*(self.axes.get(kind) or None for kind in kinds))


def sharded_loss(
    loss: Callable[..., Any], mesh: Any, labels: Any, batch: Any
) -> Callable[..., Any]:
    axes = {LABELS: _names(mesh, "labels", labels), BATCH: _names(mesh, "batch", batch)}
    split = Split(mesh, axes)
    if not any(axes.values()):
        raise ValueError("give labels, batch or both: mesh axes to split over")
    if set(axes[LABELS]) & set(axes[BATCH]):
        raise ValueError(f"labels and batch must be on different mesh axes, got {labels!r} twice")
    layout = Layout(*(Devices(names) if names else None for names in axes.values()))

    @functools.wraps(loss)
    def over_devices(*args: Any, **keywords: Any) -> Any:
        call, arrays = _arrays_apart(loss, args, keywords)
        kinds = _kinds_of_arrays(split, arrays, len(args))
        results = _kinds_of_result(split, call, arrays, kinds)

        def on_one_device(*parts: Any) -> Any:
            with laid_out(layout):
                return _parted(split, results, call(*parts))

        try:
            outputs = jax.shard_map(
                on_one_device,
                mesh=mesh,
                in_specs=tuple(split.spec(kind) for kind in kinds),
                out_specs=tuple(split.spec(result.kinds) for result in results),
            )(*_placed(split, arrays, kinds))
        except NeedsWholeAxisError as error:
            raise ValueError(
                f"{name_of(loss)} cannot be split over labels: it {error}; split it over the batch"
            ) from None
        return outputs[0] if len(outputs) == 1 else jnp.concat(outputs)

    return over_devices


def _names(mesh: Any, name: str, axes: Any) -> tuple[str, ...]:
    names = () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
    for axis in names:
        if axis not in mesh.axis_names:
            raise ValueError(f"{name} must be axes of the mesh, {mesh.axis_names}, got {axis!r}")
    return names


def _arrays_apart(
    loss: Any, args: Any, keywords: Any
) -> tuple[Callable[..., Any], list[tuple[str, Any]]]:
    """The loss as a function of its arrays alone, and these with their names."""
    given = {**{f"argument {i}": x for i, x in enumerate(args)}, **keywords}
    arrays = {name: x for name, x in given.items() if hasattr(x, "shape")}
    check_jax("sharded", **arrays)
    if not arrays or "argument 0" not in arrays:
        raise TypeError("the first argument must be an array, the logits or embeddings")

    def call(*values: Any) -> Any:
        full = {**given, **dict(zip(arrays, values, strict=True))}
        return loss(*list(full.values())[: len(args)], **{name: full[name] for name in keywords})

    return call, list(arrays.items())


def _kinds_of_arrays(split: Split, arrays: Any, num_positional: int) -> list[tuple[str, ...]]:
    first = shape_of(arrays[0][1])
    kinds = [BATCH, *[OTHER] * (len(first) - 2), LABELS] if len(first) > 1 else [LABELS]
    for kind, size in zip(kinds, first, strict=True):
        if kind != OTHER and split.axes[kind] and size % split.devices(kind):
            raise ValueError(
                f"{size} {'labels' if kind == LABELS else 'examples'} cannot be split equally over "
                f"{split.devices(kind)} devices; pad them"
            )
    whole = tuple(kinds)

    def of(name: str, x: Any) -> tuple[str, ...]:
        shape = shape_of(x)
        rest = (OTHER,) * len(shape)
        if not shape or jnp.issubdtype(x.dtype, jax.dtypes.prng_key) or _is_raw_key(x):
            return rest
        if shape[: len(first)] == first:
            return whole + rest[len(first) :]
        positional = name.startswith("argument ")
        if len(shape) == 1 and len(first) == 2 and first[0] == first[1] and not positional:
            raise ValueError(
                f"{name} of shape {shape} may be one value per example or one per label, of which "
                "there are as many; add an example, with where=False"
            )
        if shape == first[:-1]:
            return whole[:-1]
        if len(first) > 1 and shape[0] == first[0]:
            return (BATCH, *rest[1:])
        return (*rest[1:], LABELS) if shape[-1] == first[-1] else rest

    return [of(name, x) for name, x in arrays]


def _is_raw_key(x: Any) -> bool:
    return x.dtype == jnp.uint32 and shape_of(x) == (2,)


class _Result(NamedTuple):
    """A stretch of the result along its first axis, or all of it."""

    kinds: tuple[str, ...]
    rows: int | None = None  # how many of one device's; None is all


def _kinds_of_result(split: Split, call: Any, arrays: Any, kinds: Any) -> list[_Result]:
    """Told from how its shape grows when there are twice as many examples, or labels."""

    def shape_with(doubled: str | None) -> tuple[int, ...]:
        def like(x: Any, kinds: Any) -> Any:
            sizes = (2 * n if k == doubled else n for n, k in zip(shape_of(x), kinds, strict=True))
            return jax.ShapeDtypeStruct(tuple(sizes), x.dtype)

        return tuple(jax.eval_shape(call, *map(like, (x for _, x in arrays), kinds)).shape)

    shape = shape_with(None)
    found = [OTHER] * len(shape)
    growth = [0] * len(shape)
    for kind in (BATCH, LABELS):
        if shape and split.axes[kind]:
            for place, (size, more) in enumerate(zip(shape, shape_with(kind), strict=True)):
                if more != size:
                    found[place], growth[place] = kind, more - size
    whole = tuple(found)
    uneven = [place for place in range(len(shape)) if growth[place] not in (0, shape[place])]
    if not uneven:
        return [_Result(whole)]
    if uneven != [0]:
        raise ValueError(f"a result of shape {shape} cannot be split over the {whole[uneven[0]]}")
    # examples come first, then what every device has
    return [
        _Result(whole, growth[0] // split.devices(whole[0])),
        _Result((OTHER, *whole[1:])),
    ]


def _parted(split: Split, results: list[_Result], value: Any) -> tuple[Any, ...]:
    if len(results) == 1:
        return (value,)
    own = results[0].rows
    axes = split.axes[results[0].kinds[0]]
    # all devices have computed the rest; the first one's is said to be everybody's
    first = jax.lax.axis_index(axes) == 0
    return value[:own], jax.lax.psum(jnp.where(first, value[own:], 0.0), axes)


def _placed(split: Split, arrays: Any, kinds: Any) -> list[Any]:
    """The arrays, on a mesh with explicit axes in the places where they are wanted."""
    if AxisType.Explicit not in split.mesh.axis_types:
        return [x for _, x in arrays]
    return [
        jax.reshard(x, NamedSharding(split.mesh, split.spec(kind)))
        for (_, x), kind in zip(arrays, kinds, strict=True)
    ]
