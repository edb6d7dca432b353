"""Which loss `sharded` takes with its labels, or its batch, over devices: it is asked."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

import mlc_losses as ml
from tests.losses.cases import cases_of
from tests.support import case

# of losses that are not in the list of cases, the kind of arrays they take, where it has one
_ARRAYS = {"soft_f1": case.hard, "sigmoid_f1": case.hard, "tversky": case.hard,
           "label_powerset": case.one_class}  # fmt: skip


@cache
def splits(name: str, axis: str) -> bool | None:
    """Whether `sharded` takes the loss with its labels, or its batch, over devices.

    The function itself is asked, by tracing it on a mesh of one device with the arrays of its
    case; None for a loss of another call shape. Embeddings have no axis of labels.
    """
    known = cases_of().get(name) or [case.Case(getattr(ml, name), None, _ARRAYS.get(name))]
    if known[0].arrays is None:
        return None
    if known[0].embedded and axis == "labels":
        return False
    arrays, keywords = known[0].draw(0, n=8, num_labels=6)
    loss = inspect.unwrap(known[0].loss)  # not with rows and columns turned
    if "noise" in inspect.signature(getattr(ml, name)).parameters:
        loss = getattr(ml, name)  # the case has noise of its own, in NumPy
        keywords = {"k": keywords["k"], "noise": np.zeros((8, 6, 1))}
    mesh = jax.make_mesh((1,), ("devices",), axis_types=(AxisType.Auto,))
    split = ml.sharded(with_numbers(loss, keywords), mesh, **{axis: "devices"})
    given = {key: jnp.asarray(value) for key, value in keywords.items() if np.ndim(value)}
    try:
        jax.eval_shape(split, *map(jnp.asarray, arrays), **given)
    except ValueError as error:
        if "cannot be split over" not in str(error):
            raise
        return False
    return True


def with_numbers(loss: Any, keywords: dict[str, Any]) -> Any:
    """The loss with its keywords that are not arrays; its name stays, for the message."""
    numbers = {key: value for key, value in keywords.items() if not np.ndim(value)}

    def call(*arrays: Any, **more: Any) -> Any:
        return loss(*arrays, **numbers, **more)

    call.__name__ = loss.__name__
    return call
