"""Two processes of PyTorch: losses across the batch, by the recipe of the page on backends, and
`linear_loss` under DDP."""

from __future__ import annotations

import pytest

from tests.support import backends

if backends.NAME != "torch":
    pytest.skip("the recipe is for PyTorch", allow_module_level=True)

from tests.support.programs import free_port, run_together, start


@pytest.mark.devices
@pytest.mark.slow("two processes start, and compile")
@pytest.mark.parametrize("check", ["across_batch", "linear"])
def test_two_processes_agree_with_one(check: str) -> None:
    port = free_port()
    run_together(
        [start(1, "tests.scale.parallel_program", str(number), port, check) for number in range(2)]
    )
