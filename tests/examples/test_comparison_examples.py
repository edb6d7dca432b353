"""The comparing examples in a reduced size: they run, resume, and report what they measured."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

for needed in ("jax", "matplotlib", "optax", "rich", "river", "safetensors", "scipy", "typer"):
    pytest.importorskip(needed)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import mlc_losses  # noqa: E402
from examples.model import Settings, forward, init_params  # noqa: E402
from examples.studies.common import ranks as ranks_module  # noqa: E402
from examples.studies.common import sweep  # noqa: E402
from examples.studies.compare_losses import study as compare_losses  # noqa: E402
from examples.studies.powerset import study as powerset  # noqa: E402
from examples.studies.sequence import study as sequence  # noqa: E402

TINY = Settings(epochs=2, hidden=8, batch_size=8)


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


@pytest.fixture
def archive(tmp_path):
    """40 rows, 30 of them to train on, 5 features, 6 labels that the features show."""
    generator = np.random.default_rng(0)
    targets = generator.random((40, 6)) < 0.4
    features = targets @ generator.normal(size=(6, 5)) + 0.1 * generator.normal(size=(40, 5))
    path = tmp_path / "tiny.npz"
    np.savez(
        path,
        X=features.astype(np.float32),
        Y_indptr=np.concatenate([[0], targets.sum(1).cumsum()]),
        Y_indices=np.nonzero(targets)[1],
        Y_shape=np.array(targets.shape),
        n_train=np.array(30),
    )
    return path


def run(module, *arguments):
    # wide, so that messages are not broken over lines
    return CliRunner(env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).invoke(
        module.app, [str(argument) for argument in arguments]
    )


def page(path, module):
    path.write_text("before\n{}\nreplaced\n{}\nafter\n".format(*module.MARKS))
    return path


def losses_arguments(archive, folder):
    some = ["--loss", "zlpr", "--loss", "lsep"]
    small = ["--data", archive, "--epochs", 2, "--seeds", 2, "--rate", 0.01, "--rate", 0.03]
    files = ["--runs", folder / "runs", "--figure", folder / "a.png", "--json", folder / "a.json"]
    return [*some, *small, *files]


def test_compared_losses_exist_and_are_finite():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32))
    targets = jnp.asarray(np.random.default_rng(1).random((6, 5)) < 0.4)
    for name in compare_losses.LOSSES:

        def mean(logits, targets, name=name):
            return compare_losses.make_loss(name, targets)(logits, targets).mean()

        assert np.isfinite(jax.jit(mean)(logits, targets)), name


def test_losses_left_out_are_compared_under_another_name():
    logits = np.random.default_rng(0).normal(size=(6, 5))
    targets = np.random.default_rng(1).random((6, 5)) < 0.4
    for left_out, compared, factor in [
        (mlc_losses.multilabel_soft_margin, mlc_losses.binary_cross_entropy, 5),
        (mlc_losses.multilabel_margin, mlc_losses.pairwise_hinge, 5),
        (mlc_losses.tversky, mlc_losses.soft_f1, 1),
        (mlc_losses.sigmoid_f1, mlc_losses.soft_f1, 1),
    ]:
        np.testing.assert_allclose(factor * left_out(logits, targets), compared(logits, targets))


def test_comparison_reports_and_resumes(archive, tmp_path, monkeypatch):
    into = page(tmp_path / "page.md", compare_losses)
    arguments = [*losses_arguments(archive, tmp_path), "--into", into]
    whole = compare_losses.run_one
    done = []

    def interrupted(data, name, seed, *rest):
        if done == [("zlpr", 0), ("zlpr", 1)]:
            raise KeyboardInterrupt
        done.append((name, seed))
        return whole(data, name, seed, *rest)

    monkeypatch.setattr(compare_losses, "run_one", interrupted)
    assert run(compare_losses, *arguments).exit_code != 0
    assert not (tmp_path / "a.json").exists()
    kept = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    assert set(kept) == {"tiny-zlpr-0.json", "tiny-zlpr-1.json"}

    def counted(data, name, seed, *rest):
        done.append((name, seed))
        return whole(data, name, seed, *rest)

    monkeypatch.setattr(compare_losses, "run_one", counted)
    result = run(compare_losses, *arguments)
    assert result.exit_code == 0, result.output
    assert done == [("zlpr", 0), ("zlpr", 1), ("lsep", 0), ("lsep", 1)]
    assert kept.items() <= {p.name: p.read_bytes() for p in (tmp_path / "runs").iterdir()}.items()
    records = json.loads((tmp_path / "a.json").read_text())
    assert [(r["data"], r["loss"], r["seed"]) for r in records] == [
        ("tiny", *pair) for pair in done
    ]
    assert all(record["rate"] in (0.01, 0.03) for record in records)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    text = into.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "replaced" not in text
    mean = np.mean([r["test"]["micro-F1"] for r in records if r["loss"] == "lsep"])
    assert f"{mean:.4f}" in text


@pytest.mark.parametrize(
    ("module", "arguments", "told"),
    [
        (compare_losses, ["--loss", "zlprr"], ["'zlprr'", "soft_f1"]),
        (compare_losses, ["--loss", "zlpr", "--loss", "zlpr"], ["named twice"]),
        (compare_losses, ["--data", "yeasts"], ["'yeasts'", ".npz"]),
        (compare_losses, ["--data-dir", "nowhere"], ["emotions.npz: no such file"]),
        (powerset, ["--sets", "512", "--rows", "256"], ["512 sets", "--rows"]),
        (sequence, ["--data", "nowhere.npz"], ["nowhere.npz: no such file"]),
    ],
)
def test_bad_choices_are_explained(module, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(module, *arguments)
    assert result.exit_code == 2, result.output
    for words in told:
        assert words in result.output
    assert not list(tmp_path.iterdir())


def test_a_rate_does_not_depend_on_the_rates_beside_it():
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(24, 5)).astype(np.float32))
    y = jnp.asarray(generator.random((24, 3)) < 0.4)
    shared = {
        "loss_for": partial(compare_losses.make_loss, "zlpr"),
        "outputs": 3,
        "settings": TINY,
    }
    batches = sweep.all_batches(24, TINY, 0)
    train = partial(sweep.train_rates, jax.random.key(0), batches=batches, x=x, y=y, **shared)
    rising = train(jnp.array([1e-3, 1e-2]))
    falling = train(jnp.array([1e-2, 1e-3]))
    for one, other in zip(jax.tree.leaves(rising), jax.tree.leaves(falling), strict=True):
        np.testing.assert_allclose(one, other[::-1], rtol=1e-4, atol=1e-5)
        assert not np.allclose(one[0], one[1])


def test_validation_is_not_trained_on(archive):
    data = compare_losses.load_data(str(archive))
    rows = sweep.split(data, 0.2, 0)
    assert [len(part[0]) for part in rows] == [24, 6, 10]
    np.testing.assert_allclose(rows.train[0].mean(0), 0, atol=1e-5)
    np.testing.assert_array_equal(rows.test[1], data.test_targets)


def test_ranks_are_by_means_and_share_ties():
    def record(data, loss, f1, hamming):
        test = {"micro-F1": f1, "Hamming loss": hamming}
        return {"data": data, "loss": loss, "seed": 0, "rate": 0.1, "test": test}

    records = [record("d", "a", 0.5, 0.1), record("d", "b", 0.7, 0.1), record("d", "c", 0.6, 0.3)]
    ranks = ranks_module.all_ranks(records)
    np.testing.assert_array_equal(ranks[:, 0, 0], [3, 1, 2])  # micro-F1: higher is better
    np.testing.assert_array_equal(ranks[:, 0, 1], [1.5, 1.5, 3])  # Hamming loss: lower is better
    assert ranks_module.ordered(records)[0] == ["b", "a", "c"]


def test_critical_difference_is_demsars():
    # Demsar 2006, table 5: q = 2.569 for four methods
    expected = 2.569 * np.sqrt(4 * 5 / (6 * 14))
    assert ranks_module.critical_difference(4, 14) == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow("trains, is cut off and goes on, as a user's runs do")
def test_powerset_runs_and_resumes(archive, tmp_path, monkeypatch):
    # compiling is most of the time: the costs of the synthetic data stand for those of the others
    costs = powerset.measure_costs(
        *powerset.synthetic(32, 12, 8), TINY._replace(dropout=0.0, input_dropout=0.0), 1
    )
    monkeypatch.setattr(powerset, "measure_costs", lambda *_: costs)
    into = page(tmp_path / "page.md", powerset)
    arguments = ["--data", archive, "--sets", 8, "--rows", 32, "--rounds", 2, "--seeds", 1]
    arguments += ["--repeats", 1, "--runs", tmp_path / "runs", "--figure", tmp_path / "a.png"]
    arguments += ["--json", tmp_path / "a.json", "--into", into]
    outputs = []
    for _ in range(2):  # kept times do not change
        result = run(powerset, *arguments)
        assert result.exit_code == 0, result.output
        outputs.append((tmp_path / "a.json").read_text())
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0])
    assert found["costs"]["synthetic 8"]["sets"] == 8
    assert set(found["quality"]["tiny"][0]) == {"sets", "unseen", *powerset.METHODS}
    assert "likeliest set" in into.read_text()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("sets", [2, 100])
def test_synthetic_sets_are_as_many_as_asked(sets):
    _, targets = powerset.synthetic(128, 12, sets)
    assert mlc_losses.LabelPowerset.fit(targets).num_sets == sets


def test_powerset_decisions_agree_with_the_library():
    targets = np.random.default_rng(0).random((30, 5)) < 0.5
    fitted = mlc_losses.LabelPowerset.fit(targets)
    logits = jnp.asarray(20 * np.eye(fitted.num_sets, dtype=np.float32))
    for name in powerset.METHODS[1:]:
        found = jax.jit(powerset.decisions(fitted)[name])(logits)
        np.testing.assert_array_equal(found, fitted.table)


def decoder(labels, scale=1.0):
    params = sequence.init_decoder(jax.random.key(0), 5, 8, labels)
    # large weights make a decoder that has favourites
    return jax.tree.map(lambda leaf: scale * leaf, params)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_greedy_decoding_emits_no_label_twice(scale):
    labels = 7
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32))
    params = decoder(labels, scale)
    # the end has to wait, so that sequences are long
    params["output"]["bias"] = params["output"]["bias"].at[0, labels].add(-2.0 * scale)
    ids = np.asarray(sequence.greedy(params, x))
    assert ids.shape == (50, labels)
    assert (ids >= -1).all()
    assert (ids < labels).all()
    assert (ids >= 0).sum(1).max() > 2
    for row in ids:
        emitted = row[row >= 0]
        assert len(set(emitted)) == len(emitted)
        assert (row[len(emitted) :] == -1).all()
    sets = np.asarray(sequence.decode(params, x))
    np.testing.assert_array_equal(sets.sum(1), (ids >= 0).sum(1))


def test_teacher_forcing_sees_what_greedy_decoding_sees():
    """Fed its own labels, the decoder ranks first what it emitted, step by step."""
    labels = 4
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32))
    params = decoder(labels)
    ids = sequence.greedy(params, x)
    logits = sequence.teacher_forced(params, sequence.encode(params["encoder"], x), ids)
    assert logits.shape == (20, labels + 1, labels + 1)
    best = np.asarray(jnp.argmax(logits, axis=-1))[:, :-1]
    ids = np.asarray(ids)
    np.testing.assert_array_equal(best[ids >= 0], ids[ids >= 0])
    ends = (ids < 0) & (np.pad(ids, [(0, 0), (1, 0)])[:, :-1] >= 0)
    assert (best[ends] == labels).all()


@pytest.mark.parametrize("loss", ["label_sequence", "label_set_sequence"])
def test_losses_have_finite_gradients_though_emitted_labels_are_out(loss):
    targets = jnp.asarray(np.random.default_rng(0).random((12, 4)) < 0.5)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32))
    ids = mlc_losses.order_labels(targets, targets.sum(axis=0), 4)

    @jax.jit
    @jax.value_and_grad
    def total(params):
        logits = sequence.teacher_forced(params, sequence.encode(params["encoder"], x), ids)
        if loss == "label_sequence":
            return mlc_losses.label_sequence(logits, ids).mean()
        return mlc_losses.label_set_sequence(logits, targets, ids).mean()

    value, gradient = total(decoder(4))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow("trains, is cut off and goes on, as a user's runs do")
def test_sequence_runs_and_resumes(archive, tmp_path):
    into = page(tmp_path / "page.md", sequence)
    arguments = ["--data", archive, "--rounds", 2, "--hidden", 8, "--seeds", 1]
    arguments += ["--runs", tmp_path / "runs", "--json", tmp_path / "a.json", "--into", into]
    outputs = []
    for _ in range(2):
        result = run(sequence, *arguments)
        assert result.exit_code == 0, result.output
        outputs.append((tmp_path / "a.json").read_text())
    assert outputs[0] == outputs[1]
    for method in sequence.METHODS:
        assert f"`{method}`" in into.read_text()
        assert (tmp_path / "runs" / f"tiny-{method}-0.json").exists()


def test_networks_have_one_encoder():
    """zlpr beside the decoder: the same first layer as `model.py`, so that only heads differ."""
    x = jnp.ones((3, 5))
    params = init_params(jax.random.key(0), [5, 8, 4])
    encoder, output = params
    np.testing.assert_allclose(
        sequence.decode({"encoder": encoder, "output": output}, x), forward(params, x) > 0
    )
