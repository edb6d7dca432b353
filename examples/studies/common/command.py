"""What the commands of the studies have in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import typer
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


def check_names(
    kind: str, names: Sequence[str], valid: Collection[str], option: str | None = None
) -> None:
    """Raises for a name that is not valid; `option` is `--kind` by default."""
    for name in names:
        if name not in valid:
            raise typer.BadParameter(
                f"unknown {kind} {name!r}; valid: {', '.join(valid)}",
                param_hint=option or f"--{kind}",
            )


def check_named_once(kind: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"a {kind} is named twice", param_hint=f"--{kind}")
