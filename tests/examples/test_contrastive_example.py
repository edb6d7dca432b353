"""The contrastive study in a reduced size: it runs, resumes, and reports what it measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

for needed in ("jax", "matplotlib", "optax", "rich", "river", "safetensors", "scipy", "typer"):
    pytest.importorskip(needed)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples.data import MultiLabelData  # noqa: E402
from examples.studies.contrastive import report as contrastive_report  # noqa: E402
from examples.studies.contrastive import study as contrastive  # noqa: E402
from examples.studies.contrastive import training  # noqa: E402

# without dropout, whose random numbers take most of the time to compile
TINY = training.Settings(
    rounds=2,
    round_steps=1,
    probe_steps=2,
    hidden=8,
    dim=4,
    batch_size=8,
    queue=12,
    max_features=4,
    dropout=0.0,
    input_dropout=0.0,
)


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


def small_data(rows: int = 60) -> MultiLabelData:
    """5 features, the last of them rare, and 6 labels that the features show."""
    generator = np.random.default_rng(0)
    targets = generator.random((rows, 6)) < 0.4
    features = targets @ generator.normal(size=(6, 5)) + 0.1 * generator.normal(size=(rows, 5))
    features[5:, 4] = 0
    features = features.astype(np.float32)
    return MultiLabelData("tiny", features[:40], targets[:40], features[40:], targets[40:])


def run(*arguments):
    return CliRunner(env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).invoke(
        contrastive.app, [str(argument) for argument in arguments]
    )


@pytest.mark.parametrize("method", training.METHODS)
def test_every_method_has_a_finite_gradient(method):
    """By the outputs of the network: compiling the training of all would take minutes."""
    y = jnp.asarray(np.random.default_rng(1).random((8, 6)) < 0.4)
    outputs = 6 if method in training.END_TO_END else 4
    points = jax.random.normal(jax.random.key(0), (6, 4))
    z = jax.random.normal(jax.random.key(1), (8, outputs))

    def loss(z):
        given = {"prototypes": points, "threshold": 0.0, "temperature": 0.1, "keys": {}}
        return training.METHODS[method](z, y, **given)

    gradient = jax.jit(jax.grad(loss))
    assert np.isfinite(gradient(z)).all()
    assert (gradient(z) != 0).any()
    # as after a hidden layer that is dead for one example
    assert np.isfinite(gradient(z.at[2].set(0.0))).all()


def test_fractions_are_nested_and_validation_is_apart():
    data = small_data()
    large, small = (training.choose_rows(data, share, 0, TINY) for share in (1.0, 0.5))
    assert len(small.train) == 16 and len(small.validation) == 4
    assert len(large.train) == 32 and len(large.validation) == 8
    everything = set(large.train) | set(large.validation)
    assert everything == set(range(40))
    assert set(small.train) | set(small.validation) < everything
    assert small.x.shape == (40, 4)  # the rare feature is left out
    batches = training.all_batches(small.train, 5, 8, 0)
    assert batches.shape == (5, 8)
    assert set(batches[:2].ravel()) == set(small.train)


def test_queue_holds_earlier_views_and_the_encoder_follows_slowly():
    data = small_data()
    x, y = jnp.asarray(data.train_features), jnp.asarray(data.train_targets)
    network = training.init_params(jax.random.key(0), [5, 8, 8, 8, 4])
    memory = training._memory("mulsupcon with queue", network, y, TINY)
    moved = jax.tree.map(lambda leaf: leaf + 1.0, network)
    params = {"network": moved, "prototypes": jnp.zeros((6, 4)), "threshold": 0.0}
    step = jax.jit(training._step, static_argnums=(0, 3))
    slow, queue = memory
    for batch in np.split(np.arange(16), 2):
        _, (slow, queue) = step(
            "mulsupcon with queue", x, y, TINY, params, (slow, queue), batch, jax.random.key(1)
        )
    np.testing.assert_array_equal(queue.targets[8:], data.train_targets[8:12])
    np.testing.assert_array_equal(queue.targets[:4], data.train_targets[12:16])
    expected = jax.tree.map(lambda leaf: leaf + 1 - TINY.momentum**2, network)
    for actual, wanted in zip(jax.tree.leaves(slow), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


def test_probe_stands_on_the_encoder_without_its_head():
    network = training.init_params(jax.random.key(0), [5, 8, 8, 8, 4])
    probe = training.init_params(jax.random.key(1), [8, 6])
    x = small_data().test_features
    scores = training.scores_of(training.Trained(network, probe), x)
    for layer in [*network[:2], *probe]:
        hidden = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        x = np.maximum(hidden, 0)
    np.testing.assert_allclose(scores, hidden, rtol=1e-4, atol=1e-5)


def test_comparison_reports_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(contrastive, "load_data", lambda source: small_data())
    monkeypatch.setattr(contrastive, "settings_for", lambda data, rounds: TINY)
    into = tmp_path / "page.md"
    into.write_text("before\n{}\nreplaced\n{}\nafter\n".format(*contrastive.MARKS))
    arguments = ["--method", "binary_cross_entropy", "--method", "supcon", "--seeds", 2]
    arguments += ["--fraction", 0.5, "--fraction", 1, "--rate", 0.01, "--runs", tmp_path / "runs"]
    files = {"--figure": "a.png", "--embeddings": "b.png", "--json": "a.json"}
    arguments += [item for name, file in files.items() for item in (name, tmp_path / file)]
    whole = contrastive.run_one
    done = []

    def counted(data, method, fraction, seed, *rest):
        if len(done) == 3:
            done.append("cut off")
            raise KeyboardInterrupt
        done.append((method, fraction, seed))
        return whole(data, method, fraction, seed, *rest)

    monkeypatch.setattr(contrastive, "run_one", counted)
    assert run(*arguments).exit_code != 0
    kept = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    assert set(kept) == {
        f"tiny-binary_cross_entropy-{name}.json" for name in ("50-0", "50-1", "100-0")
    }
    result = run(*arguments, "--into", into)
    assert result.exit_code == 0, result.output
    assert len(done) == 3 + 1 + 5
    assert kept.items() <= {p.name: p.read_bytes() for p in (tmp_path / "runs").iterdir()}.items()
    records = json.loads((tmp_path / "a.json").read_text())
    assert len(records) == 8
    assert {record["data"] for record in records} == {"tiny, 50 %", "tiny, 100 %"}
    assert all(set(record["test"]) == set(contrastive_report.METRICS) for record in records)
    assert sum("projection" in record for record in records) == 2
    text = into.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "replaced" not in text
    mean = np.mean([r["test"]["macro-F1"] for r in records[:2]])
    assert f"{mean:.4f}" in text
    assert "macro-F1, difference to end-to-end `binary_cross_entropy`" in text
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    # reporting alone trains nothing
    assert run(*arguments, "--finished").exit_code == 0
    assert len(done) == 9


def test_wrong_arguments_are_named(tmp_path):
    result = run("--method", "simclr")
    assert result.exit_code == 2
    assert "unknown method 'simclr'; valid: binary_cross_entropy, asymmetric, zlpr" in result.output
