"""The one list of losses under test: a new loss is a new entry here, an oracle, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracles

import mlc_losses as ml

Arrays = tuple[np.ndarray, ...]


def hard(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Logits and targets in {0, 1}; the first rows have no label and all labels."""
    targets = (rng.random((n, num_labels)) < 0.4).astype(float)
    targets[:1] = 0
    targets[1:2] = 1
    return rng.normal(size=(n, num_labels)) * 3, targets


def hard_bool(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    logits, targets = hard(rng, n, num_labels)
    return logits, targets > 0


def soft(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Logits and targets in [0, 1], both ends included."""
    targets = np.clip(rng.random((n, num_labels)) * 1.4 - 0.2, 0, 1)
    return rng.normal(size=(n, num_labels)) * 3, targets


def two_logits(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    return rng.normal(size=(n, num_labels)) * 3, rng.normal(size=(n, num_labels)) * 3


def two_logits_and_targets(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    logits, targets = hard(rng, n, num_labels)
    return logits, rng.normal(size=(n, num_labels)) * 3, targets


@dataclass(frozen=True)
class Case:
    """A public loss with hyper-parameters, its oracle for one example, and what it promises."""

    loss: Callable[..., Any]
    oracle: Callable[..., float]
    arrays: Callable[[np.random.Generator, int, int], Arrays] = hard
    keywords: dict[str, Any] = field(default_factory=dict)
    # keywords that hold one value per label, drawn anew for each number of labels
    per_label: tuple[str, ...] = ()
    # a label scored right at infinity adds nothing, as if it were not there
    right_infinity_is_deletion: bool = True
    takes_targets: bool = True

    @property
    def id(self) -> str:
        words = [f"{name}={value}" for name, value in self.keywords.items()]
        return "-".join([self.loss.__name__, *words, *self.per_label, self.arrays.__name__])

    def draw(self, seed: int, n: int = 6, num_labels: int = 7) -> tuple[Arrays, dict[str, Any]]:
        """Positional arrays `[n, L]` and keywords, as float64 NumPy."""
        rng = np.random.default_rng(seed)
        arrays = self.arrays(rng, n, num_labels)
        extra = {name: rng.uniform(0.5, 3, num_labels) for name in self.per_label}
        return arrays, {**self.keywords, **extra}

    def expected(self, arrays: Arrays, keywords: dict[str, Any]) -> np.ndarray:
        rows = zip(*arrays, strict=True)
        return np.array([self.oracle(*row, **keywords) for row in rows], dtype=float)


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
]  # fmt: skip
