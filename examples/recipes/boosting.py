"""XGBoost and LightGBM: any loss as their objective, with soft targets too.

    python examples/recipes/boosting.py

A round of boosting needs the gradient of the loss by every score, and the diagonal of its Hessian.
JAX gives both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import digit_sets
import numpy as np

try:
    import jax
    import lightgbm as lgb
    import xgboost as xgb
except ImportError:
    sys.exit("This recipe needs JAX and both libraries: pip install jax xgboost lightgbm")

from mlc_losses import metrics, predict_threshold, smooth_targets, zlpr

LEAST_CURVATURE = 1e-6  # a leaf divides by the sum of these, and rounding makes some of them 0


@jax.jit
def derivatives(scores: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradient of the loss, and the diagonal of its Hessian, `[n, L]` both."""
    gradient = jax.grad(zlpr)

    def of_example(example: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        hessian = jax.jacfwd(gradient)(*example)
        return gradient(*example), jax.numpy.diagonal(hessian)

    # an example's Hessian is [L, L]: those of 256 examples are in memory at once
    return jax.lax.map(of_example, (scores, targets), batch_size=256)


def objective(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gradient, curvature = derivatives(scores.astype(np.float32), targets.astype(np.float32))
    return np.asarray(gradient), np.maximum(np.asarray(curvature), LEAST_CURVATURE)


def xgboost_scores(x: np.ndarray, y: np.ndarray, rounds: int) -> Callable[..., np.ndarray]:
    """XGBoost takes targets `[n, L]`, soft ones too, as they are."""
    booster = xgb.train(
        {"tree_method": "hist", "max_depth": 4, "eta": 0.3, "base_score": 0.0, "max_bin": 32},
        xgb.DMatrix(x, y),
        rounds,
        obj=lambda scores, data: objective(scores, data.get_label().reshape(scores.shape)),
    )
    return lambda rows: booster.predict(xgb.DMatrix(rows), output_margin=True)


def lightgbm_scores(x: np.ndarray, y: np.ndarray, rounds: int) -> Callable[..., np.ndarray]:
    """LightGBM gives scores `[n, L]` if `num_class` is L, and the objective brings the targets."""
    settings = {"num_class": y.shape[1], "num_leaves": 15, "learning_rate": 0.3, "max_bin": 31}
    booster = lgb.train(
        settings | {"verbose": -1, "objective": lambda scores, data: objective(scores, y)},
        lgb.Dataset(x, np.zeros(len(x))),
        rounds,
    )
    return lambda rows: booster.predict(rows, raw_score=True)


def main() -> None:
    x, y, x_test, y_test = digit_sets.load()
    for name, fit in {"XGBoost": xgboost_scores, "LightGBM": lightgbm_scores}.items():
        for kind, targets in {"hard": y, "soft": smooth_targets(y, 0.02)}.items():
            scores = fit(x, targets, 30)(x_test)
            f1 = metrics.f1_score(predict_threshold(scores), y_test, average="micro")
            print(f"{name}, {kind} targets: micro-F1 {f1:.3f}")


if __name__ == "__main__":
    main()
