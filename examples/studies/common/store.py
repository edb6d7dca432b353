"""Finished runs, kept in a folder so that a study that was cut off goes on where it was."""

from __future__ import annotations

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
