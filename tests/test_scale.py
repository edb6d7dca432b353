"""Losses on a linear layer in blocks, against the dense computation. JAX alone."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import backends
import numpy as np
import pytest

import mlc_losses
from mlc_losses import label_block_loss, linear_loss, multi_hot, predict_linear_top_k, zlpr

if backends.NAME != "jax":
    pytest.skip("scale/ is for JAX", allow_module_level=True)

import jax
import jax.numpy as jnp

N, D, L = 7, 4, 9


def problem(dtype: Any = jnp.float64) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        "features": jnp.asarray(rng.normal(size=(N, D)), dtype),
        "kernel": jnp.asarray(rng.normal(size=(D, L)), dtype),
        "bias": jnp.asarray(rng.normal(size=L), dtype),
        "targets": jnp.asarray(rng.random((N, L)) < 0.3),
        "labels": jnp.asarray(rng.integers(0, L, N)),
        "weights": jnp.asarray(rng.uniform(0.5, 2, N), dtype),
        "where": jnp.asarray(rng.random((N, L)) < 0.8),
    }


def logits_of(features: Any, kernel: Any, bias: Any) -> Any:
    return features @ kernel + bias[None, :]


def with_gradients(function: Callable[..., Any], *arrays: Any) -> list[np.ndarray]:
    """Value, and gradients by features, kernel and bias."""
    value, slopes = jax.jit(jax.value_and_grad(function, (0, 1, 2)))(*arrays)
    return [backends.to_numpy(x) for x in (value, *slopes)]


def check(blocked: Callable[..., Any], dense: Callable[..., Any], *arrays: Any) -> None:
    for found, wanted in zip(
        with_gradients(blocked, *arrays), with_gradients(dense, *arrays), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


MULTI_HOT = ["zlpr", "asymmetric", "pairwise_hinge", "calibrated_ranking", "multilabel_softmax"]


@pytest.mark.parametrize("name", MULTI_HOT)
def test_it_is_the_dense_loss(name: str) -> None:
    """In blocks of 3, 3 and 1 rows, weighted, with unknown labels."""
    p, loss = problem(), getattr(mlc_losses, name)

    def dense(*layer: Any) -> Any:
        values = loss(logits_of(*layer), p["targets"], where=p["where"])
        return (p["weights"] * values).sum() / p["weights"].sum()

    def blocked(*layer: Any) -> Any:
        rest = {"weights": p["weights"], "where": p["where"], "block_size": 3}
        return linear_loss(loss, *layer, p["targets"], **rest)

    check(blocked, dense, p["features"], p["kernel"], p["bias"])


def test_class_ids_are_handed_over() -> None:
    p = problem()
    loss = partial(mlc_losses.softmax_focal, gamma=1.5)
    check(
        lambda *layer: linear_loss(loss, *layer, p["labels"], block_size=2),
        lambda *layer: loss(logits_of(*layer), p["labels"]).mean(),
        *(p["features"], p["kernel"], p["bias"]),
    )


def test_padded_ids_are_multi_hot() -> None:
    p = problem()
    ids = jnp.asarray(
        [[0, 3, -1], [8, 8, 2], [-1, -1, -1], [5, -1, 1], [4, 6, 7], [2, 1, 0], [8, -1, -1]]
    )
    check(
        lambda *layer: linear_loss(zlpr, *layer, ids, block_size=4),
        lambda *layer: zlpr(logits_of(*layer), multi_hot(ids, L)).mean(),
        *(p["features"], p["kernel"], p["bias"]),
    )


def test_every_block_has_a_key_of_its_own() -> None:
    p, key = problem(), jax.random.key(3)
    loss = partial(mlc_losses.noised_top_k_hinge, k=2)

    def dense(*layer: Any) -> Any:
        logits = logits_of(*layer)
        # the last block is of full size too: it begins with two rows of the one before
        rows = [np.arange(0, 3), np.arange(3, 6), np.arange(4, 7)]
        blocks = [
            loss(logits[i], p["labels"][i], key=k)
            for i, k in zip(rows, jax.random.split(key, 3), strict=True)
        ]
        return jnp.concat([blocks[0], blocks[1], blocks[2][2:]]).mean()

    check(
        lambda *layer: linear_loss(loss, *layer, p["labels"], key=key, block_size=3),
        dense,
        *(p["features"], p["kernel"], p["bias"]),
    )


def test_what_the_loss_closes_over_gets_its_gradient() -> None:
    p = problem()
    layer = p["features"], p["kernel"], p["bias"]

    def dense(threshold: Any) -> Any:
        return zlpr(logits_of(*layer), p["targets"], threshold=threshold).mean()

    def blocked(threshold: Any) -> Any:
        loss = partial(zlpr, threshold=threshold)
        return 2.0 * linear_loss(loss, *layer, p["targets"], block_size=3)

    found, wanted = (jax.jit(jax.grad(f))(jnp.asarray(0.3)) for f in (blocked, dense))
    np.testing.assert_allclose(found, 2 * wanted, rtol=1e-12)


def test_an_example_of_weight_0_is_not_there() -> None:
    p = problem()
    kept = np.array([0, 1, 2, 4, 5])
    features = p["features"].at[np.array([3, 6])].set(jnp.nan)
    weights = p["weights"].at[np.array([3, 6])].set(0.0)

    def all_rows(features: Any, kernel: Any, bias: Any) -> Any:
        rest = {"weights": weights, "block_size": 2}
        return linear_loss(zlpr, features, kernel, bias, p["targets"], **rest)

    def some_rows(features: Any, kernel: Any, bias: Any) -> Any:
        values = zlpr(logits_of(features, kernel, bias)[kept], p["targets"][kept])
        return (weights[kept] * values).sum() / weights[kept].sum()

    found = with_gradients(all_rows, features, p["kernel"], p["bias"])
    wanted = with_gradients(some_rows, p["features"], p["kernel"], p["bias"])
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    for rows, weights in ((0, None), (N, jnp.zeros(N))):
        loss = linear_loss(
            zlpr, p["features"][:rows], p["kernel"], None, p["targets"][:rows], weights=weights
        )
        assert loss == 0


def test_bfloat16_adds_up_in_float32() -> None:
    """No further from float64 than the plain formula in bfloat16, and in the dtype it came in."""
    p, low = problem(), problem(jnp.bfloat16)
    names = ("features", "kernel", "bias")
    exact = {name: low[name].astype(jnp.float64) for name in names}

    def dense(*layer: Any) -> Any:
        return zlpr(logits_of(*layer), p["targets"]).mean()

    def blocked(*layer: Any) -> Any:
        return linear_loss(zlpr, *layer, p["targets"], block_size=3)

    value, slopes = jax.jit(jax.value_and_grad(blocked, (0, 1, 2)))(*(low[n] for n in names))
    assert value.dtype == jnp.float32
    assert {x.dtype for x in slopes} == {jnp.dtype("bfloat16")}
    wanted = with_gradients(dense, *(exact[n] for n in names))
    plain = with_gradients(dense, *(low[n] for n in names))
    for a, b, c in zip((value, *slopes), wanted, plain, strict=True):
        error = np.abs(backends.to_numpy(a) - b).max()
        assert error <= max(np.abs(c - b).max(), 1e-6) * 1.5


def test_no_logits_of_the_whole_batch() -> None:
    """Neither arrays `[N, L]` nor temporaries of their size."""
    n, dim, labels = 64, 8, 5000
    shapes = [(n, dim), (dim, labels), (labels,)]
    layer = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    ids = jax.ShapeDtypeStruct((n, 3), jnp.int32)

    def blocked(*arrays: Any) -> Any:
        return linear_loss(zlpr, *arrays, block_size=4)

    step = jax.jit(jax.value_and_grad(blocked, (0, 1, 2))).lower(*layer, ids).compile()
    assert step.memory_analysis().temp_size_in_bytes <= n * labels * 4 / 2
    assert f"[{n},{labels}]" not in step.as_text()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"features": np.zeros((N, D))},
            TypeError,
            "linear_loss works on JAX arrays, got features",
        ),
        ({"kernel": jnp.zeros((D, L), jnp.float32)}, TypeError, "same dtype, got float64 and"),
        ({"kernel": jnp.zeros((D + 1, L))}, ValueError, "must agree in D"),
        ({"bias": jnp.zeros(D)}, ValueError, "bias must have one entry per label"),
        ({"targets": jnp.zeros((N, 2))}, ValueError, "targets must be multi-hot"),
        ({"targets": jnp.full((N, 2), L)}, ValueError, "ids must be in 0..8, .* got 9 at index"),
        ({"targets": jnp.full(N, -1)}, ValueError, "labels must be in 0..8, got -1"),
        ({"weights": jnp.ones(L)}, ValueError, "weights must have one entry per example"),
        (
            {"where": jnp.ones((L, N), bool)},
            ValueError,
            "where must have one entry per example and",
        ),
        ({"block_size": 0}, ValueError, "block_size must be at least 1, got 0"),
        ({"loss": mlc_losses.soft_f1}, ValueError, "looks across the batch"),
        ({"loss": lambda s, y: s.sum()}, ValueError, "must return one value per example"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], error: Any, message: str) -> None:
    p = {name: problem()[name] for name in ("features", "kernel", "bias", "targets")}
    p = {"loss": zlpr, **p, **changes}
    first = [p.pop(name) for name in ("loss", "features", "kernel", "bias", "targets")]
    with pytest.raises(error, match=message):
        linear_loss(*first, **p)


@pytest.mark.parametrize("name", ["zlpr", "softmax_cross_entropy", "top_k_hinge"])
def test_in_blocks_of_labels_it_is_the_dense_loss(name: str) -> None:
    """In blocks of 4, 4 and 1 labels, and of 3, 3 and 1 rows."""
    p, loss = problem(), getattr(mlc_losses, name)
    rest = {"where": p["where"]} if name == "zlpr" else {}
    if name == "top_k_hinge":
        loss = partial(lambda scores, labels, k: mlc_losses.top_k_hinge(scores, labels, k), k=3)
    targets = p["targets"] if name == "zlpr" else p["labels"]

    def dense(*layer: Any) -> Any:
        values = loss(logits_of(*layer), targets, **rest)
        return (p["weights"] * values).sum() / p["weights"].sum()

    def blocked(*layer: Any) -> Any:
        more = {"weights": p["weights"], "row_block": 3, "label_block": 4, **rest}
        return label_block_loss(loss, *layer, targets, **more)

    check(blocked, dense, p["features"], p["kernel"], p["bias"])


def test_in_blocks_of_labels_no_row_has_all_logits() -> None:
    n, dim, labels = 8, 4, 4096
    shapes = [(n, dim), (dim, labels), (labels,)]
    layer = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    ids = jax.ShapeDtypeStruct((n, 3), jnp.int32)
    # one weight per label may be given as a whole
    weights = jnp.linspace(0.5, 2.0, labels, dtype=jnp.float32)
    loss = partial(mlc_losses.binary_cross_entropy, pos_weight=weights)

    def blocked(*arrays: Any) -> Any:
        return label_block_loss(loss, *arrays, label_block=512)

    text = jax.jit(jax.grad(blocked, 1)).lower(*layer, ids).compile().as_text()
    assert f"[{n},{labels}]" not in text
    assert f"[{n},512]" in text


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (mlc_losses.pairwise_hinge, "pairwise_hinge cannot be .* sorts all the scores"),
        (mlc_losses.calibrated_ranking, "compares every positive label with every negative one"),
        (mlc_losses.soft_f1, "looks across the batch"),
    ],
)
def test_what_blocks_of_labels_cannot_give_is_refused(loss: Any, reason: str) -> None:
    p = problem()
    with pytest.raises(ValueError, match=reason):
        label_block_loss(loss, p["features"], p["kernel"], None, p["targets"], label_block=4)


@pytest.mark.parametrize(("k", "label_block"), [(1, 1), (4, 2), (9, 4), (3, None)])
def test_top_k_by_blocks_is_that_of_all_scores(k: int, label_block: int | None) -> None:
    p = problem()
    # with ties, between blocks too
    p["features"], p["kernel"] = jnp.round(p["features"]), jnp.round(p["kernel"])
    p["kernel"] = p["kernel"].at[:, 5].set(p["kernel"][:, 1]).at[:, 8].set(p["kernel"][:, 1])
    bias = jnp.zeros(L).at[np.array([0, 4])].set(-jnp.inf)
    layer = p["features"], p["kernel"], bias
    ids, scores = predict_linear_top_k(*layer, k, label_block=label_block)
    wanted_scores, wanted = jax.lax.top_k(logits_of(*layer), k)
    np.testing.assert_array_equal(ids, wanted)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-12)


@pytest.mark.parametrize("room", ["label_blocks", "linear", "predict", "sharded"])
def test_docstring_examples(room: str) -> None:
    module = importlib.import_module(f"mlc_losses.scale.{room}")
    with jax.enable_x64(False):
        result = doctest.testmod(module)
    assert result.attempted and not result.failed
