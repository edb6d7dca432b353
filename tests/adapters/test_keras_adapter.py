"""A loss as a loss of Keras, on JAX and on PyTorch; `ARRAY_BACKEND` says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

BACKEND = os.environ.get("ARRAY_BACKEND")
if BACKEND not in ("jax", "torch"):
    pytest.skip("Keras runs on JAX and on PyTorch", allow_module_level=True)
os.environ["KERAS_BACKEND"] = BACKEND
keras = pytest.importorskip("keras")

import mlc_losses as ml  # noqa: E402
from mlc_losses.adapters.keras import Loss  # noqa: E402

# Keras's own, when it reads its variables
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (6, 5)).astype("float32")
TARGETS = (RNG.random((6, 5)) < 0.4).astype("float32")


@pytest.fixture(autouse=True)
def as_keras_needs_it() -> Iterator[None]:
    """Keras itself relies on what the strict flags of the tests refuse."""
    with ExitStack() as stack:
        if BACKEND == "jax":
            import jax

            stack.enter_context(jax.numpy_rank_promotion("allow"))
            stack.enter_context(jax.numpy_dtype_promotion("standard"))
            stack.enter_context(jax.enable_x64(False))
        yield


def zlpr(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By hand; an unknown label, -1, is in neither sum."""
    up, down = (np.where(y == 0, np.exp(s), 0), np.where(y == 1, np.exp(-s), 0))
    return np.log1p(up.sum(axis=1)) + np.log1p(down.sum(axis=1))


def network(loss: Loss) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    model.compile(optimizer="sgd", loss=loss)
    return model


def test_value_is_the_mean_over_examples() -> None:
    value = float(Loss(ml.zlpr)(TARGETS, LOGITS))
    np.testing.assert_allclose(value, zlpr(LOGITS, TARGETS).mean(), rtol=1e-5)


def test_call_gives_one_value_per_example() -> None:
    values = Loss(ml.zlpr, reduction=None)(TARGETS, LOGITS)
    np.testing.assert_allclose(np.asarray(values), zlpr(LOGITS, TARGETS), rtol=1e-5)


def test_sample_weight_is_keras_own() -> None:
    weights = np.array([1, 0, 2, 0.5, 1, 3], dtype="float32")
    own = zlpr(LOGITS, TARGETS) * weights
    found = Loss(ml.zlpr)(TARGETS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(float(found), own.mean(), rtol=1e-5)
    by_weight = Loss(ml.zlpr, reduction="mean_with_sample_weight")
    found = by_weight(TARGETS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(float(found), own.sum() / weights.sum(), rtol=1e-5)


def test_the_mask_of_keras_leaves_steps_out() -> None:
    steps, targets = LOGITS.reshape(2, 3, 5), TARGETS.reshape(2, 3, 5)
    mask = np.array([[True, True, False], [True, False, False]])
    tensor = keras.ops.convert_to_tensor(steps)
    keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    own = zlpr(LOGITS, TARGETS).reshape(2, 3)[mask].mean()
    np.testing.assert_allclose(float(Loss(ml.zlpr)(targets, tensor)), own, rtol=1e-5)


def test_unknown_labels_are_left_out() -> None:
    marked = np.where(RNG.random(TARGETS.shape) < 0.3, -1, TARGETS).astype("float32")
    own = zlpr(LOGITS, marked).mean()
    np.testing.assert_allclose(float(Loss(ml.zlpr, where=ml.known)(marked, LOGITS)), own, rtol=1e-5)
    nan = np.where(marked < 0, np.nan, marked)
    np.testing.assert_allclose(float(Loss(ml.zlpr, where=ml.known)(nan, LOGITS)), own, rtol=1e-5)


def test_class_ids_are_integers_again() -> None:
    labels = np.array([0, 4, -100, 2, 2, 3])
    shares = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
    own = np.where(labels < 0, 0, -shares[np.arange(6), labels.clip(0)]).mean()
    found = Loss(ml.softmax_cross_entropy, where=ml.known)(labels, LOGITS)
    np.testing.assert_allclose(float(found), own, rtol=1e-5)


def test_training_takes_the_steps_of_plain_gradient_descent() -> None:
    features = RNG.normal(size=(6, 3)).astype("float32")
    weights = np.array([1, 0, 2, 0.5, 1, 3], dtype="float32")
    pos_weight = [1.0, 2.0, 3.0, 4.0, 5.0]
    model = network(Loss(ml.binary_cross_entropy, pos_weight=pos_weight))
    kernel, bias = model.get_weights()
    p = 1 / (1 + np.exp(-features @ kernel - bias))
    by_logits = (1 - TARGETS) * p - np.array(pos_weight) * TARGETS * (1 - p)
    gradient = features.T @ (by_logits * weights[:, None]) / 6
    model.fit(features, TARGETS, sample_weight=weights, batch_size=6, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], kernel - 0.01 * gradient, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        Loss(ml.zlpr),
        Loss(ml.focal, gamma=1.5, name="mine", reduction="sum"),
        Loss(ml.zlpr, where=ml.known, threshold=0.5, dtype="float32"),
        Loss(ml.binary_cross_entropy, pos_weight=np.arange(1.0, 6.0)),
    ],
    ids=lambda loss: loss.name,
)
def test_config_goes_round(loss: Loss) -> None:
    config = loss.get_config()
    again = Loss.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert float(again(TARGETS, LOGITS)) == float(loss(TARGETS, LOGITS))
    assert keras.losses.deserialize(keras.losses.serialize(loss)).get_config() == config


def test_a_saved_model_knows_its_loss(tmp_path: Path) -> None:
    features = RNG.normal(size=(6, 3)).astype("float32")
    loss = Loss(ml.binary_cross_entropy, where=ml.known, pos_weight=[1.0, 2.0, 3.0, 4.0, 5.0])
    model = network(loss)
    model.fit(features, TARGETS, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == loss.get_config()
    own = model.evaluate(features, TARGETS, verbose=0)
    assert again.evaluate(features, TARGETS, verbose=0) == own
    logits = model.predict(features, verbose=0)
    p = 1 / (1 + np.exp(-logits))
    terms = np.arange(1, 6) * TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p)
    np.testing.assert_allclose(own, -terms.sum(axis=1).mean(), rtol=1e-5)


def test_what_cannot_be_saved_says_so() -> None:
    loss = Loss(lambda logits, targets: logits.sum(-1))
    assert np.isfinite(float(loss(TARGETS, LOGITS)))
    with pytest.raises(ValueError, match="<lambda> is not a public name"):
        loss.get_config()
    with pytest.raises(ValueError, match="eval is not a public name"):
        Loss.from_config(Loss(ml.zlpr).get_config() | {"loss": "eval"})


def test_hyper_parameters_are_checked_at_once() -> None:
    with pytest.raises(TypeError, match="gama"):
        Loss(ml.focal, gama=1.0)
    with pytest.raises(TypeError, match="hierarchy must be a number, a string or a list"):
        Loss(ml.max_constraint, hierarchy=ml.Hierarchy.fit(np.array([[1, 0]]), 5))


def test_import_of_the_library_does_not_import_it() -> None:
    code = "import sys, mlc_losses; mlc_losses.zlpr; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
