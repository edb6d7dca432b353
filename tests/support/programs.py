"""Programs of the tests, each run by a Python of its own with some simulated devices."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(devices: int, program: str, *arguments: str) -> subprocess.Popen[str]:
    """`python -m program arguments`, with simulated devices on JAX."""
    # beside what makes the tests quick to compile
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [sys.executable, "-m", program, *arguments],
        cwd=ROOT,  # where `tests` is, and this copy of the package
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def run_together(programs: list[subprocess.Popen[str]]) -> None:
    """They must all end well; one that waits for another that has failed is stopped."""
    try:
        outputs = [program.communicate(timeout=300)[0] for program in programs]
    finally:
        for program in programs:
            program.kill()
    for program, output in zip(programs, outputs, strict=True):
        assert program.returncode == 0, output[-4000:]


def run_on_devices(devices: int, program: str, *arguments: str) -> str:
    """What it prints; it must end well."""
    started = start(devices, program, *arguments)
    output, _ = started.communicate(timeout=580)
    assert started.returncode == 0, output[-8000:]
    return output
