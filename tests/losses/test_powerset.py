"""Label powerset: the table, ids to sets and back, marginals, and the cross-entropy over sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc_losses
from tests.losses import oracles_sets
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    asarray,
    compiled,
    gradient,
    in_programs,
    to_numpy,
    xp,
)

ml = in_programs(mlc_losses)

only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")
one_device = pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
# by frequency: 3, 2, 2, 1, the tie in order of appearance; one label for all sets, one for none
ROWS = np.array(
    [[0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0],
     [1, 0, 1, 0], [1, 1, 1, 0]]
)  # fmt: skip
TABLE = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 0]], dtype=bool)
LOGITS = np.random.default_rng(0).normal(size=(5, 4)) * 3
IDS = np.array([0, 3, 2, 1, 1])
POWERSET = ml.LabelPowerset(TABLE)
WEIGHTS = np.linspace(0.5, 2, 5)


def loss_total(s: Any, ids: Any, weights: Any) -> Any:
    return xp.sum(xp.astype(ml.label_powerset(s, ids), xp.float64) * weights)


def marginal_total(s: Any, weights: Any) -> Any:
    return xp.sum(xp.astype(POWERSET.marginals(s), xp.float64) * weights)


# the table ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_fit_orders_by_frequency_then_by_first_appearance(dtype: str) -> None:
    powerset = ml.LabelPowerset.fit(asarray(ROWS, dtype))
    np.testing.assert_array_equal(powerset.table, TABLE)
    assert (powerset.num_sets, powerset.num_labels) == (4, 4)
    assert repr(powerset) == "LabelPowerset(num_sets=4, num_labels=4)"
    batched = ml.LabelPowerset.fit(asarray(ROWS.reshape(2, 4, 4)))
    np.testing.assert_array_equal(batched.table, TABLE)


def test_the_table_does_not_change() -> None:
    mine = TABLE.copy()
    powerset = ml.LabelPowerset(mine)
    mine[:] = False
    np.testing.assert_array_equal(powerset.table, TABLE)
    with pytest.raises(ValueError, match="read-only"):
        powerset.table[0, 0] = False
    with pytest.raises(AttributeError):
        powerset.table = mine  # type: ignore[misc]


def test_ids_and_sets_are_inverse() -> None:
    targets = asarray(ROWS.reshape(2, 4, 4))
    ids = POWERSET.encode(targets)
    assert xp.isdtype(ids.dtype, "integral")
    np.testing.assert_array_equal(to_numpy(ids), [[1, 0, 2, 0], [2, 1, 0, 3]])
    sets = POWERSET.decode(ids)
    assert sets.dtype == xp.bool
    np.testing.assert_array_equal(to_numpy(sets), ROWS.reshape(2, 4, 4) > 0)
    assert int(POWERSET.encode(targets[1, 3, :])) == 3
    assert tuple(POWERSET.encode(targets[:, :0, :]).shape) == (2, 0)


def test_unseen_sets_raise_or_go_to_the_nearest() -> None:
    unseen = asarray([[[1, 0, 1, 0]], [[0, 0, 0, 1]]])
    message = r"fit has not seen, \[3\] at index \(1, 0\); unseen='nearest'"
    with pytest.raises(ValueError, match=message):
        POWERSET.encode(unseen)
    np.testing.assert_array_equal(to_numpy(POWERSET.encode(unseen, unseen="nearest")), [[0], [2]])
    with pytest.raises(ValueError, match="unseen must be one of 'raise', 'nearest', got 'first'"):
        POWERSET.encode(unseen, unseen="first")


@pytest.mark.parametrize("num_labels", [0, 1, 7, 64, 130])
def test_any_number_of_labels(num_labels: int) -> None:
    rng = np.random.default_rng(num_labels)
    seen, others = (rng.random((2, 40, num_labels)) < 0.3).astype(int)
    powerset = ml.LabelPowerset.fit(asarray(seen))
    np.testing.assert_array_equal(powerset.table[to_numpy(powerset.encode(asarray(seen)))], seen)
    expected = [oracles_sets.nearest_set(powerset.table, row) for row in others]
    ids = powerset.encode(asarray(others), unseen="nearest")
    np.testing.assert_array_equal(to_numpy(ids), expected)


@pytest.mark.skipif(NAME != "numpy", reason="the same on the host")
def test_thousands_of_sets_over_thousands_of_labels() -> None:
    rng = np.random.default_rng(1)
    seen = rng.random((4000, 3000)) < 0.01
    powerset = ml.LabelPowerset.fit(seen)
    assert powerset.num_sets == 4000
    near = seen[:50].copy()
    near[:, 7] ^= True
    np.testing.assert_array_equal(powerset.encode(near, unseen="nearest"), np.arange(50))


def test_wrong_tables_and_targets_are_named() -> None:
    with pytest.raises(ValueError, match="table must not hold a label set twice"):
        ml.LabelPowerset(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"table must have shape \[S, L\] with S >= 1, got \(0, "):
        ml.LabelPowerset(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"targets must have an example, got shape \(0, 4\)"):
        ml.LabelPowerset.fit(asarray(ROWS[:0]))
    with pytest.raises(ValueError, match=r"shape \[\.\.\., 4\], got \(8, 3\)"):
        POWERSET.encode(asarray(ROWS[:, :3]))
    with pytest.raises(ValueError, match=r"set_ids must be in 0\.\.3, got 4 at index \(1,\)"):
        POWERSET.decode(asarray([0, 4]))
    with pytest.raises(TypeError, match="set_ids must be integers"):
        POWERSET.decode(asarray([0.0]))
    with pytest.raises(ValueError, match=r"shape \[\.\.\., 4\], got \(5, 3\)"):
        POWERSET.marginals(asarray(LOGITS[:, :3]))
    with pytest.raises(TypeError, match="set_logits must be floating-point"):
        POWERSET.marginals(asarray(ROWS))


# marginals ---------------------------------------------------------------------------------------


def test_marginals_are_the_oracles() -> None:
    expected = np.array([oracles_sets.marginals(row, TABLE) for row in LOGITS])
    marginals = compiled(POWERSET.marginals)
    for dtype, rtol in (("float64", 1e-14), ("float32", 1e-6)):
        actual = marginals(asarray(LOGITS, dtype))
        assert actual.dtype == getattr(xp, dtype)
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol)
        assert (to_numpy(actual) <= 1).all()
    single = POWERSET.marginals(asarray(LOGITS[0, :]))
    np.testing.assert_allclose(to_numpy(single), expected[0], rtol=1e-14)
    deep = POWERSET.marginals(asarray(LOGITS.reshape(1, 5, 1, 4)))
    np.testing.assert_allclose(to_numpy(deep)[0, :, 0], expected, rtol=1e-14)
    # sets that are out or sure
    sure = to_numpy(POWERSET.marginals(asarray([0.0, -np.inf, 5.0, np.inf])))
    np.testing.assert_array_equal(sure, TABLE[3])
    out = to_numpy(POWERSET.marginals(asarray([0.0, 0.0, -np.inf, -np.inf])))
    np.testing.assert_allclose(out, [0.5, 0.5, 1, 0], rtol=1e-15)
    assert np.isnan(to_numpy(POWERSET.marginals(asarray([0.0, np.nan, 0.0, 0.0])))).all()
    if HAS_GRADIENTS:
        assert POWERSET.marginals(asarray(LOGITS, "bfloat16")).dtype == xp.float32
        weights = np.random.default_rng(2).uniform(0.5, 2, (5, 4))
        expected = oracles_sets.derivatives(
            lambda s: sum(
                weights[i] @ oracles_sets.marginals(row, TABLE) for i, row in enumerate(s)
            ),
            LOGITS,
        )
        actual = gradient(marginal_total, asarray(LOGITS), asarray(weights))
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)


# the loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 0.0, 80.0, 1e4])
def test_loss_and_gradient_are_the_oracles(size: float | None) -> None:
    s = LOGITS if size is None else np.sign(LOGITS) * size
    expected = np.array(
        [oracles_sets.label_powerset(row, z) for row, z in zip(s, IDS, strict=True)]
    )
    loss = compiled(ml.label_powerset)
    for dtype, rtol in (("float64", 1e-13), ("float32", 1e-5)):
        actual = loss(asarray(s, dtype), asarray(IDS))
        assert actual.dtype == getattr(xp, dtype)
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=1e-7)
    if HAS_GRADIENTS:
        derivatives = np.exp([oracles_sets.log_softmax(row) for row in s])
        derivatives[np.arange(5), IDS] -= 1
        derivatives *= WEIGHTS[:, None]
        for dtype, rtol, atol in (("float64", 1e-12, 1e-15), ("float32", 1e-5, 1e-7)):
            actual = gradient(loss_total, asarray(s, dtype), asarray(IDS), asarray(WEIGHTS))
            np.testing.assert_allclose(actual, derivatives, rtol=rtol, atol=atol)


def test_loss_at_infinity() -> None:
    inf = np.inf
    s = np.array(
        [[inf, 0, 1, 2], [inf, 0, 1, 2], [-inf, 0, 1, 2], [-inf, 0, 1, 2], [np.nan, 0, 1, 2]]
    )
    ids = np.array([0, 1, 0, 1, 1])
    lse = np.log(1 + np.exp(1) + np.exp(2))
    actual = to_numpy(compiled(ml.label_powerset)(asarray(s), asarray(ids)))
    np.testing.assert_allclose(actual, [0, inf, inf, lse, np.nan])
    tiny = ml.label_powerset(asarray([[50.0, 0.0]]), asarray([0]))
    np.testing.assert_allclose(to_numpy(tiny), [np.exp(-50.0)], rtol=1e-14)
    if HAS_GRADIENTS:
        derivatives = gradient(loss_total, asarray(s[:4]), asarray(ids[:4]), asarray(np.ones(4)))
        assert np.isfinite(derivatives).all() and (derivatives[0] == 0).all()
        assert derivatives[1, 1] == -1 and derivatives[2, 0] == -1 and derivatives[3, 0] == 0


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype: str) -> None:
    x = asarray(LOGITS, dtype)
    exact = to_numpy(x).astype(float)
    expected = [oracles_sets.label_powerset(row, z) for row, z in zip(exact, IDS, strict=True)]
    actual = compiled(ml.label_powerset)(x, asarray(IDS))
    assert actual.dtype == xp.float32
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=2e-5, atol=1e-6)


def test_one_set_and_no_example() -> None:
    assert to_numpy(ml.label_powerset(asarray([[7.0]]), asarray([0]))).tolist() == [0]
    empty = ml.label_powerset(asarray(np.zeros((0, 3))), asarray(np.zeros(0, int)))
    assert tuple(empty.shape) == (0,)


@pytest.mark.usefixtures("op_by_op")
def test_wrong_input_of_the_loss_is_named() -> None:
    s, ids = asarray(LOGITS), asarray(IDS)
    with pytest.raises(ValueError, match=r"last axis, got \(5, 1\) and \(5, 4\)"):
        ml.label_powerset(s, ids[:, None])
    with pytest.raises(ValueError, match=r"set_ids must be in 0\.\.3, got -1 at index \(0,\)"):
        ml.label_powerset(s, ids - 1)
    with pytest.raises(TypeError, match="set_ids must be integers"):
        ml.label_powerset(s, s[:, 0])
    with pytest.raises(TypeError, match="set_logits must be floating-point"):
        ml.label_powerset(asarray(ROWS), ids)
    with pytest.raises(TypeError, match="set_logits must be an array"):
        ml.label_powerset(LOGITS.tolist(), ids)


# transformations and devices ---------------------------------------------------------------------


@pytest.mark.usefixtures("op_by_op")
@only_jax
@pytest.mark.usefixtures("users_compiler")
def test_under_jit_and_vmap() -> None:
    import jax

    s, ids = asarray(LOGITS), asarray(IDS)
    for function, arguments in (
        (ml.label_powerset, (s, ids)),
        (POWERSET.marginals, (s,)),
        (POWERSET.decode, (ids,)),
    ):
        expected = to_numpy(function(*arguments))
        np.testing.assert_allclose(jax.jit(function)(*arguments), expected, rtol=1e-13)
        np.testing.assert_allclose(jax.jit(jax.vmap(function))(*arguments), expected, rtol=1e-13)
    # ids that the traced function closes over
    closed = jax.jit(lambda s: ml.label_powerset(s, ids))(s)
    np.testing.assert_allclose(closed, ml.label_powerset(s, ids), rtol=1e-13)
    # an id out of range is never a plausible number
    bad = asarray([0, 4, -1, 1, 1])
    assert np.isnan(compiled(ml.label_powerset)(s, bad)).tolist() == [0, 1, 1, 0, 0]
    np.testing.assert_array_equal(compiled(POWERSET.decode)(bad[:3]), [TABLE[0], [0] * 4, [0] * 4])
    with pytest.raises(TypeError, match="values of targets are needed: call this outside jit"):
        jax.jit(POWERSET.encode)(asarray(ROWS))


@one_device
def test_results_are_on_the_device_of_the_argument() -> None:
    device = xp.device("meta") if NAME == "torch" else xp.Device("device1")
    s, ids, rows = (xp.asarray(asarray(x), device=device, copy=True) for x in (LOGITS, IDS, ROWS))
    assert ml.label_powerset(s, ids).device == device
    assert POWERSET.marginals(s).device == device
    assert POWERSET.decode(ids).device == device
    if NAME != "torch":
        assert ml.LabelPowerset.fit(rows).encode(rows).device == device
