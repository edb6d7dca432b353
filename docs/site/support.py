"""Which loss runs where, from the record that the tests are made of: their list of cases."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

import mlc_losses as ml
from tests.losses.cases import CASES
from tests.losses.families import rows
from tests.modes.modes import MODES
from tests.support import backends, case

LIBRARIES = {"numpy": "NumPy", "jax": "JAX", "torch": "PyTorch",
             "array-api-strict": "array-api-strict"}  # fmt: skip
# of losses that are not in the list of cases, the kind of arrays they take, where it has one
_ARRAYS = {"soft_f1": case.hard, "sigmoid_f1": case.hard, "tversky": case.hard,
           "label_powerset": case.one_class}  # fmt: skip
_AXES = {"labels": "labels", "batch": "the batch"}
_WORDS = {True: "yes", False: "no", None: "not tested"}


@cache
def _cases() -> dict[str, list[case.Case]]:
    found: dict[str, list[case.Case]] = {}
    for each in CASES:
        found.setdefault(each.loss.__name__, []).append(each)
    return found


def libraries() -> list[str]:
    """The array libraries of the test sessions."""
    return [LIBRARIES[name] for name in backends.MODULES]


def forward_mode(name: str) -> str:
    known = _cases().get(name)
    if known is None:
        return "not tested"
    return "yes" if all(each.takes_forward_mode for each in known) else "no"


@cache
def splits(name: str, axis: str) -> bool | None:
    """Whether `sharded` takes the loss with its labels, or its batch, over devices.

    The function itself is asked, by tracing it on a mesh of one device with the arrays of its
    case; None for a loss of another call shape. Embeddings have no axis of labels.
    """
    known = _cases().get(name) or [case.Case(getattr(ml, name), None, _ARRAYS.get(name))]
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
    split = ml.sharded(_with_numbers(loss, keywords), mesh, **{axis: "devices"})
    given = {key: jnp.asarray(value) for key, value in keywords.items() if np.ndim(value)}
    try:
        jax.eval_shape(split, *map(jnp.asarray, arrays), **given)
    except ValueError as error:
        if "cannot be split over" not in str(error):
            raise
        return False
    return True


def sentence(name: str) -> str:
    """For the page of a loss."""
    says = [f"Runs on {_listed(libraries())}; gradients on JAX and PyTorch."]
    arguments = [f"`{each}`" for each in ("where", "axis") if case.takes(name, each)]
    taken = _listed(arguments) if arguments else "neither `where` nor `axis`"
    says.append(f"Takes {taken}.")
    modes = {"yes": "Forward mode works on JAX.", "no": "Reverse mode only on JAX."}
    says.append(modes.get(forward_mode(name), ""))
    over = [words for axis, words in _AXES.items() if splits(name, axis)]
    if over:
        says.append(f"`sharded` splits {_listed(over)} over devices.")
    return " ".join(filter(None, says)) + " [All losses](../backends.md#the-losses)."


def table() -> str:
    """One row for each loss."""
    heads = ["loss", *libraries(), "`where`", "`axis`", "across the batch", "forward mode",
             *(f"{words} over devices" for words in _AXES.values())]  # fmt: skip
    lines = [_row(heads), _row(["---"] * len(heads))]
    for name, row in rows().items():
        cells = [f"[`{name}`](gallery/{name}.md)", *["yes"] * len(libraries())]
        cells += [_WORDS[case.takes(name, each)] for each in ("where", "axis")]
        cells += [row.across_batch, forward_mode(name)]
        cells += [_WORDS[splits(name, axis)] for axis in _AXES]
        lines.append(_row(cells))
    return "\n".join(lines)


def modes() -> str:
    """One row for each mode that the tests run."""
    lines = [_row(["library", "mode", "promise", "tested by"]), _row(["---"] * 4)]
    lines += [_row([*mode, f"`{test}`"]) for test, mode in MODES.items()]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _with_numbers(loss: Any, keywords: dict[str, Any]) -> Any:
    """The loss with its keywords that are no arrays; its name stays, for the message."""
    numbers = {key: value for key, value in keywords.items() if not np.ndim(value)}

    def call(*arrays: Any, **more: Any) -> Any:
        return loss(*arrays, **numbers, **more)

    call.__name__ = loss.__name__
    return call
