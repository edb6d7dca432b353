"""Weights of cross-entropies: one number, one for each label, one for each cell."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from tests.support.backends import HAS_GRADIENTS, asarray, compiled, gradient, to_numpy, xp

RNG = np.random.default_rng(0)
LOGITS, TARGETS = RNG.normal(size=(2, 3, 4)) * 3, RNG.random((2, 3, 4))
CELLS = RNG.uniform(0, 2, (2, 3, 4))
CELLS[0, 0, 0] = CELLS[1, 2, 3] = 0.0
UP, DOWN = np.logaddexp(0, LOGITS), np.logaddexp(0, -LOGITS)
WHERE = RNG.random((2, 3, 4)) < 0.7
LOSSES = {
    "binary_cross_entropy": ml.binary_cross_entropy,
    "multilabel_soft_margin": ml.multilabel_soft_margin,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_number_is_a_weight_of_every_label(loss: str) -> None:
    def all_shapes(s: Any, y: Any, number: Any, row: Any, cells: Any) -> list[Any]:
        weights = (0.7, number, row, cells)
        found = [LOSSES[loss](s, y, label_weights=w) for w in weights]
        if loss == "binary_cross_entropy":
            found += [LOSSES[loss](s, y, label_weights=0.7, pos_weight=w) for w in weights]
        return found

    arrays = (np.array(0.7), np.full(4, 0.7), np.full(LOGITS.shape, 0.7))
    found = compiled(all_shapes)(*(asarray(x) for x in (LOGITS, TARGETS, *arrays)))
    terms = TARGETS * DOWN + (1 - TARGETS) * UP
    wanted = 0.7 * terms.sum(-1) / (4 if loss == "multilabel_soft_margin" else 1)
    for value in found[:4]:
        np.testing.assert_allclose(to_numpy(value), wanted, rtol=1e-13)
    terms = 0.7 * TARGETS * DOWN + (1 - TARGETS) * UP
    for value in found[4:]:
        np.testing.assert_allclose(to_numpy(value), 0.7 * terms.sum(-1), rtol=1e-13)


@pytest.mark.skipif(not HAS_GRADIENTS, reason="no gradients")
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("kind", ["cells", "labels", "number"])
def test_derivative_by_each_weight_is_its_term(kind: str, axis: int) -> None:
    """Where a label is left out it is 0, whatever the weight is there."""
    sums: Any = {"cells": (), "labels": (0, 1), "number": (0, 1, 2)}[kind]
    number = {"cells": CELLS, "labels": CELLS[1, 1], "number": np.array(1.3)}[kind]
    spoilt = np.where(WHERE, number, np.nan) if kind == "cells" else number

    def moved(x: np.ndarray) -> Any:
        return asarray(np.moveaxis(x, -1, axis) if x.ndim == 3 else x)

    loss = partial(ml.binary_cross_entropy, axis=axis)

    def by_positive(p: Any, w: Any, s: Any, y: Any, where: Any) -> Any:
        return xp.sum(loss(s, y, pos_weight=p, label_weights=w, where=where))

    def by_label(w: Any, p: Any, s: Any, y: Any, where: Any) -> Any:
        return by_positive(p, w, s, y, where)

    given = [moved(x) for x in (LOGITS, TARGETS, WHERE)]
    positive = TARGETS * DOWN * WHERE
    found = gradient(by_positive, moved(spoilt), moved(spoilt), *given)
    wanted = (number * positive).sum(sums) if sums else number * positive
    np.testing.assert_allclose(found, to_numpy(moved(np.asarray(wanted))), rtol=1e-12, atol=1e-14)
    found = gradient(by_label, moved(spoilt), moved(spoilt), *given)
    terms = number * positive + (1 - TARGETS) * UP * WHERE
    wanted = terms.sum(sums) if sums else terms
    np.testing.assert_allclose(found, to_numpy(moved(np.asarray(wanted))), rtol=1e-12, atol=1e-14)


BAD = [
    (-1.0, ValueError, r"pos_weight must be at least 0, got -1"),
    (np.inf, ValueError, r"pos_weight must be finite and at least 0, got inf$"),
    (np.array(-2.0), ValueError, r"pos_weight must be finite and at least 0, got -2$"),
    (-CELLS, ValueError, r"pos_weight must be finite .* at index \(0, 0, \d\)"),
    (CELLS[0], ValueError, r"pos_weight must be a number, .* shape \(4,\), .* got \(3, 4\)"),
    (CELLS[..., :2], ValueError, r"the shape of the logits, got \(2, 3, 2\)"),
    ("2", TypeError, r"pos_weight must be an array .*got str"),
]


@pytest.mark.parametrize(("weight", "error", "message"), BAD)
def test_wrong_weights_are_named(weight: Any, error: type[Exception], message: str) -> None:
    weight = asarray(weight) if isinstance(weight, np.ndarray) else weight
    with pytest.raises(error, match=message):
        ml.binary_cross_entropy(asarray(LOGITS), asarray(TARGETS), pos_weight=weight)


def test_weights_that_are_not_known_may_be_anything() -> None:
    weights = np.where(WHERE, CELLS, -np.inf)
    given = (asarray(LOGITS), asarray(TARGETS))
    found = ml.binary_cross_entropy(*given, label_weights=asarray(weights), where=asarray(WHERE))
    terms = CELLS * (TARGETS * DOWN + (1 - TARGETS) * UP)
    np.testing.assert_allclose(to_numpy(found), (terms * WHERE).sum(-1), rtol=1e-12)
    with pytest.raises(ValueError, match="label_weights must be finite"):
        ml.binary_cross_entropy(*given, label_weights=asarray(weights))


# of softmax cross-entropy ------------------------------------------------------------------------


def by_class_weights(w: Any, s: Any, labels: Any, coefficients: Any, smoothing: float) -> Any:
    loss = ml.softmax_cross_entropy(
        s, labels, class_weights=w, label_smoothing=smoothing, z_loss=0.1
    )
    return xp.sum(coefficients * loss)


@pytest.mark.skipif(not HAS_GRADIENTS, reason="no gradients")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("of_ids", [True, False])
def test_derivative_by_a_class_weight_is_its_terms(of_ids: bool, smoothing: float) -> None:
    """At a weight of 0 too: the coefficients tell the examples of a class apart."""
    logits, ids = LOGITS.reshape(6, 4), np.array([0, 1, 2, 3, 1, 0])
    shares = np.eye(4)[ids] if of_ids else TARGETS.reshape(6, 4)
    weights, coefficients = np.array([0.0, 1.5, 0.0, 2.0]), np.arange(1.0, 7.0)
    losses = np.logaddexp.reduce(logits, axis=-1, keepdims=True) - logits
    terms = ((1 - smoothing) * shares + smoothing / 4) * losses
    found = gradient(
        partial(by_class_weights, smoothing=smoothing),
        *(asarray(x) for x in (weights, logits, ids if of_ids else shares, coefficients)),
    )
    np.testing.assert_allclose(found, coefficients @ terms, rtol=1e-12)


@pytest.mark.skipif(not HAS_GRADIENTS, reason="no gradients")
@pytest.mark.parametrize("of_ids", [True, False])
def test_a_class_weight_of_0_meets_an_infinite_loss(of_ids: bool) -> None:
    """The derivative is then the largest number, times the coefficient: neither inf nor NaN."""
    logits, ids = np.array([[-np.inf, 1.0, 2.0], [0.0, 1.0, 2.0]]), np.array([0, 1])
    labels = ids if of_ids else np.eye(3)[ids]
    given = [asarray(x) for x in (logits, labels, np.array([0.5, 1.0]))]
    by_weights = partial(by_class_weights, smoothing=0.0)
    found = gradient(by_weights, asarray([0.0, 1.0, 1.0]), *given)
    assert found[0] == 0.5 * np.finfo(np.float64).max
    np.testing.assert_allclose(found[1:], [np.log(1 + np.e + np.e**2) - 1, 0.0], rtol=1e-12)
    by_logits = gradient(
        lambda s, w, *rest: by_weights(w, s, *rest), given[0], asarray([0.0, 1.0, 1.0]), *given[1:]
    )
    assert np.isfinite(by_logits).all()
