"""Hyper-parameters that carry a gradient, and those at the ends of their range."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from tests.losses.cases import CASES
from tests.losses.test_losses import all_here, here, over
from tests.support.backends import HAS_GRADIENTS, NAME, jitted, to_numpy
from tests.support.case import Arrays, Case

with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
# numbers that only the shape of a program, or a rank, depends on
COUNTS = ("fraction", "expected")
MAY_BE_NONE = {"alpha": 0.25, "weight": 0.3}


def hyper_parameters(case: Case) -> dict[str, float]:
    """Those that may carry a gradient, at the values of the case."""
    found = {}
    for name, parameter in inspect.signature(getattr(ml, case.loss.__name__)).parameters.items():
        value = case.keywords.get(name, parameter.default)
        value = MAY_BE_NONE.get(name) if value is None else value
        if type(value) is float and name not in COUNTS:
            found[name] = value
    return found


def of_numbers(case: Case) -> bool:
    return not case.embedded and bool(hyper_parameters(case))


WITH_NUMBERS = [case for case in CASES if of_numbers(case)]
# without a derivative by what is infinite there is none by how much that counts
LEARNT = [
    case for case in WITH_NUMBERS
    if case.derivative_at_infinity and case.logits_name != "similarities"
]  # fmt: skip


by_default_off_jax = partial(over, quick=lambda case: False)  # JAX compiles each of them


def infinite(case: Case, arrays: Arrays, wrong: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where the logits are to be infinite, some right and, if that is asked for, some wrong."""
    shares = np.random.default_rng(0).random(arrays[0].shape)
    relevant = case.relevant((arrays[0], arrays[-1])) | (not case.takes_targets)
    sign = np.where(relevant, 1.0, -1.0)
    sign = np.where(shares > 0.85, -sign, sign)
    return (shares < 0.3) | (wrong & (shares > 0.85)), sign


def derivatives(
    loss: Callable[..., Any], logits: Any, numbers: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Value, gradient by the logits and by the numbers."""
    if NAME == "jax":
        import jax

        program = jitted(jax.value_and_grad(loss, (0, 1)), quick=False)
        value, (by_logits, by_numbers) = program(logits, numbers)
        found = {name: to_numpy(x) for name, x in by_numbers.items()}
        return to_numpy(value), to_numpy(by_logits), found
    import torch

    logits = logits.clone().requires_grad_()
    numbers = {name: x.clone().requires_grad_() for name, x in numbers.items()}
    value = loss(logits, numbers)
    found = torch.autograd.grad(value, [logits, *numbers.values()], allow_unused=True)
    by_logits, *rest = (np.zeros(()) if x is None else to_numpy(x) for x in found)
    return to_numpy(value), by_logits, dict(zip(numbers, rest, strict=True))


@with_gradients
@by_default_off_jax(LEARNT)
@pytest.mark.parametrize("wrong", [False, True])
def test_learnt_at_infinity(case: Case, wrong: bool) -> None:
    """The derivative by the logits is that with numbers, that by the numbers its limit."""
    arrays, keywords = case.draw(3)
    numbers = hyper_parameters(case)
    rest = [here(x) for x in arrays[1:]]
    fixed = all_here({name: x for name, x in keywords.items() if name not in numbers})

    def loss(logits: Any, numbers: Any) -> Any:
        return case.loss(logits, *rest, **fixed, **numbers).sum()

    where, sign = infinite(case, arrays, wrong)
    logits = here(np.where(where, sign * np.inf, arrays[0]))
    as_arrays = {name: here(np.array(x)) for name, x in numbers.items()}
    value, by_logits, _ = derivatives(lambda x, _: loss(x, numbers), logits, {})
    actual, actual_by_logits, by_numbers = derivatives(loss, logits, as_arrays)
    np.testing.assert_allclose(actual, value, rtol=1e-12)
    np.testing.assert_allclose(actual_by_logits, by_logits, rtol=1e-10, atol=1e-12)
    far = here(np.where(where, sign * 1e4, arrays[0]))
    limits = derivatives(loss, far, as_arrays)[2]
    for name, limit in limits.items():
        assert not np.isnan(by_numbers[name])
        if np.isfinite(value) and not wrong and abs(limit) < 1e3:  # not infinite, nor of a tie
            np.testing.assert_allclose(by_numbers[name], limit, rtol=1e-3, atol=1e-6)


@by_default_off_jax(WITH_NUMBERS)
def test_at_the_ends_of_its_range(case: Case) -> None:
    """0 and 1 remove a term, however large it is: as a number, and as an array that may be."""
    arrays, keywords = case.draw(3)
    keywords = all_here(keywords)
    where, sign = infinite(case, arrays, wrong=True)
    logits, *rest = (here(x) for x in (np.where(where, sign * np.inf, arrays[0]), *arrays[1:]))
    for name in hyper_parameters(case):
        for value in (0.0, 1.0):
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    expected = to_numpy(case.loss(logits, *rest, **{**keywords, name: value}))
            except ValueError as error:
                assert "must be" in str(error)  # out of range
                continue
            assert not np.isnan(expected).any()
            given = {**keywords, name: here(np.array(value))}
            with np.errstate(all="ignore"):
                actual = to_numpy(case.loss(logits, *rest, **given))
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


@with_gradients
@pytest.mark.parametrize(("name", "parameter"), [
    ("msc", "alpha"), ("msc", "beta"), ("assume_negative_smoothed", "epsilon"),
    ("weak_assume_negative", "weight"), ("entropy_maximization", "alpha"), ("poly", "epsilon"),
])  # fmt: skip
def test_derivative_at_0(name: str, parameter: str) -> None:
    """It is the limit: what a hyper-parameter of 0 removes is there for its own derivative."""
    case = next(case for case in CASES if case.loss.__name__ == name)
    arrays, keywords = case.draw(3)
    logits, *rest = (here(x) for x in arrays)

    def loss(_: Any, numbers: dict[str, Any]) -> Any:
        return case.loss(logits, *rest, **{**all_here(keywords), **numbers}).sum()

    at_0, near = (derivatives(loss, logits, {parameter: here(np.array(x))})[2] for x in (0.0, 1e-9))
    np.testing.assert_allclose(at_0[parameter], near[parameter], rtol=1e-6)
