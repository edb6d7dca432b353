"""Where the labels and the batch are: here as a whole, or here in part only.

`scale/` runs a loss on a part: labels or examples of one device of several, or of one block. It
says so here, and the reductions of `labels`, `batch` and `candidates`, which every loss is made
of, ask here how to get from a part to the whole. On JAX only; elsewhere all is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn, Protocol

from array_api_compat import is_jax_namespace


class Parts(Protocol):
    """How results on parts of an axis become one on the whole axis. Hashable."""

    def sum(self, x: Any) -> Any:
        """The sum over the parts of what each has found, `x`."""

    def max(self, x: Any, axis: int) -> Any:
        """The largest entry along the axis whose part `x` holds."""

    def top_k(self, values: Any, numbers: Any, k: int) -> tuple[Any, Any]:
        """The k largest of the values `[..., W]` of all parts, and their numbers."""

    def before(self, x: Any) -> Any:
        """The sum of what the parts before this one have found."""

    def start(self, width: int) -> Any:
        """The number of this part's first entry, if each has `width`."""

    def total(self, width: int) -> int:
        """The number of all entries, if each part has `width`."""

    def refuse(self, reason: str) -> NoReturn:
        """What needs the whole axis at once."""


class Layout(NamedTuple):
    """None for an axis that is whole."""

    labels: Any = None
    batch: Any = None


_WHOLE = Layout()
_layout: ContextVar[Layout] = ContextVar("layout", default=_WHOLE)


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """What is computed, or traced, inside sees parts of the axes."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def current_layout() -> Layout:
    return _layout.get()


def label_parts(xp: Any) -> Any:
    """The `Parts` of the label axis, None if it is whole."""
    return _layout.get().labels if is_jax_namespace(xp) else None


def batch_parts(xp: Any) -> Any:
    """The `Parts` of the batch, None if it is whole."""
    return _layout.get().batch if is_jax_namespace(xp) else None


def needs_all_labels(xp: Any, reason: str) -> None:
    """Raises where labels are split; the reason completes "it ..."."""
    parts = label_parts(xp)
    if parts is not None:
        parts.refuse(reason)


class OneBlock:
    """A block of examples that will never hear of the others."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError(
            "the loss looks across the batch, and rows are given to it block by block; it needs "
            "all logits at once"
        )
