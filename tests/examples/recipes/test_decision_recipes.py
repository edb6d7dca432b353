"""The recipes for thresholds, metrics and guarantees, beside counts in NumPy."""

from __future__ import annotations

import numpy as np

from tests.examples.recipes import by_hand


def f1_of_cuts(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """For one label: F1 of `scores >= cut`, for every cut that is a score."""
    sets = scores[None, :] >= np.sort(scores)[:, None]
    return 2 * (sets * targets).sum(axis=1) / (sets.sum(axis=1) + targets.sum())


def f1(sets: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return 2 * (sets * targets).sum(axis=0) / np.maximum((sets + targets).sum(axis=0), 1e-12)


def test_per_label_thresholds(recipe) -> None:
    module = recipe("per_label_thresholds", "torch", "torchmetrics", "sklearn")
    rng = np.random.default_rng(0)
    y = (rng.random((200, 5)) < 0.3).astype(np.float32)
    scores = (rng.normal(size=y.shape) + 1.5 * y).astype(np.float32)
    best = [f1_of_cuts(s, t).max() for s, t in zip(scores.T, y.T, strict=True)]
    ours = scores > module.tune_thresholds(scores, y, metric="f1", average="macro")
    theirs = scores >= module.sklearn_thresholds(scores, y)
    np.testing.assert_allclose(f1(ours, y), best, rtol=1e-6)
    np.testing.assert_allclose(f1(theirs, y), best, rtol=1e-6)
    judged = module.macro_f1(module.torch.from_numpy(ours), module.torch.from_numpy(y))
    np.testing.assert_allclose(judged, np.mean(best), rtol=1e-6)


def test_training_before_thresholds(recipe) -> None:
    """The first step of Adam is the learning rate, against the sign of the gradient."""
    module = recipe("per_label_thresholds", "torch", "torchmetrics", "sklearn")
    torch = module.torch
    x, y, *_ = map(torch.from_numpy, module.digit_sets.load(num_train=50))
    start, layer = module.linear_scores(x, y, 0), module.linear_scores(x, y, 1)
    gradient = by_hand.zlpr_gradient(start(x).numpy(), y.numpy()).mean(axis=0)
    decayed = start.bias.numpy() * (1 - 0.03 * 0.01)
    step = layer.bias.numpy() - decayed
    np.testing.assert_allclose(step, -0.03 * np.sign(gradient), rtol=1e-3)


def test_metrics_over_batches(recipe) -> None:
    module = recipe("metrics_over_batches", "torch", "torchmetrics")
    torch = module.torch
    rng = np.random.default_rng(0)
    y = (rng.random((70, 5)) < 0.3).astype(np.float32)
    scores = (rng.normal(size=y.shape) + y).astype(np.float32)
    batches = zip(torch.from_numpy(scores).split(32), torch.from_numpy(y).split(32), strict=True)
    found = module.evaluate(batches, 5)
    sets = scores > 0
    micro = 2 * (sets * y).sum() / (sets.sum() + y.sum())
    precisions = []
    for label in range(5):
        order = np.argsort(-scores[:, label])
        hits = y[order, label]
        at_rank = hits.cumsum() / np.arange(1, 71)
        precisions.append((at_rank * hits).sum() / hits.sum())
    own = {
        "loss": by_hand.zlpr(scores, y).mean(),
        "micro F1": micro,
        "macro F1": f1(sets, y).mean(),
        "average precision": np.mean(precisions),
    }
    assert found.keys() == own.keys()
    for name, value in own.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_precision_guarantee(recipe) -> None:
    module = recipe("precision_guarantee", "torch", "mapie")
    import scipy.stats

    x, y, *_ = module.digit_sets.load(num_train=300)
    predict = module.probabilities(x, y, 150)
    p, relevant = predict(x), y > 0

    def recall(threshold: float) -> float:
        return ((p >= threshold) & relevant).sum(axis=1) / relevant.sum(axis=1)

    found = float(module.conformal_threshold(p, y, recall=0.8))
    candidates = [t for t in np.unique(p) if (1 - recall(t)).sum() + 1 <= 0.2 * 301 + 1e-9]
    assert found == max(candidates)
    sets = module.predict_average_k(p, found)
    np.testing.assert_allclose(module.mean_recall(sets, y), recall(found).mean())

    controller = module.precision_controller(predict, x, y, 0.7)
    chosen = controller.best_predict_param.item()
    sets = controller.predict(x)[..., 0]
    np.testing.assert_array_equal(sets, p > chosen)
    right = (sets & relevant).sum(axis=1)
    own = np.divide(right, sets.sum(axis=1), out=np.zeros(len(x)), where=sets.any(axis=1))
    np.testing.assert_allclose(module.mean_precision(sets, y), own.mean())
    risk = controller.r_hat[np.flatnonzero(chosen == module.CUTS)[0]]
    np.testing.assert_allclose(1 - risk, own.mean())
    # the cut passes the test of Hoeffding and Bentkus, at a confidence shared by all 100 cuts
    r = min(risk, 0.3)
    hoeffding = np.exp(-300 * (r * np.log(r / 0.3) + (1 - r) * np.log((1 - r) / 0.7)))
    bentkus = np.e * scipy.stats.binom.cdf(np.ceil(300 * risk), 300, 0.3)
    assert min(hoeffding, bentkus) <= 0.1 / len(module.CUTS)


def test_training_before_guarantees(recipe) -> None:
    module = recipe("precision_guarantee", "torch", "mapie")
    x, y, *_ = module.digit_sets.load(num_train=50)
    start, trained = module.probabilities(x, y, 0)(x), module.probabilities(x, y, 40)(x)
    logit = [np.log(p.astype(float) / (1 - p)) for p in (start, trained)]
    before, after = (by_hand.cross_entropy(s, y).mean() for s in logit)
    assert after < before / 2
