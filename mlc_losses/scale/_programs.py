"""A user's loss as a program: traced at each call, compiled once; imported only when used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


@dataclass(frozen=True)
class Program:
    """What a function computes, without the arrays that it has closed over.

    Programs are equal if they read the same, so that one is a static argument of ``jax.jit`` that
    compiles once, however often, and from whatever function objects, it has been traced.
    """

    text: str
    jaxpr: Any = field(compare=False, repr=False)
    result: Any = field(compare=False, repr=False)  # in shapes

    def __call__(self, closed_over: Any, *args: Any) -> Any:
        flat = jax.core.eval_jaxpr(self.jaxpr, closed_over, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(self.result), flat)


def traced(function: Callable[..., Any], *like: Any) -> tuple[Program, list[Any]]:
    """The program of a function at arguments like these, and the arrays it has closed over."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*like)
    jaxpr = closed.jaxpr.replace(eqns=needed(closed.jaxpr))
    text = "\n".join([str(jaxpr), *_rules(jaxpr)])
    return Program(text, jaxpr, shape), closed.consts


def needed(jaxpr: Any) -> list[Any]:
    """The equations that the results depend on."""
    used = {x for x in jaxpr.outvars if not isinstance(x, Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if used.intersection(equation.outvars):
            kept.append(equation)
            used.update(x for x in equation.invars if not isinstance(x, Literal))
    return kept[::-1]


def inner_programs(equation: Any) -> Iterator[Any]:
    """The programs among the parameters of an equation."""
    for parameter in equation.params.values():
        for x in parameter if isinstance(parameter, tuple) else (parameter,):
            if isinstance(x, ClosedJaxpr):
                yield x.jaxpr
            elif isinstance(x, Jaxpr):
                yield x


def _rules(jaxpr: Any) -> Iterator[str]:
    """Where the gradient rules that a program uses stand: its text does not say."""
    for equation in jaxpr.eqns:
        for parameter in equation.params.values():
            if hasattr(parameter, "debug_info") and not isinstance(parameter, (ClosedJaxpr, Jaxpr)):
                yield str(parameter.debug_info.func_src_info)
        for inner in inner_programs(equation):
            yield from _rules(inner)
