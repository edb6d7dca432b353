"""The table of all losses in docs/losses.md, from docstrings and signatures.

    python -m tests.site.losses_table

writes it. A test fails while the page has another one.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from tests.losses.families import Row, rows

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
START, END = "<!-- table: tests/site/losses_table.py -->", "<!-- end of table -->"
HEADS = ("loss", "targets", "across the batch", "use when", "paper")


def table() -> str:
    lines = [HEADS, ["---"] * len(HEADS), *map(_cells, rows().values())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> list[str]:
    return [f"`{row.name}`", row.targets, row.across_batch, row.use_when, row.paper]


def with_table(page: str) -> str:
    """The page with the table of today between the two marks."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{PAGE} lacks the lines {START} and {END}")
    return f"{before}{start}\n\n{table()}\n\n{end}{after}"


if __name__ == "__main__":
    ArgumentParser("python -m tests.site.losses_table", description=__doc__).parse_args()
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
