"""What ties the losses to one another and to published values: mathematics, not tolerances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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

ml = in_programs(mlc_losses)

# The batch whose values the fact sheets of the losses give, computed in 40 digits.
LOGITS = [[1.5, -0.5, 2, -3, 0.25], [-1, 0.75, -2.5, 0.5, -0.125]]
TARGETS = [[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]]
SOFT = [[0.9, 0.1, 0.75, 0, 1], [0.2, 0.5, 0.05, 0.95, 0.6]]
OTHER = [[0.5, 0.25, 1, -2, -0.75], [0, 1.25, -1.5, 1, -1]]

GOLDEN = {
    "zlpr": (lambda s, y, t, u: ml.zlpr(s, y), [1.38488200268, 2.08860841187]),
    "zlpr, soft": (lambda s, y, t, u: ml.zlpr(s, t), [2.16783835488, 2.34636593751]),
    "zlpr, smoothed": (
        lambda s, y, t, u: ml.zlpr(s, ml.smooth_targets(xp.astype(y, xp.float64), 0.1)),
        [2.13723573403, 2.33951446396],
    ),
    "zlpr_kl": (lambda s, y, t, u: ml.zlpr_kl(s, u), [0.796462767311, 0.615854181728]),
    "zlpr_kl, scale 2": (
        lambda s, y, t, u: ml.zlpr_kl(s, u, scale=2.0),
        [2.08683617365, 1.65695205351],
    ),
    "binary_cross_entropy": (
        lambda s, y, t, u: ml.binary_cross_entropy(s, y),
        [1.67694504466, 2.51069844742],
    ),
    "binary_cross_entropy, pos_weight": (
        lambda s, y, t, u: (
            xp.sum(ml.binary_cross_entropy(s, y, pos_weight=asarray([1.0, 2, 3, 4, 5]))) / 10
        ),
        0.78587666615509,
    ),
    "multilabel_soft_margin": (
        lambda s, y, t, u: ml.multilabel_soft_margin(s, y),
        [0.33538900893168, 0.50213968948460],
    ),
    "focal": (lambda s, y, t, u: xp.sum(ml.focal(s, y)), 0.99134577591799),
    "focal, alpha": (lambda s, y, t, u: xp.sum(ml.focal(s, y, alpha=0.25)) / 10, 0.061245558988297),
    "asymmetric": (lambda s, y, t, u: xp.sum(ml.asymmetric(s, y)), 0.72421627227377),
    "hill": (lambda s, y, t, u: xp.sum(ml.hill(s, y)), 2.0495198385031),
    "poly": (lambda s, y, t, u: xp.sum(ml.poly(s, y)), 7.2957045875628),
    "poly, focal": (
        lambda s, y, t, u: xp.sum(ml.poly(s, y, gamma=2.0, alpha=0.25)),
        1.2957958279049,
    ),
}

GOLDEN_DERIVATIVES = {
    "zlpr": (
        lambda s: xp.sum(ml.zlpr(s, asarray(TARGETS))),
        [
            [-0.164251627625, 0.206278869455, -0.0996236480623, 0.0169324007154, 0.436692370063],
            [0.118721120998, -0.181294888607, 0.0264902627414, 0.532071150396, -0.434903829201],
        ],
    ),
    "zlpr, soft": (
        lambda s: xp.sum(ml.zlpr(s, asarray(SOFT))),
        [
            [0.0257666628786, 0.0668815671524, 0.429548845423, 0.0127951219847, -0.346751435738],
            [-0.0464688518152, 0.304506356369, -0.139902927903, -0.1293169414, -0.063365220282],
        ],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_value(name: str) -> None:
    function, expected = GOLDEN[name]
    actual = function(*(asarray(x) for x in (LOGITS, TARGETS, SOFT, OTHER)))
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-11)


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
@pytest.mark.parametrize("name", GOLDEN_DERIVATIVES)
def test_golden_gradient(name: str) -> None:
    function, expected = GOLDEN_DERIVATIVES[name]
    np.testing.assert_allclose(gradient(function, asarray(LOGITS)), expected, rtol=1e-11)


def batch(seed: int, n: int = 50, num_labels: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, num_labels)) * 4
    return asarray(logits), asarray((rng.random((n, num_labels)) < 0.3).astype(float))


def assert_same(actual: Any, expected: Any, rtol: float = 1e-13) -> None:
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=rtol, atol=1e-14)


def test_zlpr_of_one_label_is_binary_cross_entropy() -> None:
    logits, targets = batch(0, num_labels=1)
    assert_same(ml.zlpr(logits, targets), ml.binary_cross_entropy(logits, targets))


def test_zlpr_is_bounded() -> None:
    """By the log-sum-exp over pairs from below, by cross-entropy and the largest logits around."""
    logits, targets = batch(1)
    s, y = to_numpy(logits), to_numpy(targets) > 0
    value = to_numpy(ml.zlpr(logits, targets))
    pairs = [np.log1p(np.exp(a[~b][:, None] - a[b]).sum()) for a, b in zip(s, y, strict=True)]
    peaks = np.where(y, -s, -np.inf).max(-1).clip(0) + np.where(y, -np.inf, s).max(-1).clip(0)
    assert (np.array(pairs) <= value + 1e-12).all()
    assert (peaks <= value).all()
    assert (value <= to_numpy(ml.binary_cross_entropy(logits, targets)) + 1e-12).all()


def test_zlpr_threshold_shifts_the_logits() -> None:
    logits, targets = batch(2)
    thresholds = asarray(np.random.default_rng(0).normal(size=50))
    expected = ml.zlpr(logits - thresholds[:, None], targets)
    assert_same(ml.zlpr(logits, targets, threshold=thresholds), expected)
    assert_same(ml.zlpr(logits, targets, threshold=1.5), ml.zlpr(logits - 1.5, targets))


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
def test_zlpr_learns_its_threshold_and_its_targets() -> None:
    logits, targets = batch(3, n=4)
    targets = 0.1 + 0.8 * targets
    for start, loss in (
        (asarray(np.linspace(-1, 1, 4)), lambda t: ml.zlpr(logits, targets, threshold=t)),
        (asarray(0.5), lambda t: ml.zlpr(logits, targets, threshold=t)),
        (targets, lambda t: ml.zlpr(logits, t)),
    ):
        derivative = gradient(lambda t, loss=loss: xp.sum(loss(t)), start)
        flat = to_numpy(start).ravel()
        for i in range(flat.size):
            step = np.zeros(flat.size)
            step[i] = 1e-6
            sides = [
                float(xp.sum(loss(asarray((flat + sign * step).reshape(derivative.shape)))))
                for sign in (1, -1)
            ]
            expected = (sides[0] - sides[1]) / 2e-6
            np.testing.assert_allclose(derivative.ravel()[i], expected, rtol=1e-6, atol=1e-8)


def test_soft_zlpr_has_its_minimum_at_half_the_log_odds() -> None:
    soft = np.array([[0.9, 0.1, 0.75, 0.2, 0.5]])
    best = asarray(np.log(soft / (1 - soft)) / 2)
    minimum = ml.zlpr(best, asarray(soft))
    assert_same(minimum, asarray(2 * np.log1p(np.sqrt(soft * (1 - soft)).sum(-1))))
    np.testing.assert_allclose(to_numpy(minimum), 2.1520602413372, rtol=1e-12)
    for step in np.random.default_rng(0).normal(size=(20, 1, 5)) * 0.1:
        assert (to_numpy(ml.zlpr(best + asarray(step), asarray(soft))) > to_numpy(minimum)).all()
    if HAS_GRADIENTS:
        derivatives = gradient(lambda s: xp.sum(ml.zlpr(s, asarray(soft))), best)
        np.testing.assert_allclose(derivatives, 0, atol=1e-15)


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
def test_zlpr_derivatives_of_each_side_add_to_less_than_one() -> None:
    logits, targets = batch(4, num_labels=300)
    derivatives = gradient(lambda s: xp.sum(ml.zlpr(s, targets)), logits)
    y = to_numpy(targets) > 0
    assert (np.where(y, 0, derivatives) >= 0).all() and (np.where(y, derivatives, 0) <= 0).all()
    assert (np.where(y, 0, derivatives).sum(-1) < 1).all()
    assert (np.where(y, derivatives, 0).sum(-1) > -1).all()


def test_zlpr_kl_and_r_drop() -> None:
    logits, targets = batch(5)
    other, _ = batch(6)
    assert_same(ml.zlpr_kl(logits, other), ml.zlpr_kl(other, logits))
    assert_same(ml.zlpr_kl(logits, logits), xp.zeros_like(logits[:, 0]))
    assert_same(ml.r_drop(logits, logits, targets), ml.zlpr(logits, targets))
    fit = (ml.zlpr(logits, targets) + ml.zlpr(other, targets)) / 2
    assert_same(ml.r_drop(logits, other, targets, alpha=0.0), fit)


def test_zlpr_kl_tells_large_logits_apart_in_float32() -> None:
    near, far = asarray([20.0], "float32"), asarray([21.0], "float32")
    expected = (1 / (1 + np.exp(-21.0)) - 1 / (1 + np.exp(-20.0))) * 1.0
    np.testing.assert_allclose(to_numpy(ml.zlpr_kl(far, near)), expected, rtol=1e-5)


def test_zlpr_kl_at_infinity() -> None:
    first = asarray([np.inf, -np.inf, np.inf, np.inf])
    second = asarray([np.inf, -np.inf, -np.inf, 1.0])
    values = [to_numpy(ml.zlpr_kl(first[i : i + 1], second[i : i + 1])) for i in range(4)]
    assert values == [0, 0, np.inf, np.inf]


def test_the_focal_family_is_cross_entropy_in_the_limit() -> None:
    logits, targets = batch(7)
    expected = ml.binary_cross_entropy(logits, targets)
    assert_same(ml.focal(logits, targets, gamma=0.0), expected)
    plain = ml.asymmetric(logits, targets, gamma_neg=0.0, gamma_pos=0.0, margin=0.0)
    assert_same(plain, expected)
    assert_same(ml.poly(logits, targets, epsilon=0.0), expected)
    for gamma in (0.5, 2.0):
        same = ml.asymmetric(logits, targets, gamma_neg=gamma, gamma_pos=gamma, margin=0.0)
        assert_same(same, ml.focal(logits, targets, gamma=gamma))
    nearly = ml.asymmetric(logits, targets, gamma_neg=0.0, gamma_pos=0.0, margin=1e-12)
    assert_same(nearly, expected, rtol=1e-8)


def test_multilabel_soft_margin_counts_the_known_labels() -> None:
    logits, targets = batch(8)
    where = asarray(np.random.default_rng(0).random((50, 8)) < 0.5)
    known = np.maximum(to_numpy(where).sum(-1), 1)
    total = to_numpy(ml.binary_cross_entropy(logits, targets, where=where))
    actual = ml.multilabel_soft_margin(logits, targets, where=where)
    np.testing.assert_allclose(to_numpy(actual), total / known, rtol=1e-13)


@pytest.mark.skipif(NAME != "torch", reason="PyTorch's own losses")
def test_binary_family_is_pytorchs() -> None:
    import torch.nn.functional as F

    logits, targets = batch(9)
    weights = asarray(np.linspace(0.5, 2, 8))
    theirs = F.binary_cross_entropy_with_logits(
        logits, targets, weight=weights, pos_weight=weights, reduction="none"
    )
    ours = ml.binary_cross_entropy(logits, targets, label_weights=weights, pos_weight=weights)
    assert_same(ours, theirs.sum(-1))
    theirs = F.multilabel_soft_margin_loss(logits, targets, weight=weights, reduction="none")
    assert_same(ml.multilabel_soft_margin(logits, targets, label_weights=weights), theirs)


BAD_HYPER_PARAMETERS = [
    (ml.focal, {"gamma": -1.0}, r"gamma must be at least 0, got -1"),
    (ml.focal, {"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
    (ml.focal, {"gamma": float("nan")}, r"gamma must be at least 0, got nan"),
    (ml.poly, {"epsilon": -2.0}, r"epsilon must be at least -1, got -2"),
    (ml.asymmetric, {"gamma_pos": -0.5}, r"gamma_pos must be at least 0"),
    (ml.asymmetric, {"margin": 1.0}, r"margin must be in \[0, 1\)"),
    (ml.hill, {"gamma": -1.0}, r"gamma must be at least 0"),
    (ml.zlpr, {"threshold": [[1.0]]}, r"threshold must be a number or have the batch shape"),
    (ml.binary_cross_entropy, {"pos_weight": [1.0, 2.0]}, r"pos_weight must have one entry per"),
    (
        ml.binary_cross_entropy,
        {"label_weights": [[1.0]]},
        r"label_weights must be a number, have",
    ),
]


@pytest.mark.parametrize(("loss", "keywords", "message"), BAD_HYPER_PARAMETERS)
def test_bad_hyper_parameters_are_named(loss: Any, keywords: dict[str, Any], message: str) -> None:
    keywords = {k: asarray(v) if isinstance(v, list) else v for k, v in keywords.items()}
    with pytest.raises(ValueError, match=message):
        loss(*batch(10), **keywords)


def test_r_drop_needs_an_alpha_of_at_least_zero() -> None:
    logits, targets = batch(11)
    with pytest.raises(ValueError, match="alpha must be at least 0, got -1"):
        ml.r_drop(logits, logits, targets, alpha=-1.0)


def test_a_number_is_no_array_of_weights() -> None:
    logits, _ = batch(12)
    with pytest.raises(TypeError, match=r"counts must be an array of shape \[L\]"):
        ml.logit_adjust(logits, 2.0)  # type: ignore[arg-type]


@pytest.mark.skipif(NAME in ("numpy", "jax"), reason="NumPy itself, or taken beside JAX")
def test_arrays_of_two_libraries_are_refused() -> None:
    logits, targets = batch(13)
    with pytest.raises(TypeError, match=r"one library, got logits of .*targets of numpy"):
        ml.zlpr(logits, to_numpy(targets))
