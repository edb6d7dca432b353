"""The figure of the page of verdicts: every paired difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from textwrap import fill
from typing import Any

from examples.studies.claims.rule import AHEAD, BEHIND, EQUAL, OPEN, Cell, Judged, Pairs
from examples.studies.common.figures import new_figure, png
from examples.studies.common.judging import ROPE

COLORS = {
    AHEAD: "#0072B2",
    EQUAL: "#009E73",
    BEHIND: "#D55E00",
    OPEN: "0.65",
}  # the colour-blind tell them apart
LINE, ROW = 0.028, 0.4  # inches of a difference, and of a claim at the least
STRAIGHT = 2.0  # points up to which the axis is linear


def forest(judged: Sequence[Judged]) -> bytes:
    """A PNG: one row per claim, in it all differences of its tests from the largest down."""
    shown = [(one, cells) for one in judged if (cells := differences(one))]
    heights = [max(ROW, LINE * len(cells) + 0.15) for _, cells in shown]
    figure = new_figure(figsize=(7, 0.9 + sum(heights)), dpi=100)
    axes = figure.subplots()
    edges = [sum(heights[:i]) for i in range(len(shown) + 1)]
    spans = list(pairwise(edges))
    for (_, cells), (top, bottom) in zip(shown, spans, strict=True):
        draw_row(axes, cells, top, bottom)
    names = [fill(f"{one.claim.name}: {one.verdict}", 34) for one, _ in shown]
    axes.set_yticks([sum(span) / 2 for span in spans], names, size=8)
    axes.set_ylim(edges[-1] or ROW, 0)
    axes.axvspan(-100 * ROPE, 100 * ROPE, color="0.93", lw=0)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xscale("symlog", linthresh=STRAIGHT)
    # intervals of three seeds can be far wider than all differences: they are cut
    widest = 1.2 * max((100 * abs(c.mean) for _, cells in shown for c in cells), default=1.0)
    limit = max(widest, 2 * STRAIGHT)
    axes.set_xlim(-limit, limit)
    ticks = [x for x in (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50) if abs(x) <= limit]
    axes.set_xticks(ticks, [f"{x:+d}" if x else "0" for x in ticks], size=8)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("against the claim   ←   points   →   for the claim", size=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return png(figure)


def differences(one: Judged) -> list[Cell]:
    tested = [part for part in one.parts if isinstance(part.test, Pairs)]
    return sorted((c for part in tested for c in part.cells), key=lambda c: c.mean, reverse=True)


def draw_row(axes: Any, cells: Sequence[Cell], top: float, bottom: float) -> None:
    axes.axhline(bottom, color="0.85", lw=0.6)
    for place, cell in enumerate(cells, start=1):
        height = top + (bottom - top) * place / (len(cells) + 1)
        color = COLORS[cell.outcome]
        low, high = (100 * (cell.mean + sign * cell.interval) for sign in (-1, 1))
        axes.plot([low, high], [height, height], color=color, lw=0.8, alpha=0.7)
        axes.plot(100 * cell.mean, height, "o", color=color, ms=2.6)
