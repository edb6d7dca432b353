"""What the functions of a hierarchy should be: sets of labels and plain loops in float64.

They share no code with the library. One example each; `edges` are pairs of (child, parent).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

S = np.ndarray
Edges = Sequence[tuple[int, int]]


def below(edges: Edges, label: int) -> set[int]:
    """The label and all its descendants."""
    found, waiting = {label}, [label]
    while waiting:
        parent = waiting.pop()
        new = {child for child, above in edges if above == parent} - found
        found |= new
        waiting += new
    return found


def closure(y: S, edges: Edges) -> S:
    return np.array([max(y[d] for d in below(edges, a)) for a in range(len(y))])


def coherent(s: S, edges: Edges) -> S:
    return closure(s, edges)


def effective(y: S, edges: Edges, where: S | None) -> tuple[list[bool], list[bool]]:
    """The closure of what is seen to be on, and what is known: told, or below a known NOT."""
    told = [True] * len(y) if where is None else [bool(w) for w in where]
    descendants = [below(edges, a) for a in range(len(y))]
    on = [any(told[d] and y[d] > 0.5 for d in group) for group in descendants]
    known = list(told)
    for a, group in enumerate(descendants):
        if told[a] and not on[a]:
            for d in group:
                known[d] = True
    return on, known


def max_constraint(s: S, y: S, edges: Edges, where: S | None = None) -> float:
    on, known = effective(y, edges, where)
    total = 0.0
    for a in range(len(y)):
        if not known[a]:
            continue
        group = [d for d in below(edges, a) if known[d]]
        if on[a]:
            total += np.logaddexp(0.0, -max(s[d] for d in group if on[d]))
        else:
            total += np.logaddexp(0.0, max(s[d] for d in group))
    return total


def max_constraint_derivative(s: S, y: S, edges: Edges, where: S | None = None) -> S:
    """Each maximum's derivative goes to one label: of equal ones itself, else the lowest child."""
    on, known = effective(y, edges, where)
    derivative = np.zeros(len(y))

    def winner(a: int, of_on: bool) -> int | None:
        """The label below `a` with the largest logit, of those that are known and, or not, on."""
        best = a if known[a] and on[a] == of_on else None
        for child in sorted({c for c, parent in edges if parent == a}):
            found = winner(child, of_on)
            if found is not None and (best is None or s[found] > s[best]):
                best = found
        return best

    for a in range(len(y)):
        if known[a]:
            best = winner(a, on[a])
            sign = -1.0 if on[a] else 1.0
            derivative[best] += sign * np.exp(-np.logaddexp(0.0, -sign * s[best]))
    return derivative
