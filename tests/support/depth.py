"""How many examples a property test draws: a few, or with `PROPERTY_DEPTH=10` ten times as many."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

DEPTH = int(os.environ.get("PROPERTY_DEPTH", "1"))


def examples(few: int, **more: Any) -> Any:
    """Settings of a property test; a single run draws any, so that its time is no failure."""
    return settings(max_examples=few * DEPTH, deadline=None, **more)
