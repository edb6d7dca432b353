"""Tables of a function of three logits, and how a value is read from one.

A table is a sum of terms. A term takes one to three coordinates, made of the logits, and gives the
loss and its gradient by each coordinate: by a cubic spline on a uniform grid, or by one plane on
each triangle of a grid. `docs/assets/explorer_tables.js` reads them the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# where a triangle's plane is taken: its middle, in a cell of side 1, below and above the diagonal
MIDDLES = np.array([[2.0, 1.0], [1.0, 2.0]]) / 3.0
# cells beyond the ends of an axis that a spline is made with, so that it is exact up to the ends
BEYOND = 4


@dataclass(frozen=True)
class Grid:
    """Cells of one size over the coordinates from `lower`, the same on every axis."""

    project: Floats  # [dims, 3]: coordinates from logits
    lower: float
    step: float
    cells: int
    # the coordinates are the probabilities of the logits
    squash: bool = False
    # a piece of an axis: the term is 0 below `start`, and from `stop` on
    start: float | None = None
    stop: float | None = None

    @property
    def dims(self) -> int:
        return len(self.project)

    def nodes(self, before: int, after: int) -> Floats:
        """Corners of the cells, with more before and after each axis, `[.., dims]`."""
        line = self.lower + self.step * np.arange(-before, self.cells + 1.0 + after)
        return np.stack(np.meshgrid(*[line] * self.dims, indexing="ij"), -1).reshape(-1, self.dims)

    def middles(self) -> Floats:
        """Middles of the triangles, `[cells * cells * 2, 2]`."""
        corner = np.indices((self.cells, self.cells)).reshape(2, -1).T
        return self.lower + self.step * (corner[:, None] + MIDDLES).reshape(-1, 2)


@dataclass(frozen=True)
class Term:
    grid: Grid
    kind: Literal["spline", "triangles"]
    # the loss, and its gradient by each coordinate's logits; None where it is 0 everywhere
    fields: tuple[NDArray[np.float32] | None, ...]


def box(
    project: Floats,
    reach: float,
    step: float,
    *,
    squash: bool = False,
    start: float | None = None,
    stop: float | None = None,
) -> Grid:
    """The grid from -reach to reach, or from start to stop, with cells of about this step."""
    lower = -reach if start is None else start
    upper = reach if stop is None else stop
    if squash:
        lower, upper = 1.0 / (1.0 + math.exp(reach)), 1.0 / (1.0 + math.exp(-reach))
    cells = max(4, math.ceil((upper - lower) / step - 1e-9))  # a spline has four pieces at least
    return Grid(project, lower, (upper - lower) / cells, cells, squash, start, stop)


def margins(grid: Grid) -> tuple[int, int]:
    """How many cells before and after an axis are known: none beyond a jump or a probability."""
    return (
        0 if grid.squash or grid.start is not None else BEYOND,
        0 if grid.squash or grid.stop is not None else BEYOND,
    )


def spline_term(grid: Grid, numbers: Floats) -> Term:
    """The spline through `numbers [nodes, 1 + dims]`, nodes with `margins`: its coefficients.

    There are two more coefficients than nodes on each axis. At both ends of an axis the third
    derivative does not jump at the last node but one.
    """
    before, after = margins(grid)
    nodes = grid.cells + 1 + before + after
    rows = np.zeros((nodes + 2, nodes + 2))
    for node in range(nodes):
        rows[node + 1, node : node + 3] = 1 / 6, 4 / 6, 1 / 6
    rows[0, :5] = rows[-1, -5:] = 1.0, -4.0, 6.0, -4.0, 1.0
    solve = np.linalg.inv(rows)[before : before + grid.cells + 3, 1:-1]

    def coefficients(number: Floats) -> Floats:
        table = number.reshape((nodes,) * grid.dims)
        for axis in range(grid.dims):
            table = np.moveaxis(np.tensordot(solve, table, (1, axis)), 0, axis)
        return table

    return Term(grid, "spline", _stored([coefficients(number) for number in numbers.T]))


def triangle_term(grid: Grid, numbers: Floats) -> Term:
    """One plane per triangle, from `numbers [triangles, 3]` at the middles."""
    return Term(grid, "triangles", _stored(list(numbers.T)))


def _stored(numbers: list[Floats]) -> tuple[NDArray[np.float32] | None, ...]:
    return tuple(
        number.astype(np.float32).ravel() if np.abs(number).max() > 1e-9 else None
        for number in numbers
    )


def read_terms(terms: list[Term], logits: Floats) -> Floats:
    """The loss and its gradients, `[n, 4]`, at `logits [n, 3]`."""
    return sum((_read(term, logits) for term in terms), np.zeros((len(logits), 4)))


def _read(term: Term, logits: Floats) -> Floats:
    grid = term.grid
    at = logits @ grid.project.T
    if grid.squash:
        at = 1.0 / (1.0 + np.exp(-at))
    scaled = np.clip((at - grid.lower) / grid.step, 0.0, grid.cells)
    cell = np.minimum(scaled.astype(int), grid.cells - 1)
    read = _read_spline if term.kind == "spline" else _read_triangles
    value, *gradients = read(term, cell, scaled - cell)
    result = np.concatenate([value[:, None], np.stack(gradients, -1) @ grid.project], -1)
    low = -np.inf if grid.start is None else grid.start
    high = np.inf if grid.stop is None else grid.stop
    return result * ((at >= low) & (at < high)).all(-1)[:, None]


def _read_spline(term: Term, cell: NDArray[np.int_], inside: Floats) -> list[Floats]:
    rest = 1.0 - inside
    weights = (
        np.stack(
            [
                rest**3,
                3 * inside**3 - 6 * inside**2 + 4,
                3 * rest**3 - 6 * rest**2 + 4,
                inside**3,
            ]
        )
        / 6.0
    )
    result = [np.zeros(len(cell)) for _ in term.fields]
    shape = (term.grid.cells + 3,) * term.grid.dims
    for corner in np.ndindex(*[4] * term.grid.dims):
        weight = np.prod([weights[c, :, axis] for axis, c in enumerate(corner)], axis=0)
        index = np.ravel_multi_index(tuple((cell + corner).T), shape)
        for number, table in zip(result, term.fields, strict=True):
            if table is not None:
                number += weight * table[index]
    return result


def _read_triangles(term: Term, cell: NDArray[np.int_], inside: Floats) -> list[Floats]:
    above = (inside[:, 1] > inside[:, 0]).astype(int)
    index = 2 * (cell[:, 0] * term.grid.cells + cell[:, 1]) + above
    zero = np.zeros(len(cell))
    value, *gradients = [zero if table is None else table[index] for table in term.fields]
    away = term.grid.step * (inside - MIDDLES[above])
    return [
        value + sum(gradient * away[:, axis] for axis, gradient in enumerate(gradients)),
        *gradients,
    ]
