"""Contrastive losses: identities, the gradient of mscrg, keys, queue, blocks, size, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from mlc_losses.losses.contrastive import _similarity
from tests.losses import oracles_contrastive as oracles
from tests.support.backends import (
    HAS_GRADIENTS,
    NAME,
    OPTIMIZED,
    asarray,
    compiled,
    gradient,
    to_numpy,
    xp,
)

with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's compiler")


def batch(seed: int = 0, n: int = 12, num_labels: int = 5) -> tuple[np.ndarray, ...]:
    """Embeddings, prototypes, targets; the first example has no label, the last a lone one."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, num_labels)) < 0.4).astype(float)
    targets[0] = targets[:, -1] = 0
    targets[-1] = np.eye(num_labels)[-1]
    return rng.normal(size=(n, 3)), rng.normal(size=(num_labels, 3)), targets


def assert_same(actual: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-14) -> None:
    actual, expected = (x if isinstance(x, np.ndarray) else to_numpy(x) for x in (actual, expected))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# weights and identities --------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.5, -1.0])
@pytest.mark.parametrize("others", [False, True])
def test_overlap_weights_are_those_of_the_dense_formula(alpha: float, others: bool) -> None:
    """With the array of pairs times labels that the library never makes."""
    _, _, y = batch()
    candidates = batch(1, n=7)[2] if others else y
    other = (~np.eye(len(y), dtype=bool) | others)[:, : len(candidates)]
    shared, sizes = y @ candidates.T, candidates.sum(1)[None]
    with np.errstate(all="ignore"):
        factor = (shared == sizes) if alpha < 0 else np.nan_to_num(shared / sizes) ** alpha
        dense = (factor * other)[:, :, None] * (y[:, None, :] * candidates[None])
        # all candidates that have the label count, also those with factor 0
        total = ((factor * other)[:, :, None] * candidates[None]).sum(1, keepdims=True)
        expected = np.nan_to_num(dense / total).sum(-1) / np.maximum(y.sum(1), 1)[:, None]

    def weights(y: Any, candidates: Any) -> Any:
        return ml.overlap_weights(y, candidates if others else None, alpha=alpha)

    assert_same(compiled(weights)(asarray(y), asarray(candidates)), expected)


def test_jaccard_weights_of_other_sets() -> None:
    a, b = batch()[2], batch(1, n=7)[2]
    expected = np.array(
        [[oracles.jaccard(p, q) for q in oracles.label_sets(b)] for p in oracles.label_sets(a)]
    )
    total = expected.sum(1, keepdims=True)
    expected /= np.where(total == 0, 1, total)
    assert_same(ml.jaccard_weights(asarray(a), asarray(b)), expected)
    assert to_numpy(ml.jaccard_weights(asarray(a > 0))).dtype == to_numpy(xp.ones(1)).dtype


def test_losses_are_the_kernel_with_weights() -> None:
    def pairs(x: Any, prototypes: Any, y: Any, cosines: Any) -> Any:
        everyone = xp.concat([x, prototypes])
        sets = xp.concat([y, xp.eye(5, dtype=xp.float64)])
        by_prototypes = ml.prototype_contrastive(x, prototypes, y, temperature=0.3)
        return (
            (ml.supcon(x, y), ml.contrastive(x, ml.jaccard_weights(y))),
            (ml.mulsupcon(x, y), ml.contrastive(x, ml.overlap_weights(y))),
            (ml.mscrg(x, prototypes, y, regularize=False), ml.mulsupcon(everyone, sets)),
            (by_prototypes, ml.multilabel_softmax(cosines / 0.3, y)),
            (by_prototypes, ml.msc(x, prototypes, y, temperature=0.3, alpha=0, beta=0)),
        )

    x, prototypes, y = batch()
    arrays = (asarray(a) for a in (x, prototypes, y, unit(x) @ unit(prototypes).T))
    for first, second in compiled(pairs)(*arrays):
        assert_same(first, second)


def test_one_label_each_is_supervised_contrastive_loss() -> None:
    x = batch()[0]
    y = np.eye(3)[np.arange(12) % 3]
    expected = oracles.supcon(x, y, "any")

    def kinds(x: Any, y: Any) -> Any:
        kinds = ("jaccard", "any", "all")
        return *(ml.supcon(x, y, positives=kind) for kind in kinds), ml.mulsupcon(x, y)

    for actual in compiled(kinds)(asarray(x), asarray(y)):
        assert_same(actual, expected)


def test_denominator_and_candidates_of_the_kernel() -> None:
    x, v, _ = batch()
    rng = np.random.default_rng(2)
    weights, denominator = rng.random((12, 5)), np.array([0.0, 0.5, 1, 2, 0])
    expected = oracles.anchored(
        x, v, [None] * 12, lambda i, j: weights[i, j], 0.2, denominator.tolist()
    )

    def loss(x: Any, weights: Any, v: Any, denominator: Any) -> Any:
        return ml.contrastive(x, weights, candidates=v, denominator=denominator, temperature=0.2)

    arrays = (asarray(a) for a in (x, weights, v, denominator))
    assert_same(compiled(loss)(*arrays), expected)


@with_gradients
def test_derivative_by_the_weights_of_the_kernel_is_the_same_at_0() -> None:
    """It is linear in them; rows that are all 0 among them."""
    x, v, _ = batch()
    weights = np.random.default_rng(2).random((12, 5))

    def loss(weights: Any) -> Any:
        return xp.sum(ml.contrastive(asarray(x), weights, candidates=asarray(v)))

    expected = gradient(loss, asarray(weights))
    for fewer in (np.where(weights < 0.5, 0.0, weights), np.zeros_like(weights)):
        np.testing.assert_allclose(gradient(loss, asarray(fewer)), expected, rtol=1e-10)


# the gradient of mscrg ---------------------------------------------------------------------------


@with_gradients
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, -1.0])
def test_gradient_of_mscrg_is_its_definition(alpha: float) -> None:
    x, prototypes, y = batch()
    everyone = np.concatenate([x, prototypes])
    q = to_numpy(ml.overlap_weights(asarray(np.concatenate([y, np.eye(5)])), alpha=alpha))
    exponents = unit(everyone) @ unit(everyone).T / 0.3
    np.fill_diagonal(exponents, -np.inf)
    share = np.exp(exponents - np.logaddexp.reduce(exponents, axis=1, keepdims=True))
    derivatives = np.where(q > 0, np.minimum(share - q, 0), share)
    derivatives[q.sum(1) == 0] = 0
    assert (share > q)[q > 0].any()  # some positives are attracted enough
    fixed, points = asarray(derivatives), asarray(prototypes)

    def linear(x: Any) -> Any:
        z = xp.concat([x, points])
        z = z / xp.sqrt(xp.sum(z * z, axis=1))[:, None]
        return xp.sum(fixed * (z @ z.T)) / 0.3

    def loss(x: Any) -> Any:
        return xp.sum(ml.mscrg(x, points, asarray(y), temperature=0.3, alpha=alpha))

    np.testing.assert_allclose(
        gradient(loss, asarray(x)), gradient(linear, asarray(x)), rtol=1e-10, atol=1e-12
    )


# anchors that do not count -----------------------------------------------------------------------

LOSSES: dict[str, Callable[..., Any]] = {
    "supcon": lambda x, p, y: ml.supcon(x, y),
    "all": lambda x, p, y: ml.supcon(x, y, positives="all"),
    "mulsupcon": lambda x, p, y: ml.mulsupcon(x, y),
    "prototype_contrastive": ml.prototype_contrastive,
    "msc": ml.msc,
    "mscrg": ml.mscrg,
    "mscwrg": lambda x, p, y: ml.mscrg(x, p, y, regularize=False),
    "lifted_structure": lambda x, p, y: ml.lifted_structure(x, y),
}


def values_of(name: str, *arrays: Any) -> np.ndarray:
    return to_numpy(compiled(LOSSES[name])(*arrays))


@pytest.mark.parametrize("name", LOSSES)
def test_anchors_without_positive_are_zero(name: str) -> None:
    """And valid_anchors says which they are."""
    x, prototypes, y = (asarray(a) for a in batch())
    values = values_of(name, x, prototypes, y)
    has_prototypes = name not in ("supcon", "all", "mulsupcon", "lifted_structure")
    positives = "all" if name == "all" else "jaccard"

    def validity(y: Any) -> Any:
        return ml.valid_anchors(y, positives=positives, prototypes=has_prototypes)

    valid = to_numpy(compiled(validity)(y))[: len(values)]
    assert not valid[0]
    assert valid[11] == has_prototypes
    assert ((values != 0) == valid).all()
    if HAS_GRADIENTS:
        out = asarray((~valid).astype(float))

        def of_invalid(x: Any) -> Any:
            return xp.sum(LOSSES[name](x, prototypes, y) * out)

        assert (gradient(of_invalid, x) == 0).all()


@with_gradients
@pytest.mark.parametrize("name", LOSSES)
def test_zero_vectors_have_gradient_zero(name: str) -> None:
    x, prototypes, y = batch()
    x[3:5] = 0
    points, targets = asarray(prototypes), asarray(y)

    def total(x: Any) -> Any:
        return xp.sum(LOSSES[name](x, points, targets))

    derivatives = gradient(total, asarray(x))
    assert np.isfinite(derivatives).all()
    assert (derivatives[3:5] == 0).all()
    assert (derivatives[5:] != 0).any()


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_small_batches(name: str, n: int) -> None:
    x, prototypes, y = (asarray(a) for a in batch())
    values = values_of(name, x[:n, :], prototypes, y[:n, :])
    assert np.isfinite(values).all()
    assert len(values) == n + 5 * name.startswith("mscr") + 5 * name.startswith("mscw")


@with_gradients
def test_low_temperature_in_half_precision() -> None:
    """Softmax and then its logarithm is NaN here."""
    x, _, y = batch()
    narrow = asarray(x, "float16")

    def total(x: Any) -> Any:
        return xp.sum(ml.mulsupcon(x, asarray(y), temperature=0.01))

    expected = oracles.mulsupcon(to_numpy(narrow).astype(float), y, temperature=0.01).sum()
    np.testing.assert_allclose(float(compiled(total)(narrow)), expected, rtol=1e-5)
    assert np.isfinite(gradient(total, narrow).astype(float)).all()


def test_squares_that_overflow_are_not_looked_at_without_regularization() -> None:
    far, near = asarray(np.eye(2) * 1e20, "float32"), asarray(np.eye(2), "float32")
    assert to_numpy(ml.n_pair(far, near)).tolist() == [0.0, 0.0]


def test_sizes_that_overflow_when_squared() -> None:
    x, _, y = batch()
    loss = compiled(ml.supcon)
    expected = oracles.supcon(x, y)
    for size in (1e30, 1e-30):
        actual = loss(asarray(x * size, "float32"), asarray(y))
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-5, atol=1e-5)


# keys and their queue ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["supcon", "mulsupcon"])
def test_keys_that_are_left_out_are_not_there(loss: str) -> None:
    x, _, y = batch()
    keys, _, key_targets = batch(3, n=8)
    here = np.arange(8) % 3 != 0
    garbage = np.where(here[:, None], keys, np.nan)
    inputs = asarray(x), asarray(y)
    named = {"key_targets": asarray(key_targets), "key_where": asarray(here)}
    actual = compiled(getattr(ml, loss))(*inputs, keys=asarray(garbage), **named)
    expected = getattr(oracles, loss)(x, y, keys=keys, key_targets=key_targets, key_where=here)
    assert_same(actual, expected)
    assert_same(to_numpy(actual) != 0, ml.valid_anchors(inputs[1], **named))
    if HAS_GRADIENTS:

        def total(keys: Any) -> Any:
            return xp.sum(getattr(ml, loss)(*inputs, keys=keys, **named))

        derivatives = gradient(total, asarray(garbage))
        assert (derivatives[~here] == 0).all()
        assert (derivatives[here] != 0).any(axis=1).all()


def test_queue_keeps_the_last_rows_first_in_first_out() -> None:
    rng = np.random.default_rng(0)
    queue = ml.init_queue(5, 3, 2, like=asarray(np.zeros(1)))
    assert not to_numpy(ml.queue_mask(queue)).any()
    seen = np.zeros((0, 5))
    for count in [2, 2, 0, 3, 1, 7, 4, 5, 2]:
        rows = rng.normal(size=(count, 5))
        rows[:, 3:] = rows[:, 3:] > 0
        seen = np.concatenate([seen, rows])
        queue = ml.enqueue(queue, asarray(rows[:, :3]), asarray(rows[:, 3:] > 0))
        mask = to_numpy(ml.queue_mask(queue))
        assert mask.sum() == min(len(seen), 5)
        held = np.concatenate([to_numpy(queue.embeddings), to_numpy(queue.targets)], axis=1)
        # in the ring the oldest row stands where the next one goes
        oldest = int(queue.position) % 5 if mask.all() else 0
        np.testing.assert_array_equal(np.roll(held, -oldest, axis=0)[: mask.sum()], seen[-5:])


def test_the_example_of_a_queue_enqueues_after_the_loss() -> None:
    """Before it an anchor would meet its own copy, as a positive."""
    assert "losses = supcon(" in (text := ml.init_queue.__doc__ or "")
    assert text.index("losses = supcon(") < text.index("queue = enqueue(queue")


def test_queue_without_a_model_array_is_numpy() -> None:
    queue = ml.init_queue(4, 3, 2)
    assert type(queue.embeddings) is np.ndarray
    assert queue.embeddings.dtype == queue.targets.dtype == np.float32
    narrow = ml.init_queue(4, 3, 2, like=asarray(np.zeros(1), "float32"))
    queue = ml.enqueue(narrow, asarray(np.ones((1, 3))), asarray(np.ones((1, 2), bool)))
    assert queue.embeddings.dtype == queue.targets.dtype == xp.float32


@with_gradients
def test_queue_keeps_no_gradient() -> None:
    x, _, y = batch()

    def total(x: Any) -> Any:
        queue = ml.enqueue(ml.init_queue(20, 3, 5, like=x), x, asarray(y))
        return xp.sum(queue.embeddings) + xp.sum(x)

    assert (gradient(total, asarray(x)) == 1).all()


@only_jax
def test_queue_in_scan() -> None:
    import jax

    x, _, y = batch(n=24)
    batches = asarray(x).reshape(6, 4, 3), asarray(y).reshape(6, 4, 5)

    def step(queue: Any, rows: Any) -> Any:
        keys = {"keys": queue.embeddings, "key_targets": queue.targets}
        value = ml.supcon(*rows, **keys, key_where=ml.queue_mask(queue)).sum()
        return ml.enqueue(queue, *rows), value

    empty = ml.init_queue(6, 3, 5, like=batches[0])
    values = jax.jit(lambda queue: jax.lax.scan(step, queue, batches)[1])(empty)
    expected = [
        oracles.supcon(
            x[i : i + 4], y[i : i + 4], keys=x[max(0, i - 6) : i], key_targets=y[max(0, i - 6) : i]
        ).sum()
        for i in range(0, 24, 4)
    ]
    assert_same(values, np.array(expected))


# many anchors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_blocks_of_anchors_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, prototypes, y = (asarray(a) for a in batch())

    def total(x: Any, weights: Any) -> Any:
        return xp.sum(LOSSES[name](x, prototypes, y) * weights)

    values = values_of(name, x, prototypes, y)
    weights = asarray(np.random.default_rng(1).random(len(values)))
    whole = gradient(total, x, weights) if HAS_GRADIENTS else None
    monkeypatch.setattr(_similarity, "_BLOCK_SIZE", 60)  # 3 to 12 anchors, not a divisor of 17
    # new functions, not the compiled ones
    again = compiled(lambda *arrays: LOSSES[name](*arrays))(x, prototypes, y)
    assert_same(again, values)
    if HAS_GRADIENTS:
        assert_same(gradient(lambda x, weights: total(x, weights), x, weights), whole)


def temporary_mib(loss: Callable[..., Any], *shapes: tuple[int, int]) -> float:
    """Memory that value and gradient take besides inputs and outputs, in MiB."""
    import jax

    arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    step = jax.jit(jax.value_and_grad(lambda *arrays: loss(*arrays).sum()))
    analysis = step.lower(*arrays).compile(OPTIMIZED).memory_analysis()
    return float(analysis.temp_size_in_bytes) / 2**20


@only_jax
@pytest.mark.parametrize("name", ["supcon", "mulsupcon", "msc", "mscrg"])
def test_memory_without_pairs_times_labels(name: str) -> None:
    """One such array would be 400 MiB."""
    import jax

    with jax.enable_x64(False):
        assert temporary_mib(LOSSES[name], (1024, 128), (100, 128), (1024, 100)) <= 64


@only_jax
def test_memory_with_a_long_queue() -> None:
    """All pairs would be 2 GiB, several times over."""
    import jax

    def loss(x: Any, y: Any, keys: Any, key_targets: Any) -> Any:
        return ml.mulsupcon(x, y, keys=keys, key_targets=key_targets)

    with jax.enable_x64(False):
        shapes = [(16384, 32), (16384, 20)] * 2
        assert temporary_mib(loss, *shapes) <= 256


# errors ------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named() -> None:
    x, prototypes, y = (asarray(a) for a in batch())
    with pytest.raises(ValueError, match="positives must be one of 'jaccard', 'any', 'all', got"):
        ml.supcon(x, y, positives="some")
    with pytest.raises(ValueError, match='positives must be "jaccard" or "any" with prototypes'):
        ml.valid_anchors(y, positives="all", prototypes=True)
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        ml.supcon(x, y, temperature=0.0)
    with pytest.raises(ValueError, match="keys and key_targets must be given together"):
        ml.supcon(x, y, keys=x)
    with pytest.raises(ValueError, match="key_where needs keys"):
        ml.mulsupcon(x, y, key_where=y[:, 0] > 0)
    with pytest.raises(ValueError, match=r"keys must be as wide as embeddings, \[rows, 3\]"):
        ml.supcon(x, y, keys=y, key_targets=y)
    with pytest.raises(ValueError, match=r"key_targets must be as wide as targets, \[rows, 5\]"):
        ml.supcon(x, y, keys=x, key_targets=x)
    with pytest.raises(TypeError, match="key_where must be bool"):
        ml.supcon(x, y, keys=x, key_targets=y, key_where=x[:, 0])
    with pytest.raises(ValueError, match=r"key_where must have one entry per key, shape \(12,\)"):
        ml.supcon(x, y, keys=x, key_targets=y, key_where=y[:3, 0] > 0)
    with pytest.raises(ValueError, match=r"prototypes must have one row per label, 5, got"):
        ml.msc(x, prototypes[:4, :], y)
    with pytest.raises(ValueError, match=r"prototypes must be as wide as embeddings"):
        ml.mscrg(x, y, y)
    with pytest.raises(ValueError, match="beta must be at least 0, got -1"):
        ml.msc(x, prototypes, y, beta=-1)
    with pytest.raises(ValueError, match="weights must have one column per candidate, 12"):
        ml.contrastive(x, y)
    with pytest.raises(ValueError, match=r"embeddings must have two axes"):
        ml.supcon(x[:, 0], y)
    with pytest.raises(ValueError, match="other must be as wide as targets"):
        ml.jaccard_weights(y, x)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        ml.init_queue(0, 3, 5)
    with pytest.raises(ValueError, match="embeddings must be as wide as the queue's embeddings"):
        ml.enqueue(ml.init_queue(4, 2, 5, like=x), x, y)


# close points ------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-5])
def test_lifted_structure_of_close_points(distance: float) -> None:
    """In float32 as in float64 of the same points; the products of points have no such digits."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 21))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[[1, 3]] = x[[0, 2]] + distance * rng.normal(size=(2, 21)) / math.sqrt(21)
    x = x.astype(np.float32)
    y = np.eye(3)[[0, 0, 1, 2, 0, 1]]

    def total(x: Any, y: Any) -> Any:
        return xp.sum(ml.lifted_structure(x, y))

    narrow, wide = asarray(x), asarray(x.astype(np.float64))
    value = ml.lifted_structure(narrow, asarray(y))
    np.testing.assert_allclose(
        to_numpy(value), oracles.lifted_structure(x.astype(np.float64), y), rtol=1e-6
    )
    if HAS_GRADIENTS:
        derivatives, expected = (
            gradient(total, narrow, asarray(y)),
            gradient(total, wide, asarray(y)),
        )
        error = np.abs(derivatives - expected).max() / np.abs(expected).max()
        # normalising them rounds points by up to 6e-8
        assert error < 1e-6 + 1e-7 / distance


@with_gradients
def test_lifted_structure_of_equal_points_has_gradient_zero() -> None:
    x = np.repeat(np.random.default_rng(4).normal(size=(1, 5)), 3, axis=0)
    y = asarray(np.ones((3, 1)))
    assert (gradient(lambda x, y: xp.sum(ml.lifted_structure(x, y)), asarray(x), y) == 0).all()


@only_jax
def test_lifted_structure_memory() -> None:
    import jax

    with jax.enable_x64(False):
        loss = LOSSES["lifted_structure"]
        assert temporary_mib(loss, (1024, 128), (100, 128), (1024, 100)) <= 64
