"""README and pages: programs that run, tables that are whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.losses.families import rows
from tests.losses.names import LOSSES
from tests.site import losses_table
from tests.support.backends import NAME

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
# these are run by `nox -s docs`; other code is not Python, and says what it is
PYTHON, OTHER = {"python", "pycon"}, {"sh", "text", "toml"}


def test_the_table_of_all_losses_is_what_the_docstrings_say() -> None:
    page = losses_table.PAGE.read_text(encoding="utf-8")
    assert page == losses_table.with_table(page), "run: python -m tests.site.losses_table"
    assert set(rows()) == LOSSES


def readme_programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.skipif(NAME != "numpy", reason="programs of their own: once is enough")
@pytest.mark.parametrize("program", readme_programs(), ids=lambda text: text.split()[1])
def test_readme_programs_run(program: str) -> None:
    """Where the libraries are that it imports."""
    for module in re.findall(r"^import (\w+(?:, \w+)*)", program, flags=re.MULTILINE):
        for name in module.split(", "):
            pytest.importorskip(name)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """So that none is passed over by the run of all Python blocks."""
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= PYTHON | OTHER
    assert set(fences[1::2]) <= {""}
