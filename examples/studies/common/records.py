"""Records beside a page: no more fields than needed, a line for each."""

from __future__ import annotations

import json
from functools import partial
from typing import Any


def without(value: Any, dropped: tuple[str, ...]) -> Any:
    """The same records without some fields, at any depth.

    Numbers keep all their digits: ranks would change where means differ by their last ones.
    """
    if isinstance(value, dict):
        return {k: without(v, dropped) for k, v in value.items() if k not in dropped}
    if isinstance(value, list):
        return [without(v, dropped) for v in value]
    return value


def one_per_line(records: Any) -> bytes:
    """JSON with a line for each record, so that versions can be compared."""
    dumped = partial(json.dumps, allow_nan=False)
    if isinstance(records, dict):
        lines = [f"{dumped(key)}: {dumped(value)}" for key, value in records.items()]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()
    return ("[\n" + ",\n".join(map(dumped, records)) + "\n]\n").encode()
