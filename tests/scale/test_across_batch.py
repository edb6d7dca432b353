"""Losses across a batch that is split over 8 devices, which have to be asked for at the start."""

from __future__ import annotations

import pytest

from tests.support.backends import NAME
from tests.support.programs import run_on_devices

pytestmark = [
    pytest.mark.devices,
    pytest.mark.skipif(NAME != "jax", reason="JAX's devices"),
]


def test_contrastive_losses_are_those_of_one_device() -> None:
    """Value and gradient, with uneven numbers of valid anchors, some of them none."""
    printed = run_on_devices(8, "tests.scale.contrastive_program")
    assert len(printed.splitlines()) == 7


def test_k_on_average_is_that_of_the_whole_batch() -> None:
    run_on_devices(8, "tests.scale.average_k_program")
