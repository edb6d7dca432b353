"""Every test runs on the one array library that `ARRAY_BACKEND` names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import backends
from tests.support.slow import pytest_runtest_call  # noqa: F401

ROOT = Path(__file__).parents[1]

if backends.NAME == "jax":
    backends.compile_quickly()
    import jax

    # programs that were compiled before, in an earlier run too
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    # TF32 would hide an error of the size the checks look for
    jax.config.update("jax_default_matmul_precision", "float32")


@pytest.fixture
def users_compiler() -> Iterator[None]:
    """For class ids out of range, which no look at the arguments can tell."""
    with backends.users_compiler():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of a case go to one worker, which then compiles it once."""
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if case is not None:
            item.add_marker(pytest.mark.xdist_group(case.id))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = len(terminalreporter.stats.get("passed", []))
    terminalreporter.write_line(f"promises checked on {backends.NAME}: {passed}")
