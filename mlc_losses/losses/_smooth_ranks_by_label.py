"""Smooth ranks label by label, where the host can look at the targets: only pairs that count.

A relevant example is compared with the relevant ones and the others of its label, which are taken
out first. So no pair is computed that is then masked. For NumPy, and for eager PyTorch on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlc_losses._array.namespace import can_look, device_of, shape_of
from mlc_losses._array.ops import is_differentiated, sigmoid

# entries of one block of pairs: 1 MiB in float32, so that it stays in the cache
_BLOCK_SIZE = 2**18
# with fewer examples of a label, what is done for each label takes longer than its pairs
_FEWEST_EXAMPLES = 256


def goes_by_label(scores: Any) -> bool:
    """Whether that is possible and worth it, for `[..., B]`."""
    *labels, examples = shape_of(scores)
    if examples < _FEWEST_EXAMPLES or 0 in labels:
        return False
    # rows are written one by one, which is not to be differentiated
    return can_look(scores) and not is_differentiated(scores)


def missed(xp: Any, scale: Any, scores: Any, positive: Any, negative: Any) -> Any:
    """`Σ_P N_i / (A_i + N_i)` `[...]`."""
    values = []
    for row, is_positive, is_negative in _labels(xp, scores, positive, negative):
        high, low = row[is_positive], row[is_negative]
        total = 0.0 * xp.sum(low[:0])
        for rows in _blocks(high, low):
            ahead = xp.sum(sigmoid(_gaps(high[rows], low, scale)), axis=-1)
            level = _level(xp, sigmoid(_gaps(high[rows], high, scale)))
            total = total + xp.sum(ahead / (ahead + level))
        values.append(total)
    return xp.reshape(xp.stack(values), shape_of(scores)[:-1])


def missed_by_scores(xp: Any, scale: Any, scores: Any, positive: Any, negative: Any) -> Any:
    """Its derivative by the scores, `[..., B]`."""
    derivatives = []
    for row, is_positive, is_negative in _labels(xp, scores, positive, negative):
        high, low = row[is_positive], row[is_negative]
        by_high, by_low = xp.zeros_like(high), xp.zeros_like(low)
        for rows in _blocks(high, low):
            gaps, peer_gaps = (_gaps(high[rows], x, scale) for x in (low, high))
            share, peer_share = sigmoid(gaps), sigmoid(peer_gaps)
            ahead, level = xp.sum(share, axis=-1), _level(xp, peer_share)
            square = (ahead + level) * (ahead + level)
            moved = (level / square)[:, None] * (share * sigmoid(-gaps))
            by_peers = (-ahead / square)[:, None] * (peer_share * sigmoid(-peer_gaps))
            # an example and itself move together
            numbers = xp.arange(shape_of(high)[0], device=device_of(high))
            by_peers = xp.where(numbers[rows][:, None] == numbers[None, :], 0.0, by_peers)
            by_low = by_low + xp.sum(moved, axis=0)
            by_high = by_high + xp.sum(by_peers, axis=0)
            by_high[rows] = by_high[rows] - (xp.sum(moved, axis=-1) + xp.sum(by_peers, axis=-1))
        derivative = xp.zeros_like(row)
        derivative[is_positive] = by_high * scale
        derivative[is_negative] = by_low * scale
        derivatives.append(derivative)
    return xp.reshape(xp.stack(derivatives), shape_of(scores))


def _labels(xp: Any, *arrays: Any) -> Iterator[tuple[Any, ...]]:
    """The rows `[B]` of each label."""
    flat = [xp.reshape(x, (-1, shape_of(x)[-1])) for x in arrays]
    for label in range(shape_of(flat[0])[0]):
        yield tuple(x[label, :] for x in flat)


def _blocks(high: Any, low: Any) -> Iterator[slice]:
    """Of the relevant examples, a few at a time."""
    count, others = shape_of(high)[0], shape_of(low)[0]
    size = max(1, _BLOCK_SIZE // max(1, max(count, others)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _gaps(own: Any, every: Any, scale: Any) -> Any:
    return (every[None, :] - own[:, None]) * scale


def _level(xp: Any, share: Any) -> Any:
    """1 and the share of all peers, of which the example itself has exactly one half."""
    return 0.5 + xp.sum(share, axis=-1)
