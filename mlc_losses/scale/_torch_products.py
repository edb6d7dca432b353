"""The three products of a linear layer with a block of rows, added up in place on PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from mlc_losses.scale._arguments import Head
from mlc_losses.scale._rows import CPU_BYTES, columns_within, cut


class Products:
    """The logits of blocks, and the sums of what their derivatives bring to the layer's.

    Half precision, or that of autocast, is what numbers are rounded to before they are multiplied.
    A CPU multiplies them as float32, a few labels at a time, so that there is no wide copy of the
    kernel. Everything is added up in `dtype`.
    """

    def __init__(self, head: Head, dtype: Any, with_gradient: bool) -> None:
        self._kernel, self._bias, self._dtype = head.kernel.detach(), head.bias, dtype
        self._narrow = _narrow_dtype(head.kernel)
        on_cpu = head.kernel.device.type == "cpu"
        self._forward = dtype if on_cpu else self._narrow
        # float16 has no exponents for what has been divided by N
        self._backward = dtype if on_cpu or self._narrow == torch.float16 else self._narrow
        needed = [with_gradient and x is not None and x.requires_grad for x in head[:3]]
        self.needed = any(needed)
        # in memory as the arrays are, which may be transposed ones
        self.derivatives = [
            torch.zeros_like(x, dtype=dtype) if is_needed else None
            for x, is_needed in zip(head[:3], needed, strict=True)
        ]

    def logits(self, features: Any) -> Any:
        logits = features.new_empty((len(features), self._kernel.shape[1]), dtype=self._dtype)
        with _no_autocast(features):
            for columns in self._columns(self._forward):
                self._multiply(logits, features, columns)
        return logits

    def _multiply(self, logits: Any, features: Any, columns: slice) -> None:
        factor, kernel = self._rounded(features, self._forward), self._part(self._forward, columns)
        if self._forward != self._dtype:
            logits[:, columns] = factor @ kernel
            if self._bias is not None:
                logits[:, columns] += self._bias.detach()[columns]
        elif self._bias is None:
            torch.mm(factor, kernel, out=logits[:, columns])
        else:
            bias = self._bias.detach()[columns].to(self._dtype)
            torch.addmm(bias, factor, kernel, out=logits[:, columns])

    def add(self, rows: slice, features: Any, by_logits: Any) -> None:
        by_features, by_kernel, by_bias = self.derivatives
        with _no_autocast(features):
            for columns in self._columns(self._backward):
                part = by_logits[:, columns].to(self._backward)
                if by_features is not None:
                    kernel = self._part(self._backward, columns)
                    _add_product(by_features[rows], part, kernel.T)
                if by_kernel is not None:
                    factor = self._rounded(features, self._backward)
                    _add_product(by_kernel[:, columns], factor.T, part)
            if by_bias is not None:
                by_bias += by_logits.sum(dim=0)

    def _columns(self, factor: Any) -> Iterator[slice]:
        """All labels, or a few at a time where the kernel is to be converted."""
        num_labels = self._kernel.shape[1]
        if self._kernel.dtype == self._narrow == factor:
            yield slice(None)
            return
        size = columns_within(CPU_BYTES, len(self._kernel))
        _, size = cut(max(num_labels, 1), size)
        for start in range(0, num_labels, size):
            yield slice(start, start + size)

    def _part(self, dtype: Any, columns: slice) -> Any:
        return self._rounded(self._kernel[:, columns], dtype)

    def _rounded(self, x: Any, dtype: Any) -> Any:
        return x.to(self._narrow).to(dtype)


def _add_product(total: Any, a: Any, b: Any) -> None:
    if a.dtype == total.dtype:
        torch.addmm(total, a, b, out=total)
    else:
        total += a @ b


def _narrow_dtype(kernel: Any) -> Any:
    """What a dense layer would multiply in."""
    kind = kernel.device.type
    if kind == "meta" or kernel.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return kernel.dtype
    return torch.get_autocast_dtype(kind)


def _no_autocast(x: Any) -> Any:
    kind = x.device.type
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)
