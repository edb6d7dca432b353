"""The losses of the study, and the ranges that their hyper-parameters are searched in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import mlc_losses


class Range(NamedTuple):
    """Values searched from `low` to `high`; `default` is what the first setting takes."""

    low: float
    high: float
    default: float
    log: bool = False


class Candidate(NamedTuple):
    """`loss(logits, targets, counts, rows, **own)`; counts and rows are of the training part."""

    loss: Callable[..., jax.Array]
    own: Mapping[str, Range] = {}
    decides_at_zero: bool = True


SHARED = {
    "learning_rate": Range(3e-4, 3e-2, 2e-3, log=True),
    "weight_decay": Range(1e-3, 1.0, 1e-2, log=True),
    "dropout": Range(0.0, 0.7, 0.5),
}


def _plain(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def plain(logits: Any, targets: Any, counts: Any, rows: Any, **own: Any) -> jax.Array:
        return loss(logits, targets, **own)

    return plain


def _distribution_balanced(logits: Any, targets: Any, counts: Any, rows: Any, **own: Any) -> Any:
    return mlc_losses.distribution_balanced(logits, targets, counts, rows, **own)


def _balanced(logits: Any, targets: Any, counts: Any, rows: Any, *, power: Any) -> Any:
    weights = mlc_losses.balanced_pos_weights(counts, rows) ** power
    return mlc_losses.binary_cross_entropy(logits, targets, pos_weight=weights)


def _bp_mll_of_tanh(logits: Any, targets: Any, counts: Any, rows: Any) -> Any:
    return mlc_losses.bp_mll(jnp.tanh(logits), targets)  # its paper's outputs are bounded


MAIN = {
    "binary_cross_entropy": Candidate(_plain(mlc_losses.binary_cross_entropy)),
    "zlpr": Candidate(_plain(mlc_losses.zlpr)),
    "focal": Candidate(
        _plain(mlc_losses.focal),
        {"gamma": Range(0.5, 5.0, 2.0), "alpha": Range(0.1, 0.9, 0.25)},
    ),
    "asymmetric": Candidate(
        _plain(mlc_losses.asymmetric),
        {
            "gamma_neg": Range(0.0, 6.0, 4.0),
            "gamma_pos": Range(0.0, 2.0, 1.0),
            "margin": Range(0.0, 0.2, 0.05),
        },
    ),
    "hill": Candidate(
        _plain(mlc_losses.hill),
        {
            "margin": Range(0.0, 1.5, 1.0),
            "gamma": Range(1.0, 3.0, 2.0),
            "lam": Range(1.0, 2.0, 1.5),
        },
    ),
    "distribution_balanced": Candidate(
        _distribution_balanced,
        {
            "kappa": Range(0.0, 0.1, 0.05),
            "lam": Range(1.0, 5.0, 2.0),
            "mu": Range(0.1, 0.3, 0.2),
        },
    ),
    "sigmoid_f1": Candidate(
        _plain(mlc_losses.sigmoid_f1),
        {"slope": Range(0.5, 10.0, 1.0, log=True), "offset": Range(-1.0, 1.0, 0.0)},
    ),
    "two_way": Candidate(
        _plain(mlc_losses.two_way),
        {
            "temperature_pos": Range(1.0, 8.0, 4.0, log=True),
            "temperature_neg": Range(0.5, 4.0, 1.0, log=True),
        },
        decides_at_zero=False,
    ),
    "lsep": Candidate(_plain(mlc_losses.lsep), decides_at_zero=False),
    "pairwise_hinge": Candidate(
        _plain(mlc_losses.pairwise_hinge),
        {"margin": Range(0.1, 4.0, 1.0, log=True)},
        decides_at_zero=False,
    ),
    "multilabel_softmax": Candidate(_plain(mlc_losses.multilabel_softmax), decides_at_zero=False),
}
APPENDIX = {
    "balanced binary_cross_entropy": Candidate(_balanced, {"power": Range(0.1, 1.0, 1.0)}),
    "poly": Candidate(_plain(mlc_losses.poly), {"epsilon": Range(-1.0, 6.0, 1.0)}),
    "calibrated_ranking": Candidate(_plain(mlc_losses.calibrated_ranking)),
    "warp": Candidate(
        _plain(mlc_losses.warp),
        {"margin": Range(0.1, 4.0, 1.0, log=True)},
        decides_at_zero=False,
    ),
    "bp_mll of tanh": Candidate(_bp_mll_of_tanh, decides_at_zero=False),
    "distributional_ranking": Candidate(
        _plain(mlc_losses.distributional_ranking),
        {"margin": Range(0.1, 1.0, 0.5), "lambda_neg": Range(0.02, 1.0, 0.0798, log=True)},
        decides_at_zero=False,
    ),
    "tversky": Candidate(
        _plain(mlc_losses.tversky), {"alpha": Range(0.1, 0.9, 0.5), "beta": Range(0.1, 0.9, 0.5)}
    ),
    "auc_margin": Candidate(_plain(mlc_losses.auc_margin), decides_at_zero=False),
    "smooth_average_precision": Candidate(
        _plain(mlc_losses.smooth_average_precision),
        {"temperature": Range(0.01, 1.0, 0.01, log=True)},
        decides_at_zero=False,
    ),
}
ALL = MAIN | APPENDIX


def space(name: str) -> dict[str, Range]:
    """Everything that is searched for a loss."""
    return SHARED | {f"loss.{key}": found for key, found in ALL[name].own.items()}


def defaults(name: str) -> dict[str, float]:
    return {key: found.default for key, found in space(name).items()}
