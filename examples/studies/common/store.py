"""Finished runs: a file for each, so that a study that was cut off goes on where it was.

The files of a study that is finished become one compressed table, which the repository keeps. On
any machine they are made from it again, and one more seed, method or data set costs only itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from examples.files import to_json, write_whole


class Runs(NamedTuple):
    """A folder with a file for each run; with `finished` nothing is computed any more."""

    folder: Path
    finished: bool = False

    def get(self, name: str, key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The result kept under `name` if it was made with the same `key`, else a new one.

        `key` holds what the result depends on, as JSON. None for what is not finished.
        """
        path = self.folder / f"{name}.json"
        key = json.loads(to_json(key))
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["key"] == key:
                return kept["result"]
        if self.finished:
            return None
        result = compute()
        write_whole(path, to_json({"key": key, "result": result}))
        return result


def unpack(table: Path, folder: Path) -> None:
    """Make the files of the runs in `table`; those in `folder` already are newer, and stay."""
    if not table.exists():
        return
    for line in gzip.decompress(table.read_bytes()).splitlines():
        name, run = json.loads(line)
        if not (folder / name).exists():
            write_whole(folder / name, to_json(run))


def pack(folder: Path, table: Path) -> None:
    """Write the runs in `folder` as JSON lines, compressed: the same bytes for the same runs."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.json")}
    lines = [json.dumps([name, json.loads(files[name].read_text())]) for name in sorted(files)]
    if lines:
        write_whole(table, gzip.compress("\n".join(lines).encode(), mtime=0))
