"""What the table of peers compares is the same number, with the same gradient."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from benchmarks.table_peers import LOSSES

torch = pytest.importorskip("torch")
peers = pytest.importorskip("benchmarks.peers")


@pytest.mark.parametrize("name", LOSSES)
def test_peers_agree(name: str) -> None:
    pair = peers.pairs()[name]
    logits, targets = peers.draw(8, 120, pair.single_label)

    def on_jax(loss):
        arrays = jax.numpy.asarray(logits), jax.numpy.asarray(targets)
        return jax.value_and_grad(lambda s, y: loss(s, y).mean())(*arrays)

    def on_torch(loss):
        s = torch.tensor(logits, requires_grad=True)
        value = loss(s, torch.tensor(targets)).mean()
        value.backward()
        return value.detach(), s.grad

    found = [on_jax(pair.ours), on_torch(pair.ours)]
    found += map(on_jax, pair.jax_peers.values())
    found += map(on_torch, pair.torch_peers.values())
    assert len(found) > 2
    for value, gradient in found[1:]:
        np.testing.assert_allclose(float(value), float(found[0][0]), rtol=1e-5)
        np.testing.assert_allclose(np.asarray(gradient), np.asarray(found[0][1]), atol=2e-6)
