"""How the arguments and the result of a loss are split over a mesh; imported only when used."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mlc_losses._array.batch import rows_and_more
from mlc_losses._array.layout import Layout, NeedsWholeAxisError, use_layout
from mlc_losses._array.namespace import accept_numpy, shape_of
from mlc_losses.scale._arguments import check_jax, name_of
from mlc_losses.scale._devices import Devices
from mlc_losses.scale._programs import Program, traced

# what a dimension of an array counts; candidates may be the examples themselves, all of them
LABELS, BATCH, CANDIDATES, OTHER = "labels", "batch", "candidates", "other"
_OF_LOGITS = (BATCH, ..., LABELS)
# of the arguments of losses; `...` is any number of others
_AXES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("logits", "scores", "similarities", "targets", "where"), _OF_LOGITS),
    **dict.fromkeys(("other_logits", "estimator_logits", "softmax_logits"), _OF_LOGITS),
    "multilabel_logits": _OF_LOGITS,
    "noise": (BATCH, ..., LABELS, OTHER),
    **dict.fromkeys(("labels", "threshold"), (BATCH, ...)),
    # of each label, or of each cell
    **dict.fromkeys(("label_weights", "pos_weight"), _OF_LOGITS),
    **dict.fromkeys(("counts", "margins", "class_weights"), (LABELS,)),
    **dict.fromkeys(("embeddings", "anchors", "positives"), (BATCH, OTHER)),
    "weights": (BATCH, CANDIDATES),
    **dict.fromkeys(("candidates", "denominator"), (CANDIDATES,)),
    # every device has all of them
    **dict.fromkeys(("prototypes", "keys", "key_targets", "key_where", "key"), (OTHER,)),
}


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
        kinds = _kinds_of_arrays(split, arrays, name_of(loss))
        with _named_refusal(name_of(loss)):
            results = _kinds_of_result(split, layout, call, arrays, kinds)

        def on_one_device(*parts: Any) -> Any:
            with use_layout(layout):
                return _parted(split, results, call(*parts))

        everywhere = jax.shard_map(
            on_one_device,
            mesh=mesh,
            in_specs=tuple(split.spec(kind) for kind in kinds),
            out_specs=tuple(split.spec(result.kinds) for result in results),
        )
        placed = _placed(split, arrays, kinds)
        with _named_refusal(name_of(loss)):
            program, closed_over = traced(everywhere, *placed)
        outputs = _run(program, closed_over, placed)
        return outputs[0] if len(outputs) == 1 else rows_and_more(*outputs)

    return over_devices


@functools.partial(jax.jit, static_argnums=0)
def _run(program: Program, closed_over: Any, arrays: Any) -> Any:
    """Compiled once for what is to be computed, in eager code too."""
    return program(closed_over, *arrays)


@contextlib.contextmanager
def _named_refusal(loss: str) -> Iterator[None]:
    try:
        yield
    except NeedsWholeAxisError as error:
        raise ValueError(
            f"{loss} cannot be split over labels: it {error}; split it over the batch"
        ) from None


def _names(mesh: Any, name: str, axes: Any) -> tuple[str, ...]:
    names = () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
    for axis in names:
        if axis not in mesh.axis_names:
            raise ValueError(f"{name} must be axes of the mesh, {mesh.axis_names}, got {axis!r}")
    return names


def _arrays_apart(loss: Any, args: Any, keywords: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The loss as a function of its arrays alone, and these by the names of its arguments."""
    if isinstance(loss, functools.partial):
        args, keywords, loss = (*loss.args, *args), {**loss.keywords, **keywords}, loss.func
    parameters = inspect.signature(loss).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    positional = [names[i] if i < len(names) else f"argument {i}" for i in range(len(args))]
    given = {**dict(zip(positional, args, strict=True)), **keywords}
    # the logits, or embeddings, first, however they are given
    given = {name: given[name] for name in dict.fromkeys([*names, *given]) if name in given}
    arrays = {name: x for name, x in given.items() if hasattr(x, "shape")}
    if not arrays or next(iter(given)) not in arrays:
        raise TypeError("the first argument must be an array, the logits or embeddings")
    arrays = {name: accept_numpy(jnp, x) for name, x in arrays.items()}
    check_jax("sharded", **arrays)

    def call(*values: Any) -> Any:
        full = {**given, **dict(zip(arrays, values, strict=True))}
        return loss(*(full[name] for name in positional), **{name: full[name] for name in keywords})

    return call, arrays


def _kinds_of_arrays(split: Split, arrays: dict[str, Any], loss: str) -> list[tuple[str, ...]]:
    first_name, first = next(iter(arrays.items()))
    whole = _kinds(_AXES.get(first_name, _OF_LOGITS), first.ndim)
    if split.axes[LABELS] and LABELS not in whole:
        raise ValueError(f"{loss} cannot be split over labels: its {first_name} have none")
    found = []
    for name, x in arrays.items():
        shape = shape_of(x)
        if name == "labels" and jnp.issubdtype(x.dtype, jnp.floating):  # a distribution over them
            kinds = _kinds(_OF_LOGITS, x.ndim)
        elif name in _AXES:
            kinds = _kinds(_AXES[name], x.ndim)
        else:
            kinds = _kinds_by_shape(name, x, shape_of(first), whole)
        # one value for all of them
        kinds = tuple(OTHER if n == 1 else kind for n, kind in zip(shape, kinds, strict=True))
        for kind, size in zip(kinds, shape, strict=True):
            if split.axes.get(kind) and size % split.devices(kind):
                raise ValueError(
                    f"{size} {'labels' if kind == LABELS else 'examples'} cannot be split equally "
                    f"over {split.devices(kind)} devices; pad {name}"
                )
        found.append(kinds)
    return found


def _kinds(axes: tuple[Any, ...], ndim: int) -> tuple[str, ...]:
    """What the dimensions of an array count; one example alone lacks the first of the axes."""
    if ... not in axes:
        return (*axes, *[OTHER] * ndim)[:ndim]
    place = axes.index(...)
    named = len(axes) - 1
    middle = (OTHER,) * (ndim - named)
    return (*axes[:place], *middle, *axes[place + 1 :])[max(named - ndim, 0) :]


def _kinds_by_shape(name: str, x: Any, first: Any, whole: Any) -> tuple[str, ...]:
    """The last resort, for an argument that is not one of the library's."""
    shape = shape_of(x)
    rest = (OTHER,) * len(shape)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return rest
    if shape[: len(first)] == first:
        return whole + rest[len(first) :]
    of_examples = len(first) > 1 and shape[:1] == first[:1]
    of_labels = shape[-1:] == first[-1:]
    if of_examples and of_labels:
        raise ValueError(
            f"{name} is not an argument of the library's losses, and by its shape {shape} it may "
            "have one value per example or one per label, of which there are as many; rename it, "
            "or add an example with where=False"
        )
    if of_examples:
        return (BATCH, *rest[1:])
    return (*rest[1:], LABELS) if of_labels else rest


class _Result(NamedTuple):
    """A stretch of the result along its first axis, or all of it."""

    kinds: tuple[str, ...]
    rows: int | None = None  # how many of one device's; None is all


def _kinds_of_result(
    split: Split, layout: Layout, call: Any, arrays: dict[str, Any], kinds: Any
) -> list[_Result]:
    """Told from how its shape grows when there are twice as many examples, or labels."""

    def shape_with(doubled: str | None) -> tuple[int, ...]:
        def like(x: Any, kinds: Any) -> Any:
            grows = {doubled, CANDIDATES} if doubled == BATCH else {doubled}
            sizes = (2 * n if k in grows else n for n, k in zip(shape_of(x), kinds, strict=True))
            return jax.ShapeDtypeStruct(tuple(sizes), x.dtype)

        try:
            return tuple(jax.eval_shape(call, *map(like, arrays.values(), kinds)).shape)
        except ValueError:
            if doubled == LABELS:
                _ask_for_reason(layout, call, arrays)
            raise

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


def _ask_for_reason(layout: Layout, call: Any, arrays: dict[str, Any]) -> None:
    """A loss that takes one number of labels alone may say why it cannot have them in parts."""
    try:
        with use_layout(layout):
            # a new function, since a trace of this one is kept
            jax.eval_shape(lambda *parts: call(*parts), *arrays.values())
    except NeedsWholeAxisError:
        raise
    except Exception:  # outside of the mesh nothing else is to be learnt
        return


def _parted(split: Split, results: list[_Result], value: Any) -> tuple[Any, ...]:
    if len(results) == 1:
        return (value,)
    own = results[0].rows
    axes = split.axes[results[0].kinds[0]]
    # all devices have computed the rest; the first one's is said to be everybody's
    first = jax.lax.axis_index(axes) == 0
    return value[:own], jax.lax.psum(jnp.where(first, value[own:], 0.0), axes)


def _placed(split: Split, arrays: dict[str, Any], kinds: Any) -> list[Any]:
    """The arrays, on a mesh with explicit axes in the places where they are wanted."""
    if AxisType.Explicit not in split.mesh.axis_types:
        return list(arrays.values())
    return [
        jax.reshard(x, NamedSharding(split.mesh, split.spec(kind)))
        for x, kind in zip(arrays.values(), kinds, strict=True)
    ]
