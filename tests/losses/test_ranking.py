"""Losses over pairs of labels and over a softmax: published values, identities, size, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc_losses
from tests.losses import oracles_ranking as oracles
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    OPTIMIZED,
    asarray,
    compiled,
    gradient,
    in_one_program,
    in_programs,
    to_numpy,
    xp,
)
from tests.support.slow import slow_to_compile

ml = in_programs(mlc_losses)

# The batch whose values the fact sheets of the losses give, computed in 40 digits.
LOGITS = np.array([[1.5, -0.5, 2, -3, 0.25], [-1, 0.75, -2.5, 0.5, -0.125]])
TARGETS = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]])

GOLDEN = {
    "lsep": (ml.lsep, LOGITS, {}, [0.528004792631, 1.47464204085]),
    "bp_mll": (ml.bp_mll, LOGITS, {}, [0.115924327618, 0.561578566779]),
    "multilabel_margin": (ml.multilabel_margin, LOGITS, {}, [0, 0.5]),
    "hinge": (ml.pairwise_hinge, LOGITS, {"normalize": True}, [0, 0.416666666667]),
    "calibrated": (ml.calibrated_ranking, LOGITS, {}, [2.31267911512, 4.77598811418]),
    "two_way": (ml.two_way, LOGITS, {}, 2.8731696525626),
    "circle": (ml.circle, LOGITS / 5, {"gamma": 64.0}, [27.414948451763, 63.480325507328]),
    "multilabel_softmax": (ml.multilabel_softmax, LOGITS, {}, [0.875471770546, 1.3163841291]),
}
only_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's compiler")
only_torch = pytest.mark.skipif(NAME != "torch", reason="PyTorch's own losses")

HINGES = {
    "pairwise_hinge": (ml.pairwise_hinge, oracles.pairwise_hinge),
    "multilabel_margin": (ml.multilabel_margin, oracles.multilabel_margin),
    "warp": (ml.warp, oracles.warp),
}


def batch(seed: int, n: int = 50, num_labels: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, num_labels)) * 4
    return asarray(logits), asarray((rng.random((n, num_labels)) < 0.3).astype(float))


def assert_same(actual: Any, expected: Any, rtol: float = 1e-13, atol: float = 1e-14) -> None:
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_value(name: str) -> None:
    loss, scores, keywords, expected = GOLDEN[name]
    actual = in_one_program(loss)(asarray(scores), asarray(TARGETS), **keywords)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-11)


def test_two_way_masks_exactly() -> None:
    """The published mask, a logit of -100, makes 51 of the first and NaN of the second."""
    beyond_the_mask = asarray(np.array([[150.0, -1.0, -200.0]]))
    two_way = in_one_program(ml.two_way)
    assert float(two_way(beyond_the_mask, asarray(np.array([[1, 1, 0]])))) < 1e-80
    nothing = asarray(np.zeros((2, 5), dtype=int))
    assert float(two_way(asarray(LOGITS), nothing)) == 0


# identities --------------------------------------------------------------------------------------


def test_lsep_is_at_most_zlpr() -> None:
    logits, targets = batch(0)
    assert (to_numpy(ml.lsep(logits, targets)) <= to_numpy(ml.zlpr(logits, targets))).all()


@pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
def test_two_way_of_one_label_wrong_at_infinity() -> None:
    targets = np.array([[1, 0, 1], [0, 1, 0]])

    def derivative(size: float) -> np.ndarray:
        logits = np.array([[-size, 0.5, 1.0], [0.3, -0.2, 0.1]])
        return gradient(lambda s: ml.two_way(s, asarray(targets)), asarray(logits))

    np.testing.assert_allclose(derivative(np.inf)[0, 0], derivative(1e4)[0, 0], rtol=1e-12)
    assert np.isfinite(derivative(np.inf)).all()


def test_two_way_without_temperature_is_lsep_both_ways() -> None:
    logits, targets = batch(1)
    actual = in_one_program(ml.two_way)(logits, targets, temperature_pos=1.0, temperature_neg=1.0)
    expected = 0.0
    for axis in (-1, 0):
        values = to_numpy(in_one_program(ml.lsep)(logits, targets, axis=axis))
        expected += values[to_numpy(targets).any(axis)].mean()
    assert_same(actual, asarray(expected))


def test_calibrated_ranking_is_pairs_and_cross_entropy() -> None:
    logits, targets = batch(2, n=7)
    thresholds = asarray(np.linspace(-1, 1, 7))
    shifted = logits - thresholds[:, None]
    pairs = ml.calibrated_ranking(logits, targets) - ml.binary_cross_entropy(logits, targets)
    expected = pairs + ml.binary_cross_entropy(shifted, targets)
    assert_same(ml.calibrated_ranking(logits, targets, threshold=thresholds), expected, 1e-12)


def test_one_relevant_label_is_the_softmax() -> None:
    logits, _ = batch(3)
    labels = asarray(np.arange(50) % 8)
    targets = ml.multi_hot(labels[:, None], 8)
    expected = in_one_program(ml.softmax_cross_entropy)(logits, labels)
    assert_same(in_one_program(ml.lsep)(logits, targets), expected)
    assert_same(in_one_program(ml.multilabel_softmax)(logits, targets), expected, 1e-12)
    assert_same(in_one_program(ml.softmax_focal)(logits, labels, gamma=0.0), expected)
    assert_same(in_one_program(ml.ldam)(logits, labels, asarray(np.zeros(8)), scale=1.0), expected)


def test_softmax_keeps_the_digits_of_a_small_loss() -> None:
    logits = asarray([[40.0, 0.0, 0.0]], "float32")
    actual = ml.softmax_cross_entropy(logits, asarray([0]))
    np.testing.assert_allclose(to_numpy(actual), 2 * np.exp(-40.0), rtol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 1.0])
def test_a_logit_of_minus_infinity_deletes_a_class(label_smoothing: float) -> None:
    logits, _ = batch(4, n=4, num_labels=5)
    deleted = asarray(np.where(np.arange(5) == 3, -np.inf, to_numpy(logits)))
    kept = asarray(to_numpy(logits)[:, [0, 1, 2, 4]])
    labels = asarray([0, 1, 2, 1])
    for loss in (
        lambda s: ml.softmax_cross_entropy(s, labels, label_smoothing=label_smoothing),
        lambda s: ml.softmax_focal(s, labels),
        lambda s: ml.multilabel_softmax(s, ml.multi_hot(labels[:, None], s.shape[1])),
    ):
        whole = in_one_program(loss)
        assert_same(whole(deleted), whole(kept))
        if HAS_GRADIENTS:
            derivatives = gradient(lambda s, loss=loss: xp.sum(loss(s)), deleted)
            expected = gradient(lambda s, loss=loss: xp.sum(loss(s)), kept)
            np.testing.assert_allclose(derivatives[:, [0, 1, 2, 4]], expected, rtol=1e-13)
            assert (derivatives[:, 3] == 0).all()


def test_infinite_logits_of_a_softmax() -> None:
    inf = np.inf
    logits = asarray([[inf, 0, 1], [inf, inf, 0], [0, inf, 1], [-inf, 0, 1], [-inf, -inf, -inf]])
    labels = asarray([0] * 5)
    assert_same(ml.softmax_cross_entropy(logits, labels), asarray([0, 0, inf, inf, 0]))
    targets = asarray(np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]))
    expected = asarray([0, np.log(2), inf, np.log1p(np.e), 0])
    assert_same(ml.multilabel_softmax(logits, targets), expected)
    if HAS_GRADIENTS:
        for loss, target in (
            (ml.softmax_cross_entropy, labels),
            (ml.softmax_focal, labels),
            (ml.multilabel_softmax, targets),
        ):
            total = lambda s, loss=loss, target=target: xp.sum(loss(s, target))  # noqa: E731
            assert np.isfinite(gradient(total, logits)).all()


def test_distributional_ranking_of_many_alike_is_the_plain_difference() -> None:
    """Equal scores on a side leave nothing to the distribution over it."""
    p, n = 0.7, 0.4
    logits = np.log([[p / (1 - p)] * 3 + [n / (1 - n)] * 5])
    targets = np.array([[1] * 3 + [0] * 5])
    expected = 4 / 6 * np.log1p(np.exp(6 * (n - p + 0.5)))
    actual = ml.distributional_ranking(asarray(logits), asarray(targets))
    assert_same(actual, asarray([expected]))


def test_circle_with_the_defaults_of_the_paper() -> None:
    similarities = np.tanh(np.random.default_rng(5).normal(size=(9, 6)))
    targets = np.random.default_rng(6).integers(0, 2, (9, 6))
    expected = [oracles.circle(s, y) for s, y in zip(similarities, targets, strict=True)]
    assert_same(ml.circle(asarray(similarities), asarray(targets)), asarray(expected), 1e-12)
    if HAS_GRADIENTS:
        total = lambda s: xp.sum(ml.circle(s, asarray(targets)))  # noqa: E731
        derivatives = gradient(total, asarray(similarities))
        assert ((derivatives <= 0) | (targets == 0)).all() and (
            (derivatives >= 0) | (targets == 1)
        ).all()
        assert np.isfinite(derivatives).all()


# hinges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HINGES)
def test_hinge_with_ties_and_pairs_at_the_margin(name: str) -> None:
    """Scores on a coarse grid; a pair at the margin is no violation, in the gradient too."""
    loss, oracle = HINGES[name]
    rng = np.random.default_rng(7)
    logits = rng.integers(-3, 4, (6, 7)) / 2
    targets = rng.integers(0, 2, (6, 7)).astype(float)
    expected = [oracle(s, y) for s, y in zip(logits, targets, strict=True)]
    actual = in_one_program(loss)(asarray(logits), asarray(targets))
    assert_same(actual, asarray(expected))
    if HAS_GRADIENTS:
        total = lambda s, y: xp.sum(loss(s, y))  # noqa: E731
        derivatives = gradient(total, asarray(logits), asarray(targets))
        # as with all pairs that are at the margin moved a little inside
        inside = gradient(total, asarray(logits - 1e-9 * (1 - targets)), asarray(targets))
        np.testing.assert_allclose(derivatives, inside, rtol=1e-15)


@slow_to_compile
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HINGES)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_hinge_of_many_labels_keeps_its_digits(name: str, offset: float, dtype: str) -> None:
    """20000 labels, 4 million pairs: neither the sum nor the gradient loses digits."""
    rng = np.random.default_rng(8)
    targets = rng.random(20000) < 0.01
    # nearly right: sums of scores would cancel all but the last digits
    logits = (rng.normal(size=20000) + np.where(targets, 3.0, 0.0) + offset).astype(dtype)
    positives, negatives = logits[targets].astype(float), logits[~targets].astype(float)
    excess = 1 + negatives[None, :] - positives[:, None]
    violated = excess > 0
    weights = np.ones(len(positives))
    if name == "warp":
        harmonic = np.cumsum(np.append(0, 1 / np.arange(1, 20001)))
        weights = harmonic[violated.sum(1)]
    if name == "multilabel_margin":
        weights /= 20000
    value = weights @ np.where(violated, excess, 0).sum(1)
    derivatives = np.empty(20000)
    derivatives[targets] = -weights * violated.sum(1)
    derivatives[~targets] = weights @ violated
    loss = HINGES[name][0]
    actual = in_one_program(loss)(asarray(logits, dtype), asarray(targets))
    tolerance = 3e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(to_numpy(actual), value, rtol=tolerance)
    if HAS_GRADIENTS:
        y = asarray(targets)
        moved = gradient(lambda s: loss(s, y), asarray(logits, dtype))
        # a key that rounds onto the margin changes a count by one
        np.testing.assert_allclose(moved, derivatives, rtol=tolerance, atol=2 * weights.max())


@only_jax
@pytest.mark.parametrize(
    "loss", [ml.pairwise_hinge, ml.multilabel_margin, ml.warp, ml.lsep, ml.bp_mll]
)
def test_no_array_of_pairs(loss: Any) -> None:
    """[8, 20000, 20000] would be 12 GB; the temporaries of value and gradient stay under 64 MiB."""
    assert temporaries(loss, 8, 20000) < 64 * 2**20


@only_jax
def test_calibrated_ranking_keeps_one_block_in_memory() -> None:
    """Of 122 MiB of pairs; in its gradient too."""
    assert temporaries(ml.calibrated_ranking, 8, 2000) < 24 * 2**20


def temporaries(loss: Any, n: int, num_labels: int) -> int:
    import jax

    logits = jax.ShapeDtypeStruct((n, num_labels), "float32")
    targets = jax.ShapeDtypeStruct((n, num_labels), "bool")
    step = jax.jit(jax.value_and_grad(lambda s, y: loss(s, y).sum()))
    return step.lower(logits, targets).compile(OPTIMIZED).memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("num_labels", [1, 65, 150])
def test_calibrated_ranking_in_blocks(num_labels: int) -> None:
    """Several blocks, the last one not full."""
    logits, targets = batch(9, n=2, num_labels=num_labels)
    s, y = to_numpy(logits), to_numpy(targets)
    expected = [oracles.calibrated_ranking(a, b) for a, b in zip(s, y, strict=True)]
    assert_same(ml.calibrated_ranking(logits, targets), asarray(expected), 1e-12)
    if HAS_GRADIENTS:
        derivatives = gradient(lambda s: xp.sum(ml.calibrated_ranking(s, targets)), logits)
        gaps = s[:, :, None] - s[:, None, :]
        rising = (y[:, :, None] == 0) & (y[:, None, :] == 1)
        rise = np.where(rising, 1 / (1 + np.exp(-gaps)), 0)
        expected = rise.sum(2) - rise.sum(1) + 1 / (1 + np.exp(-s)) - y
        np.testing.assert_allclose(derivatives, expected, rtol=1e-11, atol=1e-13)


# large exponentials ------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "size"), [("float32", 43.0), ("float64", 350.0)])
def test_bp_mll_overflows_no_earlier_than_its_value(dtype: str, size: float) -> None:
    logits = asarray([[size, size, -size, 0.0], [0.0, -3.0, size, 4.0]], dtype)
    targets = asarray([[0, 0, 1, 0], [0, 0, 1, 1]])
    high, low = np.exp(2 * size), np.exp(size)
    first = (2 * high + low) / 3
    second = (1 + np.exp(-3)) * (np.exp(-4) + np.exp(-size)) / 4
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert_same(ml.bp_mll(logits, targets), asarray([first, second]), tolerance)
    if HAS_GRADIENTS:
        derivatives = gradient(lambda s: xp.sum(ml.bp_mll(s, targets)), logits)[0]
        np.testing.assert_allclose(
            derivatives, [high / 3, high / 3, -first, low / 3], rtol=tolerance
        )


@only_gradients
def test_bp_mll_beyond_the_range_has_no_nan() -> None:
    logits = asarray([[60.0, 0.0, -60.0, 1.0], [np.inf, 0.0, 1.0, -np.inf]], "float32")
    targets = asarray([[0, 0, 1, 1], [0, 0, 1, 1]])
    assert np.isinf(to_numpy(ml.bp_mll(logits, targets))).all()
    derivatives = gradient(lambda s: xp.sum(ml.bp_mll(s, targets)), logits)
    assert not np.isnan(derivatives).any()
    np.testing.assert_allclose(derivatives[0, 1], np.exp(60.0) / 4, rtol=1e-5)


# PyTorch -----------------------------------------------------------------------------------------


@only_torch
def test_pytorchs_multilabel_margin() -> None:
    import torch
    import torch.nn.functional as F

    logits, targets = batch(10)
    ids = ml.label_ids(targets, 8)
    logits = logits.clone().requires_grad_()
    theirs = F.multilabel_margin_loss(logits, ids, reduction="none")
    ours = ml.multilabel_margin(logits, targets)
    assert_same(ours, theirs)
    derivatives = (torch.autograd.grad(x.sum(), logits)[0] for x in (ours, theirs))
    assert_same(*derivatives)


@only_torch
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_pytorchs_cross_entropy(label_smoothing: float) -> None:
    import torch.nn.functional as F

    logits, targets = batch(11)
    labels = asarray(np.arange(50) % 8)
    theirs = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    ours = ml.softmax_cross_entropy(logits, labels, label_smoothing=label_smoothing)
    assert_same(ours, theirs)
    shares = targets / targets.sum(-1, keepdim=True).clip(1)
    theirs = F.cross_entropy(logits, shares, reduction="none")
    assert_same(ml.multilabel_softmax(logits, targets), theirs)


@only_torch
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_pytorchs_weights_and_distributions(label_smoothing: float) -> None:
    import torch.nn.functional as F

    logits, targets = batch(16)
    weights = asarray(np.linspace(0.0, 2.0, 8))
    shares = (targets + 0.5) / (targets + 0.5).sum(-1, keepdim=True)
    for labels in (asarray(np.arange(50) % 8), shares):
        theirs = F.cross_entropy(
            logits, labels, weights, reduction="none", label_smoothing=label_smoothing
        )
        ours = ml.softmax_cross_entropy(
            logits, labels, class_weights=weights, label_smoothing=label_smoothing
        )
        assert_same(ours, theirs, 1e-12)


# errors ------------------------------------------------------------------------------------------


BAD_HYPER_PARAMETERS = [
    (ml.pairwise_hinge, {"margin": -1.0}, r"margin must be at least 0, got -1"),
    (ml.warp, {"margin": -0.5}, r"margin must be at least 0, got -0.5"),
    (ml.distributional_ranking, {"lambda_pos": 0.0}, r"lambda_pos must be above 0, got 0"),
    (ml.distributional_ranking, {"lambda_neg": -1.0}, r"lambda_neg must be above 0, got -1"),
    (ml.distributional_ranking, {"slope": 0.0}, r"slope must be above 0, got 0"),
    (ml.two_way, {"temperature_pos": 0.0}, r"temperature_pos must be above 0, got 0"),
    (ml.two_way, {"temperature_neg": -2.0}, r"temperature_neg must be above 0, got -2"),
    (ml.circle, {"gamma": 0.0}, r"gamma must be above 0, got 0"),
]
BAD_SOFTMAX_PARAMETERS = [
    (ml.softmax_cross_entropy, {"label_smoothing": 1.5}, r"label_smoothing must be in \[0, 1\]"),
    (ml.softmax_cross_entropy, {"z_loss": -1.0}, r"z_loss must be at least 0, got -1"),
    (ml.softmax_cross_entropy, {"class_weights": [1.0]}, r"class_weights must have one entry per"),
    (ml.softmax_cross_entropy, {"class_weights": [-1.0] * 8}, r"class_weights must be finite and"),
    (ml.softmax_focal, {"gamma": -1.0}, r"gamma must be at least 0, got -1"),
    (ml.ldam, {"margins": [0.5] * 8, "scale": 0.0}, r"scale must be above 0, got 0"),
    (ml.ldam, {"margins": [0.5]}, r"margins must have one entry per label, shape \(8,\)"),
]


@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize(
    ("loss", "keywords", "message"), BAD_HYPER_PARAMETERS + BAD_SOFTMAX_PARAMETERS
)
def test_bad_hyper_parameters_are_named(loss: Any, keywords: dict[str, Any], message: str) -> None:
    logits, targets = batch(12)
    if (loss, keywords, message) in BAD_SOFTMAX_PARAMETERS:
        targets = asarray(np.arange(50) % 8)
    keywords = {k: asarray(v) if isinstance(v, list) else v for k, v in keywords.items()}
    with pytest.raises(ValueError, match=message):
        loss(logits, targets, **keywords)


def test_two_way_needs_a_batch() -> None:
    logits, targets = batch(13)
    with pytest.raises(ValueError, match=r"logits must have shape \[n, L\], got \(8,\)"):
        ml.two_way(logits[0, :], targets[0, :])


@pytest.mark.usefixtures("op_by_op")
def test_a_negative_label_is_refused() -> None:
    logits, _ = batch(14)
    with pytest.raises(ValueError, match=r"labels must be in 0..7, got -1"):
        ml.softmax_cross_entropy(logits, asarray(np.arange(50) % 8 - 1))


@only_jax
@pytest.mark.usefixtures("users_compiler")
def test_a_label_out_of_range_is_nan_under_a_trace() -> None:
    logits, _ = batch(15, n=3)
    labels = asarray([-1, 8, 3])
    values = compiled(ml.softmax_cross_entropy)(logits, labels)
    assert np.isnan(to_numpy(values)).tolist() == [True, True, False]
