"""What JAX compiles during a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def compiled_by(call: Callable[[], Any]) -> list[str]:
    """The names of JAX's events about compiling, one or more for each program that it compiles."""
    events: list[str] = []

    def listen(event: str, duration: float, **rest: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(call())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return events


def compiled_by_the_third(call: Callable[[], Any]) -> list[str]:
    for _ in range(2):
        jax.block_until_ready(call())
    return compiled_by(call)
