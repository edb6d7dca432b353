"""Losses for examples with several labels, and for models that may answer with several guesses."""

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
from mlc_losses.targets import check_targets, label_ids, masked_mean, multi_hot, smooth_targets

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
    "label_ids",
    "label_powerset",
    "label_sequence",
    "label_set_sequence",
    "ldam",
    "ldam_margins",
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
    "predict_threshold",
    "predict_top_k",
    "r_drop",
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
