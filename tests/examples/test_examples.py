"""The examples: data that is malformed, choices that do not exist, files whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for needed in (
    "jax",
    "matplotlib",
    "optax",
    "rich",
    "river",
    "safetensors",
    "scipy",
    "sklearn",
    "typer",
):
    pytest.importorskip(needed)

import jax  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples import data as data_sets  # noqa: E402
from examples import files, train  # noqa: E402
from examples.studies.common.store import Runs, pack, unpack  # noqa: E402

ROOT = Path(__file__).parents[2]
SMALL = ["--epochs", "2", "--hidden", "16"]
# dropout doubles the time to compile, a validation part doubles it again
QUICK = [*SMALL, "--dropout", "0", "--input-dropout", "0", "--validation", "0"]


def fields(**changes):
    """A tiny well-formed archive, with fields changed, or left out where None."""
    features = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    whole = {
        "X": features,
        "Y_indptr": np.arange(31, dtype=np.int32),
        "Y_indices": np.tile([0, 1, 2], 10).astype(np.uint16),
        "Y_shape": np.array([30, 3]),
        "n_train": np.array(20),
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


@pytest.fixture
def archive(tmp_path):
    def save(**changes):
        np.savez(tmp_path / "small.npz", **fields(**changes))
        return tmp_path / "small.npz"

    return save


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


def run(*arguments):
    # wide, so that messages are not broken over lines
    return CliRunner(env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).invoke(
        train.app, [str(argument) for argument in arguments]
    )


def test_yeast_has_mulans_split():
    data = data_sets.load("yeast")
    assert data.train_features.shape == (1500, 103)
    assert data.test_features.shape == (917, 103)
    assert data.train_targets.shape == (1500, 14)
    assert data.train_features.dtype == np.float32
    assert data.train_targets.dtype == bool
    # labels per example over the whole set, as published
    count = data.train_targets.sum() + data.test_targets.sum()
    assert count / 2417 == pytest.approx(4.237, abs=5e-4)


def test_npz_dense(archive):
    data = data_sets.load(str(archive()))
    np.testing.assert_array_equal(data.train_features, fields()["X"][:20])
    np.testing.assert_array_equal(data.test_targets.argmax(1), np.arange(20, 30) % 3)


def test_npz_sparse_without_values_is_all_ones(archive):
    path = archive(
        X=None,
        X_indptr=np.arange(31),
        X_indices=np.full(30, 4, np.uint16),
        X_shape=np.array([30, 5]),
    )
    data = data_sets.load(str(path))
    np.testing.assert_array_equal(data.train_features, np.tile([0, 0, 0, 0, 1], (20, 1)))


def test_npz_without_a_split_is_shuffled(archive):
    data = data_sets.load(str(archive(n_train=np.array(-1))))
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_array_equal(data.train_features, fields()["X"][order[:20]])
    np.testing.assert_array_equal(data.test_features, fields()["X"][order[20:]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Y_indptr", None),
        ("Y_indices", None),
        ("Y_shape", None),
        ("n_train", None),
        ("X", np.zeros(30)),
        ("X", np.full((30, 5), np.nan)),
        ("X", np.full((30, 5), "a")),
        ("X", np.array([[None]])),  # a pickle
        ("Y_shape", np.array([30])),
        ("Y_shape", np.array([29, 3])),
        ("Y_shape", np.array([30, 0])),
        ("Y_shape", np.array([30.0, 3.0])),
        ("Y_indptr", np.arange(30)),
        ("Y_indptr", np.arange(31)[::-1]),
        ("Y_indptr", np.arange(1, 32)),
        ("Y_indices", np.full(30, 3)),
        ("Y_indices", np.full(30, -1)),
        ("Y_indices", np.zeros(29, int)),
        ("Y_data", np.ones(4)),
        ("n_train", np.array(0)),
        ("n_train", np.array(30)),
        ("n_train", np.array(-2)),
        ("n_train", np.array([20])),
        ("n_train", np.array(20.0)),
    ],
)
def test_malformed_npz_names_file_and_field(archive, name, value):
    path = archive(**{name: value})
    # an indptr that does not fit may be told from either side
    told = f"{name}|Y_indptr" if name in ("Y_shape", "Y_indices") else name
    with pytest.raises(ValueError, match=f"small.npz: field .*({told})"):
        data_sets.load(str(path))


def test_rows_must_agree(archive):
    with pytest.raises(ValueError, match=r"small\.npz: field Y_shape has 30 rows"):
        data_sets.load(str(archive(X=np.zeros((29, 5)))))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_unreadable_npz_names_the_file(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.npz: not a readable \.npz archive"):
        data_sets.load(str(path))


def test_damaged_field_is_named(archive):
    path = archive()
    content = bytearray(path.read_bytes())
    middle = content.index(fields()["X"].tobytes())
    content[middle : middle + 8] = b"\xff" * 8  # the checksum no longer fits
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"small\.npz: field X is unreadable"):
        data_sets.load(str(path))


def openml(monkeypatch, answer):
    import sklearn.datasets

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", answer)


@pytest.mark.parametrize("words", [("FALSE", "TRUE"), ("0", "1"), (0.0, 1.0)])
def test_openml_targets(monkeypatch, words):
    from sklearn.utils import Bunch

    truth = np.random.default_rng(0).random((30, 3)) < 0.5
    target = np.array(words, dtype=object)[truth.astype(int)]
    asked = {}

    def answer(**arguments):
        asked.update(arguments)
        return Bunch(data=np.ones((30, 2)), target=target)

    openml(monkeypatch, answer)
    data = data_sets.load("openml:41465")
    assert asked["data_id"] == 41465
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_array_equal(data.train_targets, truth[order[:20]])


def test_openml_single_label_and_no_network(monkeypatch):
    from sklearn.utils import Bunch

    openml(monkeypatch, lambda **_: Bunch(data=np.ones((3, 2)), target=np.array(["a", "b", "c"])))
    with pytest.raises(ValueError, match="openml:iris: target has shape"):
        data_sets.load("openml:iris")

    def unreachable(**_):
        raise OSError("no route")

    openml(monkeypatch, unreachable)
    result = run("--data", "openml:emotions")
    assert result.exit_code == 2
    assert "OpenML cannot be reached" in result.output


def test_scaling_is_of_training_rows():
    features = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
    features[:, 3] = 7
    scaling = data_sets.fit_scaling(features)
    scaled = data_sets.apply_scaling(scaling, features)
    np.testing.assert_allclose(scaled[:, :3].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:, :3].std(0), 1, atol=1e-5)
    np.testing.assert_allclose(scaled[:, 3], 0, atol=1e-5)


def test_scaling_keeps_zeros_of_sparse_features():
    features = (np.random.default_rng(0).random((50, 40)) < 0.1).astype(np.float32)
    scaled = data_sets.apply_scaling(data_sets.fit_scaling(features), features)
    np.testing.assert_array_equal(scaled == 0, features == 0)
    assert np.mean(scaled**2) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "yeasts"], ["'yeasts'", "openml:NAME", ".npz"]),
        (["--data", "nowhere.npz"], ["nowhere.npz: no such file"]),
        (["--loss", "zlprr"], ["'zlprr'", "binary_cross_entropy", "asymmetric"]),
        (["--loss", "zlpr", "--set", "gamma=2"], ["'gamma'", "threshold"]),
        (["--loss", "focal", "--set", "gamma=-1"], ["gamma", "-1"]),
        (["--loss", "focal", "--set", "gamma"], ["'gamma'", "name=value"]),
        (["--decision", "best"], ["'best'", "threshold, tuned, top-k"]),
        (["--decision", "tuned", "--validation", "0"], ["validation part"]),
        (["--decision", "top-k", "--k", "15"], ["1..14", "15"]),
        (["--save", "x.safetensors"], ["one --loss"]),
        (["--load", "x.safetensors", "--epochs", "3"], ["leave out epochs"]),
        (["--load", "x.safetensors"], ["x.safetensors"]),
    ],
)
def test_bad_choices_are_explained(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    for words in told:
        assert words in result.output
    assert not list(tmp_path.iterdir())


def test_default_run_compares_two_losses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*SMALL, "--json", "out/record.json")
    assert result.exit_code == 0, result.output
    assert "zlpr" in result.output
    assert "binary_cross_entropy" in result.output
    assert (tmp_path / "runs/learning_curves.png").read_bytes().startswith(b"\x89PNG")
    records = json.loads((tmp_path / "out/record.json").read_text())
    assert [record["loss"] for record in records] == ["zlpr", "binary_cross_entropy"]
    assert all(len(record["train_loss"]) == 2 for record in records)
    assert {"subset accuracy", "LRAP", "P@5", "nDCG@5"} <= set(records[0]["test"])


@pytest.mark.parametrize("decision", train.RULES)
def test_reloaded_weights_give_the_same_metrics(archive, tmp_path, decision):
    common = ["--data", archive(), "--json", tmp_path / "record.json"]
    weights = tmp_path / "weights.safetensors"
    options = ["--loss", "zlpr", "--set", "threshold=0.5", "--decision", decision, "--validation"]
    figure = ["--figure", tmp_path / "curves.png"]
    result = run(*common, *QUICK, *options, "0.3", "--save", weights, *figure)
    assert result.exit_code == 0, result.output
    (trained,) = json.loads((tmp_path / "record.json").read_text())
    result = run(*common[2:], "--load", weights)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "record.json").read_text()) == [trained]
    if decision == "threshold":
        assert trained["decision"] == 0.5


def test_loaded_model_must_fit_the_data(archive, tmp_path):
    weights = tmp_path / "weights.safetensors"
    figure = ["--figure", tmp_path / "curves.png"]
    run("--data", archive(), *QUICK, "--loss", "zlpr", "--save", weights, *figure)
    result = run("--load", weights, "--data", "yeast")
    assert result.exit_code == 2
    assert "5 features and 3 labels" in result.output
    assert "103 and 14" in result.output


def test_test_rows_do_not_influence_training(archive, tmp_path):
    def weights(name, features):
        path = tmp_path / name
        figure = ["--figure", tmp_path / "curves.png"]
        data = archive(X=features)
        result = run("--data", data, *QUICK, "--loss", "zlpr", "--save", path, *figure)
        assert result.exit_code == 0, result.output
        return train.from_file(path)[0]

    changed = fields()["X"].copy()
    changed[20:] = 99
    first, second = weights("a.safetensors", fields()["X"]), weights("b.safetensors", changed)
    np.testing.assert_array_equal(first.scaling.shift, second.scaling.shift)
    for one, other in zip(first.params, second.params, strict=True):
        np.testing.assert_array_equal(one["kernel"], other["kernel"])


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    old = tmp_path / "old.json"
    old.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    for path in (old, tmp_path / "new.json"):
        with pytest.raises(OSError, match="disk full"):
            files.write_whole(path, b"new")
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_run_that_fails_leaves_no_file(archive, tmp_path, monkeypatch):
    path = archive()

    def fail(*_):
        raise RuntimeError("stopped")

    monkeypatch.setattr(train, "learning_curves", fail)
    outputs = ["--figure", tmp_path / "curves.png", "--json", tmp_path / "record.json"]
    result = run("--data", path, *QUICK, "--loss", "zlpr", *outputs)
    assert isinstance(result.exception, RuntimeError)
    assert list(tmp_path.iterdir()) == [path]


def test_resumed_results_belong_to_their_settings(tmp_path):
    runs = Runs(tmp_path)
    assert runs.get("kept", {"shape": (1, 2)}, lambda: 1.0) == 1.0
    assert runs.get("kept", {"shape": (1, 2)}, lambda: 2.0) == 1.0
    assert Runs(tmp_path, finished=True).get("kept", {"shape": (3, 2)}, lambda: 3.0) is None
    assert runs.get("kept", {"shape": (3, 2)}, lambda: 3.0) == 3.0


def test_a_table_of_finished_runs_makes_their_files_again(tmp_path):
    first, second, table = tmp_path / "first", tmp_path / "second", tmp_path / "runs.jsonl.gz"
    runs = Runs(first)
    runs.get("old", {"seed": 0}, lambda: [1.0, 0.1])
    runs.get("other", {"seed": 0}, lambda: 2.0)
    pack(runs, table)
    Runs(second).get("old", {"seed": 1}, lambda: 3.0)
    unpack(table, second)
    assert Runs(second, finished=True).get("old", {"seed": 1}, lambda: None) == 3.0  # newer
    assert Runs(second, finished=True).get("other", {"seed": 0}, lambda: None) == 2.0
    packed = table.read_bytes()
    shutil.rmtree(second)
    unpack(table, second)
    again = Runs(second, finished=True)
    for name in ("other", "old"):
        again.get(name, {"seed": 0}, lambda: None)
    pack(again, table)
    assert table.read_bytes() == packed


def test_only_runs_that_the_study_asks_for_are_packed(tmp_path):
    table = tmp_path / "runs.jsonl.gz"
    before = Runs(tmp_path / "runs")
    for name in ("same", "of another key", "of another name"):
        before.get(name, {"seeds": 3}, lambda: 1.0)
    pack(before, table)
    now = Runs(tmp_path / "runs", finished=True)
    now.get("same", {"seeds": 3}, lambda: None)
    now.get("of another key", {"seeds": 10}, lambda: None)
    assert now.asked == {"same": True, "of another key": False} and now.missing == 1
    pack(now, table)
    unpack(table, tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["same.json"]
    # none is its run any more
    pack(Runs(tmp_path / "runs", finished=True), table)
    assert not table.exists()


@pytest.mark.parametrize(
    ("script", "arguments", "module"),
    [
        ("numpy_check.py", ["--labels", "5"], "jax"),
        ("optax_loop.py", ["--epochs", "2"], "optax"),
        ("torch_loop.py", ["--epochs", "2"], "torch"),
        ("train.py", ["--help"], "optax"),
    ],
)
def test_examples_run_as_plain_scripts(script, arguments, module, tmp_path):
    pytest.importorskip(module)
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / script), *arguments]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "zlpr" in result.stdout or "micro-F1" in result.stdout
