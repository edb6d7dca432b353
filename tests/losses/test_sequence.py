"""Label sets as sequences: the order, teacher forcing, and the loss without an order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc_losses
from tests.losses import oracles_sets
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    OPTIMIZED,
    asarray,
    compiled,
    gradient,
    in_programs,
    to_numpy,
    xp,
)

ml = in_programs(mlc_losses)

only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")
WEIGHTS = np.linspace(0.5, 2, 6)
# five labels, up to four of them; no label, one, and an order that is not that of the ids
IDS = np.array(
    [[-1, -1, -1, -1], [3, -1, -1, -1], [4, 0, -1, -1], [2, 1, 0, -1], [3, 1, 4, 0], [0, 4, 2, -1]]
)
TARGETS = np.array([[label in row for label in range(5)] for row in IDS])
# what a decoder emitted: the empty set, a label that is wrong, twice the same, too few
EMITTED = np.array(
    [[-1, -1, -1, -1], [3, 1, 2, -1], [1, 4, 0, 2], [2, 2, 1, 0], [3, -1, -1, -1], [-1, -1, -1, -1]]
)
STEPS = np.random.default_rng(0).normal(size=(6, 6, 6)) * 3
LOSSES = {
    "label_sequence": (ml.label_sequence, oracles_sets.label_sequence, (IDS,)),
    "label_set_sequence": (ml.label_set_sequence, oracles_sets.label_set_sequence, (TARGETS, IDS)),
    "emitted": (ml.label_set_sequence, oracles_sets.label_set_sequence, (TARGETS, EMITTED)),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def expected_values(name: str, steps: np.ndarray) -> np.ndarray:
    _, oracle, rest = LOSSES[name]
    return np.array([oracle(*row) for row in zip(steps, *rest, strict=True)])


def sequence_total(steps: Any, ids: Any, weights: Any) -> Any:
    return xp.sum(xp.astype(ml.label_sequence(steps, ids), xp.float64) * weights)


def set_sequence_total(steps: Any, targets: Any, ids: Any, weights: Any) -> Any:
    return xp.sum(xp.astype(ml.label_set_sequence(steps, targets, ids), xp.float64) * weights)


def loss_derivatives(name: str, steps: np.ndarray, dtype: str = "float64") -> np.ndarray:
    rest = tuple(asarray(x) for x in LOSSES[name][2])
    total = sequence_total if name == "label_sequence" else set_sequence_total
    return gradient(total, asarray(steps, dtype), *rest, asarray(WEIGHTS))


def call(name: str, steps: np.ndarray, dtype: str = "float64") -> Any:
    loss, _, rest = LOSSES[name]
    return compiled(loss)(asarray(steps, dtype), *(asarray(x) for x in rest))


def steps_of(name: str) -> np.ndarray:
    """Which steps count, [6, 6]."""
    needed = np.where(IDS >= 0, 1, 0).sum(-1) + 1
    if name == "emitted":
        needed = np.array([1, 2, 4, 5, 2, 1])
    return np.arange(6) < needed[:, None]


# the order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_labels", [1, 3, 5, 8])
def test_order_labels(max_labels: int) -> None:
    rng = np.random.default_rng(max_labels)
    targets = rng.random((6, 5)) < 0.6
    targets[0], targets[1] = False, True
    counts = np.array([3, 9, 3, 0, 9])
    expected = [oracles_sets.order_labels(row, counts, max_labels) for row in targets]
    for dtype in ("int32", "float32"):
        ids = ml.order_labels(asarray(targets), asarray(counts, dtype), max_labels)
        np.testing.assert_array_equal(to_numpy(ids), expected)
    single = ml.order_labels(asarray(targets[2]), asarray(counts), max_labels)
    np.testing.assert_array_equal(to_numpy(single), expected[2])
    if max_labels >= 5:
        np.testing.assert_array_equal(to_numpy(ml.multi_hot(ids, 5)), targets)


def test_order_labels_refuses_other_counts() -> None:
    with pytest.raises(ValueError, match=r"one entry per label, shape \(5,\), got \(4,\)"):
        ml.order_labels(asarray(TARGETS), asarray([1, 2, 3, 4]), 3)
    with pytest.raises(ValueError, match="max_labels must be at least 1, got 0"):
        ml.order_labels(asarray(TARGETS), asarray([1, 2, 3, 4, 5]), 0)


# the losses --------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("size", [None, 0.0, 80.0, 1e4])
def test_value_and_gradient_are_the_oracles(name: str, size: float | None) -> None:
    """Whatever stands in the steps after the end."""
    steps = STEPS if size is None else np.sign(STEPS) * size
    garbage = np.where(steps_of(name)[..., None], steps, np.nan)
    expected = expected_values(name, steps)
    for dtype, rtol in (("float64", 1e-13), ("float32", 1e-5)):
        actual = call(name, garbage, dtype)
        assert actual.dtype == getattr(xp, dtype)
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=1e-6)
    if HAS_GRADIENTS:
        expected = oracles_sets.derivatives(lambda x: WEIGHTS * expected_values(name, x), steps)
        for dtype, rtol, atol in (("float64", 2e-6, 1e-7), ("float32", 1e-4, 1e-5)):
            actual = loss_derivatives(name, garbage, dtype)
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
            assert (actual[~steps_of(name)] == 0).all()


@pytest.mark.parametrize("name", ["label_sequence", "label_set_sequence"])
def test_a_class_at_minus_infinity_is_deleted(name: str) -> None:
    """Class 2, which in these rows is no target; where it is one, the loss is infinite."""
    rows, kept, renumbered = [1, 2, 4], [0, 1, 3, 4, 5], np.array([0, 1, -1, 2, 3, -1])
    steps = STEPS.copy()
    steps[:, :, 2] = -np.inf
    without = (STEPS[rows][..., kept], TARGETS[rows][:, kept[:-1]], renumbered[IDS[rows]])
    if name == "label_sequence":
        without = (without[0], without[2])
    expected = [LOSSES[name][1](*row) for row in zip(*without, strict=True)]
    actual = to_numpy(call(name, steps))
    np.testing.assert_allclose(actual[rows], expected, rtol=1e-13)
    assert np.isinf(actual).tolist() == [2 in row for row in IDS]
    if HAS_GRADIENTS:
        derivatives = loss_derivatives(name, steps)
        assert np.isfinite(derivatives).all() and (derivatives[rows][..., 2] == 0).all()


@every_loss
def test_nan_in_a_step_that_counts(name: str) -> None:
    steps = STEPS.copy()
    steps[2, 0, 3] = np.nan
    assert np.isnan(to_numpy(call(name, steps))).tolist() == [i == 2 for i in range(6)]


@every_loss
def test_any_number_of_steps_and_any_batch(name: str) -> None:
    loss, _, rest = LOSSES[name]
    expected = expected_values(name, STEPS)
    needed = int(steps_of(name).sum(-1).max())
    # as few steps as can be, and more ids than steps, for a batch of two axes
    wider = np.concatenate([rest[-1], np.full((6, 5), -1)], axis=-1)
    arrays = (STEPS[:, :needed], *rest[:-1], wider)
    shaped = (asarray(x.reshape(2, 3, *x.shape[1:])) for x in arrays)
    actual = to_numpy(compiled(loss)(*shaped))
    np.testing.assert_allclose(actual, expected.reshape(2, 3), rtol=1e-13)
    one = compiled(loss)(asarray(STEPS[3]), *(asarray(x[3]) for x in rest))
    np.testing.assert_allclose(to_numpy(one), expected[3], rtol=1e-13)
    none = compiled(loss)(asarray(STEPS[:0]), *(asarray(x[:0]) for x in rest))
    assert tuple(none.shape) == (0,)


def test_one_label_and_none() -> None:
    steps = asarray(STEPS[:2, :2, :2])
    ids = asarray([[0], [-1]])
    expected = [oracles_sets.label_sequence(STEPS[i, :2, :2], [[0], [-1]][i]) for i in range(2)]
    ordered, order_free = compiled(ml.label_sequence), compiled(ml.label_set_sequence)
    np.testing.assert_allclose(to_numpy(ordered(steps, ids)), expected, rtol=1e-13)
    actual = order_free(steps, asarray([[1], [0]]), ids)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-13)
    # no label at all to choose from: the end is sure
    steps, empty = asarray(STEPS[:2, :2, :1]), asarray(np.zeros((2, 0), int))
    assert to_numpy(ordered(steps, empty)).tolist() == [0, 0]
    assert to_numpy(order_free(steps, empty, empty)).tolist() == [0, 0]


def test_the_order_free_loss_is_at_least_the_entropy_of_its_targets() -> None:
    probabilities = np.full((1, 4, 6), 1e-30)
    ids = np.array([[4, 0, 2, -1]])
    for t, left in enumerate(([0, 2, 4], [0, 2], [2], [5])):
        probabilities[0, t, left] = 1 / len(left)
    steps, targets = asarray(np.log(probabilities)), asarray(TARGETS[5:])
    value = compiled(ml.label_set_sequence)(steps, targets, asarray(ids))
    np.testing.assert_allclose(to_numpy(value), np.log(3) + np.log(2), rtol=1e-12)
    if HAS_GRADIENTS:
        weights = asarray(np.ones(1))
        derivatives = gradient(set_sequence_total, steps, targets, asarray(ids), weights)
        np.testing.assert_allclose(derivatives, 0, atol=1e-15)


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
@every_loss
def test_half_precision_is_computed_in_float32(name: str) -> None:
    actual = call(name, STEPS, "bfloat16")
    assert actual.dtype == xp.float32
    exact = to_numpy(asarray(STEPS, "bfloat16")).astype(float)
    np.testing.assert_allclose(to_numpy(actual), expected_values(name, exact), rtol=2e-5)


@pytest.mark.usefixtures("op_by_op")
@only_jax
@every_loss
def test_jit_and_vmap(name: str) -> None:
    import jax

    loss, _, rest = LOSSES[name]
    inputs = (asarray(STEPS), *(asarray(x) for x in rest))
    expected = expected_values(name, STEPS)
    if name == "emitted":  # op by op takes long, and is the same for all
        np.testing.assert_allclose(loss(*inputs), expected, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(*inputs), expected, rtol=1e-13)
    closed = jax.jit(lambda steps: loss(steps, *inputs[1:]))(inputs[0])
    np.testing.assert_allclose(closed, expected, rtol=1e-13)


@only_jax
@pytest.mark.usefixtures("users_compiler")
@every_loss
def test_under_jit_a_bad_example_is_nan(name: str) -> None:
    """In value and gradient; the others stay as they are."""
    loss, _, (*targets, ids) = LOSSES[name]
    bad = ids.copy()
    bad[0, 0] = 5  # the end is no label
    bad[1] = [-1, 3, -1, -1]
    bad[2, 0] = -7
    actual = to_numpy(compiled(loss)(asarray(STEPS), *(asarray(x) for x in (*targets, bad))))
    assert np.isnan(actual[:3]).all()
    np.testing.assert_allclose(actual[3:], expected_values(name, STEPS)[3:], rtol=1e-13)
    # three steps: too few for three labels and the end
    steps = asarray(STEPS[:, :3])
    arrays = tuple(asarray(x) for x in (*targets, ids))
    long = ~steps_of(name)[:, :4].all(-1)
    actual = to_numpy(compiled(loss)(steps, *arrays))
    assert np.isnan(actual).tolist() == (~long).tolist()
    total = sequence_total if name == "label_sequence" else set_sequence_total
    derivatives = gradient(total, steps, *arrays, asarray(WEIGHTS))
    assert np.isnan(derivatives).any((1, 2)).tolist() == (~long).tolist()


@only_jax
def test_no_array_of_steps_by_labels_by_labels() -> None:
    import jax

    batch, num_steps, num_labels = 4, 16, 2000
    float32, int32 = np.float32, np.int32
    compiled_derivatives = (
        jax.jit(jax.grad(set_sequence_total))
        .lower(
            jax.ShapeDtypeStruct((batch, num_steps, num_labels + 1), float32),
            jax.ShapeDtypeStruct((batch, num_labels), float32),
            jax.ShapeDtypeStruct((batch, num_steps - 1), int32),
            jax.ShapeDtypeStruct((batch,), np.float64),
        )
        .compile(OPTIMIZED)
    )
    logits = batch * num_steps * (num_labels + 1) * 4
    assert compiled_derivatives.memory_analysis().temp_size_in_bytes < 8 * logits


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
@every_loss
def test_device(name: str) -> None:
    device = xp.device("meta") if NAME == "torch" else xp.Device("device1")
    loss, _, rest = LOSSES[name]

    def there(x: np.ndarray) -> Any:
        return xp.asarray(asarray(x), device=device, copy=True)

    assert loss(there(STEPS), *(there(x) for x in rest)).device == device
    counts = there(np.array([5, 1, 2, 3, 4]))
    assert ml.order_labels(there(TARGETS), counts, 3).device == device


@pytest.mark.usefixtures("op_by_op")
@every_loss
def test_wrong_input_is_named(name: str) -> None:
    loss, _, (*targets, ids) = LOSSES[name]
    steps, targets, good = asarray(STEPS), [asarray(x) for x in targets], asarray(ids)

    def bad(row: list[int]) -> Any:
        changed = ids.copy()
        changed[4] = row
        return asarray(changed)

    with pytest.raises(ValueError, match=r"ids must be in 0\.\.4, or -1 for padding, got 5 at ind"):
        loss(steps, *targets, bad([0, 5, -1, -1]))
    with pytest.raises(ValueError, match=r"a label after padding at index \(4, 2\)"):
        loss(steps, *targets, bad([0, -1, 1, -1]))
    with pytest.raises(ValueError, match=r"has 2 steps, but the example at index \(\d,\) needs \d"):
        loss(steps[:, :2, :], *targets, good)
    with pytest.raises(ValueError, match=r"got \(5, 4\) and \(6, 6, 6\)"):
        loss(steps, *targets, good[:5, :])
    with pytest.raises(ValueError, match=r"step_logits must have shape \[\.\.\., T, L \+ 1\]"):
        loss(steps[0, 0, :], *targets, good)
    with pytest.raises(TypeError, match="ids must be integers"):
        loss(steps, *targets, steps[:, 0, :])
    with pytest.raises(TypeError, match="step_logits must be floating-point"):
        loss(asarray(np.ones((6, 6, 6), int)), *targets, good)
    if targets:
        with pytest.raises(ValueError, match=r"targets \[\.\.\., L\] .* got \(6, 4\) and"):
            loss(steps, targets[0][:, :4], good)
