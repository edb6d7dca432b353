"""The package as a whole: its names and its imports."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mlc_losses as ml
from tests.losses.cases import CASES
from tests.losses.names import LOSSES, OTHER_CALL_SHAPES

ROOT = Path(__file__).parents[1]


def test_all_is_exactly_the_public_names() -> None:
    assert dir(ml) == ml.__all__ == sorted(ml.__all__)
    with pytest.raises(AttributeError, match="zlpr_loss"):
        ml.zlpr_loss  # noqa: B018


def test_each_public_name_is_defined_where_the_stub_says() -> None:
    stub = ast.parse((Path(inspect.getfile(ml)).with_suffix(".pyi")).read_text())
    imports = [line for line in stub.body if isinstance(line, ast.ImportFrom)]
    assert {alias.name for line in imports for alias in line.names} == set(ml.__all__)
    for line in imports:
        for alias in line.names:
            # what a type checker takes for public
            assert alias.asname == alias.name
            if line.module is not None:
                assert getattr(ml, alias.name).__module__ == f"mlc_losses.{line.module}"


def test_every_loss_is_in_the_list_of_cases() -> None:
    assert {case.loss.__name__ for case in CASES} == LOSSES - OTHER_CALL_SHAPES


def test_import_needs_neither_jax_nor_torch() -> None:
    code = "import sys, mlc_losses; print(*sorted({'jax', 'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_frameworks_are_imported_in_their_rooms_only() -> None:
    rooms = re.compile(
        r"mlc_losses/(_array/|adapters/|scale/|(losses|perturbed)/_(jax|torch)(_\w+)?\.py)"
    )
    for path in (ROOT / "mlc_losses").rglob("*.py"):
        if not rooms.match(path.relative_to(ROOT).as_posix()):
            found = re.search(r"^\s*(import|from) (jax|torch)\b", path.read_text(), re.MULTILINE)
            assert not found, path


def test_the_ground_floor_imports_nothing_above_it() -> None:
    above = re.compile(r"^\s*(?:import|from) mlc_losses\b(?!\._array)", re.MULTILINE)
    for path in (ROOT / "mlc_losses" / "_array").glob("*.py"):
        assert not above.search(path.read_text()), path


def test_losses_do_not_ask_for_the_library() -> None:
    """But where a room has modules of its own for a library."""
    rooms = re.compile(
        r"mlc_losses/((_array|scale|perturbed|adapters)/|losses/_((jax|torch)_)?levels\.py)"
    )
    asks = re.compile(r"\bis_(jax|torch)_(namespace|array)\b|_array(\.| import )(jax|torch)_")
    for path in (ROOT / "mlc_losses").rglob("*.py"):
        if not rooms.match(path.relative_to(ROOT).as_posix()):
            assert not asks.search(path.read_text()), path


def test_one_door_to_the_libraries() -> None:
    """Only `_array` finds out which library an array is of."""
    for path in (ROOT / "mlc_losses").rglob("*.py"):
        if "_array" not in path.parts:
            assert "array_api_compat" not in path.read_text(), path
