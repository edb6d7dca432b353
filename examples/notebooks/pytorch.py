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
# # PyTorch
#
# A gene of the *yeast* data has 103 measurements and any of 14 functions, 4.2 of them on average.
# We train the same small network twice, with `zlpr` and with `binary_cross_entropy`, and decide
# both at a score of 0: a label is predicted where its logit is positive.
#
# You need `pip install river` beside `mlc_losses[torch]`; JAX is not needed.

# %%
import os
import sys
import warnings

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from mlc_losses import binary_cross_entropy, masked_mean, metrics, predict_threshold, zlpr

sys.path += ["../..", "."]  # for examples/data.py, from here or from the root of the clone
from examples import data as data_sets

EPOCHS = int(os.environ.get("MLC_EPOCHS", "30"))  # the tests train for fewer

# %% [markdown]
# The data set comes with the package river. Features are brought to unit scale by the training
# rows; targets are multi-hot, `[n, 14]`, and may be bool, integer or float.

# %%
yeast = data_sets.load("yeast")
scaling = data_sets.fit_scaling(yeast.train_features)
x_train = torch.from_numpy(data_sets.apply_scaling(scaling, yeast.train_features))
x_test = torch.from_numpy(data_sets.apply_scaling(scaling, yeast.test_features))
y_train, y_test = torch.from_numpy(yeast.train_targets), torch.from_numpy(yeast.test_targets)
print(tuple(x_train.shape), f"{y_train.sum(dim=1).float().mean():.1f} labels per example")

# %% [markdown]
# ## The training loop
#
# The last layer gives one logit per label, without a sigmoid. A loss returns one value per example:
# `.mean()` makes the scalar that `.backward()` wants. There is no loss object to construct.


# %%
class Network(torch.nn.Module):
    def __init__(self, features: int, labels: int):
        super().__init__()
        self.hidden = torch.nn.Linear(features, 128)
        self.dropout = torch.nn.Dropout(0.5)
        self.last = torch.nn.Linear(128, labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.relu(self.hidden(x))))


def train(loss, seed=0):
    torch.manual_seed(seed)
    network = Network(x_train.shape[1], y_train.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    batches = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
    means = []
    for _ in range(EPOCHS):
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            value = loss(network(x), y).mean()
            value.backward()
            optimizer.step()
            total += value.item() * len(x)
        means.append(total / len(x_train))
    return network.eval(), means  # no dropout from here on


train_losses, scores = {}, {}
for loss in (zlpr, binary_cross_entropy):
    network, train_losses[loss.__name__] = train(loss)
    with torch.no_grad():
        scores[loss.__name__] = network(x_test)
    first, *_, last = train_losses[loss.__name__]
    print(f"{loss.__name__}: mean loss of an epoch from {first:.2f} down to {last:.2f}")

# %% [markdown]
# ## The decision and its metrics
#
# `predict_threshold` keeps what scores above 0. Metrics take tensors too, and agree with
# scikit-learn.


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
results["no label at all"] = report(torch.full(y_test.shape, -1.0))
print(" " * 15, *results, sep="  ")
for key in results["zlpr"]:
    cells = (f"{values[key]:{len(name)}.3f}" for name, values in results.items())
    print(f"{key:15}", *cells, sep="  ")

# %% [markdown]
# ## Labels that are not known
#
# `where` is False for an unknown label. Such a label adds nothing to value or
# gradient, as if it were deleted; it is not a negative. An example without any known label gives
# 0, and `masked_mean` leaves it out of the average too.

# %%
logits = scores["zlpr"][:4].clone().requires_grad_()
known = torch.ones(logits.shape, dtype=torch.bool)
known[0, 3:] = False
known[1] = False
values = zlpr(logits, y_test[:4], where=known)
masked_mean(values, known.any(dim=1)).backward()
print("losses", [round(value, 3) for value in values.tolist()])
print("gradient of unknown labels", logits.grad[~known].abs().max().item())
assert values[1] == 0 and (logits.grad[~known] == 0).all()

# %% [markdown]
# ## torch.compile
#
# A compiled loss gives the same numbers. PyTorch needs a C++ compiler to compile for the CPU;
# where it has none, this cell says so and nothing else is lost. What it warns of, that it looks
# through caches, is harmless: they remember which library a type belongs to.


# %%
def gradient(loss):
    logits = scores["zlpr"].clone().requires_grad_()
    loss(logits, y_test).mean().backward()
    return logits.grad


warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
try:
    difference = (gradient(torch.compile(zlpr)) - gradient(zlpr)).abs().max().item()
    print(f"largest difference of a gradient, compiled and not: {difference:.1e}")
    assert difference < 1e-6
except torch._dynamo.exc.BackendCompilerFailed as error:
    print("not compiled here:", str(error).partition("\n")[0])

# %% [markdown]
# ## The same number from NumPy
#
# One implementation serves all libraries, so you can check a value on NumPy.

# %%
torch_mean = zlpr(scores["zlpr"], y_test).mean().item()
numpy_mean = zlpr(scores["zlpr"].numpy(), y_test.numpy()).mean()
print(f"PyTorch {torch_mean:.6f}, NumPy {numpy_mean:.6f}")
np.testing.assert_allclose(torch_mean, numpy_mean, rtol=1e-5)

# %% [markdown]
# One seed and no search of settings: this shows how, not which loss is better. For that see
# [the losses compared](../../docs/results/compare_losses.md).
