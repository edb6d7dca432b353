"""The losses compared, and the settings that each of them tries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import mlc_losses
from examples.studies.common.linear import Setting

RATES = (0.01, 0.1)
Loss = Callable[..., Any]


class Method(NamedTuple):
    """A loss at each value of the number it has of its own, by what a table calls that value."""

    losses: Mapping[str, Loss]

    def settings(self) -> list[tuple[str, Setting]]:
        """Eight for every method: what has a number of its own tries fewer weight decays."""
        decays = (0.0, 0.01, 0.03, 0.1) if len(self.losses) == 1 else (0.0, 0.03)
        return [(own, Setting(*pair)) for own in self.losses for pair in product(RATES, decays)]


def alone(loss: Loss, **fixed: Any) -> Method:
    return Method({"": partial(loss, **fixed)})


def tried(loss: Loss, name: str, *numbers: float) -> Method:
    return Method({f"{name} {v:g}": partial(loss, **{name: v}) for v in numbers})


HINGE = "pairwise_hinge(axis=0)"
METHODS = {
    "binary_cross_entropy": alone(mlc_losses.binary_cross_entropy),
    HINGE: alone(mlc_losses.pairwise_hinge, axis=0, normalize=True),
    "smooth_average_precision": tried(mlc_losses.smooth_average_precision, "temperature", 0.1, 1.0),
    "auc_margin": tried(mlc_losses.auc_margin, "margin", 0.5, 1.0),
    "asymmetric": tried(mlc_losses.asymmetric, "gamma_neg", 2.0, 4.0),
    "zlpr": alone(mlc_losses.zlpr),
}
