"""Metrics the papers report, equal to scikit-learn's where it has them; not to train on."""

from mlc_losses.metrics.classes import average_k_accuracy, class_mean, top_k_accuracy
from mlc_losses.metrics.propensity import label_propensities, propensity_scored_precision_at_k
from mlc_losses.metrics.ranking import (
    average_precision,
    coverage_error,
    label_ranking_average_precision,
    ndcg_at_k,
    one_error,
    precision_at_k,
    ranking_loss,
    recall_at_k,
)
from mlc_losses.metrics.sets import (
    f1_score,
    hamming_loss,
    jaccard_score,
    mean_set_size,
    set_size_histogram,
    subset_accuracy,
)

__all__ = [
    "average_k_accuracy",
    "average_precision",
    "class_mean",
    "coverage_error",
    "f1_score",
    "hamming_loss",
    "jaccard_score",
    "label_propensities",
    "label_ranking_average_precision",
    "mean_set_size",
    "ndcg_at_k",
    "one_error",
    "precision_at_k",
    "propensity_scored_precision_at_k",
    "ranking_loss",
    "recall_at_k",
    "set_size_histogram",
    "subset_accuracy",
    "top_k_accuracy",
]
