"""Every test runs on the one array library that `ARRAY_BACKEND` names."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import backends
from tests.support.slow import pytest_runtest_call  # noqa: F401

ROOT = Path(__file__).parents[1]

if backends.NAME == "jax":
    backends.compile_quickly()
    # programs are many small objects that stay: look through them for garbage less often
    gc.set_threshold(100_000)
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


@pytest.fixture
def op_by_op() -> Iterator[None]:
    """For errors about values and for eager calls, in files that call whole programs elsewhere."""
    with backends.op_by_op():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On JAX all tests of a case go to one worker, which then compiles it once; those of a file
    too, but for tests that are long alone.
    """
    if backends.NAME != "jax":
        return
    for item in items:
        given = getattr(item, "callspec", None)
        case = given and (given.params.get("case") or given.params.get("subject"))
        if case is not None:
            item.add_marker(pytest.mark.xdist_group(case.id))
        elif not {"devices", "scale"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = len(terminalreporter.stats.get("passed", []))
    terminalreporter.write_line(f"promises checked on {backends.NAME}: {passed}")
