"""Cases of the losses for one label and K guesses on average, or few labels seen."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlc_losses as ml
from tests.losses import oracles_average_k as oracles
from tests.support.case import Case, hard_bool, one_class, two_logits_and_targets


def average_k_two_head(logits: Any, labels: Any, *, share: float, **keywords: Any) -> Any:
    """The loss with the same logits for both heads, so that its gradient is that of both; k is
    that share of the way from 1 to L.
    """
    k = 1 + share * (np.shape(logits)[-1] - 1)
    return ml.average_k_two_head(logits, logits, labels, k, **keywords)


def two_head_case(**keywords: Any) -> Case:
    return Case(average_k_two_head, oracles.two_heads_alike, one_class, keywords,
                right_infinity_is_deletion=False, derivative_at_infinity=False, across_batch=True,
                logits_name="softmax_logits", fixed_weights=True, follows_size=True)  # fmt: skip


def batch_case(loss: Any, oracle: Any, arrays: Any, fixed_weights: bool, **keywords: Any) -> Case:
    return Case(loss, oracle, arrays, keywords, right_infinity_is_deletion=False,
                derivative_at_infinity=False, across_batch=True,
                fixed_weights=fixed_weights)  # fmt: skip


CASES: list[Case] = [
    two_head_case(share=0.3),
    two_head_case(share=0.25, rule="threshold", positive_weight=2.0, pseudo_weight=0.5,
                  negative_weight=0.25, head_weight=0.1),
    Case(ml.assume_negative, oracles.assume_negative),
    # L, a weight, is one less without it
    Case(ml.weak_assume_negative, oracles.weak_assume_negative, right_infinity_is_deletion=False),
    Case(ml.weak_assume_negative, oracles.weak_assume_negative, hard_bool, {"weight": 0.3}),
    # a smoothed target is never right at infinity
    Case(ml.assume_negative_smoothed, oracles.assume_negative_smoothed,
         right_infinity_is_deletion=False),
    Case(ml.entropy_maximization, oracles.entropy_maximization),
    Case(ml.splc, oracles.splc),
    Case(ml.splc, oracles.splc, keywords={"tau": 0.9, "margin": -0.5, "gamma": 0.5}),
    batch_case(ml.expected_positive, oracles.expected_positive, hard_bool, False,
               expected=1.5, weight=0.7),
    batch_case(ml.role, oracles.role, two_logits_and_targets, True, expected=1.5),
    batch_case(ml.large_loss, oracles.large_loss, hard_bool, True, fraction=0.2),
    batch_case(ml.large_loss, oracles.large_loss, hard_bool, True, fraction=0.1, mode="correct"),
]  # fmt: skip
