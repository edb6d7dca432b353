"""Which losses the explorer shows: those with stops of their own, and every other that it can."""

from __future__ import annotations

import inspect

import numpy as np

import mlc_losses as ml
from docs.site.explorer_losses import BY_HAND, LABELS, Options, Shown
from tests.losses.cases import cases_of
from tests.support import case

_MOVED_BY_LOGITS = (case.hard, case.hard_bool, case.soft, case.one_class)
_DRAWS = 64


def _at_defaults() -> list[Shown]:
    """The losses of one example that need logits and targets alone, at their defaults."""
    by_hand = {shown.name for group in BY_HAND.values() for shown in group}
    return [
        Shown(name, classes=first.single_label, **shape_of(name, first.single_label))
        for name, (first, *_) in cases_of().items()
        if name not in by_hand
        and first.arrays in _MOVED_BY_LOGITS
        and not first.across_batch
        and _required(name) == 2
    ]


def shape_of(name: str, classes: bool) -> Options:
    """The smallest kind of table that holds a loss, found out at random logits."""
    loss, rng = getattr(ml, name), np.random.default_rng(0)
    logits = rng.uniform(-6.0, 6.0, (_DRAWS, LABELS))
    targets = rng.integers(0, 2, (_DRAWS, LABELS))
    if classes:
        targets = rng.integers(0, LABELS, _DRAWS)
    exact = loss(logits, targets)
    turned = loss(logits[:, ::-1], LABELS - 1 - targets if classes else targets[:, ::-1])
    found: Options = {"symmetric": np.allclose(exact, turned)}
    if np.allclose(exact, loss(logits + 1.5, targets)):
        return found | {"shape": "differences", "threshold": None, "step": 0.5}
    found["threshold"] = None if classes else 0.0
    alone = sum(loss(logits * label, targets) for label in np.eye(LABELS))
    if np.allclose(exact, alone - (LABELS - 1) * loss(0.0 * logits, targets)):
        return found | {"shape": "additive"}
    return found | {"shape": "full", "step": 0.75}


def _required(name: str) -> int:
    arguments = inspect.signature(getattr(ml, name)).parameters.values()
    return sum(argument.default is argument.empty for argument in arguments)


def _groups() -> dict[str, list[Shown]]:
    others = _at_defaults()
    return BY_HAND | ({"Others": others} if others else {})


GROUPS = _groups()
SHOWN = {shown.name: shown for group in GROUPS.values() for shown in group}
