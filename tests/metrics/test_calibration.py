"""The calibration error of label probabilities against a loop over labels and bins."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlc_losses
from tests.metrics.tables import all_of, assert_agree
from tests.support.backends import NAME, asarray, compiled, in_programs, to_numpy, xp
from tests.support.depth import examples

metrics = in_programs(mlc_losses.metrics)

error_of = metrics.expected_calibration_error


def of_column(p, hot, weight, bins):
    """Each bin's share of the weight times the distance of its two means."""
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        here = (p >= low) & ((p < high) | (b == bins - 1)) & (weight > 0)
        if here.any():
            said, seen = (np.average(x[here], weights=weight[here]) for x in (p, hot))
            total += weight[here].sum() / weight.sum() * abs(said - seen)
    return total


def by_hand(p, hot, average, bins, where=None, weight=None):
    cells = np.ones(p.shape) if weight is None else np.broadcast_to(weight[:, None], p.shape)
    cells = cells if where is None else cells * where
    if average == "micro":
        p, hot, cells = (x.reshape(-1, 1) for x in (p, hot, cells))
    columns = zip(p.T, hot.T, cells.T, strict=True)
    errors = np.array([of_column(*x, bins) if x[2].any() else math.nan for x in columns])
    return np.nan_to_num(errors) if average is None else np.nanmean(errors)


def drawn(seed, n=20, num_labels=4):
    """Probabilities, targets, what is known and weights; one label is nowhere known."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, num_labels))
    p[0], p[1], p[2] = 0.0, 1.0, 0.5
    where = rng.random(p.shape) < 0.7
    where[:, -1] = False
    return p, (rng.random(p.shape) < p**2).astype(int), where, rng.integers(0, 4, n) * 0.5


@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_a_loop(masked):
    p, hot, where, weight = drawn(0)
    given = (asarray(p), asarray(hot), asarray(where), asarray(weight))
    more = {"where": 2, "sample_weight": 3} if masked else {}
    calls = {
        (average, bins): lambda *x, average=average, bins=bins: error_of(
            *x[:2], bins=bins, average=average, **{name: x[i] for name, i in more.items()}
        )
        for average in ("macro", "micro", None)
        for bins in (1, 2, 10)
    }
    found = all_of({str(key): call for key, call in calls.items()}, *given)
    for average, bins in calls:
        wanted = by_hand(p, hot, average, bins, *((where, weight) if masked else ()))
        value = to_numpy(found[str((average, bins))])
        np.testing.assert_allclose(value, wanted, rtol=1e-9, err_msg=f"{average} {bins}")


@examples(15, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_random_probabilities_on_the_edges_too(seed):
    rng = np.random.default_rng(seed)
    p, hot = rng.integers(0, 9, (12, 3)) / 8, rng.integers(0, 2, (12, 3))
    assert_agree(error_of(asarray(p), asarray(hot), bins=4), by_hand(p, hot, "macro", 4), 1e-12)


def test_known_values():
    """15 bins of width 1/15; what is said and happens as often has no error."""
    calls = {
        "right": lambda p, y: error_of(p, y),
        "wrong": lambda p, y: error_of(p, 1 - y),
        "none": lambda p, y: error_of(p[:0, :], y[:0, :]),
        # relevant above 1/2
        "ends": lambda p, y: error_of(p[:, :1] * 0, y * 0.5),
    }
    p, hot = np.full((4, 1), 0.75), np.array([[1.0], [1.0], [1.0], [0.0]])
    found = all_of(calls, asarray(p, "float32"), asarray(hot))
    assert found["right"].dtype == xp.float32
    for name, wanted in {"right": 0.0, "wrong": 0.5, "none": 0.0, "ends": 0.0}.items():
        assert_agree(found[name], wanted)


@pytest.mark.usefixtures("op_by_op")
def test_nan_and_what_is_no_probability():
    p, hot = np.full((3, 2), 0.25), np.zeros((3, 2))
    p[1, 1] = math.nan
    assert_agree(error_of(asarray(p), asarray(hot), average=None), [0.25, math.nan])
    assert math.isnan(float(error_of(asarray(p), asarray(hot), average="micro")))
    known = asarray(~np.isnan(p))
    assert_agree(error_of(asarray(p), asarray(hot), where=known), 0.25)
    for wrong in (1.5, -0.25, math.inf):
        p[1, 1] = wrong
        with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\], got .* \(1, 1\)"):
            error_of(asarray(p), asarray(hot))
        assert_agree(error_of(asarray(p), asarray(hot), where=known), 0.25)
    if NAME == "jax":
        jitted = compiled(functools.partial(error_of, average=None))
        assert_agree(jitted(asarray(p), asarray(hot)), [0.25, math.nan])


@pytest.mark.skipif(NAME not in ("torch", "array-api-strict"), reason="one device only")
def test_the_result_stays_on_the_device():
    device = xp.Device("device1") if NAME == "array-api-strict" else "meta"
    p, weight = (xp.zeros(shape, dtype=xp.float32, device=device) for shape in ((4, 5), (4,)))
    for average in ("macro", None):
        assert error_of(p, p > 0, average=average, sample_weight=weight).device == p.device


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"bins": 0}, ValueError, "bins must be at least 1, got 0"),
        ({"bins": 2.5}, TypeError, "bins must be an integer, got 2.5"),
        ({"average": "samples"}, ValueError, "average must be one of 'macro', 'micro', None, got"),
    ],
)
def test_misuse_is_named(keywords, error, words):
    p = asarray(np.full((2, 3), 0.5))
    with pytest.raises(error, match=words):
        error_of(p, p, **keywords)
    with pytest.raises(TypeError, match="probabilities must be floating-point"):
        error_of(asarray([[1, 0]]), asarray([[1, 0]]))
    with pytest.raises(ValueError, match=r"probabilities must have shape \[n, L\], got \(3,\)"):
        error_of(p[0, :], p[0, :])
