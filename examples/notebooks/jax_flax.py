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
# # JAX with Flax NNX and optax
#
# A gene of the *yeast* data has 103 measurements and any of 14 functions, 4.2 of them on average.
# We train the same small network twice, with `zlpr` and with `binary_cross_entropy`, and decide
# both at a score of 0: a label is predicted where its logit is positive.
#
# You need `pip install flax optax matplotlib river` beside `mlc_losses[jax]`.

# %%
import os
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

from mlc_losses import binary_cross_entropy, metrics, predict_threshold, zlpr

sys.path += ["../..", "."]  # for examples/data.py, from here or from the root of the clone
from examples import data as data_sets

EPOCHS = int(os.environ.get("MLC_EPOCHS", "30"))  # the tests train for fewer

# %% [markdown]
# The data set comes with the package river. Features are brought to unit scale by the training
# rows; targets are multi-hot, `[n, 14]`.

# %%
yeast = data_sets.load("yeast")
scaling = data_sets.fit_scaling(yeast.train_features)
x_train = jnp.asarray(data_sets.apply_scaling(scaling, yeast.train_features))
x_test = jnp.asarray(data_sets.apply_scaling(scaling, yeast.test_features))
y_train, y_test = jnp.asarray(yeast.train_targets), jnp.asarray(yeast.test_targets)
print(x_train.shape, y_train.shape, f"{y_train.sum(axis=1).mean():.1f} labels per example")

# %% [markdown]
# ## The network
#
# Its last layer gives one logit per label, without a sigmoid: every loss takes logits.


# %%
class Network(nnx.Module):
    def __init__(self, features: int, labels: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(128, labels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.dropout(nnx.relu(self.hidden(x))))


# %% [markdown]
# ## The training step
#
# A loss is a pure function that returns one value per example, so the average is ours to take:
# `.mean()` here, `masked_mean` or a weighted sum elsewhere. It goes under `nnx.jit` and
# `nnx.value_and_grad` like any function of `jax.numpy`.


# %%
@nnx.jit(static_argnames="loss")
def step(network, optimizer, x, y, loss):
    value, gradient = nnx.value_and_grad(lambda network: loss(network(x), y).mean())(network)
    optimizer.update(network, gradient)
    return value


def train(loss, seed=0, batch_size=64):
    network = Network(x_train.shape[1], y_train.shape[1], nnx.Rngs(seed))
    optimizer = nnx.Optimizer(network, optax.adamw(2e-3, weight_decay=0.01), wrt=nnx.Param)
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(EPOCHS):
        rows = generator.permutation(len(x_train))
        batches = rows[: len(rows) // batch_size * batch_size].reshape(-1, batch_size)
        values = [step(network, optimizer, x_train[i], y_train[i], loss) for i in batches]
        means.append(float(jnp.mean(jnp.stack(values))))
    network.eval()  # no dropout from here on
    return network, means


train_losses, scores = {}, {}
for loss in (zlpr, binary_cross_entropy):
    network, train_losses[loss.__name__] = train(loss)
    scores[loss.__name__] = network(x_test)
    first, *_, last = train_losses[loss.__name__]
    print(f"{loss.__name__}: mean loss of an epoch from {first:.2f} down to {last:.2f}")

# %% [markdown]
# ## The decision and its metrics
#
# `predict_threshold` keeps what scores above 0. The metrics agree with scikit-learn, and run under
# jit too. Metrics of sets judge the decision; the ranking loss judges the scores.


# %%
def report(scores, threshold=0.0):
    sets = predict_threshold(scores, threshold)
    return {
        "micro-F1": float(metrics.f1_score(sets, y_test, average="micro")),
        "macro-F1": float(metrics.f1_score(sets, y_test, average="macro")),
        "subset accuracy": float(metrics.subset_accuracy(sets, y_test)),
        "Hamming loss": float(metrics.hamming_loss(sets, y_test)),
        "ranking loss": float(metrics.ranking_loss(scores, y_test)),
    }


results = {name: report(own) for name, own in scores.items()}
results["no label at all"] = report(jnp.full(y_test.shape, -1.0))
print(" " * 15, *results, sep="  ")
for key in results["zlpr"]:
    cells = (f"{values[key]:{len(name)}.3f}" for name, values in results.items())
    print(f"{key:15}", *cells, sep="  ")

# %% [markdown]
# ## Must it be 0?
#
# For `zlpr` 0 is the score that every label is compared with, for cross-entropy it is a probability
# of 1/2. Neither is where F1 is largest: here both curves peak somewhat below 0, at nearly the same
# height. If F1 is what you want, choose the threshold with `tune_thresholds` on validation rows.
# This figure looks at the test rows, so nothing may be chosen by it.

# %%
thresholds = np.linspace(-3, 2, 26)
figure, axes = plt.subplots(figsize=(6, 3.2), dpi=100, layout="constrained")
for name, own in scores.items():
    f1 = [metrics.f1_score(predict_threshold(own, t), y_test, average="micro") for t in thresholds]
    axes.plot(thresholds, f1, label=name)
axes.axvline(0, color="0.6", lw=1)
axes.set(xlabel="threshold", ylabel="micro-F1, test rows")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The same number from NumPy
#
# One implementation serves all libraries, so you can check a value on NumPy.

# %%
jax_mean = float(zlpr(scores["zlpr"], y_test).mean())
numpy_mean = zlpr(np.asarray(scores["zlpr"]), np.asarray(y_test)).mean()
print(f"JAX {jax_mean:.6f}, NumPy {numpy_mean:.6f}")
np.testing.assert_allclose(jax_mean, numpy_mean, rtol=1e-5)

# %% [markdown]
# One seed and no search of settings: this shows how, not which loss is better. For that see
# [the losses compared](../../docs/results/compare_losses.md).
