"""Curves as inline SVG: text and axes take the colour of the page, light or dark."""

from __future__ import annotations

import io
from functools import cache

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from docs.site.curves import Plot, plot

# both can be told apart without colour too, and are readable on light and on dark
STYLES = {"#2f7fd6": "-", "#e0702f": "--"}
INK = "#0102fe"  # stands for the colour of the text until the SVG is done
RC = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": INK,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@cache
def figure(name: str) -> str:
    """Loss and gradient side by side, or one above the other where there is no room."""
    shown = plot(name)
    keys = "".join(
        f'<li style="--curve: {colour}" class="{"dashed" if line == "--" else "solid"}">'
        f"{curve.name}</li>"
        for curve, (colour, line) in zip(shown.curves, STYLES.items(), strict=True)
    )
    panels = _panel(name, shown, "loss", "values") + _panel(name, shown, "gradient", "gradients")
    return f'<div class="curves"><ul>{keys}</ul>{panels}</div>'


@cache
def thumbnail(name: str) -> str:
    """The two curves of the loss, and no more, in a box of 100 by 40."""
    shown = plot(name)
    both = np.stack([curve.values for curve in shown.curves])[:, ::4]
    low, high = both.min(), both.max()
    across = np.linspace(0, 100, both.shape[1])
    lines = ""
    for values, (colour, line) in zip(both, STYLES.items(), strict=True):
        down = 38 - 36 * (values - low) / (high - low)
        points = " ".join(f"{x:g},{y:.1f}" for x, y in zip(across, down, strict=True))
        dashes = ' stroke-dasharray="5 3"' if line == "--" else ""
        lines += f'<polyline points="{points}" stroke="{colour}"{dashes}/>'
    size = 'viewBox="0 0 100 40" width="100" height="40"'
    return f'<svg class="thumbnail" {size} aria-hidden="true">{lines}</svg>'


def _panel(name: str, shown: Plot, title: str, part: str) -> str:
    # the salt keeps the ids of the two panels of a page apart
    with mpl.rc_context(RC | {"svg.hashsalt": f"{name} {title}"}):
        drawn = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = drawn.subplots()
        for curve, (colour, line) in zip(shown.curves, STYLES.items(), strict=True):
            axes.plot(shown.x, getattr(curve, part), line, color=colour, linewidth=1.8)
        axes.set(title=title, xlabel=shown.axis)
        axes.grid(alpha=0.15)
        out = io.StringIO()
        drawn.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{title} of {name}"', 1)
