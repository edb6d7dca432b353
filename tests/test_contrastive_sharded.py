"""The batch of a contrastive loss split over 8 devices, which have to be asked for at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from backends import NAME


@pytest.mark.devices
@pytest.mark.skipif(NAME != "jax", reason="JAX's devices")
def test_eight_devices_are_as_one() -> None:
    """Value and gradient, with uneven numbers of valid anchors, some of them none."""
    script = Path(__file__).parent / "sharded_contrastive.py"
    # this copy of the package, whether or not one is installed
    path = [str(script.parent.parent), os.environ.get("PYTHONPATH", "")]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    finished = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ
        | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) == 7
