"""Losses for one label and K guesses: published values, limits, small temperatures, bad input."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc_losses
from tests.losses import oracles_top_k
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
from tests.support.slow import slow_to_compile

ml = in_programs(mlc_losses)

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "top_k.npz"
KINDS = {"cal": "calibrated", "hinge": "off_label", "cvx": "convex", "cvx_beta": "convex_beta"}
with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")


def draw(seed: int, n: int = 5, num_labels: int = 8, spread: float = 3.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, num_labels)) * spread, rng.integers(0, num_labels, n)


@cache
def with_gradient(loss: Callable[..., Any], k: int, **static: Any) -> Callable[..., Any]:
    """Values, and the gradient of their mean, as functions that compile once for each k."""
    loss = partial(loss, **static)

    def values(x: Any, labels: Any, arrays: dict[str, Any]) -> Any:
        return loss(x, labels, k, **arrays)

    def mean(x: Any, labels: Any, arrays: dict[str, Any]) -> Any:
        return xp.mean(loss(x, labels, k, **arrays))

    def both(x: np.ndarray, labels: np.ndarray, **named: Any) -> tuple[np.ndarray, Any]:
        arrays = {n: asarray(v) if isinstance(v, np.ndarray) else v for n, v in named.items()}
        rest = asarray(labels), arrays
        derivatives = gradient(mean, asarray(x), *rest) if HAS_GRADIENTS else None
        return to_numpy(compiled(values)(asarray(x), *rest)), derivatives

    return both


# published values --------------------------------------------------------------------------------

Fields = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def golden() -> dict[str, Fields]:
    if not GOLDEN.exists():
        pytest.skip("the golden values are not here")
    cases: dict[str, Fields] = {}
    with np.load(GOLDEN, allow_pickle=False) as file:
        for name in file.files:
            case, field = name.split("/")
            cases.setdefault(case, {})[field] = file[name]
    return cases


def assert_golden(name: str, fields: Fields, actual: tuple[np.ndarray, Any], atol: float) -> None:
    values, derivatives = actual
    np.testing.assert_allclose(values.mean(), fields["loss"], rtol=1e-6, err_msg=name)
    for rows in ("per_row", "per_row_exact"):
        if rows in fields:
            np.testing.assert_allclose(values, fields[rows], rtol=1e-6, atol=1e-9, err_msg=name)
    if derivatives is not None and "grad" in fields:
        np.testing.assert_allclose(derivatives, fields["grad"], rtol=1e-6, atol=atol, err_msg=name)


def settings_of(name: str) -> dict[str, float]:
    """The numbers of `bal_k3_e0.2_B5`."""
    return {part[0]: float(part[1:]) for part in name.split("_") if part[1:2].isdigit()}


def test_golden_noised(golden: dict[str, Fields]) -> None:
    names = [name for name in golden if name.startswith(("bal_", "imbal_", "exact_"))]
    assert names
    for name in names:
        numbers = settings_of(name)
        shared = golden["imbal" if name.startswith("imbal") else "bal"]
        arrays = {"sigma": numbers["e"]}
        method = "exact" if name.startswith("exact") else "sample"
        if method == "sample":
            arrays["noise"] = shared["noise"][..., : int(numbers.get("B", 5))]
        if "margins" in shared:
            arrays |= {"margins": shared["margins"], "scale": float(shared["scale"])}
        both = with_gradient(ml.noised_top_k_hinge, int(numbers["k"]), method=method)
        assert_golden(name, golden[name], both(shared["scores"], shared["labels"], **arrays), 1e-7)


def test_golden_noised_alone(golden: dict[str, Fields]) -> None:
    fields = golden["readme_bal"]
    both = with_gradient(ml.noised_top_k_hinge, int(fields["k"]))
    arrays = {"sigma": float(fields["eps"]), "noise": fields["noise"]}
    assert_golden("readme_bal", fields, both(fields["scores"], fields["labels"], **arrays), 1e-7)


@pytest.mark.parametrize("loss", ["top_k_hinge", "noised_top_k_hinge"])
def test_golden_ties(golden: dict[str, Fields], loss: str) -> None:
    for name in ("ties_k1", "ties_k2", "kink", "vanish"):
        fields = golden[name]
        k = int(fields.get("k", name[-1:] if name[-1:].isdigit() else 1))
        arrays = {}
        if loss == "noised_top_k_hinge":
            arrays = {"sigma": 0.0, "noise": np.zeros((*fields["scores"].shape, 5))}
        both = with_gradient(getattr(ml, loss), k)
        assert_golden(name, fields, both(fields["scores"], fields["labels"], **arrays), 1e-12)


def test_golden_smooth(golden: dict[str, Fields]) -> None:
    """Without the rows where the published code falls back to the hard loss."""
    scores, labels = golden["bal"]["scores"], golden["bal"]["labels"]
    for name in [name for name in golden if name.startswith("smooth_")]:
        fields, numbers = golden[name], settings_of(name)
        both = with_gradient(ml.smooth_top_k_hinge, int(numbers["k"]))
        values, derivatives = both(scores, labels, tau=numbers["t"])
        np.testing.assert_allclose(values, fields["per_row_exact"], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(values.mean(), fields["loss_exact"], rtol=1e-6, err_msg=name)
        if derivatives is not None:
            smooth = ~fields["hard_switch"].astype(bool)
            truncated = numbers["t"] == 0.1
            np.testing.assert_allclose(
                derivatives[smooth],
                fields["grad"][smooth],
                rtol=1e-6,
                atol=1e-4 if truncated else 1e-9,
                err_msg=name,
            )


def test_golden_hinges_and_softmax(golden: dict[str, Fields]) -> None:
    scores, labels = golden["bal"]["scores"], golden["bal"]["labels"]
    for name, fields in golden.items():
        family, _, k = name.rpartition("_k")
        if family in KINDS:
            both = with_gradient(ml.top_k_hinge, int(k), kind=KINDS[family])
            assert_golden(name, fields, both(scores, labels), 1e-9)
    for name, gamma in (("ce", 0.0), ("focal_g1", 1.0), ("focal_g2", 2.0)):
        values = to_numpy(ml.softmax_focal(asarray(scores), asarray(labels), gamma=gamma))
        np.testing.assert_allclose(values.mean(), golden[name]["loss"], rtol=1e-6)


# the smooth loss ---------------------------------------------------------------------------------


@slow_to_compile
@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("k", [1, 2, 5, 7, 8])
def test_smooth_loss_is_exact_for_every_k_and_tau(k: int, tau: float) -> None:
    scores, labels = draw(k)
    expected = [
        oracles_top_k.smooth_top_k_hinge(row, y, k, tau=tau)
        for row, y in zip(scores, labels, strict=True)
    ]
    actual = ml.smooth_top_k_hinge(asarray(scores), asarray(labels), k, tau=tau)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-12, atol=1e-14)
    narrow = ml.smooth_top_k_hinge(asarray(scores, "float32"), asarray(labels), k, tau=tau)
    np.testing.assert_allclose(to_numpy(narrow), expected, rtol=2e-5, atol=1e-6)


@with_gradients
@pytest.mark.parametrize(("k", "tau"), [(1, 0.01), (3, 0.1), (5, 1.0), (7, 100.0)])
def test_smooth_gradient_is_the_derivative(k: int, tau: float) -> None:
    """Of the sum over subsets; rows add to 0, and what the rivals get to 1/k at the most."""
    scores, labels = draw(k + 10, spread=1.0)
    _, derivatives = with_gradient(ml.smooth_top_k_hinge, k)(scores, labels, tau=tau)
    derivatives = derivatives * len(scores)
    for row, y, found in zip(scores, labels, derivatives, strict=True):
        for j in range(len(row)):
            step = 1e-6 * tau**0.5 * (np.arange(len(row)) == j)
            sides = [
                oracles_top_k.smooth_top_k_hinge(row + d, y, k, tau=tau) for d in (step, -step)
            ]
            expected = (sides[0] - sides[1]) / (2 * step[j])
            np.testing.assert_allclose(found[j], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(derivatives.sum(-1), 0, atol=1e-12)
    assert (derivatives[np.arange(len(labels)), labels] >= -1 / k - 1e-12).all()


def test_smooth_loss_falls_to_the_hard_one() -> None:
    scores, labels = draw(20, spread=1000.0)
    k, rows = 3, np.arange(5)
    rivals = scores.copy()
    rivals[rows, labels] = -np.inf
    kth = np.sort(rivals, -1)[:, -k]
    hard = np.maximum(0, 1 + (kth - scores[rows, labels]) / k)
    for dtype in ("float32", "float64"):
        actual = ml.smooth_top_k_hinge(asarray(scores, dtype), asarray(labels), k, tau=0.01)
        np.testing.assert_allclose(to_numpy(actual), hard, rtol=1e-6, atol=1e-6)


def test_smooth_loss_of_one_guess_is_cross_entropy() -> None:
    scores, labels = map(asarray, draw(21))
    actual = ml.smooth_top_k_hinge(scores, labels, 1, tau=1.0, margin=0.0)
    expected = ml.softmax_cross_entropy(scores, labels)
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=1e-13)


def polynomial_ratio(x: np.ndarray, k: int) -> float:
    """`log(σ_k / σ_{k-1})` of one row in long integers: exact for whole numbers of weights."""
    coefficients = [1, *[0] * k]
    for weight in (int(w) for w in x):
        for m in range(k, 0, -1):
            coefficients[m] += weight * coefficients[m - 1]
    return np.log(coefficients[k] / coefficients[k - 1])


@pytest.mark.parametrize(("num_labels", "k"), [(1000, 20), (300, 150)])
def test_smooth_loss_of_many_classes(num_labels: int, k: int) -> None:
    """Where sums over subsets have up to hundreds of digits."""
    weights = np.random.default_rng(0).integers(1, 1000, num_labels)
    scores = np.log(weights.astype(float))[None, :] * k
    expected = np.log1p(np.exp(1 + polynomial_ratio(weights[1:], k) - scores[0, 0] / k))
    for dtype, rtol in (("float64", 1e-11), ("float32", 2e-5)):
        x, y = asarray(scores, dtype), asarray([0])
        actual = to_numpy(compiled(partial(ml.smooth_top_k_hinge, k=k))(x, y))
        np.testing.assert_allclose(actual, [expected], rtol=rtol)


# deleted classes, infinities, NaN ----------------------------------------------------------------

EVERY = {
    **{kind: partial(ml.top_k_hinge, kind=kind) for kind in KINDS.values()},
    "smooth": ml.smooth_top_k_hinge,
    "noised": partial(ml.noised_top_k_hinge, method="exact", sigma=0.0),
}
every_loss = pytest.mark.parametrize("name", EVERY)


@slow_to_compile
@every_loss
def test_too_few_rivals_left(name: str) -> None:
    """Of fewer classes than guesses every one is guessed; convex_beta is a sum, without them."""
    scores = np.full((2, 6), -np.inf)
    scores[:, 2], scores[:, 4] = 0.0, [5.0, -5.0]
    values, derivatives = with_gradient(EVERY[name], 3)(scores, np.array([2, 2]))
    np.testing.assert_allclose(values, [2.0 if name == "convex_beta" else 0.0, 0.0])
    assert derivatives is None or np.isfinite(derivatives).all()


@slow_to_compile
@every_loss
def test_label_at_infinity(name: str) -> None:
    """At -inf the loss is inf and pulls the label up; at inf it is 0, beside rivals at inf too."""
    scores, _ = draw(30, n=3)
    scores[0, 2], scores[1, 2], scores[2, 2:4] = -np.inf, np.inf, np.inf
    values, derivatives = with_gradient(EVERY[name], 2)(scores, np.array([2, 2, 2]))
    assert values[0] == np.inf and values[1] == 0
    assert not np.isnan(values[2])
    if derivatives is not None:
        assert np.isfinite(derivatives).all()
        assert derivatives[0, 2] < 0
        assert (derivatives[1] == 0).all()


@slow_to_compile
@every_loss
def test_nan_anywhere_is_nan(name: str) -> None:
    """The lowest score too, that no selection would take."""
    scores, labels = draw(31)
    scores[1, labels[1]] = np.nan
    scores[3, scores[3].argmin()] = np.nan
    values, _ = with_gradient(EVERY[name], 2)(scores, labels)
    assert np.isnan(values).tolist() == [False, True, False, True, False]


@pytest.mark.skipif(NAME != "jax", reason="checked in eager code elsewhere")
@pytest.mark.usefixtures("users_compiler")
@every_loss
def test_label_out_of_range_under_jit_is_nan(name: str) -> None:
    scores, labels = draw(32)
    labels[2] = 8
    values, _ = with_gradient(EVERY[name], 2)(scores, labels)
    assert np.isnan(values).tolist() == [False, False, True, False, False]


# limits and arguments ----------------------------------------------------------------------------


def test_all_classes_guessed() -> None:
    scores, labels = map(asarray, draw(33))
    assert (to_numpy(ml.smooth_top_k_hinge(scores, labels, 8)) == 0).all()
    convex = ml.top_k_hinge(scores, labels, 8, kind="convex_beta")
    assert (to_numpy(convex) > 0).any()


def test_noised_loss_draws_from_a_key() -> None:
    """The mean over many keys is about the exact one; the margin is per class."""
    scores, labels = draw(34, num_labels=6)
    x, y = asarray(scores), asarray(labels)
    margins = asarray(np.linspace(0.5, 2, 6))
    if NAME == "jax":
        import jax

        key: Any = jax.random.key(0)
    elif NAME == "torch":
        import torch

        key = torch.Generator().manual_seed(0)
    else:
        key = np.random.default_rng(0)
    if NAME == "array-api-strict":
        pytest.skip("no random numbers")
    loss = partial(ml.noised_top_k_hinge, x, y, 2, sigma=0.5, margins=margins, scale=2.0)
    expected = to_numpy(loss(method="exact"))
    actual = to_numpy(loss(key=key, num_samples=2000))
    np.testing.assert_allclose(actual, expected, atol=2 * 6 * 0.5 / 2000**0.5)


@pytest.mark.parametrize(
    ("loss", "k", "keywords", "message"),
    [
        ("top_k_hinge", 8, {}, r"k must be in 1..7, got 8"),
        ("top_k_hinge", 9, {"kind": "convex"}, r"k must be in 1..8, got 9"),
        ("top_k_hinge", 2, {"kind": "soft"}, r"kind must be one of 'calibrated', .*, got 'soft'"),
        ("smooth_top_k_hinge", 0, {}, r"k must be in 1..8, got 0"),
        ("smooth_top_k_hinge", 2, {"tau": 0.0}, r"tau must be above 0, got 0"),
        ("smooth_top_k_hinge", 2, {"margin": -1.0}, r"margin must be at least 0, got -1"),
        ("noised_top_k_hinge", 8, {"method": "exact"}, r"k must be in 1..7, got 8"),
        ("noised_top_k_hinge", 2, {"method": "exact", "scale": 0.0}, r"scale must be above 0"),
        ("noised_top_k_hinge", 2, {}, r"exactly one of key and noise"),
    ],
)
def test_bad_arguments_are_named(loss: str, k: int, keywords: dict[str, Any], message: str) -> None:
    scores, labels = map(asarray, draw(35))
    with pytest.raises(ValueError, match=message):
        getattr(ml, loss)(scores, labels, k, **keywords)


def test_margins_are_one_per_class() -> None:
    scores, labels = map(asarray, draw(36))
    with pytest.raises(ValueError, match="margins must have one entry per label"):
        ml.noised_top_k_hinge(scores, labels, 2, method="exact", margins=scores[0, :3])


# second derivatives, and many classes at once ----------------------------------------------------


@slow_to_compile
@pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")
@pytest.mark.parametrize(("num_labels", "k"), [(5, 3), (7, 1), (7, 6), (9, 4)])
def test_smooth_second_derivatives_in_float32(num_labels: int, k: int) -> None:
    """Finite and right at scores of any size, where powers of weights would overflow."""
    import jax

    def one(x: Any, y: Any) -> Any:
        return ml.smooth_top_k_hinge(x[None], y[None], k)[0]

    scores, labels = draw(40, n=12, num_labels=num_labels, spread=1.0)
    scores = scores * np.repeat([1.0, 10.0, 300.0, 1e4], 3)[:, None]
    hessian = jax.jit(jax.vmap(jax.hessian(one)))
    narrow = to_numpy(hessian(asarray(scores, "float32"), asarray(labels)))
    assert narrow.dtype == np.float32
    rounded = scores.astype(np.float32).astype(np.float64)
    wide = to_numpy(hessian(asarray(rounded), asarray(labels)))
    np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=1e-6)


@slow_to_compile
@pytest.mark.parametrize(("num_labels", "k"), [(300, 2), (300, 140), (261, 150), (129, 128)])
def test_smooth_gradient_of_many_classes(num_labels: int, k: int) -> None:
    """Against differences of the float64 value, which is exact in long integers."""
    if not HAS_GRADIENTS:
        pytest.skip("no gradients")
    scores, labels = draw(41, n=2, num_labels=num_labels)
    both = with_gradient(ml.smooth_top_k_hinge, k)
    _, derivatives = both(scores, labels)
    for j in (0, 1, labels[0]):
        step = 1e-5 * (np.arange(num_labels) == j)
        high, low = (both(scores + d, labels)[0].mean() for d in (step, -step))
        np.testing.assert_allclose(
            derivatives[:, j].sum(), (high - low) / 2e-5, rtol=1e-6, atol=1e-9
        )
    np.testing.assert_allclose(derivatives.sum(-1), 0, atol=1e-12)
    x, y = asarray(scores, "float32"), asarray(labels)
    narrow = gradient(lambda x, y: xp.mean(ml.smooth_top_k_hinge(x, y, k)), x, y)
    np.testing.assert_allclose(narrow, derivatives, atol=3e-6)


@pytest.mark.skipif(NAME != "torch", reason="PyTorch's autograd")
def test_smooth_loss_keeps_little_for_the_backward_pass() -> None:
    import torch

    scores, labels = draw(42, n=4, num_labels=1000)
    x = asarray(scores, "float32").requires_grad_()
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ml.smooth_top_k_hinge(x, asarray(labels), 20).sum().backward()
    assert sum(kept.values()) <= 3 * x.untyped_storage().nbytes()
