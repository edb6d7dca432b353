"""The perturbed top-k operator: the public functions, on any backend."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.kth_label import add_at, values_at
from mlc_losses._array.labels import top_k_sum
from mlc_losses._array.layout import current_layout, require_custom_gradient
from mlc_losses._array.namespace import Array, ArrayT, can_look, namespace, shape_of
from mlc_losses._array.noise import antithetic, jax_seeds
from mlc_losses._array.ops import stop_gradient
from mlc_losses.perturbed._arguments import Call, arguments
from mlc_losses.perturbed._exact import accuracy, expected_sum
from mlc_losses.perturbed._sample import mean_picks


def perturbed_kth_largest(
    scores: ArrayT,
    k: int,
    *,
    key: Any = None,
    noise: Array | None = None,
    num_samples: int = 5,
    sigma: Any = 1.0,
    method: str = "sample",
    num_candidates: int | None = None,
) -> ArrayT:
    r"""The k-th largest score, smoothed: its expectation under Gaussian noise on the scores.

    .. math:: E\left[ (s + \sigma Z)_{[k]} \right], \qquad Z \sim N(0, I)

    Args:
      scores: floating ``[..., L]``.
      k: how many, 1 to L, static. k = L is the smoothed minimum.
      key: what to draw the noise with: a JAX PRNG key for JAX arrays (a batch of keys goes with
        ``jax.vmap``), a ``torch.Generator`` for tensors, else a ``numpy.random.Generator``.
      noise: the noise itself, ``[..., L, num_samples]``, in place of a key. The same noise makes
        the same selection on every backend, unless perturbed scores tie within rounding.
      num_samples: how many noise samples are drawn, in antithetic pairs: z, then -z. With an odd
        number the last one has no partner.
      sigma: standard deviation of the noise, at least 0; a constant, it gets no gradient.
        0 is the hard top-k.
      method: ``"sample"``, or ``"exact"`` for the expectation itself by quadrature, which takes
        neither key nor noise.
      num_candidates: for ``"exact"`` alone, static: how many of the largest scores to take one by
        one. By default enough for the promised accuracy; with fewer, eager calls warn when a bound
        on the error exceeds it.

    Returns:
      ``[...]``: the mean over the samples, or the expectation; float32 for half precision scores.

    Raises:
      TypeError: scores or noise are not floating-point, or the key is not the backend's.
      ValueError: k is not in 1..L, ``sigma`` is negative, the noise has another shape, not exactly
        one of key and noise is given to sample with, or something that the method does not take.

    The gradient is the mean over the samples of the one-hot vector of the class that is the k-th
    largest, with the noise of the forward pass; by ``"exact"``, the probability of each class to be
    the k-th largest. It sums to 1. The value differs from the hard k-th largest by at most
    ``sigma * sqrt(2 log 2L)``. Adding a number to all scores adds it to the value; multiplying
    scores and sigma multiplies it.

    The sampled value is piecewise linear: its own second derivative is 0, and second derivatives of
    functions of it are exact apart from that. On the sampled value forward mode (``jax.jvp``)
    raises an error on JAX and works on PyTorch; ``"exact"`` has forward mode and second derivatives
    on both.

    ``"exact"`` is within 1e-6 sigma in float64 and 1e-3 sigma in float32, for any L, in value and
    derivatives. It counts the classes above a threshold: the largest one by one, all others
    together by power sums. When many classes compete for the k-th place, as in a freshly
    initialised network, the bound on the error requires more of them one by one, in the end all,
    which is many times slower. Its time grows with k.

    A score of ``-inf`` deletes its class, with gradient 0; with fewer than k classes left the value
    is ``-inf``. Where the k-th largest is infinite the gradient is 0. A NaN among the scores of an
    example makes its value and gradient NaN, never a plausible number.

    On JAX the noise comes from a hash of the class number, seeded per example and sample by 64
    random bits drawn from the key, and a polynomial for the normal quantile with an error below
    3e-5. This takes a fraction of the time of ``jax.random.normal``. Samples are taken block by
    block, so memory does not grow with their number.

    References:
      Garcin et al., `Stochastic smoothing of the top-K calibrated hinge loss for deep imbalanced
      classification <https://arxiv.org/abs/2202.02193>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import perturbed_kth_largest
      >>> scores = np.array([2.0, 1.0, 0.5, -1.0])
      >>> perturbed_kth_largest(scores, 2, method="exact").round(4)
      np.float64(1.1522)
      >>> rng = np.random.default_rng(0)
      >>> perturbed_kth_largest(scores, 2, key=rng, num_samples=1000).round(1)
      np.float64(1.1)
    """
    call = arguments(
        scores,
        k,
        only_last=True,
        sigma=sigma,
        key=key,
        noise=noise,
        num_samples=num_samples,
        method=method,
        num_candidates=num_candidates,
    )
    return _mean(call, scores)


def perturbed_top_k_sum(
    scores: ArrayT,
    k: int,
    *,
    key: Any = None,
    noise: Array | None = None,
    num_samples: int = 5,
    sigma: Any = 1.0,
    method: str = "sample",
    num_candidates: int | None = None,
) -> ArrayT:
    r"""The sum of the k largest scores, smoothed: its expectation under Gaussian noise.

    .. math:: E\left[ \sum_{i \le k} (s + \sigma Z)_{[i]} \right], \qquad Z \sim N(0, I)

    Args:
      scores: floating ``[..., L]``.
      k: how many, 1 to L, static. k = L is the sum of all.
      key: a JAX PRNG key, a ``torch.Generator`` or a ``numpy.random.Generator``.
      noise: the noise itself, ``[..., L, num_samples]``, in place of a key.
      num_samples: how many noise samples are drawn.
      sigma: standard deviation of the noise, at least 0.
      method: ``"sample"`` or ``"exact"``.
      num_candidates: for ``"exact"`` alone: how many of the largest scores to take one by one.

    Returns:
      ``[...]``, convex in the scores; float32 for half precision scores.

    Raises:
      TypeError: scores or noise are not floating-point, or the key is not the backend's.
      ValueError: k is not in 1..L, ``sigma`` is negative, the noise has another shape, not exactly
        one of key and noise is given to sample with, or something that the method does not take.

    The gradient is :func:`perturbed_top_k_mask` with the same noise: it sums to k. Everything else,
    the derivatives that exist included, as in :func:`perturbed_kth_largest`, of which this is the
    sum over 1..k; ``"exact"`` takes k times its time.

    References:
      Garcin et al., `Stochastic smoothing of the top-K calibrated hinge loss for deep imbalanced
      classification <https://arxiv.org/abs/2202.02193>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import perturbed_top_k_sum
      >>> perturbed_top_k_sum(np.array([2.0, 1.0, 0.5, -1.0]), 2, method="exact").round(4)
      np.float64(3.4143)
    """
    call = arguments(
        scores,
        k,
        only_last=False,
        sigma=sigma,
        key=key,
        noise=noise,
        num_samples=num_samples,
        method=method,
        num_candidates=num_candidates,
    )
    return _mean(call, scores)


def perturbed_top_k_mask(
    scores: ArrayT,
    k: int,
    *,
    key: Any = None,
    noise: Array | None = None,
    num_samples: int = 5,
    sigma: Any = 1.0,
    method: str = "sample",
    num_candidates: int | None = None,
) -> ArrayT:
    r"""The probability of each class to be among the k largest of the perturbed scores.

    .. math:: P\left( (s + \sigma Z)_j \ge (s + \sigma Z)_{[k]} \right), \qquad Z \sim N(0, I)

    Args:
      scores: floating ``[..., L]``.
      k: how many, 1 to L, static. k = L gives 1 to all.
      key: a JAX PRNG key, a ``torch.Generator`` or a ``numpy.random.Generator``.
      noise: the noise itself, ``[..., L, num_samples]``, in place of a key.
      num_samples: how many noise samples are drawn.
      sigma: standard deviation of the noise, at least 0.
      method: ``"sample"`` or ``"exact"``.
      num_candidates: for ``"exact"`` alone: how many of the largest scores to take one by one.

    Returns:
      ``[..., L]`` in [0, 1], summing to k over the classes (to fewer if fewer are above ``-inf``):
      the gradient of :func:`perturbed_top_k_sum` with the same noise, and on every backend.

    Raises:
      TypeError: scores or noise are not floating-point, or the key is not the backend's.
      ValueError: k is not in 1..L, ``sigma`` is negative, the noise has another shape, not exactly
        one of key and noise is given to sample with, or something that the method does not take.

    Differentiable with ``method="exact"`` only; the sampled mask is a constant. Everything else as
    in :func:`perturbed_top_k_sum`.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import perturbed_top_k_mask
      >>> perturbed_top_k_mask(np.array([2.0, 1.0, 0.5, -1.0]), 2, method="exact").round(4)
      array([0.9166, 0.65  , 0.3919, 0.0416])
    """
    call = arguments(
        scores,
        k,
        only_last=False,
        sigma=sigma,
        key=key,
        noise=noise,
        num_samples=num_samples,
        method=method,
        num_candidates=num_candidates,
    )
    xp = namespace(scores=call.scores)
    if call.exact:
        mask = _exact_mask(xp, call)
    else:
        call = call._replace(scores=stop_gradient(call.scores))
        value, indices = _sampled(xp, call)
        weights = xp.full_like(indices, 1.0 / call.num_samples, dtype=value.dtype)
        mask = add_at(indices, weights, shape_of(call.scores)[-1])
    mask = xp.where(call.bad[:, None], xp.nan, mask)
    return xp.reshape(mask, shape_of(scores))


def _mean(call: Call, scores: Any) -> Any:
    """The value `[...]`; that of an example with a NaN is NaN."""
    xp = namespace(scores=call.scores)
    value = _exact_mean(xp, call) if call.exact else _sampled(xp, call)[0]
    # a factor, not a choice of value: the derivatives are to be NaN as well
    value = value * xp.where(call.bad, xp.nan, xp.ones_like(value))
    return xp.reshape(value, shape_of(scores)[:-1])


def _sampled(xp: Any, call: Call) -> tuple[Any, Any]:
    """Value `[R]` and the labels picked `[R, W]`."""
    if is_jax_namespace(xp):
        return _sampled_on_jax(xp, call)
    scores = stop_gradient(call.scores)
    value, picked = mean_picks(scores, call.sigma, _draws(call), call.k, call.only_last)
    if not is_torch_namespace(xp):
        return value, picked
    # a term of value 0 carries the derivatives, of the labels picked and of no others
    own = values_at(call.scores, picked)
    return value + top_k_sum(own - stop_gradient(own)) / call.num_samples, picked


def _draws(call: Call) -> Iterator[Any]:
    if call.noise is None:
        return antithetic(call.scores, call.key, call.num_samples)
    return (call.noise[:, :, sample] for sample in range(call.num_samples))


def _sampled_on_jax(xp: Any, call: Call) -> tuple[Any, Any]:
    require_custom_gradient(xp, "goes through noise samples in a loop of its own")
    from mlc_losses.perturbed import _jax

    rows, num_labels = shape_of(call.scores)
    if call.noise is None:
        source = jax_seeds(call.key, rows, (call.num_samples + 1) // 2)
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
            stacklevel=4,
        )
