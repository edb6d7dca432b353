"""The tables of the explorer, as they lie in the built site, against the library."""

from __future__ import annotations

import base64
import functools
import inspect
import json
from typing import Any

import numpy as np
import pytest

import mlc_losses
from docs.site.explorer_grids import Floats, Grid, Term
from docs.site.explorer_losses import Options, Shown
from docs.site.explorer_selection import GROUPS, SHOWN, shape_of
from docs.site.explorer_tables import Table, compare, read, shown_digits
from docs.site.test_built_site import SITE

TABLES = SITE / "explorer"
DRAWS = 300
PLANE, SPLINE = 2e-6, 1e-2
CASES = [(shown, n) for shown in SHOWN.values() for n in range(len(shown.settings()))]
each_table = pytest.mark.parametrize(
    "shown, number", CASES, ids=[f"{shown.name}-{number}" for shown, number in CASES]
)


@functools.cache
def content(name: str) -> dict[str, Any]:
    """What a file of the explorer hands to the page."""
    start, end = f'mlcExplorer.arrive("{name}",', ");\n"
    text = (TABLES / f"{name}.js").read_text("utf-8")
    assert text.startswith(start) and text.endswith(end)
    return json.loads(text[len(start) : -len(end)])


def stored(name: str) -> Table:
    return {
        tuple(map(int, pattern)): [_term(term) for term in terms]
        for pattern, terms in content(name)["patterns"].items()
    }


def _term(packed: dict[str, Any]) -> Term:
    grid = {name: packed[name] for name in ("lower", "step", "cells", "squash", "start", "stop")}
    fields = [
        None if field is None else np.frombuffer(base64.b64decode(field), "<f4")
        for field in packed["fields"]
    ]
    return Term(Grid(np.array(packed["project"]), **grid), packed["kind"], tuple(fields))


def bounds(shown: Shown, exact: Floats) -> Floats:
    """How far the loss and its gradients may be off: planes are exact, as far as float32 is."""
    if shown.shape == "triangles":
        return np.full(4, PLANE)
    steepest = max(1.0, np.abs(exact[:, 1:]).max())
    return SPLINE * np.array([1.0, steepest, steepest, steepest])


@each_table
def test_a_table_is_the_library(shown: Shown, number: int) -> None:
    name, options = f"{shown.name}-{number}", shown.settings()[number]
    by_table, exact = compare(shown, options, stored(name), seed=1, draws=DRAWS)
    off = np.abs(by_table - exact)
    assert (off <= bounds(shown, exact)).all()
    assert np.median(off, 0).max() < 1e-4
    # on the page every digit is right within half of the last
    digits = content(name)["digits"]
    assert off[:, 0].max() <= 0.5 * 10.0 ** -digits["value"]
    assert off[:, 1:].max() <= 0.5 * 10.0 ** -digits["gradient"]


@each_table
def test_the_values_are_those_of_numpy(shown: Shown, number: int) -> None:
    options = shown.settings()[number]
    rng = np.random.default_rng(2)
    logits = rng.uniform(-shown.reach, shown.reach, (50, 3))
    for pattern, terms in stored(f"{shown.name}-{number}").items():
        by_table = read(shown, terms, logits)[:, 0]
        by_numpy = numpy_loss(shown, options, np.array(pattern), logits)
        limit = PLANE if shown.shape == "triangles" else SPLINE
        assert (np.abs(by_table - by_numpy) <= limit).all()


def numpy_loss(shown: Shown, options: Options, targets: Any, logits: Floats) -> Floats:
    keywords = {
        name: np.array(value, float) if isinstance(value, tuple) else value
        for name, value in (shown.fixed | options).items()
    }
    given = np.tile(targets, (len(logits), 1))
    if shown.classes:
        given = given.argmax(-1)
    return getattr(mlc_losses, shown.name)(logits, given, **keywords)


def test_the_bounds_tell_a_wrong_table() -> None:
    for name in ("focal", "zlpr", "pairwise_hinge", "noised_top_k_hinge"):
        shown = SHOWN[name]
        other = shown.settings()[-1]
        by_table, exact = compare(shown, other, stored(f"{name}-0"), seed=1, draws=DRAWS)
        off = np.abs(by_table - exact)[:, 0]
        assert off.max() > 20 * bounds(shown, exact)[0]


def test_the_index_lists_every_table() -> None:
    groups = content("index")["groups"]
    listed = {group["title"]: [loss["name"] for loss in group["losses"]] for group in groups}
    assert listed == {title: [shown.name for shown in group] for title, group in GROUPS.items()}
    files = {path.stem for path in TABLES.glob("*.js")}
    assert files == {"index", *(f"{shown.name}-{number}" for shown, number in CASES)}


def test_the_files_are_small() -> None:
    sizes = [path.stat().st_size for path in TABLES.glob("*.js")]
    assert max(sizes) < 600_000
    assert sum(sizes) < 12_000_000


@pytest.mark.parametrize("shown", SHOWN.values(), ids=list(SHOWN))
def test_the_defaults_can_be_chosen(shown: Shown) -> None:
    signature = inspect.signature(getattr(mlc_losses, shown.name)).parameters
    for name, stops in shown.stops.items():
        default = signature[name].default
        assert default in stops or default is inspect.Parameter.empty


@pytest.mark.parametrize("shown", SHOWN.values(), ids=list(SHOWN))
def test_the_shape_of_a_table_is_found_out(shown: Shown) -> None:
    """As it is for a new loss: for those with an entry by hand it is the one of the entry."""
    if shown.fixed or "k" in shown.stops:
        pytest.skip("needs more than logits and targets")
    found = shape_of(shown.name, shown.classes)
    assert found["shape"] == shown.shape.replace("triangles", "differences")
    assert found["symmetric"] == shown.symmetric


def test_digits_that_an_error_leaves() -> None:
    assert [shown_digits(error) for error in (0.0, 3e-4, 2e-3, 0.07, 3.0)] == [3, 2, 2, 0, 0]
