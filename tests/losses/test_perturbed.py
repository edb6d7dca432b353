"""The perturbed top-k operator: golden values, sampled against exact, identities, edges, errors."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc_losses
from tests.losses import oracles_perturbed as oracles
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    OPTIMIZED,
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
KTH, SUM, MASK = ml.perturbed_kth_largest, ml.perturbed_top_k_sum, ml.perturbed_top_k_mask
only_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's transformations and compiler")
only_torch = pytest.mark.skipif(NAME != "torch", reason="PyTorch's autograd")

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(4, 7)) * 2
NOISE = RNG.normal(size=(4, 7, 6))
# where a quadrature or a selection may go wrong: ties, one class apart, a cluster, far apart
HARD_ROWS = np.array(
    [
        np.zeros(7),
        [4.0, 0, 0, 0, 0, 0, 0],
        [9.0, 9, 9, 9, 0, 0, 0],
        [1e4, 20, 10, 0.5, 0, -10, -1e4],
    ]
)


def new_key(seed: int = 0) -> Any:
    if NAME == "jax":
        import jax

        return jax.random.key(seed)
    if NAME == "torch":
        import torch

        return torch.Generator().manual_seed(seed)
    return np.random.default_rng(seed)


def close(actual: Any, expected: Any, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-12, atol=atol)


# jitted inside: calls with one shape and dtype share the program
exact = {k: partial(KTH, k=k, method="exact") for k in (1, 3, 7)}
exact_mask = partial(MASK, k=2, method="exact")
ROWS = np.concatenate([SCORES, HARD_ROWS])


@pytest.fixture(scope="module")
def golden() -> Any:
    if not GOLDEN.exists():
        pytest.skip("the golden values are not here")
    return np.load(GOLDEN, allow_pickle=False)


def test_golden_values(golden: Any) -> None:
    """The authors' code, with the noise given; and the limit of infinitely many samples."""
    scores = asarray(golden["bal/scores"])
    for k, samples in ((1, 5), (3, 1), (9, 5)):
        noise = asarray(golden["bal/noise"][:, :, :samples])
        for sigma in ("0", "1e-06", "0.2", "1"):
            value = KTH(scores, k + 1, noise=noise, sigma=float(sigma))
            close(value, golden[f"bal_k{k}_e{sigma}_B{samples}/skp1"], 1e-7)
    for k, sigma in ((1, "1"), (3, "0.2"), (3, "1")):
        keywords = {"sigma": float(sigma), "method": "exact"}
        close(KTH(scores, k + 1, **keywords), golden[f"exact_k{k}_e{sigma}/skp1"], 1e-9)
        if HAS_GRADIENTS and sigma == "1":
            derivatives = gradient(partial(_total, partial(KTH, k=k + 1, **keywords)), scores)
            close(asarray(derivatives), golden[f"exact_k{k}_e{sigma}/prob"], 1e-8)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_given_noise(k: int) -> None:
    rows = list(zip(SCORES, NOISE, strict=True))
    s, z = asarray(SCORES), asarray(NOISE)
    close(KTH(s, k, noise=z, sigma=0.7), [oracles.kth_largest(*r[:1], k, r[1], 0.7) for r in rows])
    close(SUM(s, k, noise=z, sigma=0.7), [oracles.top_k_sum(*r[:1], k, r[1], 0.7) for r in rows])
    batch = asarray(SCORES.reshape(2, 2, 7)), asarray(NOISE.reshape(2, 2, 7, 6))
    close(KTH(batch[0], k, noise=batch[1]), to_numpy(KTH(s, k, noise=z)).reshape(2, 2))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_exact(k: int) -> None:
    expected = [oracles.expected_kth_largest(row, k, 1.0) for row in ROWS]
    close(exact[k](asarray(ROWS)), expected, 1e-8)
    if k == 3:
        close(exact[k](asarray(ROWS, "float32")), expected, 1e-3)


@only_gradients
def test_exact_derivatives_are_probabilities() -> None:
    expected = np.array([oracles.probabilities(row, 3, 1.0) for row in ROWS])
    loss = partial(_total, exact[3])
    close(asarray(gradient(loss, asarray(ROWS))), expected, 1e-8)
    derivatives = gradient(loss, asarray(ROWS, "float32"))
    assert derivatives.dtype == np.float32
    close(asarray(derivatives), expected, 1e-3)


def test_exact_mask() -> None:
    expected = np.sum([[oracles.probabilities(row, k, 1.0) for row in ROWS] for k in (1, 2)], 0)
    close(exact_mask(asarray(ROWS)), expected, 1e-8)


def _total(function: Any, x: Any, *rest: Any) -> Any:
    return xp.sum(function(x, *rest))


@slow_to_compile
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-6), ("float32", 1e-3)])
def test_exact_with_many_classes(dtype: str, atol: float) -> None:
    """Few of them are candidates; with all tied, the bound makes all of them candidates."""
    rng = np.random.default_rng(1)
    rows = np.stack([rng.normal(size=300) * 3, rng.normal(size=300), np.zeros(300)])
    expected = [oracles.expected_kth_largest(row, 3, 1.0) for row in rows]
    for row, value in zip(rows, expected, strict=True):
        close(exact[3](asarray(row[None], dtype)), [value], atol)
    if HAS_GRADIENTS:  # what is promised of the value holds of the derivatives
        derivatives = gradient(partial(_total, exact[3]), asarray(rows[:1], dtype))
        close(asarray(derivatives[0]), oracles.probabilities(rows[0], 3, 1.0), atol)
        close(asarray(derivatives.sum(-1)), [1.0], 10 * atol)


@pytest.mark.usefixtures("op_by_op")
def test_too_few_candidates_are_warned_about() -> None:
    rows = asarray(np.zeros((2, 200)), "float32")
    expected = to_numpy(KTH(rows, 3, method="exact"))
    with pytest.warns(UserWarning, match="num_candidates=4 leaves out classes"):
        off = to_numpy(KTH(rows, 3, method="exact", num_candidates=4))
    assert np.abs(off - expected).max() > 1e-3
    close(KTH(rows, 3, method="exact", num_candidates=200), expected, 1e-5)


def test_bound_is_one() -> None:
    from mlc_losses.perturbed._exact import expected_kth

    rng = np.random.default_rng(2)
    for size in (0.0, 1.0, 3.0):
        rows = rng.normal(size=(4, 120)) * size
        sigma = np.ones((4, 1))
        whole = expected_kth(rows, 4, sigma, 120)
        for num_candidates in (8, 32):
            part = expected_kth(rows, 4, sigma, num_candidates)
            slack = 1e-7  # of the quadrature
            assert (np.abs(part.value - whole.value) <= part.bound + slack).all()
            assert (
                np.abs(part.derivatives - whole.derivatives).max(-1) <= part.bound + slack
            ).all()


@pytest.mark.parametrize("num_samples", [400, 401])
def test_sampled_is_unbiased(num_samples: int) -> None:
    """Within five standard errors, estimated as if all samples were independent."""
    rows = np.repeat(SCORES, 20, axis=0)
    mean = to_numpy(exact[3](asarray(ROWS)))[:4]
    sampled = to_numpy(KTH(asarray(rows), 3, key=new_key(), num_samples=num_samples))
    error = sampled.reshape(4, 20).mean(1) - mean
    assert np.abs(error).max() < 5 / math.sqrt(20 * num_samples)
    mask = to_numpy(MASK(asarray(rows), 2, key=new_key(), num_samples=num_samples))
    share = mask.reshape(4, 20, 7).mean(1)
    p = to_numpy(exact_mask(asarray(ROWS)))[:4]
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / (20 * num_samples)) + 1e-3).all()


def test_antithetic_pairs_vary_less() -> None:
    """The variance of the value falls faster than with independent samples."""
    rows = np.repeat(SCORES, 400, axis=0)
    one = to_numpy(KTH(asarray(rows), 3, key=new_key(1), num_samples=1)).reshape(4, 400)
    two = to_numpy(KTH(asarray(rows), 3, key=new_key(2), num_samples=2)).reshape(4, 400)
    assert (two.var(1) < 0.4 * one.var(1)).all()


def test_key_decides() -> None:
    s = asarray(SCORES)
    first, again, other = (to_numpy(KTH(s, 2, key=new_key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_mask() -> None:
    s, z = asarray(SCORES), asarray(NOISE)
    for k in (1, 3, 7):
        mask = to_numpy(MASK(s, k, noise=z))
        close(asarray(mask.sum(-1)), np.full(4, float(k)))
        if HAS_GRADIENTS:
            close(asarray(gradient(partial(_total, partial(SUM, k=k, noise=z)), s)), mask)
    # ties: no more than k classes are ever chosen
    close(asarray(to_numpy(MASK(asarray(np.zeros((1, 7))), 3, noise=z[:1, ...], sigma=0)).sum()), 3)


def test_identities() -> None:
    s, z = asarray(SCORES), asarray(NOISE)
    keywords = {"noise": z, "sigma": 0.5}
    value = to_numpy(KTH(s, 3, **keywords))
    close(KTH(asarray(SCORES + 100), 3, **keywords), value + 100, 1e-11)
    close(KTH(asarray(SCORES * 4), 3, noise=z, sigma=2.0), value * 4)
    # telescoping, sample by sample
    difference = to_numpy(SUM(s, 3, **keywords)) - to_numpy(SUM(s, 2, **keywords))
    close(asarray(difference), value)
    # the smoothed minimum is minus the smoothed maximum
    flipped = KTH(asarray(-SCORES), 1, noise=asarray(-NOISE))
    close(KTH(s, 7, noise=z), -to_numpy(flipped))
    hard = np.sort(ROWS)[:, ::-1]
    for k in (1, 3, 7):
        close(KTH(s, k, noise=z, sigma=0), hard[:4, k - 1])
        close(exact[k](asarray(ROWS), sigma=0), hard[:, k - 1])
        close(exact[k](asarray(ROWS), sigma=1e-7), hard[:, k - 1], 1e-6)
        difference = to_numpy(exact[k](asarray(ROWS))) - hard[:, k - 1]
        assert (np.abs(difference) < math.sqrt(2 * math.log(14))).all()
    value = to_numpy(exact[3](asarray(ROWS)))
    close(exact[3](asarray(ROWS + 3)), value + 3, 1e-9)
    close(exact[3](asarray(ROWS * 5), sigma=5.0), value * 5, 1e-9)
    # all scores equal: the sum of all is that of the scores, the maximum that of normal numbers
    close(SUM(s, 7, noise=asarray(np.zeros((4, 7, 1)))), SCORES.sum(-1))
    close(exact[1](asarray(np.zeros((8, 7)))), np.full(8, 1.3521783756), 1e-8)


@pytest.mark.parametrize("method", ["sample", "exact"])
def test_infinite_and_missing_scores(method: str) -> None:
    rows = np.array([SCORES[0]] * 8)
    rows[0, [1, 4]] = -np.inf  # deleted classes
    rows[1, :5] = -np.inf  # two are left
    rows[2, [1, 4]] = np.inf
    rows[3, 2] = np.nan
    noise = np.repeat(NOISE[:1], 8, axis=0)
    keywords = {"noise": asarray(noise)} if method == "sample" else {"method": "exact"}
    value = to_numpy(KTH(asarray(rows), 3, **keywords))
    kept = [0, 2, 3, 5, 6]
    part = {"noise": asarray(noise[:1, kept])} if method == "sample" else {"method": "exact"}
    close(asarray(value[:1]), to_numpy(KTH(asarray(rows[:1, kept]), 3, **part)), 1e-8)
    assert value[1] == -np.inf and np.isnan(value[3]) and np.isfinite(value[[2, 4]]).all()
    close(asarray(value[2:3]), to_numpy(KTH(asarray(rows[:1, kept]), 1, **part)), 1e-8)
    mask = to_numpy(MASK(asarray(rows), 2, **keywords))
    assert np.isnan(mask[3]).all() and (mask[0, [1, 4]] == 0).all()
    close(asarray(mask[[0, 1, 4]].sum(-1)), [2, 2, 2], 1e-8)
    if HAS_GRADIENTS:
        derivatives = gradient(partial(_total, partial(KTH, k=3, **keywords)), asarray(rows))
        close(asarray(derivatives[[0, 1, 2, 4]].sum(-1)), [1, 0, 1, 1], 1e-8)
        assert (derivatives[0, [1, 4]] == 0).all() and (derivatives[2, [1, 4]] == 0).all()
        assert np.isnan(derivatives[3]).any()


def test_missing_noise_is_missing() -> None:
    noise = NOISE.copy()
    noise[2, 0, 1] = np.nan
    value = to_numpy(KTH(asarray(SCORES), 2, noise=asarray(noise)))
    np.testing.assert_array_equal(np.isnan(value), [False, False, True, False])


def test_shapes_and_dtypes() -> None:
    assert KTH(asarray(SCORES[0]), 2, noise=asarray(NOISE[0])).shape == ()
    empty = asarray(np.zeros((0, 7)))
    assert KTH(empty, 2, key=new_key()).shape == (0,)
    assert KTH(empty, 2, method="exact").shape == (0,)
    assert MASK(empty, 2, key=new_key()).shape == (0, 7)
    assert KTH(asarray(SCORES, "float32"), 2, key=new_key()).dtype == xp.float32
    assert KTH(asarray(SCORES), 2, key=new_key()).dtype == xp.float64
    assert MASK(asarray(SCORES, "float32"), 2, key=new_key()).dtype == xp.float32


@only_gradients
def test_half_precision() -> None:
    """Computed in float32, with derivatives in the dtype of the scores."""
    half = asarray(SCORES, "bfloat16")
    rounded = to_numpy(half).astype(np.float64)
    value = KTH(half, 3, noise=asarray(NOISE))
    assert value.dtype == xp.float32
    close(value, to_numpy(KTH(asarray(rounded), 3, noise=asarray(NOISE))), 1e-5)
    close(exact[3](half), to_numpy(exact[3](asarray(rounded))), 1e-4)
    derivatives = gradient(partial(_total, partial(KTH, k=3, noise=asarray(NOISE))), half)
    close(asarray(derivatives.sum(-1)), np.ones(4), 2e-2)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"key": None}, ValueError, ["exactly one of key and noise", "neither"]),
        ({"noise": NOISE}, ValueError, ["exactly one of key and noise", "both"]),
        ({"key": None, "noise": NOISE[:3]}, ValueError, ["noise", r"\(4, 7, 'num_samples'\)"]),
        ({"key": None, "noise": NOISE[:, :, :0]}, ValueError, ["samples in noise", "got 0"]),
        ({"key": 0}, TypeError, ["key must be", {"jax": "JAX PRNG", "torch": "torch.Gen"}]),
        ({"k": 8}, ValueError, ["k must be in 1..7, got 8"]),
        ({"k": 0}, ValueError, ["k must be in 1..7, got 0"]),
        ({"k": 1.5}, TypeError, ["k must be an integer"]),
        ({"num_samples": 0}, ValueError, ["num_samples must be at least 1, got 0"]),
        ({"sigma": -1.0}, ValueError, ["sigma must be at least 0, got -1"]),
        ({"method": "score"}, ValueError, ["method must be one of 'sample', 'exact', got 'score'"]),
        ({"method": "exact"}, ValueError, ["leave out key and noise"]),
        ({"num_candidates": 5}, ValueError, ["num_candidates is for method='exact'"]),
        ({"key": None, "method": "exact", "num_candidates": 3}, ValueError, ["above k = 3, got 3"]),
        ({"scores": np.arange(7)}, TypeError, ["scores must be floating-point"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("function", [KTH, SUM, MASK])
def test_errors(function: Any, change: dict[str, Any], error: type, words: list[Any]) -> None:
    arguments = {"scores": SCORES, "k": 3, "key": new_key(), **change}
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            arguments[name] = asarray(value)
    with pytest.raises(error) as caught:
        function(**arguments)
    for word in words:
        word = word if isinstance(word, str) else word.get(NAME, "numpy.random.Generator")
        assert re.search(word, str(caught.value)), caught.value


@pytest.mark.parametrize("num_labels", [40, 600, 1000, 1001])
def test_selection(num_labels: int) -> None:
    """By each of its ways, with ties and infinities among the scores."""
    from mlc_losses._array.kth_label import k_largest

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(6, num_labels)).astype(np.float32)
    rows[1] = np.round(rows[1])
    rows[2] = 0
    rows[3, ::2] = -np.inf
    rows[4, :3] = np.inf
    for k in (1, 6):
        select = compiled(partial(k_largest, k=k, only_last=True))
        values, indices = map(to_numpy, select(asarray(rows)))
        np.testing.assert_array_equal(values[:, 0], np.sort(rows)[:, -k])
        np.testing.assert_array_equal(np.take_along_axis(rows, indices, 1), values)


def test_normal_cdf() -> None:
    from mlc_losses._array.ops import normal_cdf

    x = np.concatenate([np.linspace(-9, 9, 301), [-np.inf, -40, 40, np.inf, 0]])
    close(normal_cdf(asarray(x)), oracles.normal_cdf(x), 1e-15)
    close(normal_cdf(asarray(x, "float32")), oracles.normal_cdf(x), 3e-7)
    if NAME in ("numpy", "array-api-strict"):
        tail = to_numpy(normal_cdf(asarray(np.linspace(-37, -1, 50))))
        np.testing.assert_allclose(tail, oracles.normal_cdf(np.linspace(-37, -1, 50)), rtol=1e-12)


def test_normal_cdf_and_density() -> None:
    from mlc_losses.perturbed._normal import normal_cdf_and_density

    x = np.concatenate([np.linspace(-9, 9, 301), [-0.0, 0, 1e-30, 30, 40]])
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    for dtype, accuracy in (("float64", 1e-15), ("float32", 3e-7)):
        above, derivative = normal_cdf_and_density(asarray(x, dtype))
        close(above, oracles.normal_cdf(x), accuracy)
        close(derivative, density, accuracy)
    # the exponential of 9²/2 alone has 40 roundings of its own exponent
    single = to_numpy(normal_cdf_and_density(asarray(x[x < 0], "float32"))[0])
    np.testing.assert_allclose(single, oracles.normal_cdf(x[x < 0]), rtol=5e-6)
    if HAS_GRADIENTS:
        derivatives = gradient(lambda t: normal_cdf_and_density(t)[0].sum(), asarray(x, "float32"))
        np.testing.assert_allclose(derivatives, density, atol=1e-5)


@pytest.fixture(scope="module")
def bits() -> np.ndarray:
    from mlc_losses.perturbed._hashed_noise import hashed_bits

    seeds = np.random.default_rng(5).integers(0, 2**32, (2, 400, 1), dtype=np.uint32)
    return hashed_bits(seeds, np.arange(1000, dtype=np.uint32)[None])


@pytest.fixture(scope="module")
def noise(bits: np.ndarray) -> np.ndarray:
    from mlc_losses.perturbed._hashed_noise import normal_from_bits

    return normal_from_bits(np, bits).astype(np.float64)


@pytest.mark.skipif(NAME != "numpy", reason="the same arithmetic everywhere")
class TestNoise:
    """What JAX draws, computed with NumPy: 400 rows of 1000 labels, seeds 64 random bits each."""

    def test_bits(self, bits: np.ndarray) -> None:
        """Each bit is fair, and independent of the other bits, the next labels and the next rows.

        Means of n products of signs are normal with variance 1/n: 6 deviations are beyond chance.
        """
        signs = np.stack(
            [np.where(bits >> np.uint32(i) & np.uint32(1), 1, -1) for i in range(32)]
        ).astype(np.float32)
        flat = signs.reshape(32, -1)
        limit = 6 / math.sqrt(bits.size)
        assert np.abs(flat.mean(1)).max() < limit
        assert np.abs(flat @ flat.T / bits.size - np.eye(32)).max() < limit
        for shift in ((0, 1), (0, 8), (0, 125), (1, 0), (1, 1)):
            moved = np.roll(signs, shift, (1, 2)).reshape(32, -1)
            assert np.abs(flat @ moved.T / bits.size).max() < limit, shift
        cells = bits.size / 4096
        counts = np.bincount(bits.ravel() >> np.uint32(20), minlength=4096)
        chi_squared = ((counts - cells) ** 2 / cells).sum()
        assert abs(chi_squared - 4095) < 6 * math.sqrt(2 * 4095)

    def test_distribution(self, noise: np.ndarray) -> None:
        n = noise.size
        for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
            assert abs((noise**power).mean() - mean) < 5 * math.sqrt(variance / n), power
        for z in (0.5, 1.0, 2.0, 3.0, 4.0):
            expected = n * math.erfc(z / math.sqrt(2))
            assert abs((np.abs(noise) > z).sum() - expected) < 6 * math.sqrt(expected), z
        ordered = np.sort(noise.ravel())[::200]
        distance = np.abs(oracles.normal_cdf(ordered) - np.arange(0, n, 200) / n)
        assert distance.max() < 2.3 / math.sqrt(n)  # Kolmogorov and Smirnov, at 1 in 20,000

    def test_largest_of_a_row(self, noise: np.ndarray) -> None:
        """What the operator is about: means of the largest of 1000 normal numbers."""
        ordered = np.sort(noise)[:, ::-1]
        assert abs(ordered[:, 0].mean() - 3.2414) < 5 * 0.35 / math.sqrt(len(noise))
        assert abs(ordered[:, 5].mean() - 2.5389) < 5 * 0.148 / math.sqrt(len(noise))
        # rows and labels do not know of each other
        for axis in (0, 1):
            means = noise.mean(axis) * math.sqrt(noise.shape[axis])
            assert abs(means.var() - 1) < 6 * math.sqrt(2 / means.size)

    def test_quantile(self) -> None:
        from mlc_losses.perturbed._hashed_noise import normal_from_bits

        half = np.array([0, 1, 10, 10**3, 10**6, 10**8, 2**30, 2**31 - 1], dtype=np.uint32)
        for sign in (0, 1):
            noise = normal_from_bits(np, half * np.uint32(2) + np.uint32(sign))
            tail = oracles.normal_cdf(-np.abs(noise.astype(float)))
            size = np.abs(noise)
            expected = (half + 0.5) * 2.0**-32
            density = np.exp(-0.5 * size**2) / math.sqrt(2 * math.pi)
            assert (np.abs(tail - expected) / density < 4e-5).all()
            assert (np.sign(noise[:-1]) == (-1 if sign else 1)).all()


@only_jax
@pytest.mark.usefixtures("op_by_op")
class TestJax:
    def test_jit_vmap_scan(self) -> None:
        import jax
        from jax import numpy as jnp

        def loss(row: Any, key: Any) -> Any:
            return KTH(row, 2, key=key, num_samples=3)

        keys = jax.random.split(jax.random.key(0), 4)
        rows = jnp.asarray(SCORES)
        loop = [loss(row, key) for row, key in zip(rows, keys, strict=True)]
        mapped = jax.jit(jax.vmap(jax.value_and_grad(loss)))(rows, keys)
        close(mapped[0], np.stack(loop))
        close(mapped[1].sum(-1), np.ones(4))
        _, scanned = jax.lax.scan(lambda c, x: (c, jax.grad(loss)(*x)), 0, (rows, keys))
        close(scanned, to_numpy(mapped[1]))
        # raw keys, and a traced sigma
        old = jax.jit(lambda s, key, sigma: KTH(s, 2, key=key, sigma=sigma))
        assert old(rows, jax.random.PRNGKey(0), 0.5).shape == (4,)
        with pytest.raises(TypeError, match=r"jax\.vmap.*shape \(4,\)"):
            KTH(rows, 2, key=keys)

    def test_exact_under_vmap(self) -> None:
        import jax

        rows = asarray(SCORES)
        close(jax.jit(jax.vmap(exact[3]))(rows), to_numpy(exact[3](asarray(ROWS)))[:4])

    @slow_to_compile
    def test_derivatives_with_many_classes(self) -> None:
        """How many are candidates is seen as the program runs; under `vmap`, row by row."""
        import jax
        from jax import numpy as jnp

        rng = np.random.default_rng(7)
        rows = jnp.asarray(np.stack([rng.normal(size=160) * 3, np.zeros(160)]))
        weights = jnp.asarray(rng.normal(size=160))
        along = jnp.asarray(rng.normal(size=160))

        def weighted(row: Any) -> Any:
            return jax.grad(exact[3])(row) @ weights

        mapped = jax.jit(jax.vmap(lambda row: (jax.grad(exact[3])(row), weighted(row))))
        derivatives, _ = mapped(rows)
        for row, found in zip(to_numpy(rows), to_numpy(derivatives), strict=True):
            close(asarray(found), oracles.probabilities(row, 3, 1.0), 1e-6)
        second = jax.jit(jax.grad(weighted))(rows[0]) @ along
        moved = mapped(jnp.stack([rows[0] + 1e-2 * along, rows[0] - 1e-2 * along]))[1]
        close(second, float(moved[0] - moved[1]) / 2e-2, 1e-4)
        assert abs(float(second)) > 1e-3

    def test_derivatives_that_exist(self) -> None:
        import jax
        from jax import numpy as jnp

        row = jnp.asarray(SCORES[0])

        def sampled(row: Any) -> Any:
            return KTH(row, 2, key=jax.random.key(0))

        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(sampled, (row,), (row,))
        derivatives = jax.grad(sampled)(row)
        square = jax.jacrev(jax.grad(lambda row: sampled(row) ** 2))(row)
        close(square, 2 * np.outer(derivatives, derivatives))
        derivatives = jax.jit(jax.grad(exact[3]))
        tangent = jax.jit(lambda row: jax.jvp(exact[3], (row,), (row,))[1])(row)
        close(tangent, float(derivatives(row) @ row))
        hessian = jax.jit(jax.hessian(exact[3]))(row)
        close(hessian, to_numpy(hessian).T)
        step = 1e-5 * jnp.eye(7)[2]
        change = to_numpy(derivatives(row + step) - derivatives(row - step)) / 2e-5
        close(hessian[2], change, 1e-6)

    def test_compiled_program(self) -> None:
        """No sort, and memory that does not grow with the samples."""
        import jax

        def program(num_samples: int) -> Any:
            def loss(scores: Any, key: Any) -> Any:
                return KTH(scores, 6, key=key, num_samples=num_samples).mean()

            scores = jax.ShapeDtypeStruct((64, 2000), np.float32)
            return (
                jax.jit(jax.value_and_grad(loss))
                .lower(scores, jax.random.key(0))
                .compile(OPTIMIZED)
            )

        few, many = program(4), program(64)
        assert not re.search(r"= [^=]* sort\(", many.as_text())
        sizes = [p.memory_analysis().temp_size_in_bytes for p in (few, many)]
        # the labels picked are kept, and seeds: 64 x 60 x (4 + 4 x 2) bytes, and what they pass by
        assert sizes[1] < sizes[0] + 2**18


@only_torch
@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own forward mode
class TestTorch:
    def test_derivatives_that_exist(self) -> None:
        import torch

        row = torch.tensor(SCORES[0])
        noise = torch.tensor(NOISE[0])

        def sampled(row: Any) -> Any:
            return KTH(row, 2, noise=noise)

        derivatives = torch.func.grad(sampled)(row)
        tangent = torch.func.jvp(sampled, (row,), (row,))[1]
        close(tangent, float(derivatives @ row))
        square = torch.autograd.functional.hessian(lambda row: sampled(row) ** 2, row)
        close(square, 2 * np.outer(derivatives, derivatives))
        hessian = torch.autograd.functional.hessian(exact[3], row)
        close(hessian, to_numpy(hessian).T)
        close(hessian.sum(0), np.zeros(7), 1e-7)

    def test_meta_and_wrong_generator(self) -> None:
        import torch

        scores = torch.zeros((4, 7), device="meta")
        assert KTH(scores, 2, key=torch.Generator()).device.type == "meta"
        assert MASK(scores, 2, method="exact").shape == (4, 7)
        with pytest.raises(TypeError, match=r"torch\.Generator, got numpy"):
            KTH(torch.zeros(7), 2, key=np.random.default_rng(0))


@only_jax
@pytest.mark.modes
def test_no_compilation_at_the_third_eager_call() -> None:
    """Of what loops inside, with functions and shapes as before."""
    import jax

    from tests.support.compilations import compiled_by_the_third

    s, y = asarray(SCORES, "float32"), asarray([0, 1, 2, 3])
    wide = asarray(np.random.default_rng(6).normal(size=(3, 40)))
    many = wide > 1
    calls = [
        lambda: KTH(s, 2, method="exact"),
        lambda: MASK(s, 2, method="exact"),
        lambda: KTH(s, 2, key=new_key()),
        lambda: ml.smooth_top_k_hinge(s, y, 3),
        lambda: jax.grad(lambda s: ml.smooth_top_k_hinge(s, y, 3).sum())(s),
        lambda: ml.lifted_structure(s, s > 0),
        lambda: ml.calibrated_ranking(wide, many),
        lambda: jax.grad(lambda x: ml.calibrated_ranking(x, many).sum())(wide),
    ]
    for number, call in enumerate(calls):
        assert not compiled_by_the_third(call), number
