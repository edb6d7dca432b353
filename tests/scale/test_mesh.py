"""Plain `jax.jit` on arrays split over a mesh, in programs of their own."""

from __future__ import annotations

import re

import pytest

from tests.support import backends

if backends.NAME != "jax":
    pytest.skip("meshes are JAX's", allow_module_level=True)

from tests.scale.mesh_program import GATHERS
from tests.support.programs import ROOT, run_on_devices


def test_the_page_names_what_gathers() -> None:
    page = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| the ")]
    named = {name for line in rows if "logits `[" in line for name in re.findall(r"`(\w+)`", line)}
    assert named == GATHERS


@pytest.mark.devices
@pytest.mark.slow("compiles every loss for one device and for four, forwards and backwards")
@pytest.mark.parametrize("over", ["labels", "batch", "own"])
def test_every_loss_is_that_of_one_device_and_moves_few_numbers(over: str) -> None:
    run_on_devices(4, "tests.scale.mesh_program", over)
