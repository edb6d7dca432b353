"""Which loss runs where, from the record that the tests are made of: their list of cases."""

from __future__ import annotations

from collections.abc import Sequence

from tests.losses.cases import cases_of
from tests.losses.families import rows
from tests.modes.modes import MODES
from tests.scale.splits import splits
from tests.support import backends
from tests.support.case import takes

LIBRARIES = {"numpy": "NumPy", "jax": "JAX", "torch": "PyTorch",
             "array-api-strict": "array-api-strict"}  # fmt: skip
_AXES = {"labels": "labels", "batch": "the batch"}
_WORDS = {True: "yes", False: "no", None: "not tested"}


def libraries() -> list[str]:
    """The array libraries of the test sessions."""
    return [LIBRARIES[name] for name in backends.MODULES]


def forward_mode(name: str) -> str:
    known = cases_of().get(name)
    if known is None:
        return "not tested"
    return "yes" if all(each.takes_forward_mode for each in known) else "no"


def sentence(name: str) -> str:
    """For the page of a loss."""
    says = [f"Runs on {_listed(libraries())}; gradients on JAX and PyTorch."]
    arguments = [f"`{each}`" for each in ("where", "axis") if takes(name, each)]
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
        cells += [_WORDS[takes(name, each)] for each in ("where", "axis")]
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
