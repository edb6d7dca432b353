"""The one list of losses under test: a new loss is a new entry, an oracle, and no more."""

from __future__ import annotations

from functools import cache

import mlc_losses as ml
from tests.losses import (
    cases_average_k,
    cases_contrastive,
    cases_hierarchy,
    cases_label_ranking,
    cases_top_k,
    oracles,
    oracles_ranking,
    oracles_sets,
)
from tests.support.case import (
    Case,
    bounded,
    hard_bool,
    one_class,
    one_distribution,
    soft,
    soft_with_weights,
    two_logits,
    two_logits_and_targets,
)


def binary_cross_entropy_by_cell(logits, pos_weight, label_weights, targets, **keywords):
    """With weights for each cell, which a case holds by position."""
    return ml.binary_cross_entropy(
        logits, targets, pos_weight=pos_weight, label_weights=label_weights, **keywords
    )


binary_cross_entropy_by_cell.__name__ = "binary_cross_entropy"


CASES = [
    Case(ml.zlpr, oracles.zlpr),
    Case(ml.zlpr, oracles.zlpr, hard_bool),
    Case(ml.zlpr, oracles.zlpr, soft),
    Case(ml.zlpr, oracles.zlpr, soft, {"threshold": -0.7}),
    Case(ml.zlpr_kl, oracles.zlpr_kl, two_logits, right_infinity_is_deletion=False,
         takes_targets=False),
    Case(ml.zlpr_kl, oracles.zlpr_kl, two_logits, {"scale": 2.0},
         right_infinity_is_deletion=False, takes_targets=False),
    Case(ml.r_drop, oracles.r_drop, two_logits_and_targets, {"alpha": 3.0},
         right_infinity_is_deletion=False),
    Case(ml.binary_cross_entropy, oracles.binary_cross_entropy),
    Case(ml.binary_cross_entropy, oracles.binary_cross_entropy, soft,
         per_label=("pos_weight", "label_weights")),
    Case(ml.binary_cross_entropy, oracles.binary_cross_entropy, soft,
         {"pos_weight": 2.5, "label_weights": 0.4}),
    Case(binary_cross_entropy_by_cell, oracles.binary_cross_entropy_by_cell, soft_with_weights,
         right_infinity_is_deletion=False),
    Case(ml.multilabel_soft_margin, oracles.multilabel_soft_margin, per_label=("label_weights",),
         right_infinity_is_deletion=False),
    Case(ml.focal, oracles.focal),
    Case(ml.focal, oracles.focal, keywords={"gamma": 0.5, "alpha": 0.25}),
    Case(ml.poly, oracles.poly),
    Case(ml.poly, oracles.poly, keywords={"epsilon": -0.5, "gamma": 2.0, "alpha": 0.25}),
    Case(ml.asymmetric, oracles.asymmetric),
    Case(ml.asymmetric, oracles.asymmetric, keywords={"gamma_neg": 0.5, "margin": 0.0}),
    Case(ml.asymmetric, oracles.asymmetric, keywords={"gamma_pos": 0.0, "margin": 0.2}),
    Case(ml.hill, oracles.hill),
    Case(ml.hill, oracles.hill, keywords={"margin": 0.0, "gamma": 0.5, "lam": 2.0}),
    Case(ml.lsep, oracles_ranking.lsep),
    Case(ml.lsep, oracles_ranking.lsep, hard_bool),
    Case(ml.pairwise_hinge, oracles_ranking.pairwise_hinge),
    Case(ml.pairwise_hinge, oracles_ranking.pairwise_hinge,
         keywords={"margin": 0.3, "normalize": True}, right_infinity_is_deletion=False),
    Case(ml.multilabel_margin, oracles_ranking.multilabel_margin,
         right_infinity_is_deletion=False),
    # exponential: its derivatives differ by more digits than a difference has, and end at inf
    Case(ml.bp_mll, oracles_ranking.bp_mll, bounded, right_infinity_is_deletion=False,
         derivative_at_infinity=False, bounded_derivative=False, hard_sizes=(0.0,)),
    Case(ml.warp, oracles_ranking.warp),
    Case(ml.warp, oracles_ranking.warp, hard_bool, {"margin": 0.3}),
    Case(ml.calibrated_ranking, oracles_ranking.calibrated_ranking),
    Case(ml.calibrated_ranking, oracles_ranking.calibrated_ranking,
         keywords={"threshold": -0.7}),
    Case(ml.distributional_ranking, oracles_ranking.distributional_ranking,
         right_infinity_is_deletion=False),
    Case(ml.distributional_ranking, oracles_ranking.distributional_ranking,
         keywords={"margin": 0.1, "lambda_pos": 0.2, "lambda_neg": 0.5, "slope": 2.0,
                   "scale": 1.5},
         right_infinity_is_deletion=False),
    Case(ml.two_way, oracles_ranking.two_way, right_infinity_is_deletion=False,
         derivative_at_infinity=False, across_batch=True),
    Case(ml.two_way, oracles_ranking.two_way,
         keywords={"temperature_pos": 2.0, "temperature_neg": 0.5},
         right_infinity_is_deletion=False, derivative_at_infinity=False, across_batch=True),
    # quadratic, and far logits are out of its domain
    Case(ml.circle, oracles_ranking.circle, bounded, {"gamma": 8.0},
         right_infinity_is_deletion=False, derivative_at_infinity=False,
         logits_name="similarities", fixed_weights=True, hard_sizes=(0.0, 80.0)),
    Case(ml.circle, oracles_ranking.circle, bounded, {"margin": 0.4, "gamma": 2.0},
         right_infinity_is_deletion=False, derivative_at_infinity=False,
         logits_name="similarities", fixed_weights=True, hard_sizes=(0.0, 80.0)),
    Case(ml.softmax_cross_entropy, oracles_ranking.softmax_cross_entropy, one_class),
    Case(ml.softmax_cross_entropy, oracles_ranking.softmax_cross_entropy, one_class,
         {"label_smoothing": 0.1}, derivative_at_infinity=False),
    Case(ml.softmax_cross_entropy, oracles_ranking.softmax_cross_entropy, one_class,
         {"label_smoothing": 0.2, "z_loss": 0.01}, per_label=("class_weights",),
         right_infinity_is_deletion=False, derivative_at_infinity=False),
    Case(ml.softmax_cross_entropy, oracles_ranking.softmax_cross_entropy, one_distribution,
         {"label_smoothing": 0.1, "z_loss": 0.01}, per_label=("class_weights",),
         right_infinity_is_deletion=False, derivative_at_infinity=False, takes_targets=False,
         hard_sizes=(0.0, 80.0)),  # a difference of squares of 1e4 has lost its digits
    Case(ml.softmax_focal, oracles_ranking.softmax_focal, one_class),
    Case(ml.softmax_focal, oracles_ranking.softmax_focal, one_class, {"gamma": 0.5}),
    Case(ml.ldam, oracles_ranking.ldam, one_class, {"scale": 3.0}, per_label=("margins",)),
    Case(ml.multilabel_softmax, oracles_ranking.multilabel_softmax,
         right_infinity_is_deletion=False, derivative_at_infinity=False),
    # a relevant label has a part in the weights of the others
    Case(ml.distribution_balanced, oracles_sets.distribution_balanced,
         keywords={"num_examples": 100.0}, per_label=("counts",),
         right_infinity_is_deletion=False),
    Case(ml.distribution_balanced, oracles_sets.distribution_balanced,
         keywords={"num_examples": 9.0, "alpha": 0.3, "beta": 4.0, "mu": 0.3, "lam": 5.0,
                   "kappa": 0.2, "gamma": 0.5, "balance": 1.5}, per_label=("counts",),
         right_infinity_is_deletion=False),
    *cases_top_k.CASES,
    *cases_average_k.CASES,
    *cases_contrastive.CASES,
    *cases_hierarchy.CASES,
    *cases_label_ranking.CASES,
]  # fmt: skip


@cache
def cases_of() -> dict[str, list[Case]]:
    """The cases of each loss, by its name."""
    found: dict[str, list[Case]] = {}
    for case in CASES:
        found.setdefault(case.loss.__name__, []).append(case)
    return found
