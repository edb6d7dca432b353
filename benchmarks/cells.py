"""Measurements in processes of their own, kept in a JSON file so that a run can be gone on with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from examples.files import write_whole

ROOT = Path(__file__).parents[1]
MARKS = "<!-- measured -->", "<!-- end -->"  # what stands between them is written by a program


def kept(path: Path) -> dict[str, Any]:
    """The cells that are at `path`."""
    return json.loads(path.read_text()) if path.exists() else {}


def measure_missing(
    module: str, cells: Iterable[tuple[str, list[str]]], path: Path, limit: float
) -> None:
    """Adds to the file at `path` the cells `(name, arguments)` of the module that it lacks.

    `python -m module --cell <arguments>` prints the cell as JSON, within so many seconds.
    """
    found = kept(path)
    for name, arguments in cells:
        if name in found:
            continue
        cell = _in_a_process([sys.executable, "-m", module, "--cell", *arguments], limit)
        found[name] = cell | {"python": platform.python_version()}
        print(name, found[name], flush=True)
        write_whole(path, (json.dumps(found, indent=1) + "\n").encode())


def _in_a_process(command: list[str], limit: float) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"over {limit:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"signal {-done.returncode}, out of memory?"]
        return {"failed": lines[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])
