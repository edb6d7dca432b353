"""What a case is: a loss with hyper-parameters, its oracle, the arrays it takes, its promises."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import mlc_losses as ml

Arrays = tuple[np.ndarray, ...]


def hard(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Logits and targets in {0, 1}; the first rows have no label and all labels."""
    targets = (rng.random((n, num_labels)) < 0.4).astype(float)
    targets[:1] = 0
    targets[1:2] = 1
    return rng.normal(size=(n, num_labels)) * 3, targets


def hard_bool(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    logits, targets = hard(rng, n, num_labels)
    return logits, targets > 0


def soft(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Logits and targets in [0, 1], both ends included."""
    targets = np.clip(rng.random((n, num_labels)) * 1.4 - 0.2, 0, 1)
    return rng.normal(size=(n, num_labels)) * 3, targets


def two_logits(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    return rng.normal(size=(n, num_labels)) * 3, rng.normal(size=(n, num_labels)) * 3


def two_logits_and_targets(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    logits, targets = hard(rng, n, num_labels)
    return logits, rng.normal(size=(n, num_labels)) * 3, targets


def soft_with_weights(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """As `soft`, with two weights for each cell between them, some 0."""
    logits, targets = soft(rng, n, num_labels)
    weights = rng.uniform(0.5, 3, (2, n, num_labels)) * (rng.random((2, n, num_labels)) < 0.8)
    return logits, *weights, targets


def bounded(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """As `hard`, with similarities in [-1, 1] for logits."""
    logits, targets = hard(rng, n, num_labels)
    return np.tanh(logits), targets


def one_class(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Logits and class ids. Of 7 classes those of even id and 3 alone: tests leave out the rest."""
    ids = np.array([0, 2, 3, 6]) if num_labels == 7 else np.arange(max(num_labels, 1))
    return rng.normal(size=(n, num_labels)) * 3, rng.choice(ids, n)


def one_distribution(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Logits and a distribution over the classes, with some at 0."""
    shares = np.maximum(rng.random((n, num_labels)) - 0.3, 0) + 0.01 * (
        np.arange(num_labels) % 2 == 0
    )
    return rng.normal(size=(n, num_labels)) * 3, shares / shares.sum(1, keepdims=True)


def embeddings(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """As `hard`, with points in as many dimensions for logits; the last two sets are equal."""
    points, targets = hard(rng, n, num_labels)
    targets[-2:] = targets[-2:][:1]
    return points, targets


def two_embeddings(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    return rng.normal(size=(n, num_labels)), rng.normal(size=(n, num_labels))


def with_prototypes(rng: np.random.Generator, n: int, num_labels: int) -> Arrays:
    """Between them a point for each label, `[L, L]`."""
    points, targets = embeddings(rng, n, num_labels)
    return points, rng.normal(size=(num_labels, num_labels)), targets


def takes(name: str, argument: str) -> bool:
    """Whether the public loss of this name has the argument."""
    return argument in inspect.signature(getattr(ml, name)).parameters


@dataclass(frozen=True)
class Case:
    """A public loss with hyper-parameters, its oracle for one example, and what it promises."""

    loss: Callable[..., Any]
    oracle: Callable[..., float]
    arrays: Callable[[np.random.Generator, int, int], Arrays] = hard
    keywords: dict[str, Any] = field(default_factory=dict)
    # keywords that hold one value per label, drawn again for each number of labels
    per_label: tuple[str, ...] = ()
    # a label scored right at infinity adds nothing, as if it were not there
    right_infinity_is_deletion: bool = True
    # the derivative by a label scored wrong at infinity is the limit of the derivatives before it
    derivative_at_infinity: bool = True
    # its derivatives are bounded, so they are finite at the largest logit that a float can hold
    bounded_derivative: bool = True
    # labels may be put in another order or left out: no label is tied to another
    labels_are_alike: bool = True
    takes_targets: bool = True
    # looks across the batch `[n, L]`, and its oracle too; the result has any shape
    across_batch: bool = False
    logits_name: str = "logits"
    # weights without a gradient that depend on the logits: the gradient is not that of the value.
    # The oracle takes, as `at`, the logits to compute the weights from
    fixed_weights: bool = False
    # sizes of logits at which its derivatives can be told from differences of its oracle
    hard_sizes: tuple[float, ...] = (0.0, 80.0, 1e4)
    # a hyper-parameter follows the number of labels, so a mask is not deletion
    follows_size: bool = False
    # k guesses want so many classes
    fewest_labels: int = 0
    # forward mode and second derivatives; a gradient rule for reverse mode alone has neither
    takes_forward_mode: bool = True

    @property
    def takes_where(self) -> bool:
        return takes(self.loss.__name__, "where")

    @property
    def takes_axis(self) -> bool:
        return takes(self.loss.__name__, "axis")

    @property
    def single_label(self) -> bool:
        return self.arrays is one_class

    @property
    def embedded(self) -> bool:
        """Points instead of logits: they cannot be infinite, and a label is not a dimension."""
        return self.arrays in (embeddings, two_embeddings, with_prototypes)

    @property
    def id(self) -> str:
        words = [f"{name}={value}" for name, value in self.keywords.items()]
        return "-".join([self.loss.__name__, *words, *self.per_label, self.arrays.__name__])

    def draw(self, seed: int, n: int = 6, num_labels: int = 7) -> tuple[Arrays, dict[str, Any]]:
        """Positional arrays `[n, L]` and keywords, as float64 NumPy."""
        rng = np.random.default_rng(seed)
        arrays = self.arrays(rng, n, num_labels)
        extra = {name: rng.uniform(0.5, 3, num_labels) for name in self.per_label}
        return arrays, {**self.keywords, **extra}

    def keep(self, arrays: Arrays, columns: np.ndarray) -> Arrays:
        """The same examples with these labels alone, in this order; a class not kept is -1."""
        columns = np.arange(arrays[0].shape[1])[columns]

        def new_ids(ids: np.ndarray) -> np.ndarray:
            found = ids[:, None] == columns
            return np.where(found.any(1), found.argmax(1) if columns.size else -1, -1)

        kept = [x[:, columns] if x.ndim == 2 else new_ids(x) for x in arrays]
        if self.arrays is with_prototypes:
            kept[1] = kept[1][columns]
        return tuple(kept)

    def keep_values(self, values: np.ndarray, n: int, columns: np.ndarray) -> np.ndarray:
        """Of the result for n examples: where prototypes have a value too, those of `keep`."""
        if self.arrays is with_prototypes and len(values) > n:
            return np.concatenate([values[:n], values[n:][columns]])
        return values

    def relevant(self, arrays: Arrays) -> np.ndarray:
        """Bool `[n, L]`: which labels are to score high."""
        targets = arrays[-1]
        if self.single_label:
            return targets[:, None] == np.arange(arrays[0].shape[1])
        return targets > 0.5

    def expected(self, arrays: Arrays, keywords: dict[str, Any]) -> np.ndarray:
        if self.across_batch:
            return np.asarray(self.oracle(*arrays, **keywords), dtype=float)
        rows = zip(*arrays, strict=True)
        return np.array([self.oracle(*row, **keywords) for row in rows], dtype=float)

    def differences(
        self, arrays: Arrays, keywords: dict[str, Any], weights: np.ndarray
    ) -> np.ndarray:
        """Gradient by the logits of `Σ weights · oracle`, by central differences in float64.

        The step is small against 1, the width of a softmax, and its error, 1e-16 |value| / step,
        too. A loss of one example is asked for the row that moves alone.
        """
        if not self.across_batch:
            rows = zip(weights, *arrays, strict=True)
            derivatives = [self._derivatives(row, keywords, weight) for weight, *row in rows]
            return np.array(derivatives).reshape(arrays[0].shape)
        return self._derivatives(arrays, keywords, weights)

    def _derivatives(self, arrays: Any, keywords: dict[str, Any], weights: Any) -> np.ndarray:
        """The same for what the oracle takes at once."""
        x, rest = arrays[0], arrays[1:]
        fixed = {"at": x} if self.fixed_weights else {}
        derivatives = np.empty_like(x)
        for index in np.ndindex(*x.shape):
            step = 1e-6 * max(1.0, abs(x[index])) ** 0.5
            sides = []
            for sign in (1, -1):
                moved = x.copy()
                moved[index] += sign * step
                sides.append(np.asarray(self.oracle(moved, *rest, **fixed, **keywords)))
            derivatives[index] = np.sum(weights * (sides[0] - sides[1])) / (2 * step)
        return derivatives
