"""The losses of the explorer page: stops of their hyper-parameters, and the shape of their tables.

What is said of a loss here is where its table may be coarse: which logits it depends on, and where
it has a kink. `test_explorer.py` holds every table to the library, so a wrong word fails there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Options = dict[str, Any]
LABELS = 3


def _nowhere(options: Options) -> list[float]:
    return []


@dataclass(frozen=True)
class Shown:
    """A loss of the page.

    "additive" is a sum of curves, one per label; "differences" depends on the differences of logits
    alone; "full" on all three. "triangles" is a function of differences too, linear between kinks
    at whole numbers.
    """

    name: str
    shape: Literal["additive", "differences", "full", "triangles"]
    stops: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: Options = field(default_factory=dict)
    # the targets are one class id
    classes: bool = False
    # what is predicted: the labels above this logit, or, if None, the highest
    threshold: float | None = 0.0
    # logits go from -reach to reach
    reach: float = 6.0
    # between the nodes of a table
    step: float = 0.2
    # the loss of all labels in another order is the same
    symmetric: bool = True
    # logits at which a curve has a kink or a jump
    breaks: Callable[[Options], list[float]] = _nowhere
    # a margin added while the table is made: a hinge is smooth where it is lifted above 0
    lift: float = 0.0
    # nodes are spaced evenly in the probabilities, not in the logits
    squash: bool = False

    def settings(self) -> list[Options]:
        """Every combination of the stops, the last hyper-parameter fastest."""
        every = itertools.product(*self.stops.values())
        return [dict(zip(self.stops, stops, strict=True)) for stops in every]

    def patterns(self) -> list[tuple[int, ...]]:
        """The targets that have a table; where the order is free, relevant labels first."""
        hot = list(itertools.product((0, 1), repeat=LABELS))
        if self.classes:
            hot = [pattern for pattern in hot if sum(pattern) == 1]
        if self.symmetric:
            hot = [pattern for pattern in hot if pattern == tuple(sorted(pattern, reverse=True))]
        return hot


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


def _margin_of_asymmetric(options: Options) -> list[float]:
    return [_logit(options["margin"])] if options["margin"] > 0.0 else []


GAMMAS = (0.0, 1.0, 2.0, 4.0)
COUNTS = (400, 100, 10)
RANKED: Options = {"shape": "differences", "threshold": None, "step": 0.5}
HINGE: Options = {"shape": "triangles", "threshold": None, "step": 1.0}

ONE_BY_ONE = [
    Shown(
        "binary_cross_entropy", "additive", {"pos_weight": (None, (0.5,) * LABELS, (5.0,) * LABELS)}
    ),
    Shown("multilabel_soft_margin", "additive"),
    Shown("focal", "additive", {"gamma": GAMMAS, "alpha": (None, 0.25, 0.75)}),
    Shown("poly", "additive", {"epsilon": (-1.0, 0.0, 1.0, 2.0), "gamma": (0.0, 2.0)}),
    Shown(
        "asymmetric",
        "additive",
        {"gamma_neg": (0.0, 2.0, 4.0), "gamma_pos": (0.0, 1.0), "margin": (0.0, 0.05)},
        breaks=_margin_of_asymmetric,
    ),
    Shown("hill", "additive", {"margin": (0.0, 1.0, 2.0), "lam": (1.5, 2.0)}),
    Shown(
        "distribution_balanced",
        "additive",
        {"gamma": (0.0, 2.0), "kappa": (0.0, 0.05)},
        fixed={"counts": COUNTS, "num_examples": 1000},
        symmetric=False,
    ),
]

LABEL_SETS = [
    Shown("zlpr", "full", {"threshold": (-2.0, 0.0, 2.0)}, step=0.75),
    Shown("calibrated_ranking", "full", {"threshold": (-2.0, 0.0, 2.0)}, step=0.75),
    Shown(
        "distributional_ranking",
        "full",
        {"margin": (0.25, 0.5, 0.75)},
        step=1 / 16,
        squash=True,
    ),
]

RANKINGS = [
    Shown("lsep", **RANKED),
    Shown("bp_mll", **RANKED | {"reach": 1.0, "step": 0.1}),
    Shown("multilabel_softmax", **RANKED),
    Shown("pairwise_hinge", stops={"margin": (1.0, 2.0), "normalize": (False, True)}, **HINGE),
    Shown("multilabel_margin", **HINGE),
    Shown("warp", stops={"margin": (1.0, 2.0)}, **HINGE),
]

FEW_SEEN = [
    Shown("assume_negative", "additive"),
    Shown("weak_assume_negative", "additive", {"weight": (None, 0.1, 1.0)}),
    Shown("assume_negative_smoothed", "additive", {"epsilon": (0.0, 0.1, 0.3)}),
    # the authors' decision is at a probability of 0.75
    Shown("entropy_maximization", "additive", {"alpha": (0.02, 0.1, 0.2)}, threshold=_logit(0.75)),
    Shown(
        "splc",
        "additive",
        {"tau": (0.6, 0.65), "margin": (0.0, 1.0), "correct": (True, False)},
        breaks=lambda options: [_logit(options["tau"])] if options["correct"] else [],
    ),
]

ONE_CLASS = [
    Shown(
        "softmax_cross_entropy", stops={"label_smoothing": (0.0, 0.1, 0.3)}, classes=True, **RANKED
    ),
    Shown("softmax_focal", stops={"gamma": GAMMAS}, classes=True, **RANKED),
    Shown(
        "ldam",
        stops={"scale": (10.0, 30.0)},
        fixed={"margins": (0.1, 0.2, 0.5)},
        classes=True,
        symmetric=False,
        **RANKED | {"reach": 1.0, "step": 0.04},
    ),
]

GUESSES = [
    Shown(
        "top_k_hinge",
        stops={"k": (1, 2), "kind": ("calibrated", "off_label", "convex", "convex_beta")},
        classes=True,
        **HINGE,
    ),
    Shown(
        "smooth_top_k_hinge", stops={"k": (1, 2), "tau": (0.5, 1.0, 2.0)}, classes=True, **RANKED
    ),
    Shown(
        "noised_top_k_hinge",
        stops={"k": (1, 2), "sigma": (0.3, 1.0, 2.0)},
        fixed={"method": "exact"},
        classes=True,
        lift=50.0,
        **RANKED | {"step": 0.25},
    ),
]

BY_HAND = {
    "One label at a time": ONE_BY_ONE,
    "The whole label set": LABEL_SETS,
    "Ranking of the labels": RANKINGS,
    "Few positives seen": FEW_SEEN,
    "One label, one guess": ONE_CLASS,
    "One label, k guesses": GUESSES,
}
