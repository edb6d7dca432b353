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
    from mlc_losses.losses.binary import (
        asymmetric,
        binary_cross_entropy,
        focal,
        hill,
        multilabel_soft_margin,
        poly,
    )
    from mlc_losses.losses.imbalance import (
        balanced_pos_weights,
        distribution_balanced,
        effective_number_weights,
        inverse_frequency_weights,
        ldam_margins,
        logit_adjust,
    )
    from mlc_losses.losses.overlap import sigmoid_f1, soft_f1, tversky
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
    from mlc_losses.losses.zlpr import r_drop, zlpr, zlpr_kl
    from mlc_losses.scale.label_blocks import label_block_loss
    from mlc_losses.scale.linear import linear_loss
    from mlc_losses.scale.predict import predict_linear_top_k
    from mlc_losses.scale.sharded import sharded
    from mlc_losses.targets import check_targets, label_ids, masked_mean, multi_hot, smooth_targets

_ROOMS = {
    "decide": "predict_average_k predict_threshold predict_top_k tune_thresholds",
    "losses.binary": "asymmetric binary_cross_entropy focal hill multilabel_soft_margin poly",
    "losses.imbalance": "balanced_pos_weights distribution_balanced effective_number_weights "
    "inverse_frequency_weights ldam_margins logit_adjust",
    "losses.overlap": "sigmoid_f1 soft_f1 tversky",
    "losses.powerset": "LabelPowerset label_powerset",
    "losses.ranking": "bp_mll calibrated_ranking lsep multilabel_margin pairwise_hinge warp",
    "losses.ranking_sets": "circle distributional_ranking two_way",
    "losses.sequence": "label_sequence label_set_sequence order_labels",
    "losses.softmax": "ldam multilabel_softmax softmax_cross_entropy softmax_focal",
    "losses.zlpr": "r_drop zlpr zlpr_kl",
    "scale.label_blocks": "label_block_loss",
    "scale.linear": "linear_loss",
    "scale.predict": "predict_linear_top_k",
    "scale.sharded": "sharded",
    "targets": "check_targets label_ids masked_mean multi_hot smooth_targets",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "LabelPowerset",
    "asymmetric",
    "balanced_pos_weights",
    "binary_cross_entropy",
    "bp_mll",
    "calibrated_ranking",
    "check_targets",
    "circle",
    "distribution_balanced",
    "distributional_ranking",
    "effective_number_weights",
    "focal",
    "hill",
    "inverse_frequency_weights",
    "label_block_loss",
    "label_ids",
    "label_powerset",
    "label_sequence",
    "label_set_sequence",
    "ldam",
    "ldam_margins",
    "linear_loss",
    "logit_adjust",
    "lsep",
    "masked_mean",
    "metrics",
    "multi_hot",
    "multilabel_margin",
    "multilabel_soft_margin",
    "multilabel_softmax",
    "order_labels",
    "pairwise_hinge",
    "poly",
    "predict_average_k",
    "predict_linear_top_k",
    "predict_threshold",
    "predict_top_k",
    "r_drop",
    "sharded",
    "sigmoid_f1",
    "smooth_targets",
    "soft_f1",
    "softmax_cross_entropy",
    "softmax_focal",
    "tune_thresholds",
    "tversky",
    "two_way",
    "warp",
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
