"""The batch of a contrastive loss split over 8 devices, which have to be asked for at the start."""

from __future__ import annotations

import pytest

from tests.support.backends import NAME
from tests.support.programs import run_on_devices


@pytest.mark.devices
@pytest.mark.skipif(NAME != "jax", reason="JAX's devices")
def test_eight_devices_are_as_one() -> None:
    """Value and gradient, with uneven numbers of valid anchors, some of them none."""
    printed = run_on_devices(8, "tests.scale.contrastive_program")
    assert len(printed.splitlines()) == 7
