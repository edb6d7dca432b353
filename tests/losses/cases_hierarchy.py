"""Cases of the loss for labels in a hierarchy, which is given by the number of labels."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlc_losses as ml
from tests.losses import oracles_hierarchy as oracles
from tests.support.case import Case


def some_edges(num_labels: int) -> list[tuple[int, int]]:
    """(child, parent) of a graph in which some labels have two parents."""
    edges = [(label, (label - 1) // 2) for label in range(1, num_labels)]
    return edges + [(label, label - 3) for label in range(5, num_labels, 3)]


def hierarchy_of(edges: list[tuple[int, int]], num_labels: int) -> ml.Hierarchy:
    return ml.Hierarchy(np.array(edges, dtype=int).reshape(-1, 2), num_labels)


HIERARCHIES = {n: hierarchy_of(some_edges(n), n) for n in (1, 4, 6, 7, 19, 131, 512)}


def max_constraint(
    logits: Any, targets: Any, *, flat: bool = False, where: Any = None, **keywords: Any
) -> Any:
    num_labels = logits.shape[-1] if getattr(logits, "ndim", 0) else 7
    if flat or num_labels not in HIERARCHIES:
        hierarchy = hierarchy_of([] if flat else some_edges(num_labels), num_labels)
    else:
        hierarchy = HIERARCHIES[num_labels]
    return ml.max_constraint(logits, targets, hierarchy, where=where, **keywords)


def oracle(s: np.ndarray, y: np.ndarray, flat: bool = False) -> float:
    return oracles.max_constraint(s, y, [] if flat else some_edges(len(s)))


CASES: list[Case] = [
    # at a tie a maximum has no derivative that a difference would find; `test_hierarchy.py` does
    Case(max_constraint, oracle, right_infinity_is_deletion=False, labels_are_alike=False,
         hard_sizes=()),
    Case(max_constraint, oracle, keywords={"flat": True}),
]  # fmt: skip
