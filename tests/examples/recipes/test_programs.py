"""Every recipe as a program: it runs and learns, or says in one line what to install."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "recipes"
PAGE = ROOT / "docs" / "recipes.md"
# what each needs, and the last number that it prints: at least this
RECIPES = {
    "boosting": (["jax", "xgboost", "lightgbm"], 0.85),
    "equinox_training": (["jax", "equinox", "optax"], 0.8),
    "hf_trainer": (["torch", "transformers", "accelerate"], 35),
    "lightning_ddp": (["torch", "lightning"], 0.75),
    "metrics_over_batches": (["torch", "torchmetrics"], 0.8),
    "optax_accumulation": (["jax", "optax"], 0.75),
    "per_label_thresholds": (["torch", "torchmetrics", "sklearn"], 0.8),
    "precision_guarantee": (["torch", "mapie"], 0.8),
    "text_encoder": (["torch", "sentence_transformers", "datasets", "accelerate"], 55),
}
DATA = {"digit_sets", "manual_topics"}
# a program in which some libraries cannot be imported
ALONE = """
import runpy, sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name in sys.argv[2:]:
            raise ImportError(name)

sys.meta_path.insert(0, Absent)
sys.path.insert(0, sys.argv[1].rpartition("/")[0])
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def start(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_recipe_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == RECIPES.keys() | DATA


@pytest.mark.slow("trains, in a process of its own")
@pytest.mark.parametrize("name", RECIPES)
def test_it_runs(name: str) -> None:
    needed, least = RECIPES[name]
    for library in needed:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"could not import {library}")
    done = start(f"examples/recipes/{name}.py")
    assert done.returncode == 0, done.stderr
    last = re.findall(r"\d+(?:\.\d+)?", done.stdout)[-1]
    assert float(last) >= least, done.stdout


@pytest.mark.parametrize("name", RECIPES)
def test_it_says_what_to_install(name: str) -> None:
    absent = sorted(set().union(*(needed for needed, _ in RECIPES.values())) - {"sklearn"})
    done = start("-c", ALONE, str(FOLDER / f"{name}.py"), *absent)
    assert done.returncode == 1
    assert re.fullmatch(r"This recipe needs.*: pip install [\w -]+\n", done.stderr)
    assert done.stdout == ""


def test_the_data_say_what_to_install() -> None:
    done = start("-c", ALONE, str(FOLDER / "digit_sets.py"), "sklearn.datasets")
    assert done.returncode == 1
    assert done.stderr == "This recipe needs scikit-learn: pip install scikit-learn\n"


def test_lines_of_the_page_are_lines_of_the_programs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = r"<!-- skip: next -->\n```python\n(.*?)```.*?^Program: `(examples/[\w/]+\.py)`"
    blocks = re.findall(shown, text, flags=re.DOTALL | re.MULTILINE)
    assert {f"examples/recipes/{name}.py" for name in RECIPES} <= {path for _, path in blocks}
    assert len(blocks) == text.count("<!-- skip: next -->")
    for block, path in blocks:
        lines = {line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()}
        missing = [line for line in block.splitlines() if line.strip() not in lines]
        assert not missing, path
