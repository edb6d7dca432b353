"""What the losses call: sums over pairs of labels, with their gradient rules.

ZLPR adds the sides of the two-sided log-sum-exp, LSEP and softmax cross-entropy join them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.batch import batch_max, batch_sum
from mlc_losses._array.namespace import as_dtype, is_number, namespace, shape_of
from mlc_losses._array.ops import scaled, stop_gradient
from mlc_losses._array.row_rules import RowRule, apply_rule, apply_rule_over_batch, is_finite
from mlc_losses.losses._two_sided import SideSums, TwoSided, as_sides, side_sums, without_unknown

# far below any logit that counts, and no infinity
_OFF_SIDE = 1e30
# its exponential is a normal number, and adds nothing to 1
_SMALLEST_EXPONENT = -87.0


def two_sided_logsumexp(xp: Any, logits: Any, targets: Any, bound: Any, where: Any = None) -> Any:
    """`log(e^b + Σ (1 - y) e^s) + log(e^-b + Σ y e^-s)` over the labels.

    Targets are weights in [0, 1]; if they are bool or integers, one exponential does for two.
    `bound` is one value b per example. The shifts are added first: a small sum keeps its digits.
    """
    hard = not xp.isdtype(targets.dtype, "real floating")
    sums = SideSums(*apply_rule(xp, TwoSided(hard), (logits, targets, bound), where=where))
    return (sums.negative_shift + sums.positive_shift) + (sums.negative_log + sums.positive_log)


def log_pair_sum(
    logits: Any,
    targets: Any,
    where: Any = None,
    *,
    negative_temperature: Any = 1.0,
    positive_temperature: Any = 1.0,
    over_batch: bool = False,
) -> Any:
    """`log Σ_N Σ_P e^(s_n - s_p)`; with temperatures `log (Σ_N e^(s_n / T))^T` and so for P.

    Targets are 0 or 1, in any dtype. `over_batch`: for each label over the examples of `[B, L]`.

    -inf where either side is empty, whatever the other one is. The shifts are added first, so that
    it is accurate where the sides cancel.
    """
    xp = namespace(logits=logits, targets=targets)
    temperatures = (negative_temperature, positive_temperature)
    apply = apply_rule_over_batch if over_batch else apply_rule
    return apply(xp, _LogPairSum(), (logits, targets), temperatures, where)[0]


@dataclass(frozen=True)
class _LogPairSum(RowRule):
    """The rule of `log_pair_sum`, of which the temperatures are the parameters.

    Values: the result, and the `SideSums` it is made of.
    """

    def values(self, xp: Any, params: Any, where: Any, logits: Any, targets: Any) -> Any:
        logits = _tempered(xp, logits, targets, *params)
        sums = SideSums(*_SIDES.values(xp, (), where, logits, targets))
        return _joined(sums, *params), *sums

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, targets: Any
    ) -> tuple[Any, ...]:
        sums = SideSums(*values[1:])
        logits = _tempered(xp, logits, targets, *params)
        found = _SIDES.derivatives(index, xp, (), where, sums, logits, targets)
        _, negative, _, positive = found
        paired = xp.where(_is_empty(xp, sums), 0.0, 1.0)[..., None]
        cool, warm = params
        if index == 0:  # by the logits over their temperature
            return paired * (negative + positive), None, negative / cool, None, positive / warm
        return paired * (cool * negative + warm * positive), *found

    def values_over_batch(
        self, xp: Any, params: Any, where: Any, logits: Any, targets: Any
    ) -> tuple[Any]:
        logits = _tempered(xp, logits, targets, *params)
        arrays = without_unknown(xp, where, *as_sides(xp, logits, targets))
        sums = side_sums(xp, *arrays, largest=_largest_of_batch, total=_total_of_batch)
        return (_joined(sums, *params),)

    keeps_derivative = True

    def finite_values(
        self, xp: Any, params: Any, where: Any, *arrays: Any, derivative: Any = None
    ) -> Any:
        """Without a choice between the sides: it would cost as much as an exponential."""
        logits, targets = arrays
        if not shape_of(logits)[-1]:
            return None
        positive = as_dtype(xp, targets, logits.dtype)
        negative = 1.0 - positive
        off_sides = (positive, negative)
        if where is not None:
            logits = xp.where(where, logits, 0.0)
            off_sides = tuple(xp.where(where, off, 1.0) for off in off_sides)
        cool, warm = params
        factors = (1.0 / cool, -1.0 / warm)
        sides = [_side(logits * c, off) for c, off in zip(factors, off_sides, strict=True)]
        (_, shift, log, empty), (_, other_shift, other_log, other_empty) = sides
        paired = (cool * shift + warm * other_shift) + (cool * log + warm * other_log)
        if not is_finite(paired):
            return None
        alone = empty | other_empty
        if derivative is not None:
            share, other_share = (xp.where(alone, 0.0, xp.exp(-side[2])) for side in sides)
            xp.mul(sides[0][0], share[..., None], out=derivative)
            derivative.addcmul_(sides[1][0], other_share[..., None], value=-1.0)
            if where is not None:
                derivative.mul_(where)
        logs = (xp.where(side[3], -math.inf, side[2]) for side in sides)
        negative_log, positive_log = logs
        return (
            xp.where(alone, -math.inf, paired), shift, negative_log, other_shift, positive_log,
        )  # fmt: skip


_SIDES = TwoSided(hard=True)


def _largest_of_batch(xp: Any, pair: Callable[..., Any], logits: Any, targets: Any) -> list[Any]:
    return [batch_max(side) for side in pair(stop_gradient(logits), targets)]


def _total_of_batch(
    xp: Any, pair: Callable[..., Any], logits: Any, targets: Any, *rows: Any
) -> list[Any]:
    return [batch_sum(side) for side in pair(logits, targets, *(row[None, :] for row in rows))]


def _side(exponents: Any, off_side: Any) -> tuple[Any, Any, Any, Any]:
    """On PyTorch, in place: terms, shift, and logarithm of a side, and whether it is empty."""
    exponents.sub_(off_side, alpha=_OFF_SIDE)
    peak = exponents.amax(-1)
    empty = peak < -_OFF_SIDE / 2
    shift = peak.masked_fill(empty, 0.0)
    # up to 0, and none so small that it would be slow
    terms = exponents.sub_(shift[..., None]).clamp_(min=_SMALLEST_EXPONENT).exp_()
    return terms, shift, terms.sum(-1).masked_fill_(empty, 1.0).log_(), empty


def _tempered(xp: Any, logits: Any, targets: Any, cool: Any, warm: Any) -> Any:
    """Each logit over the temperature of its side."""
    are_numbers = is_number(cool) and is_number(warm)
    if are_numbers and cool == warm == 1.0:
        return logits
    factor = 1.0 / cool + as_dtype(xp, targets, logits.dtype) * (1.0 / warm - 1.0 / cool)
    # of huge logits the difference is to be finite
    is_smaller = are_numbers and min(cool, warm) >= 1.0
    return logits * factor if is_smaller else scaled(logits, factor)


def _is_empty(xp: Any, sums: SideSums) -> Any:
    """Whether either side is, and neither is NaN."""
    logs = (sums.negative_log, sums.positive_log)
    empty = (logs[0] == -math.inf) | (logs[1] == -math.inf)
    return empty & ~xp.isnan(logs[0]) & ~xp.isnan(logs[1])


def _joined(sums: SideSums, negative_scale: Any, positive_scale: Any) -> Any:
    xp = namespace(sums=sums.negative_log)
    logs = (sums.negative_log, sums.positive_log)
    empty = _is_empty(xp, sums)
    scales = (negative_scale, positive_scale)
    shifts = (sums.negative_shift, sums.positive_shift)
    # the shift of an infinite logarithm, the largest finite number, is ignored
    shift = sum(
        scale * xp.where(xp.isinf(log), 0.0, shift)
        for scale, shift, log in zip(scales, shifts, logs, strict=True)
    )
    log = sum(scale * xp.where(empty, 0.0, log) for scale, log in zip(scales, logs, strict=True))
    return xp.where(empty, -math.inf, shift + log)
