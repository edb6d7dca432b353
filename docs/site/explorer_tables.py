"""Tables for the explorer page: values and gradients of the library on grids of logits.

`build(folder)` writes `index.js`, which lists the losses, and one file for each loss and setting of
its hyper-parameters. They are scripts and not JSON, since a page opened from a disk may not fetch.
"""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mlc_losses
from docs.site.explorer_grids import (
    Floats,
    Grid,
    Term,
    box,
    margins,
    read_terms,
    spline_term,
    triangle_term,
)
from docs.site.explorer_losses import LABELS, Options, Shown
from docs.site.explorer_selection import GROUPS

Pattern = tuple[int, ...]
Table = dict[Pattern, list[Term]]

# JAX compiles again for each number of rows: all tables are computed with this one
ROWS = 4096
# a point this far inside a piece of an axis belongs to it, whatever jumps at its end
INSIDE = 1e-9
# random logits for each pattern of targets, at which the error of a table is measured
MEASURED = 500
DIFFERENCES = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]])


def library(
    shown: Shown, options: Options, targets: Floats, logits: Floats, lift: float = 0.0
) -> Floats:
    """Loss and gradients by JAX in double precision, `[n, 4]`, at targets and logits `[n, 3]`."""
    rows = -len(logits) % ROWS
    padded = [np.concatenate([given, np.zeros((rows, LABELS))]) for given in (targets, logits)]
    blocks = zip(*(np.split(given, len(given) // ROWS) for given in padded), strict=True)
    with jax.enable_x64(True):
        loss = _loss(shown, options, lift)
        numbers = [_value_and_gradients(loss, shown.classes, *block) for block in blocks]
    return np.concatenate(numbers)[: len(logits)]


def _loss(shown: Shown, options: Options, lift: float) -> Any:
    keywords = {
        name: jax.numpy.asarray(value) if isinstance(value, tuple) else value
        for name, value in (shown.fixed | options).items()
    }
    if lift:
        keywords["margins"] = jax.numpy.full(LABELS, 1.0 + lift)
    loss = getattr(mlc_losses, shown.name)
    return lambda logits, targets: loss(logits, targets, **keywords) - lift


def _value_and_gradients(loss: Any, classes: bool, targets: Floats, logits: Floats) -> Floats:
    given = jax.numpy.asarray(targets.argmax(-1) if classes else targets)
    value, pull = jax.vjp(lambda logits: loss(logits, given), jax.numpy.asarray(logits))
    (gradients,) = pull(jax.numpy.ones_like(value))
    return np.concatenate([np.asarray(value)[:, None], np.asarray(gradients)], -1)


def grids(shown: Shown, options: Options) -> list[Grid]:
    """What the terms of a table cover; of a sum of curves, all pieces of all curves."""
    if shown.shape == "full":
        return [box(np.eye(LABELS), shown.reach, shown.step, squash=shown.squash)]
    if shown.shape in ("differences", "triangles"):
        return [box(DIFFERENCES, 2 * shown.reach, shown.step)]
    ends = [None, *shown.breaks(options), None]
    return [
        box(label[None], shown.reach, shown.step, start=start, stop=stop)
        for label in np.eye(LABELS)
        for start, stop in itertools.pairwise(ends)
    ]


def _points(grid: Grid, triangles: bool) -> Floats:
    """Coordinates to ask the library at."""
    points = grid.middles() if triangles else grid.nodes(*margins(grid))
    low = -np.inf if grid.start is None else grid.start + INSIDE
    high = np.inf if grid.stop is None else grid.stop - INSIDE
    points = np.clip(points, low, high)
    return np.log(points / (1.0 - points)) if grid.squash else points


def table(shown: Shown, options: Options) -> Table:
    """For each pattern of targets the terms whose sum is the loss."""
    triangles = shown.shape == "triangles"
    make = triangle_term if triangles else spline_term
    covered = grids(shown, options)
    # logits with these coordinates: the others are 0
    places = [_points(grid, triangles) @ np.maximum(grid.project, 0.0) for grid in covered]
    logits = np.concatenate([*places, np.zeros((1, LABELS))])
    patterns = shown.patterns()
    numbers = library(
        shown,
        options,
        np.repeat(np.array(patterns, float), len(logits), 0),
        np.tile(logits, (len(patterns), 1)),
        shown.lift,
    ).reshape(len(patterns), len(logits), 1 + LABELS)
    result = {}
    for pattern, rows in zip(patterns, numbers, strict=True):
        *parts, origin = np.split(rows, np.cumsum([len(place) for place in places]))
        # each curve has its share of the loss at 0, which the sum holds once
        shared = (len(parts) > 1) * origin[0, 0] * (LABELS - 1) / LABELS
        result[pattern] = [
            make(grid, _by_coordinate(grid, part, shared))
            for grid, part in zip(covered, parts, strict=True)
        ]
    return result


def _by_coordinate(grid: Grid, numbers: Floats, shared: float) -> Floats:
    """The loss and its gradients by the logits that stand for a coordinate each."""
    kept = np.flatnonzero((grid.project > 0.0).any(0))
    return np.concatenate([numbers[:, :1] - shared, numbers[:, 1 + kept]], -1)


def read(shown: Shown, terms: list[Term], logits: Floats) -> Floats:
    """The loss and its gradients by the table, `[n, 4]`, as the page shows them."""
    numbers = read_terms(terms, logits)
    # a hinge that was lifted above 0
    return numbers * (numbers[:, :1] > 0.0) if shown.lift else numbers


def compare(
    shown: Shown, options: Options, made: Table, seed: int, draws: int
) -> tuple[Floats, Floats]:
    """Table and library at random logits, `[n, 4]` each; so many draws for a pattern of targets."""
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-shown.reach, shown.reach, (len(made), draws, LABELS))
    targets = np.repeat(np.array(list(made), float), draws, 0)
    by_table = [read(shown, terms, at) for terms, at in zip(made.values(), logits, strict=True)]
    exact = library(shown, options, targets, logits.reshape(-1, LABELS))
    return np.concatenate(by_table), exact


def build(folder: Path) -> None:
    """Write the tables into this folder of the site, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = []
    for title, group in GROUPS.items():
        groups.append({"title": title, "losses": [_entry(shown) for shown in group]})
        for shown in group:
            for number, options in enumerate(shown.settings()):
                name = f"{shown.name}-{number}"
                _write(folder, name, _content(shown, options))
    _write(folder, "index", {"groups": groups})


def _write(folder: Path, name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    (folder / f"{name}.js").write_text(f'mlcExplorer.arrive("{name}",{text});\n', encoding="utf-8")


def _entry(shown: Shown) -> dict[str, Any]:
    """What the page says of a loss before one of its tables is loaded."""
    loss = getattr(mlc_losses, shown.name)
    signature = inspect.signature(loss).parameters
    return {
        "name": shown.name,
        "summary": (inspect.getdoc(loss) or "").splitlines()[0].split(";")[0].rstrip("."),
        "options": [
            {
                "name": name,
                "stops": [_source(stop) for stop in stops],
                "default": stops.index(signature[name].default)
                if signature[name].default in stops
                else 0,
            }
            for name, stops in shown.stops.items()
        ],
        "fixed": {name: _source(value) for name, value in shown.fixed.items()},
        "classes": shown.classes,
        "reach": shown.reach,
    }


def _source(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _content(shown: Shown, options: Options) -> dict[str, Any]:
    """A table, how exact it is, and what is predicted with this setting."""
    made = table(shown, options)
    by_table, exact = compare(shown, options, made, seed=0, draws=MEASURED)
    off = np.abs(by_table - exact).max(0)
    errors = {"value": float(off[0]), "gradient": float(off[1:].max())}
    return {
        "decision": _decision(shown, options),
        "symmetric": shown.symmetric,
        "hinge": shown.lift > 0.0,
        "steepest": float(np.abs(exact[:, 1:]).max()),
        "errors": errors,
        "digits": {name: shown_digits(error) for name, error in errors.items()},
        "patterns": {"".join(map(str, key)): [_packed(term) for term in made[key]] for key in made},
    }


def shown_digits(error: float) -> int:
    """Digits after the point that an error, measured at random, leaves right within one half."""
    return min(3, max(0, math.floor(-math.log10(4.0 * max(error, 1e-12)))))


def _decision(shown: Shown, options: Options) -> dict[str, Any]:
    if shown.threshold is not None:
        return {"threshold": options.get("threshold", shown.threshold)}
    # None: as many as are relevant
    return {"top": options.get("k", 1 if shown.classes else None)}


def _packed(term: Term) -> dict[str, Any]:
    grid = term.grid
    return {
        "kind": term.kind,
        "project": grid.project.tolist(),
        "lower": grid.lower,
        "step": grid.step,
        "cells": grid.cells,
        "squash": grid.squash,
        "start": grid.start,
        "stop": grid.stop,
        "fields": [
            None if table is None else base64.b64encode(table.astype("<f4").tobytes()).decode()
            for table in term.fields
        ],
    }
