"""Targets to ids and back, smoothing, the check before training, the mean that may be empty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlc_losses
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    asarray,
    gradient,
    in_programs,
    to_numpy,
    xp,
)
from tests.support.depth import examples

ml = in_programs(mlc_losses)


def test_multi_hot() -> None:
    ids = asarray([[2, 0, -1], [1, 1, -1], [-1, -1, -1]])
    actual = ml.multi_hot(ids, 4)
    assert actual.dtype == xp.bool
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(to_numpy(actual), np.array(expected, bool))
    assert ml.multi_hot(ids, 4, dtype=xp.float32).dtype == xp.float32
    np.testing.assert_array_equal(to_numpy(ml.multi_hot(ids[0, :], 4)), np.array(expected[0], bool))
    assert tuple(ml.multi_hot(asarray(np.zeros((2, 0), int)), 3).shape) == (2, 3)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_multi_hot_takes_any_integers(dtype: str) -> None:
    # 200 labels do not fit int8: the ids do
    actual = to_numpy(ml.multi_hot(asarray([[3, 100]], dtype), 200))
    assert np.flatnonzero(actual).tolist() == [3, 100]


@examples(30, database=None)
@given(data=st.data())
def test_ids_and_multi_hot_are_inverse(data: st.DataObject) -> None:
    # one shape on JAX, which compiles for each
    num_labels = 9 if NAME == "jax" else data.draw(st.integers(1, 9))
    row = st.lists(st.booleans(), min_size=num_labels, max_size=num_labels)
    targets = np.array(data.draw(st.lists(row, min_size=3, max_size=3)))
    for width in (num_labels, num_labels + 2):
        ids = ml.label_ids(asarray(targets), width)
        assert tuple(ids.shape) == (3, width)
        np.testing.assert_array_equal(to_numpy(ml.multi_hot(ids, num_labels)), targets)


def test_label_ids_keeps_the_lowest() -> None:
    targets = asarray([[0, 1, 1, 1], [1, 0, 0, 0]])
    if NAME == "numpy":
        with pytest.warns(UserWarning, match="an example has 3 labels, max_labels=2"):
            ids = ml.label_ids(targets, 2)
    else:
        ids = ml.label_ids(targets, 2)
    np.testing.assert_array_equal(to_numpy(ids), [[1, 2], [0, -1]])


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize(("bad", "message"), [(4, r"got 4 at index \(1, 0\)"), (-2, "got -2")])
def test_an_id_out_of_range_is_named(bad: int, message: str) -> None:
    with pytest.raises(ValueError, match=r"ids must be in 0..3, or -1 for padding, " + message):
        ml.multi_hot(asarray([[1, 2], [bad, 0]]), 4)


def test_other_bad_ids() -> None:
    with pytest.raises(TypeError, match="ids must be integers, got dtype"):
        ml.multi_hot(asarray([[1.0]]), 4)
    with pytest.raises(ValueError, match="num_labels must be at least 1, got 0"):
        ml.multi_hot(asarray([[1]]), 0)
    with pytest.raises(TypeError, match=r"num_labels must be an integer, got 2\.5"):
        ml.multi_hot(asarray([[1]]), 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_labels must be at least 1"):
        ml.label_ids(asarray([[1]]), 0)


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.skipif(NAME != "jax", reason="JAX's jit")
def test_targets_under_jit() -> None:
    import jax

    ids = asarray([[2, 0, -1], [7, 1, -9]])  # out of range: nobody can raise, nothing is set
    hot = jax.jit(lambda ids: ml.multi_hot(ids, 4))(ids)
    np.testing.assert_array_equal(to_numpy(hot), [[1, 0, 1, 0], [0, 1, 0, 0]])
    back = jax.jit(lambda hot: ml.label_ids(hot, 2))(hot)
    np.testing.assert_array_equal(to_numpy(back), [[0, 2], [1, -1]])
    # values that the traced function closes over can be looked at
    kept = ids[:1]
    hot_kept = jax.jit(lambda: ml.multi_hot(kept, 4))()
    np.testing.assert_array_equal(to_numpy(hot_kept), [[1, 0, 1, 0]])
    with pytest.raises(ValueError, match=r"got 7 at index \(1, 0\)"):
        jax.jit(lambda: ml.multi_hot(ids, 4))()
    with pytest.raises(TypeError, match="call it outside jit"):
        jax.jit(ml.check_targets)(hot)


def test_smooth_targets() -> None:
    hard = asarray([[1, 0]])
    np.testing.assert_allclose(to_numpy(ml.smooth_targets(hard, 0.1)), [[0.95, 0.05]], rtol=1e-6)
    actual = ml.smooth_targets(asarray([[True, False]]), 0.2, prior=0.0)
    np.testing.assert_allclose(to_numpy(actual), [[0.8, 0.0]], rtol=1e-6)
    assert ml.smooth_targets(asarray([0.0], "float32"), 0.1).dtype == xp.float32
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\], got 2"):
        ml.smooth_targets(hard, 2.0)
    with pytest.raises(ValueError, match=r"prior must be in \[0, 1\], got -1"):
        ml.smooth_targets(hard, 0.1, prior=-1.0)


@pytest.mark.usefixtures("op_by_op")
def test_check_targets() -> None:
    ml.check_targets(asarray([[0, 1], [1, 1]]))
    ml.check_targets(asarray([[True, False]]))
    ml.check_targets(asarray([[0.25, 1.0]]), soft=True)
    with pytest.raises(ValueError, match=r"targets must be 0 or 1, got 0.25 at index \(0, 1\)"):
        ml.check_targets(asarray([[1.0, 0.25]]))
    with pytest.raises(ValueError, match=r"targets must be in \[0, 1\], got nan at index \(1,"):
        ml.check_targets(asarray([[1.0], [np.nan]]), soft=True)
    with pytest.raises(ValueError, match="targets must be 0 or 1, got -1 at index"):
        ml.check_targets(asarray([[0, -1]]))


def test_masked_mean() -> None:
    values = asarray([1.0, 2.0, np.nan])
    known = asarray([True, True, False])
    nothing = asarray([False] * 3)
    assert float(ml.masked_mean(values, known)) == 1.5
    assert float(ml.masked_mean(values, nothing)) == 0
    assert float(ml.masked_mean(values[:2])) == 1.5
    assert float(ml.masked_mean(values[:0])) == 0
    if HAS_GRADIENTS:
        derivatives = gradient(lambda v: ml.masked_mean(v, known), values)
        np.testing.assert_array_equal(derivatives, [0.5, 0.5, 0])
        np.testing.assert_array_equal(gradient(lambda v: ml.masked_mean(v, nothing), values), 0)
    with pytest.raises(ValueError, match=r"values and where must have the same shape"):
        ml.masked_mean(values, known[:2])


def test_known() -> None:
    marked = asarray([[1.0, np.nan, 0.0], [-1.0, -100.0, 0.5]])
    expected = [[True, False, True], [False, False, True]]
    assert to_numpy(ml.known(marked)).tolist() == expected
    assert to_numpy(ml.known(asarray([3, -1, -100, -2]))).tolist() == [True, False, False, True]
    assert to_numpy(ml.known(asarray([3, -1, 255]), ids=(255,))).tolist() == [True, True, False]
    assert to_numpy(ml.known(asarray([3, 255], "uint8"))).tolist() == [True, True]
    assert to_numpy(ml.known(asarray([False, True]))).tolist() == [True, True]
    with pytest.raises(TypeError, match="targets must be an array"):
        ml.known(1.0)  # type: ignore[type-var]
    logits, labels = asarray(np.eye(3)), asarray([0, -100, -1])
    losses = ml.softmax_cross_entropy(logits, labels, where=ml.known(labels)[..., None])
    assert to_numpy(losses)[1:].tolist() == [0.0, 0.0]
    some = asarray([[1.0, np.nan, 0.0], [-1.0, -100.0, 0.0], [1.0, 0.0, 0.0]])
    assert np.isfinite(to_numpy(ml.zlpr(logits, some, where=ml.known(some)))).all()


def test_relevant_is_above_one_half() -> None:
    targets = asarray([[0.3, 0.7, np.nan, 1.0, -1.0]])
    assert to_numpy(ml.label_ids(targets, 5)).tolist() == [[1, 3, -1, -1, -1]]
    assert to_numpy(ml.order_labels(targets, asarray([1, 2, 3, 4, 5]), 3)).tolist() == [[3, 1, -1]]
    powerset = ml.LabelPowerset.fit(targets)
    assert powerset.table.tolist() == [[False, True, False, True, False]]
    assert to_numpy(powerset.encode(asarray([[0, 1, -1, 2, 0]]))).tolist() == [0]
    steps, ids = asarray(np.zeros((1, 3, 3))), asarray([[1, -1]])
    soft = ml.label_set_sequence(steps, asarray([[0.3, 0.7]]), ids)
    hard = ml.label_set_sequence(steps, asarray([[0, 1]]), ids)
    assert float(soft[0]) == float(hard[0])
    assert np.isnan(to_numpy(ml.label_set_sequence(steps, asarray([[np.nan, 0.7]]), ids))).all()
    weights = to_numpy(ml.jaccard_weights(asarray([[np.nan, 1.0], [0.0, 1.0], [1.0, 1.0]])))
    assert np.isnan(weights).all()


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
def test_targets_stay_on_their_device() -> None:
    device = xp.device("meta") if NAME == "torch" else xp.Device("device1")
    ids = xp.asarray(asarray([[1, -1]]), device=device, copy=True)
    hot = ml.multi_hot(ids, 3)
    assert hot.device == device
    assert ml.label_ids(hot, 2).device == device
    assert ml.masked_mean(ml.smooth_targets(hot, 0.1)).device == device
