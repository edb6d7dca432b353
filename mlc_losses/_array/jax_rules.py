"""Attaches the formulas of a rule to JAX; imported only when a JAX array comes in.

`custom_jvp`, so that forward mode and exact Hessians work too. All is compiled, in eager code too:
called op by op, a branch or a reduction would be compiled at every call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero

from mlc_losses._array.by_operation import without_infinities
from mlc_losses._array.labels import label_sum
from mlc_losses._array.layout import Layout, current_layout, use_layout
from mlc_losses._array.row_rules import RowRule, SharedTermsRule


class _Traced:
    """Takes the place of a parameter that is an array, among the static ones."""


def apply_rule(rule: RowRule, params: Any, where: Any, arrays: Any) -> tuple[Any, ...]:
    dtype = arrays[0].dtype
    static = tuple(_Traced if isinstance(p, jax.Array) else p for p in params)
    traced = tuple(p.astype(dtype) for p in params if isinstance(p, jax.Array))
    return _values(rule, static, current_layout(), traced, where, tuple(arrays))


def _params(static: Any, traced: Any) -> tuple[Any, ...]:
    arrays = iter(traced)
    return tuple(next(arrays) if p is _Traced else p for p in static)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
@partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _values(
    rule: RowRule, static: Any, layout: Layout, traced: Any, where: Any, arrays: Any
) -> tuple[Any, ...]:
    with use_layout(layout):
        return tuple(rule.values(jnp, _params(static, traced), where, *arrays))


@partial(jax.jit, static_argnums=(0, 1, 2, 3), inline=True)
def _derivatives(
    index: int, rule: RowRule, static: Any, layout: Layout, traced: Any, where: Any, values: Any,
    arrays: Any,
) -> tuple[Any, ...]:  # fmt: skip
    # computed apart from the values: XLA would store what the two have in common, an array [N, L],
    # to save an exponential
    where, arrays = lax.optimization_barrier((where, arrays))
    with use_layout(layout):
        return rule.derivatives(index, jnp, _params(static, traced), where, values, *arrays)


@partial(_values.defjvp, symbolic_zeros=True)
def _jvp(rule: RowRule, static: Any, layout: Layout, primals: Any, tangents: Any) -> Any:
    traced, where, arrays = primals
    by_logits = None
    if isinstance(rule, SharedTermsRule) and not isinstance(tangents[2][0], SymbolicZero):
        values, by_logits = _values_and_derivative(rule, static, layout, *primals)
    else:
        values = _values(rule, static, layout, *primals)
    tangents_out = [jnp.zeros_like(value) for value in values]
    for index, (array, tangent) in enumerate(zip(arrays, tangents[2], strict=True)):
        if isinstance(tangent, SymbolicZero):
            continue
        found = _derivatives(index, rule, static, layout, traced, where, values, arrays)
        if index == 0 and by_logits is not None:
            found = (by_logits, *found[1:])
        for place, derivative in enumerate(found):
            if derivative is not None:
                with use_layout(layout):
                    tangents_out[place] = tangents_out[place] + _times_tangent(
                        derivative, tangent, array.ndim > values[0].ndim
                    )
    if any(not isinstance(tangent, SymbolicZero) for tangent in tangents[0]):
        by_params = _tangents_by_params(rule, static, layout, primals, tangents[0])
        tangents_out = [
            tangent + term for tangent, term in zip(tangents_out, by_params, strict=True)
        ]
    return values, tuple(tangents_out)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
@partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _values_and_derivative(
    rule: SharedTermsRule, static: Any, layout: Layout, traced: Any, where: Any, arrays: Any
) -> tuple[tuple[Any, ...], Any]:
    with use_layout(layout):
        values, derivative = rule.values_and_derivative(
            jnp, _params(static, traced), where, *arrays
        )
    return tuple(values), derivative


@_values_and_derivative.defjvp
def _shared_jvp(rule: RowRule, static: Any, layout: Layout, primals: Any, tangents: Any) -> Any:
    """The derivative is differentiated by its formula in `derivatives`, op by op."""
    traced, where, arrays = primals

    def values_of(traced: Any, arrays: Any) -> Any:
        return _values(rule, static, layout, traced, where, arrays)

    def derivative_of(traced: Any, values: Any, arrays: Any) -> Any:
        return _derivatives(0, rule, static, layout, traced, where, values, arrays)[0]

    moved = tangents[0], tangents[2]
    values, values_tangents = jax.jvp(values_of, (traced, arrays), moved)
    derivative, derivative_tangent = jax.jvp(
        derivative_of, (traced, values, arrays), (moved[0], values_tangents, moved[1])
    )
    return (values, derivative), (values_tangents, derivative_tangent)


def _times_tangent(derivative: Any, tangent: Any, has_labels: bool) -> Any:
    product = derivative * tangent.astype(derivative.dtype)
    return label_sum(product) if has_labels else product


def _tangents_by_params(
    rule: RowRule, static: Any, layout: Layout, primals: Any, tangents: Any
) -> tuple[Any, ...]:
    """Parameters have no formula of their own: the values are differentiated op by op."""
    traced, where, arrays = primals
    finite = without_infinities(jnp, arrays)

    def values(traced: Any) -> Any:
        with use_layout(layout):
            return rule.values(jnp, _params(static, traced), where, *finite)

    traced_tangents = tuple(
        jnp.zeros_like(p) if isinstance(tangent, SymbolicZero) else tangent
        for p, tangent in zip(traced, tangents, strict=True)
    )
    return jax.jvp(values, (traced,), (traced_tangents,))[1]
