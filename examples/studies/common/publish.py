"""What a study leaves behind: tables on the console and in its page, figures, records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from examples.files import to_json, write_whole
from examples.studies.common.pages import replace_between
from examples.studies.common.tables import Table, titled


def to_rich(table: Table) -> RichTable:
    """For a narrow terminal: means alone."""
    result = RichTable(*table.columns, title=table.title)
    for row in table.rows:
        cells = (re.sub(r"[`*]| ± [0-9.]+", "", c) for c in row)
        result.add_row(*(f"[bold]{c}" if "**" in r else c for c, r in zip(cells, row, strict=True)))
    return result


def publish(
    console: Console,
    records: Any,
    tables: Sequence[Table],
    figures: Mapping[Path, bytes],
    json_: Path | None,
    into: Path | None,
    marks: tuple[str, str],
) -> None:
    """The tables on the console, and between the two marks of a page; figures and records apart."""
    for table in tables:
        console.print(to_rich(table))
    for path, content in figures.items():
        write_whole(path, content)
        console.print(f"figure: {path}")
    if json_:
        write_whole(json_, to_json(records))
        console.print(f"records: {json_}")
    if into:
        replace_between(into, *marks, "\n\n".join(map(titled, tables)))
        console.print(f"tables: {into}")
