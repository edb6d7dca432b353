"""What every loss promises, checked on every entry of the one list of cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.losses.cases import CASES
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    asarray,
    compiled,
    gradient,
    jitted,
    to_numpy,
    xp,
)
from tests.support.case import Arrays, Case
from tests.support.depth import examples

BY_ID = {case.id: case for case in CASES}
# what hyper-parameters have no part in is checked on one case of each loss and kind of arrays
FIRST = {(case.loss, case.arrays): case for case in reversed(CASES)}.values()
every_loss = pytest.mark.parametrize("case", FIRST, ids=lambda case: case.id)
IDS_OF_FIRST = {case.id for case in FIRST}
# on JAX the session `modes` takes what compiles most, but for a few losses
QUICK = ("zlpr-hard_bool", "softmax_cross_entropy-one_class", "two_way-hard", "msc-")


def over(cases: Iterable[Case], quick: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """A test for each; on JAX those not quick are left to the session `modes`."""

    def marks(case: Case) -> Any:
        return pytest.mark.modes if NAME == "jax" and not quick(case) else ()

    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case.id, marks=marks(case)) for case in cases]
    )


def long_on_jax(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return over(cases, lambda case: case.id.startswith(QUICK))


# with other hyper-parameters JAX compiles every program again
every_case = over(CASES, lambda case: case.id in IDS_OF_FIRST)

with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")


def here(x: Any, dtype: str = "float64") -> Any:
    """NumPy arrays to the library under test, floats to `dtype`; anything else as it is."""
    if not isinstance(x, np.ndarray):
        return x
    return asarray(x, dtype if x.dtype.kind == "f" else None)


def all_here(keywords: dict[str, Any], dtype: str = "float64") -> dict[str, Any]:
    return {name: here(x, dtype) for name, x in keywords.items()}


@cache
def loss_of_arrays(case_id: str, axis: int) -> Callable[..., Any]:
    """The loss as a function of arrays alone, the same object for every test."""
    case = BY_ID[case_id]

    def loss(arrays: Any, named: dict[str, Any]) -> Any:
        given = {"axis": axis} if case.takes_axis else {}
        return case.loss(*arrays, **case.keywords, **named, **given)

    return loss


@cache
def weighted_total(case_id: str) -> Callable[..., Any]:
    """`Σ weights · loss` as a function of arrays alone, the same object for every test."""
    case = BY_ID[case_id]

    def total(x: Any, rest: Any, weights: Any, arrays: dict[str, Any]) -> Any:
        values = case.loss(x, *rest, **case.keywords, **arrays)
        return xp.sum(xp.astype(values, xp.float64) * weights)

    return total


@cache
def value_and_gradient(case_id: str) -> Callable[..., Any]:
    """Both of the above as one program: on JAX, the tests of a case share it."""
    import jax

    loss, total = loss_of_arrays(case_id, -1), weighted_total(case_id)

    def both(x: Any, rest: Any, weights: Any, arrays: dict[str, Any]) -> Any:
        return loss((x, *rest), arrays), jax.grad(total)(x, rest, weights, arrays)

    return both


def shared(arrays: Arrays, axis: int = -1) -> bool:
    """Whether most tests of a case take arrays of these shapes, and value and gradient of them."""
    usual = axis == -1 and arrays[0].shape in ((6, 7), (6, 4))
    return usual and NAME == "jax" and xp.empty(0).dtype == xp.float64


def run_shared(
    case: Case, arrays: Arrays, weights: np.ndarray, named: dict[str, Any], dtype: str
) -> Any:
    """Value and gradient. Compiled as a user's call would be, for all numbers there may be, but
    for float32 and the smaller shape, which see finite ones.
    """
    x, *rest = (here(x, dtype) for x in arrays)
    quick = dtype == "float32" or arrays[0].shape == (6, 4)
    return jitted(value_and_gradient(case.id), quick)(x, rest, here(weights), named)


def call(
    case: Case,
    arrays: Arrays,
    keywords: dict[str, Any],
    dtype: str = "float64",
    where: np.ndarray | None = None,
    axis: int = -1,
) -> Any:
    """The loss on the library under test, compiled, every float array in `dtype`."""
    arrays_named = named(case, keywords, dtype, where)
    if shared(arrays, axis):
        weights = np.ones(result_shape(case.id, *arrays[0].shape))
        return run_shared(case, arrays, weights, arrays_named, dtype)[0]
    inputs = tuple(here(x, dtype) for x in arrays)
    return compiled(loss_of_arrays(case.id, axis))(inputs, arrays_named)


def loss_gradient(
    case: Case,
    arrays: Arrays,
    keywords: dict[str, Any],
    weights: np.ndarray,
    dtype: str = "float64",
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient by the logits of `Σ weights · loss`, by the library's own differentiation."""
    arrays_named = named(case, keywords, dtype, where)
    if shared(arrays):
        return to_numpy(run_shared(case, arrays, weights, arrays_named, dtype)[1])
    x, *rest = (here(x, dtype) for x in arrays)
    return gradient(weighted_total(case.id), x, rest, here(weights), arrays_named)


def named(
    case: Case, keywords: dict[str, Any], dtype: str, where: np.ndarray | None
) -> dict[str, Any]:
    """The keywords that are arrays."""
    mask = {} if where is None else {"where": where}
    return all_here({name: keywords[name] for name in case.per_label} | mask, dtype)


@cache
def result_shape(case_id: str, n: int, num_labels: int) -> tuple[int, ...]:
    arrays, keywords = BY_ID[case_id].draw(0, n, num_labels)
    return BY_ID[case_id].expected(arrays, keywords).shape


def some_weights(case: Case, arrays: Arrays) -> np.ndarray:
    """A random positive weight for each entry of the result."""
    shape = result_shape(case.id, *arrays[0].shape)
    return np.random.default_rng(1).uniform(0.5, 2, shape)


def assert_close(actual: Any, expected: np.ndarray, rtol: float, atol: float = 0.0) -> None:
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=atol)


# values ------------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("num_labels", [1, 7, 19])
def test_value_is_the_oracle(case: Case, num_labels: int) -> None:
    num_labels = max(num_labels, case.fewest_labels)
    arrays, keywords = case.draw(0, num_labels=num_labels)
    expected = case.expected(arrays, keywords)
    actual = call(case, arrays, keywords)
    assert actual.dtype == xp.float64
    assert tuple(actual.shape) == expected.shape
    assert case.across_batch or expected.shape == (6,)
    assert_close(actual, expected, rtol=1e-12, atol=1e-14)
    if num_labels == 7:
        actual = call(case, arrays, keywords, dtype="float32")
        assert actual.dtype == xp.float32
        assert_close(actual, expected, rtol=2e-5, atol=2e-6)


@every_case
@pytest.mark.parametrize("size", [0.0, 80.0, 1e4])
def test_value_at_hard_places(case: Case, size: float) -> None:
    arrays, keywords = case.draw(1)
    arrays = (np.sign(arrays[0]) * size, *arrays[1:])
    expected = case.expected(arrays, keywords)
    # what float32 cannot hold is inf there
    with np.errstate(over="ignore"):
        narrow = expected.astype(np.float32)
        assert_close(call(case, arrays, keywords), expected, rtol=1e-12, atol=1e-14)
        assert_close(call(case, arrays, keywords, dtype="float32"), narrow, rtol=2e-5, atol=2e-6)


@long_on_jax(FIRST)
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_batch_shape(case: Case, batch: tuple[int, ...]) -> None:
    if case.across_batch:
        pytest.skip("not promised")
    n = int(np.prod(batch))
    arrays, keywords = case.draw(2, n=n)
    shaped = tuple(x.reshape((*batch, *x.shape[1:])) for x in arrays)
    actual = call(case, shaped, keywords)
    assert tuple(actual.shape) == batch
    expected = case.expected(arrays, keywords).reshape(batch)
    assert_close(actual, expected, rtol=1e-12)


@every_case
def test_no_labels_at_all_is_zero(case: Case) -> None:
    if case.single_label or (case.embedded and not case.takes_targets):
        pytest.skip("there is a class, or there are no labels anyway")
    arrays, keywords = case.draw(2, num_labels=0)
    expected = np.zeros(case.expected(arrays, keywords).shape)
    assert_close(call(case, arrays, keywords), expected, rtol=0)


@every_loss
@pytest.mark.skipif(NAME == "jax", reason="compiled for the empty shape alone")
def test_no_examples_of_no_classes(case: Case) -> None:
    if not case.single_label or case.fewest_labels or case.follows_size:
        pytest.skip("not promised")
    arrays, keywords = case.draw(2, n=0, num_labels=0)
    assert tuple(call(case, arrays, keywords).shape) == (0,)


@long_on_jax(FIRST)
def test_label_axis_may_be_anywhere(case: Case) -> None:
    if not case.takes_axis:
        pytest.skip("no axis")
    arrays, keywords = case.draw(3)
    moved = tuple(x.T for x in arrays)
    where = np.random.default_rng(0).random(moved[0].shape) < 0.5
    actual = call(case, moved, keywords, where=where, axis=0)
    expected = to_numpy(call(case, arrays, keywords, where=where.T))
    assert_close(actual, expected, rtol=1e-15)


@long_on_jax(FIRST)
def test_targets_of_any_dtype(case: Case) -> None:
    arrays, keywords = case.draw(4)
    if not case.takes_targets:
        pytest.skip("no targets")
    targets = arrays[-1] if case.single_label else (arrays[-1] > 0.5).astype(float)
    expected = to_numpy(call(case, (*arrays[:-1], targets), keywords))
    dtypes = ("int32", "uint8") if case.single_label else ("bool", "int32", "float32")
    for dtype in dtypes:
        inputs = (*(here(x) for x in arrays[:-1]), asarray(targets, dtype))
        loss = compiled(loss_of_arrays(case.id, -1))
        actual = loss(inputs, named(case, keywords, "float64", None))
        assert actual.dtype == xp.float64
        assert_close(actual, expected, rtol=1e-14)


# masks -------------------------------------------------------------------------------------------


@every_case
def test_mask_is_deletion(case: Case) -> None:
    """Whatever stands where the mask is False: NaN, infinities, a number too large to square."""
    if not case.takes_where or not case.labels_are_alike or case.follows_size:
        pytest.skip("no where, or labels tied to one another")
    arrays, keywords = case.draw(5)
    where = np.array([True, False, True, True, False, False, True])
    kept = case.keep(arrays, where)
    kept_keywords = {k: v[where] if k in case.per_label else v for k, v in keywords.items()}
    expected = to_numpy(call(case, kept, kept_keywords))
    garbage = np.tile([[np.nan], [np.inf], [-np.inf]], (2, 7))
    garbage[:, 5] = 1e30
    masked = tuple(np.where(where, x, garbage) if x.ndim == 2 else x for x in arrays)
    mask = np.broadcast_to(where, masked[0].shape)
    assert_close(call(case, masked, keywords, where=mask), expected, rtol=1e-14)
    if HAS_GRADIENTS:
        weights = some_weights(case, kept)
        derivatives = loss_gradient(case, masked, keywords, weights, where=mask)
        expected_derivatives = loss_gradient(case, kept, kept_keywords, weights)
        np.testing.assert_allclose(
            derivatives[:, where], expected_derivatives, rtol=1e-13, atol=1e-15
        )
        assert (derivatives[:, ~where] == 0).all()


@every_case
def test_all_masked_is_zero(case: Case) -> None:
    if not case.takes_where:
        pytest.skip("no where")
    arrays, keywords = case.draw(6)
    nothing = np.zeros(arrays[0].shape, dtype=bool)
    lost = tuple(np.full_like(x, np.nan) if x.ndim == 2 else x for x in arrays)
    expected = np.zeros(case.expected(arrays, keywords).shape)
    assert_close(call(case, lost, keywords, where=nothing), expected, rtol=0)
    if HAS_GRADIENTS:
        derivatives = loss_gradient(case, lost, keywords, expected + 1, where=nothing)
        assert (derivatives == 0).all()


@every_case
def test_nan_logit_gives_nan(case: Case) -> None:
    arrays, keywords = case.draw(7)
    arrays[0][2, 3] = np.nan
    actual = np.isnan(to_numpy(call(case, arrays, keywords)))
    if case.embedded:  # in any row that it meets, unless there is nothing to attract
        with np.errstate(invalid="ignore"):
            assert actual.tolist() == np.isnan(case.expected(arrays, keywords)).tolist()
    elif case.across_batch:
        assert actual[2] if actual.ndim else actual
    else:
        assert actual.tolist() == [i == 2 for i in range(6)]


@every_case
def test_nan_target_gives_nan(case: Case) -> None:
    """Never a number that looks right; `check_targets` is there to raise."""
    if case.single_label or not case.takes_targets:
        pytest.skip("no targets that could be NaN")
    arrays, keywords = case.draw(7)
    targets = arrays[-1].astype(float)
    targets[2, 3] = np.nan
    actual = np.isnan(to_numpy(call(case, (*arrays[:-1], targets), keywords)))
    if case.embedded:  # as if the point were NaN
        arrays[0][2] = np.nan
        with np.errstate(invalid="ignore"):
            assert actual.tolist() == np.isnan(case.expected(arrays, keywords)).tolist()
    elif case.across_batch:
        assert actual[2] if actual.ndim else actual
    else:
        assert actual.tolist() == [i == 2 for i in range(6)]


@long_on_jax(FIRST)
def test_mask_of_whole_examples(case: Case) -> None:
    """`[N, 1]` is the same mask for every label, and what it hides is neither checked nor used."""
    if not case.takes_where:
        pytest.skip("no where")
    arrays, keywords = case.draw(19)
    rows = np.array([True, False, True, True, False, True])
    whole = np.broadcast_to(rows[:, None], arrays[0].shape)
    expected = to_numpy(call(case, arrays, keywords, where=whole))
    hidden = tuple(x.copy() for x in arrays)
    if case.single_label:
        hidden[-1][~rows] = (-100, 10**9)
    inputs = tuple(here(x) for x in hidden)
    column = here(rows[:, None])
    assert_close(case.loss(*inputs, **all_here(keywords), where=column), expected, rtol=1e-13)
    if not case.across_batch:
        assert (expected[~rows] == 0).all()
    else:
        alone = to_numpy(call(case, tuple(x[rows] for x in arrays), keywords))
        np.testing.assert_allclose(expected[rows] if expected.ndim else expected, alone, rtol=1e-12)
    actual = call(case, hidden, keywords, where=whole)
    assert_close(actual, expected, rtol=1e-13)
    if HAS_GRADIENTS:
        derivatives = loss_gradient(case, hidden, keywords, np.ones(expected.shape), where=whole)
        assert (derivatives[~rows] == 0).all()


@only_jax
@every_loss
def test_class_id_out_of_range_is_nan_under_jit(case: Case) -> None:
    """In value and gradient, wherever the id is."""
    if not case.single_label:
        pytest.skip("no class ids")
    arrays, keywords = case.draw(20)
    arrays[-1][[1, 4]] = (7, -100)
    bad = [False, True, False, False, True, False]
    assert np.isnan(to_numpy(call(case, arrays, keywords))).tolist() == bad
    derivatives = loss_gradient(case, arrays, keywords, np.ones(6))
    assert np.isnan(derivatives).all(axis=1).tolist() == bad
    assert np.isfinite(derivatives[~np.array(bad)]).all()


@pytest.mark.skipif(NAME != "torch", reason="PyTorch's transformations")
@every_loss
def test_class_id_out_of_range_is_nan_under_vmap(case: Case) -> None:
    """Where they cannot be checked they are no places to read from."""
    if not case.single_label or case.across_batch:
        pytest.skip("no class ids, or not one example alone")
    import torch

    arrays, keywords = case.draw(20)
    arrays[-1][[1, 4]] = (7, -100)
    one = partial(case.loss, **all_here(keywords))
    values = torch.func.vmap(one)(*(here(x) for x in arrays))
    assert values.isnan().tolist() == [False, True, False, False, True, False]


# infinity ----------------------------------------------------------------------------------------


@every_case
def test_right_at_infinity_is_deletion(case: Case) -> None:
    if not case.right_infinity_is_deletion:
        pytest.skip("not promised")
    arrays, keywords = case.draw(8)
    relevant = case.relevant(arrays)
    columns = np.array([1, 4, 5])
    sure = np.isin(np.arange(7), columns)
    logits = np.where(sure, np.where(relevant, np.inf, -np.inf), arrays[0])
    targets = arrays[-1] if case.single_label else relevant.astype(float)
    rest = case.keep((arrays[0], targets), ~sure)
    rest_keywords = {k: v[~sure] if k in case.per_label else v for k, v in keywords.items()}
    expected = to_numpy(call(case, rest, rest_keywords))
    assert_close(call(case, (logits, targets), keywords), expected, rtol=1e-13)
    if HAS_GRADIENTS:
        derivatives = loss_gradient(case, (logits, targets), keywords, np.ones(6))
        assert (derivatives[:, columns] == 0).all()
        assert np.isfinite(derivatives).all()


@every_case
def test_wrong_at_infinity_is_the_limit(case: Case) -> None:
    if case.embedded:
        pytest.skip("no place for a point")
    arrays, keywords = case.draw(9)
    targets = arrays[-1]
    if case.takes_targets and not case.single_label:
        targets = (targets > 0.5).astype(float)
    rest = (*arrays[1:-1], targets)
    relevant = case.relevant((arrays[0], targets))[:, 2] & case.takes_targets
    wrong, far = arrays[0].copy(), arrays[0].copy()
    wrong[:, 2] = np.where(relevant, -np.inf, np.inf)
    far[:, 2] = np.where(relevant, -1e5, 1e5)
    limit = case.expected((far, *rest), keywords)
    expected = np.where(limit > 1e3, np.inf, limit)
    assert_close(call(case, (wrong, *rest), keywords), expected, rtol=1e-12)
    if HAS_GRADIENTS and case.derivative_at_infinity and case.takes_targets and len(arrays) == 2:
        derivatives = loss_gradient(case, (wrong, *rest), keywords, np.ones(6))
        expected_derivatives = case.differences((far, *rest), keywords, np.ones(6))
        np.testing.assert_allclose(
            derivatives[:, 2], expected_derivatives[:, 2], rtol=1e-6, atol=1e-9
        )


# gradients ---------------------------------------------------------------------------------------


@with_gradients
@every_case
def test_gradient_is_the_derivative_of_the_oracle(case: Case) -> None:
    arrays, keywords = case.draw(10)
    weights = some_weights(case, arrays)
    expected = case.differences(arrays, keywords, weights)
    actual = loss_gradient(case, arrays, keywords, weights)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)
    # float32 logits: the gradient has their dtype and their accuracy
    actual = loss_gradient(case, arrays, keywords, weights, dtype="float32")
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@with_gradients
@every_case
@pytest.mark.parametrize("size", [0.0, 80.0, 1e4])
def test_gradient_at_hard_places(case: Case, size: float) -> None:
    if size not in case.hard_sizes:
        pytest.skip("not promised")
    arrays, keywords = case.draw(11)
    arrays = (np.sign(arrays[0]) * size, *arrays[1:])
    weights = some_weights(case, arrays)
    expected = case.differences(arrays, keywords, weights)
    actual = loss_gradient(case, arrays, keywords, weights)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    actual = loss_gradient(case, arrays, keywords, weights, dtype="float32")
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@with_gradients
@every_loss
def test_gradient_follows_a_permutation(case: Case) -> None:
    if not case.labels_are_alike:
        pytest.skip("labels tied to one another")
    arrays, keywords = case.draw(12)
    order = np.random.default_rng(2).permutation(7)
    moved = case.keep(arrays, order)
    moved_keywords = {k: v[order] if k in case.per_label else v for k, v in keywords.items()}
    weights = some_weights(case, arrays)
    derivatives = loss_gradient(case, arrays, keywords, weights)
    moved_weights = case.keep_values(weights, 6, order)
    moved_derivatives = loss_gradient(case, moved, moved_keywords, moved_weights)
    np.testing.assert_allclose(moved_derivatives, derivatives[:, order], rtol=1e-12, atol=1e-15)


@every_case
def test_huge_finite_logits(case: Case) -> None:
    """No value is NaN where a difference overflows, and a bounded derivative is finite there."""
    if case.embedded or case.logits_name == "similarities":
        pytest.skip("no logits")
    arrays, keywords = case.draw(23)
    rng = np.random.default_rng(1)
    shares = rng.choice([-1.0, -0.7, 0.7, 1.0], arrays[0].shape)
    is_huge = rng.random(shares.shape) < 0.7
    for dtype in ("float64", "float32"):
        logits = np.where(is_huge, np.finfo(dtype).max * shares, arrays[0])
        huge = (logits, *arrays[1:])
        with np.errstate(over="ignore", invalid="ignore"):
            assert not np.isnan(to_numpy(call(case, huge, keywords, dtype=dtype))).any()
        if HAS_GRADIENTS and case.bounded_derivative:
            weights = some_weights(case, arrays)
            derivatives = loss_gradient(case, huge, keywords, weights, dtype=dtype)
            assert np.isfinite(derivatives).all()


@every_case
def test_small_losses_keep_their_digits(case: Case) -> None:
    if case.embedded or case.logits_name == "similarities":
        pytest.skip("no logits")
    arrays, keywords = case.draw(24)
    sizes = np.random.default_rng(2).integers(20, 50, arrays[0].shape)
    logits = np.where(case.relevant(arrays), 1.0, -1.0) * sizes
    expected = to_numpy(call(case, (logits, *arrays[1:]), keywords))
    actual = call(case, (logits, *arrays[1:]), keywords, dtype="float32")
    assert_close(actual, expected, rtol=1e-4, atol=1e-36)


# half precision ----------------------------------------------------------------------------------


@with_gradients
@long_on_jax(FIRST)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(case: Case, dtype: str) -> None:
    """Far closer to the oracle than any formula evaluated in half precision can be."""
    arrays, keywords = case.draw(13)

    def rounded(x: np.ndarray) -> np.ndarray:
        return to_numpy(here(x, dtype)).astype(x.dtype) if x.dtype.kind == "f" else x

    arrays = tuple(rounded(x) for x in arrays)
    actual = call(case, arrays, keywords, dtype=dtype)
    assert actual.dtype == xp.float32
    keywords = {k: rounded(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
    assert_close(actual, case.expected(arrays, keywords), rtol=2e-5, atol=2e-6)
    weights = np.ones(case.expected(arrays, keywords).shape)
    derivatives = loss_gradient(case, arrays, keywords, weights, dtype=dtype)
    expected = case.differences(arrays, keywords, weights)
    rounding = float(xp.finfo(getattr(xp, dtype)).eps)
    np.testing.assert_allclose(derivatives, expected, rtol=rounding, atol=rounding * 1e-2)


# transformations ---------------------------------------------------------------------------------


@only_jax
@every_loss
def test_jit_and_vmap(case: Case) -> None:
    import jax

    arrays, keywords = case.draw(14)
    mask = np.random.default_rng(0).random(arrays[0].shape) < 0.7
    jitted_value = call(case, arrays, keywords, where=mask if case.takes_where else None)
    where, keywords = asarray(mask), all_here(keywords)
    inputs = tuple(here(x) for x in arrays)

    def loss(where: Any, *arrays: Any) -> Any:
        mask = {"where": where} if case.takes_where else {}
        return case.loss(*arrays, **keywords, **mask)

    eager = to_numpy(loss(where, *inputs))
    assert_close(jitted_value, eager, rtol=1e-12)
    if not case.across_batch:
        vectorized = jitted(jax.vmap(loss), quick=True)
        assert_close(vectorized(where, *inputs), eager, rtol=1e-12)


@only_jax
@long_on_jax(CASES)
def test_forward_mode_and_second_derivatives(case: Case) -> None:
    import jax

    if not case.takes_forward_mode:
        pytest.skip("not promised")
    arrays, keywords = case.draw(15, n=3, num_labels=4)
    keywords = all_here(keywords)
    rest = [here(x) for x in arrays[1:]]

    def total(logits: Any) -> Any:
        return case.loss(logits, *rest, **keywords).sum()

    @compiled
    def derivatives(x: Any, direction: Any) -> Any:
        forward = jax.jvp(total, (x,), (direction,))[1]
        derivatives, product = jax.jvp(jax.grad(total), (x,), (direction,))
        return forward, derivatives, product, jax.hessian(total)(x)

    direction = np.linspace(-1, 1, 12).reshape(3, 4)
    here_and_beside = (arrays[0] + step * direction for step in (0, 1e-5, -1e-5))
    found, ahead, behind = (derivatives(asarray(x), asarray(direction)) for x in here_and_beside)
    forward, derivatives, product, hessian = map(to_numpy, found)
    expected = to_numpy(ahead[1] - behind[1]) / 2e-5
    np.testing.assert_allclose(forward, (derivatives * direction).sum(), rtol=1e-10)
    if case.fixed_weights:
        return  # fixed in the second derivative too, moving in the difference of the first
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-7)
    actual = np.einsum("ijkl,kl->ij", hessian, direction)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


@only_jax
@long_on_jax(FIRST)
def test_without_x64(case: Case) -> None:
    """JAX as it comes out of the box: 32 bits."""
    import jax

    arrays, keywords = case.draw(16)
    with jax.enable_x64(False):
        actual = call(case, arrays, keywords, dtype="float32")
        assert actual.dtype == xp.float32
    assert_close(actual, case.expected(arrays, keywords), rtol=2e-5, atol=2e-6)


# devices and errors ------------------------------------------------------------------------------


@every_loss
@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
def test_result_is_on_the_device_of_the_logits(case: Case) -> None:
    device = xp.device("meta") if NAME == "torch" else xp.Device("device1")
    arrays, keywords = case.draw(17)

    def there(x: Any) -> Any:
        return xp.asarray(here(x), device=device, copy=True)

    keywords = {k: there(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
    actual = case.loss(*(there(x) for x in arrays), **keywords)
    assert actual.device == device


@every_loss
def test_wrong_input_is_named(case: Case) -> None:
    arrays, keywords = case.draw(18)
    right = tuple(here(x) for x in arrays)
    keywords = all_here(keywords)
    column = here(arrays[-1].reshape(6, -1)[:, :1])
    shapes = r"same shape, got \(6, 7\) and \(6, 1\)"
    if case.embedded and case.takes_targets:  # there may be other dimensions than labels
        column = right[-1][:5, :]
        shapes = r"same number of rows, got \(6, 7\) and \(5, 7\)"
    if case.single_label:
        shapes = rf"labels must have the shape of {case.logits_name} .*, \(6,\), got \(6, 1\)"
        with pytest.raises(TypeError, match="labels must be integers"):
            case.loss(right[0], right[0][:, 0], **keywords)
        with pytest.raises(ValueError, match=r"labels must be in 0..6, got 7"):
            case.loss(right[0], right[1] * 0 + 7, **keywords)
    name = case.logits_name
    with pytest.raises(ValueError, match=shapes):
        case.loss(*right[:-1], column, **keywords)
    with pytest.raises(TypeError, match=rf"{name} must be floating-point, got dtype .*int32"):
        case.loss(asarray(arrays[0], "int32"), *right[1:], **keywords)
    with pytest.raises(TypeError, match=f"{name} must be an array"):
        case.loss(arrays[0].tolist(), *right[1:], **keywords)
    if not case.takes_where:
        return
    with pytest.raises(TypeError, match="where must be bool"):
        case.loss(*right, **keywords, where=right[0])
    with pytest.raises(ValueError, match=rf"{name} and where must have the same shape"):
        case.loss(*right, **keywords, where=right[0][:, :2] > 0)


# properties --------------------------------------------------------------------------------------


@every_case
@examples(15, database=None)
@given(data=st.data())
def test_shapes_masks_and_order(case: Case, data: st.DataObject) -> None:
    """For any shape and mask: the value is that of the known labels alone, in any order."""
    if not case.labels_are_alike:
        pytest.skip("labels tied to one another")
    # JAX compiles for every shape, so it gets one
    n, num_labels = (6, 7) if NAME == "jax" else data.draw(st.tuples(*[st.integers(1, 9)] * 2))
    num_labels = max(num_labels, case.fewest_labels)
    arrays, keywords = case.draw(data.draw(st.integers(0, 2**16)), n=n, num_labels=num_labels)
    where = np.array(data.draw(st.lists(st.booleans(), min_size=num_labels, max_size=num_labels)))
    order = np.array(data.draw(st.permutations(range(num_labels))))
    if not case.takes_where or case.follows_size:
        where[:] = True
    mask = {"where": np.broadcast_to(where, arrays[0].shape)} if case.takes_where else {}
    kept = order[where[order]]
    actual = case.keep_values(to_numpy(call(case, arrays, keywords, **mask)), n, kept)
    kept_keywords = {k: v[kept] if k in case.per_label else v for k, v in keywords.items()}
    expected = case.expected(case.keep(arrays, kept), kept_keywords)
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)
