"""The package as a whole: its names, its imports, its README."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cases import CASES

import mlc_losses as ml

ROOT = Path(__file__).parents[1]
# no targets to name the format of: they compare two outputs, or take a weight for each pair
WITHOUT_TARGETS = {"contrastive", "n_pair", "zlpr_kl"}
# what stands beside the losses of its family
NOT_LOSSES = {
    "Hierarchy",
    "LabelPowerset",
    "average_k_pseudo_labels",
    "average_k_threshold",
    "balanced_pos_weights",
    "effective_number_weights",
    "enqueue",
    "init_queue",
    "inverse_frequency_weights",
    "jaccard_weights",
    "ldam_margins",
    "logit_adjust",
    "order_labels",
    "overlap_weights",
    "queue_mask",
    "valid_anchors",
}
# they take no logits and targets [..., L] to give [...]; their own files hold them to the promises
OTHER_CALL_SHAPES = {
    "contrastive",
    "label_powerset",
    "label_sequence",
    "label_set_sequence",
    "sigmoid_f1",
    "soft_f1",
    "tversky",
}
LOSSES = {
    name
    for name in ml.__all__
    if getattr(getattr(ml, name), "__module__", "").startswith("mlc_losses.losses.")
} - NOT_LOSSES


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


def test_every_loss_is_in_the_table_of_all_losses() -> None:
    rows = re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "losses.md").read_text(), flags=re.MULTILINE)
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
        arguments = inspect.signature(value).parameters
        masks = [f"{argument}:" for argument in ("where", "axis") if argument in arguments]
        for part in ("Returns:", "Raises:", ".. math::", *masks):
            assert part in text, part
    if name in LOSSES - WITHOUT_TARGETS:
        first_line = text.splitlines()[0]
        formats = ("class id",) if "labels" in arguments else ("multi-hot", "targets")
        assert any(part in first_line for part in formats)


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
    rooms = re.compile(r"mlc_losses/(_array/|scale/|perturbed/_(jax|torch)\.py)")
    for path in (ROOT / "mlc_losses").rglob("*.py"):
        if not rooms.match(path.relative_to(ROOT).as_posix()):
            found = re.search(r"^\s*(import|from) (jax|torch)\b", path.read_text(), re.MULTILINE)
            assert not found, path
