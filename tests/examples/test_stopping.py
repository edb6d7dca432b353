"""Training that stops where validation no longer improves."""

from __future__ import annotations

import numpy as np
import pytest

for needed in ("jax", "optax", "safetensors"):
    pytest.importorskip(needed)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import mlc_losses  # noqa: E402
from examples.model import Settings, forward  # noqa: E402
from examples.studies.common import stopping  # noqa: E402
from examples.studies.common.dropout import dropped  # noqa: E402
from examples.studies.common.stopping import State  # noqa: E402

RATES = (0.1, 0.2)


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


def followed(values, *, most_rounds=50, patience=3):
    """What is found where the models are (rate, round) and are judged as `values` says."""
    seen = []

    def advance(state, number):
        seen.append(number)
        return State(np.array([[rate, number] for rate in RATES]), None)

    def scores(params):
        rate, number = params
        return values(round(float(rate), 3), int(number))

    found = stopping.until_no_better(
        State(None, None), advance, scores, RATES, most_rounds=most_rounds, patience=patience
    )
    assert seen == list(range(1, len(seen) + 1))
    return found, len(seen)


def test_it_stops_when_nothing_has_got_better_and_keeps_the_best():
    def values(rate, number):
        return [{(0.2, 1): 0.3, (0.1, 4): 0.5, (0.2, 6): 0.5}.get((rate, number), 0.1)]

    (found,), rounds = followed(values)
    assert (found.rate, found.round, found.value) == (0.1, 4, 0.5)  # of equal ones the earliest
    assert rounds == found.rounds == 4 + 3
    np.testing.assert_array_equal(found.params, [0.1, 4])


def test_it_goes_on_while_one_criterion_improves():
    (falling, rising), rounds = followed(lambda rate, number: [-number, min(number, 9)])
    assert (falling.round, rising.round, rounds) == (1, 9, 12)


def test_there_is_an_end():
    (found,), rounds = followed(lambda rate, number: [number], most_rounds=5)
    assert found.round == rounds == 5


def test_every_row_is_in_a_round_and_rounds_differ():
    first, again, second = (stopping.round_batches(40, 8, 0, n) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (stopping.LEAST_STEPS, 8) and set(first.ravel()) == set(range(40))
    assert (first != second).any()
    assert len(stopping.round_batches(8000, 8, 0, 1)) == 1000  # a whole epoch


def test_a_network_learns_and_a_rate_does_not_depend_on_those_beside_it():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 5)).astype(np.float32)
    y = x @ generator.normal(size=(5, 3)) > 0
    settings = Settings(epochs=3, hidden=8, batch_size=8, dropout=0.0, input_dropout=0.0)

    def train(rates):
        def scores(params):
            return [float(((np.asarray(forward(params, x)) > 0) == y).mean())]

        (found,) = stopping.train_network(x, y, 3, mlc_losses.zlpr, scores, 0, settings, rates)
        return found

    both, alone = train((1e-6, 0.03)), train((0.03,))
    assert both.rate == alone.rate == pytest.approx(0.03) and both.round == alone.round
    assert both.value == alone.value > 0.9
    for one, other in zip(*map(jax.tree.leaves, (both.params, alone.params)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert jnp.isfinite(forward(both.params, x)).all()


@pytest.mark.parametrize("shape", [(401, 501), (1, 1)])
def test_dropout_keeps_the_mean(shape):
    x = jnp.full(shape, 2.0)
    first, second = (np.asarray(dropped(x, 0.3, jax.random.key(i))) for i in (0, 1))
    assert set(np.unique(first)) <= {0.0, np.float32(2 / 0.7)}
    assert dropped(x, 0.0, jax.random.key(0)) is x
    if first.size > 1:
        # four standard errors, of cells, of rows and columns, and of cells of two keys
        assert abs((first == 0).mean() - 0.3) < 4 * (0.21 / first.size) ** 0.5
        for axis in (0, 1):
            spread = (0.21 / first.shape[axis]) ** 0.5
            np.testing.assert_allclose((first == 0).mean(axis).std(), spread, rtol=0.2)
        both = ((first == 0) & (second == 0)).mean()
        assert abs(both - 0.09) < 4 * (0.09 * 0.91 / first.size) ** 0.5
