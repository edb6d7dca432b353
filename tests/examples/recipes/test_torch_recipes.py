"""The recipes for PyTorch: their loss and their first step, beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.examples.recipes import by_hand


def weights_after_one_step(module, rows, batch_size: int, accumulate: int) -> dict[str, np.ndarray]:
    plain = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    settings = plain | {"max_steps": 1, "learning_rate": 0.1}
    trainer = module.train(rows, batch_size=batch_size, accumulate=accumulate, **settings)
    return {name: value.numpy() for name, value in trainer.model.state_dict().items()}


@pytest.mark.slow("transformers alone takes seconds to import")
def test_hf_trainer(recipe) -> None:
    module = recipe("hf_trainer", "transformers", "accelerate")
    import torch

    rows = module.load()[0][:16]
    assert any((row["labels"] == -100).any() for row in rows)
    whole = weights_after_one_step(module, rows, batch_size=16, accumulate=1)
    parts = weights_after_one_step(module, rows, batch_size=4, accumulate=4)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, atol=2e-6, err_msg=name)

    labels = torch.stack([row["labels"] for row in rows])
    model = module.network(labels.shape[1]).eval()
    with torch.no_grad():
        outputs = model(torch.stack([row["input_ids"] for row in rows]))
    y, known = labels.numpy(), labels.numpy() >= 0
    s = outputs.logits.numpy()
    # a mean over known labels, times L
    scale = y.shape[1] / known.sum()
    own = by_hand.zlpr(s, y, known).sum() * scale
    np.testing.assert_allclose(module.trainer_loss(outputs, labels).item(), own, rtol=1e-5)
    step = 0.1 * by_hand.zlpr_gradient(s, y, known).sum(axis=0) * scale
    bias = model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(whole["classifier.bias"], bias - step, atol=1e-6)

    assert module.trainer_loss(outputs, torch.full_like(labels, -100)) == 0

    # with every label known it is the mean over examples
    labels = labels.clamp(min=0)
    own = by_hand.zlpr(s, labels.numpy()).mean()
    found = module.trainer_loss(outputs, labels, num_items_in_batch=labels.numel())
    np.testing.assert_allclose(found.item(), own, rtol=1e-5)


def sgd(parameters):
    import torch

    return torch.optim.SGD(parameters, lr=0.5)


@pytest.mark.slow("starts two processes")
def test_lightning_ddp(recipe) -> None:
    """One update of two processes is that of one process, and of NumPy."""
    module = recipe("lightning_ddp", "lightning")
    import torch

    x, y, *_ = map(torch.from_numpy, module.digit_sets.load(num_train=64))
    rows = module.TensorDataset(x, y)
    one_step = {"epochs": 1, "make_optimizer": sgd, "strategy": "ddp_spawn"}
    found, loss = module.train(rows, processes=2, batch_size=32, **one_step)
    single, loss_single = module.train(rows, processes=1, batch_size=64, **one_step)
    for name, weights in single.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weights, atol=2e-6, rtol=0)

    torch.manual_seed(0)
    start = module.Classifier(x.shape[1], y.shape[1], sgd)
    s, y = start.network(x).detach().double().numpy(), y.numpy()
    p = by_hand.sigmoid(s)
    total = (p + y).sum(axis=0)
    f1 = 2 * (p * y).sum(axis=0) / total
    own = by_hand.zlpr(s, y).mean() + (1 - f1).mean()
    np.testing.assert_allclose([loss, loss_single], own, rtol=1e-5)
    by_f1 = -(2 * y - f1) / total * p * (1 - p) / y.shape[1]
    step = 0.5 * (by_hand.zlpr_gradient(s, y) / len(y) + by_f1).sum(axis=0)
    bias = start.last.bias.detach().numpy()
    np.testing.assert_allclose(found.last.bias.detach().numpy(), bias - step, atol=2e-6)


@pytest.mark.slow("sentence-transformers alone takes seconds to import")
def test_text_encoder(recipe) -> None:
    module = recipe("text_encoder", "sentence_transformers", "datasets", "accelerate")
    import torch

    texts, targets = module.manual_topics.load()
    texts, targets = texts[:40], targets[:40]
    targets[:, 0] = np.arange(40) == 0  # a topic of one text, which has no other
    targets[0, 1:] = 0
    model = module.encoder(texts)
    z = model.encode(texts).astype(np.float64)
    values = by_hand.mulsupcon(z, targets, 0.1)
    assert (values == 0).any() and (values > 0).sum() > 20
    own = values[values > 0].mean()
    columns = [model.preprocess(texts) if hasattr(model, "preprocess") else model.tokenize(texts)]
    found = module.MulSupCon(model)(columns, torch.from_numpy(targets))
    np.testing.assert_allclose(found.item(), own, rtol=1e-5)

    plain = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    trained = module.train(
        texts,
        targets,
        max_steps=1,
        learning_rate=1e-3,
        per_device_train_batch_size=40,
        **plain,
    )
    found.backward()
    (start,), (weights,) = model.parameters(), trained.parameters()
    np.testing.assert_allclose(weights.detach(), (start - 1e-3 * start.grad).detach(), atol=1e-6)
    # the derivative along the step, by central differences of the values by hand
    size, direction = 1e-4, start.grad / start.grad.norm()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            start += sign * size * direction
            moved = by_hand.mulsupcon(model.encode(texts).astype(np.float64), targets, 0.1)
            ends.append(moved[values > 0].mean())
            start -= sign * size * direction
    along = (ends[0] - ends[1]) / (2 * size)
    np.testing.assert_allclose(along, start.grad.norm().item(), rtol=0.02)
