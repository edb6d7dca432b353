"""Value and mask of the operator for checked arguments, on any backend."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.labels import top_k_sum
from mlc_losses._array.layout import current_layout, require_custom_gradient
from mlc_losses._array.namespace import can_look, namespace, shape_of
from mlc_losses._array.ops import stop_gradient
from mlc_losses._array.scatter import add_at, values_at
from mlc_losses.perturbed._arguments import Call
from mlc_losses.perturbed._exact import accuracy, expected_sum
from mlc_losses.perturbed._noise import antithetic
from mlc_losses.perturbed._sample import mean_selection


def mean(call: Call, scores: Any) -> Any:
    """The value `[...]`; that of an example with a NaN is NaN."""
    xp = namespace(scores=call.scores)
    value = _exact_mean(xp, call) if call.exact else _sampled(xp, call)[0]
    # a factor, not a choice of value: the derivatives are to be NaN as well
    value = value * xp.where(call.bad, xp.nan, xp.ones_like(value))
    return xp.reshape(value, shape_of(scores)[:-1])


def mask(call: Call, scores: Any) -> Any:
    """The probability of each class `[..., L]`; NaN for an example with one."""
    xp = namespace(scores=call.scores)
    if call.exact:
        probabilities = _exact_mask(xp, call)
    else:
        call = call._replace(scores=stop_gradient(call.scores))
        value, indices = _sampled(xp, call)
        weights = xp.full_like(indices, 1.0 / call.num_samples, dtype=value.dtype)
        probabilities = add_at(indices, weights, shape_of(call.scores)[-1])
    probabilities = xp.where(call.bad[:, None], xp.nan, probabilities)
    return xp.reshape(probabilities, shape_of(scores))


def _sampled(xp: Any, call: Call) -> tuple[Any, Any]:
    """Value `[R]` and the labels selected `[R, W]`."""
    if is_jax_namespace(xp):
        return _sampled_on_jax(xp, call)
    scores = stop_gradient(call.scores)
    value, selected = mean_selection(scores, call.sigma, _draws(call), call.k, call.only_last)
    if not is_torch_namespace(xp):
        return value, selected
    # a term of value 0 carries the derivatives, of the labels selected and of no others
    own = values_at(call.scores, selected)
    return value + top_k_sum(own - stop_gradient(own)) / call.num_samples, selected


def _draws(call: Call) -> Iterator[Any]:
    if call.noise is None:
        return antithetic(call.scores, call.key, call.num_samples)
    return (call.noise[:, :, sample] for sample in range(call.num_samples))


def _sampled_on_jax(xp: Any, call: Call) -> tuple[Any, Any]:
    require_custom_gradient(xp, "goes through noise samples in a loop of its own")
    from mlc_losses.perturbed import _jax

    rows, num_labels = shape_of(call.scores)
    if call.noise is None:
        source = _jax.seeds(call.key, rows, (call.num_samples + 1) // 2)
    else:
        source = xp.permute_dims(call.noise, (0, 2, 1))
    plan = _jax.Plan(
        k=call.k,
        only_last=call.only_last,
        num_samples=call.num_samples,
        num_labels=num_labels,
        from_noise=call.noise is not None,
        layout=current_layout(),
    )
    return _jax.sampled_mean(plan, call.scores, call.sigma[:, 0], source)


def _exact_mean(xp: Any, call: Call) -> Any:
    """Value `[R]`."""
    if is_jax_namespace(xp):
        from mlc_losses.perturbed import _jax_exact

        value, bound = _jax_exact.mean(call.ranks, call.num_candidates, call.scores, call.sigma)
    elif is_torch_namespace(xp):
        from mlc_losses.perturbed import _torch

        value, bound = _torch.exact_mean(call.scores, call.sigma, call.ranks, call.num_candidates)
    else:
        value, _, bound = expected_sum(call.scores, call.ranks, call.sigma, call.num_candidates)
    _warn(xp, call, bound)
    return value


def _exact_mask(xp: Any, call: Call) -> Any:
    """Probability of each class `[R, L]`."""
    if is_jax_namespace(xp):
        from mlc_losses.perturbed import _jax_exact

        result = _jax_exact.result(call.ranks, call.num_candidates, call.scores, call.sigma)
    else:
        result = expected_sum(call.scores, call.ranks, call.sigma, call.num_candidates)
    _warn(xp, call, result.bound)
    return result.derivatives


def _warn(xp: Any, call: Call, bound: Any) -> None:
    """Of too few candidates, where the values can be looked at."""
    if call.num_candidates is None or not can_look(bound) or shape_of(bound)[0] == 0:
        return
    worst, promised = float(xp.max(bound)), accuracy(call.scores).promised
    if worst > promised:
        warnings.warn(
            f"num_candidates={call.num_candidates} leaves out classes that may change value or "
            f"derivatives by up to {worst:.2g} (in units of sigma), more than {promised:g}",
            stacklevel=5,
        )
