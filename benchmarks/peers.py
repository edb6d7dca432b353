"""The same losses in other libraries, each brought to our value: the mean over the examples."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

import mlc_losses as ml

POSITIVES = 0.01


class Pair(NamedTuple):
    """One of our losses, and what other libraries call it; each `(logits, targets) -> scalar`."""

    ours: Callable[..., Any]
    jax_peers: dict[str, Callable[..., Any]]
    torch_peers: dict[str, Callable[..., Any]]
    single_label: bool = False


def draw(rows: int, num_labels: int, single_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and class ids or float targets of which one in a hundred is on, one at least."""
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(rows, num_labels))).astype(np.float32)
    ids = rng.integers(num_labels, size=rows)
    if single_label:
        return logits, ids
    targets = (rng.random((rows, num_labels)) < POSITIVES).astype(np.float32)
    targets[np.arange(rows), ids] = 1
    return logits, targets


def counts(num_labels: int) -> np.ndarray:
    """Examples of each label among ten thousand: what distribution_balanced wants to know."""
    return np.maximum(1, 5000 // (1 + np.arange(num_labels))).astype(np.float32)


def timm_losses() -> Any:
    """`timm.loss` from the installed wheel, or None; not timm itself, which needs torchvision."""
    if "timm.loss" in sys.modules:
        return sys.modules["timm.loss"]
    spec = importlib.util.find_spec("timm")
    if spec is None:
        return None
    package = types.ModuleType("timm")
    package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or ())
    sys.modules["timm"] = package
    return importlib.import_module("timm.loss")


def pairs() -> dict[str, Pair]:
    """By the name of our loss; timm's where it is installed."""
    import optax
    import torch
    from torch.nn import functional as F

    def mean_rows(loss: Callable[..., Any]) -> Callable[..., Any]:
        return lambda s, y: loss(s, y).sum(-1).mean()

    def per_example(loss: Callable[..., Any]) -> Callable[..., Any]:
        return lambda s, y: loss(s, y) / s.shape[0]

    def ids_first(y: Any) -> Any:
        """PyTorch's targets of multilabel_margin_loss: ids, then -1."""
        ids = torch.where(y > 0, torch.arange(y.shape[1]), y.shape[1]).sort(-1).values
        return torch.where(ids < y.shape[1], ids, -1)

    found = {
        "zlpr": Pair(ml.zlpr, {}, {}),
        "binary_cross_entropy": Pair(
            ml.binary_cross_entropy,
            {"optax": mean_rows(optax.losses.sigmoid_binary_cross_entropy)},
            {
                "PyTorch": per_example(
                    lambda s, y: F.binary_cross_entropy_with_logits(s, y, reduction="sum")
                )
            },
        ),
        "multilabel_soft_margin": Pair(
            ml.multilabel_soft_margin, {}, {"PyTorch": F.multilabel_soft_margin_loss}
        ),
        "focal": Pair(
            ml.focal,
            {"optax": mean_rows(lambda s, y: optax.losses.sigmoid_focal_loss(s, y, gamma=2.0))},
            {},
        ),
        "asymmetric": Pair(ml.asymmetric, {}, {}),
        "poly": Pair(ml.poly, {}, {}),
        "multilabel_margin": Pair(
            ml.multilabel_margin,
            {},
            {"PyTorch": lambda s, y: F.multilabel_margin_loss(s, ids_first(y))},
        ),
        "two_way": Pair(ml.two_way, {}, {}),
        "distribution_balanced": Pair(_distribution_balanced, {}, {}),
        "softmax_cross_entropy": Pair(
            ml.softmax_cross_entropy,
            {"optax": _optax_softmax},
            {"PyTorch": F.cross_entropy},
            single_label=True,
        ),
    }
    if timm := timm_losses():
        more = {
            "zlpr": timm.ZlprLoss(),
            "asymmetric": timm.AsymmetricLossMultiLabel(),
            "poly": per_example(timm.PolyBinaryCrossEntropy(epsilon=1.0, reduction="sum")),
            "two_way": timm.TwoWayLoss(),
            "distribution_balanced": _timm_distribution_balanced(timm),
        }
        for name, loss in more.items():
            found[name].torch_peers["timm"] = loss
    return found


def _optax_softmax(logits: Any, ids: Any) -> Any:
    import optax

    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, ids).mean()


def _distribution_balanced(logits: Any, targets: Any) -> Any:
    known = array_namespace(logits).asarray(counts(logits.shape[1]))
    return ml.distribution_balanced(logits, targets, known, 10_000)


def _timm_distribution_balanced(timm: Any) -> Callable[..., Any]:
    made: dict[int, Any] = {}

    def loss(logits: Any, targets: Any) -> Any:
        num_labels = logits.shape[1]
        if num_labels not in made:
            known = counts(num_labels).tolist()
            made[num_labels] = timm.DistributionBalancedLoss(known, 10_000, reduction="sum")
        return made[num_labels](logits, targets) / logits.shape[0]

    return loss
