"""The package as a whole: its names, its imports, its README."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cases import CASES

import mlc_losses as ml

ROOT = Path(__file__).parents[1]
# zlpr_kl compares two outputs and has no targets to name the format of
WITHOUT_TARGETS = {"zlpr_kl"}
LOSSES = {
    name
    for name in ml.__all__
    if getattr(getattr(ml, name), "__module__", "").startswith("mlc_losses.losses.")
}


def test_all_is_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(ml).items()
        if not name.startswith("_")
        if not inspect.ismodule(value) or name == "metrics"
    }
    assert sorted(public) == ml.__all__


def test_every_loss_is_in_the_list_of_cases() -> None:
    assert {case.loss.__name__ for case in CASES} == LOSSES


def test_every_loss_is_in_the_readme() -> None:
    rows = re.findall(r"^\| `(\w+)`", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(LOSSES)


@pytest.mark.parametrize("name", ml.__all__)
def test_every_docstring_has_its_parts(name: str) -> None:
    value = getattr(ml, name)
    text = inspect.getdoc(value) or ""
    assert text.splitlines()[0].endswith(".")
    if not inspect.ismodule(value):
        for part in ("Args:", "Example:", ">>>"):
            assert part in text, part
    if name in LOSSES:
        for part in ("Returns:", "Raises:", ".. math::", "where:", "axis:"):
            assert part in text, part
    if name in LOSSES - WITHOUT_TARGETS:
        first_line = text.splitlines()[0]
        assert "multi-hot" in first_line or "targets" in first_line


def readme_programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("program", readme_programs(), ids=lambda text: text.split()[1])
def test_readme_programs_run(program: str) -> None:
    """Where the libraries are that it imports."""
    for module in re.findall(r"^import (\w+(?:, \w+)*)", program, flags=re.MULTILINE):
        for name in module.split(", "):
            pytest.importorskip(name)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_import_needs_neither_jax_nor_torch() -> None:
    code = "import sys, mlc_losses; print(*sorted({'jax', 'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_frameworks_are_imported_in_their_rooms_only() -> None:
    rooms = re.compile(r"mlc_losses/(_array/|scale/|perturbed/\w+_rule\.py)")
    for path in (ROOT / "mlc_losses").rglob("*.py"):
        if not rooms.match(path.relative_to(ROOT).as_posix()):
            found = re.search(r"^\s*(import|from) (jax|torch)\b", path.read_text(), re.MULTILINE)
            assert not found, path
