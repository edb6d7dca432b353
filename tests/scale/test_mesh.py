"""Plain `jax.jit` on arrays split over a mesh, in programs of their own."""

from __future__ import annotations

import pytest

from tests.support import backends

if backends.NAME != "jax":
    pytest.skip("meshes are JAX's", allow_module_level=True)

from tests.support.programs import run_on_devices


@pytest.mark.devices
@pytest.mark.slow("compiles every loss for one device and for four, forwards and backwards")
@pytest.mark.parametrize("over", ["labels", "batch", "own"])
@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_every_loss_is_that_of_one_device_and_moves_few_numbers(axes: str, over: str) -> None:
    run_on_devices(4, "tests.scale.mesh_program", axes, over)
