"""Whether the label axis and the batch are whole, or only a shard of them is at hand.

`scale/` runs a loss on shards: the labels or examples of one of several devices, or of one block.
It says so here. The reductions in `labels` and `batch`, which every loss is built from, ask here
how to combine the results of all shards. Labels are split on JAX only. The batch is too, but its
rows may be taken in blocks on any backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace


class NeedsWholeAxisError(ValueError):
    """A computation that shards cannot do. The message completes a sentence that starts "it"."""


class ShardedAxis(Protocol):
    """The collectives over an axis of which each shard holds a part."""

    @property
    def allows_custom_gradient(self) -> bool:
        """Whether a custom gradient or a loop may use the collectives; then it is hashable."""

    def psum(self, x: Any) -> Any:
        """The sum of `x` over the shards."""

    def pmax(self, x: Any, axis: int) -> Any:
        """The maximum along `axis`, of which `x` holds one shard."""

    def top_k(self, values: Any, indices: Any, k: int) -> tuple[Any, Any]:
        """The k largest of the values `[..., W]` of all shards, and their indices."""

    def exclusive_sum(self, x: Any) -> Any:
        """The sum of `x` over the shards before this one."""

    def all_gather(self, x: Any) -> Any:
        """`x` of every shard, `[shards, ...]`."""

    def gather_rows(self, x: Any) -> Any:
        """The rows of all shards; `x` itself if it holds them already."""

    def local_slice(self, x: Any, width: int) -> Any:
        """This shard's entries of an array for all labels; `x` itself if it is split already."""

    def offset(self, width: int) -> Any:
        """The index of this shard's first entry, if each shard has `width`."""

    def global_size(self, width: int) -> int:
        """The number of all entries, if each shard has `width`."""


class Layout(NamedTuple):
    """The `ShardedAxis` of the labels and of the batch; None for an axis that is whole."""

    labels: Any = None
    batch: Any = None


_WHOLE = Layout()
_layout: ContextVar[Layout] = ContextVar("layout", default=_WHOLE)


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Whatever is computed or traced inside sees this layout."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def run_with_layout(xp: Any, layout: Layout, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` under this layout, on the libraries that have one."""
    if not is_jax_namespace(xp):  # PyTorch's compiler does not look into a context variable
        return function(*arguments)
    with use_layout(layout):
        return function(*arguments)


def current_layout() -> Layout:
    """The layout in use. A custom gradient keeps it: it may be traced later, under another one."""
    return _layout.get()


def label_shards(xp: Any) -> Any:
    """The `ShardedAxis` of the label axis, None if it is whole."""
    return _layout.get().labels if is_jax_namespace(xp) else None


def batch_shards(xp: Any) -> Any:
    """The `ShardedAxis` of the batch, None if it is whole."""
    return None if is_compiled_by_torch(xp) else _layout.get().batch


def is_compiled_by_torch(xp: Any) -> bool:
    """Whether PyTorch's compiler reads this, which cannot follow a context variable."""
    if not is_torch_namespace(xp):
        return False
    import torch

    return torch.compiler.is_compiling()


def require_all_labels(xp: Any, reason: str) -> None:
    """Raises where the labels are split."""
    if label_shards(xp) is not None:
        raise NeedsWholeAxisError(reason)


def require_custom_gradient(xp: Any, reason: str) -> None:
    """Raises where labels are seen block by block, without custom gradients."""
    shards = label_shards(xp)
    if shards is not None and not shards.allows_custom_gradient:
        raise NeedsWholeAxisError(reason)
