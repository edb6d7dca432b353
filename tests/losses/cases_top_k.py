"""Cases of the losses for one label and K guesses."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

import mlc_losses as ml
from tests.losses import oracles_top_k
from tests.support.backends import xp
from tests.support.case import Case, one_class

SAMPLES = (1.0, -0.5, 0.25)


@wraps(ml.noised_top_k_hinge)
def noised_top_k_hinge(scores: Any, labels: Any, *, offsets: Any, **keywords: Any) -> Any:
    """With noise made of one number per class, so that classes can be deleted and moved."""
    noise = xp.stack([offsets * factor for factor in SAMPLES], axis=-1)
    noise = xp.broadcast_to(noise, (*labels.shape, *noise.shape))
    return ml.noised_top_k_hinge(scores, labels, noise=noise, **keywords)


def noised_oracle(s: np.ndarray, label: int, offsets: np.ndarray, **keywords: Any) -> float:
    margins = keywords.pop("margins", None)
    margin = 1.0 if margins is None or label < 0 else margins[label]
    noise = offsets[:, None] * np.array(SAMPLES)
    return oracles_top_k.noised_top_k_hinge(s, label, noise, margin=margin, **keywords)


def _case(*arguments: Any, **keywords: Any) -> Case:
    case = Case(*arguments, arrays=one_class, logits_name="scores", **keywords)
    k = case.keywords["k"]
    return replace(case, fewest_labels=k + 1)


# where scores tie, which of them has the derivative is not defined
NO_TIES = ()
CASES = [
    *[
        _case(ml.top_k_hinge, oracles_top_k.top_k_hinge, keywords={"k": 3, "kind": kind},
              hard_sizes=NO_TIES)
        for kind in ("calibrated", "off_label", "convex", "convex_beta")
    ],
    _case(ml.smooth_top_k_hinge, oracles_top_k.smooth_top_k_hinge,
          keywords={"k": 3, "tau": 0.3, "margin": 0.5}),
    # with k = 1 a rival at inf leaves no finite derivative to share
    _case(ml.smooth_top_k_hinge, oracles_top_k.smooth_top_k_hinge, keywords={"k": 1},
          derivative_at_infinity=False),
    _case(noised_top_k_hinge, noised_oracle, keywords={"k": 2, "sigma": 0.5, "scale": 3.0},
          per_label=("offsets", "margins"), hard_sizes=NO_TIES, takes_forward_mode=False),
]  # fmt: skip
