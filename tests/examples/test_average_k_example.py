"""The average-k example in a reduced size: it runs, resumes, and reports what it measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

for needed in ("babel", "jax", "matplotlib", "optax", "rich", "safetensors", "scipy", "typer"):
    pytest.importorskip(needed)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples.studies.average_k import methods  # noqa: E402
from examples.studies.average_k import report as average_k_report  # noqa: E402
from examples.studies.average_k import scores as average_k_scores  # noqa: E402
from examples.studies.average_k import study as average_k  # noqa: E402
from examples.studies.common import one_label  # noqa: E402


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


@pytest.fixture
def archive(tmp_path):
    """60 rows, 48 of them to train on, 4 classes that the features show, the first one common."""
    generator = np.random.default_rng(0)
    labels = np.concatenate([np.repeat([0, 1, 2, 3], [30, 10, 4, 4]), np.tile(np.arange(4), 3)])
    images = generator.integers(0, 60, (60, 2, 3)) + 60 * labels[:, None, None]
    path = tmp_path / "tiny.npz"
    np.savez(path, X_u8=images.astype(np.uint8), y=labels.astype(np.uint16), n_train=np.array(48))
    return path


def run(*arguments):
    # wide, so that messages are not broken over lines
    return CliRunner(env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).invoke(
        average_k.app, [str(argument) for argument in arguments]
    )


def small(archive, folder):
    some = ["--method", "cross-entropy", "--method", "two-head", "--k", 2, "--seeds", 2]
    size = ["--data", archive, "--rounds", 1, "--hidden", 4]
    files = ["--runs", folder / "runs", "--figure", folder / "a.png", "--json", folder / "a.json"]
    return [*some, *size, *files]


@pytest.mark.slow("trains, is cut off and goes on, as a user's runs do")
def test_runs_resumes_and_reports(archive, tmp_path, monkeypatch):
    first = run(*small(archive, tmp_path))
    assert first.exit_code == 0, first.output
    records = json.loads((tmp_path / "a.json").read_text())
    heads = ["cross-entropy", "two-head: softmax", "two-head: multi-label"]
    assert [(r["method"], r["seed"]) for r in records] == [(h, s) for h in heads for s in (0, 1)]
    assert {r["configurations"] for r in records} <= {25, 30, 35, 40}  # of 5 to 8 rates
    for record in records:
        # 12 test rows: no ties, so exactly 2 classes each on average
        assert record["equal"]["size"] == 2.0
        assert 0 <= record["calibrated"]["accuracy"] <= 1
        assert record["curve"] == sorted(record["curve"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    kept = {path.name for path in (tmp_path / "runs").iterdir()}
    for of_method in ("tiny-cross-entropy", "tiny-two-head-2"):
        assert {f"{of_method}-search.json", f"{of_method}-test.json"} <= kept

    def train(*_):
        raise AssertionError("everything is kept")

    monkeypatch.setattr(average_k, "train", train)
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nreplaced\n{}\nafter\n".format(*average_k.MARKS))
    again = run(*small(archive, tmp_path), "--finished", "--into", page)
    assert again.exit_code == 0, again.output
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "replaced" not in text
    assert "| `two-head: multi-label` |" in text
    assert json.loads((tmp_path / "a.json").read_text()) == records
    nothing = run(*small(archive, tmp_path), "--finished", "--runs", tmp_path / "other")
    assert nothing.exit_code == 2 and "nothing is finished" in nothing.output


def test_unknown_names_are_refused(archive):
    wrong = run("--method", "hinge")
    assert wrong.exit_code == 2 and "unknown method 'hinge'; valid: cross-entropy" in wrong.output
    missing = run("--data", archive.with_name("none.npz"))
    assert missing.exit_code == 2 and "none.npz" in missing.output


def test_every_method_gives_one_finite_loss_per_example():
    generator = np.random.default_rng(0)
    labels = jnp.asarray(generator.integers(0, 5, 6))
    estimates = jnp.asarray(generator.normal(size=(6, 5)).astype(np.float32))
    batch = methods.Batch(labels, jax.nn.one_hot(labels, 5, dtype=bool), estimates, jnp.asarray(1))
    everything = methods.METHODS | methods.LONG

    def losses(outputs):
        return {
            name: method.loss(
                outputs[:, : 5 * method.heads], batch, 2.0, jnp.asarray(method.constants[-1])
            )
            for name, method in everything.items()
        }

    def total(outputs):
        found = losses(outputs)
        return sum(loss.sum() for loss in found.values()), found

    outputs = jnp.asarray(generator.normal(size=(6, 10)).astype(np.float32))
    derivatives, found = jax.jit(jax.grad(total, has_aux=True))(outputs)
    for name, loss in found.items():
        assert loss.shape == (6,) and np.isfinite(loss).all(), name
    assert np.isfinite(derivatives).all() and np.abs(derivatives).min() > 0


def test_every_method_searches_as_many_settings():
    sizes = {name: len(m.constants) * len(m.decays) for name, m in methods.METHODS.items()}
    assert set(sizes.values()) == {5}, sizes


def test_table_of_estimates_starts_where_the_paper_says_and_takes_steps_of_adam():
    seen = jnp.eye(3, 4, dtype=bool)
    rows = jax.jit(methods.start_table)(jax.random.key(0), seen)
    chances = 1 / (1 + np.exp(-np.asarray(rows[:, 0])))
    seen = np.asarray(seen)
    np.testing.assert_allclose(chances[seen], 0.995, rtol=1e-4)
    assert ((chances >= 0.4) & (chances <= 0.6))[~seen].all()
    adam, derivatives = optax.adam(0.1), jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    expected, state = rows[:, 0], adam.init(rows[:, 0])
    for epoch in range(2):
        rows = jax.jit(methods.adam_of_rows)(
            rows, derivatives, jnp.asarray(0.1), jnp.asarray(epoch)
        )
        steps, state = adam.update(derivatives, state)
        expected = expected + steps
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-4)


def test_rows_of_the_table_are_read_and_written_as_by_indexing():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3, 4)), jnp.float32)
    chosen = jnp.asarray([[3, 0], [1, 4]])  # for each of two runs
    rows = jax.jit(jax.vmap(methods.rows_of))(table, chosen)
    np.testing.assert_array_equal(rows, jax.vmap(lambda t, c: t[c])(table, chosen))
    written = jax.jit(jax.vmap(methods.with_rows))(table, chosen, rows + 1)
    expected = jax.vmap(lambda t, c: t.at[c].add(1))(table, chosen)
    np.testing.assert_array_equal(written, expected)


def test_lower_rates_are_tried_while_the_best_is_the_lowest(archive, tmp_path, monkeypatch):
    data = average_k.load(str(archive))
    settings = average_k.settings_for(1, 4)
    (job,) = average_k.jobs(data, ["cross-entropy"], [2], {2: 1}, settings, [])
    searched = []

    def search(job, configurations):
        searched.append(sorted({round(float(rate), 6) for rate in configurations[:, 0]}))
        # the best rate is 0.001, with the second constant
        values = -np.abs(np.log(configurations[:, 0] / 0.001)) - np.abs(configurations[:, 2] - 0.05)
        return {"cross-entropy": values.tolist()}

    monkeypatch.setattr(average_k, "search", search)
    found, is_final = average_k.choose(job, average_k.Runs(tmp_path))
    chosen = found["cross-entropy"]
    assert searched == [[0.003, 0.01, 0.03, 0.1, 0.3], [0.001], [0.0003]]
    np.testing.assert_allclose(chosen.configuration, [0.001, methods.DECAY, 0.05])
    assert chosen.tried == 35 and is_final
    kept = average_k.Runs(tmp_path, finished=True)
    assert average_k.choose(job, kept) == (found, True)
    (tmp_path / f"{job.name_of('search-0.0003')}.json").unlink()
    so_far, is_final = average_k.choose(job, kept)
    assert so_far["cross-entropy"].configuration == chosen.configuration and not is_final


def test_scores_by_hand():
    scores = np.log([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.35, 0.45]]).astype(np.float32)
    features, labels = np.zeros((3, 1), np.float32), np.array([0, 2, 1])
    answers = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 1]], bool)
    data = one_label.OneLabelData(
        "by hand", 3, np.zeros((30, 1)), np.repeat([0, 1, 2], [25, 4, 1]), features, labels,
        test_answers=answers)  # fmt: skip
    result = average_k_scores.evaluate(data, 5 / 3, scores, scores)
    assert result["calibrated"] == result["equal"]
    equal = result["equal"]
    assert equal["size"] == pytest.approx(5 / 3)
    assert equal["accuracy"] == pytest.approx(2 / 3)
    assert equal["macro"] == pytest.approx(2 / 3)
    # class 0 is medium; classes 1 and 2 are few
    assert (equal["medium"], equal["few"]) == (1.0, 0.5)
    assert equal["answers found"] == pytest.approx(3 / 5)
    assert equal["precision"] == pytest.approx(3 / 5)
    assert average_k_scores.validation_accuracy(scores * np.nan, labels, [2]) == -1


def test_gain_is_by_seed_at_equal_size():
    records = [
        {"data": "d", "k": 5, "method": method, "seed": seed, "equal": {"accuracy": value}}
        for method, values in {"cross-entropy": (0.5, 0.7), "role": (0.6, 0.9)}.items()
        for seed, value in enumerate(values)
    ]
    gain = average_k_report.gain(records, "d", 5, "role", "accuracy")
    np.testing.assert_allclose(gain, [0.1, 0.2])
    assert average_k_report.spread(gain, sign=True) == "+15.0 ± 7.1"


def test_principal_axes_are_those_of_the_training_split():
    generator = np.random.default_rng(0)
    train = generator.normal(size=(50, 4)) @ np.diag([5.0, 1, 0.1, 0.01]) + 3
    labels = np.zeros(50, int)
    data = one_label.split_at("d", np.concatenate([train, train * 0]), np.tile(labels, 2), 50)
    reduced = average_k.principal_components(data, 2)
    assert reduced.train_features.shape == reduced.test_features.shape == (50, 2)
    assert np.mean(reduced.train_features**2) == pytest.approx(1, rel=1e-4)
    covariance = np.cov(reduced.train_features, rowvar=False)
    assert covariance[0, 0] > 10 * covariance[1, 1] > 1000 * abs(covariance[0, 1])
