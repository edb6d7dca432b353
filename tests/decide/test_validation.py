"""What is chosen on validation data: the conformal threshold and the temperature."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mlc_losses
from tests.decide import oracles as oracle
from tests.support.backends import NAME, asarray, compiled, in_programs, to_numpy, xp

ml = in_programs(mlc_losses)

INF, NAN = math.inf, math.nan
# the data of the values below
SCORES = np.array(
    [
        [0.412, 1.043, -0.129, 1.366],
        [-0.665, 0.352, 0.903, 0.094],
        [-0.743, -0.922, -0.458, 0.22],
        [-1.01, -0.209, -0.159, 0.541],
        [0.215, 0.355, -0.654, -0.13],
        [0.784, 1.493, -1.259, 1.514],
        [1.346, 0.781, 0.264, -0.314],
        [1.458, 1.96, 1.802, 1.315],
        [0.357, -1.208, -0.004, 0.656],
        [-1.288, 0.395, 0.43, 0.696],
        [-1.184, -0.662, -0.436, -1.17],
        [1.739, -0.496, 0.329, -0.259],
    ]
)
TARGETS = np.array(
    [[1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0],
     [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 1]]
)  # fmt: skip


@pytest.mark.parametrize(
    ("recall", "expected"), [(0.5, 0.43), (0.7, -0.259), (0.8, -0.436), (0.9, -1.259), (0.95, -INF)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conformal_thresholds_of_known_data(recall, expected, dtype):
    got = ml.conformal_threshold(asarray(SCORES, dtype), asarray(TARGETS), recall=recall)
    assert got.shape == () and got.dtype == getattr(xp, dtype)
    # exactly one of the scores, so that none is lost to rounding
    assert to_numpy(got) == np.array(expected, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conformal_thresholds_by_trying_each_score(dtype):
    run = compiled(lambda s, y, r: ml.conformal_threshold(s, y, recall=r))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # many ties, and bounds that are met exactly
        scores = np.round(rng.normal(size=(9, 5)), 1)
        targets = rng.random((9, 5)) < 0.4
        for recall in (0.0, 0.1, 0.5, 0.8, 0.9, 0.91, 1.0):
            got = to_numpy(run(asarray(scores, dtype), asarray(targets), recall))
            expected = oracle.conformal_threshold(scores, targets, recall)
            assert got == np.array(expected, dtype), (seed, recall)


def test_conformal_recall_holds_on_new_examples():
    """The mean over many draws of data and one new example each."""
    rng = np.random.default_rng(0)
    run = compiled(lambda s, y: ml.conformal_threshold(s, y, recall=0.8))
    recalls = []
    for _ in range(400):
        targets = rng.random((41, 6)) < 0.4
        scores = rng.normal(size=(41, 6)) + targets
        t = run(asarray(scores[:40]), asarray(targets[:40]))
        new = to_numpy(ml.predict_average_k(asarray(scores[40:]), t))
        recalls.append((new & targets[40:]).sum() / targets[40:].sum() if targets[40:].any() else 1)
    # three standard errors
    error = np.std(recalls) / 20
    assert np.mean(recalls) >= 0.8 - 3 * error
    assert np.mean(recalls) <= 0.8 + 1 / 41 + 3 * error


def test_conformal_thresholds_of_the_known_cells():
    rng = np.random.default_rng(5)
    scores, targets = rng.normal(size=(30, 4)), rng.random((30, 4))
    rows = np.arange(30) % 3 > 0
    spoiled = [np.where(rows[:, None], x, NAN) for x in (scores, targets)]
    run = ml.conformal_threshold
    got = run(*map(asarray, spoiled), recall=0.7, where=asarray(rows[:, None]))
    expected = run(asarray(scores[rows]), asarray(targets[rows] > 0.5), recall=0.7)
    assert float(got) == float(expected)
    # one cell: as in a matrix where it is no label of the example, and no score
    cells = np.ones((30, 4), bool)
    cells[0, :2] = False
    known = np.where(cells, targets, 0) > 0.5
    got = run(asarray(scores), asarray(targets), recall=0.7, where=asarray(cells))
    expected = oracle.conformal_threshold(np.where(cells, scores, -9), known, 0.7)
    assert float(got) == expected
    for broken in (
        run(*map(asarray, spoiled), recall=0.7),
        run(asarray(scores), asarray(spoiled[1]), recall=0.7),
    ):
        assert math.isnan(float(broken))


def test_conformal_threshold_of_nothing():
    run = ml.conformal_threshold
    assert float(run(asarray(np.zeros((0, 3))), asarray(np.zeros((0, 3))), recall=0.0)) == -INF
    unknown = asarray(np.zeros((2, 3), bool))
    assert float(run(asarray(np.ones((2, 3))), unknown, recall=0.5, where=unknown)) == -INF
    # no example has a label: nothing can be lost
    assert float(run(asarray(np.ones((9, 3))), asarray(np.zeros((9, 3))), recall=0.8)) == 1.0
    for recall in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"recall must be in \[0, 1\]"):
            run(asarray(SCORES), asarray(TARGETS), recall=recall)


def test_the_sets_of_mapie():
    """Where both mean the same: examples with labels, probabilities, no bound met exactly."""
    controller = pytest.importorskip("mapie.risk_control").MultiLabelClassificationController
    for seed in range(3):
        rng = np.random.default_rng(seed)
        targets = rng.random((40, 5)) < 0.4
        targets[np.arange(40), rng.integers(0, 5, 40)] = True
        scores = 1 / (1 + np.exp(-(rng.normal(size=(40, 5)) + 2 * targets - 1)))
        values = np.sort(scores, axis=None)
        middles = np.concatenate([[values[0] / 2], (values[1:] + values[:-1]) / 2])
        for recall in (0.6131, 0.8017, 0.9043):
            theirs = controller(
                lambda x: x, risk="recall", method="crc", target_level=recall,
                predict_params=middles,
            )  # fmt: skip
            theirs.calibrate(scores, targets.astype(int))
            t = ml.conformal_threshold(asarray(scores), asarray(targets), recall=recall)
            ours = to_numpy(ml.predict_average_k(asarray(scores), t))
            np.testing.assert_array_equal(ours, theirs.predict(scores)[:, :, 0])


def draw_logits(seed: int, factor: float, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(shift, 2, (50, 6))
    return factor * logits, rng.random((50, 6)) < 1 / (1 + np.exp(-logits))


fit = compiled(ml.fit_temperature)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
@pytest.mark.parametrize("factor", [0.01, 0.2, 1.0, 5.0, 300.0])
def test_temperature_is_the_minimum(factor, dtype, tolerance):
    for seed, shift in ((0, 0.0), (1, -3.0)):
        logits, targets = draw_logits(seed, factor, shift)
        got = fit(asarray(logits, dtype), asarray(targets))
        assert got.shape == () and got.dtype == getattr(xp, dtype)
        assert float(got) == pytest.approx(oracle.temperature(logits, targets), rel=tolerance)


def test_temperature_of_soft_targets():
    logits, _ = draw_logits(2, 3.0)
    soft = 1 / (1 + np.exp(-logits / 7))
    # these are what the temperature 7 gives
    assert float(fit(asarray(logits), asarray(soft))) == pytest.approx(7.0, rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("logits", "targets", "expected"),
    [
        ([[4.0, -4.0], [4.0, 4.0]], [[1, 0], [1, 0]], 4 / math.log(3)),
        ([[1.0, -2.0]], [[1, 0]], 1e-3),  # separable
        ([[1e-9, -1e-9]], [[1, 0]], 1e-3),
        ([[1.0, -2.0]], [[0, 1]], 1e3),
        ([[2.0, 2.0, 2.0, 2.0]], [[1, 1, 1, 0]], 2 / math.log(3)),  # constant
        ([[2.0, 2.0]], [[1, 0]], 1e3),
        ([[2.0, 2.0]], [[1, 1]], 1e-3),
        ([[0.0, 0.0]], [[1, 0]], 1.0),
        ([[INF, -INF, 2.0, 2.0, 2.0, 2.0]], [[1, 0, 1, 1, 1, 0]], 2 / math.log(3)),
        ([[INF, 1.0]], [[0, 1]], 1e3),
        ([[NAN, 1.0]], [[0, 1]], NAN),
        (np.zeros((0, 2)), np.zeros((0, 2)), 1.0),
    ],
)
def test_temperatures_at_the_ends(logits, targets, expected, dtype):
    got = float(fit(asarray(logits, dtype), asarray(targets)))
    assert got == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_temperature_of_the_known_cells():
    logits, targets = draw_logits(3, 2.0)
    known = np.random.default_rng(0).random(logits.shape) < 0.6
    spoiled = [np.where(known, x, NAN) for x in (logits, targets)]
    got = fit(*map(asarray, spoiled), where=asarray(known))
    expected = fit(asarray(logits[known]), asarray(targets[known]))
    assert float(got) == pytest.approx(float(expected), rel=1e-9)
    assert math.isnan(float(fit(asarray(logits), asarray(spoiled[1]))))
    nothing = asarray(np.zeros(logits.shape, bool))
    assert float(fit(asarray(logits), asarray(targets), where=nothing)) == 1.0


@pytest.mark.skipif(NAME == "array-api-strict", reason="the standard has no half precision")
def test_half_precision_gives_float32():
    logits, targets = draw_logits(4, 1.0)
    half = asarray(logits, "float16")
    wide = xp.astype(half, xp.float32)
    for run in (fit, compiled(lambda s, y: ml.conformal_threshold(s, y, recall=0.5))):
        got, expected = run(half, asarray(targets)), run(wide, asarray(targets))
        assert got.dtype == xp.float32
        assert float(got) == float(expected)
