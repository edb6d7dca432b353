"""Which losses the explorer shows: those with stops of their own, and every other that it can."""

from __future__ import annotations

import inspect

import mlc_losses as ml
from docs.site.explorer_losses import BY_HAND, Shown
from tests.losses.cases import cases_of
from tests.support import case

_MOVED_BY_LOGITS = (case.hard, case.hard_bool, case.soft, case.one_class)


def _at_defaults() -> list[Shown]:
    """The losses of one example that need logits and targets alone, at their defaults."""
    by_hand = {shown.name for group in BY_HAND.values() for shown in group}
    return [
        Shown(
            name,
            "full",
            classes=first.single_label,
            threshold=None if first.single_label else 0.0,
            step=0.75,
        )
        for name, (first, *_) in cases_of().items()
        if name not in by_hand
        and first.arrays in _MOVED_BY_LOGITS
        and not first.across_batch
        and _required(name) == 2
    ]


def _required(name: str) -> int:
    arguments = inspect.signature(getattr(ml, name)).parameters.values()
    return sum(argument.default is argument.empty for argument in arguments)


def _groups() -> dict[str, list[Shown]]:
    others = _at_defaults()
    return BY_HAND | ({"Others": others} if others else {})


GROUPS = _groups()
SHOWN = {shown.name: shown for group in GROUPS.values() for shown in group}
