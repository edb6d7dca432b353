"""Run by `test_sharded`: losses over eight simulated devices, or over two processes, against one.

python -m tests.scale.sharded_program losses
python -m tests.scale.sharded_program process NUMBER PORT
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mlc_losses as m
from mlc_losses import sharded
from mlc_losses.scale._arguments import name_of
from tests.losses.cases import cases_of
from tests.scale.splits import splits, with_numbers
from tests.support.backends import OPTIMIZED
from tests.support.compilations import compiled_by_the_third

N, L, D = 4, 16, 3
HIERARCHY = m.Hierarchy(np.stack([np.arange(1, L), np.arange(L - 1) // 2], axis=1), L)
BOTH = {"labels": "columns", "batch": "rows"}
LABELS, ALL_LABELS, BATCH = (
    {"labels": "columns"},
    {"labels": ("rows", "columns")},
    {"batch": "rows"},
)


def arrays() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    targets = rng.random((N, L)) < 0.3
    targets[0] = False
    return {
        "logits": jnp.asarray(rng.normal(size=(N, L)) * 3),
        "other": jnp.asarray(rng.normal(size=(N, L)) * 3),
        "cosines": jnp.asarray(rng.uniform(-1, 1, (N, L))),
        "tied": jnp.asarray(rng.integers(0, 3, (N, L)).astype(float)),
        "targets": jnp.asarray(targets),
        "soft": jnp.asarray(rng.random((N, L))),
        "labels": jnp.asarray([5, 0, 15, 10]),
        "where": jnp.asarray(rng.random((N, L)) < 0.8),
        # those that the examples are of, and most others
        "of_labels": jnp.asarray(np.tile(np.arange(L) % 5 < 4, (N, 1))),
        "per_label": jnp.asarray(rng.uniform(0.5, 2, L)),
        "some_0": jnp.asarray(np.arange(L) % 3 * 0.7),
        "cells": jnp.asarray(rng.uniform(0.5, 2, (N, L))),
        "shares": jnp.asarray(rng.dirichlet(np.ones(L), N)),
        "per_example": jnp.asarray(rng.normal(size=N)),
        "noise": jnp.asarray(rng.normal(size=(N, L, 3))),
        "pair_weights": jnp.asarray(rng.random((N, N))),
        "positive_per_example": jnp.asarray(rng.uniform(0.5, 2, N)),
        "key": jax.random.key(0),
        "points": jnp.asarray(rng.normal(size=(N, D))),
        "keys": jnp.asarray(rng.normal(size=(N, D))),
        "prototypes": jnp.asarray(rng.normal(size=(L, D))),
    }


def k_guesses(loss: Callable[..., Any], k: int, **keywords: Any) -> Callable[..., Any]:
    @wraps(loss)
    def with_k(scores: Any, labels: Any, **more: Any) -> Any:
        return loss(scores, labels, k, **keywords, **more)

    return with_k


# the loss, how it is split, the names of its arrays, those of its keywords
Check = tuple[Callable[..., Any], dict[str, Any], tuple[str, ...], dict[str, str]]
HOT = ("logits", "targets")
CHECKS: dict[str, Check] = {
    "zlpr": (m.zlpr, BOTH, HOT, {"where": "where"}),
    "zlpr, soft": (m.zlpr, ALL_LABELS, ("logits", "soft"), {"threshold": "per_example"}),
    "zlpr, batch": (m.zlpr, BATCH, HOT, {}),
    "r_drop": (m.r_drop, BOTH, ("logits", "other", "targets"), {}),
    "binary": (m.binary_cross_entropy, BOTH, HOT, {"pos_weight": "per_label"}),
    "binary, weights of cells": (
        m.binary_cross_entropy,
        BOTH,
        ("logits", "soft"),
        {"pos_weight": "cells", "label_weights": "per_label", "where": "where"},
    ),
    "mean over labels": (m.multilabel_soft_margin, BOTH, HOT, {}),
    "asymmetric": (m.asymmetric, BOTH, HOT, {"where": "where"}),
    "softmax": (
        partial(m.softmax_cross_entropy, label_smoothing=0.1),
        BOTH,
        ("logits", "labels"),
        {},
    ),
    "softmax, weights of classes": (
        partial(m.softmax_cross_entropy, label_smoothing=0.1, z_loss=0.01),
        BOTH,
        ("logits", "labels"),
        {"class_weights": "some_0", "where": "of_labels"},
    ),
    "softmax, distribution": (
        partial(m.softmax_cross_entropy, label_smoothing=0.1, z_loss=0.01),
        BOTH,
        ("logits", "shares"),
        {"class_weights": "some_0", "where": "where"},
    ),
    "softmax, by its weights": (
        lambda class_weights, logits, labels: m.softmax_cross_entropy(
            logits, labels, class_weights=class_weights
        ),
        LABELS,
        ("some_0", "logits", "labels"),
        {},
    ),
    "ldam": (m.ldam, BOTH, ("cosines", "labels", "per_label"), {}),
    "multilabel_softmax": (m.multilabel_softmax, BOTH, HOT, {}),
    "lsep": (m.lsep, BOTH, HOT, {}),
    "bp_mll": (m.bp_mll, BOTH, HOT, {}),
    "circle": (partial(m.circle, gamma=8.0), BOTH, ("cosines", "targets"), {}),
    "distributional": (m.distributional_ranking, BOTH, HOT, {}),
    "hinge": (k_guesses(m.top_k_hinge, 3), BOTH, ("logits", "labels"), {}),
    "convex hinge": (k_guesses(m.top_k_hinge, 6, kind="convex"), BOTH, ("logits", "labels"), {}),
    "noise": (k_guesses(m.noised_top_k_hinge, 3), BOTH, ("logits", "labels"), {"noise": "noise"}),
    "key": (k_guesses(m.noised_top_k_hinge, 3), BOTH, ("logits", "labels"), {"key": "key"}),
    "smooth hinge": (k_guesses(m.smooth_top_k_hinge, 3), BOTH, ("logits", "labels"), {}),
    # more guesses than a device has labels
    "smooth hinge, 6": (k_guesses(m.smooth_top_k_hinge, 6), BOTH, ("logits", "labels"), {}),
    "pairwise_hinge": (m.pairwise_hinge, BATCH, HOT, {}),
    "two_way": (m.two_way, BOTH, HOT, {"where": "where"}),
    "soft_f1": (m.soft_f1, BOTH, HOT, {}),
    "smooth_average_precision": (
        partial(m.smooth_average_precision, temperature=0.5),
        BOTH,
        HOT,
        {"where": "where"},
    ),
    "auc_margin": (m.auc_margin, BOTH, HOT, {"where": "where"}),
    "max_constraint": (
        partial(m.max_constraint, hierarchy=HIERARCHY),
        BATCH,
        HOT,
        {"where": "where"},
    ),
    "two heads": (
        partial(m.average_k_two_head, k=2.5),
        BOTH,
        ("logits", "other", "labels"),
        {},
    ),
    "expected_positive": (
        partial(m.expected_positive, expected=2.0),
        BOTH,
        HOT,
        {},
    ),
    "large_loss": (partial(m.large_loss, fraction=0.2), BOTH, ("tied", "targets"), {}),
    "supcon": (m.supcon, BATCH, ("points", "targets"), {"keys": "keys", "key_targets": "soft"}),
    "mulsupcon": (m.mulsupcon, BATCH, ("points", "targets"), {}),
    "mscrg": (m.mscrg, BATCH, ("points", "prototypes", "targets"), {}),
    "lifted_structure": (m.lifted_structure, BATCH, ("points", "targets"), {}),
    "n_pair": (m.n_pair, BATCH, ("points", "keys"), {}),
    "contrastive": (m.contrastive, BATCH, ("points", "pair_weights"), {}),
    "contrastive, denominator": (
        m.contrastive,
        BATCH,
        ("points", "pair_weights"),
        {"denominator": "positive_per_example"},
    ),
}


def loss_name(check: Check) -> str:
    return inspect.unwrap(getattr(check[0], "func", check[0])).__name__


def checks_of_cases() -> tuple[dict[str, Check], dict[str, jax.Array]]:
    """The first case of each loss that has no check above and that `sharded` takes; its arrays."""
    checks, given = {}, {}
    above = {loss_name(check) for check in CHECKS.values()}
    for name, (case, *_) in cases_of().items():
        axes = {axis: over for axis, over in BOTH.items() if splits(name, axis)}
        if name in above or not axes:
            continue
        positional, keywords = case.draw(0, N, L)
        named = {f"{name}: {place}": x for place, x in enumerate(positional)}
        by_key = {f"{name}: {key}": x for key, x in keywords.items() if np.ndim(x)}
        given |= {key: jnp.asarray(x) for key, x in (named | by_key).items()}
        loss = with_numbers(inspect.unwrap(case.loss), keywords)
        checks[name] = loss, axes, tuple(named), {key.split(": ")[1]: key for key in by_key}
    return checks, given


def with_gradient(loss: Callable[..., Any], check: Check) -> Callable[..., Any]:
    """The losses, and the gradient by the first array of their sum with weights."""
    _, _, names, keywords = check

    def total(first: Any, given: dict[str, Any]) -> Any:
        rest = [given[name] for name in names[1:]]
        values = loss(first, *rest, **{key: given[name] for key, name in keywords.items()})
        weights = jnp.cos(jnp.arange(values.size, dtype=values.dtype)).reshape(values.shape)
        return (weights * values).sum(), values

    return lambda given: jax.grad(total, has_aux=True)(given[names[0]], given)


def results(checks: dict[str, Check], given: dict[str, Any], mesh: Any = None) -> dict[str, Any]:
    """Of every check, in one program; over the devices of a mesh, or on one."""

    def all_losses(given: dict[str, Any]) -> dict[str, Any]:
        return {
            name: with_gradient(sharded(c[0], mesh, **c[1]) if mesh else c[0], c)(given)
            for name, c in checks.items()
        }

    return jax.jit(all_losses)(given)


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, arrays in found.items():
        for a, b in zip(arrays, wanted[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=name)


def eager(mesh: Any) -> None:
    """What eager code has made goes over the devices, and is compiled once."""
    logits = arrays()["logits"]
    targets = m.multi_hot(jnp.asarray([[0, 2], [1, -1], [3, 3], [15, 4]]), L)
    loss = sharded(m.zlpr, mesh, **BATCH)
    np.testing.assert_allclose(loss(logits, targets), m.zlpr(logits, targets), rtol=1e-9)
    assert not compiled_by_the_third(lambda: loss(logits, targets))


def refused(mesh: Any) -> None:
    given = arrays()
    in_hierarchy = partial(m.max_constraint, hierarchy=HIERARCHY)
    compared = (m.pairwise_hinge, m.multilabel_margin, m.warp, m.calibrated_ranking)
    for loss in (*compared, in_hierarchy):
        message = f"{name_of(loss)} cannot be split over labels: it "
        try:
            sharded(loss, mesh, **LABELS)(given["logits"], given["targets"])
        except ValueError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)


def small_collectives(mesh: Any) -> None:
    """Nothing of [N, L] on one device, and collectives of a few numbers per example."""
    n, labels = 16, 8192
    logits = jax.ShapeDtypeStruct((n, labels), jnp.float32)
    targets = jax.ShapeDtypeStruct((n, labels), jnp.bool_)
    split = NamedSharding(mesh, PartitionSpec(None, ("rows", "columns")))
    loss = sharded(m.zlpr, mesh, **ALL_LABELS)
    step = jax.jit(
        jax.value_and_grad(lambda s, y: loss(s, y).sum()),
        in_shardings=split,
        out_shardings=(None, split),
    )
    program = step.lower(logits, targets).compile(OPTIMIZED)
    # beside a device's own logits, targets and derivatives
    assert program.memory_analysis().temp_size_in_bytes <= n * labels // 8 * 4
    text = program.as_text()
    assert f"[{n},{labels}]" not in text
    assert f"[{n},{labels // 8}]" in text
    lines = [line for line in text.splitlines() if re.search(r"= .* all-\w+(-start)?\(", line)]
    assert lines
    for line in lines:
        for shape in re.findall(r"[a-z]\w*\[([\d,]*)\]", line.split("all-")[0]):
            assert np.prod([int(size) for size in shape.split(",") if size]) <= 4 * n, line


def losses() -> None:
    mesh = jax.make_mesh((2, 4), ("rows", "columns"), axis_types=(AxisType.Auto,) * 2)
    bound = partial(m.ldam, margins=jnp.linspace(0.1, 0.9, L))
    more, their_arrays = checks_of_cases()
    checks = {**CHECKS, **more, "margins bound": (bound, BOTH, ("cosines", "labels"), {})}
    given = arrays() | their_arrays
    wanted = results(checks, given)
    assert_same(results(checks, given, mesh), wanted)
    eager(mesh)
    refused(mesh)
    small_collectives(mesh)
    mesh = jax.make_mesh((2, 4), ("rows", "columns"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        assert_same(results(CHECKS, arrays(), mesh), wanted)


def process(number: int, port: int) -> None:
    """One of two processes with two devices each: every one brings its own rows."""
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=number)
    mesh = jax.make_mesh((2, 2), ("rows", "columns"), axis_types=(AxisType.Auto,) * 2)
    names = ("logits", "targets", "points")
    whole = {name: np.asarray(arrays()[name]) for name in names}
    specs = {"logits": ("rows", "columns"), "targets": ("rows", "columns"), "points": ("rows",)}
    given = {
        name: jax.make_array_from_callback(
            x.shape, NamedSharding(mesh, PartitionSpec(*specs[name])), lambda i, x=x: x[i]
        )
        for name, x in whole.items()
    }
    for name in ("zlpr", "two_way", "mulsupcon"):
        loss, axes, first, _ = CHECKS[name]

        def total(x: Any, y: Any, loss: Any = loss) -> Any:
            return loss(x, y).sum()

        split = partial(total, loss=sharded(loss, mesh, **axes))
        x, y = first
        value, derivative = jax.jit(jax.value_and_grad(split))(given[x], given[y])
        wanted, wanted_derivative = jax.jit(jax.value_and_grad(total))(whole[x], whole[y])
        np.testing.assert_allclose(value, wanted, rtol=1e-9)
        for shard in derivative.addressable_shards:
            np.testing.assert_allclose(
                shard.data, np.asarray(wanted_derivative)[shard.index], rtol=1e-9, atol=1e-11
            )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    what, *arguments = sys.argv[1:]
    {"losses": losses, "process": process}[what](*map(int, arguments))
