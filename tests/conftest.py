"""Every test runs on the one array library that `ARRAY_BACKEND` names."""

from __future__ import annotations

import backends
import pytest

if backends.NAME == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    # most of the time is compilation, of programs that run once on a few numbers
    jax.config.update("jax_disable_most_optimizations", True)
    # TF32 would hide an error of the size the checks look for
    jax.config.update("jax_default_matmul_precision", "float32")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of a case go to one worker, which then compiles it once."""
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if case is not None:
            item.add_marker(pytest.mark.xdist_group(case.id))
