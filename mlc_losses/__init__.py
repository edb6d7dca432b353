"""Losses for examples with several labels, and for models that may answer with several guesses.

A name is imported from its room when it is first asked for: the import of the package stays under
a few milliseconds, however many families there are.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlc_losses import metrics as metrics
    from mlc_losses.decide import (
        predict_average_k,
        predict_threshold,
        predict_top_k,
        tune_thresholds,
    )
    from mlc_losses.losses.average_k import (
        average_k_pseudo_labels,
        average_k_threshold,
        average_k_two_head,
    )
    from mlc_losses.losses.binary import (
        asymmetric,
        binary_cross_entropy,
        focal,
        hill,
        multilabel_soft_margin,
        poly,
    )
    from mlc_losses.losses.contrastive import contrastive, mulsupcon, supcon
    from mlc_losses.losses.contrastive_prototypes import msc, mscrg, prototype_contrastive
    from mlc_losses.losses.contrastive_weights import (
        jaccard_weights,
        overlap_weights,
        valid_anchors,
    )
    from mlc_losses.losses.imbalance import (
        balanced_pos_weights,
        distribution_balanced,
        effective_number_weights,
        inverse_frequency_weights,
        ldam_margins,
        logit_adjust,
    )
    from mlc_losses.losses.key_queue import enqueue, init_queue, queue_mask
    from mlc_losses.losses.metric_learning import lifted_structure, n_pair
    from mlc_losses.losses.overlap import sigmoid_f1, soft_f1, tversky
    from mlc_losses.losses.partial import (
        assume_negative,
        assume_negative_smoothed,
        entropy_maximization,
        splc,
        weak_assume_negative,
    )
    from mlc_losses.losses.partial_batch import expected_positive, large_loss, role
    from mlc_losses.losses.powerset import LabelPowerset, label_powerset
    from mlc_losses.losses.ranking import (
        bp_mll,
        calibrated_ranking,
        lsep,
        multilabel_margin,
        pairwise_hinge,
        warp,
    )
    from mlc_losses.losses.ranking_sets import circle, distributional_ranking, two_way
    from mlc_losses.losses.sequence import label_sequence, label_set_sequence, order_labels
    from mlc_losses.losses.softmax import (
        ldam,
        multilabel_softmax,
        softmax_cross_entropy,
        softmax_focal,
    )
    from mlc_losses.losses.top_k import noised_top_k_hinge, smooth_top_k_hinge, top_k_hinge
    from mlc_losses.losses.zlpr import r_drop, zlpr, zlpr_kl
    from mlc_losses.perturbed.operator import (
        perturbed_kth_largest,
        perturbed_top_k_mask,
        perturbed_top_k_sum,
    )
    from mlc_losses.scale.label_blocks import label_block_loss
    from mlc_losses.scale.linear import linear_loss
    from mlc_losses.scale.predict import predict_linear_top_k
    from mlc_losses.scale.sharded import sharded
    from mlc_losses.targets import (
        check_targets,
        known,
        label_ids,
        masked_mean,
        multi_hot,
        smooth_targets,
    )

_ROOMS = {
    "decide": "predict_average_k predict_threshold predict_top_k tune_thresholds",
    "losses.average_k": "average_k_pseudo_labels average_k_threshold average_k_two_head",
    "losses.binary": "asymmetric binary_cross_entropy focal hill multilabel_soft_margin poly",
    "losses.contrastive": "contrastive mulsupcon supcon",
    "losses.contrastive_prototypes": "msc mscrg prototype_contrastive",
    "losses.contrastive_weights": "jaccard_weights overlap_weights valid_anchors",
    "losses.imbalance": "balanced_pos_weights distribution_balanced effective_number_weights "
    "inverse_frequency_weights ldam_margins logit_adjust",
    "losses.key_queue": "enqueue init_queue queue_mask",
    "losses.metric_learning": "lifted_structure n_pair",
    "losses.overlap": "sigmoid_f1 soft_f1 tversky",
    "losses.partial": "assume_negative assume_negative_smoothed entropy_maximization splc "
    "weak_assume_negative",
    "losses.partial_batch": "expected_positive large_loss role",
    "losses.powerset": "LabelPowerset label_powerset",
    "losses.ranking": "bp_mll calibrated_ranking lsep multilabel_margin pairwise_hinge warp",
    "losses.ranking_sets": "circle distributional_ranking two_way",
    "losses.sequence": "label_sequence label_set_sequence order_labels",
    "losses.softmax": "ldam multilabel_softmax softmax_cross_entropy softmax_focal",
    "losses.top_k": "noised_top_k_hinge smooth_top_k_hinge top_k_hinge",
    "losses.zlpr": "r_drop zlpr zlpr_kl",
    "perturbed.operator": "perturbed_kth_largest perturbed_top_k_mask perturbed_top_k_sum",
    "scale.label_blocks": "label_block_loss",
    "scale.linear": "linear_loss",
    "scale.predict": "predict_linear_top_k",
    "scale.sharded": "sharded",
    "targets": "check_targets known label_ids masked_mean multi_hot smooth_targets",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "LabelPowerset",
    "assume_negative",
    "assume_negative_smoothed",
    "asymmetric",
    "average_k_pseudo_labels",
    "average_k_threshold",
    "average_k_two_head",
    "balanced_pos_weights",
    "binary_cross_entropy",
    "bp_mll",
    "calibrated_ranking",
    "check_targets",
    "circle",
    "contrastive",
    "distribution_balanced",
    "distributional_ranking",
    "effective_number_weights",
    "enqueue",
    "entropy_maximization",
    "expected_positive",
    "focal",
    "hill",
    "init_queue",
    "inverse_frequency_weights",
    "jaccard_weights",
    "known",
    "label_block_loss",
    "label_ids",
    "label_powerset",
    "label_sequence",
    "label_set_sequence",
    "large_loss",
    "ldam",
    "ldam_margins",
    "lifted_structure",
    "linear_loss",
    "logit_adjust",
    "lsep",
    "masked_mean",
    "metrics",
    "msc",
    "mscrg",
    "mulsupcon",
    "multi_hot",
    "multilabel_margin",
    "multilabel_soft_margin",
    "multilabel_softmax",
    "n_pair",
    "noised_top_k_hinge",
    "order_labels",
    "overlap_weights",
    "pairwise_hinge",
    "perturbed_kth_largest",
    "perturbed_top_k_mask",
    "perturbed_top_k_sum",
    "poly",
    "predict_average_k",
    "predict_linear_top_k",
    "predict_threshold",
    "predict_top_k",
    "prototype_contrastive",
    "queue_mask",
    "r_drop",
    "role",
    "sharded",
    "sigmoid_f1",
    "smooth_targets",
    "smooth_top_k_hinge",
    "soft_f1",
    "softmax_cross_entropy",
    "softmax_focal",
    "splc",
    "supcon",
    "top_k_hinge",
    "tune_thresholds",
    "tversky",
    "two_way",
    "valid_anchors",
    "warp",
    "weak_assume_negative",
    "zlpr",
    "zlpr_kl",
]


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return import_module("mlc_losses.metrics")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"mlc_losses.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
