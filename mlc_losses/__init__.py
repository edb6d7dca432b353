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
from mlc_losses.losses.zlpr import r_drop, zlpr, zlpr_kl
from mlc_losses.targets import check_targets, label_ids, masked_mean, multi_hot, smooth_targets

__all__ = [
    "asymmetric",
    "binary_cross_entropy",
    "check_targets",
    "focal",
    "hill",
    "label_ids",
    "masked_mean",
    "metrics",
    "multi_hot",
    "multilabel_soft_margin",
    "poly",
    "predict_average_k",
    "predict_threshold",
    "predict_top_k",
    "r_drop",
    "smooth_targets",
    "tune_thresholds",
    "zlpr",
    "zlpr_kl",
]
