"""Metrics the papers report, equal to scikit-learn's where it has them; not to train on."""

from mlc_losses.metrics.at_k import ndcg_at_k, one_error, precision_at_k, recall_at_k
from mlc_losses.metrics.calibration import expected_calibration_error
from mlc_losses.metrics.classes import average_k_accuracy, class_mean, top_k_accuracy
from mlc_losses.metrics.curves import average_precision, roc_auc
from mlc_losses.metrics.propensity import label_propensities, propensity_scored_precision_at_k
from mlc_losses.metrics.ranking import coverage_error, label_ranking_average_precision, ranking_loss
from mlc_losses.metrics.set_scores import f1_score, jaccard_score, precision_score, recall_score
from mlc_losses.metrics.sets import hamming_loss, mean_set_size, set_size_histogram, subset_accuracy

__all__ = [
    "average_k_accuracy",
    "average_precision",
    "class_mean",
    "coverage_error",
    "expected_calibration_error",
    "f1_score",
    "hamming_loss",
    "jaccard_score",
    "label_propensities",
    "label_ranking_average_precision",
    "mean_set_size",
    "ndcg_at_k",
    "one_error",
    "precision_at_k",
    "precision_score",
    "propensity_scored_precision_at_k",
    "ranking_loss",
    "recall_at_k",
    "recall_score",
    "roc_auc",
    "set_size_histogram",
    "subset_accuracy",
    "top_k_accuracy",
]
