"""The recipes for JAX and for trees on its derivatives: their first step, beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.examples.recipes import by_hand


@pytest.mark.parametrize("epsilon", [0.0, 0.1], ids=["hard", "soft"])
def test_derivatives_for_boosting(recipe, epsilon: float) -> None:
    module = recipe("boosting", "jax", "xgboost", "lightgbm")
    rng = np.random.default_rng(0)
    s, y = rng.normal(0, 2, (300, 6)), (rng.random((300, 6)) < 0.4) * (1 - epsilon) + epsilon / 2
    gradient, curvature = module.objective(s, y)
    np.testing.assert_allclose(gradient, by_hand.zlpr_gradient(s, y), atol=2e-6)
    np.testing.assert_allclose(curvature, by_hand.zlpr_curvature(s, y), atol=2e-6)


@pytest.mark.parametrize(("name", "ridge"), [("xgboost_scores", 1.0), ("lightgbm_scores", 0.0)])
def test_first_round_of_boosting(recipe, name: str, ridge: float) -> None:
    """A leaf is minus the sum of gradients over the sum of curvatures, times 0.3."""
    module = recipe("boosting", "jax", "xgboost", "lightgbm")
    x, y, *_ = module.digit_sets.load(num_train=400)
    y = 0.96 * y + 0.02
    scores = getattr(module, name)(x, y, 1)(x)
    start = np.zeros(y.shape)
    gradient, curvature = by_hand.zlpr_gradient(start, y), by_hand.zlpr_curvature(start, y)
    leaves = 0
    for label in range(y.shape[1]):
        for value in np.unique(scores[:, label]):
            rows = scores[:, label] == value
            own = -0.3 * gradient[rows, label].sum() / (curvature[rows, label].sum() + ridge)
            np.testing.assert_allclose(value, own, rtol=2e-4, atol=1e-6)
            leaves += 1
    assert leaves > 50


def test_optax_accumulation(recipe) -> None:
    module = recipe("optax_accumulation", "jax", "optax")
    import optax

    # 72 rows: two small batches, 8 rows of a third, and none of the fourth
    x, y, *_ = module.digit_sets.load(num_train=72)
    known = np.random.default_rng(1).random(y.shape) < 0.6
    known[:20] = False
    start = {
        name: np.asarray(w) for name, w in module.train(x, y, known, 0, optax.sgd(0.5)).items()
    }
    found = module.train(x, y, known, 1, optax.sgd(0.5))

    hidden = np.maximum(x @ start["hidden"], 0)
    s = hidden @ start["last"]
    by_logits = by_hand.zlpr_gradient(s, y, known) / known.any(axis=1).sum()
    by_hidden = by_logits @ start["last"].T * (hidden > 0)
    gradient = {"hidden": x.T @ by_hidden, "last": hidden.T @ by_logits}
    for name, weights in found.items():
        np.testing.assert_allclose(weights, start[name] - 0.5 * gradient[name], atol=1e-6)

    parts = module.batches(np.arange(72), known)
    shares = [
        module.share(start, x[rows], y[rows], known[rows] & real[:, None], count)
        for rows, real, count in parts
    ]
    own = by_hand.zlpr(s, y, known).sum() / known.any(axis=1).sum()
    np.testing.assert_allclose(np.mean(shares), own, rtol=1e-5)


@pytest.mark.slow("compiles what Equinox traces")
def test_equinox(recipe) -> None:
    module = recipe("equinox_training", "jax", "equinox", "optax")
    import jax
    import optax

    x, y, *_ = module.digit_sets.load(num_train=64)
    known = np.random.default_rng(1).random(y.shape) < 0.6
    known[:10] = False
    model = module.network(x.shape[1], y.shape[1])
    s = np.asarray(jax.vmap(model)(x))
    count = known.any(axis=1).sum()
    own = by_hand.zlpr(s, y, known).sum() / count
    np.testing.assert_allclose(module.mean_loss(model, x, y, known), own, rtol=1e-5)
    trained = module.train(x, y, known, optax.sgd(0.5), epochs=1, batch_size=64)
    step = 0.5 * by_hand.zlpr_gradient(s, y, known).sum(axis=0) / count
    bias = np.asarray(model.layers[-1].bias)
    np.testing.assert_allclose(trained.layers[-1].bias, bias - step, atol=1e-6)
