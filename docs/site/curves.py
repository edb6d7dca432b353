"""Loss and gradient along a scene, computed by the loss itself and by JAX."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mlc_losses as ml
from docs.site import kept, scenes
from docs.site.catalog import ROOT
from docs.site.scenes import Scene
from tests.losses.cases import CASES

POINTS = 161
FIXED_WEIGHTS = (
    " Some weights or targets follow from what moves and have no gradient: the gradient is not the "
    "gradient of the loss shown."
)
# every curve is computed once, and most of the time is compilation
jax.config.update("jax_disable_most_optimizations", True)


@dataclass(frozen=True)
class Curve:
    name: str
    values: np.ndarray
    gradients: np.ndarray


@dataclass(frozen=True)
class Plot:
    axis: str
    x: np.ndarray
    curves: list[Curve]
    rest: str


def _two_heads(scores: Any, label: Any) -> Any:
    return ml.average_k_two_head(scores[None], scores[None], label[None], 2.5)[0]


def _set_sequence(steps: Any, ids: Any) -> Any:
    return ml.label_set_sequence(steps, jnp.asarray([1, 0]), ids)


def _pair_weights(points: Any, targets: Any) -> Any:
    return ml.contrastive(points, ml.jaccard_weights(targets))


def _smooth_average_precision(logits: Any, targets: Any) -> Any:
    return ml.smooth_average_precision(logits, targets, temperature=0.5)


def _in_a_hierarchy(logits: Any, targets: Any) -> Any:
    return ml.max_constraint(logits, targets, ml.Hierarchy(np.array([[0, 1]]), 3))


# losses of another call shape than the one that the list of cases tests, and what to add
OTHERS: dict[str, tuple[Callable[[], Scene], Callable[..., Any], str]] = {
    "average_k_two_head": (
        scenes.one_score,
        _two_heads,
        f"Both heads have these scores; `k=2.5`.{FIXED_WEIGHTS}",
    ),
    "auc_margin": (scenes.one_logit_in_batch, ml.auc_margin, ""),
    "contrastive": (scenes.one_pair, _pair_weights, "The weights are `jaccard_weights(targets)`."),
    "label_powerset": (scenes.one_score, ml.label_powerset, "Classes are label sets."),
    "label_sequence": (scenes.one_step, ml.label_sequence, ""),
    "label_set_sequence": (scenes.one_step, _set_sequence, ""),
    "max_constraint": (scenes.one_logit, _in_a_hierarchy, "It is below the relevant one of these."),
    "sigmoid_f1": (scenes.one_logit_in_batch, ml.sigmoid_f1, ""),
    "smooth_average_precision": (
        scenes.one_logit_in_batch,
        _smooth_average_precision,
        "`temperature=0.5`.",
    ),
    "soft_f1": (scenes.one_logit_in_batch, ml.soft_f1, ""),
    "tversky": (scenes.one_logit_in_batch, ml.tversky, ""),
}


@cache
def plot(name: str) -> Plot:
    scene, loss = _scene_and_loss(name)
    x = np.linspace(scene.low, scene.high, POINTS, dtype=np.float32)
    path = _kept() / f"{name}.npy"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished.npy")
        np.save(unfinished, _numbers(scene, loss, x))
        unfinished.rename(path)  # a build that is cut off leaves no half of a file
    curves = [
        Curve(label, values, gradients)
        for label, (values, gradients) in zip(scene.curves, np.load(path), strict=True)
    ]
    return Plot(scene.axis, x, curves, scene.rest)


def _numbers(scene: Scene, loss: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    """Values and gradients, `[curves, 2, points]`."""

    def along(arrays: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def value(at: Any) -> Any:
            result = loss(*arrays(at))
            # of anchors the first is shown; a batch of logits is trained on its mean
            return result.reshape(-1)[0] if "anchor" in scene.axis else result.mean()

        return jax.vmap(jax.value_and_grad(value))

    # compiled together, in half the time
    numbers = np.asarray(jax.jit(lambda x: [along(each)(x) for each in scene.curves.values()])(x))
    if not np.isfinite(numbers).all():
        raise ValueError(f"a curve over {scene.axis} has a number that is not finite")
    return numbers


@cache
def _kept() -> Path:
    here = Path(__file__)
    tests = ROOT / "tests"
    cases = [tests / "support" / "case.py", *(tests / "losses").glob("cases*.py")]
    folder = kept.path("curves", here, here.with_name("scenes.py"), *cases)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _scene_and_loss(name: str) -> tuple[Scene, Callable[..., Any]]:
    """With the default of every hyper-parameter; one without a default is that of the case."""
    if name in OTHERS:
        scene, loss, note = OTHERS[name]
        return replace(scene(), rest=f"{scene().rest} {note}".strip()), loss
    case = next(case for case in CASES if case.loss.__name__ == name)
    scene, loss = scenes.of_case(case), getattr(ml, name)
    given = _required(loss, case, scene)
    parameters = inspect.signature(loss).parameters
    if "method" in parameters:
        given["method"] = "exact"
    rest = scene.rest
    if given:
        rest += f" With {', '.join(f'`{key}={_shown(value)}`' for key, value in given.items())}."
    if any(each.fixed_weights for each in CASES if each.loss.__name__ == name):
        rest += FIXED_WEIGHTS
    return replace(scene, rest=rest), lambda *arrays: loss(*arrays, **given)


def _required(loss: Callable[..., Any], case: Any, scene: Scene) -> dict[str, Any]:
    arrays = next(iter(scene.curves.values()))(jnp.float32(0.0))
    parameters = list(inspect.signature(loss).parameters.values())[len(arrays) :]
    drawn = case.draw(0, num_labels=arrays[0].shape[-1])[1]
    return {
        parameter.name: jnp.asarray(value) if np.ndim(value) else value
        for parameter in parameters
        if parameter.default is parameter.empty
        for value in [drawn[parameter.name]]
    }


def _shown(value: Any) -> str:
    return repr(np.asarray(value, float).round(2).tolist() if np.ndim(value) else value)
