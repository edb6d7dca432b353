"""Losses over several devices and processes, in programs of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import backends
import pytest

if backends.NAME != "jax":
    pytest.skip("scale/ is for JAX", allow_module_level=True)

import jax
import jax.numpy as jnp

from mlc_losses import sharded, zlpr

PROGRAM = Path(__file__).with_name("sharded_program.py")


def start(devices: int, *arguments: str) -> subprocess.Popen[str]:
    # beside what makes the tests quick to compile
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.devices
@pytest.mark.slow("compiles over thirty losses for eight devices, forwards and backwards")
def test_eight_devices_agree_with_one() -> None:
    program = start(8, "losses")
    output, _ = program.communicate(timeout=600)
    assert program.returncode == 0, output[-4000:]


@pytest.mark.devices
def test_two_processes_agree_with_one() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    programs = [start(2, "process", str(number), port) for number in range(2)]
    outputs = [program.communicate(timeout=300)[0] for program in programs]
    for program, output in zip(programs, outputs, strict=True):
        assert program.returncode == 0, output[-4000:]


def test_wrong_arguments_are_named() -> None:
    mesh = jax.make_mesh((1,), ("devices",))
    with pytest.raises(ValueError, match="give labels, batch or both"):
        sharded(zlpr, mesh)
    with pytest.raises(ValueError, match=r"labels must be axes of the mesh, \('devices',\), got"):
        sharded(zlpr, mesh, labels="columns")
    with pytest.raises(ValueError, match="on different mesh axes, got 'devices' twice"):
        sharded(zlpr, mesh, labels="devices", batch="devices")
    logits, ambiguous = jnp.zeros((3, 3)), jnp.zeros(3)
    with pytest.raises(ValueError, match=r"threshold of shape .* may be one value per example or"):
        sharded(zlpr, mesh, labels="devices")(logits, logits, threshold=ambiguous)
    with pytest.raises(TypeError, match="the first argument must be an array"):
        sharded(zlpr, mesh, labels="devices")(logits=logits, targets=logits)
