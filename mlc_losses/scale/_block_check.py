"""Whether a loss can be put together from blocks of its labels; imported when used.

`Blocks` completes the label reductions of this library, and knows of no others: a sum that a loss
takes itself would be that of a block. So the loss is traced at two widths. What differs in size is
a label axis, and along it a loss may only work on each label by itself, up to the reductions that
it hands to `Blocks`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Literal

from mlc_losses._array.layout import NeedsWholeAxisError
from mlc_losses.scale._programs import inner_programs, needed

# what an array is, by the labels of a block
WHOLE = "the same in every block"
OFFSET = "made of the number of the first label of the block"
EACH = "one entry per label, of that label alone"
PLACE = "numbers of labels inside the block"
PART = "reduced over the labels of the block"

_CALLS = frozenset({"jit", "closed_call", "checkpoint", "custom_jvp_call", "custom_vjp_call"})
_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose"})
_REDUCTIONS = frozenset(
    {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "reduce_prod"}
)
_POINTWISE = frozenset(
    """abs acos acosh add and asin asinh atan atan2 atanh bessel_i0e bessel_i1e
    bitcast_convert_type cbrt ceil clamp convert_element_type copy copy_p cos cosh digamma div eq
    erf erf_inv erfc exp exp2 expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p
    logistic lt max min mul ne neg nextafter not optimization_barrier or polygamma pow real
    reduce_precision rem round rsqrt select_n sign sin sinh sqrt square stop_gradient sub tan tanh
    xor""".split()
)
# what may stand between a reduction and `Blocks`
_PASSES = _MOVES | {"convert_element_type", "copy", "stop_gradient", "pad"}


class Traced(NamedTuple):
    """A program at one width, with what it closes over."""

    jaxpr: Any
    closed_over: Any


class _Value(NamedTuple):
    """What is known of one array at both widths."""

    kind: str
    axes: tuple[int, ...]  # its label axes
    by: str = ""  # what has reduced it


def check(narrow: Traced, wide: Traced, *, is_last: bool) -> None:
    """Raises unless the results are reductions, or, of the last program, independent of the block.

    The last argument of the programs is the number of the block's first label.
    """
    for x, y in zip(narrow.closed_over, wide.closed_over, strict=True):
        if x is not y and (_is_traced(x) or _is_traced(y) or not np.array_equal(x, y)):
            raise _depends_on_width()
    pairs = zip(narrow.jaxpr.invars, wide.jaxpr.invars, strict=True)
    inputs = [_Value(EACH if axes else WHOLE, axes) for axes in (_label_axes(*p) for p in pairs)]
    inputs[-1] = _Value(OFFSET, ())
    for value in _followed(narrow.jaxpr, wide.jaxpr, inputs):
        if value.kind == PART and is_last:
            raise _reduces(value.by)
        if value.kind != WHOLE and (is_last or value.kind != PART):
            raise _depends_on_width()


def _followed(narrow: Any, wide: Any, inputs: list[_Value]) -> list[_Value]:
    """The results of a program from its arguments."""
    known: dict[Any, _Value] = {}
    for pair in zip(narrow.constvars, wide.constvars, strict=True):
        if _label_axes(*pair):
            raise _depends_on_width()
        known[pair[0]] = _Value(WHOLE, ())
    known.update(zip(narrow.invars, inputs, strict=True))

    def read(x: Any, y: Any) -> _Value:
        if isinstance(x, Literal) != isinstance(y, Literal):
            raise _depends_on_width()
        if isinstance(x, Literal):
            if not np.array_equal(x.val, y.val, equal_nan=True):
                raise _depends_on_width()
            return _Value(WHOLE, ())
        return known[x]

    def read_all(xs: Any, ys: Any) -> list[_Value]:
        return [read(x, y) for x, y in _paired(xs, ys)]

    for one, other in _paired(needed(narrow), needed(wide)):
        if one.primitive is not other.primitive:
            raise _depends_on_width()
        results = _step(one, other, read_all(one.invars, other.invars))
        known.update(zip(one.outvars, results, strict=True))
    return read_all(narrow.outvars, wide.outvars)


def _step(one: Any, other: Any, inputs: list[_Value]) -> list[_Value]:
    """The results of an equation."""
    name = one.primitive.name
    axes = [_label_axes(*pair) for pair in _paired(one.outvars, other.outvars)]
    kinds = {value.kind for value in inputs}
    if name in _CALLS:
        (narrow,), (wide,) = inner_programs(one), inner_programs(other)
        return _followed(narrow, wide, inputs)
    if kinds <= {WHOLE, OFFSET}:
        return [_from_whole(one, other, inputs, own) for own in axes]
    if PART in kinds:
        by = next(value.by for value in inputs if value.kind == PART)
        # a top-k counts all labels by adding the first one's number
        if name not in _PASSES and not (name == "add" and kinds == {PART, OFFSET}):
            raise _reduces(by)
        return [_Value(PART, own, by) for own in axes]
    if name in _REDUCTIONS or name == "top_k":
        along = one.params["axes"] if name in _REDUCTIONS else (one.invars[0].aval.ndim - 1,)
        if set(along) & set(inputs[0].axes):
            if PLACE in kinds:
                raise _depends_on_width()
            return [_Value(PART, own, name) for own in axes]
    elif name in _MOVES:
        if _sizes(one, other, inputs[0].axes, "invars") != _sizes(one, other, axes[0], "outvars"):
            raise NeedsWholeAxisError(f"cuts or joins labels by {name}")
    elif name in _POINTWISE:
        if str(one.params) != str(other.params):
            raise _depends_on_width()
        if any(value.axes not in ((), own) for value in inputs for own in axes):
            raise NeedsWholeAxisError("compares labels with each other")
    else:
        raise NeedsWholeAxisError(f"takes {name} of the labels of an example")
    if any(len(own) > 1 for own in axes):
        raise NeedsWholeAxisError("compares labels with each other")
    counted = name == "add" and kinds == {PLACE, OFFSET}
    return [_Value(PLACE if PLACE in kinds and not counted else EACH, own) for own in axes]


def _from_whole(one: Any, other: Any, inputs: list[_Value], axes: tuple[int, ...]) -> _Value:
    """A result of what has no labels, or of the number of the first one."""
    name, kinds = one.primitive.name, {value.kind for value in inputs}
    same = OFFSET if OFFSET in kinds else WHOLE
    if not axes:
        if str(one.params) != str(other.params):
            raise _depends_on_width()
        return _Value(same, ())
    if name == "iota":
        return _Value(PLACE if one.params["dimension"] in axes else EACH, axes)
    if name == "broadcast_in_dim":
        return _Value(OFFSET if same == OFFSET else EACH, axes)
    # the entries for the labels of the block, of what has been given for all of them
    if name == "dynamic_slice" and same == OFFSET:
        return _Value(EACH, axes)
    if name in _POINTWISE:
        return _Value(same if same == OFFSET else EACH, axes)
    raise _depends_on_width()


def _label_axes(x: Any, y: Any) -> tuple[int, ...]:
    """The axes whose size differs between the widths."""
    if x.aval.ndim != y.aval.ndim:
        raise _depends_on_width()
    sizes = zip(x.aval.shape, y.aval.shape, strict=True)
    return tuple(axis for axis, (a, b) in enumerate(sizes) if a != b)


def _sizes(one: Any, other: Any, axes: tuple[int, ...], side: str) -> list[tuple[int, int]]:
    shapes = [getattr(equation, side)[0].aval.shape for equation in (one, other)]
    return [(shapes[0][axis], shapes[1][axis]) for axis in axes]


def _paired(xs: Any, ys: Any) -> list[tuple[Any, Any]]:
    if len(xs) != len(ys):
        raise _depends_on_width()
    return list(zip(xs, ys, strict=True))


def _is_traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def _reduces(by: str) -> NeedsWholeAxisError:
    return NeedsWholeAxisError(
        f"reduces the labels of an example by {by} outside the losses of this library, which would "
        "be done on each block alone"
    )


def _depends_on_width() -> NeedsWholeAxisError:
    return NeedsWholeAxisError("depends on how many labels a block has, or where they are in it")
