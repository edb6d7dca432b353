# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Keras 3
#
# Keras runs on JAX, PyTorch or TensorFlow. The losses take the arrays of the first two as they
# are, and `mlc_losses.adapters.keras.Loss` makes one a loss for `model.compile`. What needs care is
# the average, and masking.
#
# You need `pip install keras river` beside `mlc_losses[jax]`. The backend is chosen before Keras is
# imported; with `"torch"` in its place and `mlc_losses[torch]` nothing else below changes.
# TensorFlow is not served: its arrays do not follow the array API standard.

# %%
import os
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import mlc_losses
from mlc_losses import known, metrics, predict_threshold
from mlc_losses.adapters.keras import Loss

sys.path += ["../..", "."]  # for examples/data.py, from here or from the root of the clone
from examples import data as data_sets

EPOCHS = int(os.environ.get("MLC_EPOCHS", "30"))  # the tests train for fewer
print("Keras", keras.__version__, "on", keras.backend.backend())

# %% [markdown]
# A gene of the *yeast* data has 103 measurements and any of 14 functions, 4.2 of them on average.
# The data set comes with the package river.

# %%
yeast = data_sets.load("yeast")
scaling = data_sets.fit_scaling(yeast.train_features)
x_train = data_sets.apply_scaling(scaling, yeast.train_features)
x_test = data_sets.apply_scaling(scaling, yeast.test_features)
y_train, y_test = yeast.train_targets, yeast.test_targets
print(x_train.shape, f"{y_train.sum(axis=1).mean():.1f} labels per example")

# %% [markdown]
# ## From a loss to a Keras loss
#
# `mlc_losses.adapters.keras.Loss` holds a loss and its hyper-parameters as a loss of Keras: give it
# to `model.compile`. It is saved and loaded with the model.
#
# - **Order.** Keras calls `loss(y_true, y_pred)`; here it is `loss(logits, targets)`. Both are
#   `[batch, labels]`, so swapped arguments would raise nothing and train nonsense. `Loss` has them
#   in Keras's order.
# - **Logits.** The last layer has no activation. `keras.losses.BinaryCrossentropy` takes
#   probabilities unless told `from_logits=True`; the losses here always take logits.
# - **Average.** A loss function returns one value per example and Keras averages these over the
#   batch, which is the `.mean()` of the other notebooks. Keras's own binary cross-entropy averages
#   over the labels as well: it is `binary_cross_entropy / L`, its gradients 14 times smaller here.
# - **Weights.** `sample_weight` in `fit` multiplies the values of the examples; Keras then divides
#   by their number, not by the sum of the weights.
# - **Unknown labels.** Keras hands a loss no mask of single labels. Mark them in the targets, here
#   by -1: `where=known` turns the marks into the mask.

# %% [markdown]
# ## Training


# %%
def make_network(loss, seed=0):
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input((x_train.shape[1],)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(y_train.shape[1]),  # logits
        ]
    )
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=0.01)
    network.compile(optimizer, loss=Loss(loss, where=known))
    return network


networks, train_losses, scores = {}, {}, {}
for loss in (mlc_losses.zlpr, mlc_losses.binary_cross_entropy):
    network = make_network(loss)
    history = network.fit(
        x_train, y_train.astype("float32"), batch_size=64, epochs=EPOCHS, verbose=0
    )
    networks[loss.__name__], train_losses[loss.__name__] = network, history.history["loss"]
    scores[loss.__name__] = network.predict(x_test, batch_size=1024, verbose=0)
    first, *_, last = train_losses[loss.__name__]
    print(f"{loss.__name__}: mean loss of an epoch from {first:.2f} down to {last:.2f}")

# %% [markdown]
# ## The decision and its metrics
#
# `predict` returns NumPy arrays, and the metrics take them. A label is predicted where its logit is
# above 0.


# %%
def report(scores):
    sets = predict_threshold(scores)
    return {
        "micro-F1": float(metrics.f1_score(sets, y_test, average="micro")),
        "macro-F1": float(metrics.f1_score(sets, y_test, average="macro")),
        "subset accuracy": float(metrics.subset_accuracy(sets, y_test)),
        "Hamming loss": float(metrics.hamming_loss(sets, y_test)),
        "ranking loss": float(metrics.ranking_loss(scores, y_test)),
    }


results = {name: report(own) for name, own in scores.items()}
results["no label at all"] = report(np.full(y_test.shape, -1.0))
print(" " * 15, *results, sep="  ")
for key in results["zlpr"]:
    cells = (f"{values[key]:{len(name)}.3f}" for name, values in results.items())
    print(f"{key:15}", *cells, sep="  ")

# %% [markdown]
# ## The same numbers from NumPy
#
# What `evaluate` reports is the mean over examples, also where the last batch is smaller. NumPy
# gives the same from the predictions alone; and so it does with labels marked as unknown.

# %%
rng = np.random.default_rng(0)
marked = np.where(rng.random(y_test.shape) < 0.3, -1.0, y_test).astype("float32")
for name, targets in {"all labels": y_test.astype("float32"), "30 % unknown": marked}.items():
    by_keras = networks["zlpr"].evaluate(x_test, targets, batch_size=200, verbose=0)
    by_numpy = mlc_losses.zlpr(scores["zlpr"], targets == 1, where=targets >= 0).mean()
    print(f"{name}: Keras {by_keras:.6f}, NumPy {by_numpy:.6f}")
    np.testing.assert_allclose(by_keras, by_numpy, rtol=1e-4)

# %% [markdown]
# A saved model knows its loss.

# %%
with tempfile.TemporaryDirectory() as folder:
    networks["zlpr"].save(f"{folder}/model.keras")
    again = keras.models.load_model(f"{folder}/model.keras")
by_loaded = again.evaluate(x_test, marked, batch_size=200, verbose=0)
np.testing.assert_allclose(by_loaded, by_keras, rtol=1e-6)

# %% [markdown]
# And Keras's own loss is `binary_cross_entropy` divided by the number of labels:

# %%
own = keras.losses.BinaryCrossentropy(from_logits=True)(y_test.astype("float32"), scores["zlpr"])
ours = mlc_losses.binary_cross_entropy(scores["zlpr"], y_test).mean() / y_test.shape[1]
print(f"Keras {float(own):.6f}, mlc_losses {ours:.6f}")
np.testing.assert_allclose(float(own), ours, rtol=1e-4)

# %% [markdown]
# One seed and no search of settings: this shows how, not which loss is better. For that see
# [the losses compared](../../docs/results/compare_losses.md).
