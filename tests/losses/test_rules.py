"""The gradient rules: derivatives by every array, small losses, and what is kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from tests.losses.cases import CASES
from tests.support.backends import HAS_GRADIENTS, NAME, asarray, compiled, gradient, to_numpy, xp
from tests.support.case import Case
from tests.support.slow import slow_to_compile

with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_torch = pytest.mark.skipif(NAME != "torch", reason="PyTorch's memory")
only_jax = pytest.mark.skipif(NAME != "jax", reason="XLA's memory")

LOGITS, TARGETS = np.array([[2.0, -3.0]]), np.array([[1.0, 0.0]])


def weighted(logits: Any, targets: Any, positive: Any, label: Any) -> Any:
    return xp.sum(
        ml.binary_cross_entropy(logits, targets, pos_weight=positive, label_weights=label)
    )


def by_targets(y: Any, s: Any) -> Any:
    return xp.sum(ml.binary_cross_entropy(s, y))


def by_positive(p: Any, s: Any, y: Any, w: Any) -> Any:
    return weighted(s, y, p, w)


def by_label(w: Any, s: Any, y: Any, p: Any) -> Any:
    return weighted(s, y, p, w)


def by_targets_of_weighted(y: Any, s: Any, p: Any, w: Any) -> Any:
    return weighted(s, y, p, w)


# by a weight, whatever it is ---------------------------------------------------------------------


@with_gradients
def test_derivative_by_hard_targets_is_minus_the_logit() -> None:
    derivatives = gradient(by_targets, asarray(TARGETS), asarray(LOGITS))
    np.testing.assert_allclose(derivatives, -LOGITS, rtol=1e-14)


@with_gradients
@pytest.mark.parametrize("weights", [[0.0, 0.0], [0.0, 1.0], [2.0, 0.5]])
def test_derivative_by_a_weight_is_its_term(weights: list[float]) -> None:
    s, y = LOGITS, 1.0 - TARGETS  # both wrong: no term is near 0
    w, p = np.array(weights), np.array([0.0, 3.0])
    arrays = (asarray(s), asarray(y))
    up, down = np.logaddexp(0, s[0]), np.logaddexp(0, -s[0])
    by_w = gradient(by_label, asarray(w), *arrays, asarray(p))
    np.testing.assert_allclose(by_w, p * y[0] * down + (1 - y[0]) * up, rtol=1e-13)
    by_p = gradient(by_positive, asarray(p), *arrays, asarray(w))
    np.testing.assert_allclose(by_p, w * y[0] * down, rtol=1e-13)
    by_y = gradient(by_targets_of_weighted, asarray(y), arrays[0], asarray(p), asarray(w))
    np.testing.assert_allclose(by_y[0], w * (p * down - up), rtol=1e-13)


@with_gradients
def test_a_weight_of_0_keeps_an_infinite_term_out_of_all_gradients() -> None:
    s, y = np.array([[np.inf, -np.inf, 1.0]]), np.array([[0.0, 1.0, 1.0]])
    w, p = np.array([0.0, 0.0, 1.0]), np.ones(3)
    value = compiled(weighted)(*(asarray(x) for x in (s, y, p, w)))
    np.testing.assert_allclose(to_numpy(value), np.logaddexp(0, -1.0), rtol=1e-14)

    def by_logits(s: Any, y: Any, p: Any, w: Any) -> Any:
        return weighted(s, y, p, w)

    derivatives = gradient(by_logits, asarray(s), asarray(y), asarray(p), asarray(w))
    np.testing.assert_allclose(derivatives, [[0.0, 0.0, -1 / (1 + np.e)]], rtol=1e-14)


INFINITE = np.array([[-np.inf, 1.0, np.inf]])
OF_WEIGHT_0: dict[str, tuple[Callable[..., Any], list[int]]] = {
    "positives of focal": (partial(ml.focal, alpha=0.0), [1, 0, 1]),
    "negatives of focal": (partial(ml.focal, alpha=1.0), [0, 1, 0]),
    "positives of poly": (partial(ml.poly, alpha=0.0, epsilon=0.0), [1, 0, 1]),
    "one head of two": (
        lambda s, y: ml.average_k_two_head(0.0 * xp.zeros_like(s), s, y[:, 0], 1, head_weight=0.0),
        [0, 0, 0],
    ),
    "one part of r_drop": (
        lambda s, y: ml.r_drop(xp.where(xp.isinf(s), 0.0, s), -s, y, alpha=0.0),
        [1, 0, 0],
    ),
}


@pytest.mark.parametrize("name", OF_WEIGHT_0)
def test_a_hyper_parameter_of_0_removes_an_infinite_term(name: str) -> None:
    loss, targets = OF_WEIGHT_0[name]
    with np.errstate(invalid="ignore"):
        value = to_numpy(compiled(loss)(asarray(INFINITE), asarray([targets])))
    assert np.isfinite(value).all()


@with_gradients
def test_zlpr_by_soft_targets_and_threshold() -> None:
    rng = np.random.default_rng(0)
    s, y, b = rng.normal(size=(3, 5)), rng.random((3, 5)), rng.normal(size=3)
    y[0, :2] = 0.0, 1.0

    def oracle(s: np.ndarray, y: np.ndarray, b: np.ndarray) -> float:
        up = np.exp(b) + ((1 - y) * np.exp(s)).sum(-1)
        down = np.exp(-b) + (y * np.exp(-s)).sum(-1)
        return float(np.log(up * down).sum())

    def loss_of_targets(y: Any, s: Any, b: Any) -> Any:
        return xp.sum(ml.zlpr(s, y, threshold=b))

    def loss_of_threshold(b: Any, s: Any, y: Any) -> Any:
        return xp.sum(ml.zlpr(s, y, threshold=b))

    for index, derivatives in (
        (1, gradient(loss_of_targets, asarray(y), asarray(s), asarray(b))),
        (2, gradient(loss_of_threshold, asarray(b), asarray(s), asarray(y))),
    ):
        arrays = [s, y, b]
        expected = np.empty_like(arrays[index])
        for place in np.ndindex(*expected.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = arrays[index].copy()
                moved[place] += step
                sides.append(oracle(*arrays[:index], moved, *arrays[index + 1 :]))
            expected[place] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(derivatives, expected, rtol=1e-6)


# a hierarchy makes unknown labels known
MASKED = [
    case for case in CASES
    if case.takes_where and not case.embedded and case.loss.__name__ != "max_constraint"
]  # fmt: skip


@pytest.mark.skipif(NAME != "torch", reason="on JAX the arguments are masked outside of a rule")
@pytest.mark.parametrize("case", MASKED, ids=lambda case: case.id)
def test_second_derivatives_by_all_arrays_where_labels_are_unknown(case: Case) -> None:
    """Neither a NaN there nor what stands in for it."""
    import torch

    arrays, keywords = case.draw(3, n=4, num_labels=4)
    named = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
    where = np.random.default_rng(3).random((4, 4)) < 0.7
    arrays[0][~where] = np.resize([np.nan, np.inf, -np.inf], (~where).sum())
    inputs = [asarray(x) for x in arrays]
    moving = [x.requires_grad_() for x in inputs if x.is_floating_point()]
    loss = case.loss(*inputs, **named, where=asarray(where)).sum()
    first = torch.autograd.grad(loss, moving, create_graph=True, allow_unused=True)
    moved = [x for x in first if x is not None and x.requires_grad]
    if moved:
        weighted = sum((x * torch.linspace(0.5, 1.5, x.numel()).view(x.shape)).sum() for x in moved)
        second = torch.autograd.grad(weighted, moving, allow_unused=True)
        assert all(x is None or x.isfinite().all() for x in (*first, *second))


@only_torch
def test_a_constant_tensor_as_parameter_keeps_the_formula() -> None:
    """Of an infinite logit the operations, one by one, have no derivative."""
    import torch

    def derivatives(gamma: Any) -> Any:
        logits = torch.tensor([[np.inf, -np.inf, 1.0], [-np.inf, np.inf, 0.0]], requires_grad=True)
        targets = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        loss = ml.focal(logits, targets, gamma=gamma).sum()
        return torch.autograd.grad(loss, logits)[0]

    np.testing.assert_allclose(derivatives(torch.tensor(0.5)), derivatives(0.5), rtol=1e-6)


@pytest.mark.skipif(NAME != "torch", reason="PyTorch's arrays are written into")
@pytest.mark.parametrize("place", ["whole", "blocks", "device"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_users_may_write_into_a_loss(
    case: Case, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`loss += penalty`: a result is no view, and not kept for the backward pass."""
    from mlc_losses._array import torch_blocks

    if place == "blocks":
        monkeypatch.setattr(torch_blocks, "BLOCK_SIZE", 1)
    if place == "device":
        monkeypatch.setattr(torch_blocks, "are_on_cpu", lambda *tensors: False)
    arrays, keywords = case.draw(0)
    rest = [asarray(x) for x in arrays[1:]]
    named = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}

    def total(s: Any) -> Any:
        return case.loss(s, *rest, **named).sum()

    def written_into(s: Any) -> Any:
        loss = case.loss(s, *rest, **named)
        loss += 1.0
        return loss.sum()

    derivatives = gradient(written_into, asarray(arrays[0]))
    np.testing.assert_array_equal(derivatives, gradient(total, asarray(arrays[0])))


# small losses ------------------------------------------------------------------------------------

SMALL: list[tuple[str, Callable[..., Any], list[float], Any, float]] = [
    ("zlpr", ml.zlpr, [30.0, 40.0, 50.0], [1.0, 1.0, 1.0], 9.358e-14),
    ("zlpr, negatives", ml.zlpr, [-30.0, -40.0, -50.0], [0, 0, 0], 9.358e-14),
    ("cross-entropy", ml.binary_cross_entropy, [-30.0, 30.0], [0.0, 1.0], 1.8715e-13),
    ("lsep", ml.lsep, [30.0, 0.0], [1, 0], 9.3576e-14),
    ("softmax", ml.softmax_cross_entropy, [30.0, 0.0, 0.0], 0, 1.8715e-13),
    ("multilabel softmax", ml.multilabel_softmax, [30.0, 0.0, 0.0], [1, 0, 0], 1.8715e-13),
]


@pytest.mark.parametrize(("loss", "logits", "targets", "expected"), [x[1:] for x in SMALL],
                         ids=[x[0] for x in SMALL])  # fmt: skip
def test_small_losses_keep_their_digits(
    loss: Any, logits: list[float], targets: Any, expected: float
) -> None:
    value = loss(asarray(np.array(logits), "float32"), asarray(np.array(targets)))
    np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-4)


@pytest.mark.parametrize(("logits", "targets", "expected"),
                         [([-103.0], [1e-7], 86.8819044), ([-95.0, 0.0], [1e-5, 1.0], 83.4870745),
                          ([17.0, 1.0], [1 - 1e-6, 1 - 1e-7], 3.55098697)])  # fmt: skip
def test_zlpr_keeps_the_digits_of_soft_targets(
    logits: list[float], targets: list[float], expected: float
) -> None:
    """A small one times an exponential that float32 holds few digits of the inverse of."""
    value = ml.zlpr(asarray(np.array(logits), "float32"), asarray(np.array(targets), "float32"))
    np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-6)


@only_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_hard", [True, False], ids=["hard", "soft"])
def test_a_small_batch_as_a_large_one(
    is_hard: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hard targets and a few entries, cross-entropy is made of PyTorch's own operations."""
    import torch

    from mlc_losses._array import torch_rules

    logits = [0.0, -0.0, 1e-30, 1.0, -2.0, 30.0, -30.0, 50.0, 80.0, -80.0, 1e4, -1e20]
    rows = asarray(np.stack([logits, logits, np.zeros(12)]), dtype).requires_grad_()
    hard = np.stack([np.zeros(12), np.ones(12), np.arange(12) % 2])
    y = asarray(hard if is_hard else 0.25 + 0.5 * hard, dtype)

    def results() -> tuple[str, list[Any]]:
        losses = ml.binary_cross_entropy(rows, y)
        first = torch.autograd.grad(losses.sum(), rows, create_graph=True)[0]
        second = torch.autograd.grad(first.sum(), rows)[0]
        kind = losses.grad_fn.name()
        return kind, [x.detach().numpy() for x in (losses, first, second)]

    kind, small = results()
    monkeypatch.setattr(torch_rules, "_SMALL", 0)
    large_kind, large = results()
    assert (kind == large_kind) == (not is_hard)
    # σ - y of a large batch, and PyTorch's own second derivative σ (1 - σ), lose small differences
    for ours, expected, atol in zip(small, large, (1e-30, 1e-7, 1e-7), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=atol)


@only_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("num_labels", [1, 2, 3, 4, 5, 6, 7, 10, 5001])
@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 20.0, 80.0])
def test_cross_entropy_by_products_keeps_its_digits(
    size: float, num_labels: int, dtype: str
) -> None:
    """One logarithm for four labels, where all are undecided as where all are decided."""
    logits = size * np.where(np.arange(3 * num_labels) % 3, -1.0, 1.0).reshape(3, num_labels)
    logits = asarray(logits, dtype)
    value = ml.binary_cross_entropy(logits, asarray(to_numpy(logits) > 0, dtype))
    expected = np.log1p(np.exp(-np.abs(to_numpy(logits).astype(np.float64)))).sum(-1)
    np.testing.assert_allclose(to_numpy(value), expected, rtol=6 * float(np.finfo(dtype).eps))


# what a user masks a class with, in place of -inf
@pytest.mark.parametrize("mask", [-1e9, -1e30, -9e29, float(np.finfo(np.float32).min), -np.inf])
def test_a_class_masked_by_a_large_logit(mask: float) -> None:
    s, y = asarray(np.array([[0.0, mask, 2.0]]), "float32"), asarray(np.array([[1, 0, 0]]))
    expected = np.array([2.126928])
    with np.errstate(over="ignore"):
        found = ml.lsep(s, y), ml.label_powerset(s, asarray(np.array([0])))
        no_positive = ml.lsep(s, asarray(np.array([[0, 0, 0]])))
    np.testing.assert_allclose([to_numpy(x) for x in found], [expected] * 2, rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(no_positive), [0.0])


# many labels: blocks of rows, runs of labels -----------------------------------------------------

ELEMENTWISE = (
    "zlpr", "zlpr_kl", "binary_cross_entropy", "focal", "poly", "asymmetric", "hill", "splc",
    "entropy_maximization", "assume_negative", "softmax_cross_entropy", "multilabel_softmax",
    "lsep", "distribution_balanced",
)  # fmt: skip
LARGE = {case.loss.__name__: case for case in reversed(CASES) if case.loss.__name__ in ELEMENTWISE}
every_large = pytest.mark.parametrize("case", LARGE.values(), ids=list(LARGE))


@slow_to_compile
@with_gradients
@every_large
def test_many_labels_as_few(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows on PyTorch, runs of labels on XLA's CPU backend, with an infinite logit."""
    rows, num_labels = 8, 150
    if NAME == "torch":
        from mlc_losses._array import torch_blocks

        monkeypatch.setattr(torch_blocks, "BLOCK_SIZE", 3 * num_labels + 1)
    arrays, keywords = case.draw(0, n=rows, num_labels=num_labels)
    if (
        case.takes_targets and len(arrays) == 2
    ):  # wrong at infinity, where that is a finite derivative
        wrong = np.inf if not case.relevant(arrays)[2, 1] else -np.inf
        arrays[0][2, 1] = wrong
    named = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}

    def total(s: Any, *rest: Any) -> Any:
        return xp.sum(case.loss(s, *rest, **named))

    rest = [asarray(x) for x in arrays[1:]]
    with np.errstate(all="ignore"):
        expected = case.expected(arrays, keywords)
    actual = to_numpy(case.loss(asarray(arrays[0]), *rest, **named))
    assert not np.isnan(actual).any()
    known = np.isfinite(expected)  # of inf - inf an oracle knows nothing
    np.testing.assert_allclose(actual[known], expected[known], rtol=1e-10)
    derivatives = gradient(total, asarray(arrays[0]), *rest)
    assert np.isfinite(derivatives).all()
    one = np.array([0, rows - 1])
    few = gradient(total, asarray(arrays[0][one]), *(asarray(x[one]) for x in arrays[1:]))
    np.testing.assert_allclose(derivatives[one], few, rtol=1e-12, atol=1e-15)


@slow_to_compile
@pytest.mark.skipif(NAME != "jax", reason="runs of labels are XLA's")
@pytest.mark.parametrize("dtype", ["bool", "int32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_many_labels_with_targets_of_any_dtype(case: Case, dtype: str) -> None:
    """Traced alone: that is where a sum of another dtype than its terms is an error."""
    import jax

    arrays, keywords = case.draw(0, n=4, num_labels=150)

    def hard(x: np.ndarray) -> np.ndarray:
        return x.astype(dtype) if x.ndim == 2 and np.isin(x, (0.0, 1.0)).all() else x

    inputs = [asarray(arrays[0]), *(asarray(hard(x)) for x in arrays[1:])]
    named = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
    value = jax.eval_shape(
        jax.value_and_grad(lambda *arrays: case.loss(*arrays, **named).sum()), *inputs
    )[0]
    assert value.dtype == inputs[0].dtype


def edges_of_a_softmax() -> tuple[np.ndarray, np.ndarray]:
    """Rows of logits, and labels."""
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(8, 150)), rng.integers(0, 150, 8)
    for row, of_label in ((1, 40.0), (2, -200.0), (3, -np.inf), (4, np.inf), (5, 80.0)):
        logits[row, labels[row]] = of_label
    logits[6, (labels[6] + 5) % 150] = np.inf
    logits[7, 10:140] = -np.inf
    logits[7, labels[7]] = 0.5
    return logits, labels


def softmax_and_its_derivatives(s: np.ndarray, label: int) -> tuple[float, np.ndarray]:
    if s[label] == np.inf:
        return 0.0, np.zeros_like(s)
    others = np.delete(s, label)
    if others.max() == np.inf:
        return np.inf, (s == np.inf) - 1.0 * (np.arange(len(s)) == label)
    rest = np.logaddexp.reduce(others)
    loss = np.logaddexp(0.0, rest - s[label])
    derivatives = np.exp(s - np.logaddexp(rest, s[label]))
    derivatives[label] = np.expm1(-loss)
    return loss, derivatives


def softmax_loss(s: Any, y: Any) -> Any:
    return xp.sum(ml.softmax_cross_entropy(s, y))


@pytest.mark.usefixtures("users_compiler")
@pytest.mark.parametrize("rows", [[0, 1, 5], [0, 1, 2], [0, 1, 2, 3, 4, 5, 6, 7]], ids=str)
def test_edges_of_a_softmax(rows: list[int]) -> None:
    """Each way to the sum over the other classes, and what one row makes of the others."""
    logits, labels = (x[rows] for x in edges_of_a_softmax())
    found = [softmax_and_its_derivatives(s, y) for s, y in zip(logits, labels, strict=True)]
    values, derivatives = (np.array(x) for x in zip(*found, strict=True))
    s, y = asarray(logits, "float32"), asarray(labels)
    actual = to_numpy(compiled(ml.softmax_cross_entropy)(s, y))
    np.testing.assert_allclose(actual, values, rtol=1e-5)
    if HAS_GRADIENTS:
        np.testing.assert_allclose(gradient(softmax_loss, s, y), derivatives, rtol=3e-5, atol=1e-36)


@pytest.mark.skipif(NAME != "torch", reason="PyTorch takes blocks of rows")
@pytest.mark.parametrize("loss", [ml.softmax_cross_entropy, ml.softmax_focal])
def test_each_block_of_a_softmax_in_its_own_way(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc_losses._array import torch_blocks

    logits, labels = edges_of_a_softmax()
    s, y = asarray(logits, "float32"), asarray(labels)
    one_by_one = [to_numpy(loss(s[i], y[i])) for i in range(len(labels))]
    monkeypatch.setattr(torch_blocks, "BLOCK_SIZE", 150)
    np.testing.assert_allclose(to_numpy(loss(s, y)), one_by_one, rtol=1e-6)
    derivatives = gradient(lambda s: xp.sum(loss(s, y)), s)
    assert np.isfinite(derivatives).all()


@pytest.mark.usefixtures("users_compiler")
def test_a_softmax_of_examples_left_out() -> None:
    """A label left out, and an example left out as a whole, with an id that is none."""
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(size=(4, 150)), rng.integers(0, 150, 4)
    where = rng.random((4, 150)) < 0.7
    where[np.arange(4), labels] = [True, False, True, True]
    where[2], labels[2], logits[2] = False, -100, np.nan
    logits[~where] = np.inf
    values, derivatives = np.zeros(4), np.zeros((4, 150))
    for row in (0, 3):
        kept = np.where(where[row], logits[row], -np.inf)
        values[row], derivatives[row] = softmax_and_its_derivatives(kept, labels[row])

    def loss(s: Any, y: Any, where: Any) -> Any:
        return xp.sum(ml.softmax_cross_entropy(s, y, where=where))

    given = [asarray(x) for x in (logits, labels, where)]
    actual = ml.softmax_cross_entropy(given[0], given[1], where=given[2])
    np.testing.assert_allclose(to_numpy(actual), values, rtol=1e-12)
    if HAS_GRADIENTS:
        np.testing.assert_allclose(gradient(loss, *given), derivatives, rtol=1e-12, atol=1e-15)


@with_gradients
def test_a_label_left_out_beside_a_large_logit() -> None:
    """Its own logit, as a shift, would make the exponential of the other one infinite."""
    where, label = asarray(np.array([[True, False]])), asarray(np.array([1]))

    def loss(s: Any) -> Any:
        return xp.sum(ml.softmax_cross_entropy(s, label, z_loss=0.1, where=where))

    np.testing.assert_array_equal(gradient(loss, asarray(np.array([[1e4, 1.0]]))), [[0.0, 0.0]])


@only_torch
@every_large
def test_a_single_row_that_is_longer_than_a_block(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlc_losses._array import torch_blocks

    arrays, keywords = case.draw(0, n=2, num_labels=150)
    s, *rest = (asarray(x[0]) for x in arrays)
    named = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}

    def loss(s: Any) -> Any:
        return case.loss(s, *rest, **named)

    expected = gradient(loss, s)
    monkeypatch.setattr(torch_blocks, "BLOCK_SIZE", 16)
    np.testing.assert_array_equal(gradient(loss, s), expected)


@only_torch
@every_large
def test_a_jacobian_of_all_rows_at_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd maps the backward pass over the rows, in blocks or not."""
    import torch

    from mlc_losses._array import torch_blocks

    arrays, keywords = case.draw(0, n=3, num_labels=150)
    s, *rest = map(asarray, arrays)
    named = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}

    def jacobian() -> Any:
        def losses(s: Any) -> Any:
            return case.loss(s, *rest, **named)

        return torch.autograd.functional.jacobian(losses, s, vectorize=True)

    expected = jacobian()
    monkeypatch.setattr(torch_blocks, "BLOCK_SIZE", 16)
    np.testing.assert_allclose(jacobian(), expected, rtol=1e-12, atol=1e-15)


@only_torch
@pytest.mark.modes
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Dynamo detected a call to")
@pytest.mark.parametrize("loss", [ml.binary_cross_entropy, ml.zlpr])
def test_a_compiled_batch_that_is_larger_than_a_block(
    loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from mlc_losses._array import torch_blocks

    monkeypatch.setattr(torch_blocks, "BLOCK_SIZE", 16)
    rng = np.random.default_rng(0)
    s, y = asarray(rng.normal(size=(4, 50))), asarray((rng.random((4, 50)) < 0.3).astype(float))
    torch._dynamo.reset()
    step = torch.compile(lambda s: loss(s, y).sum(), fullgraph=True)
    expected = gradient(lambda s: loss(s, y).sum(), s)
    np.testing.assert_allclose(gradient(step, s), expected, rtol=1e-10, atol=1e-14)


# memory ------------------------------------------------------------------------------------------


# arrays of the size of the logits that a loss keeps, where they are more than one: of the losses
# across the batch a copy of the logits, as a target may be NaN, and masks
ARRAYS_KEPT = {
    "large_loss": 1.75, "expected_positive": 1.5, "role": 1.5, "average_k_two_head": 1.5,
    "noised_top_k_hinge": 1.8, "smooth_top_k_hinge": 2.3, "smooth_average_precision": 2.8,
    "max_constraint": 4.5,
}  # fmt: skip


@only_torch
@pytest.mark.parametrize("case", [x for x in CASES if not x.embedded], ids=lambda x: x.id)
def test_torch_keeps_the_arguments_and_one_array(case: Case) -> None:
    import torch

    arrays, keywords = case.draw(1, n=64, num_labels=500)
    given = [asarray(x, "float32" if x.dtype.kind == "f" else None) for x in arrays]
    named = {
        k: asarray(v, "float32") if isinstance(v, np.ndarray) else v for k, v in keywords.items()
    }
    given[0].requires_grad_()
    # whatever holds on to it: what was allocated in the forward pass, less what was freed
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        total = case.loss(*given, **named).sum()
    kept = sum(event.self_cpu_memory_usage for event in profile.function_events)
    most = ARRAYS_KEPT.get(case.loss.__name__, 1.0)
    assert total.element_size() <= kept <= most * given[0].numel() * 4 + 64 * 4 * 40


@only_jax
@every_large
def test_jax_needs_one_array_beside_arguments_and_result(case: Case) -> None:
    import jax

    from tests.support.backends import users_compiler

    shape = (64, 1024)
    arrays, keywords = case.draw(1, n=shape[0], num_labels=shape[1])
    given = [asarray(x, "float32" if x.dtype.kind == "f" else None) for x in arrays]
    named = {
        k: asarray(v, "float32") if isinstance(v, np.ndarray) else v for k, v in keywords.items()
    }

    def total(s: Any, *rest: Any) -> Any:
        return case.loss(s, *rest, **named).sum()

    with users_compiler():
        program = jax.jit(jax.value_and_grad(total)).lower(*given).compile()
    temporaries = program.memory_analysis().temp_size_in_bytes
    assert temporaries <= given[0].nbytes * 1.05


# steps that follow one another -------------------------------------------------------------------


def steps_off_the_cpu(jaxpr: Any) -> int:
    """How many steps of loops follow one another, where each platform has a branch on the last."""
    total = 0
    for equation in jaxpr.eqns:
        parameters = equation.params
        if equation.primitive.name == "cond":
            inner = steps_off_the_cpu(parameters["branches"][-1].jaxpr)
        else:
            inside = (getattr(x, "jaxpr", x) for x in parameters.values())
            inner = sum(steps_off_the_cpu(x) for x in inside if hasattr(x, "eqns"))
        if equation.primitive.name == "scan":
            inner = parameters["length"] * max(inner, 1)
        assert equation.primitive.name != "while", "how many steps it has is not known"
        total += inner
    return total


@only_jax
@pytest.mark.parametrize(
    "loss", [partial(ml.smooth_top_k_hinge, k=20), ml.calibrated_ranking], ids=["smooth", "ranking"]
)
def test_no_loop_over_all_labels_off_the_cpu(loss: Any) -> None:
    """A GPU takes some microseconds for each step; traced alone."""
    import jax

    shape = (256, 10_000)
    targets = ((256,), "int32") if isinstance(loss, partial) else (shape, "bool")
    step = jax.make_jaxpr(jax.value_and_grad(lambda s, y: loss(s, y).sum()))
    given = (jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(*targets))
    assert 0 < steps_off_the_cpu(step(*given).jaxpr) < 1000
