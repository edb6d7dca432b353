"""The recipes as modules, where their libraries are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

RECIPES = Path(__file__).parents[3] / "examples" / "recipes"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """By name, with the libraries that it needs."""

    def load(name: str, *needed: str) -> ModuleType:
        for library in needed:
            pytest.importorskip(library)
        monkeypatch.syspath_prepend(str(RECIPES))
        return importlib.import_module(name)

    return load


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The warnings of so many libraries are not ours to treat as errors."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
