"""Every command that the pages name exists: each is started once, with `--help`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
COMMAND = re.compile(r"\bpython3? (?:-m (?P<module>[\w.]+)|(?P<script>[\w./]+\.py))")
# not in every environment; a page may name what needs them
OPTIONAL = {"babel", "matplotlib", "optax", "orbax", "rich", "safetensors", "sklearn", "torch"}
OPTIONAL |= {"jax", "typer", "xgboost"}


def commands() -> dict[tuple[str, ...], str]:
    """What follows `python` on the pages, and one page that names it; other people's are left."""
    found: dict[tuple[str, ...], str] = {}
    for page in PAGES:
        for match in COMMAND.finditer(page.read_text(encoding="utf-8")):
            module, script = match["module"], match["script"]
            if script or (ROOT / module.partition(".")[0]).is_dir():
                command = ("-m", module) if module else (script,)
                found.setdefault(command, str(page.relative_to(ROOT)))
    return found


COMMANDS = commands()


@cache
def answers() -> dict[tuple[str, ...], subprocess.CompletedProcess[str]]:
    """Of all commands: two at a time, as starting is most of what each does."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # a narrow terminal and colours would break words
    environment = os.environ | {"PYTHONPATH": paths, "COLUMNS": "200", "NO_COLOR": "1"}

    def answer(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command, "--help"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(COMMANDS, pool.map(answer, COMMANDS), strict=True))


def test_pages_name_the_examples_and_the_studies() -> None:
    modules = {command[-1] for command in COMMANDS}
    assert {"examples.train", "examples.studies.run_all", "benchmarks.scaling"} <= modules


@pytest.mark.slow("starts every command of the pages once, with JAX")
@pytest.mark.xdist_group("commands")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_explains_itself(command: tuple[str, ...]) -> None:
    done = answers()[command]
    missing = re.search(r"No module named '(\w+)", done.stderr)
    if missing and missing[1] in OPTIONAL and find_spec(missing[1]) is None:
        pytest.skip(f"needs {missing[1]}")
    named = f"{' '.join(command)}, on {COMMANDS[command]}"
    assert done.returncode == 0, f"{named}:\n{done.stderr}"
    assert "usage:" in done.stdout.lower(), named
