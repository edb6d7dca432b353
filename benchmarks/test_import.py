"""What `import mlc_losses` costs a program that has NumPy anyway."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

BAR = 0.05  # seconds
CODE = """
import time, numpy
start = time.perf_counter()
import mlc_losses
print(time.perf_counter() - start)
"""


def test_import(benchmark: Any, report: list[str]) -> None:
    def seconds() -> float:
        return float(subprocess.check_output([sys.executable, "-c", CODE]))

    extra = statistics.median(seconds() for _ in range(15))
    report.append(f"import mlc_losses after numpy: {1e3 * extra:.1f} ms")
    benchmark.extra_info["seconds over numpy"] = extra
    benchmark.pedantic(seconds, rounds=3)
    assert extra <= BAR
