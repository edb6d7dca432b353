"""A smooth k-th largest entry over the labels, as the ratio of two symmetric polynomials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlc_losses._array.labels import labels_together, num_labels, top_k
from mlc_losses._array.layout import require_custom_gradient
from mlc_losses._array.namespace import is_number, namespace
from mlc_losses._array.ops import stop_gradient
from mlc_losses._array.row_rules import SharedTermsRule, apply_rule
from mlc_losses.losses._symmetric import factor, log_ratio, log_ratio_and_derivatives


class SymmetricRatio(NamedTuple):
    """`t log(σ_k / σ_{k-1}) = kth + t log_ratio`.

    `kth`, the k-th largest entry, is a constant here: the gradient of `log_ratio` is the whole
    gradient. -inf where there are fewer than k entries above -inf.
    """

    kth: Any
    log_ratio: Any


def symmetric_ratio(x: Any, k: int, temperature: Any) -> SymmetricRatio:
    """The smooth k-th largest over the labels, in two parts; k in 1..L.

    Entries of -inf are left out. One of inf counts as very large.
    """
    xp = namespace(x=x)
    require_custom_gradient(xp, "counts sets of labels")
    x = labels_together(x)
    # of the labels in a random set of k, at most 2k have a probability above 1/2
    largest = top_k(stop_gradient(x), min(2 * k, num_labels(x)))
    kth = xp.sort(largest.values, axis=-1)[..., -k]
    shift = kth
    if not is_number(temperature):  # its derivative is that of the operations
        x, shift, temperature = _logits(xp, (temperature,), x, kth), xp.zeros_like(kth), 1.0
    arrays = (x, shift, largest.indices)
    ratio, *_ = apply_rule(xp, _LogRatio(k), arrays, (temperature,), wanted=1)
    return SymmetricRatio(kth, xp.where(kth == -xp.inf, 0.0, ratio))


@dataclass(frozen=True)
class _LogRatio(SharedTermsRule):
    """The rule of `log(σ_k / σ_{k-1})` of `e^(x / t)`; values: the logarithm, and the factor c.

    Its arrays are the entries, the k-th largest, which is a constant, and the ids of the largest.
    """

    k: int

    def values(self, xp: Any, params: Any, where: Any, x: Any, kth: Any, largest_ids: Any) -> Any:
        logits = _logits(xp, params, x, kth)
        c = factor(logits, self.k)
        return log_ratio(logits, largest_ids, c, k=self.k), c

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, None]:
        # the logarithm does not depend on the factor
        c = stop_gradient(values[1])
        return None if index else self._ratio_and_derivative(xp, params, c, *arrays)[1], None

    def values_and_derivative(self, xp: Any, params: Any, where: Any, *arrays: Any) -> Any:
        c = factor(_logits(xp, params, *arrays[:2]), self.k)
        value, derivative = self._ratio_and_derivative(xp, params, c, *arrays)
        return (value, c), derivative

    def _ratio_and_derivative(
        self, xp: Any, params: Any, c: Any, x: Any, kth: Any, largest_ids: Any
    ) -> tuple[Any, Any]:
        (temperature,), logits = params, _logits(xp, params, x, kth)
        value, derivative = log_ratio_and_derivatives(logits, largest_ids, c, k=self.k)
        is_cut = xp.abs(_above_kth(xp, x, kth)) > _reach(xp, x) * temperature
        return value, xp.where(is_cut, 0.0, derivative) / temperature


def _reach(xp: Any, x: Any) -> float:
    """An entry further from the k-th, in temperatures, adds less than e^-reach to the value."""
    return 30.0 if xp.finfo(x.dtype).bits == 32 else 80.0


def _logits(xp: Any, params: Any, x: Any, kth: Any) -> Any:
    """The entries over the temperature, with the k-th at 0."""
    (temperature,) = params
    # clipped before the division: inf / t has no derivative by t
    most = _reach(xp, x) * temperature
    logits = xp.clip(_above_kth(xp, x, kth), -most, most) / temperature
    return xp.where((kth == -xp.inf)[..., None], 0.0, logits)


def _above_kth(xp: Any, x: Any, kth: Any) -> Any:
    return x - xp.where(xp.isinf(kth), 0.0, kth)[..., None]
