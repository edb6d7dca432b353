"""A loss is added in a copy of the tree by the five edits of CONTRIBUTING.md, and is everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import backends

if backends.NAME != "numpy":
    pytest.skip("once is enough: it starts processes of its own", allow_module_level=True)

ROOT = Path(__file__).parents[2]
NAME = "squared_error"
COPIED = ("mlc_losses", "tests", "docs", "examples", "CHANGELOG.md", "CONTRIBUTING.md", "README.md")
EDIT = re.compile(
    r"^ *```\w+\n *# add to (?:the list (?P<list>\w+) in )?(?P<path>\S+)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
# what a new entry follows, and what follows it, in a file that has no end to append it to
INTO = {"CASES": ("CASES = [\n", ","), "CHANGELOG.md": ("Losses:\n\n", "")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name, **({"ignore": ignored} if copy is shutil.copytree else {}))
    shutil.copy2(ROOT / "pyproject.toml", folder)
    for edit in edits():
        make(edit, folder)
    run(folder, "-m", "tests.site.losses_table")
    return folder


def edits() -> list[re.Match[str]]:
    return list(EDIT.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


def make(edit: re.Match[str], folder: Path) -> None:
    path = folder / edit["path"]
    before, text = path.read_text(encoding="utf-8"), textwrap.dedent(edit["text"])
    place, comma = INTO.get(edit["list"] or edit["path"], ("", ""))
    assert place in before
    after = before.replace(place, f"{place}{text.rstrip()}{comma}\n", 1) if place else before
    path.write_text(after if place else f"{before}\n\n{text}", encoding="utf-8")


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "ARRAY_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(folder: Path, code: str) -> object:
    return json.loads(run(folder, "-c", f"import json\n{code}").splitlines()[-1])


def test_five_edits_are_enough() -> None:
    assert [edit["path"] for edit in edits()] == [
        "tests/losses/oracles.py",
        "tests/losses/cases.py",
        "mlc_losses/losses/focal.py",
        "mlc_losses/__init__.pyi",
        "CHANGELOG.md",
    ]


@pytest.mark.slow("runs the tests of the loss in the copy")
def test_the_loss_is_held_to_its_oracle_and_to_what_a_docstring_says(tree: Path) -> None:
    files = [
        "tests/losses/test_losses.py",
        "tests/site/test_docstrings.py",
        "tests/test_package.py",
    ]
    found = run(
        tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", f"{NAME} or all"
    )
    assert re.search(r"\d{2} passed", found)
    run(tree, "-m", "pytest", "-q", "--doctest-modules", "mlc_losses/losses/focal.py")


def test_the_table_of_losses(tree: Path) -> None:
    row = f"| `{NAME}` | multi-hot | no | a probability should be close to its target"
    assert row in (tree / "docs" / "losses.md").read_text(encoding="utf-8")


def test_the_tests_of_modes_and_meshes(tree: Path) -> None:
    code = """
from tests.modes.subjects import LOSSES
from tests.losses.cases import CASES
print(json.dumps([[s.id for s in LOSSES], [c.loss.__name__ for c in CASES]]))"""
    subjects, cases = listed(tree, code)
    assert any(subject.startswith(NAME) for subject in subjects) and NAME in cases


@pytest.mark.slow("traces every loss on a mesh, in a process of its own")
@pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX")
def test_the_checks_of_sharded_and_the_table_of_backends(tree: Path) -> None:
    code = """
from tests.scale.sharded_program import checks_of_cases
from docs.site.support import table
print(json.dumps([list(checks_of_cases()[0]), table()]))"""
    checks, table = listed(tree, code)
    assert NAME in checks
    (row,) = [line for line in table.splitlines() if f"[`{NAME}`](gallery/{NAME}.md)" in line]
    assert row.count("| yes ") >= 8


def test_the_selection_of_the_explorer(tree: Path) -> None:
    code = """
from docs.site.explorer_selection import GROUPS
print(json.dumps([[shown.name, shown.shape] for shown in GROUPS["Others"]]))"""
    assert listed(tree, code) == [[NAME, "additive"]]


@pytest.mark.skipif(find_spec("griffe") is None, reason="needs griffe, which makes the site")
def test_the_gallery(tree: Path) -> None:
    code = """
from docs.site.gallery import families, page
print(json.dumps([page("squared_error"), families()["One label at a time"]]))"""
    page, family = listed(tree, code)
    assert "**Use when**: a probability should be close to its target" in page
    assert NAME in family


@pytest.mark.skipif(find_spec("typer") is None, reason="needs what the studies need")
def test_the_comparison_of_losses(tree: Path) -> None:
    code = """
from examples.studies.compare_losses.study import LOSSES
print(json.dumps(LOSSES))"""
    assert NAME in listed(tree, code)
