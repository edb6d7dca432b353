"""Losses across the batch in two processes of PyTorch, by the recipe of the page on backends."""

from __future__ import annotations

import backends
import pytest

if backends.NAME != "torch":
    pytest.skip("the recipe is for PyTorch", allow_module_level=True)

from programs import free_port, start


@pytest.mark.devices
def test_two_processes_agree_with_one() -> None:
    port = free_port()
    programs = [start(1, "parallel_program.py", str(number), port) for number in range(2)]
    try:
        outputs = [program.communicate(timeout=120)[0] for program in programs]
    finally:
        for program in programs:
            program.kill()
    for program, output in zip(programs, outputs, strict=True):
        assert program.returncode == 0, output[-4000:]
