"""What the commands of the studies have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

# what is finished, the time it took, and an estimate of the time left
BAR = (
    "{task.description}",
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def sources(names: Sequence[str], data_dir: Path | None, default: Sequence[str]) -> list[str]:
    if data_dir:
        return [str(data_dir / f"{name}.npz") for name in names or default]
    return list(names or ["yeast"])
