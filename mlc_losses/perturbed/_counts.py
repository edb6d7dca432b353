"""How many perturbed candidates are above a threshold, with all of them and without each one.

The probabilities of the counts come from a recursion over the candidates that keeps only what is
below k. What a candidate adds takes the counts of those before it and of those after it: the
recursion runs backward and forward. Arrays are `[k, Q, R]`: counts, nodes, rows. Rows are last,
where there are many of them and loops vectorise.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from mlc_losses._array.loops import scan
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses.perturbed._normal import normal_cdf_and_density

# beyond it a probability is 0 or 1
FAR = 40.0
# entries of the states that are kept for the candidates of a block
_KEPT = 2**22


def counts_and_derivatives(offsets: Any, others: Any, nodes: Any, weights: Any) -> tuple[Any, Any]:
    """How many of the perturbed candidates `[M, R]` are above each node `[Q, R]`.

    `others` `[k, Q, R]` are the probabilities of the counts 0..k-1 of the classes that are no
    candidates. Returns the same of all classes; and `[M, R]`, the derivatives of the weighted sum
    over the nodes of the probability that k or more are above.

    States after a candidate are kept for one block of candidates at a time: memory is of the order
    of √M states.
    """
    xp = namespace(offsets=offsets)
    num_candidates, num_rows = shape_of(offsets)
    length = max(math.isqrt(num_candidates), _KEPT // max(math.prod(shape_of(others)), 1), 1)
    length = min(length, num_candidates)
    blocks = _blocks(xp, offsets, length)
    certain = xp.ones_like(others)
    derivatives_of = partial(_block_derivatives, nodes, weights)
    if shape_of(blocks)[0] == 1:
        below, derivatives = derivatives_of(others, (blocks[0, ...], certain))
    else:
        _, after = scan(partial(_skip_block, nodes), certain, (blocks,), reverse=True)
        below, derivatives = scan(derivatives_of, others, (blocks, after))
    derivatives = xp.reshape(derivatives, (shape_of(blocks)[0] * length, num_rows))
    return below, derivatives[:num_candidates, :]


def _blocks(xp: Any, offsets: Any, length: int) -> Any:
    """`[blocks, length, R]`; the last one is filled up by candidates that are never above."""
    num_candidates, num_rows = shape_of(offsets)
    num_blocks = -(-num_candidates // length)
    missing = num_blocks * length - num_candidates
    # made of the offsets, so that they are split over devices as these are
    never = xp.broadcast_to(xp.full_like(offsets[:1, :], -xp.inf), (missing, num_rows))
    return xp.reshape(xp.concat([offsets, never], axis=0), (num_blocks, length, num_rows))


def chances(offsets: Any, nodes: Any) -> tuple[Any, Any]:
    """That candidates `[M, R]` are above the nodes, and its derivatives, `[M, Q, R]`."""
    distance = offsets[:, None, :] - nodes[None, ...]
    return normal_cdf_and_density(namespace(x=distance).clip(distance, -FAR, FAR))


def _block_derivatives(nodes: Any, weights: Any, before: Any, slices: Any) -> tuple[Any, Any]:
    """The counts with the candidates of a block, and their derivatives."""
    offsets, after = slices
    above, density = chances(offsets, nodes)
    _, falls = scan(keep_fall, after, (above,), reverse=True)
    return scan(derivative, before, (above, weights[None, ...] * density, falls))


def _skip_block(nodes: Any, after: Any, slices: Any) -> tuple[Any, Any]:
    """The state before a block from that after it, and the latter to keep."""
    (offsets,) = slices
    return scan(partial(_add_after, nodes), after, (offsets,), reverse=True)[0], after


def _add_after(nodes: Any, after: Any, slices: Any) -> tuple[Any, None]:
    return keep_fall(after, (chances(slices[0][None, :], nodes)[0][0, ...],))[0], None


def keep_fall(after: Any, slices: Any) -> tuple[Any, Any]:
    """The probabilities that n and the candidates from here on stay below k; and how they fall."""
    xp = namespace(x=after)
    falls = after - xp.concat([after[1:, ...], xp.zeros_like(after[:1, ...])], axis=0)
    return after - slices[0][None, ...] * falls, falls


def derivative(before: Any, slices: Any) -> tuple[Any, Any]:
    """The counts with one candidate more, and its derivative."""
    xp = namespace(x=before)
    above, density, falls = slices
    missed = xp.sum(before * falls, axis=0)
    one_more = xp.concat([xp.zeros_like(before[:1, ...]), before[:-1, ...]], axis=0)
    return before + above[None, ...] * (one_more - before), xp.sum(density * missed, axis=0)


def no_others(k: int, nodes: Any) -> Any:
    """The counts 0..k-1 of no classes at all, `[k, Q, R]`: 0, with certainty."""
    xp = namespace(nodes=nodes)
    # made of the nodes, so that they are split over devices as these are
    none = xp.broadcast_to(xp.zeros_like(nodes)[None, ...], (k - 1, *shape_of(nodes)))
    return xp.concat([xp.ones_like(nodes)[None, ...], none], axis=0)
