"""Finished runs: a file for each, so that a study that was cut off goes on where it was.

What a study has finished becomes one compressed table, which the repository keeps. On any machine
the files are made from it again: a long study goes on there, and one more seed, method or data set
costs only itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from examples.files import to_json, write_whole


@dataclass
class Runs:
    """A folder with a file for each run; with `finished`, no new run is computed.

    `asked` holds the names of all runs that the study asked for, and whether each is finished.
    """

    folder: Path
    finished: bool = False
    asked: dict[str, bool] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many of the runs asked for are not finished; runs that depend on them may follow."""
        return list(self.asked.values()).count(False)

    def get(self, name: str, key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The result kept under `name` if it was made with the same `key`, else a new one.

        `key` holds what the result depends on, as JSON. With `finished`, None instead of a new one.
        """
        path = self.folder / f"{name}.json"
        key = json.loads(to_json(key))
        self.asked[name] = True
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["key"] == key:
                return kept["result"]
        if self.finished:
            self.asked[name] = False
            return None
        result = compute()
        write_whole(path, to_json({"key": key, "result": result}))
        return result


class Unfinished(typer.BadParameter):
    """Too few runs are finished for a report; `runs` knows which are."""

    def __init__(self, runs: Runs, what: str = "nothing is finished") -> None:
        super().__init__(f"{what} in {runs.folder}", param_hint="--runs")
        self.runs = runs


def unpack(table: Path, folder: Path) -> None:
    """Make the files of the runs in `table`; those already in `folder` are newer, and stay."""
    if not table.exists():
        return
    for line in gzip.decompress(table.read_bytes()).splitlines():
        name, run = json.loads(line)
        if not (folder / name).exists():
            write_whole(folder / name, to_json(run))


def pack(runs: Runs, table: Path) -> None:
    """Write the finished runs as JSON lines, compressed: the same bytes for the same runs.

    Only those that the study asked for: others are of an earlier version of it.
    """
    files = [f"{name}.json" for name, there in sorted(runs.asked.items()) if there]
    lines = [json.dumps([name, json.loads((runs.folder / name).read_text())]) for name in files]
    if lines:
        write_whole(table, gzip.compress("\n".join(lines).encode(), mtime=0))
    else:
        table.unlink(missing_ok=True)
