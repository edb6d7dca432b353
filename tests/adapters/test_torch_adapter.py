"""A loss as a module: the same numbers, and hyper-parameters that PyTorch can see."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

if os.environ.get("ARRAY_BACKEND") != "torch":
    pytest.skip("the adapter is for PyTorch", allow_module_level=True)

import torch

import mlc_losses as ml
from mlc_losses.adapters.torch import Loss

LOGITS = torch.tensor([[1.5, -0.5, 2.0, 0.3], [-1.0, 0.75, -2.5, -0.2]], dtype=torch.float64)
TARGETS = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0]])
WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0])


def weighted_cross_entropy(pos_weight: np.ndarray) -> np.ndarray:
    """By hand, in NumPy."""
    s, y = LOGITS.numpy(), TARGETS.numpy()
    return (pos_weight * y * np.log1p(np.exp(-s)) + (1 - y) * np.log1p(np.exp(s))).sum(axis=1)


def test_value_and_gradient_are_those_of_the_function() -> None:
    logits = LOGITS.clone().requires_grad_()
    value = Loss(ml.binary_cross_entropy, pos_weight=WEIGHTS)(logits, TARGETS)
    np.testing.assert_allclose(value.item(), weighted_cross_entropy(WEIGHTS.numpy()).mean())
    value.backward()
    p, y, w = torch.sigmoid(LOGITS), TARGETS, WEIGHTS.double()
    torch.testing.assert_close(logits.grad, ((1 - y) * p - w * y * (1 - p)) / len(LOGITS))


def test_the_reduction_is_any_callable() -> None:
    own = ml.zlpr(LOGITS, TARGETS)
    assert Loss(ml.zlpr, reduction=torch.sum)(LOGITS, TARGETS) == own.sum()
    assert torch.equal(Loss(ml.zlpr, reduction=torch.nn.Identity())(LOGITS, TARGETS), own)
    assert Loss(ml.zlpr, reduction=lambda values: values @ own)(LOGITS, TARGETS) == own @ own


def test_keywords_of_a_call_come_before_the_modules_own() -> None:
    where = torch.tensor([[True, False, True, True], [False, True, True, True]])
    module = Loss(ml.focal, gamma=1.0)
    own = ml.focal(LOGITS, TARGETS, gamma=3.0, where=where).mean()
    assert module(LOGITS, TARGETS, gamma=3.0, where=where) == own
    assert module(LOGITS, TARGETS) == ml.focal(LOGITS, TARGETS, gamma=1.0).mean()


def test_a_hyper_parameter_can_be_changed() -> None:
    module = Loss(ml.focal, gamma=1.0)
    module.gamma = 3.0
    assert module(LOGITS, TARGETS) == ml.focal(LOGITS, TARGETS, gamma=3.0).mean()
    assert "gamma=3.0" in repr(module)


def test_tensors_are_buffers_and_parameters_are_parameters() -> None:
    threshold = torch.nn.Parameter(torch.tensor(0.25))
    module = Loss(ml.zlpr, threshold=threshold)
    assert dict(module.named_parameters()) == {"threshold": threshold}
    module(LOGITS, TARGETS).backward()
    # the derivative by s_0 of log(e^s_0 + A) + log(e^-s_0 + B), A and B the sums of both sides
    s, y = LOGITS.numpy(), TARGETS.numpy()
    negative, positive = ((1 - y) * np.exp(s)).sum(axis=1), (y * np.exp(-s)).sum(axis=1)
    up, down = np.exp(0.25), np.exp(-0.25)
    wanted = (up / (up + negative) - down / (down + positive)).mean()
    np.testing.assert_allclose(threshold.grad.item(), wanted, rtol=1e-6)

    module = Loss(ml.binary_cross_entropy, pos_weight=WEIGHTS)
    assert dict(module.named_buffers()).keys() == module.state_dict().keys() == {"pos_weight"}
    assert not list(module.parameters())
    assert module.to(torch.float64).pos_weight.dtype == torch.float64
    moved = module.to("meta")
    assert moved.pos_weight.device.type == "meta"
    assert moved(LOGITS.to("meta"), TARGETS.to("meta")).device.type == "meta"


def test_state_travels() -> None:
    module = Loss(ml.binary_cross_entropy, pos_weight=WEIGHTS)
    other = Loss(ml.binary_cross_entropy, pos_weight=torch.ones(4))
    other.load_state_dict(module.state_dict())
    again = pickle.loads(pickle.dumps(module))
    assert other(LOGITS, TARGETS) == again(LOGITS, TARGETS) == module(LOGITS, TARGETS)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Loss(ml.zlpr), "Loss(zlpr, reduction=mean)"),
        (Loss(ml.focal, gamma=1.5, reduction=torch.sum), "Loss(focal, gamma=1.5, reduction=sum)"),
        (
            Loss(ml.binary_cross_entropy, pos_weight=WEIGHTS),
            "Loss(binary_cross_entropy, pos_weight=Tensor[4], reduction=mean)",
        ),
        (
            Loss(ml.zlpr, threshold=torch.nn.Parameter(torch.tensor(0.0))),
            "Loss(zlpr, threshold=Parameter[], reduction=mean)",
        ),
        (Loss(partial(ml.focal, gamma=1.0)), "Loss(partial, reduction=mean)"),
    ],
)
def test_it_shows_what_it_holds(module: Loss, text: str) -> None:
    assert repr(module) == text


def test_losses_of_other_call_shapes() -> None:
    prototypes = torch.eye(4, dtype=torch.float64)
    own = ml.prototype_contrastive(LOGITS, prototypes, TARGETS, temperature=0.5).mean()
    assert Loss(ml.prototype_contrastive, temperature=0.5)(LOGITS, prototypes, TARGETS) == own
    own = ml.top_k_hinge(LOGITS, torch.tensor([0, 3]), 2).mean()
    assert Loss(ml.top_k_hinge, k=2)(LOGITS, torch.tensor([0, 3])) == own


def test_names_are_checked_at_once() -> None:
    with pytest.raises(TypeError, match="gama"):
        Loss(ml.focal, gama=1.0)
    with pytest.raises(ValueError, match="training is an attribute"):
        Loss(lambda logits, targets, *, training: logits, training=1.0)


@pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated")  # Dynamo does
def test_it_is_traced_whole() -> None:
    module = Loss(ml.zlpr, threshold=torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64)))
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(LOGITS, TARGETS), module(LOGITS, TARGETS))


def test_import_of_the_library_does_not_import_it() -> None:
    code = "import sys, mlc_losses; mlc_losses.zlpr; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
