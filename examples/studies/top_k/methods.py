"""The losses that `top_k.py` compares, with the settings to search, and the network they train."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import mlc_losses as ml
from examples.model import Params, Settings, init_params
from examples.studies.common.cosines import unit
from examples.studies.common.dropout import dropped
from examples.studies.common.stopping import (
    Found,
    State,
    begin,
    one_round,
    round_batches,
    until_no_better,
)
from examples.studies.common.sweep import QUICK


class Call(NamedTuple):
    """What a loss may look at."""

    scores: jax.Array  # [n, L]
    labels: jax.Array  # [n]
    k: int
    counts: jax.Array  # [L], training examples of each class
    key: jax.Array


class Setting(NamedTuple):
    """A learning rate, a weight decay, and numbers of the loss's own; all traced, so that one
    compilation serves the whole search."""

    rate: float
    decay: float
    values: tuple[float, ...]


class Method(NamedTuple):
    """A loss of a call and its own numbers. Without numbers it searches weight decays instead."""

    loss: Callable[..., jax.Array]
    values: tuple[tuple[float, ...], ...] = ()
    uses_k: bool = False
    cosine: bool = False


def _noised(call: Call, sigma: Any, **method: Any) -> jax.Array:
    return ml.noised_top_k_hinge(call.scores, call.labels, call.k, sigma=sigma, **method)


def _imbalanced(call: Call, max_margin: Any, scale: Any, sigma: Any) -> jax.Array:
    margins = ml.ldam_margins(call.counts, max_margin=max_margin)
    return _noised(call, sigma, key=call.key, margins=margins, scale=scale)


def _ldam(call: Call, max_margin: Any, scale: Any) -> jax.Array:
    margins = ml.ldam_margins(call.counts, max_margin=max_margin)
    return ml.ldam(call.scores, call.labels, margins, scale=scale)


def _hinge(kind: str) -> Method:
    return Method(lambda c: ml.top_k_hinge(c.scores, c.labels, c.k, kind=kind), uses_k=True)


SIGMAS = ((0.3,), (1.0,), (3.0,), (10.0,), (30.0,))
METHODS = {
    "cross-entropy": Method(lambda c: ml.softmax_cross_entropy(c.scores, c.labels)),
    "label smoothing": Method(
        lambda c, e: ml.softmax_cross_entropy(c.scores, c.labels, label_smoothing=e),
        ((0.01,), (0.02,), (0.05,), (0.1,), (0.2,)),
    ),
    "focal": Method(
        lambda c, gamma: ml.softmax_focal(c.scores, c.labels, gamma=gamma),
        ((0.25,), (0.5,), (1.0,), (2.0,), (4.0,)),
    ),
    "LDAM": Method(
        _ldam, ((0.1, 80.0), (0.2, 40.0), (0.5, 30.0), (0.3, 15.0), (0.3, 8.0)), cosine=True
    ),
    "balanced softmax": Method(
        lambda c, tau: ml.softmax_cross_entropy(
            ml.logit_adjust(c.scores, c.counts, tau=tau), c.labels
        ),
        ((0.25,), (0.5,), (1.0,), (1.5,), (2.0,)),
    ),
    "calibrated hinge": _hinge("calibrated"),
    "off-label hinge": _hinge("off_label"),
    "convex hinge": _hinge("convex"),
    "convex beta hinge": _hinge("convex_beta"),
    "smooth hinge": Method(
        lambda c, tau: ml.smooth_top_k_hinge(c.scores, c.labels, c.k, tau=tau),
        ((0.1,), (0.3,), (1.0,), (3.0,), (10.0,)),
        uses_k=True,
    ),
    "noised": Method(lambda c, sigma: _noised(c, sigma, key=c.key), SIGMAS, uses_k=True),
    "noised, exact": Method(
        lambda c, sigma: _noised(c, sigma, method="exact"), SIGMAS, uses_k=True
    ),
    "noised, imbalanced": Method(
        _imbalanced,
        ((0.2, 60.0, 0.01), (0.5, 30.0, 0.03), (0.3, 15.0, 0.1), (0.3, 15.0, 0.3), (0.3, 8.0, 0.3)),
        uses_k=True,
        cosine=True,
    ),
}  # fmt: skip
DECAYS = (0.01, 0.0, 0.03, 0.1, 0.3)  # the first is that of losses with numbers of their own


def settings_to_search(method: Method, rates: tuple[float, ...]) -> list[Setting]:
    """As many for every method: each rate with five of its own numbers, or weight decays."""
    own = [(DECAYS[0], values) for values in method.values] or [(d, ()) for d in DECAYS]
    return [Setting(rate, decay, values) for rate in rates for decay, values in own]


def scores_of(
    params: Params, x: jax.Array, cosine: bool, key: Any = None, dropout: float = 0.0
) -> jax.Array:
    """Scores `[n, L]` of one hidden layer; with a key, in training. Cosines lie in [-1, 1]."""
    first, last = params
    fan_in, hidden_units = first["kernel"].shape
    if key is not None:
        # one draw for both layers: each takes long to compile
        kept = dropped(jnp.ones((len(x), fan_in + hidden_units), x.dtype), dropout, key)
        x = x * kept[:, :fan_in]
    hidden = jax.nn.relu(x @ first["kernel"] + first["bias"])
    if key is not None:
        hidden = hidden * kept[:, fan_in:]
    if cosine:
        return unit(hidden, -1) @ unit(last["kernel"], 0)
    return hidden @ last["kernel"] + last["bias"]


jit_scores = jax.jit(scores_of, static_argnames="cosine")


@partial(jax.jit, static_argnames=("name", "k", "settings"), compiler_options=QUICK)
def _round(
    state: State,
    setting: Setting,
    batches: jax.Array,
    key: jax.Array,
    x: jax.Array,
    labels: jax.Array,
    *,
    name: str,
    k: int,
    settings: Settings,
) -> State:
    method = METHODS[name]
    counts = jnp.zeros(state.params[-1]["bias"].shape[-1]).at[labels].add(1.0)

    def batch_loss(params: Params, rows: jax.Array, key: jax.Array) -> jax.Array:
        drop_key, noise_key = jax.random.split(key)
        scores = scores_of(params, x[rows], method.cosine, drop_key, settings.dropout)
        call = Call(scores, labels[rows], k, counts, noise_key)
        return method.loss(call, *setting.values).mean()

    keys = jax.random.split(key, len(batches))
    return one_round(state, batch_loss, setting.rate[None], batches, keys, setting.decay)


def train(
    rows: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    setting: Setting,
    seed: int,
    score: Callable[[Params], float],
    *,
    name: str,
    k: int,
    settings: Settings,
) -> Found:
    """The network of the round that `score` likes best, of `settings.epochs` at the most."""
    x, labels = map(jnp.asarray, rows)
    key, numbers = jax.random.key(seed), jax.tree.map(jnp.float32, setting)

    def advance(state: State, number: int) -> State:
        batches = round_batches(len(x), settings.batch_size, seed, number)
        drawn = jax.random.fold_in(key, number)
        return _round(state, numbers, batches, drawn, x, labels, name=name, k=k, settings=settings)

    params = init_params(key, [x.shape[1], settings.hidden, num_classes])
    begun = begin(params, numbers.rate[None], setting.decay)
    (found,) = until_no_better(
        begun, advance, lambda p: [score(p)], [setting.rate], most_rounds=settings.epochs
    )
    return found
