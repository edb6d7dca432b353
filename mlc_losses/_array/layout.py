"""Where the labels and the batch are: here as a whole, or here in part only.

`scale/` runs a loss on a part: the labels or examples of one device of several, or of one block.
It says so here, and the reductions of `labels`, `batch` and `candidates`, which every loss is made
of, ask here how to get from a part to the whole. On JAX only; elsewhere all is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn, Protocol

from mlc_losses._array.backend import is_jax_namespace


class NeedsWholeAxisError(ValueError):
    """What is to be computed cannot be had from parts. The message completes "it ..."."""


class ShardedAxis(Protocol):
    """How results on parts of an axis become one on the whole axis."""

    @property
    def allows_custom_gradient(self) -> bool:
        """Whether a gradient rule, and a loop, may ask for the other parts; it is then hashable."""

    def psum(self, x: Any) -> Any:
        """The sum over the parts of what each has found, `x`."""

    def max_no_grad(self, x: Any) -> Any:
        """The largest of what each has found, `x`, without a gradient."""

    def pmax(self, x: Any, axis: int) -> Any:
        """The largest entry along the axis of which `x` holds a part."""

    def top_k(self, values: Any, numbers: Any, k: int) -> tuple[Any, Any]:
        """The k largest of the values `[..., W]` of all parts, and their numbers."""

    def exclusive_sum(self, x: Any) -> Any:
        """The sum of what the parts before this one have found."""

    def all_gather(self, x: Any) -> Any:
        """What each part has found, `[parts, ...]`, known to all."""

    def gather_rows(self, x: Any) -> Any:
        """The rows of all parts, of which `x` holds this one's, unless it holds all."""

    def local_slice(self, x: Any, width: int) -> Any:
        """Of an array for all labels those of this part, unless it has been split like the rest."""

    def offset(self, width: int) -> Any:
        """The number of this part's first entry, if each has `width`."""

    def global_size(self, width: int) -> int:
        """The number of all entries, if each part has `width`."""


class Layout(NamedTuple):
    """The parts of both axes; None for an axis that is whole."""

    labels: Any = None
    batch: Any = None


_WHOLE = Layout()
_layout: ContextVar[Layout] = ContextVar("layout", default=_WHOLE)


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """What is computed, or traced, inside sees parts of the axes."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def current_layout() -> Layout:
    """What a gradient rule must keep: it is traced later, when the layout may be another one."""
    return _layout.get()


def label_shards(xp: Any) -> Any:
    """The `ShardedAxis` of the label axis, None if it is whole."""
    return _layout.get().labels if is_jax_namespace(xp) else None


def batch_shards(xp: Any) -> Any:
    """The `ShardedAxis` of the batch, None if it is whole."""
    return _layout.get().batch if is_jax_namespace(xp) else None


def require_all_labels(xp: Any, reason: str) -> None:
    """Raises where labels are split."""
    if label_shards(xp) is not None:
        raise NeedsWholeAxisError(reason)


def require_custom_gradient(xp: Any, reason: str) -> None:
    """Raises where labels are seen block by block."""
    shards = label_shards(xp)
    if shards is not None and not shards.allows_custom_gradient:
        raise NeedsWholeAxisError(reason)


class OneBlock:
    """A block of examples that never hears of the others."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError(
            "the loss looks across the batch, but is given its rows block by block; it needs the "
            "logits of all examples at once"
        )

    def offset(self, width: int) -> int:
        return 0

    def global_size(self, width: int) -> int:
        return width
