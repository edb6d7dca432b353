"""examples/extreme.py at a small size: it learns, and goes on after a kill as if nothing was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support import backends

if backends.NAME != "jax":
    pytest.skip("the examples are for JAX", allow_module_level=True)
for module in ("optax", "rich", "typer"):
    pytest.importorskip(module)

ROOT = Path(__file__).parents[2]
SMALL = "--labels 60 --features 8 --examples 200 --batch-size 50 --test-rows 100 --hidden 16"


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "examples.extreme", *SMALL.split(), *more]


def run(report: Path, *more: str) -> dict[str, float]:
    subprocess.run(command("--report", str(report), *more), check=True, capture_output=True)
    return json.loads(report.read_text())


def test_devices_change_nothing(tmp_path: Path) -> None:
    one = run(tmp_path / "one.json", "--steps", "12")
    four = run(tmp_path / "four.json", "--steps", "12", "--devices", "4")
    np.testing.assert_allclose(one["losses"], four["losses"], rtol=1e-4)
    assert one["losses"][-1] < one["losses"][0]
    np.testing.assert_allclose(one["P@5"], four["P@5"], atol=0.02)


@pytest.mark.slow("one program is killed, and two more run after it")
def test_it_goes_on_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("orbax.checkpoint")
    kept = ("--every", "5", "--checkpoints", str(tmp_path / "kept"))
    # so many steps that it will not finish
    killed = subprocess.Popen(
        command("--steps", "1000000", *kept), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "kept" / "5").is_dir() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = max(int(path.name) for path in (tmp_path / "kept").iterdir() if path.name.isdigit())
    steps = ("--steps", str(done + 7))
    rest, whole = run(tmp_path / "rest.json", *steps, *kept), run(tmp_path / "whole.json", *steps)
    # to the last bit
    assert rest["losses"] == whole["losses"][done:]
    assert len(rest["losses"]) == 7
    assert rest["P@5"] == whole["P@5"]
