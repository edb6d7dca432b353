"""Anchors against candidates: what the contrastive losses have in common.

Where the batch is split over devices, `whole_batch` has brought the candidates together: an
anchor's row of similarities is complete in itself. Many anchors are taken in blocks of rows, so
that memory is the block's times the number of candidates, never that of all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mlc_losses._array.loops import map_rows, recomputed
from mlc_losses._array.namespace import default_integer, device_of, namespace, shape_of
from mlc_losses._array.ops import finite, matmul, stop_gradient

# entries of one block of pairs: 16 MiB in float32
_BLOCK_SIZE = 2**22


class Anchors(NamedTuple):
    """Rows of the loss, some of the candidates or none of them."""

    embeddings: Any  # [A, D], unit vectors
    weight_inputs: Any  # [A, ...], what the weights of a row are computed from
    indices: Any  # [A], which candidate is the anchor itself; -1 for none


class Candidates(NamedTuple):
    """The embeddings each anchor is compared with."""

    embeddings: Any  # [C, D], unit vectors
    present: Any = None  # bool [C]; None is all
    denominator: Any = None  # [C], factor in the sum of exponentials; None is 1


def candidate_indices(x: Any) -> Any:
    """0..C-1, for candidates `x` `[C, ...]`."""
    return namespace(x=x).arange(shape_of(x)[0], device=device_of(x))


def no_indices(x: Any) -> Any:
    """For rows that are not candidates."""
    xp = namespace(x=x)
    return xp.full((shape_of(x)[0],), -1, dtype=default_integer(xp), device=device_of(x))


def unit_vectors(x: Any) -> Any:
    """`x / |x|` over the last axis; a zero vector stays zero, with gradient 0.

    The norm is that of `x / max |x|`, whose squares neither overflow nor all underflow.
    """
    xp = namespace(x=x)
    if shape_of(x)[-1] == 0:
        return x
    peak = xp.max(xp.abs(stop_gradient(x)), axis=-1)[..., None]
    zero = peak == 0
    scaled = x / xp.where(zero, 1.0, peak)
    square = xp.sum(scaled * scaled, axis=-1)[..., None]
    return xp.where(zero, 0.0, scaled / xp.sqrt(xp.where(zero, 1.0, square)))


def products(a: Any, b: Any) -> Any:
    """Inner products of the rows of `a` `[A, D]` with those of `b` `[C, D]`: `[A, C]`."""
    return matmul(a, namespace(b=b).permute_dims(b, (1, 0)))


def candidate_sum(x: Any) -> Any:
    """Sum over the candidates, the last axis."""
    return namespace(x=x).sum(x, axis=-1)


def candidate_counts(weights: Any, targets: Any) -> Any:
    """`Σ_j w_ij y_jl`: `weights` `[A, C]` with `targets` `[C, L]` to `[A, L]`."""
    return matmul(weights, targets)


def peak_and_logsumexp(x: Any) -> tuple[Any, Any]:
    """The largest of the candidates, a constant, and `log Σ e^(x - peak)`; 0 and -inf for none."""
    xp = namespace(x=x)
    if shape_of(x)[-1] == 0:
        zero = candidate_sum(x)
        return zero, zero - math.inf
    peak = xp.max(stop_gradient(x), axis=-1)
    peak = xp.where(peak == -math.inf, 0.0, peak)
    total = candidate_sum(xp.exp(x - peak[..., None]))
    none = total == 0
    return peak, xp.where(none, -math.inf, xp.log(xp.where(none, 1.0, total)))


def allowed_pairs(indices: Any, candidates: Candidates) -> Any:
    """Bool `[A, C]`: the pairs of an anchor and a candidate that is there and not the anchor."""
    others = indices[:, None] != candidate_indices(candidates.embeddings)[None, :]
    return others if candidates.present is None else others & candidates.present[None, :]


def soft_target_loss(
    anchors: Anchors,
    candidates: Candidates,
    weights_of: Callable[[Any, Any], Any],
    temperature: Any,
    *,
    attract_only: bool = False,
    by_weights: bool = False,
) -> Any:
    """`-Σ_a q_ia [s_ia / τ - log Σ_b β_b e^(s_ib / τ)]` for each anchor, `[A]`.

    `weights_of(inputs, allowed)` gives the q of a block of rows, 0 where a pair is not allowed.
    With `attract_only` a positive whose softmax exceeds its weight has gradient 0, not repulsion.
    `by_weights`: weights and β may carry a gradient, of 0 too.
    """
    xp = namespace(x=anchors.embeddings)

    def unless_0(weight: Any, x: Any) -> Any:
        """`x`; 0 where a weight of 0 removes it, whatever it is."""
        removes = weight == 0
        return xp.where(removes & ~xp.isfinite(x) if by_weights else removes, 0.0, x)

    def rows(embeddings: Any, weight_inputs: Any, indices: Any) -> Any:
        scores = products(embeddings / temperature, candidates.embeddings)
        allowed = allowed_pairs(indices, candidates)
        weights = weights_of(weight_inputs, allowed)
        exponents, counted = scores, allowed
        if candidates.denominator is not None:
            counted = allowed & (candidates.denominator > 0)[None, :]
            factor = xp.where(candidates.denominator > 0, candidates.denominator, 1.0)
            exponents = scores + xp.log(factor)[None, :]
        exponents = xp.where(counted, exponents, -math.inf)
        peak, total = peak_and_logsumexp(exponents)
        if by_weights and candidates.denominator is not None:
            # a factor of 0 adds nothing but its derivative
            absent = allowed & ~counted
            gaps = xp.where(absent, scores - (peak + total)[:, None], -math.inf)
            share = finite(xp, xp.exp(stop_gradient(gaps)))
            factors = xp.where(absent, candidates.denominator[None, :], 0.0)
            total = total + candidate_sum(share * factors)
        # both parts are at least 0 for weights of one sign: no digits are lost between them, and
        # the derivative of the total needs no pass over the pairs
        mass = candidate_sum(weights)
        below = weights * unless_0(weights, scores - peak[:, None])
        # without a positive not even a total that is NaN counts
        loss = mass * unless_0(mass, total) - candidate_sum(below)
        if attract_only:
            share = xp.exp(exponents - (peak + total)[:, None])
            excess = stop_gradient(xp.where(share > weights, share - weights, 0.0))
            loss = loss - candidate_sum(xp.where(weights != 0, excess * scores, 0.0))
        return loss

    return by_anchor_blocks(rows, shape_of(candidates.embeddings)[0], *anchors)


def by_anchor_blocks(rows: Callable[..., Any], candidates: int, *arrays: Any) -> Any:
    """`rows(*arrays)` `[A]`, for arrays `[A, ...]`; in blocks of rows if the pairs are many.

    Differentiating a block computes it again instead of keeping it.
    """
    length = max(1, _BLOCK_SIZE // max(1, candidates))
    if shape_of(arrays[0])[0] <= length:
        return rows(*arrays)
    block = recomputed(rows)
    return map_rows(lambda *part: (block(*part),), arrays, length)[0]
