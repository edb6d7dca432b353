"""Every public function of arrays, once: what is held to each mode that people train in.

The losses come from the one list of cases; the other functions of the package are below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import mlc_losses as ml
from mlc_losses import metrics
from tests.losses.cases import CASES
from tests.support.backends import asarray
from tests.support.case import Arrays, Case


@dataclass(frozen=True)
class Subject:
    """A function of arrays, and arrays for it; with a gradient it is one by the first of them."""

    id: str
    function: Callable[..., Any]
    arrays: Arrays
    has_gradient: bool = True
    # each row of the arrays has a result of its own, so that it may be mapped over them
    by_row: bool = True
    # second derivatives and forward mode, on every backend
    twice: bool = True
    case: Case | None = None

    def here(self, dtype: str = "float64") -> list[Any]:
        """The arrays on the library under test, floats in `dtype`."""
        return [asarray(x, dtype if x.dtype.kind == "f" else None) for x in self.arrays]


def of_case(case: Case, seed: int = 3, n: int = 6, num_labels: int = 7) -> Subject:
    arrays, _ = case.draw(seed, n, num_labels)
    extra = [case.draw(seed, n, num_labels)[1][name] for name in case.per_label]
    count = len(arrays)

    def loss(*given: Any) -> Any:
        named = dict(zip(case.per_label, given[count:], strict=True))
        return case.loss(*given[:count], **case.keywords, **named)

    by_row = not case.across_batch and not case.per_label
    twice = case.takes_forward_mode
    return Subject(case.id, loss, (*arrays, *extra), by_row=by_row, twice=twice, case=case)


# one case of each loss and kind of arrays
LOSSES = [of_case(c) for c in {(c.loss, c.arrays): c for c in reversed(CASES)}.values()]

RNG = np.random.default_rng(7)
SCORES = RNG.normal(size=(6, 7)) * 3
TARGETS = (RNG.random((6, 7)) < 0.4).astype(float)
TARGETS[1:4, 2] = 1.0
LABELS = np.array([0, 2, 3, 6, 2, 0])
COUNTS = np.array([40.0, 3.0, 0.0, 7.0, 21.0, 1.0, 5.0])
NOISE = RNG.normal(size=(6, 7, 4))
IDS = np.array([[2, 0, -1], [1, 5, 6], [3, -1, -1], [0, 1, 2], [6, -1, -1], [-1, -1, -1]])
ONES_WHERE_IDS = np.broadcast_to((IDS[:, :1] >= 0) * 1.0, (6, 7)).copy()
STEPS = RNG.normal(size=(6, 4, 8))
KEYS = RNG.normal(size=(5, 7))
KEY_TARGETS = (RNG.random((5, 7)) < 0.5).astype(float)
KEY_WHERE = np.array([True, True, False, True, True])
KEPT = KEY_TARGETS, KEY_WHERE
WHERE = RNG.random((6, 7)) < 0.7


def _with_keys(loss: Any) -> Callable[..., Any]:
    def run(points: Any, targets: Any, keys: Any, key_targets: Any, key_where: Any) -> Any:
        return loss(points, targets, keys=keys, key_targets=key_targets, key_where=key_where)

    return run


def _two_heads(softmax_logits: Any, multilabel_logits: Any, labels: Any) -> Any:
    return ml.average_k_two_head(softmax_logits, multilabel_logits, labels, 2.5)


def _label_set_sequence(steps: Any, targets: Any, ids: Any) -> Any:
    return ml.label_set_sequence(steps, targets, ids)


def _queue(points: Any, targets: Any, more: Any, more_targets: Any) -> Any:
    """The loss of a batch among the rows of an earlier one."""
    queue = ml.enqueue(ml.init_queue(8, 7, 7, like=points), more, more_targets)
    return ml.supcon(
        points, targets, keys=queue.embeddings, key_targets=queue.targets,
        key_where=ml.queue_mask(queue),
    )  # fmt: skip


def _sampled(function: Any) -> Callable[..., Any]:
    return lambda scores, noise: function(scores, 3, noise=noise, sigma=0.5)


def _exact(function: Any) -> Callable[..., Any]:
    return lambda scores: function(scores, 3, method="exact", sigma=0.5)


def _exact_of_many(scores: Any) -> Any:
    """With classes that are not taken one by one."""
    return ml.perturbed_kth_largest(scores, 2, method="exact", num_candidates=20)


TABLE = ml.LabelPowerset(np.tri(7, dtype=bool))


HIERARCHY = ml.Hierarchy(np.array([[1, 0], [2, 0], [3, 1], [4, 1], [5, 2], [6, 5], [6, 3]]), 7)


def _masked_max_constraint(scores: Any, targets: Any, where: Any) -> Any:
    return ml.max_constraint(scores, targets, HIERARCHY, where=where)


def _adjusted(scores: Any, labels: Any, counts: Any) -> Any:
    return ml.softmax_cross_entropy(ml.logit_adjust(scores, counts), labels)


def _smoothed(scores: Any, targets: Any) -> Any:
    return ml.masked_mean(ml.zlpr(scores, ml.smooth_targets(targets, 0.1)))


_across = partial(Subject, by_row=False)
# values alone: sets, weights and metrics
_plain = partial(Subject, has_gradient=False, by_row=False)
_scored = SCORES, TARGETS

OTHERS = [
    _across("soft_f1", ml.soft_f1, _scored),
    _across("sigmoid_f1", ml.sigmoid_f1, _scored),
    _across("tversky", ml.tversky, _scored),
    _across("contrastive", ml.contrastive, (SCORES, np.abs(RNG.normal(size=(6, 6))))),
    _across("supcon-keys", _with_keys(ml.supcon), (*_scored, KEYS, *KEPT)),
    _across("mulsupcon-keys", _with_keys(ml.mulsupcon), (*_scored, KEYS, *KEPT)),
    _across("queue", _queue, (*_scored, KEYS, KEY_TARGETS)),
    _across("average_k_two_head", _two_heads, (SCORES, SCORES[::-1].copy(), LABELS)),
    _across("masked_mean", _smoothed, _scored),
    _across("logit_adjust", _adjusted, (SCORES, LABELS, COUNTS + 1)),
    Subject("label_powerset", ml.label_powerset, (SCORES, LABELS)),
    Subject("label_sequence", ml.label_sequence, (STEPS, IDS)),
    Subject("label_set_sequence", _label_set_sequence, (STEPS, ONES_WHERE_IDS, IDS)),
    *[
        Subject(f"{f.__name__}-{method}", make(f), arrays, twice=method == "exact")
        for f in (ml.perturbed_kth_largest, ml.perturbed_top_k_sum)
        for method, make, arrays in (
            ("sample", _sampled, (SCORES, NOISE)), ("exact", _exact, (SCORES,)))
    ],
    Subject("perturbed_kth_largest-many", _exact_of_many, (RNG.normal(size=(2, 40)) * 3,),
            twice=False),
    _across("LabelPowerset.marginals", TABLE.marginals, (SCORES,)),
    Subject("Hierarchy.coherent", HIERARCHY.coherent, (SCORES,)),
    Subject("max_constraint-where", _masked_max_constraint, (*_scored, WHERE)),
    _plain("Hierarchy.closure", HIERARCHY.closure, (TARGETS > 0.5,)),
    _plain("LabelPowerset.decode", TABLE.decode, (LABELS,)),
    _plain("perturbed_top_k_mask-sample", _sampled(ml.perturbed_top_k_mask), (SCORES, NOISE)),
    _plain("perturbed_top_k_mask-exact", _exact(ml.perturbed_top_k_mask), (SCORES,)),
    _plain("multi_hot", lambda ids: ml.multi_hot(ids, 7), (IDS,)),
    _plain("known", lambda y: ml.known(y), (TARGETS,)),
    _plain("label_ids", lambda y: ml.label_ids(y, 7), (TARGETS,)),
    _plain("order_labels", lambda y, n: ml.order_labels(y, n, 7), (TARGETS, COUNTS)),
    _plain("jaccard_weights", ml.jaccard_weights, (TARGETS,)),
    _plain("overlap_weights", ml.overlap_weights, (TARGETS,)),
    _plain("valid_anchors", ml.valid_anchors, (TARGETS,)),
    _plain("effective_number_weights", ml.effective_number_weights, (COUNTS,)),
    _plain("inverse_frequency_weights", ml.inverse_frequency_weights, (COUNTS,)),
    _plain("balanced_pos_weights", lambda n: ml.balanced_pos_weights(n, 50), (COUNTS,)),
    _plain("ldam_margins", ml.ldam_margins, (COUNTS,)),
    _plain("average_k_threshold", lambda s: ml.average_k_threshold(s, 2.5), (SCORES,)),
    _plain("average_k_pseudo_labels", lambda s, y: ml.average_k_pseudo_labels(s, y, 2.5),
           (SCORES, LABELS)),
    _plain("predict_threshold", ml.predict_threshold, (SCORES,)),
    _plain("predict_top_k", lambda s: ml.predict_top_k(s, 3), (SCORES,)),
    _plain("predict_average_k", lambda s: ml.predict_average_k(s, 0.3), (SCORES,)),
    _plain("predict_expected_f", ml.predict_expected_f, (SCORES,)),
    _plain("conformal_threshold", partial(ml.conformal_threshold, recall=0.5), _scored),
    _plain("fit_temperature", ml.fit_temperature, _scored),
    _plain("tune_thresholds", ml.tune_thresholds, _scored),
    _plain("tune_thresholds-micro", partial(ml.tune_thresholds, average="micro"), _scored),
    *[
        _plain(f.__name__, f, (TARGETS[::-1] > 0.5, TARGETS))
        for f in (metrics.hamming_loss, metrics.subset_accuracy, metrics.f1_score,
                  metrics.jaccard_score, metrics.precision_score, metrics.recall_score)
    ],
    _plain("mean_set_size", metrics.mean_set_size, (TARGETS > 0.5,)),
    _plain("set_size_histogram", metrics.set_size_histogram, (TARGETS > 0.5,)),
    *[
        _plain(f.__name__, f, _scored)
        for f in (metrics.one_error, metrics.average_precision, metrics.roc_auc,
                  metrics.ranking_loss, metrics.label_ranking_average_precision,
                  metrics.coverage_error)
    ],
    *[
        _plain(f.__name__, lambda s, y, f=f: f(s, y, 3), _scored)
        for f in (metrics.precision_at_k, metrics.recall_at_k, metrics.ndcg_at_k)
    ],
    _plain("top_k_accuracy", lambda s, y: metrics.top_k_accuracy(s, y, 3), (SCORES, LABELS)),
    _plain("average_k_accuracy", lambda s, y: metrics.average_k_accuracy(s, y, 0.3),
           (SCORES, LABELS)),
    _plain("class_mean", lambda x, y: metrics.class_mean(x, y, 7), (SCORES[:, 0], LABELS)),
    _plain("expected_calibration_error", metrics.expected_calibration_error,
           (1 / (1 + np.exp(-SCORES)), TARGETS)),
    _plain("label_propensities", lambda n: metrics.label_propensities(n, 50), (COUNTS,)),
    _plain("propensity_scored_precision_at_k",
           lambda s, y, p: metrics.propensity_scored_precision_at_k(s, y, 3, p),
           (*_scored, (COUNTS + 1) / 50)),
]  # fmt: skip
SUBJECTS = LOSSES + OTHERS
