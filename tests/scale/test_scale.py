"""Losses on a linear layer in blocks, against the dense computation. JAX alone."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import mlc_losses
from mlc_losses import label_block_loss, linear_loss, multi_hot, predict_linear_top_k, zlpr
from tests.support import backends

if backends.NAME != "jax":
    pytest.skip("scale/ is for JAX", allow_module_level=True)

import jax
import jax.numpy as jnp

from tests.support.compilations import compiled_by

pytestmark = pytest.mark.scale

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
    value, derivatives = backends.compiled(jax.value_and_grad(function, (0, 1, 2)))(*arrays)
    return [backends.to_numpy(x) for x in (value, *derivatives)]


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


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("blocked", [linear_loss, label_block_loss])
def test_a_mask_of_examples_and_data_of_numpy(blocked: Any, convert: Any) -> None:
    p = problem()
    examples = p["where"][:, :1]

    def dense(*layer: Any) -> Any:
        values = zlpr(logits_of(*layer), p["targets"], where=examples)
        return (p["weights"] * values).sum() / p["weights"].sum()

    data = {name: convert(p[name]) for name in ("targets", "weights")} | {"where": examples}
    blocks = {"label_block": 4} if blocked is label_block_loss else {"block_size": 3}
    check(partial(_of_layer, blocked, data | blocks), dense,
          p["features"], p["kernel"], p["bias"])  # fmt: skip


def _of_layer(blocked: Any, rest: dict[str, Any], *layer: Any) -> Any:
    return blocked(zlpr, *layer, **rest)


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

    value, derivatives = backends.jitted(jax.value_and_grad(blocked, (0, 1, 2)), quick=False)(
        *(low[n] for n in names)
    )
    assert value.dtype == jnp.float32
    assert {x.dtype for x in derivatives} == {jnp.dtype("bfloat16")}
    wanted = with_gradients(dense, *(exact[n] for n in names))
    plain = with_gradients(dense, *(low[n] for n in names))
    for a, b, c in zip((value, *derivatives), wanted, plain, strict=True):
        error = np.abs(backends.to_numpy(a) - b).max()
        assert error <= max(np.abs(c - b).max(), 1e-6) * 1.5


@pytest.mark.slow("rounding shows where labels and rows are many")
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("blocked", [linear_loss, label_block_loss])
def test_half_precision_is_rounded_once(blocked: Any, dtype: Any) -> None:
    """Gradients divided by the number of examples, or scaled outside, keep their digits."""
    rows, labels = 1024, 50_000
    p = {
        "features": jnp.ones((rows, 2), dtype),
        "kernel": jnp.zeros((2, labels), dtype),
        "bias": jnp.zeros(labels, dtype),
    }
    ids = jnp.zeros(rows, jnp.int32)
    share = 1 / labels

    def scaled(scale: Any, *layer: Any) -> Any:
        return scale * blocked(mlc_losses.softmax_cross_entropy, *layer, ids)

    step = jax.jit(jax.grad(scaled, (1, 2, 3)))
    for scale in (1.0, 1024.0):
        _, by_kernel, by_bias = step(jnp.float32(scale), *p.values())
        for found in (by_kernel[0, 1], by_bias[1]):
            assert found.dtype == dtype
            # float16 has no smaller steps here than 2^-24
            limit = max(float(jnp.finfo(dtype).eps) * share * scale, 2.0**-24)
            assert abs(float(found) - share * scale) <= limit
        assert float(by_kernel[0, 0]) == pytest.approx(-scale * (1 - share), rel=1e-2)
    # by features: 1 / N of a kernel of small numbers
    p["kernel"] = jnp.broadcast_to(jnp.linspace(0, 1e-2, labels, dtype=dtype), (2, labels))
    by_features = step(jnp.float32(1024.0), *p.values())[0]
    kernel = p["kernel"].astype(jnp.float32)
    wanted = jax.nn.softmax(2 * kernel[0], axis=-1) @ kernel.T - kernel[:, 0]
    np.testing.assert_allclose(by_features[5].astype(jnp.float32), wanted, rtol=1e-2)


def test_no_logits_of_the_whole_batch() -> None:
    """Neither arrays `[N, L]` nor temporaries of their size."""
    n, dim, labels = 64, 8, 5000
    shapes = [(n, dim), (dim, labels), (labels,)]
    layer = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    ids = jax.ShapeDtypeStruct((n, 3), jnp.int32)

    def blocked(*arrays: Any) -> Any:
        return linear_loss(zlpr, *arrays, block_size=4)

    step = (
        jax.jit(jax.value_and_grad(blocked, (0, 1, 2)))
        .lower(*layer, ids)
        .compile(backends.OPTIMIZED)
    )
    assert step.memory_analysis().temp_size_in_bytes <= n * labels * 4 / 2
    assert f"[{n},{labels}]" not in step.as_text()


@pytest.mark.parametrize("loss", [zlpr, mlc_losses.binary_cross_entropy])
def test_the_gradient_of_a_block_is_in_the_place_of_its_logits(loss: Any) -> None:
    """One array `[block_size, L]`, bool targets and partial sums: less than two arrays."""
    n, dim, labels, rows = 64, 64, 20_000, 16  # a part of the kernel is small beside a block
    shapes = [(n, dim), (dim, labels), (labels,)]
    layer = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    ids = jax.ShapeDtypeStruct((n, 3), jnp.int32)
    step = jax.jit(
        jax.grad(lambda *arrays: linear_loss(loss, *arrays, block_size=rows), (0, 1, 2))
    ).lower(*layer, ids)
    memory = step.compile(backends.OPTIMIZED).memory_analysis().temp_size_in_bytes
    assert memory < 2 * rows * labels * 4


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_kernel_in_several_parts(with_bias: bool) -> None:
    """The last of which begins with labels of the one before."""
    rng = np.random.default_rng(2)
    n, dim, labels = 5, 1200, 300
    features = jnp.asarray(rng.normal(size=(n, dim)))
    kernel = jnp.asarray(rng.normal(size=(dim, labels)) / dim**0.5)
    bias = jnp.asarray(rng.normal(size=labels)) if with_bias else None
    targets = jnp.asarray(rng.random((n, labels)) < 0.1)
    text = str(jax.make_jaxpr(lambda x: linear_loss(zlpr, x, kernel, bias, targets))(features))
    assert f"f64[{dim},128]" in text
    layer = (features, kernel) if bias is None else (features, kernel, bias)

    def dense(features: Any, kernel: Any, *bias: Any) -> Any:
        return zlpr(features @ kernel + (bias[0][None, :] if bias else 0.0), targets).mean()

    def blocked(features: Any, kernel: Any, *bias: Any) -> Any:
        return linear_loss(zlpr, features, kernel, bias[0] if bias else None, targets, block_size=3)

    by = tuple(range(len(layer)))
    found, wanted = (
        backends.compiled(jax.value_and_grad(function, by))(*layer) for function in (blocked, dense)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(
            backends.to_numpy(a), backends.to_numpy(b), rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"features": np.zeros((N, D))},
            TypeError,
            "must come from one library, got features of numpy",
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


@pytest.mark.parametrize("blocked", [linear_loss, label_block_loss])
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "zlpr"])
def test_an_id_in_a_row_left_out_is_not_looked_at(name: str, blocked: Any) -> None:
    """Class ids, and label ids padded with -1, eagerly and under jit."""
    p, loss = problem(), getattr(mlc_losses, name)
    where = p["where"].at[:, 0].set(True).at[2].set(False)
    ids = p["labels"] if name == "softmax_cross_entropy" else p["labels"][:, None]

    def total(kernel: Any, ids: Any) -> Any:
        return blocked(loss, p["features"], kernel, p["bias"], ids, where=where)

    step = jax.value_and_grad(total)
    expected, derivatives = step(p["kernel"], ids.at[2].set(0))
    assert np.isfinite(derivatives).all()
    for run in (step, jax.jit(step)):
        for wrong in (-100, L):
            value, by_kernel = run(p["kernel"], ids.at[2].set(wrong))
            np.testing.assert_allclose(value, expected, rtol=1e-12)
            np.testing.assert_allclose(by_kernel, derivatives, rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="got -100 at index"):
        total(p["kernel"], ids.at[1].set(-100))


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

    text = jax.jit(jax.grad(blocked, 1)).lower(*layer, ids).compile(backends.OPTIMIZED).as_text()
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


OWN_REDUCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "a term beside the loss": (
        lambda s, t: zlpr(s, t) + 0.1 * jax.nn.logsumexp(s, axis=-1) ** 2,
        "reduces the labels of an example by reduce_max outside .*; use linear_loss",
    ),
    "a loss of the maximum": (
        lambda s, t: mlc_losses.binary_cross_entropy(s.max(-1)[:, None], t.any(-1)[:, None]),
        "reduces the labels of an example by reduce_(max|or) outside",
    ),
    "under jit": (
        lambda s, t: zlpr(s, t) + jax.jit(jnp.sum, static_argnums=1)(s, -1),
        "reduce_sum",
    ),
    "the whole loss under jit": (lambda s, t: jax.jit(zlpr)(s, t), "has a jax.jit or another"),
    "mean": (lambda s, t: zlpr(s, t) + s.mean(-1), "depends on how many labels|reduce_sum"),
    "softmax before": (lambda s, t: zlpr(jax.nn.softmax(s), t), "reduces the labels .* reduce_max"),
    "product": (lambda s, t: zlpr(s, t) + jnp.vecdot(s, s), "takes dot_general of the labels"),
    "sort": (lambda s, t: zlpr(jnp.sort(s, axis=-1), t), "takes sort of the labels"),
    "cumulative sum": (lambda s, t: zlpr(jnp.cumsum(s, -1), t), "takes cumsum of the labels"),
    "argmax": (
        lambda s, t: zlpr(s, t) * (s.argmax(-1) == 0).astype(s.dtype),
        "takes argmax of the labels",
    ),
    "top_k": (lambda s, t: zlpr(s, t) + jax.lax.top_k(s, 2)[0][:, 1], "by top_k outside"),
    "one label": (lambda s, t: zlpr(s, t) + s[:, 0], "takes slice of the labels"),
    "neighbours": (
        lambda s, t: mlc_losses.binary_cross_entropy(s[:, 1:] - s[:, :-1], t[:, 1:]),
        "takes slice of the labels",
    ),
    "gather": (
        lambda s, t: zlpr(s, t) - jnp.take_along_axis(s, t[:, :1].astype(int), axis=-1)[:, 0],
        "takes (gather|slice) of the labels|depends on how many labels",
    ),
    "loop": (
        lambda s, t: zlpr(s, t) + jax.lax.scan(lambda c, x: (c + x, None), jnp.zeros(2), s.T)[0],
        "takes scan of the labels",
    ),
    "pairs": (
        lambda s, t: zlpr(s, t) + jnp.abs(s[:, :, None] - s[:, None, :]).sum((1, 2)),
        "compares labels with each other",
    ),
    "the width": (lambda s, t: zlpr(s, t) / s.shape[-1], "depends on how many labels a block has"),
    "places": (
        lambda s, t: zlpr(s + jnp.arange(s.shape[-1], dtype=s.dtype)[None, :], t),
        "depends on how many labels a block has, or where they are",
    ),
    "the first weights": (
        lambda s, t: zlpr(s * jnp.linspace(0.0, 1.0, L)[None, : s.shape[-1]], t),
        "depends on how many labels",
    ),
    "noise": (
        lambda s, t: zlpr(s + jax.random.normal(jax.random.key(0), s.shape, s.dtype), t),
        "depends on how many labels",
    ),
}


@pytest.mark.parametrize("label_block", [4, None])
@pytest.mark.parametrize("name", OWN_REDUCTIONS)
def test_a_reduction_of_the_users_own_is_refused(name: str, label_block: int | None) -> None:
    """Whether or not there is more than one block."""
    loss, reason = OWN_REDUCTIONS[name]
    targets = jnp.zeros((2, L), bool)
    with pytest.raises(
        ValueError, match=f"cannot be computed in blocks of labels: it .*({reason})"
    ):
        label_block_loss(
            loss, jnp.ones((2, D)), jnp.ones((D, L)), None, targets, label_block=label_block
        )


def own_terms(s: Any, t: Any) -> Any:
    """What a user may add: anything of one label alone, and of the values of losses."""
    t = jnp.where(t, 0.95, 0.05)
    first = zlpr(jnp.clip(s / 2.0, -3.0, 3.0), t)
    second = mlc_losses.binary_cross_entropy(jnp.where(t > 0.5, s - 0.1, jnp.tanh(s)), t)
    return jnp.sqrt(first + 1.0) + 0.5 * second


def test_terms_of_one_label_are_accepted() -> None:
    p = problem()
    check(
        lambda *layer: label_block_loss(own_terms, *layer, p["targets"], label_block=4),
        lambda *layer: own_terms(logits_of(*layer), p["targets"]).mean(),
        *(p["features"], p["kernel"], p["bias"]),
    )


IN_BLOCKS_OF_LABELS = [
    *("zlpr", "zlpr_smooth", "lsep", "bp_mll", "circle", "distributional_ranking"),
    *("binary_cross_entropy", "focal", "asymmetric", "poly", "hill", "assume_negative"),
    *("multilabel_soft_margin", "multilabel_softmax", "softmax_cross_entropy", "softmax_focal"),
]


@pytest.mark.parametrize("name", [n for n in IN_BLOCKS_OF_LABELS if hasattr(mlc_losses, n)])
def test_losses_of_label_reductions_are_accepted(name: str) -> None:
    loss, p = getattr(mlc_losses, name), problem()
    targets = p["labels"] if name.startswith("softmax") else p["targets"]
    layer = p["features"], p["kernel"], p["bias"]
    value = jax.eval_shape(
        lambda *layer: label_block_loss(loss, *layer, targets, label_block=4), *layer
    )
    assert value.shape == ()


def eager_calls() -> dict[str, Callable[[], Any]]:
    p = problem(jnp.float32)
    layer = p["features"], p["kernel"], p["bias"]
    loss, own = partial(zlpr, threshold=jnp.float32(0.3)), partial(mlc_losses.lsep)
    return {
        "linear_loss": lambda: linear_loss(loss, *layer, p["targets"], block_size=3),
        "its gradient": lambda: jax.value_and_grad(
            lambda *layer: linear_loss(own, *layer, p["targets"], block_size=3), (0, 1, 2)
        )(*layer),
        "label_block_loss": lambda: label_block_loss(loss, *layer, p["targets"], label_block=4),
        "the gradient of that": lambda: jax.value_and_grad(
            lambda *layer: label_block_loss(own, *layer, p["targets"], label_block=4), (0, 1, 2)
        )(*layer),
        "top-k in blocks": lambda: label_block_loss(
            partial(mlc_losses.top_k_hinge, k=3), *layer, p["labels"], label_block=4
        ),
        "predict_linear_top_k": lambda: predict_linear_top_k(*layer, 2, label_block=4),
    }


@pytest.mark.parametrize("name", eager_calls())
def test_nothing_compiles_at_the_third_eager_call(name: str) -> None:
    call = eager_calls()[name]
    jax.clear_caches()
    assert compiled_by(call)
    compiled_by(call)
    assert not compiled_by(call)


@pytest.mark.parametrize("blocked", [linear_loss, label_block_loss])
def test_arrays_that_a_loss_closes_over_are_never_baked_in(blocked: Any) -> None:
    """They may be bound to other values between two calls of one function object."""
    p, bound = problem(), {"scale": jnp.asarray(1.0), "shift": np.zeros(()), "factor": 1.0}
    layer = p["features"], p["kernel"], p["bias"]

    def loss(s: Any, t: Any) -> Any:
        s = s * bound["scale"] - bound["shift"]
        return bound["factor"] * mlc_losses.binary_cross_entropy(s, t, pos_weight=weights[0])

    weights = [jnp.ones(L)]

    def value_and_derivative() -> Any:
        return jax.value_and_grad(lambda k: blocked(loss, layer[0], k, layer[2], p["targets"]))(
            layer[1]
        )

    def dense() -> Any:
        return jax.value_and_grad(
            lambda k: loss(logits_of(layer[0], k, layer[2]), p["targets"]).mean()
        )(layer[1])

    for change in ({}, {"scale": jnp.asarray(2.0)}, {"shift": np.ones(())}, {"factor": 3.0}):
        bound.update(change)
        weights[0] = weights[0] + 0.25
        for found, wanted in zip(value_and_derivative(), dense(), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


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
