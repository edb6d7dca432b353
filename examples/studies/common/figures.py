"""Figures drawn without a window, as PNG."""

from __future__ import annotations

import io
from typing import Any


def new_figure(**options: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", **options)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Any) -> bytes:
    content = io.BytesIO()
    # without a version in the file the same records give the same bytes
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
