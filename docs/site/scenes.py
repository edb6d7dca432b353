"""Arrays in which one number moves: a logit, a score or a cosine, by the kind of arrays of a case.

A scene says what moves and what the rest of the example is, and gives the arrays of a loss once
with the moving entry relevant and once with it irrelevant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from tests.support import case

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Scene:
    """What is on the axis, from where to where, and the arrays with it, by the name of a curve."""

    axis: str
    low: float
    high: float
    curves: dict[str, Callable[[Any], Arrays]]
    rest: str


REST_OF_ROW, TARGETS_OF_ROW = (0.0, 0.0), (1.0, 0.0)
OTHER_ROWS = ((1.0, -1.0, 0.5), (-1.0, 1.0, -0.5), (0.5, -0.5, -1.5))
OTHER_SCORES = (1.5, 0.75, 0.0, -0.75, -1.5)
AT_LABEL = 3  # of the scores with the moving one in front: the one at 0


def one_logit(low: float = -6.0, high: float = 6.0) -> Scene:
    def arrays(relevant: float) -> Callable[[Any], Arrays]:
        targets = jnp.asarray([relevant, *TARGETS_OF_ROW])
        return lambda x: (jnp.stack([x, *map(jnp.asarray, REST_OF_ROW)]), targets)

    return Scene(
        "its logit" if high > 1 else "its similarity", low, high,
        {"a relevant label": arrays(1.0), "any other label": arrays(0.0)},
        "The example has two more labels at 0, one relevant, one not.",
    )  # fmt: skip


def one_logit_in_batch() -> Scene:
    scene = one_logit()

    def in_batch(curve: Callable[[Any], Arrays]) -> Callable[[Any], Arrays]:
        def arrays(x: Any) -> Arrays:
            row, targets = curve(x)
            logits = jnp.concatenate([row[None], jnp.asarray(OTHER_ROWS)])
            return logits, jnp.concatenate([targets[None], jnp.eye(3)])

        return arrays

    return Scene(
        scene.axis, scene.low, scene.high,
        {name: in_batch(curve) for name, curve in scene.curves.items()},
        "A batch of four examples and three labels; the mean of the result is shown.",
    )  # fmt: skip


def one_score() -> Scene:
    def scores(x: Any) -> Any:
        return jnp.stack([x, *map(jnp.asarray, OTHER_SCORES)])

    return Scene(
        "its score", -6.0, 6.0,
        {
            "the class of the example": lambda x: (scores(x), jnp.asarray(0)),
            "another class": lambda x: (scores(x), jnp.asarray(AT_LABEL)),
        },
        f"Five more classes are at {', '.join(f'{score:g}' for score in OTHER_SCORES)}; where "
        "another class moves, that of the example is the one at 0.",
    )  # fmt: skip


def one_of_two_logits() -> Scene:
    return Scene(
        "a logit of the first array", -6.0, 6.0,
        {
            "the other logit is 2": lambda x: (x[None], jnp.asarray([2.0])),
            "the other logit is -2": lambda x: (x[None], jnp.asarray([-2.0])),
        },
        "One label.",
    )  # fmt: skip


def with_other_logits(scene: Scene) -> Scene:
    """The same, and between logits and targets a second array of logits, all 0."""

    def between(curve: Callable[[Any], Arrays]) -> Callable[[Any], Arrays]:
        def arrays(x: Any) -> Arrays:
            logits, targets = curve(x)
            return logits, jnp.zeros_like(logits), targets

        return arrays

    curves = {name: between(curve) for name, curve in scene.curves.items()}
    return Scene(scene.axis, scene.low, scene.high, curves,
                 f"{scene.rest} The second array of logits is 0.")  # fmt: skip


def point(cosine: Any, direction: int) -> Any:
    """A unit vector at this cosine to the first axis, leaning to another axis."""
    return jnp.zeros(5).at[0].set(cosine).at[direction].set(jnp.sqrt(1.0 - jnp.square(cosine)))


ANCHOR, NEAR, FAR = (1.0, 1), (0.5, 2), (0.0, 3)  # cosine to the anchor, and where it leans to


def one_pair() -> Scene:
    def arrays(label: list[float]) -> Callable[[Any], Arrays]:
        targets = jnp.asarray([[1.0, 0.0], label, [1.0, 0.0], [0.0, 1.0]])
        return lambda x: (jnp.stack([point(*ANCHOR), point(x, 4), point(*NEAR), point(*FAR)]),
                          targets)  # fmt: skip

    return Scene(
        "its cosine to the anchor", -0.99, 0.99,
        {"an example that shares the label": arrays([1.0, 0.0]),
         "one that does not": arrays([0.0, 1.0])},
        "The loss of one anchor with one label. Two more examples: one with its label at a cosine "
        "of 0.5, one with another label at 0.",
    )  # fmt: skip


def one_matching_pair() -> Scene:
    anchors = (ANCHOR, FAR)

    def arrays(own_moves: bool) -> Callable[[Any], Arrays]:
        def pair(x: Any) -> Arrays:
            moving, fixed = point(x, 4), point(*NEAR)
            both = [moving, fixed] if own_moves else [fixed, moving]
            return jnp.stack([point(*at) for at in anchors]), jnp.stack(both)

        return pair

    return Scene(
        "its cosine to the anchor", -0.99, 0.99,
        {"its own partner": arrays(True), "the partner of another": arrays(False)},
        "The loss of one of two anchors, unit vectors; the partner that stays is at a cosine "
        "of 0.5.",
    )  # fmt: skip


def one_prototype() -> Scene:
    targets = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    def arrays(of_label: bool) -> Callable[[Any], Arrays]:
        def with_prototypes(x: Any) -> Arrays:
            moving, fixed = point(x, 4), point(0.0, 4)
            prototypes = [moving, fixed] if of_label else [fixed, moving]
            points = jnp.stack([point(*ANCHOR), point(*NEAR), point(*FAR)])
            return points, jnp.stack(prototypes), targets

        return with_prototypes

    return Scene(
        "its cosine to the anchor", -0.99, 0.99,
        {"the prototype of its label": arrays(True), "that of another label": arrays(False)},
        "The loss of one anchor with one label. Two more examples: one with its label at a cosine "
        "of 0.5, one with another label at 0; the prototype that stays is at 0.",
    )  # fmt: skip


def one_step() -> Scene:
    """Two labels and the end; a sequence of one label."""

    def arrays(place: int) -> Callable[[Any], Arrays]:
        return lambda x: (jnp.zeros((2, 3)).at[0, place].set(x), jnp.asarray([0, -1]))

    return Scene(
        "its logit at the first step", -6.0, 6.0,
        {"the label to be emitted": arrays(0), "the other label": arrays(1)},
        "Two labels and the end, one of them to be emitted; all other logits are 0.",
    )  # fmt: skip


def of_case(found: case.Case) -> Scene:
    """The scene for the kind of arrays that the tests of a loss draw."""
    multi_label = one_logit_in_batch if found.across_batch else one_logit
    scenes: dict[Any, Callable[[], Scene]] = {
        case.hard: multi_label,
        case.hard_bool: multi_label,
        case.soft: multi_label,
        case.bounded: lambda: one_logit(-1.0, 1.0),
        case.one_class: one_score,
        case.two_logits: one_of_two_logits,
        case.two_logits_and_targets: lambda: with_other_logits(multi_label()),
        case.embeddings: one_pair,
        case.two_embeddings: one_matching_pair,
        case.with_prototypes: one_prototype,
    }
    if found.arrays not in scenes:
        raise ValueError(f"docs/site/scenes.py has no scene for the arrays of {found.id}")
    return scenes[found.arrays]()
