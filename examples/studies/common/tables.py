"""Tables of results: what is in a cell, and how a table is written in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Records = Sequence[Mapping[str, Any]]


class Table(NamedTuple):
    """A title, the names of the columns, and rows of cells as Markdown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1  # the first ones, aligned to the left; the others are numbers


def distinct(records: Records, field: str) -> list[Any]:
    return list(dict.fromkeys(record[field] for record in records))


def cell(numbers: np.ndarray, metric: str, best: bool = False) -> str:
    digits = 2 if metric == "coverage error" else 4
    text = f"{numbers.mean():.{digits}f}"
    if best:
        text = f"**{text}**"
    return text if len(numbers) < 2 else f"{text} ± {numbers.std(ddof=1):.{digits}f}"


def to_markdown(table: Table) -> str:
    """The rows alone, without the title."""
    numbers = len(table.columns) - table.text_columns
    lines = [table.columns, ["---"] * table.text_columns + ["--:"] * numbers, *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def titled(table: Table, level: int = 3) -> str:
    """The same below a heading."""
    return f"{'#' * level} {table.title}\n\n{to_markdown(table)}"


def bold(table: Table) -> str:
    """The same below a bold line, which is not a heading."""
    return f"**{table.title}**\n\n{to_markdown(table)}"
