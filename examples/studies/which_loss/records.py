"""What is kept of the study: for each data set a table of runs and a table of trials, in Parquet.

A table is replaced as a whole, so it is never half written. A data set is worked on by one
process at a time, which holds its lock; several processes share the data sets between them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from examples.files import to_json, write_whole

Row = dict[str, Any]


class Records:
    """The tables of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self, data: str) -> list[Row]:
        """One row for each loss, fold and decision rule."""
        return _read(self.folder / "runs" / f"{data}.parquet")

    def trials(self, data: str) -> list[Row]:
        """One row for each setting that was tried."""
        return _read(self.folder / "trials" / f"{data}.parquet")

    def add_runs(self, data: str, rows: Sequence[Row]) -> None:
        path = self.folder / "runs" / f"{data}.parquet"
        _write(path, [*self.runs(data), *rows], ("loss", "fold", "rule"))

    def replace_runs(self, data: str, rows: Sequence[Row]) -> None:
        """Where runs were measured anew."""
        _write(self.folder / "runs" / f"{data}.parquet", list(rows), ("loss", "fold", "rule"))

    def add_trial(self, data: str, trial: Row) -> None:
        path = self.folder / "trials" / f"{data}.parquet"
        _write(path, [*self.trials(data), trial], ("loss", "trial"))

    def names(self) -> list[str]:
        """Data sets that have runs."""
        return sorted(path.stem for path in (self.folder / "runs").glob("*.parquet"))

    def table(self) -> pl.DataFrame:
        """All runs, with a column `data`."""
        frames = [
            pl.DataFrame(self.runs(name)).insert_column(0, pl.lit(name).alias("data"))
            for name in self.names()
        ]
        return pl.concat(frames, how="diagonal_relaxed")

    def kept(self, name: str) -> dict[str, Any]:
        """A small JSON file beside the tables, of all data sets; empty if it is not there."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def keep(self, name: str, found: Mapping[str, Any]) -> None:
        write_whole(self.folder / f"{name}.json", to_json(found))

    @contextmanager
    def locked(self, data: str) -> Iterator[bool]:
        """Whether this process now holds the data set; the lock ends with the process."""
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / data).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    rows = pl.read_parquet(path).to_dicts()
    return [
        row | {"setting": json.loads(row["setting"])} if "setting" in row else row for row in rows
    ]


def _write(path: Path, rows: list[Row], order: Sequence[str]) -> None:
    rows = [
        row | {"setting": json.dumps(row["setting"])} if "setting" in row else row for row in rows
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None).sort(order)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    frame.write_parquet(part, compression="zstd")
    os.replace(part, path)
