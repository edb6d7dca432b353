"""Eager calls on JAX: with functions and shapes as before, nothing is compiled again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.support import backends

if backends.NAME != "jax":
    pytest.skip("only JAX compiles eager calls", allow_module_level=True)

import jax
import jax.numpy as jnp

import mlc_losses as ml
from mlc_losses import metrics
from tests.losses.cases import CASES
from tests.support.case import Case
from tests.support.compilations import compiled_by_the_third

# each call is compiled first, which takes long
pytestmark = pytest.mark.modes

N, L = 6, 150  # wide enough for the ways that are for many labels


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_nothing_compiles_at_the_third_call_of_a_loss(case: Case) -> None:
    positional, keywords = case.draw(0, n=N, num_labels=L)
    first, *rest = map(jnp.asarray, positional)
    keywords = {name: jnp.asarray(x) if np.ndim(x) else x for name, x in keywords.items()}

    def loss(first: Any) -> Any:
        return case.loss(first, *rest, **keywords)

    derivatives = jax.grad(lambda first: loss(first).sum())
    assert not compiled_by_the_third(lambda: loss(first))
    assert not compiled_by_the_third(lambda: derivatives(first))


def other_calls() -> dict[str, Callable[[], Any]]:
    """Of the public functions that the list of cases leaves out."""
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.normal(size=(N, L)))
    targets = jnp.asarray(rng.random((N, L)) < 0.1)
    labels = jnp.asarray(rng.integers(0, L, N))
    counts = jnp.asarray(rng.integers(1, 50, L))
    points = jnp.asarray(rng.normal(size=(N, 4)))
    ids = jnp.asarray(rng.integers(-1, L, (N, 5)))
    powerset = ml.LabelPowerset.fit(targets)
    hierarchy = ml.Hierarchy.fit(jnp.stack([jnp.arange(1, L), jnp.arange(L - 1) // 2], axis=1), L)
    set_ids, set_logits = jnp.zeros(N, int), jnp.zeros((N, powerset.num_sets))
    key = jax.random.key(0)
    queue = ml.init_queue(8, 4, L, like=points)
    steps, sequence = jnp.asarray(rng.normal(size=(N, 5, L + 1))), jnp.asarray(ids[:, :4])
    mesh = jax.make_mesh((1,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    split = ml.sharded(ml.zlpr, mesh, batch="devices")
    calls: dict[str, Callable[[], Any]] = {
        "sharded": lambda: jax.value_and_grad(lambda s: split(s, targets).sum())(scores),
        "soft_f1": lambda: ml.soft_f1(scores, targets),
        "sigmoid_f1": lambda: ml.sigmoid_f1(scores, targets),
        "tversky": lambda: ml.tversky(scores, targets),
        "contrastive": lambda: ml.contrastive(points, ml.jaccard_weights(targets)),
        "overlap_weights": lambda: ml.overlap_weights(targets),
        "valid_anchors": lambda: ml.valid_anchors(targets),
        "enqueue": lambda: ml.enqueue(queue, points, targets),
        "queue_mask": lambda: ml.queue_mask(queue),
        "init_queue": lambda: ml.init_queue(8, 4, L, like=points),
        "average_k_threshold": lambda: ml.average_k_threshold(scores, 2.5),
        "average_k_pseudo_labels": lambda: ml.average_k_pseudo_labels(scores, labels, 2.5),
        "predict_average_k": lambda: ml.predict_average_k(scores, 0.5),
        "predict_threshold": lambda: ml.predict_threshold(scores),
        "predict_top_k": lambda: ml.predict_top_k(scores, 3),
        "predict_expected_f": lambda: ml.predict_expected_f(scores),
        "conformal_threshold": lambda: ml.conformal_threshold(scores, targets, recall=0.5),
        "fit_temperature": lambda: ml.fit_temperature(scores, targets),
        "tune_thresholds": lambda: ml.tune_thresholds(scores, targets),
        "multi_hot": lambda: ml.multi_hot(ids, L),
        "label_ids": lambda: ml.label_ids(targets, 30),
        "smooth_targets": lambda: ml.smooth_targets(targets, 0.1),
        "check_targets": lambda: ml.check_targets(targets),
        "masked_mean": lambda: ml.masked_mean(scores, targets),
        "order_labels": lambda: ml.order_labels(targets, counts, 5),
        "label_sequence": lambda: ml.label_sequence(steps, sequence),
        "label_set_sequence": lambda: ml.label_set_sequence(steps, targets, sequence),
        "logit_adjust": lambda: ml.logit_adjust(scores, counts),
        "ldam_margins": lambda: ml.ldam_margins(counts),
        "inverse_frequency_weights": lambda: ml.inverse_frequency_weights(counts),
        "effective_number_weights": lambda: ml.effective_number_weights(counts, beta=0.9),
        "balanced_pos_weights": lambda: ml.balanced_pos_weights(counts, 100),
        "label_powerset": lambda: ml.label_powerset(set_logits, set_ids),
        "LabelPowerset.encode": lambda: powerset.encode(targets),
        "LabelPowerset.decode": lambda: powerset.decode(set_ids),
        "LabelPowerset.marginals": lambda: powerset.marginals(set_logits),
        "Hierarchy.closure": lambda: hierarchy.closure(targets),
        "Hierarchy.coherent": lambda: hierarchy.coherent(scores),
        "metrics.label_propensities": lambda: metrics.label_propensities(counts, 100),
        "metrics.average_k_accuracy": lambda: metrics.average_k_accuracy(scores, labels, 0.5),
        "metrics.top_k_accuracy": lambda: metrics.top_k_accuracy(scores, labels, 3),
        "metrics.mean_set_size": lambda: metrics.mean_set_size(targets),
        "metrics.set_size_histogram": lambda: metrics.set_size_histogram(targets),
        "metrics.class_mean": lambda: metrics.class_mean(scores[:, 0], labels, L),
        "metrics.expected_calibration_error": lambda: metrics.expected_calibration_error(
            jnp.clip(scores, 0.0, 1.0), targets
        ),
        "metrics.propensity_scored_precision_at_k": lambda: (
            metrics.propensity_scored_precision_at_k(scores, targets, 3, jnp.ones(L))
        ),
    }
    for name in ("average_precision", "coverage_error", "label_ranking_average_precision",
                 "one_error", "ranking_loss", "roc_auc"):  # fmt: skip
        calls[f"metrics.{name}"] = partial(getattr(metrics, name), scores, targets)
    for name in ("ndcg_at_k", "precision_at_k", "recall_at_k"):
        calls[f"metrics.{name}"] = partial(getattr(metrics, name), scores, targets, 3)
    for name in ("f1_score", "hamming_loss", "jaccard_score", "precision_score", "recall_score",
                 "subset_accuracy"):  # fmt: skip
        calls[f"metrics.{name}"] = partial(getattr(metrics, name), scores > 0, targets)
    for name in ("perturbed_kth_largest", "perturbed_top_k_sum", "perturbed_top_k_mask"):
        calls[name] = partial(getattr(ml, name), scores, 3, key=key)
        calls[f"{name}, exact"] = partial(getattr(ml, name), scores, 3, method="exact")
    return calls


@pytest.mark.parametrize("name", other_calls())
def test_nothing_compiles_at_the_third_call(name: str) -> None:
    assert not compiled_by_the_third(other_calls()[name])
