"""Boosted trees with a loss of the library: derivatives, XGBoost's own as a check, small runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

for needed in ("jax", "matplotlib", "optax", "rich", "river", "safetensors", "typer", "xgboost"):
    pytest.importorskip(needed)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import xgboost as xgb  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples import data as data_sets  # noqa: E402
from examples.studies.boosted_trees import study as bt  # noqa: E402
from examples.studies.common.sweep import split  # noqa: E402
from mlc_losses import binary_cross_entropy, zlpr  # noqa: E402


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs; so are 64 bits."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


def made_up(rows=120, labels=4, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 6)).astype(np.float32)
    return x, x[:, :labels] + 0.5 * generator.normal(size=(rows, labels)) > 0.3


def made_up_data():
    (x, y), (x_test, y_test) = made_up(), made_up(60, seed=1)
    return data_sets.MultiLabelData("made_up", x, y, x_test, y_test)


# more rows than a batch, and as many as yeast, where XLA was seen to miscompile another way
@pytest.mark.parametrize("shape", [(5, 3), (1500, 14)])
def test_derivatives_of_zlpr(shape):
    generator = np.random.default_rng(0)
    s, y = 2 * generator.normal(size=shape), generator.random(shape) < 0.4
    up, down = np.where(y, 0, np.exp(s)), np.where(y, np.exp(-s), 0)
    share = up / (1 + up.sum(1, keepdims=True)) + down / (1 + down.sum(1, keepdims=True))
    gradient, curvature = bt.derivatives(zlpr)(jnp.asarray(s, jnp.float32), jnp.asarray(y))
    np.testing.assert_allclose(gradient, np.where(y, -share, share), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(curvature, share * (1 - share), rtol=1e-4, atol=1e-7)


def test_curvature_is_positive_where_rounding_makes_it_0():
    matrix = xgb.DMatrix(np.zeros((2, 1)), label=np.array([[0, 0, 1], [1, 0, 0]]))
    scores = np.array([[90, 0, 90], [-90, -90, 0]], np.float32)
    raw = bt.derivatives(zlpr)(jnp.asarray(scores), jnp.asarray([[0, 0, 1], [1, 0, 0]]) > 0)[1]
    assert (np.asarray(raw) == 0).any()
    gradient, curvature = bt.objective(zlpr)(scores, matrix)
    assert (curvature >= bt.LEAST_CURVATURE).all()
    assert gradient[0, 0] == 1


@pytest.mark.parametrize("strategy", bt.STRATEGIES)
def test_cross_entropy_from_jax_gives_xgboosts_own_trees(strategy):
    """So the custom objective has the order, the signs and the start that XGBoost expects."""
    x, y = made_up()
    matrix = xgb.DMatrix(x, y.astype(np.float32))
    common = bt.Boosting(strategy=strategy).parameters(0) | {"max_depth": 3, "eta": 0.3}
    own, _ = bt.objective_settings("binary:logistic")
    by_xgboost = xgb.train(common | own, matrix, 5)
    custom, _ = bt.objective_settings("zlpr")
    by_jax = xgb.train(common | custom, matrix, 5, obj=bt.objective(binary_cross_entropy))
    scores = bt.predict(by_xgboost, x)
    assert scores.shape == y.shape and np.abs(scores).max() > 0.5
    np.testing.assert_allclose(bt.predict(by_jax, x), scores, rtol=1e-3, atol=1e-4)
    # and it is binary:logistic, where the start is a probability
    named = common | {"objective": "binary:logistic", "base_score": 0.5}
    by_name = bt.predict(xgb.train(named, matrix, 5), x)
    np.testing.assert_allclose(by_name, scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", bt.STRATEGIES)
def test_trees_reduce_zlpr(strategy):
    x, y = made_up()
    parameters, custom = bt.objective_settings("zlpr")
    parameters |= bt.Boosting(strategy=strategy).parameters(0) | {"eta": 0.3}
    booster = xgb.train(parameters, xgb.DMatrix(x, y.astype(np.float32)), 20, obj=custom)
    before, after = zlpr(np.zeros(y.shape), y).mean(), zlpr(bt.predict(booster, x), y).mean()
    assert after < 0.5 * before


@pytest.fixture
def few_settings(monkeypatch):
    monkeypatch.setattr(bt, "GRID", bt.GRID[:2])


@pytest.mark.parametrize("name", bt.LOSSES)
def test_test_rows_do_not_influence_the_choice(name, few_settings):
    data = made_up_data()
    changed = data._replace(test_features=data.test_features + 9, test_targets=~data.test_targets)
    one, other = (
        bt.run_one(split(d, 0.2, 0), name, 0, bt.Boosting(rounds=8)) for d in (data, changed)
    )
    for field in ("choices", "setting", "rounds", "threshold"):
        assert one[field] == other[field]
    assert one["test"] != other["test"]


def run(*arguments):
    return CliRunner(env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).invoke(
        bt.app, [str(argument) for argument in arguments]
    )


def test_small_run_is_published_and_resumed(tmp_path, monkeypatch, few_settings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bt, "load_data", lambda _: made_up_data())
    page = tmp_path / "page.md"
    page.write_text("before\n{}\n{}\nafter\n".format(*bt.MARKS))
    options = ["--seeds", 2, "--rounds", 3, "--repeats", 1, "--json", "out.json", "--into", page]
    result = run(*options)
    assert result.exit_code == 0, result.output
    text, record = page.read_text(), json.loads((tmp_path / "out.json").read_text())
    assert text.startswith("before") and text.endswith("after\n")
    runs = record["runs"]
    assert [(r["objective"], r["seed"]) for r in runs] == [
        (name, seed) for seed in range(2) for name in bt.LOSSES
    ]
    own = [r["test at 0"]["micro-F1"] for r in runs if r["objective"] == "zlpr"]
    rival = [r["test at 0"]["micro-F1"] for r in runs if r["objective"] != "zlpr"]
    assert f"{np.mean(own) - np.mean(rival):+.4f}" in text
    assert (tmp_path / "runs/boosted_trees.png").read_bytes().startswith(b"\x89PNG")

    def fail(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(xgb, "train", fail)
    result = run(*options)
    assert result.exit_code == 0, result.output
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--strategy", "forest"], ["'forest'", "one_output_per_tree, multi_output_tree"]),
        (["--strategy", bt.STRATEGIES[0], "--strategy", bt.STRATEGIES[0]], ["twice"]),
        (["--data", "nowhere.npz"], ["nowhere.npz: no such file"]),
    ],
)
def test_bad_choices_are_explained(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    for words in told:
        assert words in result.output
    assert not list(tmp_path.iterdir())
