r"""Elementary symmetric polynomials over the labels: sums over all sets of k labels.

With :math:`e_j = e^{x_j / t}` and :math:`\sigma_k = \sum_{|S| = k} \prod_{j \in S} e_j`, a smooth
k-th largest entry is :math:`t \log(\sigma_k / \sigma_{k-1})`. Nothing here subtracts, so no digits
are lost, for any k and t.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from array_api_compat import is_jax_namespace

from mlc_losses._array.axis import label_parts, needs_rules
from mlc_losses._array.labels import picks_min, scatter_true, top_k
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import stop_gradient


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
    needs_rules(xp, "goes through the labels one by one")
    largest = top_k(stop_gradient(x), k)
    kth = picks_min(largest.values)
    # An entry further than this from the k-th adds less than e^-reach to the value: it may stand
    # at this distance, where nothing overflows even when squared.
    reach = 30.0 if xp.finfo(x.dtype).bits == 32 else 80.0
    center = xp.where(xp.isinf(kth), 0.0, kth)[..., None]
    distance = xp.clip((x - center) / temperature, -reach, reach)
    weights = xp.exp(distance)
    if is_jax_namespace(xp):
        from mlc_losses._array.jax_symmetric import ratio_by_scan

        ratio = ratio_by_scan(weights, k, label_parts(xp))
    else:
        ratio = _ratio_by_prefix_sums(weights, largest.indices, k)
    return SymmetricRatio(kth, xp.where(kth == -xp.inf, 0.0, xp.log(ratio)))


def _ratio_by_prefix_sums(weights: Any, largest: Any, k: int) -> Any:
    """`σ_k / σ_{k-1}` by k cumulative sums over the labels.

    `σ_m` of the first n entries is `Σ_{i<=n} e_i σ_{m-1}` of those before i. Each is divided by its
    total, so a number that underflows is of no weight as long as the k largest stand in front.
    """
    xp = namespace(weights=weights)
    front = xp.sort(xp.take_along_axis(weights, largest, axis=-1), axis=-1, descending=True)
    rest = xp.where(scatter_true(largest, shape_of(weights)[-1]), 0.0, weights)
    weights = xp.concat([front, rest], axis=-1)
    share = xp.ones_like(weights)
    total = weights[..., 0]
    for taken in range(k):
        # that many entries have been taken: the next one stands behind them
        sums = xp.cumulative_sum(weights[..., taken:] * share, axis=-1)
        total = sums[..., -1]
        share = (sums / total[..., None])[..., :-1]
    return total
