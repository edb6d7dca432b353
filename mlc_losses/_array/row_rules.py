"""A loss as two formulas: the value of each row, and its derivative by each array.

A rule holds the formulas, in array API. `apply_rule` attaches them to the backend: as a
`custom_jvp` on JAX, as an `autograd.Function` on PyTorch; elsewhere it returns the values. Then
only the arguments are kept for the backward pass, no NaN comes from differentiating a mask, and
the derivative is one read and one write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.batch import whole_batch
from mlc_losses._array.layout import (
    Layout,
    batch_shards,
    label_shards,
    use_layout,
)
from mlc_losses._array.term_sums import sums_of_terms


class RowRule(ABC):
    """The formulas of a loss. Rules are hashable, so that JAX compiles each of them once.

    `arrays` are `[..., L]`, the logits first, or `[...]`, one number per row. `params` are Python
    numbers or 0-dimensional arrays, `where` is bool `[..., L]` or None.
    """

    @abstractmethod
    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        """One or more results, each `[...]`."""

    @abstractmethod
    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        """The derivative of each value by the array of that index, in its shape; None is 0."""

    # whether `derivatives` uses its argument `values`
    derives_from_values: ClassVar[bool] = True
    # whether `finite_values` calls a kernel of PyTorch that gains nothing from blocks of rows
    uses_fused_kernel: ClassVar[bool] = False
    # whether `finite_derivatives` needs the arrays alone, where `derivatives` needs values
    finds_derivative_again: bool = False

    @property
    def keeps_derivative(self) -> bool:
        """Whether `finite_values` can fill its argument `derivative` at little cost."""
        return False

    def small_values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> Any:
        """The first value by a few operations, to be differentiated themselves; else None.

        For PyTorch as `finite_values`: on a small batch a rule's frame takes longer than its work.
        """
        return None

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        """The same values at less cost, if all are finite; else None.

        For PyTorch on a CPU, in eager code, where it costs nothing to look at them. Only the first
        `wanted` values are needed; None is all. `derivative` is None, or an array to fill with the
        derivative of the first value by the logits.
        """
        return None

    def finite_derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, out: Any, *arrays: Any
    ) -> Any:
        """The derivatives at less cost, where all values came from `finite_values`; else None.

        They are new arrays, or the first is `out`, an array to write it into, if that is not None.
        """
        return None


class SharedTermsRule(RowRule):
    """A rule whose value and derivative are made of the same terms, which are computed once.

    What is here of `derivatives` is for one value, with a derivative by the logits alone.
    """

    keeps_derivative = True

    @abstractmethod
    def values_and_derivative(
        self, xp: Any, params: Any, where: Any, *arrays: Any
    ) -> tuple[tuple[Any, ...], Any]:
        """The values, and the derivative of the first by the logits."""

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        return (self.values_and_derivative(xp, params, where, *arrays)[1] if index == 0 else None,)

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        if derivative is None:
            return None
        values, found = self.values_and_derivative(xp, params, where, *arrays)
        derivative.copy_(found)
        return values


def apply_rule(
    xp: Any,
    rule: RowRule,
    arrays: tuple[Any, ...],
    params: tuple[Any, ...] = (),
    where: Any = None,
    *,
    wanted: int | None = None,
) -> tuple[Any, ...]:
    """The values of the rule, differentiable by all of its arrays that are floating-point.

    At least the first `wanted` of them, or all for None: fewer may cost less.
    """
    if is_torch_namespace(xp):
        from mlc_losses._array import torch_rules

        return torch_rules.apply_rule(rule, params, where, arrays, wanted)
    shards = label_shards(xp)
    if is_jax_namespace(xp) and (shards is None or shards.allows_custom_gradient):
        from mlc_losses._array import jax_rules

        return jax_rules.apply_rule(rule, params, where, arrays)
    return rule.values(xp, params, where, *arrays)


def apply_rule_over_batch(
    xp: Any,
    rule: RowRule,
    arrays: tuple[Any, ...],
    params: tuple[Any, ...] = (),
    where: Any = None,
    *,
    wanted: int | None = None,
) -> tuple[Any, ...]:
    """The same for each label over the examples of `[n, L]`: the values are `[L]`."""
    if not is_jax_namespace(xp):
        transposed = tuple(xp.permute_dims(whole_batch(x), (1, 0)) for x in arrays)
        mask = None if where is None else xp.permute_dims(where, (1, 0))
        return apply_rule(xp, rule, transposed, params, mask, wanted=wanted)
    import jax

    # column by column: XLA then leaves the arrays as they are in memory
    columns = jax.vmap(
        lambda where, arrays: apply_rule(xp, rule, arrays, params, where),
        in_axes=(None if where is None else 1, 1),
    )
    # the last axis is then that of the examples
    with use_layout(Layout(labels=batch_shards(xp))):
        return columns(where, arrays)


def is_finite(x: Any) -> bool:
    """Whether the sum of all numbers is finite, and below the 1e30 that formulas may subtract."""
    if x.ndim == 1 and len(x) <= 64:  # a few numbers are added up sooner here
        return abs(sum(x.tolist())) < 1e29
    return abs(x.sum().item()) < 1e29


Formula = Callable[..., Any]


@dataclass(frozen=True)
class LabelSum(RowRule):
    """The sum over the labels of a term: `term(xp, params, *arrays)` `[..., L]`.

    `by` has a formula for each array, with the same arguments: the derivative of the term by that
    array, or None if it has none. Where `where` is False all arrays are 0 and the term is left out.
    """

    term: Formula
    by: tuple[Formula | None, ...]
    derives_from_values = False
    # for PyTorch, `finite_term(xp, params, derivative, *arrays)`: a cheaper term in a new array,
    # right for finite arrays alone. `derivative` is None, or an array to fill with that by the
    # logits
    finite_term: Formula | None = None

    @property
    def keeps_derivative(self) -> bool:
        return self.finite_term is not None

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        def masked(first: Any, where: Any, *rest: Any) -> tuple[Any]:
            x = self.term(xp, params, *masked_arrays(xp, where, (first, *rest)))
            return (x if where is None else xp.where(where, x, 0.0),)

        first, *rest = arrays
        return sums_of_terms(xp, masked, (first, where, *rest))

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        if self.finite_term is None:
            return None
        terms = self.finite_term(xp, params, derivative, *masked_arrays(xp, where, arrays))
        if where is not None:
            terms.mul_(where)
            if derivative is not None:
                derivative.mul_(where)
        total = terms.sum(-1)
        return (total,) if is_finite(total) else None

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        formula = self.by[index]
        if formula is None:
            return (None,)
        derivative = formula(xp, params, *masked_arrays(xp, where, arrays))
        return (derivative if where is None else xp.where(where, derivative, 0.0),)


def masked_arrays(xp: Any, where: Any, arrays: Any) -> Any:
    """The arrays `[..., L]` with 0 where `where` is False: harmless in value and gradient."""
    if where is None:
        return arrays
    return tuple(x if x.ndim < where.ndim else xp.where(where, x, xp.zeros_like(x)) for x in arrays)


def sum_over_labels(
    xp: Any,
    rule: LabelSum,
    arrays: tuple[Any, ...],
    params: tuple[Any, ...] = (),
    where: Any = None,
) -> Any:
    """`[...]`, the sum of the rule's term."""
    return apply_rule(xp, rule, arrays, params, where, wanted=1)[0]
