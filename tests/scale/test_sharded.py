"""Losses over several devices and processes, in programs of their own."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support import backends

if backends.NAME != "jax":
    pytest.skip("scale/ is for JAX", allow_module_level=True)

import jax
import jax.numpy as jnp
import numpy as np

from mlc_losses import ldam, multi_hot, sharded, supcon, zlpr
from tests.support.programs import free_port, run_on_devices, run_together, start


@pytest.mark.devices
@pytest.mark.slow("compiles fifty losses for eight devices, forwards and backwards")
def test_eight_devices_agree_with_one() -> None:
    run_on_devices(8, "tests.scale.sharded_program", "losses")


@pytest.mark.devices
def test_two_processes_agree_with_one() -> None:
    port = free_port()
    processes = (str(number) for number in range(2))
    run_together(
        [start(2, "tests.scale.sharded_program", "process", each, port) for each in processes]
    )


def test_wrong_arguments_are_named() -> None:
    mesh = jax.make_mesh((1,), ("devices",))
    with pytest.raises(ValueError, match="give labels, batch or both"):
        sharded(zlpr, mesh)
    with pytest.raises(ValueError, match=r"labels must be axes of the mesh, \('devices',\), got"):
        sharded(zlpr, mesh, labels="columns")
    with pytest.raises(ValueError, match="on different mesh axes, got 'devices' twice"):
        sharded(zlpr, mesh, labels="devices", batch="devices")
    logits = jnp.zeros((3, 3))
    own = sharded(lambda s, y, extra: zlpr(s, y, threshold=extra), mesh, labels="devices")
    with pytest.raises(ValueError, match=r"extra is not an argument .* by its shape \(3,\) it may"):
        own(logits, logits, jnp.zeros(3))
    with pytest.raises(TypeError, match="the first argument must be an array"):
        sharded(zlpr, mesh, labels="devices")(0.5, logits)
    with pytest.raises(ValueError, match="supcon cannot be split over labels: its embeddings have"):
        sharded(supcon, mesh, labels="devices")(logits, logits)


def test_labels_are_the_last_axis() -> None:
    """On another one the loss would sum over a part of the examples, or of the labels."""
    mesh = jax.make_mesh((1,), ("devices",))
    logits = jnp.zeros((4, 4))
    for over in ({"batch": "devices"}, {"labels": "devices"}):
        with pytest.raises(ValueError, match=r"the labels are the last axis .* got axis=0 of 2"):
            sharded(partial(zlpr, axis=0), mesh, **over)(logits, logits)
    # neither the labels nor the examples
    pixels = jnp.zeros((4, 3, 5))
    split = sharded(partial(zlpr, axis=1), mesh, batch="devices")
    np.testing.assert_allclose(split(pixels, pixels), zlpr(pixels, pixels, axis=1))


def test_arguments_may_be_named_or_bound() -> None:
    mesh = jax.make_mesh((1,), ("devices",))
    cosines, labels = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), jnp.array([0, 3, 1])
    margins = jnp.linspace(0.1, 0.4, 4)
    wanted = ldam(cosines, labels, margins)
    bound = sharded(partial(ldam, margins=margins), mesh, labels="devices")
    np.testing.assert_array_equal(bound(cosines, labels), wanted)
    named = sharded(ldam, mesh, labels="devices")
    np.testing.assert_array_equal(named(margins=margins, labels=labels, logits=cosines), wanted)


def test_eager_results_are_committed_only_if_an_input_was() -> None:
    ids, device = jnp.array([[0, 2], [1, -1]]), jax.devices()[0]
    assert not multi_hot(ids, 4).committed
    assert multi_hot(jax.device_put(ids, device), 4).committed
